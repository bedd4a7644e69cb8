"""What joint names mean: from any spelling to a role of the human body.

A *role* is a word such as ``lwrist`` or ``thorax``. The 17 canonical roles feed the model; the others (eyes, toes,
finger tips) are known, drawn, and otherwise unused. Spelling is settled per name (:func:`split_side`), meaning by the
whole set of names (:func:`resolve_roles`), because the same word names different joints in different sets: UI-PRMD's
``left_hand`` is a wrist, Kinect's is not; in BVH files ``LeftShoulder`` is the collar when there is a ``LeftArm``.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

_WORDS = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+")
_SIDES = {"l": "l", "left": "l", "r": "r", "right": "r"}
_FILLERS = {"of", "the", "joint"}

# One spelling each, separators and side removed. Words that mean the same wherever they occur.
_SIDED: dict[str, str] = {
    **dict.fromkeys(("hip", "upleg", "upperleg", "thigh"), "hip"),
    **dict.fromkeys(("knee", "kne", "lowerleg", "lowleg", "shin", "calf"), "knee"),
    **dict.fromkeys(("ankle", "ank"), "ankle"),
    **dict.fromkeys(("shoulder", "sho", "upperarm", "uparm"), "shoulder"),
    **dict.fromkeys(("elbow", "elb", "forearm", "lowerarm", "lowarm"), "elbow"),
    **dict.fromkeys(("wrist", "wri", "wr"), "wrist"),
    **dict.fromkeys(("collar", "clavicle", "clav", "innershoulder"), "collar"),
    **dict.fromkeys(("handtip", "tiphand", "handend", "fingertip", "middle"), "hand_tip"),
    **dict.fromkeys(("pinky", "pinkie", "little", "littlefinger", "pinkyknuckle"), "pinky"),
    **dict.fromkeys(("index", "indexfinger", "indexknuckle"), "index"),
    **dict.fromkeys(("thumb", "thumbknuckle"), "thumb"),
    **dict.fromkeys(("footindex", "bigtoe", "toe", "toes", "toebase", "toeend", "toetip", "foottip"), "toe"),
    **dict.fromkeys(("smalltoe", "littletoe"), "small_toe"),
    "hand": "hand",
    "foot": "foot",
    "arm": "arm",
    "leg": "leg",
    "heel": "heel",
    "eye": "eye",
    "eyeinner": "eye_inner",
    "eyeouter": "eye_outer",
    "ear": "ear",
    "mouth": "mouth",
}
_CENTRAL: dict[str, str] = {
    **dict.fromkeys(
        ("root", "pelvis", "hip", "hips", "midhip", "hipmid", "centerhip", "hipcenter", "centrehip", "hipcentre",
         "waist", "spinebase", "basespine", "bottomtorso"),
        "root",
    ),
    **dict.fromkeys(("spinemid", "midspine", "middlespine", "torso", "belly", "abdomen", "navel"), "spine_mid"),
    **dict.fromkeys(
        ("thorax", "shouldercenter", "shouldercentre", "centershoulder", "centreshoulder", "spineshoulder",
         "midshoulder", "neckbase", "sternum"),
        "thorax",
    ),
    **dict.fromkeys(("nose", "necknose", "face"), "nose"),
    **dict.fromkeys(
        ("headtop", "tophead", "headtip", "tiphead", "headend", "headtopend", "headsite", "vertex"), "head_top"
    ),
    **dict.fromkeys(("upperneck", "neck1", "jaw", "throat"), "upper_neck"),
    "neck": "neck",
    "head": "head",
    "chest": "chest",
    "upperchest": "chest",
    "spine": "spine0",
    "lowerback": "spine0",
    "spine1": "spine1",
    "spine2": "spine2",
    "spine3": "spine3",
}  # fmt: skip


def words(name: str) -> list[str]:
    """Lower-case words of a joint name, camel case and separators split: ``LShoulder`` -> ``["l", "shoulder"]``."""
    text = unicodedata.normalize("NFKC", name)
    return [word for word in (part.lower() for part in _WORDS.findall(text)) if word not in _FILLERS]


def split_side(name: str) -> tuple[str, str]:
    """Side (``"l"``, ``"r"`` or ``""``) and known word of a joint name; ``("", "")`` if the vocabulary lacks it.

    ``left_shoulder``, ``ShoulderLeft``, ``l-shoulder``, ``LShoulder`` and ``lshoulder`` all give ``("l", "shoulder")``.
    """
    parts = words(name)
    sides = [_SIDES[part] for part in parts if part in _SIDES]
    key = "".join(part for part in parts if part not in _SIDES)
    if len(sides) == 1:
        return (sides[0], _SIDED[key]) if key in _SIDED else ("", "")
    if sides:
        return "", ""
    if key in _CENTRAL:
        return "", _CENTRAL[key]
    for mark, side in (("left", "l"), ("right", "r"), ("l", "l"), ("r", "r")):
        if key.startswith(mark) and key[len(mark) :] in _SIDED:
            return side, _SIDED[key[len(mark) :]]
        if key.endswith(mark) and key[: -len(mark)] in _SIDED:
            return side, _SIDED[key[: -len(mark)]]
    return "", ""


def resolve_roles(names: Sequence[str]) -> list[str | None]:
    """Role of each joint of a set, or None where no role is known.

    Args:
        names: the joint names of one layout, in order.

    Returns:
        One role per name: canonical ones as in ``layouts.CANONICAL``, others prefixed by their side (``leye``).
    """
    split = [split_side(name) for name in names]
    present = {word for _, word in split}
    central = _central_roles(present)
    return [
        None if not word else side + _sided_role(word, present) if side else central.get(word, word)
        for side, word in split
    ]


def _sided_role(word: str, present: set[str]) -> str:
    """What a sided word means beside the other words of its set."""
    if word == "shoulder" and "arm" in present:
        return "collar"  # BVH: LeftShoulder - LeftArm - LeftForeArm
    if word == "arm":
        return "shoulder"
    if word == "leg":
        return "knee"  # BVH: LeftUpLeg - LeftLeg - LeftFoot
    if word == "hand" and "wrist" not in present:
        return "wrist"
    if word == "foot":
        return "toe" if "ankle" in present else "ankle"
    return word


def _central_roles(present: set[str]) -> dict[str, str]:
    """What the words without a side mean beside the other words of their set."""
    roles: dict[str, str] = {}
    chain = [word for word in ("spine0", "spine1", "spine2", "spine3") if word in present]
    if "spine_mid" in present:
        roles["spine_mid"] = "spine"
        if chain == ["spine0"] and "thorax" not in present:
            roles["spine0"] = "thorax"  # NTU writes "middle of the spine" and, for its upper end, "spine"
            present = present | {"thorax"}
    elif chain:
        roles[chain[len(chain) // 2]] = "spine"
    for word in ("neck", "chest"):
        if word in present and "thorax" not in present:
            roles[word] = "thorax"
            break
    if "head" in present:
        roles["head"] = "head_top" if "nose" in present and "head_top" not in present else "nose"
        if "nose" in present and "head_top" in present:
            roles["head"] = "head"
    return roles
