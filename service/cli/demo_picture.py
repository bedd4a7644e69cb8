"""Draws what the demo found: one unseen clip per action as a strip of poses, with the answer beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

POSES = 9
BARS = 4
GREEN, RED, GREY = "#2a9d6f", "#c8443c", "#b8bec7"
SIDES = {"left": "#2f6fb3", "right": "#d9822b", "middle": "#5b6470"}

TAUGHT = ("wave", "squat", "walk", "jumping_jack", "fall", "bow", "kick", "sit_down")


@dataclass(frozen=True)
class Outcome:
    """One unseen clip and what the service said about it."""

    action: str
    clip: dict[str, Any]
    label: str | None
    confidence: float
    predictions: tuple[dict[str, Any], ...]

    @property
    def right(self) -> bool:
        """Whether it was named, or rightly not named."""
        return self.label == (self.action if self.action in TAUGHT else None)


def draw(outcomes: list[Outcome], summary: dict[str, Any], out: Path) -> None:
    """Write the picture as PNG."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    shown = [next(o for o in outcomes if o.action == row["action"]) for row in summary["actions"]]
    figure, axes = plt.subplots(
        len(shown), 2, figsize=(10, 0.95 * len(shown) + 0.9), width_ratios=(3.2, 1), squeeze=False, layout="constrained"
    )
    for (strip, bars), outcome, row in zip(axes, shown, summary["actions"], strict=True):
        _strip(strip, outcome)
        _bars(bars, outcome)
        title = row["action"].replace("_", " ") + ("" if row["taught"] else "  (never taught)")
        strip.set_title(title, loc="left", fontsize=10, fontweight="bold", pad=1)
        bars.set_title(f"{row['right']} of {row['clips']} clips right", loc="left", fontsize=8, color="#5b6470", pad=1)
    figure.suptitle(
        f"{summary['accuracy']:.0%} of the unseen clips named rightly, "
        f"{summary['unknown_recognised']:.0%} of the untaught action kept unnamed",
        fontsize=11,
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=110, metadata={"Software": None})
    plt.close(figure)


def _strip(axes: Axes, outcome: Outcome) -> None:
    import numpy as np

    from skeleton_prompt.clips.layouts import get_layout

    layout = get_layout(outcome.clip["layout"])
    keypoints = outcome.clip["keypoints"]
    seen = keypoints[..., 2] > 0
    height = float(np.ptp(keypoints[..., 1][seen])) or 1.0
    for number, frame in enumerate(np.linspace(0, len(keypoints) - 1, POSES).astype(int)):
        visible = keypoints[frame][seen[frame], :2]
        if not len(visible):
            continue
        shift = np.array([number * 1.05 * height - np.median(visible[:, 0]), 0.0])
        for a, b in layout.edges:
            if seen[frame, a] and seen[frame, b]:
                line = keypoints[frame][[a, b], :2] + shift
                axes.plot(line[:, 0], line[:, 1], color=_colour(layout.joints[a], layout.joints[b]), lw=1.3)
    axes.set_aspect("equal")
    axes.invert_yaxis()
    axes.axis("off")


def _colour(a: str, b: str) -> str:
    for side in ("left", "right"):
        if a.startswith(side) and b.startswith(side):
            return SIDES[side]
    return SIDES["middle"]


def _bars(axes: Axes, outcome: Outcome) -> None:
    best = outcome.predictions[:BARS]
    names = [row["label"].replace("_", " ") for row in best]
    colours = [(GREEN if outcome.right else RED) if row["label"] == outcome.label else GREY for row in best]
    axes.barh(range(len(best)), [row["probability"] for row in best], color=colours, height=0.72)
    axes.set_yticks(range(len(best)), names, fontsize=7)
    axes.set_xlim(0, 1)
    axes.set_xticks([])
    axes.invert_yaxis()
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0)
    verdict = outcome.label.replace("_", " ") if outcome.label else "unknown"
    axes.text(
        0.98, 0.06, verdict, transform=axes.transAxes, ha="right", fontsize=9, color=GREEN if outcome.right else RED
    )
