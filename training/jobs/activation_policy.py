"""Whether a new version takes over: ``if_better`` compares it with the active one on the same held-out clips."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from skeleton_prompt.model.prompt_file import Prompt
from training.tuning.heads import Candidate, held_out_logits
from training.tuning.plda import Prior
from training.tuning.tune import TrainingSet, TuningResult

ComputeLogits = Callable[[Prompt, np.ndarray], np.ndarray]  # a prompt and rows to logits (rows, N of the prompt)

KINDS = ("prototypes", "ridge", "lda", "plda")


@dataclass(frozen=True)
class ActivationDecision:
    """Whether to activate, and why in one sentence."""

    activate: bool
    reason: str


@dataclass(frozen=True, eq=False)
class ActiveVersion:
    """The active version.

    Attributes:
        version: Its number.
        prompt: Loaded, or None if this worker cannot run it (it was made on another backbone).
        labels: Its labels.
        taught: ``(n,)`` bool, which of this lesson's clips it has learnt from.
        clips: How many clips it has learnt from.
        features: Gives the lesson's features on the backbone that it was made on, block by block.
        prior: Of that backbone.
    """

    version: int
    prompt: Prompt | None
    labels: tuple[str, ...]
    taught: np.ndarray
    clips: int
    features: Callable[[], Mapping[str, np.ndarray]]
    prior: Prior | None = None


def decide(
    option: str,
    lesson: TrainingSet,
    outcome: TuningResult,
    previous: ActiveVersion | None,
    ask: ComputeLogits,
    *,
    again: bool = False,
) -> ActivationDecision:
    """Apply the job's ``activate`` option.

    Args:
        option: ``if_better``, ``always`` or ``never``.
        lesson: What was taught.
        outcome: What came of it.
        previous: The active version, if there is one.
        ask: Logits of the active version on clips that it has not learnt from.
        again: The active version is tuned again for a new backbone: without its labels, and without a comparison where
            it can be asked, nothing takes over.
    """
    if option == "always":
        return ActivationDecision(True, "activate is always")
    if option == "never":
        return ActivationDecision(False, "activate is never")
    if previous is None:
        return ActivationDecision(True, "there was no active version")
    if set(previous.labels) != set(lesson.names):
        return ActivationDecision(not again, f"the labels differ from those of version {previous.version}")
    if outcome.judged is None:
        if previous.clips > len(lesson.truth):
            return ActivationDecision(
                False, f"version {previous.version} has learnt from more clips, and nothing was held out"
            )
        return ActivationDecision(True, f"version {previous.version} has not learnt from more clips")
    ours = outcome.judged.right
    if previous.prompt is not None and outcome.choice.best is not None and _has_more_than_a_head(previous.prompt):
        # Of what it has learnt only its head is fitted again: there head is compared with head.
        ours = np.where(previous.taught, outcome.choice.best.right, ours)
    theirs = previous_accuracy(lesson, outcome, previous, ask)
    both = np.isfinite(ours) & np.isfinite(theirs) & (lesson.truth < len(lesson.names))
    if not both.any() and again and previous.prompt is not None:
        return ActivationDecision(False, f"version {previous.version} cannot be compared on these clips")
    if not both.any():
        return ActivationDecision(True, f"version {previous.version} cannot be asked about these clips")
    new, old = float(ours[both].mean()), float(theirs[both].mean())
    better = new >= old - 1e-9
    word = "not lower than" if better else "lower than"
    return ActivationDecision(
        better, f"held-out accuracy {new:.1%} is {word} the {old:.1%} of version {previous.version}"
    )


def compared_with_first(outcome: TuningResult, first_right: np.ndarray, version: int) -> ActivationDecision:
    """Decide whether a refined version replaces the first version of the same job.

    Args:
        outcome: Of the refinement.
        first_right: ``(n,)`` share of the repeats in which the first version was right about each held-out clip.
        version: Number of the first version.
    """
    extended = outcome.temporal is not None or outcome.module is not None
    if outcome.judged is None:
        if extended:
            return ActivationDecision(True, f"it adds parts to the head of version {version}; nothing was held out")
        return ActivationDecision(False, f"the refinement found nothing beyond version {version}")
    both = np.isfinite(outcome.judged.right) & np.isfinite(first_right)
    if not both.any():
        return ActivationDecision(False, f"the refinement cannot be compared with version {version}")
    new, old = float(outcome.judged.right[both].mean()), float(first_right[both].mean())
    if not extended and np.array_equal(outcome.judged.right[both], first_right[both]):
        return ActivationDecision(False, f"the refinement found nothing beyond version {version}")
    better = new >= old - 1e-9
    word = "not lower than" if better else "lower than"
    return ActivationDecision(
        better, f"refined: held-out accuracy {new:.1%} is {word} the {old:.1%} of version {version}"
    )


def previous_accuracy(
    lesson: TrainingSet, outcome: TuningResult, previous: ActiveVersion, ask: ComputeLogits
) -> np.ndarray:
    """How often the version before tells each held-out clip right, on the same folds.

    A clip that it has not learnt from is simply asked. One that it has learnt from would be told too well: there its
    recipe is fitted again on what it knows of the fold's training side.

    Returns:
        ``(n,)`` share of the repeats, NaN where neither can be done.
    """
    right = np.full(len(lesson.truth), np.nan)
    prompt = previous.prompt
    if prompt is None or outcome.plan is None:
        return right
    unseen = np.flatnonzero(outcome.plan.held_out & ~previous.taught)
    if len(unseen):
        names: list[str | None] = [*prompt.labels, *([None] if prompt.background else [])]
        said = ask(prompt, unseen).argmax(1)
        right[unseen] = [names[index] == lesson.labels[row] for index, row in zip(said, unseen, strict=True)]
    known = outcome.plan.held_out & previous.taught
    blocks = previous.features() if known.any() else {}
    if not known.any() or not set(prompt.blocks) <= set(blocks):
        return right
    recipe = _refit_spec(prompt, previous.prior)
    counts, hits = np.zeros(len(right)), np.zeros(len(right))
    features = {name: values for name, values in blocks.items() if name in prompt.blocks}
    for splits in outcome.plan.splits:
        for train, test in splits:
            rows, others = train[previous.taught[train]], test[known[test]]
            if len(others) and len(np.unique(lesson.truth[rows])) > 1:
                logits = held_out_logits([recipe], features, lesson.truth, lesson.classes, rows, others)[recipe]
                counts[others] += 1
                hits[others] += logits.argmax(1) == lesson.truth[others]
    asked = counts > 0
    right[asked] = hits[asked] / counts[asked]
    return right


def _has_more_than_a_head(prompt: Prompt) -> bool:
    return prompt.has_temporal or prompt.has_module


def _refit_spec(prompt: Prompt, prior: Prior | None) -> Candidate:
    head = str(prompt.metrics.get("head") or prompt.kind)
    kind = head if head in KINDS else "ridge"
    if "linear.square" in prompt.tensors:  # its linear part, whatever stands beside it
        kind = "lda" if prior is None else "plda"
    strength = float(prompt.metrics.get("strength") or 0.1)
    return Candidate(kind, prompt.blocks, strength, prior if kind == "plda" else None)
