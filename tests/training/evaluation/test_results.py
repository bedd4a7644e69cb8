import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from tests.support.evaluation_sets import RIDGE, config
from training.commands import register
from training.evaluation.config import OURS
from training.evaluation.results import write_results
from training.evaluation.run import evaluate

pytestmark = pytest.mark.slow

PNG = b"\x89PNG"


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    register(app)
    return app


def test_every_protocol_leaves_its_table_and_its_plot(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.evaluation.ablation.SECONDS", 0.0)  # a few steps for each module
    out = tmp_path / "out"
    protocols = "few-shot,occlusion,cross-layout,calibration,open-set,ablation"
    results = evaluate(config(folder, protocols=protocols, methods=OURS), out)
    assert not results["failed"]
    document = write_results(results, out)
    assert json.loads((out / "results.json").read_text())["cells"] == results["cells"]
    text = (out / "results.md").read_text()
    assert all(f"## {protocol}" in text for protocol in [*protocols.split(","), "gates"])
    assert {gate["gate"] for gate in document["gates"] if gate["met"] is not None} == {"R4", "R5", "R6", "R8"}
    pictures = {path.name for path in out.glob("*.png") if path.read_bytes().startswith(PNG)}
    assert pictures == {
        "accuracy-over-shots.png", "accuracy-over-missing-joints.png", "confusion-jhmdb14.png", "reliability.png",
    }  # fmt: skip


def test_cost_says_what_a_tenant_and_a_clip_take(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.evaluation.cost.TIMED_SECONDS", 0.0)
    results = evaluate(config(folder, protocols="cost"), tmp_path / "out")
    (line,) = results["cells"]
    assert line["bytes"] > 2 * line["parameters"] > 0
    assert line["base_parameters"] == pytest.approx(2.09e6, rel=0.02)
    assert line["macs"] > 1e6
    assert line["clips_per_second_4"] > 0
    assert f"| parameters of the prompt | {line['parameters']:,} |" in "\n".join(
        (write_results(results, tmp_path / "out"), (tmp_path / "out" / "results.md").read_text())[1:]
    )


def test_the_command_prints_json_for_machines(folder: Path, tmp_path: Path, app: typer.Typer) -> None:
    words = ["evaluate", "--protocols", "few-shot", "--sets", "jhmdb14", "--seeds", "0", "--methods", RIDGE]
    places = ["--datasets", str(folder), "--cache", str(folder / "cache"), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, [*words, *places, "--jobs", "1", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["cells"][0]["set"] == "jhmdb14"


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [("--datasets", "nowhere", "nowhere does not exist"), ("--methods", "magic", "Skeleton-Prompt")],
)
def test_the_command_says_what_is_wrong(
    folder: Path, tmp_path: Path, app: typer.Typer, option: str, value: str, told: str
) -> None:
    places = ["--datasets", str(folder), "--out", str(tmp_path / "out"), option, value]
    done = CliRunner().invoke(app, ["evaluate", "--sets", "jhmdb14", "--jobs", "1", *places])
    assert done.exit_code == 2
    assert told in done.output
