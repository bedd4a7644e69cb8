"""Writes small files in the forms of pose tools, out of one synthetic movement."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from skeleton_prompt.clips.canonical_skeleton import CANONICAL
from skeleton_prompt.clips.layouts import get_layout

T = 6
# A person in metres, y up, facing +z: x to the person's left.
_BODY = {
    "root": (0, 0.95, 0), "hip": (0.1, 0.95, 0), "knee": (0.11, 0.5, 0.02), "ankle": (0.12, 0.08, -0.02),
    "spine": (0, 1.2, 0), "thorax": (0, 1.45, 0), "nose": (0, 1.62, 0.1), "head_top": (0, 1.8, 0.02),
    "shoulder": (0.18, 1.45, 0), "elbow": (0.25, 1.18, 0), "wrist": (0.28, 0.95, 0.05), "eye": (0.03, 1.65, 0.1),
    "ear": (0.07, 1.64, 0.02), "toe": (0.13, 0.02, 0.15), "heel": (0.12, 0.03, -0.08), "neck": (0, 1.5, 0),
    "hand": (0.29, 0.88, 0.06), "hand_tip": (0.3, 0.82, 0.07), "thumb": (0.26, 0.88, 0.1), "index": (0.29, 0.84, 0.09),
    "pinky": (0.31, 0.85, 0.05), "collar": (0.06, 1.44, 0), "small_toe": (0.16, 0.02, 0.12),
    "mouth": (0.02, 1.58, 0.1), "eye_inner": (0.02, 1.65, 0.1), "eye_outer": (0.045, 1.65, 0.09),
    "head": (0, 1.7, 0.02), "chest": (0, 1.3, 0), "upper_neck": (0, 1.55, 0.02),
}  # fmt: skip


def person(layout: str | list[str], frames: int = T, *, seed: int = 0) -> np.ndarray:
    """(frames, J, 3) in metres, y up: a person who raises the left arm and walks to the left."""
    from skeleton_prompt.clips.layouts import resolve_layout

    found = resolve_layout(layout if isinstance(layout, str) else {"joints": layout})
    rng = np.random.default_rng(seed)
    rows = []
    for role in found.roles:
        side = role[0] if role and role not in _BODY and role[1:] in _BODY else ""
        x, y, z = _BODY.get(role[1:] if side else role or "", (0.0, 1.0, 0.0))
        rows.append((-x if side == "r" else x, y, z))
    body = np.array(rows, dtype=np.float64) + rng.normal(0, 0.004, (len(rows), 3))
    steps = np.arange(frames)[:, None, None]
    moving = np.repeat(body[None], frames, 0) + steps * np.array([0.02, 0.0, 0.01])
    raised = [index for index, role in enumerate(found.roles) if role in ("lwrist", "lelbow", "lhand")]
    moving[:, raised, 1] += np.arange(frames)[:, None] * 0.05
    return moving


def image(layout: str | list[str], frames: int = T, *, seed: int = 0) -> np.ndarray:
    """(frames, J, 3): x, y in pixels of a 1920 x 1080 image, y down, and a confidence."""
    metres = person(layout, frames, seed=seed)
    xy = np.stack([960 - 400 * metres[..., 0], 1000 - 480 * metres[..., 1]], -1)
    confidence = np.random.default_rng(seed + 1).uniform(0.5, 1.0, (*xy.shape[:2], 1))
    return np.round(np.concatenate([xy, confidence], -1), 3)


def canonical_names() -> tuple[str, ...]:
    return CANONICAL


def joints(layout: str) -> list[str]:
    return list(get_layout(layout).joints)


def write_json(path: Path, value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    return path


def flat(rows: np.ndarray) -> list[float]:
    return [None if not np.isfinite(value) else float(value) for value in rows.ravel()]


def openpose_frame(*people: np.ndarray, ids: tuple[int, ...] = ()) -> dict[str, Any]:
    return {
        "version": 1.3,
        "people": [
            {
                "person_id": [ids[index] if ids else -1],
                "pose_keypoints_2d": flat(rows),
                "face_keypoints_2d": [],
                "hand_left_keypoints_2d": [],
                "hand_right_keypoints_2d": [],
                "pose_keypoints_3d": [],
            }
            for index, rows in enumerate(people)
        ],
    }


def openpose_folder(folder: Path, values: np.ndarray, prefix: str = "clip_", first: int = 0) -> Path:
    for index, rows in enumerate(values):
        write_json(folder / f"{prefix}{first + index:012d}_keypoints.json", openpose_frame(rows))
    return folder


def ultralytics_detection(rows: np.ndarray, track: int | None = 1) -> dict[str, Any]:
    found = {
        "name": "person",
        "class": 0,
        "confidence": 0.9,
        "box": {"x1": 1.0, "y1": 2.0, "x2": 3.0, "y2": 4.0},
        "keypoints": {"x": flat(rows[:, 0]), "y": flat(rows[:, 1]), "visible": flat(rows[:, 2])},
    }
    return found if track is None else {**found, "track_id": track}


def mmpose_instance(rows: np.ndarray) -> dict[str, Any]:
    return {
        "keypoints": rows[:, :-1].tolist(),
        "keypoint_scores": rows[:, -1].tolist(),
        "bbox": [[1.0, 2.0, 3.0, 4.0]],
        "bbox_score": 0.9,
    }


def landmark(row: np.ndarray, name: str | None = None, score: str = "score") -> dict[str, Any]:
    axes = "xyz" if len(row) == 4 else "xy"
    point = {axis: float(value) for axis, value in zip(axes, row, strict=False)}
    point[score] = float(row[-1])
    return point if name is None else {**point, "name": name}
