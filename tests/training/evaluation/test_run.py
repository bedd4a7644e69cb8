import json
from pathlib import Path

import numpy as np
import pytest

from skeleton_prompt.model.engine import Engine
from tests.support.evaluation_sets import RIDGE, config
from training.baselines import BASELINES, baseline
from training.evaluation.config import OURS, configure
from training.evaluation.data import EvaluationData
from training.evaluation.episodes import run_episode
from training.evaluation.experiments import plan
from training.evaluation.feature_cache import set_features
from training.evaluation.methods import OurMethod
from training.evaluation.run import evaluate

pytestmark = pytest.mark.slow


def test_every_method_is_judged_on_the_whole_test_side_and_nothing_visible_counts_as_wrong(
    folder: Path, tmp_path: Path
) -> None:
    results = evaluate(config(folder, protocols="few-shot", shots="1,3,all", seeds="0,1"), tmp_path / "out")
    lines = results["cells"]
    assert not results["failed"]
    assert {line["method"] for line in lines} == {OURS, RIDGE}
    # Two seeds for each number of shots; all clips once in each of the three official splits.
    assert len(lines) == 2 * (2 + 2 + 3)
    assert all(line["clips_asked"] == 16 for line in lines if line["split"] == "split1")
    best = max(line["accuracy"] for line in lines if line["split"] == "split1")
    assert 0.7 < best <= 15 / 16 + 1e-9
    taught = {line["clips_taught"] for line in lines if line["split"] == "split1"}
    assert taught == {4, 12, 20}
    table = np.array(next(line for line in lines if line["method"] == OURS)["confusion"])
    assert table.sum() == 15


def test_a_second_run_measures_nothing_and_a_half_line_is_measured_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted, out = config(folder, protocols="few-shot,occlusion"), tmp_path / "out"
    first = evaluate(wanted, out)["cells"]
    path = out / "cells.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])
    taught: list[str] = []
    original = run_episode
    monkeypatch.setattr(
        "training.evaluation.schedule.run_episode",
        lambda material, cells: taught.append(cells[0].lesson.method) or original(material, cells),  # type: ignore[func-returns-value]
    )
    again = evaluate(wanted, out)["cells"]
    assert len(taught) == 1
    assert [{**line, "teach_seconds": 0} for line in again] == [{**line, "teach_seconds": 0} for line in first]
    assert all(json.loads(text) for text in path.read_text().splitlines())
    evaluate(wanted, out)
    assert len(taught) == 1
    evaluate(wanted, out, fresh=True)
    assert len(taught) > 1


def test_features_are_read_from_the_disk_the_second_time_and_a_damaged_file_is_made_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    material = EvaluationData(config(folder))
    labelled = material.labelled("jhmdb14", "split1")
    fresh = set_features(material.engine, labelled, material.cache, view="joints-3", rows=labelled.test_indices)
    (path,) = material.cache.glob("*.npz")
    path.write_bytes(path.read_bytes()[:-200])
    again = set_features(material.engine, labelled, material.cache, view="joints-3", rows=labelled.test_indices)
    assert np.array_equal(fresh.features, again.features)

    def never(*args: object) -> None:
        raise AssertionError("features were computed again")

    monkeypatch.setattr(Engine, "features", never)
    third = set_features(material.engine, labelled, material.cache, view="joints-3", rows=labelled.test_indices)
    assert np.array_equal(fresh.features, third.features)
    assert third.visible.sum() == 15


def test_one_method_that_fails_is_told_and_leaves_the_others(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object) -> None:
        raise ArithmeticError("does not converge")

    monkeypatch.setattr("training.evaluation.methods.baseline", broken)
    results = evaluate(config(folder, protocols="few-shot"), tmp_path / "out")
    assert [line["method"] for line in results["cells"]] == [OURS]
    assert results["failed"] == [
        {"task": f"jhmdb14: {RIDGE}, 5 shots, seed 0", "error": "ArithmeticError: does not converge"}
    ]


def test_recalled_features_give_a_baseline_the_figures_that_its_own_would(folder: Path) -> None:
    material = EvaluationData(config(folder))
    labelled = material.labelled("jhmdb14", "split1")
    own = material.people("jhmdb14", "split1", "whole")
    copies = EvaluationData(config(folder)).remembered_people("jhmdb14", "split1", "whole", unlearnt=False)
    taught, asked = [0, 1, 2, 3, 4, 5, 6, 7], [20, 21, 22]
    for name in BASELINES:
        if "random" in name or "on " not in name:
            continue
        logits = [
            baseline(name, material.engine)
            .fit([people[i] for i in taught], labelled.labels[taught], 4, seed=0)
            .logits([people[i] for i in asked])
            for people in (own, copies)
        ]
        np.testing.assert_allclose(logits[0], logits[1], atol=1e-3)


def test_known_is_what_the_service_would_answer(folder: Path) -> None:
    from skeleton_prompt.model.decision import DecisionOptions, decide

    wanted = config(folder, protocols="few-shot", methods=OURS)
    material = EvaluationData(wanted)
    (cell,) = plan(wanted)
    labelled = material.labelled("jhmdb14", "split1")
    taught = OurMethod(material, cell.lesson, labelled.train_indices)
    clips = labelled.test_indices[:-1]
    people = material.people("jhmdb14", "split1", "joints-5")
    clips = clips[np.isin(clips, list(people))]
    answers = taught.answers("joints-5", clips)
    logits = material.engine.forward([(people[int(i)], taught.prompt) for i in clips])
    for number, (clip, row) in enumerate(zip(clips, logits, strict=True)):
        assert not isinstance(row, Exception)
        said = decide(people[int(clip)], taught.prompt, row, DecisionOptions())
        assert answers.known is not None
        assert said.known == answers.known[number]
        assert said.predictions[0][0] == labelled.label_names[answers.predicted[number]]
        assert said.confidence == pytest.approx(answers.confidence[number], abs=1e-3)


def test_two_processes_measure_what_one_does(folder: Path, tmp_path: Path) -> None:
    # Worker processes load what ships, so the engine is theirs: only descriptors are compared.
    wanted = config(folder, protocols="few-shot,occlusion", methods=RIDGE, seeds="0,1")
    one, two = (evaluate(wanted, tmp_path / str(jobs), jobs=jobs)["cells"] for jobs in (1, 2))
    assert [line["accuracy"] for line in one] == [line["accuracy"] for line in two]


@pytest.mark.data
def test_a_real_set_is_told_far_above_chance_through_missing_joints(tmp_path: Path) -> None:
    wanted = configure(
        "quick", protocols="occlusion", sets="irds_subset", seeds="0", methods=RIDGE, cache=tmp_path / "cache"
    )
    results = evaluate(wanted, tmp_path / "out")
    found = {(line["dropped"], line["asked"]): line["accuracy"] for line in results["cells"]}
    assert found[False, "whole"] > 0.5  # chance is 0.11
    assert found[False, "joints-5"] < found[False, "whole"]
