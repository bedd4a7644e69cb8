"""From recorded figures to judgements, tables and a picture."""

import copy
import json

import pytest

from service.bench import measure, multi_tenant, report, targets


def row(server: str, form: str, per_second: float, cpu_ms: float, tenants: int = 1) -> dict:
    name = f"{server} · {form}" + (f" · {tenants} tenants" if tenants > 1 else "")
    return {
        "row": name, "server": server, "form": form, "tenants": tenants, "per_second": per_second,
        "of_raw": per_second / 60,
        "raw_per_second": 60.0, "raw_cpu_ms": 16.0, "cpu_ms": cpu_ms, "own_cpu_ms": cpu_ms - 16.0, "batch": 12.5,
        "p50_ms": 100.0, "p95_ms": 150.0, "p99_ms": 180.0, "errors": {},
    }  # fmt: skip


LAYER = {"requests": 5, "prompt_p50_ms": 1.0, "prompt_p95_ms": 9.0, "p95_ms": 200.0}
RESULT = {
    "machine": {"date": "2026-01-01T00:00:00+00:00", "cores": 2},
    "throughput": {
        "rows": [
            row("embedded", "json", 57.0, 18.0),
            row("embedded", "msgpack", 58.0, 17.5),
            row("embedded", "json", 48.0, 20.0, tenants=64),
            row("Peer | one", "json", 30.0, 27.0),
        ],
        "raw": [{"batch": 1, "tenants": 1, "per_second": 46.0, "cpu_ms": 21.0}],
        "servers": [{"server": "embedded", "start_s": 4.0, "about": {}, "peak": 2**29, "processes": 2, "threads": 28}],
    },
    "latency": [
        {"row": "embedded · json", "rate": 28.0, "p50_ms": 30.0, "p95_ms": 40.0, "p99_ms": 66.0, "p99_over_p50": 2.2,
         "errors": {"503": 1}},
    ],
    "overload": [
        {"server": "embedded", "rate": 171.0, "refused": 4, "with_retry_after": 4, "refused_ms": {"max_ms": 40.0},
         "usual_p95_ms": 40.0, "summary": {"p95_ms": 400.0}, "recovered_s": 1.5},
    ],
    "tenants": {
        "tenants": 300, "cached": 32, "memory_before": 2**28, "memory_first": 2**29, "memory_second": 2**29,
        "few_of_many": {"cpu_ms": 20.0},
        **{name: {"by_cache": dict.fromkeys(("memory", "redis", "store"), LAYER)} for name in ("first", "second")},
    },
    "starts": {"embedded": [4.0, 9.0, 4.5]},
}  # fmt: skip


def judged(result: dict) -> dict[str, dict]:
    return {line["what"]: line for line in targets.judge(result)}


def test_aims_are_judged_by_the_figures():
    lines = judged(RESULT)
    met = {what: line["met"] for what, line in lines.items()}
    assert met["embedded · json, of the raw forward pass"]
    assert not met["embedded · json · 64 tenants, of one tenant's throughput"]
    assert lines["embedded · json · 64 tenants, of one tenant's throughput"]["value"] == pytest.approx(48 / 57)
    assert met["embedded · json, CPU beside the forward pass"]
    assert lines["clips a second, ours over Peer | one, JSON"]["value"] == pytest.approx(57 / 30)
    assert not met["embedded · json, p99 over p50 at half capacity"]
    assert lines["embedded · json, errors at half capacity"]["value"] == 1
    assert met["embedded, longest wait for a refusal"]
    assert not met["embedded, p95 of those accepted over the usual"]
    assert met["300 tenants, 32 cached: a prompt from Redis, p95"]
    assert lines["start to ready, embedded"]["value"] == 4.5


def test_a_server_that_is_faster_than_its_forward_pass_was_measured_on_a_busy_machine():
    result = {"throughput": {"rows": [row("embedded", "json", 90.0, 18.0)]}}
    assert not judged(result)["embedded · json, of the raw forward pass"]["met"]


def test_what_was_not_measured_is_not_judged():
    assert judged({"machine": {}}) == {}


def test_a_figure_that_is_missing_is_never_an_aim_that_is_met():
    result = copy.deepcopy(RESULT)
    result["overload"][0] |= {"refused": 0, "refused_ms": {"max_ms": None}, "recovered_s": None}
    lines = judged(result)
    for what in (
        "embedded, longest wait for a refusal",
        "embedded, refusals with Retry-After",
        "embedded, recovered after",
    ):
        assert lines[what]["value"] is None
        assert not lines[what]["met"]


def test_json_tables_and_picture_are_made_from_recorded_figures(tmp_path):
    result = RESULT | {"gates": targets.judge(RESULT)}
    paths = report.write(json.loads(json.dumps(result)), tmp_path / "out")
    assert [path.name for path in paths] == [report.RESULT, report.TABLES, report.PICTURE]
    assert json.loads(paths[0].read_text()) == json.loads(json.dumps(result))
    tables = paths[1].read_text()
    assert "| embedded · json | 57.0 | 0.950 | 18.0 | 2.0 | 12.5 |" in tables
    assert "Peer / one" in tables  # a bar would begin another column
    assert paths[2].read_bytes().startswith(b"\x89PNG")


def test_every_line_of_a_table_has_as_many_cells_as_its_head():
    width = 0
    for line in report.tables(RESULT | {"gates": targets.judge(RESULT)}).splitlines():
        if not line.startswith("|"):
            width = 0
        elif width == 0:
            width = line.count("|")
        else:
            assert line.count("|") == width, line


def test_the_middle_of_turns_is_their_median_and_their_errors_are_added_up():
    turns = [
        {"per_second": value, "errors": errors, "p99_ms": None}
        for value, errors in ((50.0, {}), (10.0, {"503": 2}), (52.0, {"503": 1, "0": 4}))
    ]
    assert measure.median_of_trials(turns) == {"turns": 3, "errors": {"503": 3, "0": 4}, "per_second": 50.0}


def test_who_asks_follows_zipf():
    asked = multi_tenant.zipf(1000, 20_000, seed=1)
    counts = sorted((asked.count(tenant) for tenant in set(asked)), reverse=True)
    harmonic = sum(1 / rank for rank in range(1, 1001))
    assert counts[0] == pytest.approx(20_000 / harmonic, rel=0.1)
    assert counts[0] / counts[9] == pytest.approx(10, rel=0.3)
    assert asked == multi_tenant.zipf(1000, 20_000, seed=1)
