"""Which head a tenant's labels justify: candidates compared on the same held-out clips.

Letters: n clips, R repeats of the cross-validation, N classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.tuning.calibration import fit_temperature, log_loss
from training.tuning.cross_validation import FoldPlan
from training.tuning.heads import STRENGTHS, Blocks, Candidate, held_out_logits
from training.tuning.plda import Prior

Floats = npt.NDArray[np.float64]
ProgressCallback = Callable[[float, str], None]  # told the share done and a message; may raise to stop the work

PROJECTED = ("house",)
FROZEN, BOTH, ALL = ("frozen",), ("frozen", "descriptors"), ("frozen", "descriptors", "frontal")
BASELINE_BLOCKS = ("descriptors",)
# Simplest first: a later one must beat an earlier one by more than the noise of the comparison. The house projection
# was learned from thousands of motions; on labelled sets LDA on it alone was best at 5 clips per label, and the plain
# blocks beside it gained from about 10. PLDA is LDA that knows beforehand what the corpus says; it stands for both.
CANDIDATES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("plda", PROJECTED),
    ("lda", PROJECTED),
    ("ridge", PROJECTED),
    ("ridge", (*PROJECTED, "descriptors")),
    ("lda", (*PROJECTED, *ALL)),
    ("ridge", (*PROJECTED, *ALL)),
    ("ridge", BASELINE_BLOCKS),
)
# For a backbone without house weights.
CANDIDATES_WITHOUT_PROJECTION: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("prototypes", BOTH),
    ("ridge", BASELINE_BLOCKS),
    ("ridge", FROZEN),
    ("ridge", BOTH),
    ("ridge", ALL),
    ("lda", FROZEN),
    ("lda", BOTH),
)
BASELINE = Candidate("ridge", BASELINE_BLOCKS).name


@dataclass(frozen=True, eq=False)
class CandidateScore:
    """What one candidate got on the held-out clips.

    Attributes:
        candidate: With the strength that did best.
        logits: ``(R, n, N)``, NaN where a clip was never held out.
        right: ``(n,)`` share of the repeats in which the clip was told right, NaN likewise.
        accuracy: Mean of ``right``.
        loss: Log loss at the best temperature.
    """

    candidate: Candidate
    logits: Floats
    right: Floats
    accuracy: float
    loss: float


@dataclass(frozen=True, eq=False)
class Selection:
    """The outcome of the comparison.

    Attributes:
        chosen: The candidate to fit.
        why: One sentence for the report.
        judged: All candidates by name, empty where nothing could be held out.
    """

    chosen: Candidate
    why: str
    scores: Mapping[str, CandidateScore]

    @property
    def best(self) -> CandidateScore | None:
        """What the chosen candidate got."""
        return self.scores.get(self.chosen.name)


def candidates(
    blocks: Sequence[str], kinds: Sequence[str] | None = None, prior: Prior | None = None
) -> list[Candidate]:
    """All candidates of some kinds whose feature blocks there are, every strength of ridge, simplest first.

    Args:
        blocks: Feature blocks that there are.
        kinds: Only these, None for all.
        prior: Of the house projection; without it LDA stands in for PLDA.
    """
    left_out = "plda" if prior is None else "lda"
    result = []
    for kind, wanted in CANDIDATES if set(PROJECTED) <= set(blocks) else CANDIDATES_WITHOUT_PROJECTION:
        if set(wanted) <= set(blocks) and (kinds is None or kind in kinds) and (kind, wanted) != (left_out, PROJECTED):
            strengths = STRENGTHS if kind == "ridge" else (0.0,)
            known = prior if kind == "plda" else None
            result += [Candidate(kind, wanted, strength, known) for strength in strengths]
    return result


def default_candidate(blocks: Sequence[str], prior: Prior | None = None) -> Candidate:
    """What to fit where one clip per label leaves nothing to compare with.

    PLDA on the house projection, which was learned for just that. A backbone that says nothing of variances has ridge
    there: with one clip per label it is prototypes that know of each other, and on labelled sets it was two points
    better than prototypes that do not. Without the projection it is the most shrunk ridge on the best plain block.
    """
    if set(PROJECTED) <= set(blocks) and prior is not None:
        return Candidate("plda", PROJECTED, prior=prior)
    if set(PROJECTED) <= set(blocks):
        return Candidate("ridge", PROJECTED, 0.3)
    plain = BASELINE_BLOCKS if set(BASELINE_BLOCKS) <= set(blocks) else FROZEN
    return Candidate("ridge", plain, STRENGTHS[-1])


def score(candidate: Candidate, logits: Floats, labels: np.ndarray) -> CandidateScore:
    """Score held-out logits ``(R, n, N)``."""
    held = np.isfinite(logits[0, :, 0])
    right = np.full(len(labels), np.nan)
    right[held] = (logits[:, held].argmax(2) == labels[held]).mean(0)
    flat, truth = pooled(logits, labels)
    loss = log_loss(flat, truth, fit_temperature(flat, truth))
    return CandidateScore(candidate, logits, right, float(np.nanmean(right)), loss)


def pooled(logits: Floats, labels: np.ndarray) -> tuple[Floats, np.ndarray]:
    """Held-out logits of all repeats one after the other, ``(R·held, N)``, and their labels."""
    held = np.isfinite(logits[0, :, 0])
    return logits[:, held].reshape(-1, logits.shape[2]), np.tile(labels[held], len(logits))


def cross_validate(
    choices: Sequence[Candidate],
    features: Blocks,
    labels: np.ndarray,
    classes: int,
    plan: FoldPlan,
    tick: ProgressCallback,
) -> dict[str, CandidateScore]:
    """Held-out figures of every candidate; of the strengths of one kind and blocks only the best remains.

    Args:
        choices: What to compare.
        features: Blocks ``(n, F)``.
        labels: ``(n,)``.
        classes: N.
        plan: The splits.
        tick: Told after every fold.

    Returns:
        By name, in the order of ``choices``.
    """
    logits = {c: np.full((len(plan.splits), len(labels), classes), np.nan) for c in choices}
    total = sum(len(splits) for splits in plan.splits)
    done = 0
    for repeat, splits in enumerate(plan.splits):
        for rows, others in splits:
            for candidate, values in held_out_logits(choices, features, labels, classes, rows, others).items():
                logits[candidate][repeat, others] = values
            done += 1
            tick(done / total, f"cross-validation: fold {done} of {total}")
    result: dict[str, CandidateScore] = {}
    for candidate in choices:
        judged = score(candidate, logits[candidate], labels)
        # Log loss tells strengths apart where accuracy, counted on few clips, cannot.
        if candidate.name not in result or judged.loss < result[candidate.name].loss:
            result[candidate.name] = judged
    return result


def difference(better: CandidateScore, worse: CandidateScore) -> tuple[float, float]:
    """Mean and standard error of the paired difference in accuracy, clip by clip."""
    gaps = better.right - worse.right
    gaps = gaps[np.isfinite(gaps)]
    return float(gaps.mean()), float(gaps.std() / np.sqrt(max(1, len(gaps))))


def choose(judged: Mapping[str, CandidateScore]) -> Selection:
    """The simplest candidate whose deficit to the best is within one standard error of the paired difference."""
    best = max(judged.values(), key=lambda one: (one.accuracy, -one.loss))
    for one in judged.values():
        gap, error = difference(best, one)
        if one is best or gap <= error:
            break
    if one is best:
        others = [other for other in judged.values() if other is not best]
        beaten = f"; the next had {max(o.accuracy for o in others):.1%}" if others else ""
        why = f"the most accurate on held-out clips, {best.accuracy:.1%}{beaten}"
    else:
        why = (
            f"the simplest within one standard error ({error:.1%}) of the most accurate, "
            f"{best.candidate.name} with {best.accuracy:.1%}; it has {one.accuracy:.1%}"
        )
    return Selection(one.candidate, why, judged)
