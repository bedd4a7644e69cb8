"""What an evaluation leaves in its folder: the JSON, a table in Markdown and plots."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_results(results: Mapping[str, Any], out: Path) -> None:
    """Write ``results.json``, ``results.md`` and one plot per number of shots."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "results.json").write_text(json.dumps(results, indent=2))
    (out / "results.md").write_text(markdown(results) + "\n")
    for shots in dict.fromkeys(row["shots"] for row in results["summary"]):
        plot(results, shots, out / f"accuracy-{shots or 'all'}-shot.png")


def markdown(results: Mapping[str, Any]) -> str:
    """Accuracies in per cent, mean ± deviation over the draws, methods side by side."""
    summary = results["summary"]
    methods = list(dict.fromkeys(row["method"] for row in summary))
    sizes = {entry["set"]: entry for entry in results["sets"]}
    lines = ["| set | test clips | shots | " + " | ".join(methods) + " |", "|---" * (3 + len(methods)) + "|"]
    for name, shots in dict.fromkeys((row["set"], row["shots"]) for row in summary):
        cells = []
        for method in methods:
            row = next(r for r in summary if (r["set"], r["shots"], r["method"]) == (name, shots, method))
            spread = f" ± {100 * row['deviation']:.1f}" if row["draws"] > 1 else ""
            cells.append(f"{100 * row['accuracy']:.1f}{spread}")
        lines.append(f"| {name} | {sizes[name]['test']} | {shots or 'all'} | " + " | ".join(cells) + " |")
    note = (
        f"Backbone {results['backbone']} ({results['backbone_sha256'][:12]}), {results['date']}, {results['machine']}."
    )
    return "\n".join([*lines, "", note])


def plot(results: Mapping[str, Any], shots: int | None, path: Path) -> None:
    """Bars of every method, set by set."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = [row for row in results["summary"] if row["shots"] == shots]
    sets = list(dict.fromkeys(row["set"] for row in rows))
    methods = list(dict.fromkeys(row["method"] for row in rows))
    figure = Figure(figsize=(2.4 + 1.7 * len(sets), 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    width = 0.8 / len(methods)
    for number, method in enumerate(methods):
        mine = {row["set"]: row for row in rows if row["method"] == method}
        places = [index + (number - (len(methods) - 1) / 2) * width for index in range(len(sets))]
        axes.bar(
            places,
            [100 * mine[name]["accuracy"] for name in sets],
            width,
            yerr=[100 * mine[name]["deviation"] for name in sets],
            label=method,
            color=("#2e6fbb", "#d98e04", "#7aa6d8", "#b8b8b8")[number % 4],
        )
    axes.set_xticks(range(len(sets)), sets)
    axes.set_ylabel("test accuracy, %")
    axes.set_ylim(0, 100)
    axes.set_title(f"{shots or 'all'} clips per class" if shots != 1 else "1 clip per class")
    axes.legend(fontsize=8, ncols=2, loc="lower center", bbox_to_anchor=(0.5, -0.28), frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)
