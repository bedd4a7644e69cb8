"""Tuning one tenant, as pure machine learning: labelled features in, a prompt and what is known about it out.

``choose_head`` compares candidates by cross-validation, ``fit_prompt`` fits the winner on all clips and ``calibrate``
turns held-out logits into temperature and limits. Nothing here knows of storage or jobs; the same labels, features and
seed give the same bytes.

Letters: n clips, F features of all blocks, N classes (labels, and one more where background was taught).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
import numpy.typing as npt
import torch

from skeleton_prompt.model.multi_tenant import agreement
from skeleton_prompt.model.prompt_file import CLASS_MODEL, DEFAULT_REFUSAL, Array, Calibration
from training.tuning.calibration import (
    PLDA_SHARPNESS,
    PRIOR_SHARPNESS,
    class_centres,
    corpus_calibration,
    fit_familiarity,
    fit_limits,
    fit_temperature,
    prior_temperature,
)
from training.tuning.cross_validation import FoldPlan, plan_folds
from training.tuning.ensembling import (
    BLENDS,
    DEFAULT_WEIGHT,
    DEFAULT_WEIGHT_MISSING_JOINTS,
    TEMPORAL_BLENDS,
    EnsembleMember,
    MemberTuners,
    TemporalMemberTuner,
    fit_blend_weight,
    fit_missing_joint_weight,
    held_out_member,
    rescaled,
)
from training.tuning.heads import Candidate, fit_head
from training.tuning.linear_head import align_max, linear_logits, round_fp16
from training.tuning.model_selection import (
    PROJECTED,
    CandidateScore,
    ProgressCallback,
    Selection,
    candidates,
    choose,
    cross_validate,
    default_candidate,
    pooled,
)
from training.tuning.plda import Prior, fit_class_model
from training.tuning.temporal_tuner import temporal_numbers

PART_FOLDS = 3
FAMILIARITY = Candidate("plda", PROJECTED).name
MODULE_ERRORS = 2.0  # standard errors by which the best of the blends must gain: it is the pick of several


MAX_PARAMETERS = 300_000  # of a prompt: of many tenants, many shall be kept at hand


@dataclass(frozen=True)
class TuneConfig:
    """How a tenant is tuned.

    Attributes:
        seed: All randomness follows from it.
        kinds: Only heads of these kinds, None for all.
        module_shots: Median clips per label from which the prompt module is tried; fewer cannot feed it.
        module_seconds: Budget of the module, its cross-validation included.
        temporal_seconds: Budget of the temporal part, its cross-validation included.
        refusal: Share of right answers that may be refused, where a request names none.
    """

    seed: int = 0
    kinds: tuple[str, ...] | None = None
    module_shots: int = 20
    module_seconds: float = 120.0
    temporal_seconds: float = 120.0
    refusal: float = DEFAULT_REFUSAL


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """The clips that a tenant teaches.

    Attributes:
        features: ``(n, F)`` float32, all blocks side by side.
        blocks: Columns of every block.
        labels: Label of every clip, None for background.
        groups: Group of every clip, or None.
        ids: Where each clip came from, for the report.
        prior: What the backbone knows of its house projection beforehand, if it does.
        shown: ``(n, J)``, 1 for every joint that a clip shows at any moment, else 0; None where that is unknown.
    """

    features: np.ndarray
    blocks: Mapping[str, slice]
    labels: tuple[str | None, ...]
    groups: tuple[str | None, ...]
    ids: tuple[str, ...]
    prior: Prior | None = None
    shown: np.ndarray | None = None

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

    @property
    def projected(self) -> np.ndarray | None:
        """``(n, R)``, the shared projection, or None where the backbone has none."""
        return self.columns(PROJECTED) if set(PROJECTED) <= set(self.blocks) else None

    def columns(self, blocks: Sequence[str]) -> np.ndarray:
        """The features of some blocks side by side, as a prompt reads them."""
        return np.concatenate([self.features[:, self.blocks[name]] for name in blocks], axis=1)


@dataclass(frozen=True, eq=False)
class TuningResult:
    """A tuned prompt without its address.

    Attributes:
        choice: How the head was chosen.
        plan: The splits, None where nothing could be held out.
        tensors: Of the prompt, rounded as its file rounds them.
        calibration: Temperature and limits.
        temporal: The temporal part, if it was tried and earned its place.
        temporal_note: What became of it, for the report.
        module: The prompt module, if it was tried and earned its place.
        module_note: What became of the module, for the report.
        held_out: Held-out logits ``(R·held, N)`` of the final answer and their labels, or None.
    """

    choice: Selection
    plan: FoldPlan | None
    tensors: Mapping[str, Array]
    calibration: Calibration
    temporal: EnsembleMember | None = None
    temporal_note: str = ""
    module: EnsembleMember | None = None
    module_note: str = ""
    held_out: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def kind(self) -> str:
        """Kind of the prompt."""
        if self.module:
            return "full"
        return "temporal" if self.temporal else self.choice.chosen.kind

    @property
    def blend(self) -> float:
        """The module's share of the logits."""
        return self.module.blend if self.module else 0.0

    @property
    def temporal_blend(self) -> float:
        """The temporal part's share of the logits that are not the module's."""
        return self.temporal.blend if self.temporal else 0.0

    @property
    def judged(self) -> CandidateScore | None:
        """Held-out figures of the final answer."""
        last = self.module or self.temporal
        return last.judged if last else self.choice.best


def tune(
    lesson: TrainingSet, config: TuneConfig, tick: ProgressCallback, tuners: MemberTuners | None = None
) -> TuningResult:
    """Choose, fit and calibrate.

    Args:
        lesson: At least two labels.
        config: How.
        tick: Told the share done and a message; may raise to stop.
        tuners: Of the parts beside the linear one; None leaves them out.

    Returns:
        The outcome.
    """
    tuners = tuners or MemberTuners()
    plan = plan_folds(lesson.truth, lesson.groups, config.seed)
    wanted = tuners.temporal is not None and config.temporal_seconds > 0
    spare = temporal_numbers(lesson.classes) if wanted else 0
    choice = choose_head(lesson, plan, config, lambda share, message: tick(0.3 * share, message), spare)
    temporal, temporal_note = _temporal(lesson, choice, plan, tuners, config, lambda s, m: tick(0.3 + 0.3 * s, m))
    before = temporal.judged if temporal else choice.best
    module, module_note = _module(lesson, choice, before, plan, tuners, config, lambda s, m: tick(0.6 + 0.2 * s, m))
    tick(0.8, "fitting on all clips")
    tensors = fit_tensors(lesson, choice)
    for part in (temporal, module):
        if part is not None:
            tensors |= rescaled(part)
    tick(0.95, "calibrating")
    judged = module.judged if module else before
    held_out = (
        None if judged is None else pooled(_with_agreement(judged, choice, temporal, lesson, tensors), lesson.truth)
    )
    calibration, centres = calibrate(lesson, choice, held_out, tensors, plan, config)
    return TuningResult(
        choice, plan, tensors | centres, calibration, temporal, temporal_note, module, module_note, held_out
    )


def _with_agreement(
    judged: CandidateScore,
    choice: Selection,
    temporal: EnsembleMember | None,
    lesson: TrainingSet,
    tensors: Mapping[str, Array],
) -> np.ndarray:
    """Held-out logits ``(R, n, N)`` with what the agreement of both parts adds to familiarity; see the engine."""
    if temporal is None or temporal.logits is None or choice.best is None or not has_class_model(tensors):
        return judged.logits
    temperature = fit_temperature(*pooled(judged.logits, lesson.truth))
    linear, other = (torch.from_numpy(one) for one in (choice.best.logits[:1], temporal.logits))
    added: np.ndarray = judged.logits + agreement(linear, other, temperature).numpy()
    return added


def _temporal(
    lesson: TrainingSet,
    choice: Selection,
    plan: FoldPlan | None,
    tuners: MemberTuners,
    config: TuneConfig,
    tick: ProgressCallback,
) -> tuple[EnsembleMember | None, str]:
    """The temporal part if it earns its place, and what became of it."""
    if tuners.temporal is None or config.temporal_seconds <= 0:
        return None, "left out"
    if plan is None or choice.best is None:
        return _without_validation(lesson, choice, tuners.temporal, config, tick)
    splits = plan.splits[0][:PART_FOLDS]
    lessons = [*(rows for rows, _ in splits), np.arange(len(lesson.truth))]
    *folds, whole = tuners.temporal.fit(
        lessons, lesson.truth, lesson.classes, config.temporal_seconds, lambda share: tick(share, "temporal part")
    )
    logits = held_out_member(lesson, splits, tuners.temporal, folds)
    found, gained = fit_blend_weight(choice.best, logits, lesson.truth, TEMPORAL_BLENDS, keep_largest=True)
    note = f"gained {found.gain[0]:+.1%} ± {found.gain[1]:.1%} over the linear part"
    if gained <= 0:
        return None, note
    lacking = fit_missing_joint_weight(lesson, choice.chosen, splits, tuners.temporal, folds, found.rescale)
    return replace(found, tensors=whole, lacking=lacking), note


def _without_validation(
    lesson: TrainingSet, choice: Selection, tuner: TemporalMemberTuner, config: TuneConfig, tick: ProgressCallback
) -> tuple[EnsembleMember | None, str]:
    """A temporal part of one clip a label, whose share is a fixed one; where the pose is a lift it gains too little."""
    if choice.chosen.prior is None or not tuner.mostly_3d():
        return None, "needs two clips of a label to compare with, or clips with depth"
    everything = [np.arange(len(lesson.truth))]
    (tensors,) = tuner.fit(
        everything, lesson.truth, lesson.classes, config.temporal_seconds, lambda share: tick(share, "temporal part")
    )
    # The default weight is for logits that spread by 1.
    head = fit_tensors(lesson, choice)
    unit = float(linear_logits(head, lesson.columns(choice.chosen.blocks), lesson.projected).std(1).mean())
    part = EnsembleMember(DEFAULT_WEIGHT, None, (0.0, 0.0), unit, tensors, DEFAULT_WEIGHT_MISSING_JOINTS)
    return part, "one clip per label: a fixed share, nothing could be held out to compare with"


def _module(
    lesson: TrainingSet,
    choice: Selection,
    before: CandidateScore | None,
    plan: FoldPlan | None,
    tuners: MemberTuners,
    config: TuneConfig,
    tick: ProgressCallback,
) -> tuple[EnsembleMember | None, str]:
    """The prompt module if it earns its place, and what became of it."""
    if tuners.module is None or plan is None or before is None or not _enough(lesson, config):
        return None, "needs more clips per label"
    splits = plan.splits[0][:PART_FOLDS]
    each = config.module_seconds / (len(splits) + 1)
    fit = partial(tuners.module.fit, labels=lesson.truth, classes=lesson.classes)
    lessons = [rows for rows, _ in splits]
    folds = fit(lessons, seconds=each * len(splits), tick=lambda share: tick(0.75 * share, "prompt module"))
    logits, keep = held_out_member(lesson, splits, tuners.module, folds), _measures_familiarity(choice)
    found, _ = fit_blend_weight(before, logits, lesson.truth, BLENDS, keep_largest=keep)
    note = f"gained {found.gain[0]:+.1%} ± {found.gain[1]:.1%} over what there was without it"
    if found.gain[0] <= MODULE_ERRORS * found.gain[1]:
        return None, note
    tensors = fit(
        [np.arange(len(lesson.truth))], seconds=each, tick=lambda share: tick(0.75 + share / 4, "prompt module")
    )
    return replace(found, tensors=tensors[0]), note


def choose_head(
    lesson: TrainingSet, plan: FoldPlan | None, config: TuneConfig, tick: ProgressCallback, spare: int = 0
) -> Selection:
    """The linear head that the labels justify; a fixed one where nothing can be held out.

    Args:
        lesson: What is taught.
        plan: The splits, None where there are none.
        config: How.
        tick: Told the share done and a message; may raise to stop.
        spare: Numbers that the prompt may hold beside the head: one that leaves no room for them is passed over.
    """
    if plan is None:
        alone = default_candidate(tuple(lesson.blocks), lesson.prior)
        return Selection(alone, "one clip per label: nothing could be held out to compare with", {})
    choices = candidates(tuple(lesson.blocks), config.kinds, lesson.prior)
    judged = cross_validate(choices, lesson.block_features(), lesson.truth, lesson.classes, plan, tick)
    choice = _choice_that_fits(lesson, judged, spare)
    likeness = judged.get(FAMILIARITY)
    if likeness is not None and choice.chosen.prior is None:
        best = judged[choice.chosen.name]
        judged[choice.chosen.name] = replace(best, logits=align_max(best.logits, likeness.logits))
    return choice


def _choice_that_fits(lesson: TrainingSet, judged: Mapping[str, CandidateScore], spare: int) -> Selection:
    """The choice among heads that leave a prompt room for ``spare`` numbers; among all where none does."""
    left = dict(judged)
    while left:
        choice = replace(choose(left), scores=judged)
        N = lesson.classes
        tensors = fit_tensors(lesson, choice)
        numbers = sum(value.size for value in tensors.values())
        numbers += 0 if has_class_model(tensors) else N * (N + 2)  # centres and their spread
        if numbers + spare <= MAX_PARAMETERS:
            passed = len(judged) - len(left)
            note = (
                f"; {passed} that were better make a prompt of more than {MAX_PARAMETERS:,} numbers" if passed else ""
            )
            return replace(choice, why=choice.why + note)
        del left[choice.chosen.name]
    return choose(judged)


def _enough(lesson: TrainingSet, config: TuneConfig) -> bool:
    return float(np.median(np.bincount(lesson.truth))) >= config.module_shots


def fit_tensors(lesson: TrainingSet, choice: Selection) -> dict[str, Array]:
    """The tensors of the chosen head on all clips, and the class model where the backbone has a prior for it."""
    blocks = {name: values for name, values in lesson.block_features().items() if name in choice.chosen.blocks}
    tensors = fit_head(choice.chosen, blocks, lesson.truth, lesson.classes).tensors()
    if lesson.prior is not None and _measures_familiarity(choice):
        house = lesson.columns(PROJECTED)
        tensors |= fit_class_model(house, lesson.truth, lesson.classes, lesson.prior, lesson.shown).tensors()
    return tensors


def _measures_familiarity(choice: Selection) -> bool:
    """Whether PLDA is among the candidates: its score says how familiar a clip is, whichever head answers."""
    return choice.chosen.prior is not None or FAMILIARITY in choice.scores


def has_class_model(tensors: Mapping[str, Array]) -> bool:
    """Whether a prompt's tensors hold a class model."""
    return f"{CLASS_MODEL}mean" in tensors


def calibrate(
    lesson: TrainingSet,
    choice: Selection,
    held_out: tuple[np.ndarray, np.ndarray] | None,
    tensors: Mapping[str, Array],
    plan: FoldPlan | None,
    config: TuneConfig,
) -> tuple[Calibration, dict[str, Array]]:
    """Temperature and limits from held-out logits.

    Args:
        lesson: What is taught.
        choice: Of the head.
        held_out: Held-out logits ``(R·held, N)`` of the final answer and their labels; None where nothing could be
            held out: the temperature is then a prior, and the limits are the motion corpus's.
        tensors: Of the prompt.
        plan: The splits.
        config: How.

    Returns:
        The calibration, and the prompt's tensors for the distance, where it has no class model.
    """
    familiar, labels = has_class_model(tensors), len(lesson.names)
    if held_out is None:
        taught = linear_logits(tensors, lesson.columns(choice.chosen.blocks), lesson.projected)
        sharpness = PRIOR_SHARPNESS if choice.chosen.prior is None else PLDA_SHARPNESS
        temperature = prior_temperature(taught, sharpness)
        if familiar:
            return corpus_calibration(temperature, config.refusal), {}
        return Calibration(temperature), _centres(taught)
    logits, truth = held_out
    temperature = fit_temperature(logits, truth)
    if familiar:
        grouped = plan is not None and plan.grouped
        return fit_familiarity(logits, truth, labels, temperature, config.refusal, grouped=grouped), {}
    centres = _centres(logits)
    calibration = fit_limits(logits, truth, labels, temperature, *centres.values(), ratios=False)
    return calibration, centres


def _centres(logits: np.ndarray) -> dict[str, Array]:
    """The tensors by which a prompt without a class model measures distances."""
    centres, spread = class_centres(logits)
    return {"linear.centres": round_fp16(centres), "linear.spread": round_fp16(spread)}
