"""Clips: every form reads alike, and every mistake is named with its place."""

from __future__ import annotations

import base64
import copy
import io
import math
import zipfile
from collections.abc import Callable
from typing import Any

import msgpack
import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from skeleton_prompt.clips.clip import (
    ClipLimits,
    ClipTooLarge,
    InvalidClip,
    Segment,
    clip_document,
    cut_segments,
    decode_clip,
    encode_clip,
    parse_clip,
)
from tests.support.sample_people import coco, document, standing

Change = Callable[[dict[str, Any]], object]


def same(a: Any, b: Any) -> bool:
    arrays = np.array_equal(a.positions, b.positions, equal_nan=True) and np.array_equal(a.confidence, b.confidence)
    fields = ("layout", "fps", "id", "label", "group", "image_size", "background", "segments")
    return bool(arrays and all(getattr(a, name) == getattr(b, name) for name in fields))


def problems_of(change: Change, **options: Any) -> list[tuple[str, str]]:
    body = document(6)
    change(body)
    with pytest.raises(InvalidClip) as caught:
        parse_clip(body, **options)
    assert caught.value.total == len(caught.value.problems)
    assert all(problem.message for problem in caught.value.problems)
    return [(problem.loc, problem.rule) for problem in caught.value.problems]


def put(*path: Any) -> Change:
    """Set the last of ``path`` at the place the others name."""
    *steps, last, value = path

    def change(body: dict[str, Any]) -> None:
        node: Any = body
        for step in steps:
            node = node[step]
        node[last] = value

    return change


def people(body: dict[str, Any]) -> None:
    body["keypoints"] = [[frame, copy.deepcopy(frame)] for frame in body["keypoints"]]


def then(*changes: Change) -> Change:
    def change(body: dict[str, Any]) -> None:
        for each in changes:
            each(body)

    return change


def f32(shape: Any = (6, 17, 3), keypoints: Any = None) -> Change:
    def change(body: dict[str, Any]) -> None:
        raw = np.array(body["keypoints"], "<f4").tobytes()
        body.update(encoding="f32", shape=shape if shape is None else list(shape))
        body["keypoints"] = base64.b64encode(raw).decode() if keypoints is None else keypoints

    return change


def with_value(value: float, index: int = 2 * 51 + 3 * 3) -> Change:
    def change(body: dict[str, Any]) -> None:
        values = np.array(body["keypoints"], "<f4")
        values.reshape(-1)[index] = value
        body.update(encoding="f32", shape=[6, 17, 3], keypoints=values.tobytes())

    return change


BAD: list[tuple[str, Change, str, str]] = [
    ("a number as text", put("keypoints", 2, 3, 0, "1.5"), "keypoints[2][3][0]", "not_a_number"),
    ("a boolean", put("keypoints", 2, 3, 1, True), "keypoints[2][3][1]", "not_a_number"),
    ("a null coordinate", put("keypoints", 2, 3, 1, None), "keypoints[2][3][1]", "not_a_number"),
    ("an object for a coordinate", put("keypoints", 2, 3, 1, {}), "keypoints[2][3][1]", "not_a_number"),
    ("nesting inside a coordinate", put("keypoints", 2, 3, 1, [[[1]]]), "keypoints[2][3][1]", "not_a_number"),
    ("NaN", put("keypoints", 2, 3, 1, math.nan), "keypoints[2][3][1]", "not_finite"),
    ("infinity", put("keypoints", 2, 3, 1, -math.inf), "keypoints[2][3][1]", "not_finite"),
    ("an absurd value", put("keypoints", 2, 3, 1, 1e12), "keypoints[2][3][1]", "out_of_range"),
    ("an absurd whole number", put("keypoints", 2, 3, 1, 10**400), "keypoints[2][3][1]", "out_of_range"),
    ("a confidence above 1", put("keypoints", 2, 3, 2, 1.5), "keypoints[2][3][2]", "confidence_out_of_range"),
    ("a confidence below 0", put("keypoints", 2, 3, 2, -0.1), "keypoints[2][3][2]", "confidence_out_of_range"),
    ("a short joint", put("keypoints", 2, 3, [1, 2]), "keypoints[2][3]", "ragged_joint"),
    ("an empty joint", put("keypoints", 2, 3, []), "keypoints[2][3]", "ragged_joint"),
    ("text for a joint", put("keypoints", 2, 3, "abc"), "keypoints[2][3]", "not_a_list"),
    ("a frame without its last joint", lambda b: b["keypoints"][2].pop(), "keypoints[2]", "ragged_frame"),
    ("a number for a frame", put("keypoints", 2, 7), "keypoints[2]", "not_a_list"),
    ("an object for a frame", put("keypoints", 2, {}), "keypoints[2]", "not_a_list"),
    ("another layout's count", put("layout", "ntu25"), "keypoints[0]", "wrong_joint_count"),
    ("coords of another width", put("coords", "xy"), "coords", "wrong_channel_count"),
    ("unknown coords", put("coords", "zx"), "coords", "unknown_coords"),
    ("a list for coords", put("coords", ["xy"]), "coords", "unknown_coords"),
    ("flat keypoints", put("keypoints", [1, 2, 3]), "keypoints", "bad_shape"),
    ("too little nesting", put("keypoints", [[1, 2], [3, 4]]), "keypoints", "bad_shape"),
    ("too much nesting", put("keypoints", [[[[[1.0]]]]] * 2), "keypoints", "bad_shape"),
    ("very deep nesting", put("keypoints", eval("[" * 50 + "]" * 50)), "keypoints", "bad_shape"),  # noqa: S307
    ("no keypoints", lambda b: b.pop("keypoints"), "keypoints", "missing_keypoints"),
    ("null keypoints", put("keypoints", None), "keypoints", "missing_keypoints"),
    ("an object for keypoints", put("keypoints", {}), "keypoints", "not_a_list"),
    ("text without encoding", put("keypoints", "AAAA"), "keypoints", "not_a_list"),
    ("no frames", put("keypoints", []), "keypoints", "too_few_frames"),
    ("one frame", lambda b: b.update(keypoints=b["keypoints"][:1]), "keypoints", "too_few_frames"),
    ("a joint too few of one person", then(people, lambda b: b["keypoints"][2][1].pop()), "keypoints[2][1]",
     "ragged_frame"),
    ("a bad number of one person", then(people, put("keypoints", 2, 1, 4, 0, "x")), "keypoints[2][1][4][0]",
     "not_a_number"),
    ("a bad confidence of one person", then(people, put("keypoints", 2, 1, 4, 2, 3)), "keypoints[2][1][4][2]",
     "confidence_out_of_range"),
    ("people that are no list", then(people, put("keypoints", 2, 5)), "keypoints[2]", "not_a_list"),
    ("an unknown encoding", put("encoding", "f64"), "encoding", "unknown_encoding"),
    ("f32 without shape", f32(None), "shape", "bad_shape"),
    ("f32 with two sizes", f32((6, 51)), "shape", "bad_shape"),
    ("f32 with a zero", f32((6, 0, 3)), "shape[1]", "bad_shape"),
    ("f32 with a negative size", f32((-6, 17, 3)), "shape[0]", "bad_shape"),
    ("f32 with a boolean size", f32((6, True, 3)), "shape[1]", "bad_shape"),
    ("f32 with a fraction", f32((6, 17.0, 3)), "shape[1]", "bad_shape"),
    ("f32 with five channels", f32((6, 17, 5)), "shape", "wrong_channel_count"),
    ("f32 with bytes missing", f32((7, 17, 3)), "keypoints", "wrong_byte_count"),
    ("f32 with bytes to spare", f32((5, 17, 3)), "keypoints", "wrong_byte_count"),
    ("f32 of another layout", f32((6, 34, 3), base64.b64encode(bytes(6 * 34 * 12)).decode()), "keypoints[0]",
     "wrong_joint_count"),
    ("f32 that is no base64", f32(keypoints="€" * 8), "keypoints", "not_base64"),
    ("f32 with broken base64", f32(keypoints="A!==" * 9), "keypoints", "not_base64"),
    ("f32 as nested lists", f32(keypoints=[[[1.0, 2.0, 3.0]]]), "keypoints", "not_base64"),
    ("f32 with infinity", with_value(math.inf), "keypoints[2][3][0]", "not_finite"),
    ("f32 with an absurd value", with_value(1e20), "keypoints[2][3][0]", "out_of_range"),
    ("no layout", lambda b: b.pop("layout"), "layout", "missing_layout"),
    ("an unknown layout", put("layout", "coco18"), "layout", "unknown_layout"),
    ("a number for a layout", put("layout", 17), "layout", "not_a_layout"),
    ("an unnamed joint", put("layout", {"joints": ["nose", 5]}), "layout.joints[1]", "bad_joint_name"),
    ("a joint named twice", put("layout", {"joints": ["nose", "nose"]}), "layout.joints[1]", "duplicate_joint"),
    ("fps as text", put("fps", "30"), "fps", "not_a_number"),
    ("fps as boolean", put("fps", True), "fps", "not_a_number"),
    ("fps of nothing", put("fps", 0), "fps", "fps_out_of_range"),
    ("negative fps", put("fps", -30), "fps", "fps_out_of_range"),
    ("absurd fps", put("fps", 1e6), "fps", "fps_out_of_range"),
    ("infinite fps", put("fps", math.inf), "fps", "not_a_number"),
    ("overflowing fps", put("fps", 10**400), "fps", "not_a_number"),
    ("an unknown y axis", put("y_axis", "left"), "y_axis", "unknown_y_axis"),
    ("a number for the y axis", put("y_axis", 1), "y_axis", "unknown_y_axis"),
    ("half an image size", put("image_size", [640]), "image_size", "bad_image_size"),
    ("an empty image", put("image_size", [640, 0]), "image_size[1]", "bad_image_size"),
    ("a number for an id", put("id", 5), "id", "not_a_string"),
    ("an empty id", put("id", ""), "id", "bad_length"),
    ("a long label", put("label", "x" * 129), "label", "bad_length"),
    ("an empty label", put("label", ""), "label", "bad_length"),
    ("a label with half a character", put("label", "a\ud800"), "label", "bad_character"),
    ("a label with NUL", put("label", "a\0"), "label", "bad_character"),
    ("a list for a group", put("group", ["a"]), "group", "not_a_string"),
    ("segments that are no list", put("segments", {}), "segments", "bad_segments"),
    ("no segments", put("segments", []), "segments", "bad_segments"),
    ("a segment that is no object", put("segments", [3]), "segments[0]", "not_an_object"),
    ("a segment without label", put("segments", [{"start": 0, "end": 0.1}]), "segments[0].label", "missing_label"),
    ("a segment without end", put("segments", [{"label": "a", "start": 0}]), "segments[0].end", "not_a_number"),
    ("a segment backwards", put("segments", [{"label": "a", "start": 0.1, "end": 0}]), "segments[0]", "bad_interval"),
    ("a segment past the end", put("segments", [{"label": "a", "start": 0, "end": 9}]), "segments[0].end",
     "beyond_end"),
    ("label and segments", lambda b: b.update(label="a", segments=[{"label": "a", "start": 0, "end": 0.1}]),
     "segments", "label_and_segments"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "loc", "rule"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_a_mistake_is_named_with_its_place_and_nothing_else(change, loc, rule):
    assert problems_of(change) == [(loc, rule)]


@pytest.mark.parametrize("junk", [None, 5, "clip", [], True])
def test_a_clip_that_is_no_object_is_refused(junk):
    with pytest.raises(InvalidClip) as caught:
        parse_clip(junk, prefix="clips[2]")
    assert (caught.value.problems[0].loc, caught.value.problems[0].rule) == ("clips[2]", "not_an_object")


def test_all_problems_are_reported_at_once_and_placed_in_the_larger_document():
    change = then(put("fps", "x"), put("id", 3), put("keypoints", 1, 2, 0, "x"), put("keypoints", 4, 5, 6))
    found = problems_of(change, prefix="clips[7]")
    assert set(found) == {
        ("clips[7].fps", "not_a_number"),
        ("clips[7].id", "not_a_string"),
        ("clips[7].keypoints[1][2][0]", "not_a_number"),
        ("clips[7].keypoints[4][5]", "not_a_list"),
    }


@pytest.mark.parametrize("value", ["x", -2.0])
def test_the_first_hundred_problems_are_kept_and_all_are_counted(value):
    body = document(20)
    for frame in body["keypoints"]:
        for joint in frame:
            joint[2] = value
    with pytest.raises(InvalidClip) as caught:
        parse_clip(body)
    assert len(caught.value.problems) == 100
    assert caught.value.total == 20 * 17


@pytest.mark.parametrize(
    ("change", "limits", "rule", "name"),
    [
        (lambda b: None, ClipLimits(max_frames=5), "too_many_frames", "max_frames"),
        (f32(), ClipLimits(max_frames=5), "too_many_frames", "max_frames"),
        (f32((2**31, 2**31, 4)), ClipLimits(), "too_many_frames", "max_frames"),
        (f32((6, 2**31, 4)), ClipLimits(), "too_many_joints", "max_joints"),
        (f32((6, 17, 17, 3)), ClipLimits(), "too_many_people", "max_people"),
        (people, ClipLimits(max_people=1), "too_many_people", "max_people"),
        (lambda b: None, ClipLimits(max_joints=16), "too_many_joints", "max_joints"),
        (put("layout", {"joints": [f"j{i}" for i in range(300)]}), ClipLimits(), "too_many_joints", "max_joints"),
    ],
)
def test_a_limit_on_size_is_its_own_error_and_names_the_limit(change, limits, rule, name):
    body = document(6)
    change(body)
    with pytest.raises(ClipTooLarge) as caught:
        parse_clip(body, limits)
    assert caught.value.problems[0].rule == rule
    assert name in caught.value.problems[0].message


def test_every_form_of_one_clip_reads_alike():
    values = coco(12).astype(np.float32)
    lists = orjson.loads(orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY))
    fields = {"layout": "coco17", "fps": 25, "label": "wave"}
    binary = {**fields, "encoding": "f32", "shape": [12, 17, 3]}
    forms = [
        {**fields, "keypoints": lists},
        {**binary, "keypoints": base64.b64encode(values.tobytes()).decode()},
        msgpack.unpackb(msgpack.packb({**binary, "keypoints": values.tobytes()})),
        msgpack.unpackb(msgpack.packb({**fields, "keypoints": lists})),
        {**binary, "shape": [12, 1, 17, 3], "keypoints": values.tobytes()},
        {**fields, "coords": "xyc", "keypoints": lists, "unknown": {"field": 1}},
    ]
    clips = [parse_clip(form) for form in forms]
    assert all(same(clips[0], clip) for clip in clips)
    assert clips[0].positions.dtype == np.float32


def test_unseen_joints_frames_and_people_in_every_spelling():
    body = document(6)
    body["keypoints"][0][0] = None
    body["keypoints"][1][1][2] = 0
    body["keypoints"][2][2][:2] = [0, 0]
    body["keypoints"][3] = None
    clip = parse_clip(body)
    for t, j in ((0, 0), (1, 1), (2, 2), (3, 5)):
        assert np.isnan(clip.positions[0, t, j]).all()
        assert clip.confidence[0, t, j] == 0
    assert (clip.confidence > 0).sum() == 6 * 17 - 3 - 17
    people(body)
    body["keypoints"][3] = [None, body["keypoints"][4][0]]
    both = parse_clip(body)
    assert both.people == 2
    assert not both.confidence[0, 3].any()
    assert both.confidence[1, 3].all()


def test_nan_means_unseen_in_binary_only():
    body = document(6)
    with_value(math.nan)(body)
    clip = parse_clip(body)
    assert np.isnan(clip.positions[0, 2, 3]).all()
    assert clip.confidence[0, 2, 3] == 0


def test_a_clip_of_nulls_is_a_clip_in_which_nothing_is_seen():
    clip = parse_clip(document(4, keypoints=[None] * 4))
    assert not clip.confidence.any()
    assert clip.positions.shape == (1, 4, 17, 2)


def test_axes_come_out_in_one_convention():
    flat, solid = coco(4)[..., :2], standing(4)
    down = parse_clip(document(4, keypoints=flat.tolist())).positions
    up = parse_clip(document(4, keypoints=(flat * (1, -1)).tolist(), y_axis="up")).positions
    np.testing.assert_array_equal(down, up)
    fields = {"layout": "h36m17", "coords": "xyz"}
    world = parse_clip({**fields, "keypoints": solid.tolist()}).positions
    camera = parse_clip({**fields, "keypoints": (solid * (1, -1, -1)).tolist(), "y_axis": "down"}).positions
    np.testing.assert_array_equal(world, camera)
    np.testing.assert_allclose(world[0], solid, rtol=1e-6)


def test_four_values_are_a_3d_joint_with_confidence():
    values = np.concatenate([standing(4), np.full((4, 17, 1), 0.5)], -1)
    clip = parse_clip({"layout": "h36m17", "coords": "xyzc", "keypoints": values.tolist()})
    assert clip.positions.shape == (1, 4, 17, 3)
    assert (clip.confidence == 0.5).all()


def test_labels_for_teaching():
    assert parse_clip(document(6, label="wave"), teaching=True).label == "wave"
    background = parse_clip(document(6, label=None), teaching=True)
    assert background.background
    assert background.label is None
    assert not parse_clip(document(6)).background
    assert problems_of(lambda b: None, teaching=True) == [("label", "missing_label")]
    assert len(parse_clip(document(6, label="手" * 128), teaching=True).label or "") == 128


def test_segments_become_clips_of_their_own_in_one_group():
    rows = [{"label": "a", "start": 0, "end": 0.5}, {"label": None, "start": 0.5, "end": 1.0},
            {"label": "b", "start": 1.3, "end": 1.3333}]  # fmt: skip
    clip = parse_clip(document(40, segments=rows, id="tape"), teaching=True)
    assert clip.segments[0] == Segment("a", 0, 0.5)
    parts = cut_segments(clip)
    assert [(part.label, part.background, part.frames, part.group) for part in parts] == [
        ("a", False, 15, "tape"),
        (None, True, 15, "tape"),
        ("b", False, 2, "tape"),
    ]
    assert cut_segments(parts[0]) == [parts[0]]


def example_clips() -> list[Any]:
    two = document(6, id="x", group="g", image_size=[640, 480], label="élan")
    people(two)
    two["keypoints"][2][1] = None
    solid = {"layout": {"joints": ["a", "b", "c", "nose", "left_hip"]}, "coords": "xyz",
             "keypoints": np.random.default_rng(0).normal(size=(3, 5, 3)).tolist()}  # fmt: skip
    return [two, solid, document(6, label=None), document(40, segments=[{"label": "a", "start": 0, "end": 1}])]


@pytest.mark.parametrize("body", example_clips())
def test_storing_and_documenting_lose_nothing(body):
    clip = parse_clip(body)
    assert same(decode_clip(encode_clip(clip)), clip)
    assert encode_clip(decode_clip(encode_clip(clip))) == encode_clip(clip)
    assert same(parse_clip(orjson.loads(orjson.dumps(clip_document(clip)))), clip)


def bomb() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("positions.npy", "confidence.npy", "header.npy"):
            archive.writestr(name, b"\0" * (100 << 20))
    return buffer.getvalue()


def pickled() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, positions=np.array([{}], object), confidence=np.zeros(1), header=np.zeros(1))
    return buffer.getvalue()


@pytest.mark.parametrize("data", [b"", b"junk", encode_clip(parse_clip(document(6)))[:-50], pickled(), bomb()],
                         ids=["empty", "junk", "cut", "pickle", "bomb"])  # fmt: skip
def test_a_damaged_or_hostile_file_is_refused(data):
    with pytest.raises(InvalidClip) as caught:
        decode_clip(data)
    assert caught.value.problems[0].rule == "damaged"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=20,
)
FIELDS = ("id", "label", "layout", "fps", "keypoints", "image_size", "group", "coords", "encoding", "shape", "y_axis",
          "segments", "units", "up_axis", "handedness", "mirrored", "timestamps", "track_ids",
          "confidence_scale")  # fmt: skip


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(FIELDS), JSON), st.booleans())
def test_no_document_whatever_raises_anything_but_invalid_clip(fields, teaching):
    body = {**document(3), **fields}
    clip, error = None, None
    try:
        clip = parse_clip(body, teaching=teaching)
    except InvalidClip as caught:
        error = caught
    if error:
        assert error.total >= len(error.problems) >= 1
        assert all((problem.loc + problem.message).encode() for problem in error.problems)
    else:
        assert same(decode_clip(encode_clip(clip)), clip)


@settings(max_examples=60, deadline=None)
@given(
    npst.arrays(np.float32, st.tuples(st.integers(2, 5), st.integers(1, 3), st.just(3), st.just(2)),
                elements=st.floats(-1e6, 1e6, width=32)),
    st.data(),
)  # fmt: skip
def test_random_nulls_read_like_their_binary_twin(values, data):
    hidden = data.draw(npst.arrays(bool, values.shape[:3]))
    values = values.copy()
    values[hidden] = np.nan
    nested = [[[None if np.isnan(j).any() else j.tolist() for j in person] for person in frame] for frame in values]
    fields = {"layout": {"joints": ["nose", "left_hip", "right_hip"]}}
    shape = list(values.shape)
    binary = parse_clip({**fields, "encoding": "f32", "shape": shape, "keypoints": values.tobytes()})
    if hidden.all():
        nested = [None] * len(nested)
        assert not binary.confidence.any()
    else:
        assert same(parse_clip({**fields, "keypoints": nested}), binary)


@settings(max_examples=100, deadline=None)
@given(
    st.integers(0, 3),
    st.integers(0, 16),
    st.sampled_from([None, "1", True, [], {}, math.nan, 7, [1, 2], [1, "2", 0], [[1, 2, 0]]]),
)
def test_one_replaced_joint_is_found_at_its_place(t, j, value):
    body = document(4)
    body["keypoints"][t][j] = value
    if value is None:
        assert parse_clip(body).confidence[0, t, j] == 0
        return
    with pytest.raises(InvalidClip) as caught:
        parse_clip(body)
    assert all(problem.loc.startswith(f"keypoints[{t}][{j}]") for problem in caught.value.problems)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.int32])
def test_keypoints_may_be_a_numpy_array(dtype):
    values = np.arange(2 * 17 * 3).reshape(2, 17, 3).astype(dtype) % 2
    sent = {"layout": "coco17", "keypoints": values}

    clip = parse_clip(sent)

    same = parse_clip(sent | {"keypoints": values.tolist()})
    np.testing.assert_array_equal(clip.positions, same.positions)
    np.testing.assert_array_equal(clip.confidence, same.confidence)
    assert parse_clip(sent | {"keypoints": values[:, None]}).people == 1


@pytest.mark.parametrize(
    ("values", "rule"),
    [
        (np.zeros((2, 17)), "bad_shape"),
        (np.zeros((0, 17, 3)), "bad_shape"),
        (np.zeros((2, 17, 3), bool), "not_a_number"),
        (np.full((2, 17, 3), "1"), "not_a_number"),
        (np.zeros((2, 17, 3), object), "not_a_number"),
        (np.full((2, 17, 3), np.inf), "not_finite"),
        (np.zeros((2, 16, 3)), "wrong_joint_count"),
    ],
)
def test_an_array_that_is_no_clip_is_told_why(values, rule):
    with pytest.raises(InvalidClip) as caught:
        parse_clip({"layout": "coco17", "keypoints": values})
    assert caught.value.problems[0].rule == rule


@pytest.mark.parametrize(
    "keypoints",
    [[[[1.0, 2.0]] * 33] * 3, [None, [[[1.0, 2.0]] * 33] * 2], np.ones((3, 33, 2)), np.ones((3, 2, 33, 2))],
)
def test_an_unknown_layout_is_answered_with_those_of_as_many_joints(keypoints):
    with pytest.raises(InvalidClip, match="the clip has 33 joints, as mediapipe33"):
        parse_clip({"layout": "mocopi", "keypoints": keypoints})


@pytest.mark.parametrize("keypoints", [[], [None], [[]], "text", [5], [[5]], None])
def test_an_unknown_layout_of_unclear_keypoints_is_answered_all_the_same(keypoints):
    with pytest.raises(InvalidClip, match="no layout is called 'mocopi'"):
        parse_clip({"layout": "mocopi", "keypoints": keypoints})
