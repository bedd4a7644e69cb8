"""What is measured: cells, one for each protocol, set, method, shots, seed and variant, and what they have in common.

Cells that ask the same taught method share its *lesson*: it is taught once and asked about several views.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import skeleton_prompt
import training
from training.datasets import SETS
from training.evaluation.config import OURS, SCRATCH, EvaluationConfig
from training.evaluation.perturbations import LAYOUTS, WHOLE

LEFT_OUT = 3
OCCLUSION_SHOTS = 5
SPLITS = {"jhmdb14": ("split1", "split2", "split3")}  # official splits over which the figure with all clips is averaged
# The code that figures rest on, modules of the model library and of training.
SCRATCH_CODE = ("clips", "model/features", "model/temporal_net")
FEATURE_CODE = (*SCRATCH_CODE, "model/backbone", "model/engine", "model/shared_projection")
JUDGING_CODE = (
    "datasets/draws", "datasets/labelled", "evaluation/episodes", "evaluation/methods", "evaluation/perturbations",
    "evaluation/scores", "tuning/calibration", "tuning/cross_validation", "tuning/heads", "tuning/model_selection",
)  # fmt: skip
OUR_CODE = (
    *JUDGING_CODE, "baselines/ddnet", "baselines/neural", "evaluation/ablation", "evaluation/cost", "module_tuner",
    "tuning/ensembling", "tuning/prompt_module_tuner", "tuning/stacked_nets", "tuning/temporal_tuner", "tuning/tune",
)  # fmt: skip
BASELINE_CODE = (*JUDGING_CODE, "baselines")


@dataclass(frozen=True)
class EpisodeKey:
    """What is taught.

    Attributes:
        set: Name of the set.
        split: Its split.
        method: Name of the method.
        shots: Clips per class, None for all.
        seed: Of the draw and of the method.
        taught: View through which the clips are taught.
        dropped: Whether a baseline also learns from clips that lack joints.
        left_out: Classes that are not taught.
        part: What is taken away from ours, or nothing.
    """

    set: str
    split: str
    method: str
    shots: int | None
    seed: int
    taught: str = WHOLE
    dropped: bool = False
    left_out: int = 0
    part: str = ""


@dataclass(frozen=True)
class Experiment:
    """One figure to be measured: a lesson, asked through a view."""

    protocol: str
    lesson: EpisodeKey
    asked: str = WHOLE

    @property
    def variant(self) -> str:
        """Variant of the experiment within its protocol, set, method, shots and seed."""
        lesson = self.lesson
        words = [lesson.part, "taught with joints dropped" if lesson.dropped else ""]
        if self.protocol == "cross-layout":
            words.append(f"{lesson.taught} to {self.asked}")
        elif self.asked != WHOLE:
            words.append(self.asked)
        if lesson.split != SETS[lesson.set].split:
            words.append(lesson.split)
        return ", ".join(word for word in words if word)

    def document(self) -> dict[str, object]:
        """The cell as its line says it."""
        names = ("set", "split", "method", "shots", "seed", "taught", "dropped", "left_out", "part")
        values = asdict(self.lesson)
        return {"protocol": self.protocol, **{name: values[name] for name in names}, "asked": self.asked,
                "variant": self.variant}  # fmt: skip

    def key(self, backbone_sha256: str) -> str:
        """What its figure rests on: itself, the code of its method, and the backbone where the method has one."""
        scratch = self.lesson.method in SCRATCH
        if self.lesson.method == OURS:
            code = code_version((*FEATURE_CODE, "model/prompt_module"), OUR_CODE)
        else:
            code = code_version(SCRATCH_CODE if scratch else FEATURE_CODE, BASELINE_CODE)
        text = json.dumps([self.document(), code, "" if scratch else backbone_sha256], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:24]


@lru_cache
def code_version(library: tuple[str, ...], ours: tuple[str, ...]) -> str:
    """Hash of modules of the model library and of training; a folder stands for all modules in it."""
    paths = []
    for package, names in ((skeleton_prompt, library), (training, ours)):
        for name in names:
            place = Path(str(package.__file__)).parent / name
            paths += sorted(place.glob("*.py")) if place.is_dir() else [place.with_suffix(".py")]
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in paths)).hexdigest()[:16]


def plan(config: EvaluationConfig) -> list[Experiment]:
    """All cells of an evaluation, set by set: what a set needs is then computed once."""
    makers = {
        "few-shot": _few_shot,
        "occlusion": _occlusion,
        "cross-layout": _cross_layout,
        "calibration": _calibration,
        "open-set": _open_set,
        "cost": _cost,
        "ablation": _ablation,
    }
    return [cell for name in config.sets for protocol in config.protocols for cell in makers[protocol](config, name)]


def _draws(config: EvaluationConfig, name: str, shots: int | None) -> Iterator[tuple[str, int | None, int]]:
    """Split, shots and seed; all clips are drawn once, from each of the official splits."""
    if shots is None:
        for split in SPLITS.get(name, (SETS[name].split,)):
            yield split, None, config.seeds[0]
    else:
        for seed in config.seeds:
            yield SETS[name].split, shots, seed


def _few_shot(config: EvaluationConfig, name: str) -> Iterator[Experiment]:
    for shots in config.shots:
        for split, k, seed in _draws(config, name, shots):
            for method in config.methods:
                yield Experiment("few-shot", EpisodeKey(name, split, method, k, seed))


def _calibration(config: EvaluationConfig, name: str) -> Iterator[Experiment]:
    for shots in [shots for shots in config.shots if shots in (5, None)] or [5]:
        for split, k, seed in _draws(config, name, shots):
            for method in config.methods:
                yield Experiment("calibration", EpisodeKey(name, split, method, k, seed))


def _occlusion(config: EvaluationConfig, name: str) -> Iterator[Experiment]:
    for split, shots, seed in _draws(config, name, OCCLUSION_SHOTS):
        for method in config.methods:
            for dropped in (False,) if method == OURS else (False, True):
                for view in (WHOLE, *config.damages):
                    lesson = EpisodeKey(name, split, method, shots, seed, dropped=dropped)
                    yield Experiment("occlusion", lesson, view)


def _cross_layout(config: EvaluationConfig, name: str) -> Iterator[Experiment]:
    others = [f"as-{layout}" for layout in LAYOUTS if layout != SETS[name].layout]
    for split, shots, seed in _draws(config, name, 5):
        for method in config.methods:
            own = EpisodeKey(name, split, method, shots, seed)
            yield Experiment("cross-layout", own)
            for other in others:
                foreign = EpisodeKey(name, split, method, shots, seed, taught=other)
                yield Experiment("cross-layout", own, other)
                yield Experiment("cross-layout", foreign)
                yield Experiment("cross-layout", foreign, other)


def _open_set(config: EvaluationConfig, name: str) -> Iterator[Experiment]:
    for split, shots, seed in _draws(config, name, 5):
        for method in config.methods:
            yield Experiment("open-set", EpisodeKey(name, split, method, shots, seed, left_out=LEFT_OUT))


def _cost(config: EvaluationConfig, name: str) -> Iterator[Experiment]:
    if name == config.sets[0] and OURS in config.methods:
        yield Experiment("cost", EpisodeKey(name, SETS[name].split, OURS, 5, config.seeds[0]))


def _ablation(config: EvaluationConfig, name: str) -> Iterator[Experiment]:
    from training.evaluation.ablation import PARTS

    if OURS in config.methods:
        for split, shots, seed in _draws(config, name, 5):
            for part in ("", *PARTS):
                yield Experiment("ablation", EpisodeKey(name, split, OURS, shots, seed, part=part))
