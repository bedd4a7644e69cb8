"""A labelled set as small as an evaluation can run on, in JHMDB's form, and configurations for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from skeleton_prompt.clips.layouts import get_layout
from tests.support.recordings import STANDING
from training.evaluation.config import EvaluationConfig, configure

CLASSES, PER_CLASS = 4, 9
RIDGE = "ridge on stream descriptors"


def write_set(folder: Path) -> Path:
    """Write ``jhmdb14``: 2-D, no subjects; each class moves other joints, and the last clip shows nothing."""
    home = folder / "jhmdb14"
    home.mkdir(parents=True)
    rng = np.random.default_rng(0)
    joints = len(get_layout("jhmdb15").joints)
    frames, labels = [], []
    for clip in range(CLASSES * PER_CLASS):
        label = clip % CLASSES
        points = np.repeat(STANDING[None, :joints].astype(float), 12, axis=0)
        points[:, 3 * label + 3 : 3 * label + 6, 0] += 25 * np.sin(np.linspace(0, 6, 12))[:, None]
        frames.append(points + rng.normal(0, 0.3, points.shape))
        labels.append(label)
    frames[-1][:] = 0.0
    sides = np.array(["train"] * 20 + ["test"] * 16)
    np.savez(
        home / "data.npz",
        keypoints=np.concatenate(frames).astype(np.float32),
        offsets=np.arange(0, 12 * len(frames) + 1, 12),
        labels=np.array(labels),
        label_names=np.array(["one", "two", "three", "four"]),
        split1=sides,
        split2=np.roll(sides, 4),
        split3=np.roll(sides, 8),
    )
    return folder


def config(folder: Path, **changes: Any) -> EvaluationConfig:
    """A configuration for the set: ours and one peer, one seed, unless said otherwise."""
    options: dict[str, Any] = {"sets": "jhmdb14", "seeds": "0", "methods": f"Skeleton-Prompt,{RIDGE}"}
    return configure("quick", folder=folder, cache=folder / "cache", **(options | changes))
