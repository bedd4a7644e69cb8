import json

import numpy as np

from skeleton_prompt.report_page import report_page
from tests.support.training_sets import training_set
from training.tuning.report import Facts, build_report, metrics
from training.tuning.tune import TrainingSet, TuneConfig, tune


def made(taught: TrainingSet, **facts: object) -> dict:
    outcome = tune(taught, TuneConfig(), lambda share, message: None)
    report = build_report(taught, outcome, Facts(**facts))
    return json.loads(json.dumps(report, allow_nan=False))


def test_the_figures_agree_with_each_other() -> None:
    report = made(training_set(per_class=8, signal=1.5))
    counts = np.array(report["confusion"]["counts"])
    accuracy = report["accuracy"]
    assert counts.sum() == 24 * accuracy["repeats"]
    assert abs(np.trace(counts) / counts.sum() - accuracy["value"]) < 1e-9
    assert accuracy["low"] <= accuracy["value"] <= accuracy["high"]
    assert [row["support"] for row in report["classes"]] == [8, 8, 8]
    assert sum(candidate["chosen"] for candidate in report["candidates"]) == 1
    assert report["baseline"]["name"] == "ridge(descriptors)"
    assert metrics(report)["accuracy"] == accuracy["value"]


def test_a_clip_with_the_wrong_label_is_suspected() -> None:
    taught = training_set(per_class=10, signal=4)
    labels = list(taught.labels)
    labels[0] = "action 2"
    wrong = TrainingSet(taught.features, taught.blocks, tuple(labels), taught.groups, taught.ids)
    suspects = made(wrong)["suspects"]
    assert suspects[0]["clip"] == "clip-0"
    assert (suspects[0]["label"], suspects[0]["looks_like"]) == ("action 2", "action 0")


def test_one_clip_under_two_labels_is_suspected() -> None:
    taught = training_set(per_class=6, signal=4)
    features, labels = taught.features.copy(), list(taught.labels)
    other = next(n for n, label in enumerate(labels) if label != labels[0])
    features[other] = features[0]
    twice = TrainingSet(features, taught.blocks, tuple(labels), taught.groups, taught.ids)
    suspects = made(twice)["suspects"]
    assert {taught.ids[0], taught.ids[other]} <= {row["clip"] for row in suspects}


def test_labels_with_few_clips_and_missing_groups_are_pointed_out() -> None:
    report = made(training_set(per_class=3))
    assert {row["label"] for row in report["needs_more"]} == {"action 0", "action 1", "action 2"}
    assert any("no group" in warning for warning in report["warnings"])


def test_one_clip_per_label_has_a_report_without_figures() -> None:
    report = made(training_set(per_class=1))
    assert report["accuracy"] is None
    assert report["confusion"] is None
    assert any("One clip per label" in warning for warning in report["warnings"])
    assert "Tuning report" in report_page(report)


def test_the_page_needs_nothing_else_and_shows_no_markup_of_a_tenants_own() -> None:
    taught = training_set(per_class=8, background=8)
    nasty = tuple("<script>alert(1)</script>" if label == "action 1" else label for label in taught.labels)
    report = made(
        TrainingSet(taught.features, taught.blocks, nasty, taught.groups, taught.ids),
        skipped=({"clip": "<b>", "reason": "nothing is visible"},),
        durations={"features": 1.5},
    )
    page = report_page(report, "acme, version 3 <i>")
    assert "<script" not in page
    assert "<i>" not in page
    assert "src=" not in page
    assert "href=" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<svg" in page
    assert "nothing is visible" in page
