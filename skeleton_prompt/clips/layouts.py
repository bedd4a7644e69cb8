"""Keypoint layouts: which joints a clip has, and how they become the 17 canonical joints.

A layout is data: joint names, edges, and for each canonical joint (Human3.6M-17) a weighted sum of its own joints.
Where a layout lacks the root, the thorax or the spine they are the mid-hips, the mid-shoulders and the halfway
between; any other joint without a source stays masked and is never invented. Built-in and custom layouts take the
same path: the meaning of a joint comes from its name (see ``joint_aliases``).
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from skeleton_prompt.clips.builtin_layouts import BUILT_IN, SYNONYMS
from skeleton_prompt.clips.canonical_skeleton import CANONICAL
from skeleton_prompt.clips.joint_aliases import resolve_roles, split_side

MAX_JOINTS = 256
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
    return tuple(BUILT_IN)


def get_layout(name: str) -> Layout:
    """The built-in layout of this name, or of another name of it: ``body_25`` and ``BODY25`` are ``openpose25``.

    Raises:
        UnknownLayout: no such name; the message suggests close ones.
    """
    known = name if name in BUILT_IN else _plain_names().get(_plain(name))
    if known is None:
        raise UnknownLayout(unknown_layout_message(name))
    return _built_in(known)


def unknown_layout_message(name: str, joints: int | None = None) -> str:
    """What to say of a name that no layout has: close names, and those with as many joints as the clip."""
    fitting = [known for known in BUILT_IN if joints and len(_built_in(known).joints) == joints]
    close = difflib.get_close_matches(_plain(name), _plain_names(), n=3, cutoff=0.6)
    near = list(dict.fromkeys(_plain_names()[match] for match in close))
    hint = f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(BUILT_IN)}"
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
    return {**SYNONYMS, **{_plain(name): name for name in BUILT_IN}}


@lru_cache(maxsize=64)
def _built_in(name: str) -> Layout:
    joints, edges = BUILT_IN[name]
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
