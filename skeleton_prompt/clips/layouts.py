"""Keypoint layouts: which joints a clip has, and how they become the 17 canonical joints.

A layout is data: joint names, edges, and for each canonical joint (Human3.6M-17) a weighted sum of its own joints.
Where a layout lacks the root, the thorax or the spine they are the mid-hips, the mid-shoulders and the halfway
between; any other joint without a source stays masked and is never invented. Built-in and custom layouts take the
same path: the meaning of a joint comes from its name (see ``aliases``).
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from html import escape
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from skeleton_prompt.clips.canonical_skeleton import CANONICAL, CANONICAL_EDGES
from skeleton_prompt.clips.joint_aliases import resolve_roles, split_side

MAX_JOINTS = 256
# Of drawings: the own right side red, the own left blue, so that a mirrored clip is seen at a glance.
SIDE_COLOURS = {"r": "#d1495b", "l": "#2e6fbb", "": "#4a4a4a"}
MAX_NAME = 64
_SUBSTITUTES: dict[str, tuple[str, ...]] = {
    "root": ("lhip", "rhip"),
    "thorax": ("lshoulder", "rshoulder"),
    "spine": ("root", "thorax"),
}
# Limb chains, and what hangs on what beyond the canonical edges; used where a layout brings no edges of its own.
_CHAINS: tuple[tuple[str, ...], ...] = tuple(
    tuple(side + role for role in chain)
    for side in "lr"
    for chain in (
        ("hip", "knee", "ankle", "toe"), ("ankle", "heel"), ("toe", "small_toe"),
        ("shoulder", "elbow", "wrist", "hand", "hand_tip"), ("wrist", "index", "pinky"), ("wrist", "thumb"),
    )
)  # fmt: skip

Sources = tuple[tuple[tuple[int, float], ...], ...]


class UnknownLayout(LookupError):
    """No built-in layout has this name."""


class BadLayout(ValueError):
    """A custom layout that cannot be used; ``rule`` is a stable word, ``index`` the joint it is about."""

    def __init__(self, rule: str, message: str, index: int | None = None) -> None:
        super().__init__(message)
        self.rule = rule
        self.index = index


@dataclass(frozen=True)
class Layout:
    """A named set of joints and its way to the canonical 17.

    Attributes:
        name: built-in name, or ``custom``.
        joints: J joint names in the order of the keypoints.
        edges: pairs of joint indices, for drawing and for bone checks.
        sources: per canonical joint, (joint index, weight) pairs; empty means masked.
        unknown: joints that no role knows: displayed, ignored by the model.
        roles: role of each joint, None where unknown.
    """

    name: str
    joints: tuple[str, ...]
    edges: tuple[tuple[int, int], ...]
    sources: Sources
    unknown: tuple[str, ...] = ()
    roles: tuple[str | None, ...] = ()

    @cached_property
    def matrix(self) -> npt.NDArray[np.float32]:
        """Weights (17, J): canonical positions are ``matrix @ positions``."""
        weights = np.zeros((len(CANONICAL), len(self.joints)), np.float32)
        for row, pairs in enumerate(self.sources):
            for joint, weight in pairs:
                weights[row, joint] += weight
        weights.setflags(write=False)
        return weights

    @cached_property
    def available(self) -> npt.NDArray[np.bool_]:
        """Which canonical joints (17,) the layout can have at all."""
        return np.array([bool(pairs) for pairs in self.sources])

    @cached_property
    def gather(self) -> npt.NDArray[np.intp]:
        """Source joints (17, K), short rows padded with their first: a minimum over K is that of the sources."""
        depth = max(1, *(len(pairs) for pairs in self.sources))
        rows = [[joint for joint, _ in pairs] or [0] for pairs in self.sources]
        return np.array([row + row[:1] * (depth - len(row)) for row in rows], dtype=np.intp)

    @cached_property
    def sides(self) -> tuple[str, ...]:
        """``"l"``, ``"r"`` or ``""`` for each joint."""
        return tuple(split_side(joint)[0] for joint in self.joints)

    def edge_side(self, a: int, b: int) -> str:
        """The side whose colour an edge has; ``""`` across the body and on the trunk."""
        first, second = self.sides[a], self.sides[b]
        return "" if first and second and first != second else first or second

    def to_dict(self) -> str | dict[str, list[str]]:
        """The value of a clip's ``layout`` field that names this layout."""
        return {"joints": list(self.joints)} if self.name == "custom" else self.name


def layout_names() -> tuple[str, ...]:
    """Names of the built-in layouts, in order of documentation."""
    return tuple(_BUILT_IN)


def get_layout(name: str) -> Layout:
    """The built-in layout of this name, or of another name of it: ``body_25`` and ``BODY25`` are ``openpose25``.

    Raises:
        UnknownLayout: no such name; the message suggests close ones.
    """
    known = name if name in _BUILT_IN else _plain_names().get(_plain(name))
    if known is None:
        raise UnknownLayout(unknown_layout_message(name))
    return _built_in(known)


def unknown_layout_message(name: str, joints: int | None = None) -> str:
    """What to say of a name that no layout has: close names, and those with as many joints as the clip."""
    fitting = [known for known in _BUILT_IN if joints and len(_built_in(known).joints) == joints]
    close = difflib.get_close_matches(_plain(name), _plain_names(), n=3, cutoff=0.6)
    near = list(dict.fromkeys(_plain_names()[match] for match in close))
    hint = f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(_BUILT_IN)}"
    if joints:
        count = (
            f"the clip has {joints} joints, as {' and '.join(fitting)}" if fitting else f"the clip has {joints} joints"
        )
        hint += f"; {count}"
    return f'no layout is called {name[:MAX_NAME]!r}; {hint}; any set of joints can be sent as {{"joints": [names]}}'


def _plain(name: str) -> str:
    """A layout name in lower case without separators."""
    return "".join(char for char in name[:MAX_NAME].lower() if char.isalnum())


@lru_cache(maxsize=1)
def _plain_names() -> dict[str, str]:
    """Built-in names by all spellings that are accepted."""
    return {**_SYNONYMS, **{_plain(name): name for name in _BUILT_IN}}


@lru_cache(maxsize=64)
def _built_in(name: str) -> Layout:
    joints, edges = _BUILT_IN[name]
    return _build(name, tuple(joints.split()), edges)


def custom_layout(joints: Sequence[str]) -> Layout:
    """A layout from joint names alone, in any documented spelling.

    Args:
        joints: 2 to 256 names; their meaning is resolved by the whole set.

    Raises:
        BadLayout: not names, too many, twice the same joint, or none that the model knows.
    """
    if isinstance(joints, str) or not isinstance(joints, Sequence):
        raise BadLayout("not_a_list", "layout.joints must be a list of joint names")
    if not 2 <= len(joints) <= MAX_JOINTS:
        rule = "too_many_joints" if len(joints) > MAX_JOINTS else "too_few_joints"
        raise BadLayout(rule, f"layout.joints has {len(joints)} names; from 2 to {MAX_JOINTS} (max_joints) are allowed")
    for index, name in enumerate(joints):
        if not isinstance(name, str) or not 1 <= len(name) <= MAX_NAME or not name.isprintable():
            raise BadLayout("bad_joint_name", f"a joint name is 1 to {MAX_NAME} printable characters", index)
    return _custom(tuple(joints))


@lru_cache(maxsize=256)
def _custom(joints: tuple[str, ...]) -> Layout:
    return _build("custom", joints, None)


def resolve_layout(spec: str | Mapping[str, Any]) -> Layout:
    """The layout that a clip's ``layout`` field means: a built-in name, or ``{"joints": [...]}``.

    Raises:
        UnknownLayout: a name that no built-in layout has.
        BadLayout: an object that does not describe a usable layout.
    """
    if isinstance(spec, str):
        return get_layout(spec)
    if not isinstance(spec, Mapping):
        raise BadLayout("not_a_layout", 'layout must be a name or an object {"joints": [names]}')
    if "joints" not in spec:
        raise BadLayout("not_a_layout", 'a custom layout needs "joints", a list of joint names')
    return custom_layout(spec["joints"])


def _build(name: str, joints: tuple[str, ...], edges: tuple[tuple[int, int], ...] | None) -> Layout:
    roles = resolve_roles(joints)
    place: dict[str, int] = {}
    for index, role in enumerate(roles):
        if role in CANONICAL and role in place:
            first = joints[place[role]]
            raise BadLayout("duplicate_joint", f"{joints[index]!r} and {first!r} are both the {role}", index)
        if joints[index] in joints[:index]:
            raise BadLayout("duplicate_joint", f"the name {joints[index]!r} occurs twice", index)
        if role is not None:
            place.setdefault(role, index)
    sources = tuple(tuple(_source(role, place).items()) for role in CANONICAL)
    if not any(sources):
        raise BadLayout("no_known_joint", "none of the joint names is known; see GET /layouts for the vocabulary")
    unknown = tuple(joint for joint, role in zip(joints, roles, strict=True) if role is None)
    drawn = _edges(place) if edges is None else edges
    return Layout(name, joints, drawn, sources, unknown, tuple(roles))


def _source(role: str, place: Mapping[str, int]) -> dict[int, float]:
    """Weights by joint index: the joint itself, else the mean of its substitutes, else nothing."""
    if role in place:
        return {place[role]: 1.0}
    parts = [_source(part, place) for part in _SUBSTITUTES.get(role, ())]
    if not parts or not all(parts):
        return {}
    weights: dict[int, float] = {}
    for part in parts:
        for joint, weight in part.items():
            weights[joint] = weights.get(joint, 0.0) + weight / len(parts)
    return weights


def _edges(place: Mapping[str, int]) -> tuple[tuple[int, int], ...]:
    """Bones between the joints that are there, bridging the ones that are not."""
    chains: list[tuple[str, ...]] = [*_CHAINS, ("root", "spine", "thorax", "nose", "head_top")]
    chains += [("nose", side + "eye", side + "ear") for side in "lr"]
    for centre, pair in (("thorax", "shoulder"), ("root", "hip")):
        chains += [(centre, side + pair) for side in "lr"] if centre in place else [("l" + pair, "r" + pair)]
    if not {"root", "thorax"} <= place.keys():
        chains += [(side + "shoulder", side + "hip") for side in "lr"]
    found: dict[tuple[int, int], None] = {}
    for chain in chains:
        there = [place[role] for role in chain if role in place]
        found.update(dict.fromkeys(pairwise(there)))
    return tuple(found)


# Where a role is drawn: a person who faces the reader, so that the own right is on the left; x is mirrored for "l".
_FIGURE: dict[str, tuple[float, float]] = {
    "head_top": (0, 8), "head": (0, 20), "nose": (0, 30), "upper_neck": (0, 44), "neck": (0, 50), "thorax": (0, 58),
    "chest": (0, 68), "spine3": (0, 76), "spine2": (0, 88), "spine": (0, 92), "spine1": (0, 106), "spine0": (0, 112),
    "root": (0, 124), "eye_inner": (-4, 24), "eye": (-8, 23), "eye_outer": (-12, 24), "ear": (-17, 28),
    "mouth": (-5, 37), "collar": (-12, 58), "shoulder": (-26, 62), "elbow": (-40, 92), "wrist": (-52, 122),
    "hand": (-56, 133), "hand_tip": (-59, 144), "thumb": (-47, 135), "index": (-53, 140), "pinky": (-62, 136),
    "hip": (-15, 126), "knee": (-18, 166), "ankle": (-20, 206), "heel": (-15, 213), "toe": (-28, 216),
    "small_toe": (-36, 212),
}  # fmt: skip


def draw_layout(layout: Layout) -> str:
    """A self-contained SVG of the layout: own right side red, own left blue, joints numbered; hover for names.

    Joints whose place on the body is not known are listed in a column of open circles.
    """
    places, strays = {}, 0
    for index, role in enumerate(layout.roles):
        side = role[0] if role and role not in _FIGURE and role[1:] in _FIGURE else ""
        spot = _FIGURE.get(role[1:] if side else role) if role else None
        if spot is None:
            spot = (92.0, 16.0 + 13.0 * strays)
            strays += 1
        places[index] = (-spot[0] if side == "l" else spot[0], spot[1], side)
    height = max(230.0, 24.0 + 13.0 * strays)
    width = 290 if strays else 160
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-80 -4 {width} {height + 4:g}" role="img"'
        f' font-family="sans-serif" font-size="5"><title>{escape(layout.name)}: {len(layout.joints)} joints</title>'
    ]
    for a, b in layout.edges:
        (x1, y1, _), (x2, y2, _) = places[a], places[b]
        colour = SIDE_COLOURS[layout.edge_side(a, b)]
        parts.append(
            f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="{colour}" stroke-width="2.4"'
            ' stroke-linecap="round" opacity=".55"/>'
        )
    for index, (x, y, side) in places.items():
        name = escape(layout.joints[index])
        stray = x > 90
        paint = f'fill="#fff" stroke="{SIDE_COLOURS[side]}"' if stray else f'fill="{SIDE_COLOURS[side]}"'
        parts.append(f'<g><title>{index} {name}</title><circle cx="{x:g}" cy="{y:g}" r="3.6" {paint}/>')
        ink = "#333" if stray else "#fff"
        parts.append(
            f'<text x="{x:g}" y="{y + 1.4:g}" text-anchor="middle" font-size="4.2" fill="{ink}">{index}</text></g>'
        )
        if stray:
            parts.append(f'<text x="{x + 6:g}" y="{y + 1.6:g}" fill="#333">{name}</text>')
    return "".join(parts) + "</svg>"


def _pairs(text: str) -> tuple[tuple[int, int], ...]:
    """Edges from compact text: ``"0-1-2 0-3"`` is (0, 1), (1, 2), (0, 3)."""
    edges: list[tuple[int, int]] = []
    for chain in text.split():
        stops = [int(stop) for stop in chain.split("-")]
        edges += pairwise(stops)
    return tuple(edges)


def _hand(side: str) -> str:
    """The 21 joints of a hand of COCO-WholeBody."""
    fingers = ("thumb", "forefinger", "middle_finger", "ring_finger", "pinky_finger")
    names = [f"{side}_{finger}{number}" for finger in fingers for number in range(1, 5)]
    return " ".join([f"{side}_hand_root", *names])


# Names and order as published with each set; joints of one layout on a few lines so that an index can be counted.
_BUILT_IN: dict[str, tuple[str, tuple[tuple[int, int], ...]]] = {
    "coco17": (
        "nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder left_elbow right_elbow left_wrist"
        " right_wrist left_hip right_hip left_knee right_knee left_ankle right_ankle",
        _pairs("0-1-3 0-2-4 5-6 5-7-9 6-8-10 5-11 6-12 11-12 11-13-15 12-14-16"),
    ),
    "openpose18": (
        "nose neck right_shoulder right_elbow right_wrist left_shoulder left_elbow left_wrist right_hip right_knee"
        " right_ankle left_hip left_knee left_ankle right_eye left_eye right_ear left_ear",
        _pairs("0-1 1-2-3-4 1-5-6-7 1-8-9-10 1-11-12-13 0-14-16 0-15-17"),
    ),
    "openpose25": (
        "nose neck right_shoulder right_elbow right_wrist left_shoulder left_elbow left_wrist mid_hip right_hip"
        " right_knee right_ankle left_hip left_knee left_ankle right_eye left_eye right_ear left_ear left_big_toe"
        " left_small_toe left_heel right_big_toe right_small_toe right_heel",
        _pairs("0-1-8 1-2-3-4 1-5-6-7 8-9-10-11-22-23 8-12-13-14-19-20 0-15-17 0-16-18 14-21 11-24"),
    ),
    "mediapipe33": (
        "nose left_eye_inner left_eye left_eye_outer right_eye_inner right_eye right_eye_outer left_ear right_ear"
        " mouth_left mouth_right left_shoulder right_shoulder left_elbow right_elbow left_wrist right_wrist left_pinky"
        " right_pinky left_index right_index left_thumb right_thumb left_hip right_hip left_knee right_knee left_ankle"
        " right_ankle left_heel right_heel left_foot_index right_foot_index",
        _pairs(
            "0-1-2-3-7 0-4-5-6-8 9-10 11-12 11-13-15-17-19-15-21 12-14-16-18-20-16-22 11-23 12-24 23-24"
            " 23-25-27-29-31-27 24-26-28-30-32-28"
        ),
    ),
    "halpe26": (
        "nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder left_elbow right_elbow left_wrist"
        " right_wrist left_hip right_hip left_knee right_knee left_ankle right_ankle head neck hip left_big_toe"
        " right_big_toe left_small_toe right_small_toe left_heel right_heel",
        _pairs(
            "0-1-3 0-2-4 17-18 0-18-19 18-5-7-9 18-6-8-10 19-11-13-15 19-12-14-16"
            " 15-20-22 15-24 16-21-23 16-25"
        ),
    ),
    "h36m17": (" ".join(CANONICAL), CANONICAL_EDGES),
    "ntu25": (
        "spine_base spine_mid neck head left_shoulder left_elbow left_wrist left_hand right_shoulder right_elbow"
        " right_wrist right_hand left_hip left_knee left_ankle left_foot right_hip right_knee right_ankle right_foot"
        " spine_shoulder left_hand_tip left_thumb right_hand_tip right_thumb",
        _pairs("0-1-20-2-3 20-4-5-6-7-21 6-22 20-8-9-10-11-23 10-24 0-12-13-14-15 0-16-17-18-19"),
    ),
    "kinect20": (
        "hip_center spine shoulder_center head left_shoulder left_elbow left_wrist left_hand right_shoulder"
        " right_elbow right_wrist right_hand left_hip left_knee left_ankle left_foot right_hip right_knee right_ankle"
        " right_foot",
        _pairs("3-2-1-0 2-4-5-6-7 2-8-9-10-11 0-12-13-14-15 0-16-17-18-19"),
    ),
    "msr20": (
        "left_shoulder right_shoulder shoulder_center spine left_hip right_hip hip_center left_elbow right_elbow"
        " left_wrist right_wrist left_hand right_hand left_knee right_knee left_ankle right_ankle left_foot right_foot"
        " head",
        _pairs("19-2-3-6 2-0-7-9-11 2-1-8-10-12 6-4-13-15-17 6-5-14-16-18"),
    ),
    "utd20": (
        "head shoulder_center spine hip_center left_shoulder left_elbow left_wrist left_hand right_shoulder"
        " right_elbow right_wrist right_hand left_hip left_knee left_ankle left_foot right_hip right_knee right_ankle"
        " right_foot",
        _pairs("0-1-2-3 1-4-5-6-7 1-8-9-10-11 3-12-13-14-15 3-16-17-18-19"),
    ),
    "penn13": (
        "head left_shoulder right_shoulder left_elbow right_elbow left_wrist right_wrist left_hip right_hip left_knee"
        " right_knee left_ankle right_ankle",
        _pairs("0-1-2-0 1-3-5 2-4-6 1-7-9-11 2-8-10-12 7-8"),
    ),
    "jhmdb15": (
        "neck belly face right_shoulder left_shoulder right_hip left_hip right_elbow left_elbow right_knee left_knee"
        " right_wrist left_wrist right_ankle left_ankle",
        _pairs("2-0-1 0-3-7-11 0-4-8-12 1-5-9-13 1-6-10-14"),
    ),
    "florence15": (
        "head neck spine left_shoulder left_elbow left_wrist right_shoulder right_elbow right_wrist left_hip left_knee"
        " left_ankle right_hip right_knee right_ankle",
        _pairs("0-1-2 1-3-4-5 1-6-7-8 2-9-10-11 2-12-13-14"),
    ),
    "smpl24": (
        "pelvis left_hip right_hip spine1 left_knee right_knee spine2 left_ankle right_ankle spine3 left_foot"
        " right_foot neck left_collar right_collar head left_shoulder right_shoulder left_elbow right_elbow left_wrist"
        " right_wrist left_hand right_hand",
        _pairs(
            "0-1-4-7-10 0-2-5-8-11 0-3-6-9-12-15 9-13-16-18-20-22 9-14-17-19-21-23"
        ),
    ),
    "ui_prmd22": (
        "waist spine chest neck head head_tip left_collar left_upper_arm left_forearm left_hand right_collar"
        " right_upper_arm right_forearm right_hand left_upper_leg left_lower_leg left_foot left_toes right_upper_leg"
        " right_lower_leg right_foot right_toes",
        _pairs("0-1-2-3-4-5 2-6-7-8-9 2-10-11-12-13 0-14-15-16-17 0-18-19-20-21"),
    ),
    "body_25b": (
        "nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder left_elbow right_elbow left_wrist"
        " right_wrist left_hip right_hip left_knee right_knee left_ankle right_ankle upper_neck head_top left_big_toe"
        " left_small_toe left_heel right_big_toe right_small_toe right_heel",
        _pairs("0-1-3 0-2-4 0-18 0-17 17-5-7-9 17-6-8-10 5-11-13-15-19-20 6-12-14-16-22-23 11-12 15-21 16-24"),
    ),
    "wholebody133": (
        "nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder left_elbow right_elbow left_wrist"
        " right_wrist left_hip right_hip left_knee right_knee left_ankle right_ankle left_big_toe left_small_toe"
        " left_heel right_big_toe right_small_toe right_heel"
        f" {' '.join(f'face-{index}' for index in range(68))} {_hand('left')} {_hand('right')}",
        _pairs(
            "0-1-3 0-2-4 5-6 5-7-9 6-8-10 5-11 6-12 11-12 11-13-15 12-14-16 15-17 15-18 15-19 16-20 16-21 16-22"
            " 9-91-92-93-94-95 91-96-97-98-99 91-100-101-102-103 91-104-105-106-107 91-108-109-110-111"
            " 10-112-113-114-115-116 112-117-118-119-120 112-121-122-123-124 112-125-126-127-128 112-129-130-131-132"
        ),
    ),
    "mpii16": (
        "right_ankle right_knee right_hip left_hip left_knee left_ankle pelvis thorax upper_neck head_top right_wrist"
        " right_elbow right_shoulder left_shoulder left_elbow left_wrist",
        _pairs("0-1-2-6-3-4-5 6-7-8-9 7-12-11-10 7-13-14-15"),
    ),
    "posetrack17": (
        "nose head_bottom head_top left_ear right_ear left_shoulder right_shoulder left_elbow right_elbow left_wrist"
        " right_wrist left_hip right_hip left_knee right_knee left_ankle right_ankle",
        _pairs("1-0-2 0-3 0-4 1-5-7-9 1-6-8-10 5-11-13-15 6-12-14-16 11-12"),
    ),
    "azure_kinect32": (
        "pelvis spine_navel spine_chest neck clavicle_left shoulder_left elbow_left wrist_left hand_left handtip_left"
        " thumb_left clavicle_right shoulder_right elbow_right wrist_right hand_right handtip_right thumb_right"
        " hip_left knee_left ankle_left foot_left hip_right knee_right ankle_right foot_right head nose eye_left"
        " ear_left eye_right ear_right",
        _pairs(
            "0-1-2-3-26-27 2-4-5-6-7-8-9 7-10 2-11-12-13-14-15-16 14-17 0-18-19-20-21 0-22-23-24-25 27-28-29 27-30-31"
        ),
    ),
    "zed34": (
        "pelvis naval_spine chest_spine neck left_clavicle left_shoulder left_elbow left_wrist left_hand left_handtip"
        " left_thumb right_clavicle right_shoulder right_elbow right_wrist right_hand right_handtip right_thumb"
        " left_hip left_knee left_ankle left_foot right_hip right_knee right_ankle right_foot head nose left_eye"
        " left_ear right_eye right_ear left_heel right_heel",
        _pairs(
            "0-1-2-3-26-27 2-4-5-6-7-8-9 7-10 2-11-12-13-14-15-16 14-17 0-18-19-20-21 0-22-23-24-25 27-28-29 27-30-31"
            " 20-32 24-33"
        ),
    ),
    "zed38": (
        "pelvis spine_1 spine_2 spine_3 neck nose left_eye right_eye left_ear right_ear left_clavicle right_clavicle"
        " left_shoulder right_shoulder left_elbow right_elbow left_wrist right_wrist left_hip right_hip left_knee"
        " right_knee left_ankle right_ankle left_big_toe right_big_toe left_small_toe right_small_toe left_heel"
        " right_heel left_hand_thumb_4 right_hand_thumb_4 left_hand_index_1 right_hand_index_1 left_hand_middle_4"
        " right_hand_middle_4 left_hand_pinky_1 right_hand_pinky_1",
        _pairs(
            "0-1-2-3-4-5 5-6-8 5-7-9 3-10-12-14-16 3-11-13-15-17 0-18-20-22-24 0-19-21-23-25 22-26 23-27 22-28 23-29"
            " 16-30 16-32 16-34 16-36 17-31 17-33 17-35 17-37"
        ),
    ),
    "apple19": (
        "nose left_eye right_eye left_ear right_ear neck left_shoulder right_shoulder left_elbow right_elbow left_wrist"
        " right_wrist root left_hip right_hip left_knee right_knee left_ankle right_ankle",
        _pairs("0-1-3 0-2-4 0-5-12 5-6-8-10 5-7-9-11 12-13-15-17 12-14-16-18"),
    ),
}  # fmt: skip

# Other names of built-in layouts, lower case without separators: of models that have these joints in this order.
_SYNONYMS: dict[str, str] = {
    **dict.fromkeys(("blazepose", "blazepose33", "mediapipe", "mediapipepose", "mediapipebody"), "mediapipe33"),
    **dict.fromkeys(
        ("coco", "cocobody", "movenet", "posenet", "vitpose", "hrnet", "yolo", "yolopose", "yolov8", "yolov8pose",
         "yolo11", "yolo11pose", "ultralytics", "detectron2", "keypointrcnn"),
        "coco17",
    ),
    **dict.fromkeys(("body25", "openposebody25"), "openpose25"),
    **dict.fromkeys(("openposecoco", "openposecoco18", "body18", "zed18"), "openpose18"),
    **dict.fromkeys(("body25b", "openpose25b"), "body_25b"),
    **dict.fromkeys(("halpe", "halpebody", "bodywithfeet"), "halpe26"),
    **dict.fromkeys(("wholebody", "cocowholebody", "cocowholebody133", "coco133", "dwpose"), "wholebody133"),
    **dict.fromkeys(("h36m", "human36m", "human36m17"), "h36m17"),
    **dict.fromkeys(("ntu", "nturgbd", "kinectv2", "kinect2", "kinect25"), "ntu25"),
    **dict.fromkeys(("kinectv1", "kinect1"), "kinect20"),
    **dict.fromkeys(("k4abt", "k4a", "azurekinect", "azurekinect32"), "azure_kinect32"),
    **dict.fromkeys(("body34", "zedbody34"), "zed34"),
    **dict.fromkeys(("body38", "zedbody38"), "zed38"),
    **dict.fromkeys(("apple", "applevision", "vnhumanbodypose", "vision"), "apple19"),
    **dict.fromkeys(("mpii", "mpiihumanpose"), "mpii16"),
    **dict.fromkeys(("posetrack", "posetrack18", "posetrack2018"), "posetrack17"),
    "smpl": "smpl24",
    "penn": "penn13",
    "pennaction": "penn13",
    "jhmdb": "jhmdb15",
    "uiprmd": "ui_prmd22",
}  # fmt: skip
