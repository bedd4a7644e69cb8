"""Synthetic lessons: features in which classes differ by their means, in some blocks more than in others."""

from __future__ import annotations

import numpy as np

from training.tuning.tune import TrainingSet

BLOCKS = {"frozen": slice(0, 30), "descriptors": slice(30, 90)}


def training_set(
    per_class: int = 6,
    classes: int = 3,
    *,
    seed: int = 0,
    signal: float = 3.0,
    groups: int = 0,
    background: int = 0,
) -> TrainingSet:
    """Clips of some classes, and background clips that are like none of them."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(classes, 90)) * signal / 3
    truth = np.repeat(np.arange(classes), per_class)
    features = centres[truth] + rng.normal(size=(len(truth), 90))
    labels: list[str | None] = [f"action {label}" for label in truth]
    if background:
        features = np.concatenate([features, 1.5 * rng.normal(size=(background, 90))])
        labels += [None] * background
    count = len(labels)
    named = tuple(f"person {i % groups}" if groups else None for i in range(count))
    ids = tuple(f"clip-{i}" for i in range(count))
    return TrainingSet(features.astype(np.float32), BLOCKS, tuple(labels), named, ids)
