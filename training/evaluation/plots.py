"""Plots of an evaluation, dark on white: accuracy over shots and over missing joints, confusion, reliability."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from training.evaluation.config import METHODS, OURS
from training.evaluation.perturbations import WHOLE
from training.evaluation.tables import MEAN, cell_value, grouped, label, shots_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Line = Mapping[str, Any]
# Ours stands out; its peers differ by marker and by shade, so that the plot also reads in grey.
OUR_COLOUR = "#1f5fa8"
COLOURS = ("#d97706", "#b45309", "#4d7c0f", "#84a33a", "#6d5bae", "#9d8fd1", "#8a8a8a", "#c2548a")
MARKERS = ("s", "D", "^", "v", "P", "X", "o", "*")


def draw_plots(document: Mapping[str, Any], out: Path) -> list[Path]:
    """Draw whatever the cells allow.

    Args:
        document: Of ``results.json``.
        out: The folder.

    Returns:
        The files written.
    """
    lines, labels = document["cells"], {entry["set"]: entry["labels"] for entry in document["sets"]}
    figures: dict[str, Figure | None] = {
        "accuracy-over-shots": over_shots(cell_value(lines, "few-shot")),
        "accuracy-over-missing-joints": over_joints(cell_value(lines, "occlusion")),
        "reliability": reliability_diagram(cell_value(lines, "calibration")),
    }
    for name, names in labels.items():
        figures[f"confusion-{name}"] = confusion_matrix(cell_value(lines, "few-shot"), name, names)
    written = []
    for name, figure in figures.items():
        if figure is not None:
            figure.savefig(out / f"{name}.png", dpi=130, facecolor="white")
            written.append(out / f"{name}.png")
    return written


def style(name: str) -> dict[str, Any]:
    """How the line of a method looks, the same in every plot."""
    if name == OURS:
        return {"color": OUR_COLOUR, "marker": "o", "linewidth": 2.4, "zorder": 5}
    base = name.removesuffix(", joints dropped")
    place = METHODS.index(base) - 1 if base in METHODS else 0
    dashed = "--" if name != base else "-"
    colour, marker = COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)]
    return {"color": colour, "marker": marker, "linewidth": 1.2, "linestyle": dashed, "markersize": 5}


def new_figure(width: float, height: float) -> Figure:
    """An empty figure that needs no display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as NewFigure

    figure = NewFigure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def panels(
    lines: Sequence[Line],
    columns: Sequence[str],
    values: Mapping[tuple[str, str, str], tuple[float, float]],
    axis: str,
    at: Sequence[int],
) -> Figure:
    """One panel per set and one for the mean, a line per method; bars are one standard deviation over the draws."""
    sets = list(dict.fromkeys(line["set"] for line in lines))
    shown = [*([MEAN] if len(sets) > 1 else []), *sets]
    methods = list(dict.fromkeys(key[1] for key in values))
    across = min(3, len(shown))
    down = -(-len(shown) // across)
    figure = new_figure(max(6.4, 4.1 * across), 3.4 * down + 0.24 * (len(methods) // 2 + 1) + 0.3)
    grid = figure.subplots(down, across, sharey=True, squeeze=False).ravel()
    for axes, name in zip(grid, shown, strict=False):
        for method in methods:
            there = [
                (i, *values[name, method, c]) for i, c in zip(at, columns, strict=True) if (name, method, c) in values
            ]
            if there:
                places, means, spreads = zip(*((i, 100 * mean, 100 * spread) for i, mean, spread in there), strict=True)
                axes.errorbar(places, means, yerr=spreads, label=method, capsize=2, elinewidth=0.8, **style(method))
        axes.set_title(name, fontsize=10)
        plain(axes, columns, axis, at)
    for axes in grid[len(shown) :]:
        axes.set_visible(False)
    for axes in grid[::across]:
        axes.set_ylabel("test accuracy, %")
    handles, names = grid[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    return figure


def plain(axes: Axes, columns: Sequence[str], axis: str, at: Sequence[int]) -> None:
    """Axes from 0 to 100 per cent, without what carries nothing."""
    axes.set_xticks(at, columns)
    margin = 0.08 * max(at[-1] - at[0], 4)
    axes.set_xlim(at[0] - margin, at[-1] + margin)
    axes.set_ylim(0, 100)
    axes.set_xlabel(axis)
    axes.grid(axis="y", color="#e4e4e4", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def over_shots(lines: Sequence[Line]) -> Figure | None:
    """Accuracy over the clips per class."""
    shots = sorted({line["shots"] for line in lines}, key=lambda value: value or np.inf)
    if not lines:
        return None
    values = grouped(lines, "accuracy", label, shots_of)
    return panels(lines, [str(value or "all") for value in shots], values, "clips per class", range(len(shots)))


def over_joints(lines: Sequence[Line]) -> Figure | None:
    """Accuracy over the joints that are missing throughout."""

    def missing(line: Line) -> str:
        return "0" if line["asked"] == WHOLE else line["asked"].removeprefix("joints-")

    mine = [line for line in lines if line["asked"] == WHOLE or line["asked"].startswith("joints-")]
    # Of peers only those who expect it: the table has both, and twice the lines cannot be read.
    dropped = {line["method"] for line in mine if line["dropped"]}
    mine = [line for line in mine if line["dropped"] or line["method"] not in dropped]
    counts = sorted({missing(line) for line in mine}, key=int)
    if len(counts) < 2:
        return None
    return panels(
        mine,
        counts,
        grouped(mine, "accuracy", label, missing),
        "joints missing throughout",
        [int(count) for count in counts],
    )


def confusion_matrix(lines: Sequence[Line], name: str, labels: Sequence[str]) -> Figure | None:
    """Confusion matrix with 5 clips a class, in per cent of the true class, pooled over draws."""
    mine = [line for line in lines if line["set"] == name and line["method"] == OURS and line["shots"] == 5]
    if not mine:
        return None
    counts = np.sum([line["confusion"] for line in mine], axis=0)
    shares = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    N = len(labels)
    size = max(5.0, 0.3 * N + 2.6)
    figure = new_figure(size + 0.8, size)
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    for row, column in zip(*np.nonzero(shares >= 1), strict=True):
        value = shares[row, column]
        axes.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=6.5,
                  color="white" if value > 55 else "#222222")  # fmt: skip
    axes.set_xticks(range(N), labels, rotation=90, fontsize=7.5)
    axes.set_yticks(range(N), labels, fontsize=7.5)
    axes.set_xlabel("predicted")
    axes.set_ylabel("is")
    axes.set_title(f"{name}, 5 clips per class, % of each class over {len(mine)} draws", fontsize=10)
    figure.colorbar(image, shrink=0.6, label="%")
    return figure


def reliability_diagram(lines: Sequence[Line]) -> Figure | None:
    """How often answers of a confidence are right: a panel for each number of clips, a line for each set."""
    mine = [line for line in lines if line["method"] == OURS]
    shots = list(dict.fromkeys(line["shots"] for line in mine))
    if not mine:
        return None
    figure = new_figure(max(5.4, 4.6 * len(shots)), 4.6)
    for axes, value in zip(figure.subplots(1, len(shots), squeeze=False)[0], shots, strict=True):
        axes.plot((0, 100), (0, 100), color="#999999", linewidth=0.8, linestyle=":", label="as often as it says")
        for place, name in enumerate(dict.fromkeys(line["set"] for line in mine)):
            said, was, error = pooled_curve(mine, name, value)
            colour, marker = (OUR_COLOUR, *COLOURS)[place % 9], ("o", *MARKERS)[place % 9]
            text = f"{name}, ECE {error:.1f} %"
            axes.plot(said, was, color=colour, marker=marker, markersize=5, linewidth=1.4, label=text)
        axes.set_xlim(0, 100)
        axes.set_ylim(0, 100)
        axes.set_aspect("equal")
        axes.set_xlabel("confidence, %")
        axes.set_ylabel("accuracy, %")
        axes.set_title(f"{value} clips per class" if value else "all clips", fontsize=10)
        axes.legend(fontsize=7.5, frameon=False, loc="upper left")
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def pooled_curve(lines: Sequence[Line], name: str, shots: int | None) -> tuple[list[float], list[float], float]:
    """Confidence and accuracy by bin, pooled over all draws of a set, in per cent, and the mean calibration error."""
    mine = [line for line in lines if (line["set"], line["shots"]) == (name, shots)]
    bins: dict[int, list[Mapping[str, float]]] = {}
    for line in mine:
        for point in line["curve"]:
            bins.setdefault(min(int(point["confidence"] * 15), 14), []).append(point)
    said, was = [], []
    for number in sorted(bins):
        clips = sum(point["clips"] for point in bins[number])
        if clips < 10:  # a share of fewer clips is noise that looks like a finding
            continue
        said.append(100 * sum(point["confidence"] * point["clips"] for point in bins[number]) / clips)
        was.append(100 * sum(point["accuracy"] * point["clips"] for point in bins[number]) / clips)
    return said, was, float(np.mean([100 * line["ece"] for line in mine] or [np.nan]))
