"""AMASS files (``.npz``): SMPL poses as axis-angle vectors, z up, or joint places where the file has them.

The order of joints and the kinematic tree are those of SMPL (Loper et al. 2015); the 22 joints of the body are the
same in SMPL, SMPL-H and SMPL-X. A file's ``betas`` change the skeleton only where a body model is given: its joints are
the regressor times the shaped template, ``J = J_regressor @ (v_template + shapedirs @ betas)``. Without a model every
body has the built-in mean skeleton; pre-training varies bone lengths anyway.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skeleton_prompt.clips.formats.mocap.kinematics import Motion, Skeleton, from_axis_angle
from skeleton_prompt.clips.formats.mocap.reading import (
    MAX_FRAMES,
    Array,
    MotionFileError,
    NoMotion,
    finite,
    read_arrays,
)

NAMES = (
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle", "right_ankle",
    "spine3", "left_foot", "right_foot", "neck", "left_collar", "right_collar", "head", "left_shoulder",
    "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
)  # fmt: skip
PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19)
BODY = len(NAMES)

# The rest pose of SMPL's neutral mean body (offsets from the parent, metres, y up, facing +z), as many simulation
# models of it state them (for one, the SMPL humanoid of Isaac Lab); left and right averaged, rounded to the millimetre.
_CENTRAL = {
    "spine1": (0.0, 0.109, -0.027), "spine2": (0.0, 0.135, 0.001), "spine3": (0.0, 0.053, 0.025),
    "neck": (0.0, 0.214, -0.043), "head": (0.0, 0.065, 0.051),
}  # fmt: skip
_LEFT = {
    "hip": (0.069, -0.091, -0.006), "knee": (0.036, -0.379, -0.007), "ankle": (-0.015, -0.398, -0.043),
    "foot": (0.026, -0.052, 0.121), "collar": (0.080, 0.120, -0.036), "shoulder": (0.094, 0.032, -0.009),
    "elbow": (0.257, -0.013, -0.025), "wrist": (0.252, 0.008, -0.003),
}  # fmt: skip
_RATES = ("mocap_framerate", "mocap_frame_rate", "mocap_frame_rates", "fps")
_JOINTS = ("joints", "Jtr")
_MODEL = ("J_regressor", "v_template", "shapedirs")


def mean_skeleton() -> Skeleton:
    """The built-in rest skeleton of 22 joints, in metres."""
    offsets = np.zeros((BODY, 3))
    for index, name in enumerate(NAMES[1:], 1):
        side, _, part = name.partition("_")
        offsets[index] = _CENTRAL[name] if not part else np.multiply(_LEFT[part], (1 if side == "left" else -1, 1, 1))
    return Skeleton(NAMES, PARENTS, offsets)


@dataclass(frozen=True)
class BodyModel:
    """What of an SMPL, SMPL-H or SMPL-X model file gives bone lengths.

    Attributes:
        joints: ``(22, 3)`` of the mean body, metres.
        shape: ``(22, 3, betas)`` what each shape coefficient adds; no coefficients where the file has none.
    """

    joints: Array
    shape: Array

    def skeleton(self, betas: Array) -> Skeleton:
        """The rest skeleton of a body."""
        count = min(len(betas), self.shape.shape[2])
        places = self.joints + self.shape[:, :, :count] @ betas[:count]
        offsets = places.copy()
        offsets[1:] -= places[list(PARENTS[1:])]
        return Skeleton(NAMES, PARENTS, offsets)


def read_body_model(path: Path) -> BodyModel:
    """Read a body model (``.npz`` with ``J_regressor`` and ``v_template``); pickles are never opened.

    Raises:
        MotionFileError: If it is a pickle or lacks these arrays.
    """
    if path.suffix.lower() != ".npz":
        raise MotionFileError(
            path, "a body model must be an .npz with J_regressor and v_template; pickles are not read"
        )
    arrays = read_arrays(path, _MODEL)
    if missing := [name for name in _MODEL[:2] if name not in arrays]:
        raise MotionFileError(path, f"has no array {missing[0]}; a body model needs J_regressor and v_template")
    regressor, template = (finite(path, name, arrays[name]) for name in _MODEL[:2])
    if template.ndim != 2 or regressor.ndim != 2 or len(regressor) < BODY or regressor.shape[1:] != template.shape[:1]:
        raise MotionFileError(
            path, f"J_regressor {regressor.shape} and v_template {template.shape} do not fit together"
        )
    shape = finite(path, "shapedirs", arrays["shapedirs"]) if "shapedirs" in arrays else np.zeros((*template.shape, 0))
    if shape.shape[:2] != template.shape:
        raise MotionFileError(path, f"shapedirs {shape.shape} do not fit v_template {template.shape}")
    return BodyModel(regressor[:BODY] @ template, np.einsum("jv,vcb->jcb", regressor[:BODY], shape))


def read_amass(path: Path, model: BodyModel | None = None) -> tuple[Motion, str]:
    """Read an AMASS file.

    Joint places (``joints`` or ``Jtr``, ``(F, >= 22, 3)`` in SMPL's order, metres, the same axes as ``poses``) are
    taken as they are; otherwise the skeleton of ``model``, or the mean one, is posed by ``poses`` ``(F, >= 66)`` and
    moved by ``trans`` ``(F, 3)``.

    Returns:
        The motion, and in words where its bone lengths come from.

    Raises:
        NoMotion: If the file holds neither, as AMASS's ``shape.npz`` does.
        MotionFileError: If an array has another shape or holds what is no number.
    """
    arrays = read_arrays(path, (*_RATES, *_JOINTS, "poses", "trans", "betas"))
    joints = next((arrays[name] for name in _JOINTS if name in arrays), None)
    if joints is None and "poses" not in arrays:
        raise NoMotion(path, "holds neither poses nor joints")
    fps = _rate(path, arrays)
    if joints is not None:
        places = finite(path, "joints", joints)
        if places.ndim != 3 or places.shape[1] < BODY or places.shape[2] != 3:
            raise MotionFileError(path, f"joints must be (frames, at least {BODY}, 3), not {places.shape}")
        return _placed(_some(path, places[:, :BODY]), fps), "joints of the file"
    poses = _some(path, finite(path, "poses", arrays["poses"]))
    if poses.ndim != 2 or poses.shape[1] < 3 * BODY:
        raise MotionFileError(path, f"poses must be (frames, at least {3 * BODY}), not {poses.shape}")
    moved = finite(path, "trans", arrays.get("trans", np.zeros((len(poses), 3))))
    if moved.shape != (len(poses), 3):
        raise MotionFileError(path, f"trans must be ({len(poses)}, 3) like poses, not {moved.shape}")
    skeleton = (
        model.skeleton(finite(path, "betas", arrays.get("betas", np.zeros(0))).ravel()) if model else mean_skeleton()
    )
    turns = poses[:, : 3 * BODY].reshape(-1, BODY, 3)

    def place(joint: int) -> Array:
        offset: Array = skeleton.offsets[joint]
        return moved + offset if joint == 0 else offset

    motion = Motion(
        skeleton, len(poses), fps, lambda joint: from_axis_angle(turns[:, joint]), place, metres=1.0, up="z"
    )
    return motion, "body model" if model else "built-in mean skeleton"


def _some(path: Path, values: Array) -> Array:
    if not 0 < len(values) <= MAX_FRAMES:
        raise MotionFileError(path, f"{len(values)} frames; 1 to {MAX_FRAMES} can be read")
    return values


def _rate(path: Path, arrays: dict[str, np.ndarray]) -> float:
    given = next((arrays[name] for name in _RATES if name in arrays), None)
    if given is None:
        raise MotionFileError(path, f"has no frame rate ({' or '.join(_RATES[:2])})")
    rate = float(finite(path, "the frame rate", np.asarray(given)).ravel()[0]) if np.size(given) else 0.0
    if not 5 <= rate <= 1000:
        raise MotionFileError(path, f"a frame rate of {rate}; 5 to 1000 fps can be read")
    return rate


def _placed(places: Array, fps: float) -> Motion:
    """A motion of which only the places are known: a joint hangs on its parent by what lies between them."""
    still = np.broadcast_to(np.eye(3), (len(places), 3, 3))

    def place(joint: int) -> Array:
        return places[:, joint] - (places[:, PARENTS[joint]] if joint else 0.0)

    skeleton = Skeleton(NAMES, PARENTS, np.zeros((BODY, 3)))
    return Motion(skeleton, len(places), fps, lambda _: still, place, metres=1.0, up="z", turns=False)
