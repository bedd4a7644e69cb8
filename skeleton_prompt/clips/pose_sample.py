"""Some frames of a clip in canonical joints, and the measures of a body that warnings are made of.

Letters: F frames of all people, J canonical joints (17), D dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from skeleton_prompt.clips.canonical_skeleton import CANONICAL, CANONICAL_EDGES

Array = np.ndarray[Any, np.dtype[np.floating[Any]]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]

JOINT = {name: index for index, name in enumerate(CANONICAL)}
FROM, TO = np.array(CANONICAL_EDGES).T
BONE = {(CANONICAL[a], CANONICAL[b]): index for index, (a, b) in enumerate(CANONICAL_EDGES)}
_LEG_BONES = ((BONE["lhip", "lknee"], BONE["rhip", "rknee"]), (BONE["lknee", "lankle"], BONE["rknee", "rankle"]))
LOPSIDED_RATIO = 3.0


@dataclass(frozen=True)
class PoseSample:
    """Some frames of a clip: (F, J, D) positions, (F, J) seen, the extent of the person, and bones in its unit."""

    positions: Array
    seen: Mask
    extent: float
    bones: Array  # (16,) mean length over the extent of each canonical bone
    shown: Mask  # (16,) bones that are ever seen whole

    @classmethod
    def of(cls, positions: Array, seen: Mask) -> PoseSample:
        """Measure (F, J, D) positions of which (F, J) are seen, at least one in every frame."""
        low = np.where(seen[..., None], positions, np.inf).min(1)
        high = np.where(seen[..., None], positions, -np.inf).max(1)
        extent = max(median((high - low).max(-1)), 1e-9)
        both = seen[:, FROM] & seen[:, TO]
        steps = positions[:, FROM] - positions[:, TO]
        lengths = np.sqrt((steps * steps).sum(-1)) * both
        counts = both.sum(0)
        return cls(positions, seen, extent, lengths.sum(0) / np.maximum(counts, 1) / extent, counts > 0)

    def lopsided(self) -> float:
        """How much the left and the right bones of the legs differ; 0 where the shorter is a third of the longer."""
        worst = 0.0
        for left, right in _LEG_BONES:
            if self.shown[left] and self.shown[right]:
                low, high = sorted((float(self.bones[left]), float(self.bones[right])))
                if high > LOPSIDED_RATIO * low:
                    worst = max(worst, high - low)
        return worst

    def mean_bone(self) -> float:
        """Mean over the bones that are seen; 0 with fewer than five, which tell nothing."""
        return float(self.bones[self.shown].mean()) if self.shown.sum() >= 5 else 0.0


def median(values: Array) -> float:
    """The median of (N,) numbers, N at least 1 and none NaN; ``np.median`` takes ten times as long on so few."""
    ordered = np.sort(values)
    half = len(ordered) // 2
    return float(ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2)
