"""Parts of a prompt beside the linear one: whether they earn a place in the answer, and how large a share.

Letters: n clips, F features of all blocks, N classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from skeleton_prompt.model.prompt_file import Array
from training.tuning.calibration import fit_temperature
from training.tuning.heads import Candidate, fit_head
from training.tuning.linear_head import align_max, round_fp16
from training.tuning.model_selection import CandidateScore, difference, pooled, score

if TYPE_CHECKING:
    from training.tuning.tune import TrainingSet

Split = tuple[np.ndarray, np.ndarray]  # rows that teach, rows that are asked about

BLENDS = (0.3, 0.5, 0.7, 1.0)
TEMPORAL_BLENDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
# With one clip a label nothing can be held out. On splits of the training sides such a share of PLDA's own logits
# gained 6 points on two of three sensor sets, and a point or less on two sets without depth; see decision 7.
DEFAULT_WEIGHT, DEFAULT_WEIGHT_MISSING_JOINTS = 0.15, 0.05
LAST_LAYER = ("module.head.scale", "temporal.head.2.weight", "temporal.head.2.bias")


class MemberTuner(Protocol):
    """Tunes the temporal part or the prompt module on the same clips; see ``temporal`` and ``module``."""

    def fit(
        self,
        lessons: Sequence[np.ndarray],
        labels: np.ndarray,
        classes: int,
        seconds: float,
        tick: Callable[[float], None],
    ) -> list[dict[str, Array]]:
        """Tensors of parts, each taught on some of the clips, by their names in a prompt.

        Args:
            lessons: The rows that teach each part.
            labels: Of all clips.
            classes: N.
            seconds: That all of them together may take.
            tick: Told the share done now and then.
        """

    def logits(self, tensors: Mapping[str, Array], rows: np.ndarray) -> Array:
        """Logits ``(len(rows), N)`` of a tuned part on some of the clips."""


class TemporalMemberTuner(MemberTuner, Protocol):
    """Tunes the temporal part, and knows the same clips without some of their joints."""

    def mostly_3d(self) -> bool:
        """Whether most of the clips came with depth."""

    def missing_joint_features(self) -> Array:
        """``(n, F)``, the features of copies of all clips that lack joints."""

    def missing_joint_logits(self, tensors: Mapping[str, Array], rows: np.ndarray) -> Array:
        """Logits ``(len(rows), N)`` of a tuned part on those copies of some of the clips."""


@dataclass(frozen=True)
class MemberTuners:
    """What tunes the parts beside the linear one; None leaves a part out."""

    temporal: TemporalMemberTuner | None = None
    module: MemberTuner | None = None


@dataclass(frozen=True, eq=False)
class EnsembleMember:
    """A part that earned its place beside what there was before.

    Attributes:
        blend: Its share of the logits.
        judged: What the blend got on the held-out clips that both were asked about, None where nothing was held out.
        gain: Paired gain in accuracy over what there was before, and its standard error.
        rescale: Factor that brings its logits to the temperature of what there was before.
        tensors: Of the part taught on all clips.
        lacking: A temporal part's share of the logits of clips that lack joints.
        logits: Its own held-out logits ``(1, n, N)`` at the temperature of what there was before, None where nothing
            was held out.
    """

    blend: float
    judged: CandidateScore | None
    gain: tuple[float, float]
    rescale: float
    tensors: Mapping[str, Array] = field(default_factory=dict)
    lacking: float = 0.0
    logits: np.ndarray | None = None


def held_out_member(
    lesson: TrainingSet, splits: Sequence[Split], tuner: MemberTuner, folds: Sequence[Mapping[str, Array]]
) -> np.ndarray:
    """Held-out logits ``(1, n, N)`` of parts taught on the splits, NaN for clips that no split asks about."""
    logits = np.full((1, len(lesson.truth), lesson.classes), np.nan)
    for (_, others), tensors in zip(splits, folds, strict=True):
        logits[0, others] = tuner.logits(tensors, others)
    return logits


def fit_blend_weight(
    before: CandidateScore,
    logits: np.ndarray,
    truth: np.ndarray,
    blends: Sequence[float],
    *,
    keep_largest: bool = False,
) -> tuple[EnsembleMember, float]:
    """The share of a part's held-out logits ``(1, n, N)`` that does best beside what there was before.

    With ``keep_largest`` the largest logit stays that of before, which says how familiar a clip is.

    Returns:
        The part, and by how much it lowers the log loss.
    """
    plain = np.where(np.isfinite(logits), before.logits[:1], np.nan)
    rescale = fit_temperature(*pooled(plain, truth)) / fit_temperature(*pooled(logits, truth))
    reference = score(before.candidate, plain, truth)
    judged = {}
    for blend in blends:
        mixed = (1 - blend) * plain + blend * rescale * logits
        judged[blend] = score(before.candidate, align_max(mixed, plain) if keep_largest else mixed, truth)
    # Counted on few clips, accuracy cannot tell shares apart; log loss can.
    blend = min(judged, key=lambda share: judged[share].loss)
    best = judged[blend]
    member = EnsembleMember(blend, best, difference(best, reference), rescale, logits=rescale * logits)
    return member, reference.loss - best.loss


def fit_missing_joint_weight(
    lesson: TrainingSet,
    chosen: Candidate,
    splits: Sequence[Split],
    tuner: TemporalMemberTuner,
    folds: Sequence[Mapping[str, Array]],
    rescale: float,
) -> float:
    """The temporal part's share that does best on held-out clips that lack joints; none where the head alone does."""
    asked = replace(lesson, features=tuner.missing_joint_features()).columns(chosen.blocks)
    plain = np.full((1, len(lesson.truth), lesson.classes), np.nan)
    part = plain.copy()
    for (rows, others), tensors in zip(splits, folds, strict=True):
        taught = {name: lesson.features[rows][:, lesson.blocks[name]] for name in chosen.blocks}
        head = fit_head(chosen, taught, lesson.truth[rows], lesson.classes)
        plain[0, others] = head.logits(asked[others])
        part[0, others] = tuner.missing_joint_logits(tensors, others)
    loss = {
        share: score(chosen, (1 - share) * plain + share * rescale * part, lesson.truth).loss
        for share in (0.0, *TEMPORAL_BLENDS)
    }
    return min(loss, key=lambda share: loss[share])


def rescaled(part: EnsembleMember) -> dict[str, Array]:
    """Tensors of a part that earned its place, at the temperature of what there was before, rounded as in a file."""
    # The last layer is linear in these, so that they bring all logits to the other temperature.
    factor = {name: np.float32(part.rescale) for name in LAST_LAYER}
    return {name: round_fp16(value * factor.get(name, np.float32(1))) for name, value in part.tensors.items()}
