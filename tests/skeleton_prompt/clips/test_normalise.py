"""Preparing: any clip becomes upright windows of 64 frames, and what was done is told."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skeleton_prompt.clips.canonical_skeleton import CANONICAL, CANONICAL_MIRROR
from skeleton_prompt.clips.clip import Clip, InvalidClip, parse_clip
from skeleton_prompt.clips.layouts import get_layout
from skeleton_prompt.clips.normalise import PreparedPerson, Quality, fill_gaps, prepare, windows
from tests.support.sample_people import coco, document, standing

J = {name: index for index, name in enumerate(CANONICAL)}


def solid(values: np.ndarray, **fields: Any) -> Clip:
    return parse_clip({"layout": "h36m17", "coords": "xyz", "keypoints": values.tolist(), **fields})


def flat(values: np.ndarray, **fields: Any) -> Clip:
    return parse_clip({"layout": "coco17", "keypoints": values.tolist(), **fields})


def only(clip: Clip) -> tuple[PreparedPerson, Quality]:
    people, quality = prepare(clip)
    (person,) = people
    return person, quality


def test_the_shapes_types_and_ranges_are_what_the_engine_takes():
    person, quality = only(parse_clip(document(40)))
    assert person.pose.shape == (1, 64, 17, 3)
    assert person.depth.shape == (1, 64, 17)
    assert {person.pose.dtype, person.depth.dtype, person.log_seconds.dtype} == {np.dtype(np.float32)}
    assert not person.has_depth
    assert not person.depth.any()
    assert np.abs(person.pose[..., :2]).max() < 1.6
    assert person.log_seconds[0] == pytest.approx(math.log(40 / 30))
    assert (person.frames, person.visible) == (40, 1.0)
    assert quality.to_dict() == {
        "joints_missing": 0.0,
        "frames_without_person": 0,
        "gaps_filled": 0,
        "frames_resampled": 40,
        "ignored_joints": [],
        "missing_joints": [],
        "notes": [],
        "warnings": [],
    }


def test_a_person_from_the_front_is_upright_with_the_own_right_at_the_left():
    for clip in (parse_clip(document(40)), solid(standing(40))):
        pose = only(clip)[0].pose[0, 30]
        assert pose[J["nose"], 1] < pose[J["rhip"], 1] < pose[J["rankle"], 1]
        assert pose[J["rhip"], 0] < pose[J["lhip"], 0]
        assert pose[J["rshoulder"], 0] < pose[J["lshoulder"], 0]


@settings(max_examples=40, deadline=None)
@given(st.floats(-math.pi, math.pi))
def test_a_3d_person_looks_the_same_whichever_way_they_stood(angle):
    front = only(solid(standing(20)))[0]
    turned = only(solid(standing(20, turned=angle)))[0]
    np.testing.assert_allclose(turned.pose, front.pose, atol=2e-4)
    np.testing.assert_allclose(turned.depth, front.depth, atol=2e-4)


def test_depth_grows_away_from_the_camera():
    person, _ = only(solid(standing(20)))
    assert person.has_depth
    assert person.depth[0, 5, J["nose"]] < person.depth[0, 5, J["head_top"]]


@settings(max_examples=40, deadline=None)
@given(st.floats(0.01, 100), st.floats(-1000, 1000), st.floats(-1000, 1000))
def test_place_and_unit_of_a_2d_clip_do_not_matter(scale, x, y):
    values = coco(20)
    moved = values.copy()
    moved[..., :2] = moved[..., :2] * scale + (x, y)
    np.testing.assert_allclose(only(flat(moved))[0].pose, only(flat(values))[0].pose, atol=5e-2)


def test_the_same_person_in_2d_and_3d_gives_nearly_the_same_pose():
    two, three = only(parse_clip(document(40)))[0].pose, only(solid(standing(40)))[0].pose
    both = (two[..., 2] > 0) & (three[..., 2] > 0)
    assert np.abs(two - three)[both][:, :2].max() < 0.2


def test_missing_joints_are_masked_and_never_invented():
    values = coco(30)
    values[:, 9] = 0  # left wrist
    person, quality = only(flat(values))
    assert not person.pose[:, :, J["lwrist"]].any()
    assert not person.pose[:, :, J["head_top"]].any()  # COCO has none
    assert person.visible == pytest.approx(15 / 16)
    assert quality.joints_missing == pytest.approx(1 / 16)


def test_a_joint_is_as_good_as_its_weakest_source():
    values = coco(30)
    values[:, 11, 2], values[:, 12, 2] = 0.2, 0.8
    pose = only(flat(values))[0].pose
    assert pose[0, 0, J["root"], 2] == pytest.approx(0.2)
    assert pose[0, 0, J["spine"], 2] == pytest.approx(0.2)
    assert pose[0, 0, J["thorax"], 2] == pytest.approx(0.9)


def test_gaps_of_half_a_second_are_filled_and_longer_ones_are_masked():
    values = coco(64)
    values[10:25, 10] = 0  # right wrist, 15 frames of 30 a second
    values[30:46, 9] = 0  # left wrist, 16 frames
    person, quality = only(flat(values))
    assert (person.pose[0, :, J["rwrist"], 2] > 0).all()
    assert (person.pose[0, 30:46, J["lwrist"], 2] == 0).all()
    assert (person.pose[0, 46:, J["lwrist"], 2] > 0).all()
    assert quality.gaps_filled == 15
    straight = np.interp(17, [9, 25], person.pose[0, [9, 25], J["rwrist"], 0])
    assert person.pose[0, 17, J["rwrist"], 0] == pytest.approx(straight, abs=1e-4)


def test_nothing_is_extrapolated_before_the_first_or_after_the_last_sight():
    values = coco(64)
    values[:3, 10] = values[60:, 10] = 0
    pose = only(flat(values))[0].pose
    assert not pose[0, :3, J["rwrist"]].any()
    assert not pose[0, 60:, J["rwrist"]].any()


@pytest.mark.parametrize(("frames", "windows"), [(2, 1), (64, 1), (300, 1), (301, 2), (600, 2), (1500, 5)])
def test_long_clips_are_cut_into_equal_windows_of_at_most_ten_seconds(frames, windows):
    person, quality = only(flat(coco(frames)))
    assert person.pose.shape == (windows, 64, 17, 3)
    np.testing.assert_allclose(np.exp(person.log_seconds), frames / 30 / windows, rtol=1e-5)
    assert quality.frames_resampled == (0 if frames == 64 else frames)


def test_slow_and_fast_differ_in_the_log_of_their_seconds_only():
    slow, fast = only(flat(coco(40), fps=10))[0], only(flat(coco(40), fps=40))[0]
    np.testing.assert_array_equal(slow.pose, fast.pose)
    assert slow.log_seconds[0] - fast.log_seconds[0] == pytest.approx(math.log(4))


def test_every_person_is_prepared_in_order_and_the_one_who_moves_moves_most():
    waving, still = coco(30), np.add(np.repeat(coco(30)[:1], 30, 0), (400, 0, 0))
    nobody = np.zeros_like(waving)
    people, quality = prepare(flat(np.stack([still, waving, nobody], 1)))
    assert [person.visible for person in people] == [1, 1, 0]
    assert people[1].motion > 1000 * people[0].motion
    assert people[2].motion == 0
    assert (people[2].frames, people[2].pose.any()) == (0, False)
    assert quality.joints_missing == 0


def test_frames_without_anybody_are_counted():
    values = coco(30).tolist()
    values[4] = values[5] = None
    person, quality = only(parse_clip(document(30, keypoints=values)))
    assert quality.frames_without_person == 2
    assert person.frames == 28


def test_a_clip_in_which_nothing_is_visible_is_refused():
    for keypoints in ([None] * 5, [[[0, 0, 0]] * 17] * 5):
        with pytest.raises(InvalidClip) as caught:
            prepare(parse_clip(document(5, keypoints=keypoints)))
        assert caught.value.problems[0].rule == "nothing_visible"


def test_joints_that_no_role_knows_are_named_and_change_nothing():
    names = list(get_layout("coco17").joints)
    values = np.concatenate([coco(20), np.full((20, 1, 3), 1e6)], 1)
    values[..., 17, 2] = 1
    person, quality = only(parse_clip({"layout": {"joints": [*names, "tail"]}, "keypoints": values.tolist()}))
    assert quality.ignored_joints == ("tail",)
    np.testing.assert_array_equal(person.pose, only(flat(coco(20)))[0].pose)


def test_a_root_centred_clip_keeps_its_root():
    values = standing(20)
    values -= values[:, :1]
    person, _ = only(solid(values))
    assert (person.pose[0, :, J["root"], 2] > 0).all()


def test_one_wild_joint_neither_moves_nor_shrinks_the_person():
    values = coco(40)
    clean = only(flat(values))[0].pose
    values[20, 10, :2] = 1e8
    wild = only(flat(values))[0].pose
    others = np.delete(np.arange(17), J["rwrist"])
    np.testing.assert_allclose(wild[:, :, others], clean[:, :, others], atol=0.2)
    assert np.abs(wild).max() <= 10


def test_all_joints_in_one_place_give_finite_numbers():
    values = np.full((10, 17, 2), 7.0)
    person, _ = only(parse_clip(document(10, keypoints=values.tolist())))
    assert np.isfinite(person.pose).all()


def test_fractions_of_a_wide_picture_are_unstretched_by_its_size():
    values = coco(40)
    fractions = values / (1920, 1080, 1)
    person, quality = only(flat(fractions, image_size=[1920, 1080]))
    np.testing.assert_allclose(person.pose, only(flat(values))[0].pose, atol=1e-3)
    assert "fractions" in quality.notes[1]
    assert quality.warnings == ()


def test_a_flipped_y_axis_warns():
    assert "y axis" in only(parse_clip(document(40, y_axis="up")))[1].warnings[0]
    assert "y axis" in only(solid(standing(40) * (1, -1, 1)))[1].warnings[0]


def test_a_mirrored_3d_clip_warns():
    bent = standing(40)
    for joint in ("rknee", "lknee"):
        bent[:, J[joint], 2] += 0.15
    assert only(solid(bent))[1].warnings == ()
    assert "mirrored" in only(solid(bent * (-1, 1, 1)))[1].warnings[0]
    swapped = only(solid(bent[:, list(CANONICAL_MIRROR)] * (-1, 1, 1)))[1]
    assert swapped.warnings == ()


def test_another_joint_order_warns():
    order = np.random.default_rng(3).permutation(17)
    assert "wrong layout" in only(flat(coco(40)[:, order]))[1].warnings[0]


SETS = {"utd_mhad": "utd20", "nw_ucla": "kinect20", "msr_action3d": "msr20", "ui_prmd_kinect": "ui_prmd22",
        "irds_subset": "ntu25", "jhmdb14": "jhmdb15", "penn_action": "penn13"}  # fmt: skip


def real_clips(folder: Path, layout: str, count: int = 25) -> list[Clip]:
    with np.load(folder / "data.npz") as data:
        keypoints, offsets = data["keypoints"].astype("<f4"), data["offsets"]
        if "visibility" in data.files:
            keypoints[~data["visibility"].astype(bool)] = np.nan
    clips = []
    for i in np.linspace(0, len(offsets) - 2, count).astype(int):
        part = keypoints[offsets[i] : offsets[i + 1]]
        coords = "xyz" if part.shape[-1] == 3 else "xy"
        body = {"encoding": "f32", "shape": list(part.shape), "keypoints": part.tobytes(), "coords": coords}
        clips.append(parse_clip({"layout": layout, **body}))
    return clips


@pytest.mark.parametrize(("folder", "layout"), SETS.items())
def test_real_clips_are_upright_centred_and_hardly_ever_warned_of(folder, layout, datasets):
    prepared = [only(clip) for clip in real_clips(datasets / folder, layout)]
    poses = [person.pose for person, _ in prepared]
    assert np.median([np.abs(pose[..., :2]).max() for pose in poses]) < 1.6
    if folder != "penn_action":  # push-ups, sit-ups
        upright = [np.median(pose[..., J["nose"], 1]) < np.median(pose[..., J["rankle"], 1]) for pose in poses]
        assert np.mean(upright) > 0.9
    assert sum(bool(quality.warnings) for _, quality in prepared) <= 2


@pytest.mark.parametrize(("folder", "layout"), [(f, n) for f, n in SETS.items() if n.endswith("20")])
def test_the_three_kinect_orders_are_told_apart(folder, layout, datasets):
    (others,) = [[name for name in ("utd20", "kinect20", "msr20") if name != layout]]
    for other in others:
        warned = [only(clip)[1].warnings for clip in real_clips(datasets / folder, other, 10)]
        assert all(warning and f"{layout} would fit" in warning[0] for warning in warned)


def test_filling_gaps_leaves_the_pose_that_was_given_and_joints_without_a_gap_alone():
    pose = np.arange(6 * 17 * 2, dtype=np.float32).reshape(6, 17, 2)
    seen = np.ones((6, 17), bool)
    seen[:, 1] = False  # never there
    seen[:2, 2] = False  # no frame before
    seen[2:4, 3] = False
    pose[2:4, 3] = 0
    given, was_seen = pose.copy(), seen.copy()
    filled, whole, gaps = fill_gaps(pose, seen, 2)
    assert gaps == 2
    np.testing.assert_array_equal(pose, given)
    np.testing.assert_array_equal(seen, was_seen)
    np.testing.assert_allclose(filled[:, 3], np.linspace(given[0, 3], given[5, 3], 6), rtol=1e-5)
    assert np.argwhere(filled != given)[:, 1].tolist() == [3] * 4
    assert np.argwhere(whole != seen).tolist() == [[2, 3], [3, 3]]
    assert fill_gaps(pose, seen, 1)[2] == 0


@pytest.mark.parametrize("seconds", [8, 95])
def test_windows_of_short_and_of_long_clips_meet_at_their_edges(seconds):
    pose = np.zeros((seconds * 10, 17, 2), np.float32)
    pose[..., 0] = np.linspace(0, 1, 17)
    pose[:, :, 1] = np.arange(len(pose), dtype=np.float32)[:, None] / 1000
    seen = np.ones(pose.shape[:2], bool)
    confidence = np.linspace(0.1, 0.9, len(pose), dtype=np.float32)[:, None].repeat(17, 1)
    for _ in range(2):  # a second clip of the same length, by the tables of the first
        trust = windows(pose, seen, confidence, 10.0, 1.0, len(pose)).pose[..., 0, 2]
        assert trust.shape == (-(-seconds // 10), 64)
        np.testing.assert_allclose(trust[[0, -1], [0, -1]], [0.1, 0.9], rtol=1e-5)
        np.testing.assert_allclose(trust[1:, 0], trust[:-1, -1], rtol=1e-5)
