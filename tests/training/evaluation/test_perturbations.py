from collections.abc import Callable

import numpy as np
import pytest

from skeleton_prompt.clips.canonical_skeleton import CANONICAL
from skeleton_prompt.clips.clip import Clip, parse_clip
from skeleton_prompt.clips.layouts import get_layout, layout_names
from skeleton_prompt.clips.normalise import prepare
from tests.support.recordings import document
from training.evaluation.perturbations import DAMAGES, LAYOUTS, read_joints, through_layout, view_clip


def clip(seed: int = 0) -> Clip:
    return parse_clip(document("legs", seed), teaching=True)


def missing(seen: Clip) -> set[int]:
    """Joints that are never seen."""
    return set(np.flatnonzero(~(seen.confidence > 0).any((0, 1))))


@pytest.mark.parametrize("count", [1, 3, 5, 8])
def test_so_many_joints_that_the_model_reads_are_gone_throughout(count: int) -> None:
    seen = view_clip(f"joints-{count}", clip(), "set", 7)
    assert len(missing(seen)) == count
    assert missing(seen) <= set(read_joints(seen.layout))
    assert np.isnan(seen.positions[:, :, sorted(missing(seen))]).all()
    kept = sorted(set(range(17)) - missing(seen))
    assert np.array_equal(seen.positions[:, :, kept], clip().positions[:, :, kept])


def test_the_joints_that_go_depend_on_the_clip_and_fewer_are_among_more() -> None:
    drawn = [[missing(view_clip(f"joints-{count}", clip(), "set", i)) for i in range(6)] for count in (3, 5)]
    assert drawn[0] == [missing(view_clip("joints-3", clip(), "set", i)) for i in range(6)]
    assert len({frozenset(each) for each in drawn[0]}) > 1
    assert all(few < many for few, many in zip(*drawn, strict=True))


def test_a_clip_never_loses_its_last_joint() -> None:
    bare = clip()
    bare.confidence[:, :, 3:] = 0
    seen = view_clip("joints-8", bare, "set", 0)
    assert len(prepare(seen)[0]) == 1


@pytest.mark.parametrize(("view", "names"), [("arms", ("elbow", "wrist", "hand")), ("legs", ("knee", "ankle", "foot"))])
@pytest.mark.parametrize("layout", ["coco17", "utd20"])
def test_both_limbs_go_with_what_hangs_on_them(view: str, names: tuple[str, ...], layout: str) -> None:
    whole = through_layout(clip(), get_layout(layout))
    whole.confidence[:] = 1
    joints = whole.layout.joints
    gone = {joints[i] for i in missing(view_clip(view, whole, "set", 0))}
    assert gone == {joint for joint in joints if joint.endswith(names)}


@pytest.mark.parametrize("share", [10, 30, 50])
def test_so_many_frames_are_gone_for_all_joints(share: int) -> None:
    seen = view_clip(f"frames-{share}", clip(), "set", 0)
    gone = ~(seen.confidence > 0).any((0, 2))
    assert gone.sum() == round(share / 100 * seen.frames)
    assert (seen.confidence[:, ~gone] > 0).all()


def test_jitter_is_two_per_cent_of_the_body() -> None:
    plain, seen = clip(), view_clip("jitter", clip(), "set", 0)
    height = np.median(np.ptp(plain.positions[0, :, :, 1], axis=1))
    assert np.std(seen.positions - plain.positions) == pytest.approx(0.02 * height, rel=0.1)


@pytest.mark.parametrize("name", LAYOUTS)
def test_another_layout_has_the_joints_of_the_same_name_where_they_were(name: str) -> None:
    seen = view_clip(f"as-{name}", clip(), "set", 0)
    assert seen.layout is get_layout(name)
    both = set(seen.layout.joints) & set(clip().layout.joints)
    assert "left_wrist" in both
    for joint in both - {"head"}:
        here, there = seen.layout.joints.index(joint), clip().layout.joints.index(joint)
        assert np.array_equal(seen.positions[:, :, here], clip().positions[:, :, there])


@pytest.mark.parametrize("name", layout_names())
def test_the_own_layout_is_the_clip_itself_as_far_as_the_model_reads_it(name: str) -> None:
    own = through_layout(clip(), get_layout(name))
    again = through_layout(own, own.layout)
    (before,), (after,) = prepare(own)[0], prepare(again)[0]
    np.testing.assert_allclose(after.pose, before.pose, atol=1e-5)


def test_what_a_clip_has_nothing_for_is_not_seen() -> None:
    through = through_layout(through_layout(clip(), get_layout("penn13")), get_layout("coco17"))
    assert missing(through) == {through.layout.joints.index(f"{side}_{part}") for side in ("left", "right")
                                for part in ("eye", "ear")}  # fmt: skip
    assert "nose" in CANONICAL


@pytest.mark.parametrize("view", ["sideways", "as-nothing"])
def test_an_unknown_view_is_named(view: str) -> None:
    with pytest.raises(LookupError, match=view.removeprefix("as-")):
        view_clip(view, clip(), "set", 0)


def test_every_damage_leaves_a_clip_that_can_be_prepared() -> None:
    shown: Callable[[str], float] = lambda view: prepare(view_clip(view, clip(), "set", 3))[0][0].visible  # noqa: E731
    assert all(0 < shown(view) <= 1 for view in DAMAGES)
