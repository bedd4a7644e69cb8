"""Plausible actions by forward kinematics: clips for the demo and for tests, without any data.

An action is a few joint angles as functions of time. A body (limb lengths), a style (amplitude, tempo, sway), a camera
and a detector (noise, missing joints) turn it into a clip, different each time. Numpy only.

    rng = np.random.default_rng(0)
    document = make_clip("squat", rng)             # a clip document: coco17, 2-D pixels with confidence
    document = make_clip("squat", rng, layout="h36m17")   # 3-D metres, y up

World axes: x to the left of a person who faces z, y up, metres. T frames, J joints.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from skeleton_prompt.synthetic_actions import ACTIONS, Angles, Array, Style

Rng = np.random.Generator

COCO17 = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
)  # fmt: skip
H36M17 = (
    "root", "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle", "spine", "thorax", "nose",
    "head_top", "left_shoulder", "left_elbow", "left_wrist", "right_shoulder", "right_elbow", "right_wrist",
)  # fmt: skip
JOINTS = {"coco17": COCO17, "h36m17": H36M17}
IMAGE_SIZE = (1280, 720)


# --- body -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Body:
    """Segment lengths in metres; the shares of the height follow Drillis and Contini (1966)."""

    height: float
    thigh: float
    shin: float
    torso: float
    neck: float
    upper_arm: float
    forearm: float
    hip_width: float
    shoulder_width: float

    @classmethod
    def random(cls, rng: Rng) -> Body:
        """Random body of 1.50 m to 1.95 m; each segment deviates a few per cent from the average."""
        height = rng.uniform(1.50, 1.95)

        def part(share: float) -> float:
            return float(height * share * rng.normal(1.0, 0.04))

        shares = {"thigh": 0.245, "shin": 0.246, "torso": 0.288, "neck": 0.07, "upper_arm": 0.186, "forearm": 0.16}
        widths = {"hip_width": 0.11, "shoulder_width": 0.23}
        return cls(height=float(height), **{name: part(share) for name, share in (shares | widths).items()})


def _rotate(axis: str, degrees: Array) -> Array:
    """(T, 3, 3) right-handed rotations about one axis."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    o, e = np.zeros_like(c), np.ones_like(c)
    rows = {
        "x": [[e, o, o], [o, c, -s], [o, s, c]],
        "y": [[c, o, s], [o, e, o], [-s, o, c]],
        "z": [[c, -s, o], [s, c, o], [o, o, e]],
    }[axis]
    return np.stack([np.stack(row, -1) for row in rows], -2)


def _turn(frame: Array, x: float, y: float, z: float) -> Array:
    """A vector given in a moving frame: (T, 3, 3) times (3,) -> (T, 3)."""
    turned: Array = frame @ np.array([x, y, z])
    return turned


def pose(angles: Angles, body: Body, frames: int) -> dict[str, Array]:
    """Joint positions by forward kinematics: name -> (T, 3), the lowest joint on the ground."""

    def angle(name: str) -> Array:
        return np.broadcast_to(np.asarray(angles.get(name, 0.0), dtype=float), (frames,))

    pelvis = (
        _rotate("y", angle("pelvis_yaw")) @ _rotate("z", angle("pelvis_roll")) @ _rotate("x", angle("pelvis_pitch"))
    )
    trunk = pelvis @ _rotate("x", angle("bend")) @ _rotate("z", angle("lean")) @ _rotate("y", angle("twist"))
    head = trunk @ _rotate("x", angle("nod"))
    root = np.zeros((frames, 3))
    thorax = root + _turn(trunk, 0, body.torso, 0)
    skull = thorax + _turn(trunk, 0, body.neck, 0)
    joints = {"root": root, "spine": (root + thorax) / 2, "thorax": thorax}
    h = body.height
    joints["nose"] = skull + _turn(head, 0, 0.02 * h, 0.055 * h)
    joints["head_top"] = skull + _turn(head, 0, 0.105 * h, 0)
    for side, sign in (("left", 1.0), ("right", -1.0)):
        joints[f"{side}_eye"] = skull + _turn(head, sign * 0.018 * h, 0.04 * h, 0.045 * h)
        joints[f"{side}_ear"] = skull + _turn(head, sign * 0.042 * h, 0.032 * h, 0.0)
        joints |= _arm(side, sign, trunk, thorax, body, angle)
        joints |= _leg(side, sign, pelvis, root, body, angle)
    positions = np.stack(list(joints.values()))
    ground = positions[..., 1].min(axis=0)
    shift = np.zeros((frames, 3))
    shift[:, 1] = 0.04 * h - ground + angle("lift") * h
    travel = _turn(_rotate("y", angle("pelvis_yaw")), 0, 0, 1) * (angle("forward") * h)[:, None]
    return {name: position + shift + travel for name, position in joints.items()}


def _arm(
    side: str, sign: float, trunk: Array, thorax: Array, body: Body, angle: Callable[[str], Array]
) -> dict[str, Array]:
    shoulder = thorax + _turn(trunk, sign * body.shoulder_width / 2, -0.02 * body.height, 0)
    upper = trunk @ _rotate("z", sign * (6 + angle(f"{side}_abduction"))) @ _rotate("x", -angle(f"{side}_flexion"))
    elbow = shoulder + _turn(upper, 0, -body.upper_arm, 0)
    lower = upper @ _rotate("y", sign * angle(f"{side}_arm_twist")) @ _rotate("x", -(8 + angle(f"{side}_elbow")))
    return {
        f"{side}_shoulder": shoulder,
        f"{side}_elbow": elbow,
        f"{side}_wrist": elbow + _turn(lower, 0, -body.forearm, 0),
    }


def _leg(
    side: str, sign: float, pelvis: Array, root: Array, body: Body, angle: Callable[[str], Array]
) -> dict[str, Array]:
    hip = root + _turn(pelvis, sign * body.hip_width / 2, 0, 0)
    upper = pelvis @ _rotate("z", sign * (2 + angle(f"{side}_hip_abduction"))) @ _rotate("x", -angle(f"{side}_hip"))
    knee = hip + _turn(upper, 0, -body.thigh, 0)
    lower = upper @ _rotate("x", 3 + angle(f"{side}_knee"))
    return {f"{side}_hip": hip, f"{side}_knee": knee, f"{side}_ankle": knee + _turn(lower, 0, -body.shin, 0)}


# --- camera and detector --------------------------------------------------------------------------------------------


def _sway(frames: int, seconds: float, degrees: float, rng: Rng) -> Array:
    """Slow, small, smooth sway of a standing body."""
    t = np.linspace(0, seconds, frames)
    waves = [np.sin(2 * np.pi * (f * t + rng.random())) for f in rng.uniform(0.15, 0.9, 3)]
    return np.asarray(degrees * np.sum(waves, axis=0) / 3)


def _perform(action: str, rng: Rng, fps: float) -> Array:
    """One performance: all joints of `pose` in order, (T, joints, 3), seen from the front or somewhat from the side."""
    angles_of, seconds = ACTIONS[action]
    seconds *= rng.uniform(0.75, 1.35)
    frames = max(12, round(seconds * fps))
    style = Style(rng.uniform(0.82, 1.12), int(rng.integers(2, 4)), str(rng.choice(["left", "right"])))
    # People do not move like a metronome: the phase runs a little ahead or behind.
    u = np.linspace(0, 1, frames)
    u = np.clip(u + rng.uniform(-0.05, 0.05) * np.sin(np.pi * u), 0, 1)
    angles = angles_of(u, style)
    for name in ("bend", "lean", "twist", "left_flexion", "right_flexion", "left_abduction", "right_abduction", "nod"):
        angles[name] = angles.get(name, 0.0) + _sway(frames, seconds, 5.0, rng)
    for name in ("left_elbow", "right_elbow"):
        angles[name] = np.maximum(angles.get(name, 0.0) + 10 * rng.random() + _sway(frames, seconds, 4.0, rng), 0)
    angles["pelvis_yaw"] = angles.get("pelvis_yaw", 0.0) + rng.uniform(-40, 40) + _sway(frames, seconds, 4.0, rng)
    joints = pose(angles, Body.random(rng), frames)
    return np.stack([joints[name] for name in _names()], axis=1)


def _names() -> tuple[str, ...]:
    return tuple(dict.fromkeys((*COCO17, *H36M17)))


def _project(positions: Array, rng: Rng) -> Array:
    """World (T, J, 3) to pixels (T, J, 2), y down, by a camera somewhere in front of the person."""
    pitch = np.array([rng.uniform(-4.0, 14.0)])
    distance, focal = rng.uniform(3.8, 6.0), rng.uniform(0.9, 1.1) * IMAGE_SIZE[0]
    centre = positions.mean(axis=(0, 1)) * [1, 0, 1] + [rng.uniform(-0.4, 0.4), 0.9, 0]
    seen = (positions - centre) @ _rotate("x", pitch)[0].T
    depth = np.maximum(distance - seen[..., 2], 0.5)
    # A person who faces the camera has the left hand on the right of the image: x needs no flip, y does.
    x = IMAGE_SIZE[0] / 2 + focal * seen[..., 0] / depth
    y = IMAGE_SIZE[1] / 2 - focal * seen[..., 1] / depth
    return np.stack([x, y], axis=-1)


def _detect(pixels: Array, rng: Rng, missing: float) -> Array:
    """(T, J, 2) to (T, J, 3) with confidence: noise, single misses, and now and then a joint hidden throughout."""
    T, J, _ = pixels.shape
    noise = rng.uniform(0.8, 2.5)
    pixels = pixels + rng.normal(0, noise, pixels.shape)
    confidence = np.clip(rng.normal(0.9, 0.06, (T, J)), 0.3, 1.0)
    hidden = rng.random((T, J)) < missing
    if rng.random() < 4 * missing:
        hidden[:, rng.integers(J)] = True
    confidence[hidden] = 0.0
    pixels[hidden] = 0.0
    return np.concatenate([pixels, confidence[..., None]], axis=-1)


def make_clip(
    action: str, rng: Rng, *, layout: str = "coco17", missing: float = 0.03, group: str | None = None
) -> dict[str, Any]:
    """One clip of an action by a new person before a new camera.

    Args:
        action: One of `ACTIONS`.
        rng: The source of all variation; equal generators give equal clips.
        layout: `coco17` gives pixels with confidence (T, 17, 3), `h36m17` metres (T, 17, 3), y up.
        missing: Share of the joints that are not seen (coco17 only).
        group: The clip's group, if clips share a person or a recording.

    Returns:
        A clip document as the API takes it, labelled, with a float32 array as keypoints.

    Raises:
        KeyError: There is no such action or layout.
    """
    wanted = JOINTS[layout]
    fps = float(rng.choice([25.0, 30.0]))
    performed = _perform(action, rng, fps)
    positions = performed[:, [_names().index(name) for name in wanted]]
    document: dict[str, Any] = {"label": action, "layout": layout, "fps": fps}
    if layout == "coco17":
        keypoints = _detect(_project(positions, rng), rng, missing)
        document["image_size"] = list(IMAGE_SIZE)
    else:
        keypoints = positions + rng.normal(0, 0.006, positions.shape)
        document["coords"] = "xyz"
    if group is not None:
        document["group"] = group
    return document | {"keypoints": keypoints.astype(np.float32)}
