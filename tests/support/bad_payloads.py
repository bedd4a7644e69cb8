"""Bodies that no client should send: what is wrong, the body, its headers, and what must be said about it."""

import base64
import gzip
import struct
import zlib
from dataclasses import dataclass, field
from typing import Any

import msgpack
import numpy as np
import orjson

from tests.support.gateway_app import person

MSGPACK = {"Content-Type": "application/msgpack"}
GZIP = {"Content-Encoding": "gzip"}


@dataclass(frozen=True)
class Bad:
    """One bad payload; ``place`` must occur in the answer's detail or in the place of one of its errors."""

    name: str
    body: bytes
    status: int
    place: str
    headers: dict[str, str] = field(default_factory=dict)


def clip(**fields: Any) -> bytes:
    return orjson.dumps(person() | fields)


def without(name: str) -> bytes:
    return orjson.dumps({key: value for key, value in person().items() if key != name})


def joint(value: Any) -> bytes:
    """A good clip but for joint 3 of frame 5."""
    document = person()
    document["keypoints"][5][3] = value
    return orjson.dumps(document)


def text(at: bytes, value: bytes) -> bytes:
    """A good clip as text, with something in it replaced that no encoder would write."""
    body = orjson.dumps(person() | {"fps": 30})
    assert at in body
    return body.replace(at, value, 1)


def f32(array: Any = None, **fields: Any) -> bytes:
    array = np.array(person()["keypoints"], "<f4") if array is None else array
    document = {
        "encoding": "f32",
        "shape": list(array.shape),
        "keypoints": base64.b64encode(array.tobytes()).decode(),
    }
    return orjson.dumps(person() | document | fields)


def frames(value: Any) -> bytes:
    return clip(keypoints=value)


def bomb(size: int) -> bytes:
    """A gzip of zeros, made piece by piece."""
    packer = zlib.compressobj(9, wbits=31)
    parts = [packer.compress(bytes(1 << 20)) for _ in range(size >> 20)]
    return b"".join([*parts, packer.flush()])


ONE = [[1.0, 2.0, 0.9]] * 17

BODIES = [
    Bad("nothing", b"", 400, "empty"),
    Bad("only spaces", b"   ", 400, "JSON"),
    Bad("half a JSON", clip()[:-40], 400, "JSON"),
    Bad("two JSONs", clip() + clip(), 400, "JSON"),
    Bad("a list", b"[1,2]", 400, "object"),
    Bad("a string", b'"clip"', 400, "object"),
    Bad("a number", b"7", 400, "object"),
    Bad("null", b"null", 400, "object"),
    Bad("a comment", b"/* hi */ {}", 400, "JSON"),
    Bad("a trailing comma", b'{"layout": "coco17",}', 400, "JSON"),
    Bad("single quotes", b"{'layout': 'coco17'}", 400, "JSON"),
    Bad("a byte order mark in UTF-16", "{}".encode("utf-16"), 400, "JSON"),
    Bad("Latin-1", b'{"id": "\xe9"}', 400, "JSON"),
    Bad("a lone surrogate", text(b'"coco17"', b'"\\ud800"'), 400, "JSON"),
    Bad("a lone low surrogate", text(b'"coco17"', b'"\\udfff"'), 400, "JSON"),
    Bad("NaN", text(b'"fps":30', b'"fps":NaN'), 400, "JSON"),
    Bad("Infinity", text(b'"fps":30', b'"fps":Infinity'), 400, "JSON"),
    Bad("1e999", text(b'"fps":30', b'"fps":1e999'), 400, "JSON"),
    Bad("a hexadecimal number", text(b'"fps":30', b'"fps":0x1e'), 400, "JSON"),
    Bad("a control character in a string", text(b'"coco17"', b'"coco\x0017"'), 400, "JSON"),
    Bad("deep lists", b'{"keypoints":' + b"[" * 100_000 + b"]" * 100_000 + b"}", 413, "max_json_depth"),
    Bad("deep objects", b'{"a":' * 1000 + b"1" + b"}" * 1000, 413, "max_json_depth"),
    Bad("deep and never closed", b"[" * 1_000_000, 413, "max_json_depth"),
    Bad("no layout", without("layout"), 422, "layout"),
    Bad("an unknown layout", clip(layout="coco71"), 422, "layout"),
    Bad("a layout that is a number", clip(layout=17), 422, "layout"),
    Bad("a layout that is a list", clip(layout=["nose"]), 422, "layout"),
    Bad("a custom layout without joints", clip(layout={}), 422, "layout"),
    Bad("a custom layout of unknown joints", clip(layout={"joints": [f"q{n}" for n in range(17)]}), 422, "layout"),
    Bad("a joint twice", clip(layout={"joints": ["nose"] * 17}), 422, "layout"),
    Bad("a joint name that is a number", clip(layout={"joints": [1] * 17}), 422, "layout"),
    Bad("no keypoints", without("keypoints"), 422, "keypoints"),
    Bad("keypoints that are null", frames(None), 422, "keypoints"),
    Bad("keypoints that are a number", frames(5), 422, "keypoints"),
    Bad("keypoints that are an object", frames({}), 422, "keypoints"),
    Bad("no frames", frames([]), 422, "keypoints"),
    Bad("one frame", frames([ONE]), 422, "keypoints"),
    Bad("too many frames", frames([ONE] * 2049), 413, "max_frames"),
    Bad("a million frames", b'{"layout":"coco17","keypoints":[' + b"0," * 999_999 + b"0]}", 413, "max_frames"),
    Bad("too many joints", clip(layout={"joints": [f"j{n}" for n in range(300)]}), 413, "max_joints"),
    Bad("too many people", frames([[ONE] * 17] * 3), 413, "max_people"),
    Bad("a frame with too few joints", frames([ONE, ONE[:9], ONE]), 422, "keypoints[1]"),
    Bad("a frame with too many joints", frames([ONE, ONE, [*ONE, ONE[0]]]), 422, "keypoints[2]"),
    Bad("a frame that is a number", frames([ONE, 3, ONE]), 422, "keypoints[1]"),
    Bad("a frame that is a string", frames([ONE, "frame", ONE]), 422, "keypoints[1]"),
    Bad("a frame that is an object", frames([ONE, {"nose": [1, 2]}, ONE]), 422, "keypoints[1]"),
    Bad("a ragged joint", joint([1.0, 2.0]), 422, "keypoints[5][3]"),
    Bad("a joint that is a number", joint(4.0), 422, "keypoints[5][3]"),
    Bad("a joint that is a string", joint("nose"), 422, "keypoints[5][3]"),
    Bad("a joint that is an object", joint({"x": 1}), 422, "keypoints[5][3]"),
    Bad("a joint of five numbers", joint([1, 2, 3, 4, 5]), 422, "keypoints[5][3]"),
    Bad("a coordinate that is text", joint(["1.5", 2.0, 0.9]), 422, "keypoints[5][3][0]"),
    Bad("a coordinate that is true", joint([1.0, True, 0.9]), 422, "keypoints[5][3][1]"),
    Bad("a coordinate that is a list", joint([1.0, [2.0], 0.9]), 422, "keypoints[5][3][1]"),
    Bad("a coordinate beyond reason", joint([1e300, 2.0, 0.9]), 422, "keypoints[5][3][0]"),
    Bad("a coordinate that is 1e999", joint([1.5, 2.0, 0.9]).replace(b"[1.5,2.0,0.9]", b"[1e999,2,1]"), 400, "JSON"),
    Bad("a confidence above one", joint([1.0, 2.0, 1.5]), 422, "keypoints[5][3]"),
    Bad("a confidence below zero", joint([1.0, 2.0, -0.5]), 422, "keypoints[5][3]"),
    Bad("nothing visible", frames([None] * 10), 422, "keypoints"),
    Bad("nothing but zeros", frames([[[0, 0, 0]] * 17] * 10), 422, "keypoints"),
    Bad("fps of zero", clip(fps=0), 422, "fps"),
    Bad("negative fps", clip(fps=-30), 422, "fps"),
    Bad("fps as text", clip(fps="30"), 422, "fps"),
    Bad("fps that is true", clip(fps=True), 422, "fps"),
    Bad("fps beyond any camera", clip(fps=1e9), 422, "fps"),
    Bad("an unknown y axis", clip(y_axis="sideways"), 422, "y_axis"),
    Bad("unknown coordinates", clip(coords="xyw"), 422, "coords"),
    Bad("an image size of one number", clip(image_size=[100]), 422, "image_size"),
    Bad("a negative image size", clip(image_size=[-1, 100]), 422, "image_size"),
    Bad("an id that is a number", clip(id=5), 422, "id"),
    Bad("an id too long", clip(id="x" * 129), 422, "id"),
    Bad("a group with NUL", clip(group="a\0b"), 422, "group"),
    Bad("an unknown encoding", clip(encoding="f64"), 422, "encoding"),
    Bad("f32 without a shape", f32(shape=None), 422, "shape"),
    Bad("f32 with another shape", f32(shape=[24, 17, 2]), 422, "shape"),
    Bad("f32 with a negative shape", f32(shape=[-24, 17, 3]), 422, "shape"),
    Bad("f32 with a huge shape", f32(shape=[2**40, 17, 3]), 422, "shape"),
    Bad("f32 with a shape of floats", f32(shape=[24.0, 17, 3]), 422, "shape"),
    Bad("f32 that is no base64", f32(keypoints="&&&&"), 422, "keypoints"),
    Bad("f32 that is too short", f32(keypoints="AAAA"), 422, "keypoints"),
    Bad("f32 with infinity", f32(np.full((24, 17, 3), np.inf, "<f4")), 422, "keypoints"),
    Bad("f32 with nothing but NaN", f32(np.full((24, 17, 3), np.nan, "<f4")), 422, "keypoints"),
    Bad("too high a top_k", clip(top_k=51), 422, "top_k"),
    Bad("a threshold that is text", clip(threshold="high"), 422, "threshold"),
    Bad("a version of minus one", clip(version=-1), 422, "version"),
    Bad("a version beyond any integer", text(b'"fps":30', b'"version":' + b"9" * 400), 400, "JSON"),
    Bad("empty msgpack", b"", 400, "empty", MSGPACK),
    Bad("half a msgpack", msgpack.packb(person())[:-10], 400, "msgpack", MSGPACK),
    Bad("msgpack that is a list", msgpack.packb([1]), 400, "object", MSGPACK),
    Bad("msgpack with more behind it", msgpack.packb(person()) + b"\x00", 400, "msgpack", MSGPACK),
    Bad("msgpack of lists without end", b"\x91" * 100_000, 400, "msgpack", MSGPACK),
    Bad("msgpack that promises four billion items", b"\xdd\xff\xff\xff\xff", 400, "msgpack", MSGPACK),
    Bad("msgpack with NaN", msgpack.packb(person() | {"fps": float("nan")}), 422, "fps", MSGPACK),
    Bad("msgpack with a surrogate", b"\x81\xa2id\xa3\xed\xa0\x80", 400, "msgpack", MSGPACK),
    Bad("msgpack with an extension", msgpack.packb(person() | {"fps": msgpack.ExtType(5, b"x")}), 422, "fps", MSGPACK),
    Bad("msgpack with a time", msgpack.packb(person() | {"fps": msgpack.Timestamp(1)}), 422, "fps", MSGPACK),
    Bad("msgpack with bytes of another length", msgpack.packb(person() | {"encoding": "f32", "shape": [24, 17, 3],
        "keypoints": struct.pack("<f", 1.0)}), 422, "keypoints", MSGPACK),
    Bad("a gzip bomb", bomb(64 << 20), 413, "max_predict_bytes", GZIP),
    Bad("a gzip of a gzip bomb", gzip.compress(bomb(64 << 20)), 400, "JSON", GZIP),
    Bad("half a gzip", gzip.compress(clip())[:-20], 400, "gzip", GZIP),
    Bad("a damaged gzip", gzip.compress(clip())[:50] + b"\xff" * 50, 400, "gzip", GZIP),
    Bad("no gzip at all", clip(), 400, "gzip", GZIP),
    Bad("another encoding", clip(), 415, "gzip", {"Content-Encoding": "br"}),
    Bad("two encodings", clip(), 415, "gzip", {"Content-Encoding": "gzip, gzip"}),
    Bad("another content type", clip(), 415, "application/json", {"Content-Type": "text/plain"}),
    Bad("a form", b"a=b", 415, "application/json", {"Content-Type": "application/x-www-form-urlencoded"}),
    Bad("another character set", clip(), 415, "UTF-8", {"Content-Type": "application/json; charset=utf-16"}),
    Bad("a body too large", b"x" * (8 * 2**20 + 1), 413, "max_predict_bytes"),
    Bad("a body that is said to be too large", b"", 413, "max_predict_bytes", {"Content-Length": "99999999999"}),
]  # fmt: skip
