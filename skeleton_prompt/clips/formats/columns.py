"""Column names of wide tables and marker files: ``SpineBase_X``, ``nose.score``, ``x_left_wrist``, ``LeftHand (mm) Z``.

A name is split into joint and channel; what the joints and axes mean is decided by the set of names.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_CHANNELS = {
    **dict.fromkeys(("x", "xpos", "posx", "positionx", "px"), "x"),
    **dict.fromkeys(("y", "ypos", "posy", "positiony", "py"), "y"),
    **dict.fromkeys(("z", "zpos", "posz", "positionz", "pz"), "z"),
    **dict.fromkeys(
        ("score", "confidence", "conf", "likelihood", "visibility", "c", "v", "p", "s", "prob", "probability"), "c"
    ),
    **dict.fromkeys(("state", "trackingstate", "tracked", "tracking"), "state"),
}
_SPLIT = re.compile(r"[\s_.:\-/|]+")
_UNIT = re.compile(r"\s*[\[(](?:px|pixels?|mm|cm|m|norm(?:alized)?)[\])]\s*$", re.IGNORECASE)
_CAMEL = re.compile(r"^(.*[a-z0-9])([XYZ])$")
_NUMBERED = re.compile(r"^(x|y|z|v|c|vis|visibility|score|conf)[_.]?(\d{1,3})$", re.IGNORECASE)
KINECT_V2 = ({"spinebase", "spinemid"}, {"spinebase", "spineshoulder"}, {"spinebase"})
KINECT_V1 = ({"hipcenter", "shouldercenter"},)
AZURE = ({"spinenavel", "spinechest"}, {"spinenaval", "spinechest"})


@dataclass(frozen=True)
class Columns:
    """Columns of a table by joint.

    Attributes:
        joints: joint names in order of appearance; empty where they are numbered.
        places: for each joint, column index by channel (x, y, z, c, state).
    """

    joints: tuple[str, ...]
    places: tuple[dict[str, int], ...]
    numbered: bool = False

    @property
    def deep(self) -> bool:
        """Whether every joint has z."""
        return all("z" in place for place in self.places)


def split_channel(name: str) -> tuple[str, str] | None:
    """Joint and channel of a column name, or None if it names no channel."""
    name = _UNIT.sub("", name.strip())
    camel = _CAMEL.match(name)
    parts = [part for part in _SPLIT.split(name) if part]
    if len(parts) > 1:
        for take in (slice(-2, None), slice(-1, None)):
            channel = _CHANNELS.get("".join(parts[take]).lower())
            if channel and len(parts) > len(parts[take]):
                return "_".join(parts[: -len(parts[take])]), channel
        channel = _CHANNELS.get(parts[0].lower())
        if channel and parts[0].lower() in ("x", "y", "z"):
            return "_".join(parts[1:]), channel
    if camel:
        return camel.group(1), camel.group(2).lower()
    return None


def find_columns(header: Sequence[str]) -> Columns | None:
    """Joints of a header, or None if it has no joint with x and y."""
    found: dict[str, dict[str, int]] = {}
    numbered: dict[int, dict[str, int]] = {}
    for index, name in enumerate(header):
        number = _NUMBERED.match(name.strip())
        if number:
            channel = {"x": "x", "y": "y", "z": "z"}.get(number.group(1).lower(), "c")
            numbered.setdefault(int(number.group(2)), {}).setdefault(channel, index)
            continue
        split = split_channel(name)
        if split:
            found.setdefault(split[0], {}).setdefault(split[1], index)
    joints = {name: place for name, place in found.items() if "x" in place and "y" in place}
    if joints:
        return Columns(tuple(joints), tuple(joints.values()))
    places = [numbered[key] for key in sorted(numbered) if {"x", "y"} <= numbered[key].keys()]
    if len(places) >= 5:
        return Columns((), tuple(places), numbered=True)
    return None


def sensor_axes(names: Sequence[str]) -> tuple[str | None, str | None]:
    """``y_axis`` that the sensor behind these joint names documents for 3-D, and a note; (None, None) if unknown."""
    bare = {re.sub(r"[^a-z0-9]", "", name.lower()) for name in names}
    if any(marks <= bare for marks in AZURE):
        return "down", "Azure Kinect depth camera space: y down"
    if any(marks <= bare for marks in (*KINECT_V2, *KINECT_V1)):
        return "up", "Kinect camera space: y up"
    return None, None
