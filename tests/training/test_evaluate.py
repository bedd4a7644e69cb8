import json
import os
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from skeleton_prompt.engine import Engine
from skeleton_prompt.layouts import get_layout
from tests.training.recordings import ENGINE, STANDING
from training.evaluate import METHODS, EvaluationConfig, evaluate, parse_shots
from training.evaluation_results import markdown, write_results
from training.feature_cache import set_features

CLASSES, PER_CLASS = 3, 8


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small set in JHMDB's form: 2-D, no subjects; the classes move different joints, one clip shows nothing."""
    home = tmp_path / "sets" / "jhmdb14"
    home.mkdir(parents=True)
    rng = np.random.default_rng(0)
    joints = len(get_layout("jhmdb15").joints)
    frames, labels = [], []
    for clip in range(CLASSES * PER_CLASS):
        label = clip % CLASSES
        points = np.repeat(STANDING[None, :joints].astype(float), 12, axis=0)
        points[:, 3 * label + 4 : 3 * label + 7, 0] += 25 * np.sin(np.linspace(0, 6, 12))[:, None]
        frames.append(points + rng.normal(0, 0.3, points.shape))
        labels.append(label)
    frames[-1][:] = 0.0
    np.savez(
        home / "data.npz",
        keypoints=np.concatenate(frames).astype(np.float32),
        offsets=np.arange(0, 12 * len(frames) + 1, 12),
        labels=np.array(labels),
        label_names=np.array(["one", "two", "three"]),
        split1=np.array(["train"] * 12 + ["test"] * 12),
    )
    return tmp_path / "sets"


@pytest.fixture(autouse=True)
def small_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Engine, "load", lambda *args, **kwargs: ENGINE)


def config(folder: Path) -> EvaluationConfig:
    return EvaluationConfig(folder, ("jhmdb14",), (1, 3, None), (0, 1), cache=folder / "cache")


def test_every_method_is_judged_on_the_whole_test_side_and_nothing_visible_counts_as_wrong(folder: Path) -> None:
    shares: list[float] = []
    results = evaluate(config(folder), lambda share, message: shares.append(share))
    rows = results["rows"]
    assert {row["method"] for row in rows} == set(METHODS)
    assert len(rows) == len(METHODS) * (2 + 2 + 1)
    assert results["sets"][0] | {} == {
        "set": "jhmdb14", "classes": 3, "train": 12, "test": 12, "split": "split1", "nothing_visible": 1,
    }  # fmt: skip
    best = max(row["accuracy"] for row in rows)
    assert 0.8 < best <= 11 / 12 + 1e-9
    assert all(row["taught"] == {1: 3, 3: 9, None: 12}[row["shots"]] for row in rows)
    assert shares == sorted(shares)


def test_the_same_evaluation_gives_the_same_figures_and_computes_no_feature_twice(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = evaluate(config(folder), lambda *_: None)

    def never(*args: object) -> None:
        raise AssertionError("features were computed again")

    monkeypatch.setattr(Engine, "features", never)
    again = evaluate(config(folder), lambda *_: None)
    timed = ("tune_seconds",)
    strip = lambda rows: [{k: v for k, v in row.items() if k not in timed} for row in rows]  # noqa: E731
    assert strip(first["rows"]) == strip(again["rows"])


def test_a_damaged_cache_is_computed_again(folder: Path) -> None:
    from training.datasets import read_set

    labelled = read_set("jhmdb14", folder)
    fresh = set_features(ENGINE, labelled, folder / "cache", lambda share: None)
    (path,) = (folder / "cache").glob("*.npz")
    path.write_bytes(path.read_bytes()[:-200])
    again = set_features(ENGINE, labelled, folder / "cache", lambda share: None)
    assert np.array_equal(fresh.features, again.features)


def test_results_are_json_a_table_and_a_plot_per_number_of_shots(folder: Path, tmp_path: Path) -> None:
    results = evaluate(config(folder), lambda *_: None)
    write_results(results, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "accuracy-1-shot.png", "accuracy-3-shot.png", "accuracy-all-shot.png", "results.json", "results.md",
    ]  # fmt: skip
    assert json.loads((tmp_path / "out" / "results.json").read_text())["rows"] == results["rows"]
    table = markdown(results).splitlines()
    assert table[0].startswith("| set | test clips | shots | Skeleton-Prompt |")
    assert len([line for line in table if line.startswith("| jhmdb14 | 12 |")]) == 3


def test_the_command_prints_json_for_machines_and_fails_clearly_without_the_sets(folder: Path, tmp_path: Path) -> None:
    import typer

    from training.commands import register

    app = typer.Typer()
    register(app)
    base = ["evaluate", "--sets", "jhmdb14", "--shots", "1", "--seeds", "0", "--cache", str(folder / "cache")]
    out = tmp_path / "out"
    done = CliRunner().invoke(app, [*base, "--datasets", str(folder), "--out", str(out), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["summary"][0]["set"] == "jhmdb14"
    lost = CliRunner().invoke(app, [*base, "--datasets", str(tmp_path / "nowhere"), "--out", str(out)])
    assert lost.exit_code != 0
    assert "nowhere" in str(lost.exception)
    assert {command.callback.__name__ for command in app.registered_commands if command.callback} >= {
        "worker", "pretrain", "evaluate",
    }  # fmt: skip


def test_shots_are_a_number_or_all() -> None:
    assert (parse_shots("5"), parse_shots("all")) == (5, None)
    for word in ("0", "-1", "few"):
        with pytest.raises(ValueError, match=r"."):
            parse_shots(word)


@pytest.mark.data
@pytest.mark.skipif("SKELETON_PROMPT_DATASETS" not in os.environ, reason="SKELETON_PROMPT_DATASETS is not set")
def test_ridge_on_descriptors_tells_a_real_set_far_above_chance() -> None:
    """Descriptors need no backbone; this holds the whole way from the reader to the score on real skeletons."""
    from skeleton_prompt.features import descriptors
    from training.datasets import draw_shots, read_set
    from training.feature_cache import main_person
    from training.heads import Candidate, fit_head, linear_logits

    irds = read_set("irds_subset")
    drawn = draw_shots(irds.labels, irds.train_indices, 5, 0)
    people = [main_person(irds, int(index)) for index in np.concatenate([drawn, irds.test_indices])]
    values = descriptors([person for person in people if person is not None])
    taught = {"descriptors": values[: len(drawn)]}
    head = fit_head(Candidate("ridge", ("descriptors",), 0.3), taught, irds.labels[drawn], len(irds.label_names))
    logits = linear_logits(head.tensors(), values[len(drawn) :])
    assert (logits.argmax(1) == irds.labels[irds.test_indices]).mean() > 0.5  # chance is 0.11
