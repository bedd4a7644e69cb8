"""Clips of a plain standing person, for tests of the clip and what comes after it."""

from __future__ import annotations

from typing import Any

import numpy as np

from skeleton_prompt.clips.canonical_skeleton import CANONICAL
from skeleton_prompt.clips.layouts import get_layout

# x to the person's left, y up, z forwards, metres: facing +z, so the own right is at negative x.
STANDING: dict[str, tuple[float, float, float]] = {
    "root": (0, 0.95, 0), "rhip": (-0.12, 0.93, 0), "rknee": (-0.13, 0.5, 0.04), "rankle": (-0.13, 0.08, 0),
    "lhip": (0.12, 0.93, 0), "lknee": (0.13, 0.5, 0.04), "lankle": (0.13, 0.08, 0), "spine": (0, 1.2, 0),
    "thorax": (0, 1.45, 0), "nose": (0, 1.6, 0.08), "head_top": (0, 1.75, 0), "lshoulder": (0.18, 1.42, 0),
    "lelbow": (0.25, 1.15, 0), "lwrist": (0.28, 0.9, 0.05), "rshoulder": (-0.18, 1.42, 0),
    "relbow": (-0.25, 1.15, 0), "rwrist": (-0.28, 0.9, 0.05),
}  # fmt: skip
COCO = {
    "nose": "nose", "left_eye": (0.03, 1.64, 0.08), "right_eye": (-0.03, 1.64, 0.08), "left_ear": (0.08, 1.62, 0),
    "right_ear": (-0.08, 1.62, 0),
}  # fmt: skip


def standing(frames: int = 40, *, turned: float = 0.0) -> np.ndarray:
    """(frames, 17, 3) of Human3.6M-17 joints: right arm waving, turned about the vertical by an angle in radians."""
    pose = np.repeat(np.array([STANDING[name] for name in CANONICAL])[None], frames, axis=0)
    wave = np.sin(np.linspace(0, 4 * np.pi, frames))
    pose[:, CANONICAL.index("relbow")] = (-0.45, 1.45, 0)
    pose[:, CANONICAL.index("rwrist")] = np.stack((-0.5 + 0.12 * wave, np.full(frames, 1.7), np.zeros(frames)), -1)
    c, s = np.cos(turned), np.sin(turned)
    x, y, z = pose[..., 0], pose[..., 1], pose[..., 2]
    return np.stack((c * x + s * z + 0.3, y, c * z - s * x + 2.5), -1)


def coco(frames: int = 40) -> np.ndarray:
    """(frames, 17, 3) x, y in pixels (y down) and confidence, in COCO order, of the same person seen from the front."""
    body = standing(frames)
    columns = []
    for joint in get_layout("coco17").joints:
        extra = COCO.get(joint)
        if isinstance(extra, tuple):
            place = np.repeat(np.add(extra, (0.3, 0, 2.5))[None], frames, axis=0)
        else:
            side, _, word = joint.partition("_")
            role = extra or side[0] + word
            place = body[:, CANONICAL.index(role)]
        columns.append(np.stack((600 + 250 * place[:, 0], 700 - 250 * place[:, 1], np.full(frames, 0.9)), -1))
    return np.stack(columns, 1)


def document(frames: int = 40, **fields: Any) -> dict[str, Any]:
    """A good clip as a client would send it, with fields replaced or added."""
    return {"layout": "coco17", "fps": 30, "keypoints": coco(frames).round(3).tolist(), **fields}
