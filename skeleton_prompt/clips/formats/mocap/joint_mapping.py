"""Which joint of a file is which joint of the body: by name, checked against the tree.

Spellings are those of ``skeleton_prompt.clips.joint_aliases``. One name may mean two
things (``LeftShoulder`` is the collar where there is a ``LeftArm``), so of several candidates the tree decides: a
shoulder is the last one above the elbow, a wrist the first one below it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from skeleton_prompt.clips.formats.mocap.kinematics import Skeleton
from skeleton_prompt.clips.joint_aliases import split_side

_LEG = (("hip",), ("knee", "leg"), ("ankle", "foot"))
_ARM = (("shoulder", "arm"), ("elbow",), ("wrist", "hand"))
SHORT_FOREARM, LONG_FOREARM = 0.75, 1.2  # times the upper arm; people have about 0.9
LIMB_ROLES = tuple(side + role for role in ("hip", "knee", "ankle", "shoulder", "elbow", "wrist") for side in "lr")


@dataclass(frozen=True)
class Parts:
    """Joints of a skeleton by their role.

    Attributes:
        roles: ``lhip`` ... ``rwrist`` and ``head``.
        trunk: Joints from the one that both legs hang on up to the one below the head.
        toes: First joints below the ankles, as far as there are any.
        tops: Open ends of the head.
    """

    roles: dict[str, int]
    trunk: tuple[int, ...]
    toes: dict[str, int]
    tops: tuple[int, ...]

    @property
    def all(self) -> tuple[int, ...]:
        """Every joint that is needed."""
        return (*self.roles.values(), *self.trunk, *self.toes.values(), *self.tops)


def find_parts(skeleton: Skeleton) -> Parts:
    """Find the joints of the body.

    Raises:
        LookupError: Saying which one has no joint, and which names there are.
    """
    words = [split_side(name) for name in _bare(skeleton.names)]
    roles: dict[str, int] = {}
    for side in "lr":
        for chain in (_LEG, _ARM):
            roles |= _limb(skeleton, words, side, chain)
        roles[side + "wrist"] = _true_wrist(skeleton, *(roles[side + role] for role in ("shoulder", "elbow", "wrist")))
    heads = [joint for joint, meaning in enumerate(words) if meaning == ("", "head")]
    if not heads:
        raise LookupError(f"no joint is the head; joints: {_shown(skeleton.names)}")
    roles["head"] = min(heads, key=lambda joint: len(skeleton.path(joint)))
    left, right, head = (skeleton.path(roles[role]) for role in ("lhip", "rhip", "head"))
    shared = [a for a, b, c in zip(left, right, head, strict=False) if a == b == c]
    trunk = tuple(head[len(shared) - 1 : -1]) if shared else tuple(head[:-1])
    children: dict[int, list[int]] = {}
    for joint, parent in enumerate(skeleton.parents):
        children.setdefault(parent, []).append(joint)
    toes = {side + "toe": children[ankle][0] for side in "lr" if children.get(ankle := roles[side + "ankle"])}
    tops = tuple(joint for joint in children.get(roles["head"], []) if joint not in children)
    return Parts(roles, trunk, toes, tops)


def _bare(names: Sequence[str]) -> list[str]:
    """Names without what a program puts before all of them: ``mixamorig:Hips``, ``Bip01 L Thigh``."""
    bare = [name.rsplit(":", 1)[-1] for name in names]
    first = [re.match(r"[^_ ]+[_ ]+", name) for name in bare]
    prefix = first[-1].group() if first and first[-1] else None
    if prefix and sum(name.startswith(prefix) for name in bare) >= len(bare) - 1:
        bare = [name.removeprefix(prefix) for name in bare]
    return bare


def _limb(
    skeleton: Skeleton, words: list[tuple[str, str]], side: str, chain: tuple[tuple[str, ...], ...]
) -> dict[str, int]:
    """Upper, middle and lower joint of a limb; the last are in order of preference, the first of equal rank."""
    upper, middle, lower = ([j for j, (s, w) in enumerate(words) if s == side and w in part] for part in chain)
    ends = [j for word in chain[2] for j in lower if words[j][1] == word]
    for knee in middle:
        above = skeleton.path(knee)[:-1]
        hips = [joint for joint in above if joint in upper]
        below = [joint for joint in ends if knee in skeleton.path(joint)[:-1]]
        if hips and below:
            preferred = [joint for joint in below if words[joint][1] == words[below[0]][1]]
            end = min(preferred, key=lambda joint: len(skeleton.path(joint)))
            return {side + part[0]: joint for part, joint in zip(chain, (hips[-1], knee, end), strict=True)}
    sought = ", ".join(side + part[0] for part in chain)
    raise LookupError(f"no three joints in a row are {sought}; joints: {_shown(skeleton.names)}")


def _true_wrist(skeleton: Skeleton, shoulder: int, elbow: int, wrist: int) -> int:
    """The wrist, or a joint beyond it where the forearm would be too short.

    CMU's ``wrist`` bone, and the ``Hand`` of BVH files made from it, starts in the middle of the forearm, where the
    radius turns; the hand starts one joint further on.
    """
    places = skeleton.rest()
    upper = float(np.linalg.norm(places[elbow] - places[shoulder]))
    forearm = places[wrist] - places[elbow]
    length = float(np.linalg.norm(forearm))
    if not 0 < length < SHORT_FOREARM * upper:
        return wrist
    for joint, parent in enumerate(skeleton.parents):
        further = places[joint] - places[elbow]
        reach = float(np.linalg.norm(further))
        straight = further @ forearm > 0.95 * reach * length
        if parent == wrist and straight and SHORT_FOREARM * upper < reach < LONG_FOREARM * upper:
            return joint
    return wrist


def _shown(names: Sequence[str]) -> str:
    named = [name for name in names if not name.endswith("_end")]
    return ", ".join(named[:40]) + (" ..." if len(named) > 40 else "")
