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

from skeleton_prompt.features import Windows
from training.baselines.neural import Net, Schedule, resampled

FRAMES = 32
FILTERS = 64
SLOPE = 0.2


class Convolution(nn.Module):
    """Convolution over time without bias, batch norm, leaky ReLU, and by wish spatial dropout; ``(B, C, F)``."""

    def __init__(self, inner: int, outer: int, kernel: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.conv = nn.Conv1d(inner, outer, kernel, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm1d(outer, eps=1e-3)
        self.dropout = nn.Dropout1d(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inner, F)`` to ``(B, outer, F)``."""
        return self.dropout(functional.leaky_relu(self.norm(self.conv(x)), SLOPE))  # type: ignore[no-any-return]


def branch(inner: int, filters: int, *, pooled: bool) -> nn.Sequential:
    """What each of the three kinds of features passes first; ``pooled`` halves the frames."""
    layers: list[nn.Module] = [
        Convolution(inner, 2 * filters, 1, dropout=0.1),
        Convolution(2 * filters, filters, 3, dropout=0.1),
        Convolution(filters, filters, 1),
    ]
    return nn.Sequential(*layers, *([nn.MaxPool1d(2)] if pooled else []), nn.Dropout1d(0.1))


class DDNet(nn.Module):
    """The network.

    Args:
        joints: J.
        coordinates: C.
        classes: N.
        filters: 64 for the largest of the paper's three forms.
    """

    def __init__(self, joints: int, coordinates: int, classes: int, filters: int = FILTERS) -> None:
        super().__init__()
        self.coordinates = coordinates
        self.pairs = torch.triu_indices(joints, joints, 1)
        self.distance = branch(self.pairs.shape[1], filters, pooled=True)
        self.slow = branch(joints * coordinates, filters, pooled=True)
        self.fast = branch(joints * coordinates, filters, pooled=False)
        trunk: list[nn.Module] = []
        inner = 3 * filters
        for factor in (2, 4, 8):
            trunk += [Convolution(inner, factor * filters, 3), Convolution(factor * filters, factor * filters, 3)]
            trunk += [nn.MaxPool1d(2)] if factor < 8 else []
            trunk += [nn.Dropout1d(0.1)]
            inner = factor * filters
        self.trunk = nn.Sequential(*trunk)
        head: list[nn.Module] = []
        for width in (inner, 128):
            head += [nn.Linear(width, 128, bias=False), nn.BatchNorm1d(128, eps=1e-3), nn.LeakyReLU(SLOPE)]
            head += [nn.Dropout(0.5)]
        self.head = nn.Sequential(*head, nn.Linear(128, classes))

    def features(self, points: Tensor, seen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """JCD ``(B, M, F)``, slow motion ``(B, J·C, F)`` and fast motion ``(B, J·C, F/2)`` of points.

        Distances are taken relative to their mean over the clip, as the authors do; one to a joint that is not seen
        is 0, which is that mean, and so is a motion from or to it.
        """
        a, b = self.pairs
        both = seen[:, :, a] * seen[:, :, b]
        lengths = (points[:, :, a] - points[:, :, b]).norm(dim=-1) * both
        mean = (lengths.sum((1, 2)) / both.sum((1, 2)).clamp(min=1)).clamp(min=1e-4)[:, None, None]
        return ((lengths / mean - 1) * both).transpose(1, 2), motion(points, seen), motion(points[:, ::2], seen[:, ::2])

    def forward_points(self, points: Tensor, seen: Tensor) -> Tensor:
        """Logits ``(B, N)`` of points ``(B, F, J, C)`` and which are seen ``(B, F, J)``, 0 or 1."""
        distance, slow, fast = self.features(points, seen)
        x = torch.cat((self.distance(distance), self.slow(slow), self.fast(fast)), 1)
        return self.head(self.trunk(x).amax(2))  # type: ignore[no-any-return]

    def forward(self, windows: Windows) -> Tensor:
        """Logits ``(W, N)`` of windows, whose 64 frames become 32."""
        points = torch.cat((windows.pose[..., :2], windows.depth[..., None]), -1)[..., : self.coordinates]
        index = torch.linspace(0, points.shape[1] - 1, FRAMES).expand(len(points), -1)
        return self.forward_points(*resampled(points, windows.pose, index))


def motion(points: Tensor, seen: Tensor) -> Tensor:
    """Differences of neighbouring frames ``(B, F - 1, J, C)`` stretched back to F frames: ``(B, J·C, F)``."""
    F = points.shape[1]
    steps = points.diff(dim=1) * (seen[:, 1:] * seen[:, :-1])[..., None]
    return functional.interpolate(steps.flatten(2).transpose(1, 2), size=F, mode="linear", align_corners=False)


def build(windows: Windows, _labels: np.ndarray, classes: int, *, filters: int = FILTERS) -> DDNet:
    """The net for what is taught: 3-D where any clip is."""
    return DDNet(windows.pose.shape[2], 3 if bool(windows.has_depth.any()) else 2, classes, filters)


# Not searched: one setting, 300 steps at this rate, was tried on held-out training clips (see docs/results.md).
SCHEDULE = Schedule(steps=400, passes=40, batch=32, rate=2e-3, decay=0.01)


def ddnet(name: str) -> Net:
    """The baseline."""
    return Net(name, build, SCHEDULE)
