"""People whose classes are told apart by which limb swings, as small as a baseline can learn from."""

from __future__ import annotations

import numpy as np

from skeleton_prompt.clips.normalise import PreparedPerson, windows

LIMBS = ((12, 13), (15, 16), (2, 3))
BODY = np.array(
    [
        (0, 0), (1, 0), (1, 4), (1, 8), (-1, 0), (-1, 4), (-1, 8), (0, -2), (0, -4), (0, -5), (0, -6),
        (-2, -4), (-3, -2), (-3, 0), (2, -4), (3, -2), (3, 0),
    ]
)  # fmt: skip


def person(
    label: int, seed: int, *, depth: bool = False, missing: tuple[int, ...] = (), seconds: float = 2
) -> PreparedPerson:
    """One person; 15 frames a second, so that more than 10 s are several windows."""
    rng = np.random.default_rng(seed)
    N = int(15 * seconds)
    pose = np.zeros((N, 17, 3 if depth else 2), np.float32)
    pose[..., :2] = BODY
    swing = 3 * np.sin(np.linspace(0, 6, N) + rng.uniform(0, 6))
    for joint in LIMBS[label]:
        pose[:, joint, 0] += swing
        pose[:, joint, -1] -= np.abs(swing)
    pose += rng.normal(0, 0.05, pose.shape)
    seen = np.ones((N, 17), np.bool_)
    seen[:, list(missing)] = False
    return windows(pose * seen[..., None], seen, seen.astype(np.float32), 15.0, float(seen.mean()), N)


def class_of(per_class: int, first: int = 0, *, depth: bool = False) -> tuple[list[PreparedPerson], np.ndarray]:
    """People of three classes and their labels."""
    labels = np.repeat(np.arange(3), per_class)
    return [person(int(label), first + i, depth=depth) for i, label in enumerate(labels)], labels
