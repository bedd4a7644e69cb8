"""What joint names mean: from any spelling to a role of the human body.

A *role* is a word such as ``lwrist`` or ``thorax``. The 17 canonical roles feed the model; the others (eyes, toes,
finger tips) are known, drawn, and otherwise unused. Spelling is settled per name (:func:`split_side`), meaning by the
whole set of names (:func:`resolve_roles`), because the same word names different joints in different sets: UI-PRMD's
``left_hand`` is a wrist, Kinect's is not; in BVH files ``LeftShoulder`` is the collar when there is a ``LeftArm``.

Words that most names of a set share at their beginning or end (``mixamorig:``, ``Bip01``, ``_study``) are cut off. Of
several names for one joint, such as the two markers of a knee, the one with the lowest rank is the joint.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

_WORDS = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+")
_SIDES = {"l": "l", "left": "l", "lt": "l", "r": "r", "right": "r", "rt": "r"}
_FILLERS = {"of", "the", "joint"}
_VERTEBRA = re.compile(r"[CTLctl]\d{1,2}")
_SPINE = re.compile(r"spine0*(\d{1,2})")
_FINGER = re.compile(r"(?:hand)?(thumb|fore|index|middle|ring|pinky|little)(?:finger)?\d")
_FINGERS = {"thumb": "thumb", "fore": "index", "index": "index", "middle": "hand_tip", "ring": "ring",
            "pinky": "pinky", "little": "pinky"}  # fmt: skip
_FACE_POINT = re.compile(r"face\d+")
_NAMESPACE = re.compile(r"^.*[:|]")

# One spelling each, separators and side removed. Words that mean the same wherever they occur.
_SIDED: dict[str, str] = {
    **dict.fromkeys(("hip", "upleg", "upperleg", "thigh", "femur", "hjc", "hipjointcenter"), "hip"),
    **dict.fromkeys(("knee", "kne", "lowerleg", "lowleg", "shin", "calf", "tibia", "kjc"), "knee"),
    **dict.fromkeys(("ankle", "ank", "ajc"), "ankle"),
    **dict.fromkeys(("shoulder", "sho", "upperarm", "uparm", "uarm", "humerus", "shldr", "sjc"), "shoulder"),
    **dict.fromkeys(("elbow", "elb", "forearm", "lowerarm", "lowarm", "farm", "radius", "ejc"), "elbow"),
    **dict.fromkeys(("wrist", "wri", "wr", "wjc"), "wrist"),
    **dict.fromkeys(("collar", "clavicle", "clav", "innershoulder"), "collar"),
    **dict.fromkeys(("handtip", "tiphand", "handend", "fingertip", "middle"), "hand_tip"),
    **dict.fromkeys(("pinky", "pinkie", "little", "littlefinger", "pinkyknuckle"), "pinky"),
    **dict.fromkeys(("index", "indexfinger", "indexknuckle"), "index"),
    **dict.fromkeys(("thumb", "thumbknuckle"), "thumb"),
    **dict.fromkeys(
        ("footindex", "bigtoe", "toe", "toes", "toebase", "toeend", "toetip", "foottip", "toe0", "ball"), "toe"
    ),
    **dict.fromkeys(("smalltoe", "littletoe", "5meta"), "small_toe"),
    **dict.fromkeys(("heel", "hee", "calc", "calcaneus"), "heel"),
    "hand": "hand",
    "handroot": "hand",
    "foot": "foot",
    "arm": "arm",
    "leg": "leg",
    "eye": "eye",
    "eyeinner": "eye_inner",
    "eyeouter": "eye_outer",
    "ear": "ear",
    "mouth": "mouth",
    # Marker sets: lateral before medial, and the bone of the pelvis where nothing is nearer to the hip.
    **dict.fromkeys(("lknee", "lateralknee", "kneelateral", "mknee", "medialknee", "kneemedial"), "knee"),
    **dict.fromkeys(("lankle", "lateralankle", "anklelateral", "mankle", "medialankle", "anklemedial"), "ankle"),
    **dict.fromkeys(("lelbow", "lateralelbow", "elbowlateral", "melbow", "medialelbow", "elbowmedial"), "elbow"),
    **dict.fromkeys(("lwrist", "lateralwrist", "wristlateral", "mwrist", "medialwrist", "wristmedial"), "wrist"),
    **dict.fromkeys(("wra", "wristradius", "wrb", "wristulna"), "wrist"),
    **dict.fromkeys(("asis", "asi"), "hip"),
    # Apple's raw names; its ARKit has an arm beside it, which makes it the collar.
    "shoulder1": "shoulder",
}
_MEDIAL = ("mknee", "mankle", "melbow", "mwrist")
_RANKS: dict[str, int] = {
    **dict.fromkeys((word for word in _SIDED if word.startswith("l") and word[1:] in _SIDED), 1),
    **dict.fromkeys((word for word in _SIDED if "lateral" in word), 1),
    **dict.fromkeys((word for word in _SIDED if word.startswith("medial") or word.endswith("medial")), 2),
    **dict.fromkeys(_MEDIAL, 2),
    **dict.fromkeys(("wra", "wristradius"), 1),
    **dict.fromkeys(("wrb", "wristulna"), 2),
    **dict.fromkeys(("asis", "asi"), 3),
    **dict.fromkeys(("hip",), 1),  # beside LeftUpLeg, LHipJoint lies in the middle of the pelvis
    **dict.fromkeys(("shoulder", "sho", "shoulder1"), 1),
}
_CENTRAL: dict[str, str] = {
    **dict.fromkeys(
        ("root", "pelvis", "hip", "hips", "midhip", "hipmid", "centerhip", "hipcenter", "centrehip", "hipcentre",
         "waist", "spinebase", "basespine", "bottomtorso"),
        "root",
    ),
    **dict.fromkeys(
        ("spinemid", "midspine", "middlespine", "torso", "belly", "abdomen", "navel", "spinenavel", "navelspine",
         "spinenaval", "navalspine"),
        "spine_mid",
    ),
    **dict.fromkeys(
        ("thorax", "shouldercenter", "shouldercentre", "centershoulder", "centreshoulder", "spineshoulder",
         "midshoulder", "sternum"),
        "thorax",
    ),
    "neckbase": "neck_base",
    **dict.fromkeys(("nose", "necknose", "face"), "nose"),
    **dict.fromkeys(
        ("headtop", "tophead", "headtip", "tiphead", "headend", "headtopend", "headsite", "headnub", "vertex"),
        "head_top",
    ),
    **dict.fromkeys(("upperneck", "jaw", "throat", "headbottom"), "upper_neck"),
    "neck": "neck",
    **dict.fromkeys(("neck1", "neck01"), "neck1"),
    "head": "head",
    **dict.fromkeys(("chest", "spinechest", "chestspine"), "chest"),
    "upperchest": "upper_chest",
    "spine": "spine0",
    "lowerback": "spine0",
}  # fmt: skip
# Vertebrae of Xsens, from the pelvis up.
_VERTEBRAE = {"l5": "spine0", "l3": "spine1", "t12": "spine2", "t8": "spine3", "c7": "c7"}


class _Name(NamedTuple):
    """A parsed joint name: side, known word (empty if unknown), and rank among names of the same joint."""

    side: str
    word: str
    rank: int


_UNKNOWN = _Name("", "", 0)


def words(name: str) -> list[str]:
    """Lower-case words of a joint name, camel case and separators split: ``LShoulder`` -> ``["l", "shoulder"]``."""
    text = unicodedata.normalize("NFKC", name)
    return [word for word in (part.lower() for part in _WORDS.findall(text)) if word not in _FILLERS]


def split_side(name: str) -> tuple[str, str]:
    """Side (``"l"``, ``"r"`` or ``""``) and known word of a joint name; ``("", "")`` if the vocabulary lacks it.

    ``left_shoulder``, ``ShoulderLeft``, ``l-shoulder``, ``LShoulder`` and ``lshoulder`` all give ``("l", "shoulder")``.
    """
    if _VERTEBRA.fullmatch(name.strip()):
        return "", _VERTEBRAE.get(name.strip().lower(), "")
    found = _parse(words(name))
    return found.side, found.word


def _parse(parts: Sequence[str]) -> _Name:
    sides = [_SIDES[part] for part in parts if part in _SIDES]
    key = "".join(part for part in parts if part not in _SIDES and part != "c")  # VRM: J_Bip_C_Hips is central
    if len(sides) == 1:
        return _sided(sides[0], key)
    if sides:
        return _UNKNOWN
    central = _central(key)
    if central:
        return _Name("", central, 0)
    for mark, side in (("left", "l"), ("right", "r"), ("l", "l"), ("r", "r")):
        if key.startswith(mark) and key[len(mark) :] in _SIDED:
            return _sided(side, key[len(mark) :])
        if key.endswith(mark) and key[: -len(mark)] in _SIDED:
            return _sided(side, key[: -len(mark)])
    return _UNKNOWN


def _sided(side: str, key: str) -> _Name:
    if key in _SIDED:
        return _Name(side, _SIDED[key], _RANKS.get(key, 0))
    finger = _FINGER.fullmatch(key)
    return _Name(side, _FINGERS[finger.group(1)], 0) if finger else _UNKNOWN


def _central(key: str) -> str:
    if key in _CENTRAL:
        return _CENTRAL[key]
    spine = _SPINE.fullmatch(key)
    if spine:
        return f"spine{int(spine.group(1))}"
    return "face_point" if _FACE_POINT.fullmatch(key) else ""


def resolve_roles(names: Sequence[str]) -> list[str | None]:
    """Role of each joint of a set, or None where no role is known.

    Args:
        names: the joint names of one layout, in order.

    Returns:
        One role per name: canonical ones as in ``layouts.CANONICAL``, others prefixed by their side (``leye``).
    """
    parsed = _parse_set(names)
    present = {name.word for name in parsed if name.word}
    best: dict[tuple[str, str], int] = {}
    for side, word, rank in parsed:
        best[side, word] = min(rank, best.get((side, word), rank))
    arms = _arm_words(names, parsed)
    central = _central_roles(present)
    roles: list[str | None] = []
    for name in parsed:
        if not name.word:
            roles.append(None)
        elif not name.side:
            roles.append(central.get(name.word, name.word))
        elif name.word == "shoulder" and name.rank and name.side in arms:
            roles.append(name.side + "collar")  # LeftShoulder - LeftArm or LeftUpperArm - LeftForeArm
        else:
            spare = name.rank > best[name.side, name.word]
            roles.append(None if spare else name.side + _sided_role(name.word, present))
    return roles


def _arm_words(names: Sequence[str], parsed: Sequence[_Name]) -> set[str]:
    """Sides on which the upper arm has a name of its own, so that the shoulder is the collar."""
    return {
        name.side
        for text, name in zip(names, parsed, strict=True)
        if name.word == "arm" or (name.word == "shoulder" and not name.rank)
    }


def _parse_set(names: Sequence[str]) -> list[_Name]:
    """Names parsed, after what most of them share at their ends was cut off if that makes more of them known."""
    vertebrae = [_VERTEBRA.fullmatch(name.strip()) for name in names]
    tokens = [words(name) for name in names]

    def parse() -> list[_Name]:
        return [
            _Name("", _VERTEBRAE.get(name.strip().lower(), ""), 0) if bone else _parse(parts)
            for name, bone, parts in zip(names, vertebrae, tokens, strict=True)
        ]

    best = parse()
    if any(_NAMESPACE.match(name) for name in names):
        tokens = [words(_NAMESPACE.sub("", name)) for name in names]
        best = max(best, parse(), key=_known)
    for end in (0, -1):
        for _ in range(4):
            shared = _shared(tokens, end)
            if not shared:
                break
            tokens = [
                (parts[1:] if end == 0 else parts[:-1]) if parts and parts[end] == shared else parts for parts in tokens
            ]
            best = max(best, parse(), key=_known)
    return best


def _known(parsed: Sequence[_Name]) -> int:
    """How many names have a meaning."""
    return sum(bool(name.word) for name in parsed)


def _shared(tokens: Sequence[Sequence[str]], end: int) -> str | None:
    """The word that at least half of the names begin (0) or end (-1) with, unless it is a side or a known joint."""
    counts = Counter(parts[end] for parts in tokens if len(parts) > 1)
    if not counts:
        return None
    word, count = counts.most_common(1)[0]
    meaningful = word in _SIDES or word in _SIDED or word in _CENTRAL
    return word if 2 * count >= len(tokens) and not meaningful else None


def _sided_role(word: str, present: set[str]) -> str:
    """What a sided word means beside the other words of its set."""
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
    chain = sorted((word for word in present if _SPINE.fullmatch(word)), key=lambda word: int(word[5:]))
    if "spine_mid" in present:
        roles["spine_mid"] = "spine"
        if chain == ["spine0"] and "thorax" not in present:
            roles["spine0"] = "thorax"  # NTU writes "middle of the spine" and, for its upper end, "spine"
            present = present | {"thorax"}
    elif chain:
        roles[chain[len(chain) // 2]] = "spine"
    if "neck_base" in present:  # MMPose calls the joint between thorax and head top, Human3.6M's Neck/Nose, neck_base
        roles["neck_base"] = "nose" if "thorax" in present and "nose" not in present else "thorax"
        present = present | {"nose" if roles["neck_base"] == "nose" else "thorax"}
    if "neck1" in present:
        roles["neck1"] = "upper_neck" if "neck" in present else "neck"
    for word in ("neck", "neck1", "upper_chest", "chest", "c7"):
        if word in present and "thorax" not in present:
            roles[word] = "thorax"
            break
    if "head" in present:
        roles["head"] = "head_top" if "nose" in present and "head_top" not in present else "nose"
        centre = {"chest", "collar"} <= present  # Azure Kinect and ZED: HEAD is the middle of the skull
        if "nose" in present and ("head_top" in present or centre):
            roles["head"] = "head"
    return roles
