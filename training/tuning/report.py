"""What a tuning found, as a JSON document: figures with their uncertainty, what was chosen and why, what to mend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from skeleton_prompt.model.decision import limit_at
from training.tuning.calibration import confidences, judge_known, probabilities, reliability, wilson_interval
from training.tuning.model_selection import BASELINE, difference
from training.tuning.tune import TrainingSet, TuningResult

BACKGROUND = "(background)"
SUSPECTS = 20
MOST_COMPARED = 3000  # clips that are compared with one another
MOST_COPIES = 50  # of one clip that are compared with it
SAME_FEATURES = 1e-5  # of the sum of the features: the same clip in another batch
FEW_CLIPS = 5
WEAK_RECALL = 0.6


@dataclass(frozen=True)
class Facts:
    """What the report says beyond the figures of the tuning.

    Attributes:
        skipped: Clips that could not be taught: ``{"clip", "reason"}``.
        durations: Seconds by step.
        backbone: Its SHA-256.
        seed: Of the tuning.
        warnings: Things that the tenant should know.
        origin: Why the version was made, and of which other.
        verdict: Whether it was to take over, and why.
    """

    skipped: tuple[Mapping[str, Any], ...] = ()
    durations: Mapping[str, float] = field(default_factory=dict)
    backbone: str = ""
    seed: int = 0
    warnings: tuple[str, ...] = ()
    origin: Mapping[str, Any] = field(default_factory=dict)
    verdict: Mapping[str, Any] = field(default_factory=dict)


def build_report(lesson: TrainingSet, outcome: TuningResult, facts: Facts) -> dict[str, Any]:
    """The report of a tuning; plain numbers, strings, lists and dicts."""
    names = [*lesson.names, BACKGROUND][: lesson.classes]
    counts = np.bincount(lesson.truth, minlength=lesson.classes)
    report: dict[str, Any] = {
        "format": 1,
        "data": {
            "clips": len(lesson.truth),
            "labels": len(lesson.names),
            "background": int((lesson.truth >= len(lesson.names)).sum()),
            "groups": len({group for group in lesson.groups if group is not None}),
            "skipped": [dict(entry) for entry in facts.skipped],
        },
        "accuracy": _accuracy(lesson, outcome),
        "classes": _classes(names, counts, outcome),
        "confusion": _confusion(names, outcome),
        "calibration": _calibration(lesson, outcome),
        "chosen": {
            "kind": outcome.kind,
            "head": outcome.choice.chosen.kind,
            "blocks": list(outcome.choice.chosen.blocks),
            "strength": outcome.choice.chosen.strength or None,
            "blend": outcome.blend,
            "why": outcome.choice.why,
            "module": outcome.module_note,
            "temporal_blend": outcome.temporal_blend,
            "temporal": outcome.temporal_note,
        },
        "candidates": _candidates(outcome),
        "baseline": _baseline(outcome),
        "suspects": _suspects(lesson, outcome),
        "origin": dict(facts.origin),
        "verdict": dict(facts.verdict),
        "backbone_sha256": facts.backbone,
        "seed": facts.seed,
        "seconds": {name: round(value, 2) for name, value in facts.durations.items()},
    }
    report["needs_more"] = _needs_more(report["classes"])
    report["warnings"] = [*facts.warnings, *_warnings(lesson, outcome)]
    return report


def metrics(report: Mapping[str, Any]) -> dict[str, Any]:
    """The few figures that travel with the prompt itself."""
    accuracy = report["accuracy"]
    return {
        "accuracy": accuracy and accuracy["value"],
        "accuracy_interval": accuracy and [accuracy["low"], accuracy["high"]],
        "ece": report["calibration"].get("ece"),
        "clips": report["data"]["clips"],
        "kind": report["chosen"]["kind"],
        "head": report["chosen"]["head"],
        "strength": report["chosen"]["strength"],
        "baseline_accuracy": report["baseline"] and report["baseline"]["accuracy"],
    }


def _answers(outcome: TuningResult) -> tuple[np.ndarray, np.ndarray]:
    """Held-out answers and truths over all repeats."""
    if outcome.held_out is None:
        return np.zeros(0, dtype=int), np.zeros(0, dtype=int)
    logits, truth = outcome.held_out
    return logits.argmax(1), truth


def _accuracy(lesson: TrainingSet, outcome: TuningResult) -> dict[str, Any] | None:
    if outcome.judged is None or outcome.plan is None:
        return None
    right = outcome.judged.right[(lesson.truth < len(lesson.names)) & np.isfinite(outcome.judged.right)]
    # Repeats ask about the same clips again: the interval counts each clip once.
    low, high = wilson_interval(round(float(right.sum())), len(right))
    return {
        "value": float(right.mean()) if len(right) else 0.0,
        "low": low,
        "high": high,
        "interval": "Wilson, 95 %",
        "clips": len(right),
        "repeats": len(outcome.judged.logits),
        "folds": len(outcome.plan.splits[0]),
        "split": outcome.plan.why,
        "note": "cross-validated; the candidate was chosen on the same clips, which flatters it a little",
    }


def _classes(names: list[str], counts: np.ndarray, outcome: TuningResult) -> list[dict[str, Any]]:
    said, truth = _answers(outcome)
    repeats = len(outcome.judged.logits) if outcome.judged else 1
    rows = []
    for index, name in enumerate(names):
        hits = int(((said == index) & (truth == index)).sum())
        asked, told = int((truth == index).sum()), int((said == index).sum())
        rows.append(
            {
                "label": name,
                "clips": int(counts[index]),
                "support": asked // repeats,
                "precision": hits / told if told else None,
                "recall": hits / asked if asked else None,
            }
        )
    return rows


def _confusion(names: list[str], outcome: TuningResult) -> dict[str, Any] | None:
    said, truth = _answers(outcome)
    if not len(said):
        return None
    table = np.zeros((len(names), len(names)), dtype=int)
    np.add.at(table, (truth, said), 1)
    return {"labels": names, "rows": "taught as", "columns": "told as", "counts": table.tolist()}


def _calibration(lesson: TrainingSet, outcome: TuningResult) -> dict[str, Any]:
    calibration = outcome.calibration
    result: dict[str, Any] = {
        "temperature": calibration.temperature,
        "threshold": calibration.threshold,
        "distance": calibration.distance if np.isfinite(calibration.distance) else None,
    }
    if calibration.familiarity:
        result["familiarity"] = limit_at(calibration.familiarity, calibration.refusal)
        result["refusal"] = calibration.refusal
    if outcome.held_out is None:
        return result
    logits, truth = outcome.held_out
    probability = probabilities(logits, calibration.temperature)
    best, confidence = confidences(probability, len(lesson.names))
    taught = truth < len(lesson.names)
    right = best == truth
    known = judge_known(calibration, outcome.tensors, logits, len(lesson.names)).known
    if taught.any():
        result |= reliability(confidence[taught], right[taught])
    if (right & taught).any():
        result["refused_though_right"] = float((~known)[right & taught].mean())
    if (~right & taught).any():
        result["refused_and_wrong"] = float((~known)[~right & taught].mean())
    if (~taught).any():
        result["background_recognised"] = float(known[~taught].mean())
    return result


def _candidates(outcome: TuningResult) -> list[dict[str, Any]]:
    rows = [
        {
            "name": name,
            "accuracy": judged.accuracy,
            "log_loss": judged.loss,
            "strength": judged.candidate.strength or None,
            "chosen": judged.candidate == outcome.choice.chosen,
        }
        for name, judged in outcome.choice.scores.items()
    ]
    for kind, what, part in (("temporal", "temporal part", outcome.temporal), ("full", "module", outcome.module)):
        if part is not None and part.judged is not None:
            figures = {"accuracy": part.judged.accuracy, "log_loss": part.judged.loss, "strength": None}
            rows.append({"name": f"{kind}({part.blend:.0%} {what})", **figures, "chosen": True})
    return rows


def _baseline(outcome: TuningResult) -> dict[str, Any] | None:
    judged, ours = outcome.choice.scores.get(BASELINE), outcome.judged
    if judged is None or ours is None:
        return None
    gain, error = difference(ours, judged)
    return {"name": BASELINE, "accuracy": judged.accuracy, "gain": gain, "gain_error": error}


def _suspects(lesson: TrainingSet, outcome: TuningResult) -> list[dict[str, Any]]:
    """Clips that may be mislabelled, by confident learning (Northcutt et al. 2021, section 3.1).

    A clip is suspected where, held out, it is told as another label with at least the probability that clips of that
    label themselves get, and its own label with less than half of its label's usual.
    """
    twice = _taught_twice(lesson)
    if outcome.judged is None:
        return twice
    logits = outcome.judged.logits
    held = np.flatnonzero(np.isfinite(logits[0, :, 0]))
    probability = np.mean([probabilities(one[held], outcome.calibration.temperature) for one in logits], axis=0)
    truth, names = lesson.truth[held], [*lesson.names, BACKGROUND]
    own = probability[np.arange(len(held)), truth]
    usual = np.array([own[truth == c].mean() if (truth == c).any() else 1.0 for c in range(lesson.classes)])
    said = probability.argmax(1)
    sure = probability[np.arange(len(held)), said]
    suspected = (said != truth) & (sure >= usual[said]) & (own < usual[truth] / 2)
    order = np.flatnonzero(suspected)[np.argsort(-(sure - own)[suspected], kind="stable")][:SUSPECTS]
    suspects = [
        {
            "clip": lesson.ids[held[i]],
            "label": names[truth[i]],
            "looks_like": names[said[i]],
            "probability": float(sure[i]),
        }
        for i in order
    ]
    known = {row["clip"] for row in suspects}
    return [*suspects, *(row for row in twice if row["clip"] not in known)][:SUSPECTS]


def _taught_twice(lesson: TrainingSet) -> list[dict[str, Any]]:
    """Clips whose features equal those of a clip of another label: one of the two labels is wrong."""
    if len(lesson.features) > MOST_COMPARED:
        return []
    names = [*lesson.names, BACKGROUND]
    sums = lesson.features.sum(1, dtype=np.float64)
    scale = np.abs(lesson.features).sum(1, dtype=np.float64)
    order = np.argsort(sums, kind="stable")
    ends = np.searchsorted(sums[order], sums[order] + SAME_FEATURES * scale[order], side="right")
    rows: dict[int, int] = {}
    for rank, index in enumerate(order):
        for other in order[rank + 1 : min(ends[rank], rank + 1 + MOST_COPIES)]:
            apart = np.abs(lesson.features[index] - lesson.features[other]).sum(dtype=np.float64)
            if lesson.truth[index] != lesson.truth[other] and apart <= SAME_FEATURES * scale[index]:
                rows.setdefault(int(index), int(other))
                rows.setdefault(int(other), int(index))
    return [
        {
            "clip": lesson.ids[index],
            "label": names[lesson.truth[index]],
            "looks_like": names[lesson.truth[other]],
            "probability": 1.0,
        }
        for index, other in sorted(rows.items())
    ]


def _needs_more(classes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rows = []
    for row in classes:
        if row["clips"] < FEW_CLIPS:
            rows.append({"label": row["label"], "clips": row["clips"], "why": f"fewer than {FEW_CLIPS} clips"})
        elif row["recall"] is not None and row["recall"] < WEAK_RECALL:
            why = f"only {row['recall']:.0%} of its held-out clips are told right"
            rows.append({"label": row["label"], "clips": row["clips"], "why": why})
    return rows


def _warnings(lesson: TrainingSet, outcome: TuningResult) -> list[str]:
    warnings = []
    if outcome.plan is None:
        warnings.append(
            "One clip per label: nothing could be held out, so there is no figure, and limits are those of the motion "
            "corpus."
        )
    elif not outcome.plan.held_out.all():
        lonely = sorted({lesson.labels[i] or BACKGROUND for i in np.flatnonzero(~outcome.plan.held_out)})
        what = "a single clip, or clips of a single group," if outcome.plan.grouped else "a single clip"
        warnings.append(f"Labels with {what} are taught, but are not in the figures: {', '.join(lonely[:10])}.")
    if outcome.plan is not None and not outcome.plan.grouped and any(lesson.groups):
        warnings.append("Groups could not be kept apart in validation: the figures may flatter.")
    if outcome.plan is not None and not any(lesson.groups):
        warnings.append(
            "The clips carry no group: if one person or recording gave several, the figures may flatter. Limits are "
            "set wider for it, so that more clips of untaught actions are accepted. Send `group` with each clip."
        )
    return warnings
