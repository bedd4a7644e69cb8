"""The actions of `synthetic`: joint angles over the phase u, which goes from 0 to 1 in an array of shape (T,).

Degrees throughout; `forward` and `lift` are in body heights. Flexion raises a limb to the front, abduction to its side.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Angles = dict[str, Array]


def _pulse(u: Array, times: float = 1.0) -> Array:
    """From 0 up to 1 and back, `times` times, smoothly."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * times * u)


def _ramp(u: Array, start: float, end: float) -> Array:
    """0 before `start`, 1 after `end`, smooth between (smoothstep)."""
    x = np.clip((u - start) / (end - start), 0.0, 1.0)
    return x * x * (3 - 2 * x)


def _hold(u: Array, edge: float = 0.15) -> Array:
    """Up at the beginning, down at the end."""
    return _ramp(u, 0.0, edge) * (1 - _ramp(u, 1 - edge, 1.0))


@dataclass(frozen=True)
class Style:
    """Style of one performance of an action.

    Attributes:
        size: Amplitude; 1 is usual.
        repeats: How often a repeated movement is repeated.
        side: The leading hand or foot, `left` or `right`.
    """

    size: float
    repeats: int
    side: str

    @property
    def other(self) -> str:
        """The other side."""
        return "right" if self.side == "left" else "left"


def _stand(_u: Array, _s: Style) -> Angles:
    return {}


def _wave(u: Array, s: Style) -> Angles:
    up, swing = _hold(u), np.sin(2 * np.pi * (s.repeats + 1) * u)
    return {
        f"{s.side}_abduction": 95 * up,
        f"{s.side}_arm_twist": 90 * up,
        f"{s.side}_elbow": up * (85 + 32 * s.size * swing),
    }


def _raise_arms(u: Array, s: Style) -> Angles:
    up = _hold(u, 0.4)
    return {f"{side}_flexion": (165 + 10 * s.size) * up for side in ("left", "right")}


def _squat(u: Array, s: Style) -> Angles:
    down = _pulse(u, s.repeats) * s.size
    angles = {"bend": 32 * down}
    for side in ("left", "right"):
        angles |= {f"{side}_hip": 95 * down, f"{side}_knee": 108 * down, f"{side}_hip_abduction": 8 + 4 * down}
        angles[f"{side}_flexion"] = 85 * down
    return angles


def _walk(u: Array, s: Style) -> Angles:
    cycles = s.repeats + 0.5
    angles: Angles = {"forward": 0.75 * cycles * s.size * (u - 0.5), "bend": 4 + 0 * u}
    for side, shift in (("left", 0.0), ("right", np.pi)):
        stride = 2 * np.pi * cycles * u + shift
        angles[f"{side}_hip"] = 4 + 27 * s.size * np.sin(stride)
        # The knee bends while its leg swings to the front.
        angles[f"{side}_knee"] = 6 + 52 * s.size * np.clip(np.cos(stride), 0, 1) ** 1.5
        angles[f"{side}_flexion"] = -24 * s.size * np.sin(stride)
        angles[f"{side}_elbow"] = 18 - 8 * np.sin(stride)
    return angles


def _jumping_jack(u: Array, s: Style) -> Angles:
    open_ = _pulse(u, s.repeats + 1)
    angles: Angles = {"lift": 0.05 * s.size * _pulse(u, 2 * (s.repeats + 1))}
    for side in ("left", "right"):
        angles |= {f"{side}_abduction": 12 + 150 * open_, f"{side}_hip_abduction": 3 + 25 * s.size * open_}
        angles[f"{side}_elbow"] = 12 * open_
    return angles


def _fall(u: Array, s: Style) -> Angles:
    down = _ramp(u, 0.2, 0.62) ** 1.6
    sway = 1 if s.side == "left" else -1
    angles: Angles = {"pelvis_roll": -sway * 84 * down, "lean": -sway * 10 * _pulse(np.clip(u * 1.6, 0, 1))}
    buckle = _pulse(np.clip((u - 0.15) / 0.85, 0, 1), 1) * s.size
    for side in ("left", "right"):
        angles |= {f"{side}_hip": 45 * buckle + 18 * down, f"{side}_knee": 70 * buckle + 25 * down}
        angles |= {f"{side}_abduction": 60 * _pulse(np.clip(u * 1.3, 0, 1)) + 20 * down, f"{side}_elbow": 30 * down}
    return angles


def _bow(u: Array, s: Style) -> Angles:
    down = _hold(u, 0.42) * s.size
    return {"bend": 68 * down, "nod": 18 * down, "left_hip": -8 * down, "right_hip": -8 * down} | {
        f"{side}_flexion": 42 * down for side in ("left", "right")
    }


def _punch(u: Array, s: Style) -> Angles:
    guard = _hold(u, 0.12)
    angles: Angles = {"bend": 8 * guard, "left_hip": 12 * guard, "right_hip": -8 * guard}
    angles |= {"left_knee": 18 * guard, "right_knee": 14 * guard}
    for side, shift in ((s.side, 0.0), (s.other, 0.5)):
        jab = np.clip(np.sin(2 * np.pi * (s.repeats * u + shift)), 0, 1) ** 2
        angles[f"{side}_flexion"] = guard * (35 + 52 * jab * s.size)
        angles[f"{side}_elbow"] = guard * (125 - 115 * jab)
        angles["twist"] = angles.get("twist", 0 * u) + (25 if side == "right" else -25) * jab * guard
    return angles


def _kick(u: Array, s: Style) -> Angles:
    times = max(1, s.repeats - 1)
    # Raised bent, then stretched, then lowered: the knee leads the foot by a tenth of the kick.
    phase = (u * times) % 1.0
    thigh = _ramp(phase, 0.1, 0.4) * (1 - _ramp(phase, 0.65, 0.95))
    stretch = _ramp(phase, 0.32, 0.5) * (1 - _ramp(phase, 0.55, 0.75))
    return {
        f"{s.side}_hip": 92 * thigh * s.size,
        f"{s.side}_knee": 95 * thigh * (1 - stretch),
        f"{s.other}_knee": 10 * thigh,
        "bend": -14 * thigh,
        f"{s.other}_flexion": 40 * thigh,
        f"{s.side}_flexion": -20 * thigh,
        "left_elbow": 50 * thigh,
        "right_elbow": 50 * thigh,
    }


def _sit_down(u: Array, s: Style) -> Angles:
    down = _ramp(u, 0.15, 0.75)
    angles: Angles = {"bend": 42 * s.size * _pulse(np.clip((u - 0.1) / 0.75, 0, 1)) + 3 * down, "nod": 4 * down}
    for side in ("left", "right"):
        angles |= {f"{side}_hip": 88 * down, f"{side}_knee": 88 * down, f"{side}_flexion": 28 * down}
        angles[f"{side}_elbow"] = 50 * down
    return angles


def _march(u: Array, s: Style) -> Angles:
    angles: Angles = {}
    for side, shift in (("left", 0.0), ("right", 0.5)):
        step = np.clip(np.sin(2 * np.pi * (s.repeats * u + shift)), 0, 1)
        other = np.clip(np.sin(2 * np.pi * (s.repeats * u + shift + 0.5)), 0, 1)
        angles |= {f"{side}_hip": 82 * step * s.size, f"{side}_knee": 88 * step * s.size}
        angles |= {f"{side}_flexion": 48 * other * s.size, f"{side}_elbow": 70 + 20 * other}
    return angles


def _clap(u: Array, s: Style) -> Angles:
    up, apart = _hold(u, 0.12), _pulse(u, s.repeats * 2)
    angles: Angles = {}
    for side in ("left", "right"):
        angles |= {f"{side}_flexion": 48 * up, f"{side}_elbow": 62 * up}
        # Turning the bent forearms inwards brings the hands together.
        angles[f"{side}_arm_twist"] = up * (-38 + 42 * s.size * apart)
    return angles


ACTIONS: dict[str, tuple[Callable[[Array, Style], Angles], float]] = {
    # name: (angles, seconds that it usually takes)
    "wave": (_wave, 2.4),
    "squat": (_squat, 4.2),
    "walk": (_walk, 3.0),
    "jumping_jack": (_jumping_jack, 3.0),
    "fall": (_fall, 2.0),
    "bow": (_bow, 2.6),
    "punch": (_punch, 2.4),
    "kick": (_kick, 2.4),
    "sit_down": (_sit_down, 2.4),
    "raise_arms": (_raise_arms, 3.0),
    "march": (_march, 3.2),
    "clap": (_clap, 2.4),
    "stand": (_stand, 2.5),
}
