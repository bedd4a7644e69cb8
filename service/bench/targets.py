"""What the figures say about the aims that the project set itself."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median
from typing import Any

SPEED_OF_RAW = {"embedded": 0.90, "torchserve": 0.75}
START_S = {"embedded": 5.0, "torchserve": 10.0}
DISTURBED = 1.1
BINARY = ("msgpack", "f32")


def judge(result: dict[str, Any]) -> list[dict[str, Any]]:
    """A line for each aim that was measured: what, the figure, the aim, and whether it is met."""
    lines = [*_throughput(result), *_peers(result), *_latency(result), *_overload(result), *_many(result)]
    for engine, seconds in result.get("starts", {}).items():
        lines.append(_line("S6", f"start to ready, {engine}", median(seconds), START_S[engine], "s", most=True))
    return lines


def _line(gate: str, what: str, value: float | None, aim: float, unit: str, *, most: bool) -> dict[str, Any]:
    met = value is not None and (value <= aim if most else value >= aim)
    return {"gate": gate, "what": what, "value": value, "aim": aim, "unit": unit, "at_most": most, "met": met}


def _rows(result: dict[str, Any]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = result.get("throughput", {}).get("rows", [])
    return rows


def _throughput(result: dict[str, Any]) -> Iterator[dict[str, Any]]:
    rows = {row["row"]: row for row in _rows(result)}
    for row in rows.values():
        if row["server"] in SPEED_OF_RAW:
            aim = SPEED_OF_RAW[row["server"]]
            line = _line("S1", f"{row['row']}, of the raw forward pass", row["of_raw"], aim, "", most=False)
            # Nothing is faster than its own forward pass: such a figure says that other programs were running.
            yield line | {"met": line["met"] and row["of_raw"] <= DISTURBED}
    for row in rows.values():
        one = rows.get(f"{row['server']} · {row['form']}")
        if row["tenants"] > 1 and one is not None:
            share = row["per_second"] / one["per_second"]
            yield _line("S2", f"{row['row']}, of one tenant's throughput", share, 0.90, "", most=False)
    for row in rows.values():
        if row["server"] in SPEED_OF_RAW and row["form"] == "json" and row["tenants"] == 1:
            yield _line("S4", f"{row['row']}, CPU beside the forward pass", row["own_cpu_ms"], 2.5, "ms", most=True)


def _peers(result: dict[str, Any]) -> Iterator[dict[str, Any]]:
    one = [row for row in _rows(result) if row["tenants"] == 1]
    for kind, forms in (("JSON", ("json",)), ("binary", BINARY)):
        ours = [row for row in one if row["server"] == "embedded" and row["form"] in forms]
        for server in dict.fromkeys(row["server"] for row in one if row["server"] not in SPEED_OF_RAW):
            theirs = [row for row in one if row["server"] == server and row["form"] in forms]
            if not ours or not theirs:
                continue
            faster = max(row["per_second"] for row in ours) / max(row["per_second"] for row in theirs)
            cheaper = min(row["cpu_ms"] for row in theirs) / min(row["cpu_ms"] for row in ours)
            yield _line("S3", f"clips a second, ours over {server}, {kind}", faster, 1.0, "×", most=False)
            yield _line("S3", f"CPU a request, {server} over ours, {kind}", cheaper, 1.0, "×", most=False)


def _latency(result: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for row in result.get("latency", []):
        if row["row"].split(" · ")[0] in SPEED_OF_RAW:
            yield _line("S4", f"{row['row']}, p99 over p50 at half capacity", row["p99_over_p50"], 2.0, "", most=True)
            even = row.get("even_p99_over_p50")
            yield _line("S4", f"{row['row']}, the same, requests at equal distances", even, 2.0, "", most=True)
            errors = sum(row["errors"].values())
            yield _line("L1", f"{row['row']}, errors at half capacity", errors, 0, "", most=True)


def _overload(result: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for one in result.get("overload", []):
        name = one["server"]
        yield _line("L2", f"{name}, longest wait for a refusal", one["refused_ms"]["max_ms"], 100.0, "ms", most=True)
        told = one["with_retry_after"] / one["refused"] if one["refused"] else None
        yield _line("L2", f"{name}, refusals with Retry-After", told, 1.0, "", most=False)
        usual, now = one["usual_p95_ms"], one["summary"]["p95_ms"]
        ratio = now / usual if now and usual else None
        yield _line("L2", f"{name}, p95 of those accepted over the usual", ratio, 2.0, "×", most=True)
        yield _line("L2", f"{name}, recovered after", one["recovered_s"], 5.0, "s", most=True)


def _many(result: dict[str, Any]) -> Iterator[dict[str, Any]]:
    found = result.get("tenants")
    if not found:
        return
    cold = found["second"]["by_cache"]["redis"]
    name = f"{found['tenants']} tenants, {found['cached']} cached"
    yield _line("S5", f"{name}: a prompt from Redis, p95", cold["prompt_p95_ms"], 25.0, "ms", most=True)
    grown = found["memory_second"] / found["memory_first"]
    yield _line("S5", f"{name}: memory after twice the traffic over once", grown, 1.05, "×", most=True)
    mixed = [row for row in _rows(result) if row["row"] == "embedded · msgpack · 64 tenants"]
    if mixed:
        flat = found["few_of_many"]["cpu_ms"] / mixed[0]["cpu_ms"]
        yield _line("S5", f"{name}: CPU a request of 64, over that where 64 are all", flat, 1.10, "×", most=True)
