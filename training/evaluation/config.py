"""What an evaluation covers: protocols, sets, shots, seeds and methods; a profile fills in what is not said."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from training.baselines import BASELINES
from training.datasets import SETS
from training.evaluation.perturbations import DAMAGES

OURS = "Skeleton-Prompt"
METHODS = (OURS, *BASELINES)
PROTOCOLS = ("few-shot", "occlusion", "cross-layout", "calibration", "open-set", "cost", "ablation")
ALL_SETS = ("utd_mhad", "nw_ucla", "msr_action3d", "penn_action", "jhmdb14")
# What learns from the taught clips alone: no pre-trained weights are in it, so its figures outlive a backbone.
SCRATCH = ("DD-Net", "ST-GCN++", "SVM on stream descriptors", "ridge on stream descriptors")
NEURAL = ("DD-Net", "ST-GCN++", "full fine-tuning")


@dataclass(frozen=True)
class Profile:
    """What is covered unless it is said otherwise; see ``EvaluationConfig``."""

    protocols: tuple[str, ...]
    sets: tuple[str, ...]
    shots: tuple[int | None, ...]
    seeds: tuple[int, ...]
    methods: tuple[str, ...]
    damages: tuple[str, ...]


PROFILES = {
    "quick": Profile(
        protocols=("few-shot", "occlusion", "calibration", "open-set"),
        sets=("utd_mhad", "jhmdb14"),
        shots=(5,),
        seeds=(0, 1),
        methods=(OURS, *(name for name in BASELINES if name not in NEURAL)),
        damages=("joints-5",),
    ),
    "full": Profile(PROTOCOLS, ALL_SETS, (1, 5, 10, None), (0, 1, 2, 3, 4), METHODS, DAMAGES),
}


@dataclass(frozen=True)
class EvaluationConfig:
    """What to evaluate.

    Attributes:
        folder: Of the labelled sets; None takes the environment's.
        protocols: Some of ``PROTOCOLS``.
        sets: Names of sets.
        shots: Clips per class of the few-shot protocol; None for all of the training side.
        seeds: Of the draws; all clips are drawn once.
        methods: Some of ``METHODS``.
        damages: Views of the occlusion protocol.
        backbone: Name or path.
        cache: Folder of features, None for the user's cache.
    """

    folder: Path | None
    protocols: tuple[str, ...]
    sets: tuple[str, ...]
    shots: tuple[int | None, ...]
    seeds: tuple[int, ...]
    methods: tuple[str, ...] = METHODS
    damages: tuple[str, ...] = DAMAGES
    backbone: str = "edge"
    cache: Path | None = None


def parse_shots(word: str) -> int | None:
    """``5`` or ``all``.

    Raises:
        ValueError: For anything else.
    """
    if word.strip() == "all":
        return None
    if not word.strip().isdecimal() or int(word) < 1:
        raise ValueError(f"shots must be a number from 1, or all, not {word.strip()!r}")
    return int(word)


def chosen(kind: str, words: Iterable[str], known: Sequence[str]) -> tuple[str, ...]:
    """Names that the user gave, checked.

    Raises:
        ValueError: If one is unknown; the message lists what there is.
    """
    names = tuple(dict.fromkeys(word.strip() for word in words))
    for name in names:
        if name not in known:
            raise ValueError(f"there is no {kind} {name!r}; there are: {', '.join(known)}")
    return names


def configure(
    profile: str = "quick",
    *,
    protocols: str | None = None,
    sets: str | None = None,
    shots: str | None = None,
    seeds: str | None = None,
    methods: str | None = None,
    folder: Path | None = None,
    backbone: str = "edge",
    cache: Path | None = None,
) -> EvaluationConfig:
    """The configuration of a profile with the user's comma-separated options on top.

    Raises:
        ValueError: If a name is unknown or a number is none.
    """
    (profile,) = chosen("profile", [profile], tuple(PROFILES))
    base = PROFILES[profile]
    for seed in (seeds or "").split(",") if seeds else ():
        if not seed.strip().isdecimal():
            raise ValueError(f"seeds must be whole numbers from 0, not {seed.strip()!r}")
    return EvaluationConfig(
        folder=folder,
        protocols=chosen("protocol", protocols.split(","), PROTOCOLS) if protocols else base.protocols,
        sets=chosen("set", sets.split(","), tuple(SETS)) if sets else base.sets,
        shots=tuple(dict.fromkeys(parse_shots(word) for word in shots.split(","))) if shots else base.shots,
        seeds=tuple(dict.fromkeys(int(seed) for seed in seeds.split(","))) if seeds else base.seeds,
        methods=chosen("method", methods.split(","), METHODS) if methods else base.methods,
        damages=base.damages,
        backbone=backbone,
        cache=cache,
    )
