"""Pictures of a pre-training run: its curves, and poses lifted from clips that it never saw."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skeleton_prompt.clips.canonical_skeleton import CANONICAL, CANONICAL_EDGES
from skeleton_prompt.clips.normalise import prepare
from skeleton_prompt.layout_drawing import SIDE_COLOURS
from skeleton_prompt.model.backbone import Backbone, load_backbone
from skeleton_prompt.model.features import Windows, turn_to_front
from training.datasets.labelled import DatasetMissing, read_set
from training.pretraining.model_card import choose, read_log
from training.pretraining.validation import HeldOut

log = logging.getLogger(__name__)

REAL_2D = ("penn_action", "jhmdb14")  # estimated or annotated 2-D poses of real video
CLIPS_PER_SET = 4
MOMENTS = (0.2, 0.5, 0.8)
PANELS = (
    ("train", ("total", "lift", "contrast"), "training loss"),
    ("held_out", ("mpjpe",), "held-out MPJPE, half extents"),
    ("held_out", ("mpjpe_mm", "flat_mm"), "held-out MPJPE, mm after scale"),
    ("held_out", ("depth",), "correlation of lifted and true depth"),
    ("held_out", ("few_shot", "few_shot_hidden"), "held-out 5-shot accuracy, %"),
)


@dataclass(frozen=True)
class Lifted:
    """One clip as the backbone saw it and what it made of it.

    Attributes:
        title: Which clip.
        pose: ``(T, 17, 3)`` x, y (down), seen.
        lifted: ``(T, 17, 3)`` turned to the person's front: x right, y down, z away.
    """

    title: str
    pose: Tensor
    lifted: Tensor


def draw_run(run: Path, datasets: Path | None = None) -> list[Path]:
    """Write ``curves.png`` and ``lifted.png`` into a run's folder.

    Args:
        run: The folder.
        datasets: Folder of labelled sets; by default the environment's. Where it has no 2-D set, held-out motion is
            drawn.

    Returns:
        The files; none, with a line in the log, where matplotlib is not installed.
    """
    try:
        import matplotlib  # noqa: F401 - only whether it is there
    except ImportError:
        log.warning("matplotlib is not installed (extra 'pretrain'), so the run is not drawn")
        return []
    model = load_backbone(choose(run).path)
    clips = lift_real(model, datasets) or lift_held_out(model, run)
    draw_curves(run, run / "curves.png")
    draw_lifted(clips, run / "lifted.png")
    return [run / "curves.png", run / "lifted.png"]


def series(run: Path, kind: str, name: str) -> tuple[list[int], list[float]]:
    """Steps and values of one figure of a run's log; where a step was done twice, the last one."""
    points = {line["step"]: line[name] for line in read_log(run, kind) if name in line}
    return sorted(points), [points[step] for step in sorted(points)]


def draw_curves(run: Path, path: Path) -> None:
    """Losses of training and figures on held-out motion over the steps."""
    figure = _figure(3.6 * len(PANELS), 3.0)
    for axes, (kind, names, title) in zip(figure.subplots(1, len(PANELS)), PANELS, strict=True):
        for name in names:
            steps, values = series(run, kind, name)
            if steps:
                axes.plot(steps, values, label=name, linewidth=1.2, marker="." if kind == "held_out" else None)
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("step", fontsize=8)
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
        if axes.lines:
            axes.legend(fontsize=7, frameon=False)
        else:
            axes.text(0.5, 0.5, "not logged", ha="center", va="center", transform=axes.transAxes, fontsize=8)
    figure.savefig(path, dpi=130)


def lift_real(model: Backbone, datasets: Path | None = None) -> list[Lifted]:
    """Clips of the labelled 2-D sets that are there, each of another class, lifted."""
    result: list[Lifted] = []
    for name in REAL_2D:
        try:
            labelled = read_set(name, datasets)
        except DatasetMissing:
            continue
        spaced = np.linspace(0, len(labelled.label_names) - 1, CLIPS_PER_SET).round().astype(int)
        for label in spaced:
            index = int(np.flatnonzero(labelled.labels == label)[0])
            people, _ = prepare(labelled.clip(index))
            windows = Windows.of(people[:1])
            title = f"{name}: {labelled.label_names[label]}"
            result.append(_lift(model, windows.pose[:1], windows.log_seconds[:1], title))
    return result


def lift_held_out(model: Backbone, run: Path, count: int = 6) -> list[Lifted]:
    """Held-out motion of the run's corpus, lifted."""
    pose, log_seconds, _ = HeldOut(Path(json.loads((run / "config.json").read_text())["motion"])).full
    rows = np.linspace(0, len(pose) - 1, count).round().astype(int)
    return [_lift(model, pose[[row]], log_seconds[[row]], f"held-out motion {row}") for row in rows]


def _lift(model: Backbone, pose: Tensor, log_seconds: Tensor, title: str) -> Lifted:
    model.eval()
    with torch.inference_mode():
        lifted = turn_to_front(model.lift(model(pose, log_seconds), pose))
    return Lifted(title, pose[0], lifted[0])


def draw_lifted(clips: Sequence[Lifted], path: Path) -> None:
    """A row per clip: at three moments the 2-D input, the lifted pose from the front, and turned by 90 degrees.

    Right limbs are red, left ones blue. Joints that the input lacks are not drawn in it; the lifted pose has them all.
    """
    figure = _figure(1.25 * 3 * len(MOMENTS), 1.5 * len(clips))
    grid = figure.subplots(len(clips), 3 * len(MOMENTS), squeeze=False)
    for line, (row, clip) in enumerate(zip(grid, clips, strict=True)):
        for number, moment in enumerate(MOMENTS):
            frame = int(moment * (len(clip.pose) - 1))
            flat, solid = clip.pose[frame].numpy(), clip.lifted[frame].numpy()
            views = (
                (flat[:, :2], flat[:, 2] > 0, "2-D input"),
                (solid[:, :2], np.ones(len(solid), dtype=bool), "from the front"),
                # Away from the camera becomes left, so that the person looks to the right.
                (np.stack((-solid[:, 2], solid[:, 1]), -1), np.ones(len(solid), dtype=bool), "turned by 90°"),
            )
            for axes, (points, seen, title) in zip(row[3 * number : 3 * number + 3], views, strict=True):
                _person(axes, points, seen)
                if not line:
                    axes.set_title(title, fontsize=7)
        row[0].set_ylabel(clip.title.replace(": ", "\n"), fontsize=6)
    figure.savefig(path, dpi=130)


def _person(axes: Any, points: np.ndarray, seen: np.ndarray) -> None:
    for a, b in CANONICAL_EDGES:
        if seen[a] and seen[b]:
            side = CANONICAL[b][0] if CANONICAL[b][0] in "lr" else ""
            axes.plot(points[[a, b], 0], points[[a, b], 1], color=SIDE_COLOURS[side], linewidth=1.1)
    shown = points[seen] if seen.any() else points
    middle, size = (shown.max(0) + shown.min(0)) / 2, max(float(np.ptp(shown, axis=0).max()), 0.1) * 0.58
    axes.set_xlim(middle[0] - size, middle[0] + size)
    axes.set_ylim(middle[1] + size, middle[1] - size)  # y down
    axes.set_aspect("equal")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color("#dddddd")


def _figure(width: float, height: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure
