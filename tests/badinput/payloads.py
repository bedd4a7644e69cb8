"""Bad payloads for every route with a body: what is sent, and which status, code and place must come back."""

import gzip
from dataclasses import dataclass, field
from typing import Any

import msgpack
import orjson

from tests.support.bad_payloads import BODIES, GZIP, MSGPACK, bomb
from tests.support.gateway_app import lessons, person

NDJSON = {"Content-Type": "application/x-ndjson"}
DEEP = b"[" * 17 + b'"' + b'\\"' * 16_000
CODES = {
    400: {"malformed_body"},
    413: {"too_large"},
    415: {"unsupported_media_type"},
    422: {"invalid_clip", "invalid_clips", "invalid_request", "unknown_layout", "too_few_labels"},
}


@dataclass(frozen=True)
class Payload:
    """One bad payload; ``place`` must occur in the detail or in the place or message of an error."""

    name: str
    path: str
    body: bytes
    status: int
    place: str
    headers: dict[str, str] = field(default_factory=dict)


def json(document: Any) -> bytes:
    return orjson.dumps(document)


def labelled(**fields: Any) -> bytes:
    """Good clips to learn from, and one with these fields."""
    return json({"clips": [*lessons(), person(label="wave") | fields]})


def options(**fields: Any) -> bytes:
    return json({"clips": lessons(), "options": fields})


TUNE, CLIPS, FEEDBACK, KEYS = (f"/tenants/{{tenant}}/{name}" for name in ("tune", "clips", "feedback", "keys"))
BATCH, SEGMENTS = "/predict/batch", "/predict/segments"
SLOW = {"keypoints": [[[1.0, 2.0, 0.9]] * 17] * 2040, "fps": 0.1}

NILS = gzip.compress(b"\xdd\x00\x7a\x12\x00" + b"\xc0" * 8_000_000)
JOINTS = [[1.0, 2.0, 0.9]] * 17
HUNDRED = msgpack.packb(dict.fromkeys(map(str, range(100)), 0))
CROWD = json(person(fps=1, keypoints=[[JOINTS] * 15] * 50))
FIELDS = msgpack.packb({f"k{n}": 0 for n in range(2000)})

MORE = [
    Payload("strings never closed", "/predict", DEEP, 413, "max_json_depth"),
    Payload("strings never closed, gzip", "/predict", gzip.compress(DEEP), 413, "max_json_depth", GZIP),
    Payload("strings never closed, tune", TUNE, DEEP, 413, "max_json_depth"),
    Payload("20,000 keys", "/predict", json(person() | {f"k{n}": n for n in range(20_000)}), 422, "fields"),
    Payload("65 keys", "/predict", json(person() | {f"k{n}": n for n in range(65)}), 422, "fields"),
    Payload("empty lists", "/predict", b'{"keypoints":[' + b"[]," * 400_000 + b"[]]}", 413, "bytes"),
    Payload("empty objects", "/predict", b'{"keypoints":[' + b"{}," * 400_000 + b"{}]}", 413, "bytes"),
    Payload("100,000 empty gzip members", "/predict", gzip.compress(b"") * 100_000, 413, "members", GZIP),
    Payload("gzip behind gzip", "/predict", gzip.compress(b"{") + b"junk", 400, "gzip", GZIP),
    Payload("8,000,000 nils", "/predict", NILS, 413, "16384", GZIP | MSGPACK),
    Payload("nils announced", "/predict", b"\x81\xa1a\xdd\x00\x7a\x12\x00" + b"\xc0" * 99, 400, "msgpack", MSGPACK),
    Payload("msgpack of depth 20", "/predict", b"\x81\xa1a" + b"\x91" * 20 + b"\xc0", 413, "max_json_depth", MSGPACK),
    Payload("msgpack of depth 2,000", "/predict", b"\x81\xa1a" + b"\x91" * 2000 + b"\xc0", 400, "msgpack", MSGPACK),
    Payload("msgpack of 2,000 fields", "/predict", FIELDS, 413, "map", MSGPACK),
    Payload("msgpack of 100 fields", "/predict", HUNDRED, 422, "fields", MSGPACK),
    Payload("msgpack of empty lists", "/predict", b"\x81\xa1a\xdc\x3f\xff" + b"\x90" * 16383, 413, "bytes", MSGPACK),
    Payload("too many windows", "/predict", json(person() | SLOW), 413, "max_windows"),
    Payload("too many people and windows", "/predict", CROWD, 413, "max_windows"),
    Payload("a control character in an id", "/predict", json(person(id="a\x01")), 422, "id"),
    Payload("an escape in a group", "/predict", json(person(group="\x1b[31m")), 422, "group"),
    Payload("a version that is false", "/predict", json(person(version=False)), 422, "version"),
    Payload("a tenant with a line break", "/predict", json(person(tenant="a\nb")), 422, "tenant"),
    Payload("a threshold above one", "/predict", json(person(threshold=1.5)), 422, "threshold"),
    Payload("a batch of nothing", BATCH, json({"clips": []}), 422, "clips"),
    Payload("a batch that is a clip", BATCH, json(person()), 422, "clips"),
    Payload("a batch of 257", BATCH, json({"clips": [1] * 257}), 413, "max_batch_clips"),
    Payload("a batch of an object", BATCH, json({"clips": {"0": person()}}), 422, "clips"),
    Payload("a batch with a wrong option", BATCH, json({"clips": [person()], "top_k": 0}), 422, "top_k"),
    Payload("a window of an hour", SEGMENTS, json(person(window=3600)), 422, "window"),
    Payload("a stride of nothing", SEGMENTS, json(person(stride=0)), 422, "stride"),
    Payload("a stride as text", SEGMENTS, json(person(stride="1")), 422, "stride"),
    Payload("2,040 windows of a timeline", SEGMENTS, json(person(window=10, stride=5) | SLOW), 422, "stride"),
    Payload("a timeline of two people", SEGMENTS, json(person(keypoints=[[JOINTS] * 2] * 30)), 422, "keypoints"),
    Payload("tune without clips", TUNE, json({}), 422, "clips"),
    Payload("tune with null", TUNE, json({"clips": None}), 422, "clips"),
    Payload("tune with text", TUNE, json({"clips": "all"}), 422, "clips"),
    Payload("tune with clips and stored", TUNE, json({"clips": lessons(), "stored": True}), 422, "stored"),
    Payload("tune with one label", TUNE, json({"clips": lessons(labels=("wave",))}), 422, "2"),
    Payload("tune with an unknown option", TUNE, options(epochs=5), 422, "options.epochs"),
    Payload("tune with a seed of minus one", TUNE, options(seed=-1), 422, "options.seed"),
    Payload("tune with endless seconds", TUNE, options(max_seconds=1e9), 422, "options.max_seconds"),
    Payload("tune with a wrong activate", TUNE, options(activate="maybe"), 422, "options.activate"),
    Payload("tune with options as a list", TUNE, json({"clips": lessons(), "options": []}), 422, "options"),
    Payload("a label of blanks", TUNE, labelled(label="   "), 422, "clips[4].label"),
    Payload("a label with a bell", TUNE, labelled(label="a\x07"), 422, "clips[4].label"),
    Payload("a label in two lines", CLIPS, labelled(label="a\nb"), 422, "clips[4].label"),
    Payload("a label that reads backwards", CLIPS, labelled(label="\u202eabc"), 422, "clips[4].label"),
    Payload("too many windows to learn from", TUNE, labelled(**SLOW), 413, "clips[4].keypoints"),
    Payload("too many windows to store", CLIPS, labelled(**SLOW), 413, "max_windows"),
    Payload("too many clips", CLIPS, json({"clips": [1] * 10_001}), 413, "max_tune_clips"),
    Payload("too many clips to tune", TUNE, json({"clips": [1] * 10_001}), 413, "max_tune_clips"),
    Payload("lines of nothing", TUNE, b"\n" * 100_000, 413, "lines", NDJSON),
    Payload("a line that is no JSON", TUNE, b"{\n", 422, "clips[0]", NDJSON),
    Payload("a line of depth 1,000", TUNE, b"[" * 1000 + b"\n", 422, "max_json_depth", NDJSON),
    Payload("no lines", TUNE, b"", 422, "label", NDJSON),
    Payload("a long line", TUNE, b"x" * (8 * 2**20 + 1), 413, "max_predict_bytes", NDJSON),
    Payload("a bomb of lines", TUNE, bomb(300 << 20), 413, "line", NDJSON | GZIP),
    Payload("clips in lines", CLIPS, json(person(label="a")), 415, "application/json", NDJSON),
    Payload("feedback of nothing", FEEDBACK, json({}), 422, "label"),
    Payload("feedback with a null request id", FEEDBACK, json({"request_id": None, "label": "a"}), 422, "clip"),
    Payload("feedback with both", FEEDBACK, json({"request_id": "r", "clip": person(), "label": "a"}), 422, "clip"),
    Payload("feedback with a list", FEEDBACK, json({"clip": [], "label": "a"}), 422, "clip"),
    Payload("feedback with a number as id", FEEDBACK, json({"request_id": 5, "label": "a"}), 422, "request_id"),
    Payload("feedback with a label of 129", FEEDBACK, json({"clip": person(), "label": "x" * 129}), 422, "label"),
    Payload("feedback with a row as text", FEEDBACK, json({"request_id": "r", "row": "1", "label": "a"}), 422, "row"),
    Payload("keys with null", KEYS, json({"scopes": None}), 422, "scopes"),
    Payload("keys with an object", KEYS, json({"scopes": [{}]}), 422, "scopes"),
    Payload("keys with an unknown scope", KEYS, json({"scopes": ["root"]}), 422, "scopes"),
    Payload("keys with 100 kB", KEYS, b" " * 100_000, 413, "64 KiB"),
    Payload("keys in msgpack", KEYS, msgpack.packb({"scopes": ["tune"]}), 415, "application/json", MSGPACK),
]  # fmt: skip

ALL = [Payload(bad.name, "/predict", bad.body, bad.status, bad.place, bad.headers) for bad in BODIES] + MORE
