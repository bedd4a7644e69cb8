"""Hostile bodies that grow with a size in bytes, one table for each reader of bodies."""

import gzip
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import msgpack
import orjson

from tests.support.gateway_app import person


@dataclass(frozen=True)
class Hostile:
    """A kind of body: its reader, and how to make one of about ``size`` bytes once unpacked."""

    name: str
    reader: str
    make: Callable[[int], bytes]


def clip_with(text: bytes) -> bytes:
    """A good clip with more text behind its keypoints."""
    return orjson.dumps(person())[:-1] + b"," + text + b"}"


def distinct_keys(size: int) -> bytes:
    return clip_with(b",".join(b'"k%07d":0' % n for n in range(size // 13)))


def gzip_members(size: int) -> bytes:
    """Archives of nothing, ``size`` bytes of them as sent."""
    return gzip.compress(b"") * (size // 20)


def bomb(size: int, byte: bytes = b" ") -> bytes:
    packer = zlib.compressobj(9, wbits=31)
    return b"".join(packer.compress(byte * 65536) for _ in range(size // 65536)) + packer.flush()


def lists_of(item: bytes, size: int) -> bytes:
    """Msgpack: a field of lists of 4,095 items each."""
    return b"\x81\xa1a\xdc\x0f\xff" + (b"\xdc\x0f\xff" + item * 4095) * (size // 4098)


def mmpose_crowd(size: int) -> bytes:
    """A pose tool's document of one frame with very many people."""
    person = {"keypoints": [[1.0, 2.0]] * 17, "keypoint_scores": [0.9] * 17}
    frame = {"frame_id": 1, "instances": [person] * (size // 270)}
    return orjson.dumps({"meta_info": {}, "instance_info": [frame]})


def coco_crowd(size: int) -> bytes:
    """Annotations of very many people, all of one image."""
    row = {"image_id": 0, "category_id": 1, "keypoints": [1.0, 2.0, 0.9] * 17, "num_keypoints": 17}
    annotations = [row | {"id": n} for n in range(size // 270)]
    return orjson.dumps({"images": [{"id": 0, "file_name": "0.jpg"}], "annotations": annotations, "categories": []})


def landmarks(size: int) -> bytes:
    """Landmarks as objects."""
    landmark = {"x": 0.1, "y": 0.2, "z": 0.1, "visibility": 0.9}
    return orjson.dumps({"landmarks": [[landmark] * 33] * (size // 1400)})


HOSTILE = [
    Hostile("strings never closed", "json", lambda n: b"[" * 17 + b'"' + b'\\"' * (n // 2)),
    Hostile("nothing but quotes", "json", lambda n: b'["' + b'"' * n),
    Hostile("nothing but backslashes", "json", lambda n: b'{"a":"' + b"\\" * n),
    Hostile("escaped brackets", "json", lambda n: b'{"a":"' + b'[\\"{' * (n // 4) + b'"}'),
    Hostile("opened and never closed", "json", lambda n: b"[" * n),
    Hostile("empty lists", "json", lambda n: b'{"keypoints":[' + b"[]," * (n // 3) + b"[]]}"),
    Hostile("empty objects", "json", lambda n: b'{"keypoints":[' + b"{}," * (n // 3) + b"{}]}"),
    Hostile("lists of one digit", "json", lambda n: b'{"keypoints":[' + b"[0]," * (n // 4) + b"[0]]}"),
    Hostile("zeros", "json", lambda n: b'{"layout":"coco17","keypoints":[' + b"0," * (n // 2) + b"0]}"),
    Hostile("one long number", "json", lambda n: b'{"keypoints":[[[' + b"1" * n + b"]]]}"),
    Hostile("one long fraction", "json", lambda n: b'{"keypoints":[[[0.' + b"1" * n + b"]]]}"),
    Hostile("distinct keys", "json", distinct_keys),
    Hostile("one key many times", "json", lambda n: clip_with(b",".join([b'"a":0'] * (n // 6)))),
    Hostile("keypoints many times", "json", lambda n: clip_with(b",".join([b'"keypoints":0'] * (n // 14)))),
    Hostile("one long string", "json", lambda n: b'{"layout":"' + b"x" * n + b'"}'),
    Hostile("escapes", "json", lambda n: b'{"layout":"' + b"\\u00e9" * (n // 6) + b'"}'),
    Hostile("blanks", "json", lambda n: b" " * n),
    Hostile(
        "ragged frames", "json", lambda n: b'{"layout":"coco17","keypoints":[' + b"[[1,2],[1]]," * (n // 12) + b"0]}"
    ),
    Hostile("base64 that is none", "json", lambda n: base64_clip(b"&" * n)),
    Hostile("base64 of another shape", "json", lambda n: base64_clip(b"AAAA" * (n // 4))),
    Hostile("base64 with padding inside", "json", lambda n: base64_clip(b"AA==" * (n // 4))),
    Hostile("a crowd of MMPose", "json", mmpose_crowd),
    Hostile("COCO annotations of one image", "json", coco_crowd),
    Hostile("MediaPipe landmarks", "json", landmarks),
    Hostile("nils", "msgpack", lambda n: b"\xdd" + struct.pack(">I", n) + b"\xc0" * n),
    Hostile("nils in a field", "msgpack", lambda n: b"\x81\xa1a\xdd" + struct.pack(">I", n) + b"\xc0" * n),
    Hostile("empty lists in lists", "msgpack", lambda n: lists_of(b"\x90", n)),
    Hostile("lists in lists", "msgpack", lambda n: b"\x91" * n),
    Hostile(
        "announced and never sent", "msgpack", lambda n: b"\x81\xa1a" + (b"\xdd" + struct.pack(">I", n)) * (n // 5)
    ),
    Hostile("empty maps in lists", "msgpack", lambda n: lists_of(b"\x80", n)),
    Hostile("many fields", "msgpack", lambda n: msgpack.packb({f"k{i:07}": 0 for i in range(n // 10)})),
    Hostile("short strings", "msgpack", lambda n: b"\x81\xa1a\xdd" + struct.pack(">I", n // 3) + b"\xa2ab" * (n // 3)),
    Hostile("empty members", "gzip", gzip_members),
    Hostile("a bomb of blanks", "gzip", bomb),
    Hostile("a bomb of newlines", "gzip", lambda n: bomb(n, b"\n")),
    Hostile("blank lines", "lines", lambda n: b"\n" * n),
    Hostile("lines of blanks", "lines", lambda n: b" \n" * (n // 2)),
    Hostile("lines of one bracket", "lines", lambda n: b"[\n" * (n // 2)),
    Hostile("one endless line", "lines", lambda n: b"x" * n),
]


def base64_clip(text: bytes) -> bytes:
    return b'{"layout":"coco17","encoding":"f32","shape":[24,17,3],"keypoints":"' + text + b'"}'
