"""The clips that are sent: the same ones to every server, in each of the forms that a server reads."""

from __future__ import annotations

import base64
from typing import Any

import msgpack
import numpy as np
import orjson

from skeleton_prompt.synthetic import make_clip
from skeleton_prompt.synthetic_actions import ACTIONS

FRAMES = 96  # of 17 joints: 33 kB as JSON, a clip of three seconds
CLIPS = 16
CONTENT_TYPES = {"json": "application/json", "f32": "application/json", "msgpack": "application/msgpack"}
FORMS = tuple(CONTENT_TYPES)


def documents(count: int = CLIPS, seed: int = 0) -> list[dict[str, Any]]:
    """Clips of ``FRAMES`` frames in coco17, keypoints ``(T, 17, 3)`` float64 of two decimals, without labels."""
    rng = np.random.default_rng(seed)
    names = list(ACTIONS)
    made = []
    for number in range(count):
        clip = make_clip(names[number % len(names)], rng)
        keypoints = np.asarray(clip["keypoints"], np.float64)
        frames = np.linspace(0, len(keypoints) - 1, FRAMES).round().astype(int)
        fields = {name: value for name, value in clip.items() if name not in ("label", "keypoints")}
        made.append(fields | {"keypoints": keypoints[frames].round(2)})
    return made


def body(document: dict[str, Any], form: str) -> bytes:
    """A clip as a request body.

    Args:
        document: A clip of ``documents``.
        form: ``json`` (nested lists), ``f32`` (JSON with base64 of float32) or ``msgpack`` (float32 as bytes).

    Raises:
        KeyError: There is no such form.
    """
    values = document["keypoints"]
    if form == "json":
        return orjson.dumps(document | {"keypoints": values.tolist()})
    raw = values.astype("<f4").tobytes()
    packed = document | {"encoding": "f32", "shape": list(values.shape)}
    if form == "f32":
        return orjson.dumps(packed | {"keypoints": base64.b64encode(raw).decode()})
    if form == "msgpack":
        data: bytes = msgpack.packb(packed | {"keypoints": raw})
        return data
    raise KeyError(form)
