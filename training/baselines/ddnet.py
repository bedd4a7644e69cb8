"""DD-Net: double features, double motion.

From Yang et al. 2019, "Make Skeleton-based Action Recognition Model Smaller, Faster and Better". Two kinds of features,
the distances between all joints (JCD) and the motion of each, the motion at two speeds, go through one-dimensional
convolutions over 32 frames. Written from the paper; with 15 joints in 2-D and 21 classes the form with 64 filters has
1,794,837 trainable numbers, as the authors' own printout says.

Letters: B clips, F frames (32), J joints, C coordinates, M distances (J·(J-1)/2), N classes.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from skeleton_prompt.model.features import Windows
from skeleton_prompt.model.temporal_net import SLOPE, signals, windows_at
from training.baselines.neural import Net, Schedule

FILTERS = 64


class Convolution(nn.Module):
    """Convolution over time without bias, batch norm, leaky ReLU, and optional spatial dropout; ``(B, C, F)``."""

    def __init__(self, inner: int, outer: int, kernel: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.conv = nn.Conv1d(inner, outer, kernel, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm1d(outer, eps=1e-3)
        self.dropout = nn.Dropout1d(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inner, F)`` to ``(B, outer, F)``."""
        return self.dropout(functional.leaky_relu(self.norm(self.conv(x)), SLOPE))  # type: ignore[no-any-return]


def branch(inner: int, filters: int, spatial: float, *, pooled: bool) -> nn.Sequential:
    """What each of the three kinds of features passes first; ``pooled`` halves the frames."""
    layers: list[nn.Module] = [
        Convolution(inner, 2 * filters, 1, dropout=spatial),
        Convolution(2 * filters, filters, 3, dropout=spatial),
        Convolution(filters, filters, 1),
    ]
    return nn.Sequential(*layers, *([nn.MaxPool1d(2)] if pooled else []), nn.Dropout1d(spatial))


class DDNet(nn.Module):
    """The network.

    Args:
        joints: J.
        coordinates: C.
        classes: N.
        filters: 64 for the largest of the paper's three forms, 16 for the smallest.
        dropout: Between the layers of the head.
        spatial: Share of whole channels dropped elsewhere.
    """

    def __init__(
        self,
        joints: int,
        coordinates: int,
        classes: int,
        filters: int = FILTERS,
        *,
        dropout: float = 0.5,
        spatial: float = 0.1,
    ) -> None:
        super().__init__()
        self.coordinates = coordinates
        self.distance = branch(joints * (joints - 1) // 2, filters, spatial, pooled=True)
        self.slow = branch(joints * coordinates, filters, spatial, pooled=True)
        self.fast = branch(joints * coordinates, filters, spatial, pooled=False)
        trunk: list[nn.Module] = []
        inner = 3 * filters
        for factor in (2, 4, 8):
            trunk += [Convolution(inner, factor * filters, 3), Convolution(factor * filters, factor * filters, 3)]
            trunk += [nn.MaxPool1d(2)] if factor < 8 else []
            trunk += [nn.Dropout1d(spatial)]
            inner = factor * filters
        self.trunk = nn.Sequential(*trunk)
        head: list[nn.Module] = []
        for width in (inner, 128):
            head += [nn.Linear(width, 128, bias=False), nn.BatchNorm1d(128, eps=1e-3), nn.LeakyReLU(SLOPE)]
            head += [nn.Dropout(dropout)]
        self.head = nn.Sequential(*head, nn.Linear(128, classes))

    def forward_points(self, points: Tensor, seen: Tensor) -> Tensor:
        """Logits ``(B, N)`` of points ``(B, F, J, C)`` and which are seen ``(B, F, J)``, 0 or 1."""
        distance, slow, fast = signals(points, seen)
        x = torch.cat((self.distance(distance), self.slow(slow), self.fast(fast)), 1)
        return self.head(self.trunk(x).amax(2))  # type: ignore[no-any-return]

    def forward(self, windows: Windows) -> Tensor:
        """Logits ``(W, N)`` of windows, whose 64 frames become 32."""
        return self.forward_points(*windows_at(windows, self.coordinates))


def build(windows: Windows, _labels: np.ndarray, classes: int, *, filters: int = FILTERS) -> DDNet:
    """The net for what is taught: 3-D where any clip is."""
    return DDNet(windows.pose.shape[2], 3 if bool(windows.has_depth.any()) else 2, classes, filters)


# Not searched: one setting, 300 steps at this rate, was tried on held-out training clips (see docs/results.md).
SCHEDULE = Schedule(steps=400, passes=40, batch=32, rate=2e-3, decay=0.01)


def ddnet(name: str) -> Net:
    """The baseline."""
    return Net(name, build, SCHEDULE)
