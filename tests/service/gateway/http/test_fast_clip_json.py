"""The quick reader of a clip's JSON gives what the careful one gives, or nothing."""

import json

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.gateway.http.fast_clip_json import read_clip
from service.gateway.http.request_body import JSON, MSGPACK, decode_clip

DEPTH = 16
number = st.one_of(
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0, -0.0, 5e-324]),
)
word = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters='"\\'), max_size=8)
rest = st.dictionaries(
    word.filter(lambda name: name != "keypoints"),
    st.one_of(
        st.none(), st.booleans(), number, word, st.lists(number, max_size=2), st.dictionaries(word, number, max_size=2)
    ),
    max_size=3,
)


@st.composite
def nested(draw: st.DrawFn) -> object:
    """Lists of numbers, three or four levels deep, regular or with one fault."""
    shape = draw(st.lists(st.integers(1, 3), min_size=3, max_size=4))
    values = np.array(draw(st.lists(number, min_size=int(np.prod(shape)), max_size=int(np.prod(shape)))), object)
    lists = values.reshape(shape).tolist()
    fault = draw(
        st.sampled_from(["none", "none", "short", "long", "null", "text", "true", "deeper", "object", "empty"])
    )
    place = lists
    for _ in range(draw(st.integers(0, len(shape) - 1))):
        place = place[draw(st.integers(0, len(place) - 1))]
    at = draw(st.integers(0, len(place) - 1))
    if fault == "short":
        del place[at]
    elif fault == "long":
        place.insert(at, place[at])
    elif fault != "none":
        place[at] = {"null": None, "text": "1", "true": True, "deeper": [1], "object": {}, "empty": []}[fault]
    return lists


def as_array(lists: object) -> np.ndarray | None:
    """The array that regular lists of three or four levels are."""
    try:
        values = np.array(lists, object)
    except ValueError:
        return None
    if values.ndim not in (3, 4) or not values.size or not {type(value) for value in values.flat} <= {int, float}:
        return None
    return values.astype(np.float64)


@given(nested(), rest, st.booleans(), st.sampled_from([None, 1]))
def test_regular_keypoints_are_read_as_the_array_they_are_and_all_else_is_left(lists, rest, first, indent):
    document = {"keypoints": lists} | rest if first else rest | {"keypoints": lists}
    body = json.dumps(document, ensure_ascii=False, indent=indent).encode()
    expected = as_array(lists)

    found = read_clip(body, DEPTH)

    if found is None:
        assert expected is None or b"\\" in body or body.count(b'"keypoints"') != 1
        return
    assert expected is not None
    assert found["keypoints"].tobytes() == expected.tobytes()
    assert found["keypoints"].shape == expected.shape
    assert {name: found[name] for name in rest} == rest


def clip(keypoints: str, rest: str = "") -> bytes:
    return f'{{"keypoints":{keypoints}{rest}}}'.encode()


def test_a_usual_clip_is_read_the_quick_way():
    body = clip(json.dumps(np.ones((4, 17, 3)).tolist()), ',"layout":"coco17","fps":30,"image_size":[640,480]')

    found = read_clip(body, DEPTH)

    assert found is not None
    assert found["keypoints"].shape == (4, 17, 3)
    assert (found["layout"], found["fps"], found["image_size"]) == ("coco17", 30, [640, 480])


@pytest.mark.parametrize(
    "body",
    [
        clip("[[[1,2],[3,4]],[[5,6],[7]]]", ',"a":[[[1,2],[3,4]],[[5,6],[7,8]]]'),  # regular elsewhere
        clip("[[[1,2]],[[3],[4]]]"),  # as many numbers, other lists
        clip("[[[1,2],[3]],[[4]]]"),
        clip("[[[1,2]],[[3,null]]]"),
        clip('[[[1,2]],[[3,"4"]]]'),
        clip("[[[1,2]],[[3,true]]]"),
        clip("[[[1,2]],[[3,1e999]]]"),
        clip("[[[1,2]],[[3,NaN]]]"),
        clip("[[[1,2]],[[3,18446744073709551616]]]"),
        clip("[[[1,2]]]", ',"version":18446744073709551616'),
        clip("[[[1,2]],[[3,04]]]"),
        clip("[[[1,2]],[[3,4]]"),
        clip("[[1,2],[3,4]]"),
        clip("[[[[[1]]]]]"),
        clip("[]"),
        clip("[[[]]]"),
        clip("{}"),
        clip("null"),
        clip("[[[1,2]]]", ',"keypoints":[[[3,4]]]'),  # which of them is meant is not for this reader to say
        clip("[[[1,2]]]", ',"fps":1,"fps":2'),
        clip("[[[1,2]]]", ',"encoding":"f32"'),
        b'{"a":"keypoints","key\\u0070oints":[[[1,2],[3]]]}',
        b'{"a":{"keypoints":[[[1,2]]]}}',
        b'[{"keypoints":[[[1,2]]]}]',
        b"\xef\xbb\xbf" + clip("[[[1,2]]]"),
        clip("[[[1,2]]]") + b"x",
        clip("[[[1,2]]]", ',"a":' + "[" * DEPTH + "]" * DEPTH),
        clip("[[[1,2]]]", ',"a":"\\ud800"'),
        b'{"a":"\xff","keypoints":[[[1,2]]]}',
        b"",
    ],
)
def test_what_is_not_quite_usual_is_left_to_the_careful_reader(body):
    assert read_clip(body, DEPTH) is None


def test_both_readers_give_the_same_document_for_other_forms():
    lists = [[[1.0, 2.0]], [[3.0, None]]]
    assert decode_clip(orjson.dumps({"keypoints": lists}), JSON, DEPTH) == {"keypoints": lists}
    assert decode_clip(b"\x81\xa3fps\x1e", MSGPACK, DEPTH) == {"fps": 30}
