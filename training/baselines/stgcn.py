"""ST-GCN++ (Duan et al. 2022, "PYSKL: Towards Good Practices for Skeleton Action Recognition"), joint stream.

Ten blocks of a graph convolution whose adjacency is learned, with a residual, and a temporal convolution of six
branches. Written from the paper. With the paper's 64 channels it has 1.38 M parameters here (1.39 M there, with 25
joints), but on one core a pass over 135 clips then takes 20 seconds: the form that is used has 32 channels, 0.36 M
parameters, and reads every second frame.

Letters: B clips, C channels, T frames, J joints, A subsets of the graph (3), N classes.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from skeleton_prompt.clips.canonical_skeleton import CANONICAL_EDGES, JOINTS
from skeleton_prompt.model.features import Windows
from training.baselines.neural import Net, Schedule

BLOCKS = 10
WIDER = (5, 8)  # blocks that double the channels and halve the frames, counted from 1
CHANNELS = 32
EVERY = 2
DILATIONS = (1, 2, 3, 4)


def graph() -> Tensor:
    """``(3, J, J)``: each joint itself, towards the root and away from it, columns of sum 1."""
    parts = torch.zeros(3, JOINTS, JOINTS)
    parts[0] = torch.eye(JOINTS)
    for parent, child in CANONICAL_EDGES:
        parts[1, child, parent] = 1
        parts[2, parent, child] = 1
    sums = parts.sum(1, keepdim=True)
    return parts / sums.clamp(min=1)


class GraphConvolution(nn.Module):
    """Graph convolution that learns its adjacency from the body's, with batch norm and a residual."""

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        self.adjacency = nn.Parameter(graph())
        self.conv = nn.Conv2d(inner, outer * len(self.adjacency), 1)
        self.norm = nn.BatchNorm2d(outer)
        self.residual: nn.Module = nn.Identity()
        if inner != outer:
            self.residual = nn.Sequential(nn.Conv2d(inner, outer, 1), nn.BatchNorm2d(outer))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inner, T, J)`` to ``(B, outer, T, J)``."""
        parts = self.conv(x).unflatten(1, (len(self.adjacency), -1))
        mixed = torch.einsum("bactj,ajk->bctk", parts, self.adjacency)
        return functional.relu(self.norm(mixed) + self.residual(x))


class TemporalConvolution(nn.Module):
    """Six branches over time: four dilations, a maximum and a plain projection; then mixed."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        each = channels // (len(DILATIONS) + 2)
        self.widths = [channels - each * (len(DILATIONS) + 1)] + [each] * (len(DILATIONS) + 1)
        # The six projections to the branches read the same input: as one they are the same numbers, in a third of
        # the time.
        self.squeeze = nn.Conv2d(channels, channels, 1)
        self.squeeze_norm = nn.BatchNorm2d(channels - each)
        self.dilated = nn.ModuleList(
            nn.Conv2d(width, width, (3, 1), (stride, 1), (dilation, 0), (dilation, 1))
            for width, dilation in zip(self.widths, DILATIONS, strict=False)
        )
        self.pool = nn.MaxPool2d((3, 1), (stride, 1), (1, 0))
        self.stride = stride
        self.mix = nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(channels, channels, 1))
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, T, J)`` to ``(B, C, T / stride, J)``."""
        squeezed, plain = torch.split(self.squeeze(x), [sum(self.widths[:-1]), self.widths[-1]], 1)
        *parts, most = torch.split(functional.relu(self.squeeze_norm(squeezed)), self.widths[:-1], 1)
        branches = [one(part) for one, part in zip(self.dilated, parts, strict=True)]
        joined = torch.cat((*branches, self.pool(most), plain[:, :, :: self.stride]), 1)
        return self.norm(self.mix(joined))  # type: ignore[no-any-return]


class Block(nn.Module):
    """Space, then time, with a residual around both."""

    def __init__(self, inner: int, outer: int, stride: int, *, residual: bool) -> None:
        super().__init__()
        self.space = GraphConvolution(inner, outer)
        self.time = TemporalConvolution(outer, stride)
        self.residual: nn.Module | None = nn.Identity() if residual else None
        if residual and (inner != outer or stride > 1):
            self.residual = nn.Sequential(nn.Conv2d(inner, outer, 1, (stride, 1)), nn.BatchNorm2d(outer))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inner, T, J)`` to ``(B, outer, T / stride, J)``."""
        y = self.time(self.space(x))
        return functional.relu(y if self.residual is None else y + self.residual(x))


class STGCN(nn.Module):
    """The network.

    Args:
        depth: Whether a measured depth is the third coordinate; confidence is the last in any case.
        classes: N.
        channels: Of the first blocks; 64 in the paper.
        every: How many frames further the next is that is read.
    """

    def __init__(self, depth: bool, classes: int, channels: int = CHANNELS, every: int = EVERY) -> None:
        super().__init__()
        self.depth = depth
        self.every = every
        inner = 4 if depth else 3
        self.norm = nn.BatchNorm1d(inner * JOINTS)
        blocks: list[nn.Module] = []
        for number in range(1, BLOCKS + 1):
            outer = channels * 2 ** sum(number >= wider for wider in WIDER)
            blocks.append(Block(inner, outer, 2 if number in WIDER else 1, residual=number > 1))
            inner = outer
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(inner, classes)

    def forward(self, windows: Windows) -> Tensor:
        """Logits ``(W, N)`` of windows."""
        pose = windows.pose
        x = torch.cat((pose[..., :2], windows.depth[..., None], pose[..., 2:]), -1) if self.depth else pose
        x = x[:, :: self.every]
        B, T, J, C = x.shape
        x = self.norm(x.permute(0, 2, 3, 1).reshape(B, J * C, T))
        x = x.view(B, J, C, T).permute(0, 2, 3, 1).contiguous()
        return self.head(self.blocks(x).mean((2, 3)))  # type: ignore[no-any-return]


def build(
    windows: Windows, _labels: np.ndarray, classes: int, *, channels: int = CHANNELS, every: int = EVERY
) -> STGCN:
    """The net for what is taught: with depth where any clip has it."""
    return STGCN(bool(windows.has_depth.any()), classes, channels, every)


# Not searched: what about a minute of one core should allow for 135 clips (0.9 s for 32 clips); see docs/results.md.
SCHEDULE = Schedule(steps=150, passes=12, batch=16, rate=2e-3, decay=0.02)


def stgcn(name: str) -> Net:
    """The baseline."""
    return Net(name, build, SCHEDULE)
