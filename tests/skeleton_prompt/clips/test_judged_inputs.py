"""What a clip leaves unsaid is judged, mended with a note, or warned of with the field that settles it."""

from __future__ import annotations

import base64
import copy
from typing import Any

import numpy as np
import pytest

from skeleton_prompt.clips.clip import Clip, InvalidClip, clip_document, decode_clip, encode_clip, parse_clip
from skeleton_prompt.clips.findings import Finding
from skeleton_prompt.clips.layouts import get_layout
from skeleton_prompt.clips.normalise import Quality, prepare
from tests.support.sample_people import coco, document, standing

SOLID = {"layout": "h36m17", "coords": "xyz", "fps": 30}


def seen(body: dict[str, Any]) -> tuple[np.ndarray, Quality]:
    people, quality = prepare(parse_clip(body))
    return np.concatenate([person.pose for person in people]), quality


def codes(findings: tuple[Finding, ...]) -> list[str]:
    return [finding.code for finding in findings]


def assert_same(body: dict[str, Any], reference: dict[str, Any], *notes: str, warnings: tuple[str, ...] = ()) -> None:
    found, quality = seen(body)
    wanted, _ = seen(reference)
    np.testing.assert_allclose(found, wanted, atol=1e-3)
    assert codes(quality.notes) == list(notes)
    assert codes(quality.warnings) == list(warnings)


def problems(body: dict[str, Any]) -> list[tuple[str, str, str]]:
    with pytest.raises(InvalidClip) as caught:
        parse_clip(body)
    return [(problem.loc, problem.rule, problem.message) for problem in caught.value.problems]


def scattered(values: np.ndarray, share: float, seed: int = 0) -> np.ndarray:
    """Cells (T, J), some in every joint, never two in a row of one joint."""
    cells = np.random.default_rng(seed).random(values.shape[:2]) < share
    cells[1:] &= ~cells[:-1]
    cells[[0, -1]] = False
    return cells


def with_null(values: np.ndarray, cells: np.ndarray) -> list[Any]:
    nested = values.tolist()
    for t, j in np.argwhere(cells):
        nested[t][j] = None
    return nested


# What was not seen


@pytest.mark.parametrize("value", [-1.0, -9999.0, 1e6, 0.0, -32768.0])
@pytest.mark.parametrize("channels", [2, 3])
def test_placeholders_in_every_coordinate_are_unseen(value, channels):
    values = coco(40)[..., :channels].round(2)
    cells = scattered(values, 0.1)
    sent = values.copy()
    sent[cells, :2] = value
    note = "zeros_unseen" if value == 0 else "placeholders_unseen"
    assert_same(document(keypoints=sent.tolist()), document(keypoints=with_null(values, cells)), note)


def test_a_placeholder_as_confidence_too_is_unseen():
    values = coco(40).round(2)
    cells = scattered(values, 0.1)
    sent = values.copy()
    sent[cells] = -1
    reference = document(keypoints=with_null(values, cells))
    assert_same(document(keypoints=sent.tolist()), reference, "placeholders_unseen")


def test_a_placeholder_that_was_scaled_to_fractions_is_unseen():
    values, size = coco(40), np.array((1920, 1080, 1))
    cells = scattered(values, 0.2)
    sent = values / size
    sent[cells, :2] = (-1 / 1920, -1 / 1080)
    reference = document(keypoints=with_null(values / size, cells), image_size=[1920, 1080])
    body = document(keypoints=sent.tolist(), image_size=[1920, 1080])
    assert_same(body, reference, "placeholders_unseen", "fractions_scaled")


def test_placeholders_in_3d_are_unseen_and_the_root_at_the_origin_is_no_placeholder():
    values = standing(40) - standing(40)[:, :1]
    cells = scattered(values, 0.1)
    cells[:, 0] = False
    sent = values.copy()
    sent[cells] = -1
    assert_same(
        {**SOLID, "keypoints": sent.tolist()}, {**SOLID, "keypoints": with_null(values, cells)}, "placeholders_unseen"
    )


def test_whole_numbers_on_the_diagonal_are_no_placeholders():
    values = coco(40).round()
    values[:, 9, :2] = np.arange(40)[:, None] % 5 + 650  # x equal to y, several times, inside the body
    assert codes(seen(document(keypoints=values.tolist()))[1].notes) == []


@pytest.mark.parametrize("confidence", [0.01, 0.05, 0.1])
def test_stray_joints_of_low_confidence_are_unseen(confidence):
    values = coco(60).round(2)
    cells = scattered(values, 0.05)
    sent = values.copy()
    sent[cells, :2] = np.random.default_rng(1).uniform((0, 0), (1920, 1080), (int(cells.sum()), 2)).round()
    sent[cells, 2] = confidence
    body = document(keypoints=sent.tolist())
    assert_same(body, document(keypoints=with_null(values, cells)), "low_confidence_unseen")


def test_joints_of_low_confidence_that_follow_the_body_are_kept():
    values = coco(60)
    values[:, 13:, 2] = 0.04
    found = parse_clip(document(keypoints=values.tolist()))
    assert (found.confidence > 0).all()
    assert found.notes == ()


@pytest.mark.parametrize("frame", [0, 20, 39])
def test_a_jump_of_a_single_frame_is_unseen(frame):
    values = coco(40)
    cells = np.zeros((40, 17), bool)
    cells[frame, 10] = True
    sent = values.copy()
    sent[cells, :2] += (900, -500)
    body = document(keypoints=sent.tolist())
    assert_same(body, document(keypoints=with_null(values, cells)), "spikes_unseen")


def test_empty_frames_are_frames_without_anybody():
    body, reference = document(), document()
    for t in (0, 7, 8):
        body["keypoints"][t], reference["keypoints"][t] = [], None
    assert_same(body, reference, "empty_frames")


def test_joints_with_null_coordinates_are_unseen():
    body, reference = document(), document()
    body["keypoints"][3][4], reference["keypoints"][3][4] = [None, None, 0], None
    assert_same(body, reference, "nulls_unseen")


# Units and image size


@pytest.mark.parametrize("size", [(1920, 1080), (1080, 1920), (640, 480)])
def test_centred_and_metric_coordinates_are_never_stretched(size):
    values = coco(40)
    screen = values.copy()
    screen[..., 0] = values[..., 0] / size[0] * 2 - 1
    screen[..., 1] = values[..., 1] / size[0] * 2 - size[1] / size[0]
    assert_same(document(keypoints=screen.tolist(), image_size=size), document(keypoints=values.tolist()))
    metres = standing(40) - (0.3, 0.95, 2.5)
    body = {**SOLID, "keypoints": metres.tolist()}
    assert_same(body | {"image_size": size}, body)


def test_fractions_without_a_size_are_warned_of_and_units_settle_it():
    body = document(keypoints=(coco(40) / (1920, 1080, 1)).tolist())
    (warning,) = seen(body)[1].warnings
    assert (warning.code, warning.field) == ("fractions_without_image_size", "image_size")
    assert seen(body | {"units": "normalized"})[1].warnings == ()
    assert codes(seen(body | {"image_size": [1920, 1080]})[1].notes) == ["fractions_scaled"]


def test_units_outrank_the_judgement_and_are_stored():
    body = document(keypoints=(coco(40) / (1920, 1080, 1)).tolist(), image_size=[1920, 1080], units="m")
    assert seen(body)[1].notes == ()
    clip = parse_clip(body)
    assert decode_clip(encode_clip(clip)).units == clip_document(clip)["units"] == "m"


# Axes and sides


@pytest.mark.parametrize(
    ("axis", "order"),
    [
        ("z", lambda x, y, z: (x, -z, y)),
        ("-z", lambda x, y, z: (x, z, -y)),
        ("x", lambda x, y, z: (y, -x, z)),
        ("-x", lambda x, y, z: (-y, x, z)),
        ("-y", lambda x, y, z: (x, -y, -z)),
        ("y", lambda x, y, z: (x, y, z)),
    ],
)
def test_every_up_axis_is_turned_upright(axis, order):
    values = standing(40)
    turned = np.stack(order(*np.moveaxis(values, -1, 0)), -1)
    body = {**SOLID, "keypoints": turned.tolist()}
    assert_same(body | {"up_axis": axis}, {**SOLID, "keypoints": values.tolist()})
    warnings = seen(body)[1].warnings
    if axis == "-y":
        assert codes(warnings) == ["upside_down"]
    elif axis != "y":
        assert [(warning.code, warning.field) for warning in warnings] == [("lying", "up_axis")]
        assert f'"{axis}"' in warnings[0]


@pytest.mark.parametrize("up", ["y", "z"])
def test_left_handed_axes_are_converted(up):
    values = standing(40)
    left = values * (1, 1, -1) if up == "y" else np.stack((values[..., 0], values[..., 2], values[..., 1]), -1)
    body = {**SOLID, "keypoints": left.tolist(), "handedness": "left", "up_axis": up}
    assert_same(body, {**SOLID, "keypoints": values.tolist()})


def test_mirrored_pictures_are_mirrored_back_with_their_names():
    values = coco(40)
    names = get_layout("coco17").joints
    other = [names.index(name.translate(str.maketrans({})).replace("left", "#").replace("right", "left")
                         .replace("#", "right")) for name in names]  # fmt: skip
    flipped = values[:, other] * (-1, 1, 1) + (1920, 0, 0)
    body = document(keypoints=flipped.tolist(), mirrored=True)
    assert_same(body, document(keypoints=values.tolist()))
    solid = {**SOLID, "keypoints": standing(40).tolist()}
    assert seen(solid | {"mirrored": True})[1].warnings == ()


def test_exchanged_axes_are_warned_of_and_coords_settle_it():
    values = coco(40)
    sent = values[..., [1, 0, 2]].tolist()
    (warning,) = seen(document(keypoints=sent))[1].warnings
    assert (warning.code, warning.field) == ("axes_exchanged", "coords")
    assert_same(document(keypoints=sent, coords="yxc"), document(keypoints=values.tolist()))
    plain = values[..., 1::-1].tolist()
    assert_same(document(keypoints=plain, coords="yx"), document(keypoints=values[..., :2].tolist()))


def test_fields_that_contradict_or_have_no_meaning_are_refused():
    assert problems(document(up_axis="z"))[0][:2] == ("up_axis", "needs_3d")
    assert problems(document(handedness="left"))[0][:2] == ("handedness", "needs_3d")
    solid = {**SOLID, "keypoints": standing(4).tolist()}
    assert problems(solid | {"up_axis": "z", "y_axis": "down"})[0][:2] == ("up_axis", "contradicting_axes")
    for field, value in (("units", "inch"), ("up_axis", "w"), ("handedness", 1), ("mirrored", "yes"),
                         ("confidence_scale", "score")):  # fmt: skip
        assert problems(document(**{field: value}))[0][0] == field


def test_a_layout_cut_to_another_is_named():
    body25 = openpose25(40)
    _, quality = seen({"layout": "openpose18", "fps": 30, "keypoints": body25[:, :18].tolist()})
    assert codes(quality.warnings) == ["wrong_layout"]
    assert "first 18 joints of openpose25" in quality.warnings[0]
    assert seen({"layout": "openpose25", "fps": 30, "keypoints": body25.tolist()})[1].warnings == ()


def openpose25(frames: int) -> np.ndarray:
    body, layout = coco(frames), get_layout("openpose25")
    own = {name: index for index, name in enumerate(get_layout("coco17").joints)}
    columns = []
    for name in layout.joints:
        if name in own:
            columns.append(body[:, own[name]])
        elif "hip" in name:
            columns.append((body[:, own["left_hip"]] + body[:, own["right_hip"]]) / 2)
        elif name == "neck":
            columns.append((body[:, own["left_shoulder"]] + body[:, own["right_shoulder"]]) / 2)
        else:
            side = "left" if "left" in name else "right"
            columns.append(body[:, own[f"{side}_ankle"]] + (2, 4, 0))
    return np.stack(columns, 1)


def test_unknown_names_are_counted_as_missing_and_warned_of():
    joints = ["Neck", "RShoulder", "LShoulder", *(f"point {n}" for n in range(12))]
    _, quality = seen({"layout": {"joints": joints}, "fps": 30, "keypoints": coco(40)[:, :15].tolist()})
    assert "joints_not_found" in codes(quality.warnings)
    assert quality.joints_missing > 0.6
    assert {"lknee", "rwrist", "lhip"} <= set(quality.missing_joints)


# Time


def test_an_assumed_rate_is_said_and_timestamps_are_used():
    body = document(60)
    del body["fps"]
    assert codes(seen(body)[1].notes) == ["fps_assumed"]
    assert_same(body | {"timestamps": [10 + n / 12 for n in range(60)]}, document(60, fps=12))
    people, _ = prepare(parse_clip(body | {"timestamps": [n / 12 for n in range(60)]}))
    assert people[0].log_seconds[0] == pytest.approx(np.log(5), abs=1e-3)


def test_uneven_timestamps_are_resampled_and_long_gaps_stay_unseen():
    values = coco(90)
    keep = [n for n in range(90) if n % 7 != 3]
    body = document(keypoints=values[keep].tolist(), timestamps=[n / 30 for n in keep])
    del body["fps"]
    clip = parse_clip(body)
    assert (clip.frames, round(clip.fps, 3), codes(clip.notes)) == (90, 30, ["timestamps_resampled"])
    np.testing.assert_allclose(clip.positions[0], values[..., :2], atol=8)
    gap = [n for n in range(90) if not 30 <= n < 60]
    clip = parse_clip(document(keypoints=values[gap].tolist(), timestamps=[n / 30 for n in gap]))
    assert not clip.confidence[0, 31:59].any()
    assert clip.confidence[0, :30].all()


@pytest.mark.parametrize(
    ("stamps", "loc", "word"),
    [
        ([0.0, 0.1, 0.1, 0.3, 0.4, 0.5], "timestamps[2]", "increase"),
        ([0.0, 0.1, "x", 0.3, 0.4, 0.5], "timestamps[2]", "number"),
        ([0.0, 0.1], "timestamps", "6 frames"),
        ([0, 33_000, 66_000, 99_000, 132_000, 165_000], "timestamps", "milliseconds"),
        ("now", "timestamps", "list"),
    ],
)
def test_wrong_timestamps_are_named_with_their_frame(stamps, loc, word):
    (found,) = problems(document(6, timestamps=stamps))
    assert found[0] == loc
    assert word in found[2]


@pytest.mark.parametrize("name", ["frame_rate", "timestamp", "times"])
def test_other_names_of_time_are_not_ignored_where_the_rate_is_missing(name):
    body = document(6, **{name: 25})
    assert parse_clip(body).fps == 30
    del body["fps"]
    (found,) = problems(body)
    assert found[:2] == (name, "unknown_time_field")
    assert "fps" in found[2]


def test_segments_in_frames_are_asked_about():
    body = document(40, segments=[{"label": "a", "start": 0, "end": 40}])
    (found,) = problems(body)
    assert "frame numbers" in found[2]


# Who is who


def pair(frames: int = 40) -> np.ndarray:
    second = np.add(coco(frames)[::-1], (500, 20, 0))
    return np.stack((coco(frames), second), 1)


@pytest.mark.parametrize("seed", range(3))
def test_people_in_changing_order_are_matched(seed):
    values = pair()
    swapped = values.copy()
    turns = np.random.default_rng(seed).random(40) < 0.4
    turns[0] = False
    swapped[turns] = values[turns][:, ::-1]
    assert_same(document(keypoints=swapped.tolist()), document(keypoints=values.tolist()), "people_reordered")


def test_three_people_one_of_whom_leaves_are_matched():
    values = np.concatenate((pair(), pair()[:, 1:] + (500, 0, 0)), 1)
    values[20:26, 1] = 0
    shuffled = values.copy()
    for t in range(1, 40):
        shuffled[t] = values[t][np.random.default_rng(t).permutation(3)]
    found, wanted = (parse_clip(document(keypoints=v.tolist())) for v in (shuffled, values))
    np.testing.assert_array_equal(found.confidence, wanted.confidence)
    np.testing.assert_allclose(found.positions, wanted.positions)


def test_people_who_keep_their_order_are_left_alone_even_close_together():
    values = pair()
    values[:, 1, :, 0] -= 480
    clip = parse_clip(document(keypoints=values.tolist()))
    assert clip.notes == ()


def test_ragged_people_are_filled_and_matched():
    values = pair()
    ragged, reference = values.tolist(), values.tolist()
    for t in range(3, 40, 4):
        ragged[t] = [ragged[t][1]]
        reference[t][0] = None
    found, wanted = parse_clip(document(keypoints=ragged)), parse_clip(document(keypoints=reference))
    np.testing.assert_array_equal(found.confidence, wanted.confidence)
    assert codes(found.notes) == ["people_padded", "people_reordered"]


def test_track_ids_outrank_position():
    values = pair()
    swapped, ids = values.copy(), [["a", "b"]] * 40
    swapped[1::2], ids[1::2] = values[1::2, ::-1], [["b", "a"]] * 20
    body = document(keypoints=swapped.tolist(), track_ids=ids)
    assert_same(body, document(keypoints=values.tolist()))
    assert problems(document(keypoints=swapped.tolist(), track_ids=[[1, 1]] * 40))[0][1] == "duplicate_track"
    assert problems(document(keypoints=swapped.tolist(), track_ids=[[1]] * 40))[0][0] == "track_ids[0]"


def test_a_jump_of_the_whole_body_is_warned_of():
    values = coco(40)
    values[20:, :, 0] += 900
    (warning,) = seen(document(keypoints=values.tolist()))[1].warnings
    assert (warning.code, warning.field) == ("person_jumps", "track_ids")


# Confidence


@pytest.mark.parametrize(
    ("factor", "scale", "note"),
    [(1.2, None, "confidence_clipped"), (6.0, None, "confidence_clipped"), (100, None, "confidence_in_percent"),
     (100, "percent", None)],
)  # fmt: skip
def test_other_scales_of_confidence_are_brought_to_0_to_1(factor, scale, note):
    values = coco(40)
    values[::3, :, 2] = 0.95
    sent = values.copy()
    sent[..., 2] *= factor
    fields = {} if scale is None else {"confidence_scale": scale}
    clip = parse_clip(document(keypoints=sent.tolist(), **fields))
    assert clip.confidence.max() <= 1
    assert codes(clip.notes) == ([note] if note else [])
    if factor == 100:
        np.testing.assert_allclose(clip.confidence[0], values[..., 2], rtol=1e-5)


@pytest.mark.parametrize("stated", [True, False])
def test_flags_of_coco_and_states_of_kinect_are_understood(stated):
    flags = np.random.default_rng(0).integers(0, 3, (40, 17)).astype(float)
    values = coco(40)
    values[..., 2] = flags
    clip = parse_clip(document(keypoints=values.tolist(), **({"confidence_scale": "coco"} if stated else {})))
    np.testing.assert_array_equal(clip.confidence[0], flags > 0)
    solid = np.concatenate((standing(40), flags[..., None]), -1).tolist()
    body = {**SOLID, "coords": "xyzc", "keypoints": solid}
    clip = parse_clip(body | ({"confidence_scale": "kinect"} if stated else {}))
    np.testing.assert_array_equal(clip.confidence[0], flags / 2)
    assert len(clip.notes) == (0 if stated else 1)


def test_a_third_coordinate_is_never_taken_for_a_score():
    solid = standing(40)
    (first, *_) = problems({"layout": "h36m17", "fps": 30, "keypoints": solid.tolist()})
    assert first[1] == "confidence_out_of_range"
    assert '"coords": "xyz"' in first[2]
    assert problems(document(keypoints=(coco(6) * (1, 1, 3000)).tolist()))[0][1] == "confidence_out_of_range"
    assert problems(document(confidence_scale="coco"))[0][1] == "confidence_out_of_range"


# Shapes


@pytest.mark.parametrize(
    "change",
    [
        lambda k: k[None],
        lambda k: k[:, None],
        lambda k: k.transpose(2, 0, 1),
        lambda k: k.transpose(2, 0, 1)[..., None],
        lambda k: k.transpose(2, 0, 1)[None, ..., None],
        lambda k: k.transpose(0, 2, 1),
        lambda k: k.reshape(len(k), -1),
    ],
    ids=["1TJC", "T1JC", "CTJ", "CTJM", "NCTJM", "TCJ", "flat"],
)
@pytest.mark.parametrize("form", ["lists", "array"])
def test_other_orders_of_the_axes_are_read_where_only_one_fits(change, form):
    values = change(coco(40))
    body = document(keypoints=values.tolist() if form == "lists" else values)
    found, quality = seen(body)
    np.testing.assert_allclose(found, seen(document(40))[0], atol=1e-3)
    assert codes(quality.notes) in ([], ["axes_rearranged"])


def test_two_people_before_the_frames_are_read():
    values = pair()
    np.testing.assert_array_equal(
        parse_clip(document(keypoints=values.transpose(1, 0, 2, 3).tolist())).positions,
        parse_clip(document(keypoints=values.tolist())).positions,
    )


def test_a_shape_that_fits_no_way_is_described():
    (found,) = problems(document(keypoints=coco(6).reshape(6, -1)[:, :50].tolist()))
    assert found[1] == "bad_shape"
    assert "(6, 50)" in found[2]
    assert "[frame][joint][value]" in found[2]


@pytest.mark.parametrize("people", [1, 2])
def test_channels_before_the_frames_and_people_last_are_read(people):
    values = pair()[:, :people]
    clip = parse_clip(document(keypoints=values.transpose(3, 0, 2, 1).tolist()))
    np.testing.assert_array_equal(clip.positions, parse_clip(document(keypoints=values.tolist())).positions)


@pytest.mark.parametrize("nested", [False, True])
def test_joints_as_objects_are_read_by_name(nested):
    names = get_layout("coco17").joints
    order = np.random.default_rng(0).permutation(17)
    frames: list[Any] = []
    for frame in coco(40).tolist():
        joints = [{"x": frame[j][0], "y": frame[j][1], "score": frame[j][2], "name": names[j]} for j in order]
        frames.append([{"keypoints": joints, "score": 0.9}] if nested else joints)
    assert_same(document(keypoints=frames), document(40), "joints_were_objects")


@pytest.mark.parametrize("flat", [False, True])
def test_frames_as_objects_with_keypoints_are_read(flat):
    frames = [{"keypoints": frame.ravel().tolist() if flat else frame.tolist(), "score": 0.9} for frame in coco(40)]
    notes = ("joints_were_objects", "axes_rearranged") if flat else ("joints_were_objects",)
    assert_same(document(keypoints=frames), document(40), *notes)


@pytest.mark.parametrize(("dtype", "name"), [("<f2", "float16"), ("<f8", "float64")])
def test_floats_of_another_width_are_named(dtype, name):
    raw = base64.b64encode(coco(6).astype(dtype).tobytes()).decode()
    (found,) = problems(document(encoding="f32", shape=[6, 17, 3], keypoints=raw))
    assert found[1] == "wrong_byte_count"
    assert name in found[2]


def test_an_irregular_frame_hides_no_other_problem():
    body = document(6)
    body["keypoints"][1].pop()
    body["keypoints"][3][4][2] = -5
    body["keypoints"][4][5][0] = "nan"
    assert [(loc, rule) for loc, rule, _ in problems(body)] == [
        ("keypoints[1]", "ragged_frame"),
        ("keypoints[4][5][0]", "not_a_number"),
        ("keypoints[3][4][2]", "confidence_out_of_range"),
    ]


# In general


def test_an_honest_clip_gets_no_note_and_is_not_changed():
    for body in (document(40), {**SOLID, "keypoints": standing(40).tolist()}, document(keypoints=pair().tolist())):
        clip = parse_clip(copy.deepcopy(body))
        assert (clip.notes, clip.warnings) == ((), ())
        assert prepare(clip)[1].warnings == ()


def test_a_mended_clip_is_documented_as_mended():
    values = coco(40)
    values[::5, 3] = -1
    clip: Clip = parse_clip(document(keypoints=values[..., [1, 0, 2]].tolist(), coords="yxc", mirrored=True))
    again = parse_clip(clip_document(clip))
    np.testing.assert_array_equal(again.positions, clip.positions)
    assert again.notes == ()


def test_a_finding_is_a_sentence_with_code_and_field_and_survives_pickling():
    import pickle

    found = pickle.loads(pickle.dumps(Finding("fps_assumed", "30 was assumed", "fps")))  # noqa: S301
    assert found == "30 was assumed"
    assert found.to_dict() == {"code": "fps_assumed", "message": "30 was assumed", "field": "fps"}
