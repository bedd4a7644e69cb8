"""The results in one folder: JSON for machines, tables in Markdown, one picture."""

from __future__ import annotations

import json
import os
import platform
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from skeleton_prompt import __version__

RESULT, TABLES, PICTURE = "bench.json", "bench.md", "bench.png"
LATENCY_COLUMNS = {"p50_ms": "p50 ms", "p95_ms": "p95 ms", "p99_ms": "p99 ms"}


def machine() -> dict[str, Any]:
    """Where and when it was measured."""
    model = ""
    cpu = Path("/proc/cpuinfo")
    if cpu.is_file():
        lines = [
            line.partition(":")[2].strip() for line in cpu.read_text().splitlines() if line.startswith("model name")
        ]
        model = lines[0] if lines else ""
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "version": __version__,
        "cores": os.cpu_count(),
        "cpu": model or platform.machine(),
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
    }


def write(result: dict[str, Any], folder: Path) -> list[Path]:
    """Write all three; gives their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / name for name in (RESULT, TABLES, PICTURE)]
    paths[0].write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    paths[1].write_text(tables(result))
    if result.get("throughput"):
        draw(result, paths[2])
        return paths
    return paths[:2]


def tables(result: dict[str, Any]) -> str:
    """Everything as Markdown."""
    about = ", ".join(f"{name} {value}" for name, value in result.get("machine", {}).items())
    parts = [f"# Measured\n\n{about}\n"]
    found = result.get("throughput")
    if found:
        parts.append(_throughput(found))
    if result.get("elsewhere"):
        columns = ["row", "clips/s", "batch", *LATENCY_COLUMNS.values(), "errors"]
        cells = [
            [row["row"], row["per_second"], row.get("batch"), *(row[name] for name in LATENCY_COLUMNS),
             sum(row["errors"].values())]
            for row in result["elsewhere"]
        ]  # fmt: skip
        parts.append(_table("As fast as it can", columns, cells))
    if result.get("latency"):
        parts.append(_latency(result["latency"]))
    if result.get("tenants"):
        parts.append(_tenants(result["tenants"]))
    if result.get("gates"):
        parts.append(_gates(result["gates"]))
    return "\n".join(parts)


def _table(title: str, columns: list[str], rows: list[list[Any]]) -> str:
    lines = [f"## {title}\n", "| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(_cell(value) for value in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) < 1 else f"{value:.1f}" if abs(value) < 1000 else f"{value:.0f}"
    return str(value).replace("|", "/")


def _throughput(found: dict[str, Any]) -> str:
    columns = ["row", "clips/s", "of raw", "CPU ms", "beside raw", "batch", *LATENCY_COLUMNS.values(), "errors"]
    rows = [
        [
            row["row"], row["per_second"], row["of_raw"], row.get("cpu_ms"), row.get("own_cpu_ms"), row.get("batch"),
            *(row[name] for name in LATENCY_COLUMNS), sum(row["errors"].values()),
        ]
        for row in sorted(found["rows"], key=lambda row: -row["per_second"])
    ]  # fmt: skip
    raw = [[one["batch"], one["tenants"], one["per_second"], one["cpu_ms"]] for one in found["raw"]]
    servers = [
        [one["server"], one["start_s"], one.get("peak", 0) / 2**20, one.get("processes"), one.get("threads"),
         one["about"].get("version", "")]
        for one in found["servers"]
    ]  # fmt: skip
    return "\n".join(
        [
            _table("As fast as they can", columns, rows),
            _table("The forward pass alone", ["batch", "tenants", "clips/s", "CPU ms a clip"], raw),
            _table("Servers", ["server", "start s", "peak MiB", "processes", "threads", "version"], servers),
        ]
    )


def _latency(rows: list[dict[str, Any]]) -> str:
    columns = [
        "row",
        "a second",
        *LATENCY_COLUMNS.values(),
        "p99 / p50",
        "the same, requests at equal distances",
        "errors",
    ]
    cells = [
        [row["row"], row["rate"], *(row[name] for name in LATENCY_COLUMNS), row["p99_over_p50"],
         row.get("even_p99_over_p50"), sum(row["errors"].values())]
        for row in rows
    ]  # fmt: skip
    return _table("At half of their capacity", columns, cells)


def _tenants(found: dict[str, Any]) -> str:
    rows = []
    for name in ("first", "second"):
        for layer, times in found[name]["by_cache"].items():
            rows.append(
                [name, layer, times["requests"], times["prompt_p50_ms"], times["prompt_p95_ms"], times["p95_ms"]]
            )
    columns = ["pass", "prompt from", "requests", "prompt p50 ms", "prompt p95 ms", "answer p95 ms"]
    title = f"{found['tenants']} tenants, {found['cached']} prompts in memory"
    megabytes = [round(found[name] / 2**20) for name in ("memory_before", "memory_first", "memory_second")]
    return _table(title, columns, rows) + f"\nGateway's memory before, after one and two passes: {megabytes} MiB.\n"


def _gates(lines: list[dict[str, Any]]) -> str:
    rows = [
        [
            line["gate"], line["what"], _cell(line["value"]) + (f" {line['unit']}" if line["unit"] else ""),
            f"{'≤' if line['at_most'] else '≥'} {line['aim']:g}", line["met"],
        ]
        for line in lines
    ]  # fmt: skip
    return _table("Aims", ["aim", "what", "measured", "asked", "met"], rows)


def draw(result: dict[str, Any], path: Path) -> None:
    """Clips a second and CPU a request of every row, with the forward pass's own share of it."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    rows = sorted(result["throughput"]["rows"], key=lambda row: row["per_second"])
    names = [row["row"] for row in rows]
    colours = ["#2a6f97" if row["server"] in ("embedded", "torchserve") else "#b0b7bd" for row in rows]
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 0.6 + 0.32 * len(rows)), sharey=True, layout="constrained")
    left.barh(names, [row["per_second"] for row in rows], color=colours)
    left.plot([row["raw_per_second"] for row in rows], names, "|", color="black", label="forward pass alone")
    left.set_xlabel("clips a second")
    right.barh(names, [row.get("cpu_ms", 0.0) for row in rows], color=colours)
    right.plot([row["raw_cpu_ms"] for row in rows], names, "|", color="black", label="forward pass alone")
    right.set_xlabel("CPU milliseconds a clip, whole process tree")
    left.legend(frameon=False, loc="lower right")
    for axis in (left, right):
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
    plt.close(figure)
