"""The figures of cells as means over seeds and sets, and as tables in Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from training.evaluation.perturbations import WHOLE

Line = Mapping[str, Any]
Value = tuple[float, float]  # mean and standard deviation over the draws
MEAN = "mean over the sets"


def label(line: Line) -> str:
    """The method of a line, as tables name it."""
    return f"{line['method']}, joints dropped" if line["dropped"] else str(line["method"])


def shots_of(line: Line) -> str:
    """Clips per class as a word."""
    return str(line["shots"] or "all")


def grouped(
    lines: Iterable[Line], figure: str, row: Callable[[Line], str], column: Callable[[Line], str]
) -> dict[tuple[str, str, str], Value]:
    """Mean and deviation over the draws by set, row and column; the mean over the sets where every set has it.

    Args:
        lines: Of one protocol.
        figure: Which figure.
        row: Of a line.
        column: Of a line.
    """
    values: dict[tuple[str, str, str], list[float]] = {}
    for line in lines:
        if line.get(figure) is not None:
            values.setdefault((line["set"], row(line), column(line)), []).append(float(line[figure]))
    found = {key: (float(np.mean(each)), float(np.std(each))) for key, each in values.items()}
    sets = list(dict.fromkeys(key[0] for key in found))
    means: dict[tuple[str, str, str], Value] = {}
    for first, second in dict.fromkeys((key[1], key[2]) for key in found):
        mine = [found.get((name, first, second)) for name in sets]
        if len(sets) > 1 and all(each is not None for each in mine):
            means[MEAN, first, second] = (
                float(np.mean([each[0] for each in mine if each])),
                float(np.mean([each[1] for each in mine if each])),
            )
    return found | means


def table(
    values: Mapping[tuple[str, str, str], Value], heads: Sequence[str], *, scale: float = 100, digits: int = 1
) -> list[str]:
    """A Markdown table with a line per set and row, and a column per column."""
    columns = list(dict.fromkeys(key[2] for key in values))
    rows = list(dict.fromkeys((key[0], key[1]) for key in values))
    lines = ["| " + " | ".join([*heads, *columns]) + " |", "|---" * (len(heads) + len(columns)) + "|"]
    for row in rows:
        entries = []
        for column in columns:
            value = values.get((*row, column))
            spread = "" if value is None or value[1] == 0 else f" ± {scale * value[1]:.{digits}f}"
            entries.append("" if value is None else f"{scale * value[0]:.{digits}f}{spread}")
        lines.append("| " + " | ".join([*(word for word in row if word), *entries]) + " |")
    return lines


def cell_value(lines: Iterable[Line], protocol: str) -> list[Line]:
    """The lines of a protocol."""
    return [line for line in lines if line["protocol"] == protocol]


def few_shot(lines: Sequence[Line]) -> list[str]:
    """Accuracy by set, method and shots."""
    return table(grouped(cell_value(lines, "few-shot"), "accuracy", label, shots_of), ["set", "method"])


def occlusion(lines: Sequence[Line]) -> list[str]:
    """Accuracy by set, method and damage."""
    return table(
        grouped(cell_value(lines, "occlusion"), "accuracy", label, lambda line: line["asked"]), ["set", "method"]
    )


def cross_layout(lines: Sequence[Line]) -> list[str]:
    """Accuracy by set, method and pair of layouts."""

    def pair(line: Line) -> str:
        words = ["own" if view == WHOLE else view.removeprefix("as-") for view in (line["taught"], line["asked"])]
        return " → ".join(words)

    return table(grouped(cell_value(lines, "cross-layout"), "accuracy", label, pair), ["set", "method"])


def calibration(lines: Sequence[Line]) -> list[str]:
    """Calibration error in per cent, what chance makes of a perfect one, and Brier score times 100."""
    mine = cell_value(lines, "calibration")
    values: dict[tuple[str, str, str], Value] = {}
    for figure, name in (("ece", "ECE"), ("ece_by_chance", "by chance"), ("brier", "Brier")):
        values |= grouped(mine, figure, label, lambda line, name=name: f"{name}, {shots_of(line)} shots")  # type: ignore[misc]
    return table(values, ["set", "method"])


def open_set(lines: Sequence[Line]) -> list[str]:
    """AUROC and the two kinds of error at the prompt's own limits, all in per cent."""
    names = {
        "auroc": "AUROC",
        "auroc_confidence": "by confidence alone",
        "auroc_distance": "by distance alone",
        "wrongly_refused": "wrongly refused",
        "wrongly_accepted": "wrongly accepted",
    }
    mine = cell_value(lines, "open-set")
    values: dict[tuple[str, str, str], Value] = {}
    for figure, name in names.items():
        values |= grouped(mine, figure, label, lambda _, name=name: name)  # type: ignore[misc]
    return table(values, ["set", "method"])


def ablation(lines: Sequence[Line]) -> list[str]:
    """Accuracy of ours without each of its parts."""
    return table(
        grouped(cell_value(lines, "ablation"), "accuracy", lambda line: line["part"] or "whole", lambda _: "accuracy"),
        ["set", "part"],
    )


def cost(lines: Sequence[Line]) -> list[str]:
    """What a tenant and a clip cost."""
    rows = []
    for line in cell_value(lines, "cost"):
        rows += [
            f"| tuned | {line['set']}, {line['classes']} classes, {line['clips_taught']} clips |",
            f"| seconds, clips to prompt and report, {line['tuning_cores']} threads | {line['tuning_seconds']:.1f} |",
            f"| of them for features | {line['feature_seconds']:.1f} |",
            f"| parameters of the prompt | {line['parameters']:,} |",
            f"| bytes of its file | {line['bytes']:,} |",
            f"| share of `base` | {100 * line['share_of_base']:.1f} % |",
            f"| parameters of the backbone | {line['backbone_parameters']:,} |",
            f"| multiply-accumulates a clip | {line['macs'] / 1e9:.2f} G |",
            f"| clips per second, batch 1, 1 thread | {line['clips_per_second_1']:.1f} |",
            f"| clips per second, batch 4, 1 thread | {line['clips_per_second_4']:.1f} |",
        ]
    return ["| measured | figure |", "|---|---|", *rows] if rows else []


TABLES: dict[str, tuple[str, Callable[[Sequence[Line]], list[str]]]] = {
    "few-shot": ("Accuracy, %, by clips per class", few_shot),
    "occlusion": ("Accuracy, %, 5 clips per class, whole clips taught and damaged ones asked", occlusion),
    "cross-layout": ("Accuracy, %, 5 clips per class, layout taught → layout asked", cross_layout),
    "calibration": ("Calibration error, %, and Brier score × 100", calibration),
    "open-set": ("Three classes left out: AUROC and errors at the prompt's own limits, %", open_set),
    "ablation": ("Accuracy, %, 5 clips per class, without each part", ablation),
    "cost": ("Cost", cost),
}
