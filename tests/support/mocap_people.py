"""Small motion files of people whose every joint is known by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np

# Offsets from the parent in cm, y up, facing +z, the left at +x: arms out to the sides.
BODY = {
    "Hips": ("", (0, 0, 0)),
    "LeftUpLeg": ("Hips", (10, 0, 0)),
    "LeftLeg": ("LeftUpLeg", (0, -40, 0)),
    "LeftFoot": ("LeftLeg", (0, -42, 0)),
    "LeftToeBase": ("LeftFoot", (0, -5, 12)),
    "RightUpLeg": ("Hips", (-10, 0, 0)),
    "RightLeg": ("RightUpLeg", (0, -40, 0)),
    "RightFoot": ("RightLeg", (0, -42, 0)),
    "RightToeBase": ("RightFoot", (0, -5, 12)),
    "Spine": ("Hips", (0, 12, 0)),
    "Spine1": ("Spine", (0, 14, 0)),
    "Neck": ("Spine1", (0, 24, 0)),
    "Head": ("Neck", (0, 10, 0)),
    "LeftShoulder": ("Spine1", (4, 20, 0)),
    "LeftArm": ("LeftShoulder", (14, 0, 0)),
    "LeftForeArm": ("LeftArm", (28, 0, 0)),
    "LeftHand": ("LeftForeArm", (25, 0, 0)),
    "RightShoulder": ("Spine1", (-4, 20, 0)),
    "RightArm": ("RightShoulder", (-14, 0, 0)),
    "RightForeArm": ("RightArm", (-28, 0, 0)),
    "RightHand": ("RightForeArm", (-25, 0, 0)),
}
ENDS = {
    "Head": (0, 18, 0),
    "LeftToeBase": (0, 0, 5),
    "RightToeBase": (0, 0, 5),
    "LeftHand": (8, 0, 0),
    "RightHand": (-8, 0, 0),
}
HEIGHT = 87.0  # of the hips above the floor


def bvh_text(
    turns: dict[str, tuple[float, float, float]] | None = None,
    *,
    order: str = "ZXY",
    frames: int = 40,
    fps: float = 30.0,
    scale: float = 1.0,
    rename: dict[str, str] | None = None,
    turn_axes: np.ndarray | None = None,
    moves: np.ndarray | None = None,
) -> str:
    """A BVH file of this person.

    Args:
        turns: Degrees about x, y and z of joints, the same in all frames.
        order: In which order the rotation channels are written.
        frames: How many.
        fps: How fast.
        scale: The unit: centimetres times this.
        rename: Other names of joints.
        turn_axes: A matrix that offsets and places are multiplied by, for a space with other axes.
        moves: ``(frames, 3)`` places of the hips in cm; by default they stand still.
    """
    turns, rename = turns or {}, rename or {}
    axes = np.eye(3) if turn_axes is None else turn_axes
    lines, joints = ["HIERARCHY"], []

    def written(vector) -> str:
        return " ".join(f"{value:.6f}" for value in axes @ np.asarray(vector, dtype=float) * scale)

    def add(name: str, depth: int) -> None:
        pad = "\t" * depth
        place = "Xposition Yposition Zposition " if not depth else ""
        rotations = " ".join(f"{axis}rotation" for axis in order)
        lines.extend([
            f"{pad}{'JOINT' if depth else 'ROOT'} {rename.get(name, name)}", f"{pad}{{",
            f"{pad}\tOFFSET {written(BODY[name][1])}",
            f"{pad}\tCHANNELS {3 if depth else 6} {place}{rotations}",
        ])  # fmt: skip
        joints.append(name)
        for child in (child for child, (parent, _) in BODY.items() if parent == name):
            add(child, depth + 1)
        if name in ENDS:
            lines.extend([f"{pad}\tEnd Site", f"{pad}\t{{", f"{pad}\t\tOFFSET {written(ENDS[name])}", f"{pad}\t}}"])
        lines.append(f"{pad}}}")

    add("Hips", 0)
    lines.extend(["MOTION", f"Frames: {frames}", f"Frame Time: {1 / fps:.8f}"])
    places = np.tile([0.0, HEIGHT, 0.0], (frames, 1)) if moves is None else moves
    for frame in range(frames):
        numbers = [written(places[frame])]
        for name in joints:
            angles = dict(zip("XYZ", turns.get(name, (0, 0, 0)), strict=True))
            numbers.append(" ".join(f"{angles[axis]:.6f}" for axis in order))
        lines.append(" ".join(numbers))
    return "\n".join(lines) + "\n"


def write(path: Path, text: str) -> Path:
    """Write a file and give its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


CMU_UNIT = 0.45 / 0.0254  # units per metre
# Name, parent, direction and length in metres, own axes in degrees, degrees of freedom.
CMU = [
    ("lowerback", "root", (0, 1, 0), 0.12, "0 0 0", "rx ry rz"),
    ("upperback", "lowerback", (0, 1, 0), 0.12, "0 0 0", "rx ry rz"),
    ("thorax", "upperback", (0, 1, 0), 0.12, "0 0 0", "rx ry rz"),
    ("lowerneck", "thorax", (0, 1, 0), 0.09, "0 0 0", "rx ry rz"),
    ("upperneck", "lowerneck", (0, 1, 0), 0.09, "0 0 0", "rx ry rz"),
    ("head", "upperneck", (0, 1, 0), 0.10, "0 0 0", "rx ry rz"),
    *(
        (side + name, side + parent if parent not in ("root", "thorax") else parent, direction, length, axis, dof)
        for side, sign in (("l", 1), ("r", -1))
        for name, parent, direction, length, axis, dof in (
            ("hipjoint", "root", (sign, 0, 0), 0.10, "0 0 0", ""),
            ("femur", "hipjoint", (0, -1, 0), 0.40, f"0 0 {20 * sign}", "rx ry rz"),
            ("tibia", "femur", (0, -1, 0), 0.42, f"0 0 {20 * sign}", "rx"),
            ("foot", "tibia", (0, -0.2, 1), 0.13, "-90 0 0", "rx rz"),
            ("clavicle", "thorax", (sign, 0, 0), 0.18, "0 0 0", "ry rz"),
            ("humerus", "clavicle", (sign, 0, 0), 0.28, f"180 {-30 * sign} {-90 * sign}", "rx ry rz"),
            ("radius", "humerus", (sign, 0, 0), 0.18, f"180 {-30 * sign} {-90 * sign}", "rx"),
            ("wrist", "radius", (sign, 0, 0), 0.08, "0 0 0", "ry"),
            ("hand", "wrist", (sign, 0, 0), 0.08, "0 0 0", "rx rz"),
        )
    ),
]


def asf_text() -> str:
    """A skeleton with the bones, names and units of the CMU database."""
    lines = [":units", "  length 0.45", "  angle deg", ":root", "  order TX TY TZ RX RY RZ", "  axis XYZ",
             "  position 0 0 0", "  orientation 0 0 0", ":bonedata"]  # fmt: skip
    for name, _, direction, length, axis, dof in CMU:
        lines += ["begin", f"  name {name}", f"  direction {' '.join(map(str, direction))}"]
        lines += [f"  length {length * CMU_UNIT:.9f}", f"  axis {axis} XYZ"]
        lines += [f"  dof {dof}"] if dof else []
        lines += ["end"]
    lines += [":hierarchy", "begin"] + [f"  {parent} {name}" for name, parent, *_ in CMU] + ["end"]
    return "\n".join(lines) + "\n"


def amc_text(frames: int = 60, turns: dict[str, str] | None = None, step: float = 0.0) -> str:
    """A motion of that skeleton: the root 90 cm above the floor, moving by ``step`` metres a frame along z."""
    lines = [":FULLY-SPECIFIED", ":DEGREES"]
    for frame in range(frames):
        lines += [str(frame + 1), f"root 0 {0.9 * CMU_UNIT:.9f} {frame * step * CMU_UNIT:.9f} 0 0 0"]
        still = {name: " ".join("0" for _ in dof.split()) for name, *_, dof in CMU if dof}
        lines += [f"{name} {numbers}" for name, numbers in (still | (turns or {})).items()]
    return "\n".join(lines) + "\n"
