"""How the neural baselines are trained: the loop, the schedule, and the augmentation that they share.

The augmentation is what a taught clip honestly could have been: another cut in time, a slightly other camera and body,
a noisier detector. No clip is mirrored: left and right may be different classes.

Letters: W windows, B windows of a batch, T frames (64), J joints (17), N classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from skeleton_prompt.clips.normalise import PreparedPerson
from skeleton_prompt.model.features import Windows
from training.baselines.interface import Logits, Tick, checked
from training.tuning.joint_dropout import drop_joints as without_some

WARM_UP = 0.1  # of the steps
ASKED_AT_ONCE = 64
CLIP_NORM = 1.0


@dataclass(frozen=True)
class Schedule:
    """How long and how fast a net is trained: AdamW, a short warm-up, then a cosine to zero.

    Attributes:
        steps: At least so many,
        passes: and at least so many times over the windows.
        batch: Windows of a step.
        rate: Highest learning rate.
        decay: Weight decay.
        smoothing: Of the labels.
    """

    steps: int
    passes: int
    batch: int = 32
    rate: float = 1e-3
    decay: float = 0.01
    smoothing: float = 0.1

    def length(self, count: int) -> int:
        """Steps for ``count`` windows."""
        return max(self.steps, math.ceil(self.passes * count / self.batch))

    def factor(self, step: int, steps: int) -> float:
        """The share of the highest learning rate at a step."""
        warm = max(1, round(WARM_UP * steps))
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


class Build(Protocol):
    """Makes an untrained net; called with the random state already seeded."""

    def __call__(self, windows: Windows, labels: np.ndarray, classes: int, /) -> nn.Module:
        """A net from ``Windows`` to logits ``(W, N)``; ``labels`` ``(W,)`` are those of the windows."""


@dataclass(frozen=True, eq=False)
class FittedNet:
    """A trained net.

    Attributes:
        parameters: Those that training set.
        net: From ``Windows`` to logits.
        known: ``(N,)`` bool, classes that were taught.
    """

    parameters: int
    net: nn.Module = field(repr=False)
    known: np.ndarray = field(repr=False)

    @torch.inference_mode()
    def logits(self, people: Sequence[PreparedPerson]) -> Logits:
        """Logits ``(n, N)`` of people, averaged over windows; classes without clips are never predicted."""
        parts = []
        for start in range(0, len(people), ASKED_AT_ONCE):
            windows = Windows.of(people[start : start + ASKED_AT_ONCE])
            parts.append(windows.average(self.net(windows)))
        scores: Logits = torch.cat(parts).numpy()
        scores[:, ~self.known] = scores.min(1, keepdims=True) - 1
        return scores


@dataclass(frozen=True)
class Net:
    """A baseline that trains a net end to end.

    Attributes:
        name: As tables show it.
        build: Makes the net.
        schedule: See ``Schedule``.
        augment: Whether clips are varied; see ``augment``.
        groups: Splits the net's parameters into groups with a factor on their learning rate each; None is one group.
    """

    name: str
    build: Build
    schedule: Schedule
    augment: bool = True
    groups: Callable[[nn.Module], list[tuple[float, list[nn.Parameter]]]] | None = None

    def fit(
        self,
        people: Sequence[PreparedPerson],
        labels: np.ndarray,
        classes: int,
        *,
        seed: int,
        drop_joints: bool = False,
        tick: Tick | None = None,
    ) -> FittedNet:
        """Train the net; see ``interface.Baseline``."""
        truth = checked(people, labels, classes)
        windows = Windows.of(people)
        each = np.repeat(truth, windows.counts)
        # Dropout draws from the global state: it is seeded here and given back as it was.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = self.build(windows, each, classes)
            self._train(net, windows, torch.from_numpy(each), seed, drop_joints, tick)
        parameters = sum(value.numel() for value in net.parameters() if value.requires_grad)
        known = np.bincount(truth, minlength=classes) > 0
        return FittedNet(parameters, net.eval().requires_grad_(False), known)

    def _train(
        self, net: nn.Module, windows: Windows, labels: Tensor, seed: int, dropped: bool, tick: Tick | None
    ) -> None:
        schedule, rng = self.schedule, torch.Generator().manual_seed(seed)
        steps = schedule.length(len(labels))
        optimiser = torch.optim.AdamW(_groups(net, self.groups, schedule), lr=schedule.rate, fused=True)
        pace = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: schedule.factor(step, steps))
        net.train()
        order = torch.empty(0, dtype=torch.long)
        for step in range(steps):
            while len(order) < schedule.batch:
                order = torch.cat((order, torch.randperm(len(labels), generator=rng)))
            rows, order = order[: schedule.batch], order[schedule.batch :]
            batch = windows.select(rows.tolist())
            if dropped:
                batch = half_without(batch, rng)
            if self.augment:
                batch = augment(batch, rng)
            loss = functional.cross_entropy(net(batch), labels[rows], label_smoothing=schedule.smoothing)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(net.parameters(), CLIP_NORM)
            optimiser.step()
            pace.step()
            if tick is not None:
                tick((step + 1) / steps, f"step {step + 1} of {steps}, loss {float(loss.detach()):.3f}")


def _groups(
    net: nn.Module, groups: Callable[[nn.Module], list[tuple[float, list[nn.Parameter]]]] | None, schedule: Schedule
) -> list[dict[str, object]]:
    """Parameter groups; norms, biases and other vectors are not decayed."""
    parts = groups(net) if groups is not None else [(1.0, list(net.parameters()))]
    return [
        {
            "params": [p for p in values if p.requires_grad and (p.ndim > 1) == matrix],
            "lr": schedule.rate * factor,
            "weight_decay": schedule.decay if matrix else 0.0,
        }
        for factor, values in parts
        for matrix in (True, False)
    ]


def half_without(windows: Windows, rng: torch.Generator) -> Windows:
    """Half of the windows, by chance, without 1 to 8 of their joints."""
    chosen = torch.nonzero(torch.rand(len(windows.pose), generator=rng) < 0.5)[:, 0]
    less = without_some(windows.select(chosen.tolist()), rng)
    pose, depth = windows.pose.clone(), windows.depth.clone()
    pose[chosen], depth[chosen] = less.pose, less.depth
    return Windows(pose, depth, windows.has_depth, windows.log_seconds, windows.counts)


def augment(windows: Windows, rng: torch.Generator, frames: int | None = None) -> Windows:
    """The same motions cut, seen and measured a little differently; a joint that was not seen stays unseen.

    Args:
        windows: The motions.
        rng: Draws what is different.
        frames: How many frames the result has; as many as there were if not said.
    """
    B, T = windows.pose.shape[:2]

    def between(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(B, *shape, generator=rng)

    share = between(0.75, 1.0)
    start = (1 - share) * torch.rand(B, generator=rng)
    index = (start[:, None] + share[:, None] * torch.linspace(0, 1, frames or T)) * (T - 1)
    points, seen = resampled(torch.cat((windows.pose[..., :2], windows.depth[..., None]), -1), windows.pose, index)
    turn = between(-0.35, 0.35) * windows.has_depth  # 20 degrees about the vertical, where there is a depth
    tilt = between(-0.09, 0.09)  # 5 degrees of the camera
    points = _turned(_turned(points, turn, 0, 2), tilt, 0, 1)
    points = points * between(0.9, 1.1, 1, 1, 1) * between(0.95, 1.05, 1, 1, 3) + between(-0.05, 0.05, 1, 1, 3)
    noise = torch.randn(points.shape, generator=rng) * between(0, 0.02, 1, 1, 1)
    points = (points + noise) * seen[..., None]
    points[..., 2] *= windows.has_depth[:, None, None]
    return Windows(
        torch.cat((points[..., :2], seen[..., None]), -1),
        points[..., 2],
        windows.has_depth,
        windows.log_seconds + share.log(),
        windows.counts,
    )


def resampled(points: Tensor, pose: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """Points ``(B, T, J, C)`` at fractional frames ``index`` ``(B, K)``, and whether both neighbours are seen."""
    low = index.floor().long().clamp(max=points.shape[1] - 1)
    high = (low + 1).clamp(max=points.shape[1] - 1)
    part = (index - low)[..., None, None]
    rows = torch.arange(len(points))[:, None]
    visible = pose[..., 2] > 0
    seen = visible[rows, low] & (visible[rows, high] | (part[..., 0] == 0))
    between = points[rows, low] * (1 - part) + points[rows, high] * part
    return between * seen[..., None], seen.to(points.dtype)


def _turned(points: Tensor, angle: Tensor, a: int, b: int) -> Tensor:
    """Points ``(B, T, J, 3)`` turned by ``(B,)`` radians in the plane of two of their coordinates."""
    cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None]
    result = points.clone()
    result[..., a] = cos * points[..., a] - sin * points[..., b]
    result[..., b] = sin * points[..., a] + cos * points[..., b]
    return result
