"""Tuning one tenant, as pure machine learning: labelled features in, a prompt and what is known about it out.

``choose_head`` compares candidates by cross-validation, ``fit_prompt`` fits the winner on all clips and ``calibrate``
turns held-out logits into temperature and limits. Nothing here knows of storage or jobs; the same labels, features and
seed give the same bytes.

Letters: n clips, F features of all blocks, N classes (labels, and one more where background was taught).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from skeleton_prompt.bundle import Array, Calibration
from training.calibrate import (
    PLDA_SHARPNESS,
    PRIOR_SHARPNESS,
    class_centres,
    fit_limits,
    fit_temperature,
    prior_temperature,
)
from training.choice import (
    HOUSE,
    Choice,
    Judged,
    Tick,
    candidates,
    choose,
    cross_validate,
    difference,
    judge,
    pooled,
    without_held_out,
)
from training.folds import FoldPlan, plan_folds
from training.heads import Candidate, fit_head
from training.linear_head import half, linear_logits, shifted
from training.plda import Prior, fit_plda

BLENDS = (0.3, 0.5, 0.7, 1.0)
MODULE_FOLDS = 3
LIKENESS = Candidate("plda", HOUSE).name
MODULE_ERRORS = 2.0  # standard errors by which the best of the blends must gain: it is the pick of several


@dataclass(frozen=True)
class TuneConfig:
    """How a tenant is tuned.

    Attributes:
        seed: All randomness follows from it.
        kinds: Only heads of these kinds, None for all.
        module_shots: Median clips per label from which the prompt module is tried; fewer cannot feed it.
        module_seconds: Budget of the module, its cross-validation included.
    """

    seed: int = 0
    kinds: tuple[str, ...] | None = None
    module_shots: int = 20
    module_seconds: float = 120.0


class ModuleTuner(Protocol):
    """Tunes the full prompt module on the same clips; see ``training.module``."""

    def fit(self, rows: np.ndarray, labels: np.ndarray, classes: int, seconds: float) -> dict[str, Array]:
        """Tensors of a module taught on some of the clips, by their names in a prompt."""

    def logits(self, tensors: Mapping[str, Array], rows: np.ndarray) -> Array:
        """Logits ``(len(rows), N)`` of a tuned module on some of the clips."""


@dataclass(frozen=True, eq=False)
class Lesson:
    """The clips that a tenant teaches.

    Attributes:
        features: ``(n, F)`` float32, all blocks side by side.
        blocks: Columns of every block.
        labels: Label of every clip, None for background.
        groups: Group of every clip, or None.
        ids: Where each clip came from, for the report.
        prior: What the backbone knows of its house projection beforehand, if it does.
    """

    features: np.ndarray
    blocks: Mapping[str, slice]
    labels: tuple[str | None, ...]
    groups: tuple[str | None, ...]
    ids: tuple[str, ...]
    prior: Prior | None = None

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The labels, sorted: the order of the logits."""
        return tuple(sorted({label for label in self.labels if label is not None}))

    @property
    def background(self) -> bool:
        """Whether clips of none of the labels are among them."""
        return None in self.labels

    @property
    def classes(self) -> int:
        """N."""
        return len(self.names) + self.background

    @cached_property
    def truth(self) -> npt.NDArray[np.int64]:
        """``(n,)`` index into the logits; background is the last."""
        place = {name: index for index, name in enumerate(self.names)}
        return np.array([len(self.names) if label is None else place[label] for label in self.labels], dtype=np.int64)

    def block_features(self) -> dict[str, np.ndarray]:
        """The features block by block."""
        return {name: self.features[:, columns] for name, columns in self.blocks.items()}

    def columns(self, blocks: Sequence[str]) -> np.ndarray:
        """The features of some blocks side by side, as a prompt reads them."""
        return np.concatenate([self.features[:, self.blocks[name]] for name in blocks], axis=1)


@dataclass(frozen=True, eq=False)
class Module:
    """A module that earned its place beside the linear part.

    Attributes:
        blend: Its share of the logits.
        judged: What the blend got on the held-out clips that both were asked about.
        gain: Paired gain in accuracy over the linear part, and its standard error.
        rescale: Factor that brings its logits to the linear part's temperature.
    """

    blend: float
    judged: Judged
    gain: tuple[float, float]
    rescale: float


@dataclass(frozen=True, eq=False)
class Outcome:
    """A tuned prompt without its address.

    Attributes:
        choice: How the head was chosen.
        plan: The splits, None where nothing could be held out.
        tensors: Of the prompt, rounded as its file rounds them.
        calibration: Temperature and limits.
        module: The module part, if it was tried and earned its place.
        module_note: What became of the module, for the report.
        held_out: Held-out logits ``(R·held, N)`` of the final answer and their labels, or None.
    """

    choice: Choice
    plan: FoldPlan | None
    tensors: Mapping[str, Array]
    calibration: Calibration
    module: Module | None = None
    module_note: str = ""
    held_out: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def kind(self) -> str:
        """Kind of the prompt."""
        return "full" if self.module else self.choice.chosen.kind

    @property
    def blend(self) -> float:
        """The module's share of the logits."""
        return self.module.blend if self.module else 0.0

    @property
    def judged(self) -> Judged | None:
        """Held-out figures of the final answer."""
        return self.module.judged if self.module else self.choice.best


def tune(lesson: Lesson, config: TuneConfig, tick: Tick, module: ModuleTuner | None = None) -> Outcome:
    """Choose, fit and calibrate.

    Args:
        lesson: At least two labels.
        config: How.
        tick: Told the share done and a message; may raise to stop.
        module: Tunes the prompt module where there are labels enough; None leaves it out.

    Returns:
        The outcome.
    """
    plan = plan_folds(lesson.truth, lesson.groups, config.seed)
    choice = choose_head(lesson, plan, config, lambda share, message: tick(0.6 * share, message))
    found, note = None, "needs more clips per label"
    if module is not None and plan is not None and choice.best is not None and _enough(lesson, config):
        found = try_module(lesson, choice.best, plan, module, config, lambda s, m: tick(0.6 + 0.2 * s, m))
        note = f"gained {found.gain[0]:+.1%} ± {found.gain[1]:.1%} over the linear part"
        if found.gain[0] <= MODULE_ERRORS * found.gain[1]:
            found = None
    tick(0.8, "fitting on all clips")
    tensors = fit_tensors(lesson, choice, found, module, config)
    tick(0.95, "calibrating")
    calibration, centres, held_out = calibrate(lesson, choice, found, tensors)
    return Outcome(choice, plan, tensors | centres, calibration, found, note, held_out)


def choose_head(lesson: Lesson, plan: FoldPlan | None, config: TuneConfig, tick: Tick) -> Choice:
    """The linear head that the labels justify; a fixed one where nothing can be held out."""
    if plan is None:
        alone = without_held_out(tuple(lesson.blocks), lesson.prior)
        return Choice(alone, "one clip per label: nothing could be held out to compare with", {})
    choices = candidates(tuple(lesson.blocks), config.kinds, lesson.prior)
    judged = cross_validate(choices, lesson.block_features(), lesson.truth, lesson.classes, plan, tick)
    choice = choose(judged)
    likeness = judged.get(LIKENESS)
    if likeness is not None and _borrows_likeness(choice.chosen, lesson):
        best = judged[choice.chosen.name]
        judged[choice.chosen.name] = replace(best, logits=shifted(best.logits, likeness.logits))
    return choice


def _borrows_likeness(chosen: Candidate, lesson: Lesson) -> bool:
    """Whether a head takes from PLDA how much of any class a clip shows; it must read the house projection first."""
    return lesson.prior is not None and chosen.prior is None and chosen.blocks[:1] == HOUSE


def _enough(lesson: Lesson, config: TuneConfig) -> bool:
    return float(np.median(np.bincount(lesson.truth))) >= config.module_shots


def try_module(
    lesson: Lesson, linear: Judged, plan: FoldPlan, module: ModuleTuner, config: TuneConfig, tick: Tick
) -> Module:
    """Cross-validate the module on some of the folds and find the blend that does best on them."""
    splits = plan.splits[0][:MODULE_FOLDS]
    seconds = config.module_seconds / (len(splits) + 1)
    logits = np.full((1, len(lesson.truth), lesson.classes), np.nan)
    for number, (rows, others) in enumerate(splits):
        tick(number / len(splits), f"prompt module: fold {number + 1} of {len(splits)}")
        tensors = module.fit(rows, lesson.truth[rows], lesson.classes, seconds)
        logits[0, others] = module.logits(tensors, others)
    plain = np.where(np.isfinite(logits), linear.logits[:1], np.nan)
    rescale = fit_temperature(*pooled(plain, lesson.truth)) / fit_temperature(*pooled(logits, lesson.truth))
    reference = judge(linear.candidate, plain, lesson.truth)
    mixed = {
        blend: judge(linear.candidate, (1 - blend) * plain + blend * rescale * logits, lesson.truth) for blend in BLENDS
    }
    blend = max(mixed, key=lambda share: (mixed[share].accuracy, -mixed[share].loss))
    return Module(blend, mixed[blend], difference(mixed[blend], reference), rescale)


def fit_tensors(
    lesson: Lesson, choice: Choice, found: Module | None, module: ModuleTuner | None, config: TuneConfig
) -> dict[str, Array]:
    """The tensors of the chosen head, and of the module where it earned its place, on all clips."""
    blocks = {name: values for name, values in lesson.block_features().items() if name in choice.chosen.blocks}
    tensors = fit_head(choice.chosen, blocks, lesson.truth, lesson.classes).tensors()
    if LIKENESS in choice.judged and lesson.prior is not None and _borrows_likeness(choice.chosen, lesson):
        house = lesson.block_features()[HOUSE[0]]
        tensors |= fit_plda(house, lesson.truth, lesson.classes, lesson.prior).tensors("likeness")
    if found is not None and module is not None:
        seconds = config.module_seconds / (MODULE_FOLDS + 1)
        tuned = module.fit(np.arange(len(lesson.truth)), lesson.truth, lesson.classes, seconds)
        # The head is cosine times a scale, so that one number brings it to the linear part's temperature.
        tuned["module.head.scale"] = tuned["module.head.scale"] * np.float32(found.rescale)
        tensors |= {name: half(value) for name, value in tuned.items()}
    return tensors


def calibrate(
    lesson: Lesson, choice: Choice, found: Module | None, tensors: Mapping[str, Array]
) -> tuple[Calibration, dict[str, Array], tuple[np.ndarray, np.ndarray] | None]:
    """Temperature, limits and class centres from held-out logits.

    Returns:
        The calibration, the prompt's tensors for the distance, and the held-out logits with their labels. Without any
        held-out clip the temperature is a prior, nothing is refused by distance, and the centres are the taught clips'.
    """
    judged = found.judged if found else choice.best
    if judged is None:
        taught = linear_logits(tensors, lesson.columns(choice.chosen.blocks))
        centres, spread = class_centres(taught)
        sharpness = PRIOR_SHARPNESS if choice.chosen.prior is None else PLDA_SHARPNESS
        calibration = Calibration(prior_temperature(taught, sharpness))
    else:
        logits, truth = pooled(judged.logits, lesson.truth)
        centres, spread = class_centres(logits)
        temperature = fit_temperature(logits, truth)
        # A module's own logits are no ratios.
        ratios = found is None and ("linear.square" in tensors or "likeness.mean" in tensors)
        calibration = fit_limits(logits, truth, len(lesson.names), temperature, centres, spread, ratios=ratios)
    tables: dict[str, Any] = {"linear.centres": half(centres), "linear.spread": half(spread)}
    return calibration, tables, None if judged is None else (logits, truth)
