"""Tuning the temporal part of one tenant: DD-Net's smallest form on varied copies of its clips.

What the tenant's clips could honestly have been (another cut, a slightly other camera and body, a noisier detector) is
drawn anew at every step, half of the time from a copy that lacks joints, which the lift stands in for; see
``training.baselines.neural``, whose loop this is. Afterwards batch norms are folded into the convolutions, and what is
left is what a prompt holds; see ``skeleton_prompt.temporal``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from skeleton_prompt.bundle import Array
from skeleton_prompt.engine import Engine
from skeleton_prompt.features import Windows
from skeleton_prompt.normalise import Prepared
from skeleton_prompt.temporal import COORDINATES, JOINTS, PREFIX, layers, temporal_logits
from training.baselines.ddnet import Convolution, DDNet
from training.baselines.neural import Net, Schedule
from training.baselines.occlusion import drop_joints

FILTERS = 16
DROPOUT, SPATIAL = 0.2, 0.05
MIN_STEPS = 40
ASKED_AT_ONCE = 64
BATCH = 16


@dataclass(frozen=True)
class TemporalConfig:
    """How a temporal part is tuned.

    Attributes:
        steps: Of AdamW; fewer, but at least 40, where the seconds would not do.
        batch: Clips per step.
        rate: Peak of the cosine schedule.
        copies: How often each clip is also taught without some of its joints.
    """

    steps: int = 300
    batch: int = 32
    rate: float = 2e-3
    copies: int = 1


class TemporalTuner:
    """Tunes temporal parts on the people of a lesson; see ``training.tune.PartTuner``.

    Args:
        engine: Whose backbone lifts the people.
        people: All people of the lesson, in its order.
        seed: All randomness follows from it.
        check: Raises if the work should stop; asked after every step.
        config: How.
    """

    def __init__(
        self,
        engine: Engine,
        people: Sequence[Prepared],
        seed: int,
        check: Callable[[], None],
        config: TemporalConfig | None = None,
    ) -> None:
        self._engine, self._people, self._seed, self._check = engine, people, seed, check
        self._config = config or TemporalConfig()

    @cached_property
    def whole(self) -> list[Prepared]:
        """The people as the temporal part sees them; computed at the first use, a few at a time."""
        return self._frontal(self._people)

    @cached_property
    def lacking(self) -> list[list[Prepared]]:
        """The same people without some of their joints, which the backbone's lift stands in for; one list per copy."""
        rng = torch.Generator().manual_seed(self._seed)
        return [
            self._frontal([lacks_joints(person, rng) for person in self._people]) for _ in range(self._config.copies)
        ]

    def fit(self, rows: np.ndarray, labels: np.ndarray, classes: int, seconds: float) -> dict[str, Array]:
        """Tensors of a temporal part taught on some of the people."""
        people = [some[int(row)] for some in (self.whole, *self.lacking) for row in rows]
        labels = np.tile(labels, 1 + self._config.copies)
        steps = self._affordable(people, labels, classes, seconds)
        net = Net("temporal", build, Schedule(steps=steps, passes=0, batch=self._config.batch, rate=self._config.rate))
        fitted = net.fit(people, labels, classes, seed=self._seed, tick=lambda _share, _message: self._check())
        return folded(cast(DDNet, fitted.net))

    def logits(self, tensors: Mapping[str, Array], rows: np.ndarray) -> Array:
        """Logits ``(len(rows), N)`` on some of the people, the windows of each averaged."""
        return logits_of(tensors, [self.whole[int(row)] for row in rows])

    def _frontal(self, people: Sequence[Prepared]) -> list[Prepared]:
        found = []
        for start in range(0, len(people), BATCH):
            self._check()
            found += self._engine.frontal(people[start : start + BATCH], BATCH)
        return found

    def _affordable(self, people: Sequence[Prepared], labels: np.ndarray, classes: int, seconds: float) -> int:
        """How many steps the seconds allow, by the clock of two steps; the same number on any machine fast enough."""
        trial = Net("temporal", build, Schedule(steps=2, passes=0, batch=self._config.batch))
        began = time.monotonic()
        trial.fit(people, labels, classes, seed=self._seed)
        allowed = int(2 * seconds / max(time.monotonic() - began, 1e-6))
        return min(self._config.steps, max(MIN_STEPS, allowed))


def build(_windows: Windows, _labels: np.ndarray, classes: int) -> DDNet:
    """An untrained temporal part."""
    return DDNet(JOINTS, COORDINATES, classes, FILTERS, dropout=DROPOUT, spatial=SPATIAL)


def lacks_joints(person: Prepared, rng: torch.Generator) -> Prepared:
    """The same person without 1 to 8 of the joints it shows, placed anew on what is left."""
    windows = drop_joints(Windows.of([person]), rng)
    return replace(person, pose=windows.pose.numpy(), depth=windows.depth.numpy())


def logits_of(tensors: Mapping[str, Array], frontal: Sequence[Prepared]) -> Array:
    """Logits ``(len(frontal), N)`` of a prompt's temporal part on people as ``Engine.frontal`` gives them."""
    p = {name.removeprefix(PREFIX): torch.from_numpy(value) for name, value in tensors.items()}
    parts = []
    with torch.inference_mode():
        for start in range(0, len(frontal), ASKED_AT_ONCE):
            windows = Windows.of(frontal[start : start + ASKED_AT_ONCE])
            parts.append(windows.average(temporal_logits(p, windows)))
    return torch.cat(parts).numpy()


def folded(net: DDNet) -> dict[str, Array]:
    """The tensors of a prompt's temporal part: convolutions and linear layers with their batch norms folded in."""
    pairs = [
        (module.conv.weight, module.norm)
        for part in (net.distance, net.slow, net.fast, net.trunk)
        for module in part
        if isinstance(module, Convolution)
    ]
    tensors: list[tuple[Tensor, Tensor]] = [fold(weight, norm) for weight, norm in pairs]
    *hidden, last = [module for module in net.head if isinstance(module, nn.Linear)]
    norms = [module for module in net.head if isinstance(module, nn.BatchNorm1d)]
    tensors += [fold(linear.weight, norm) for linear, norm in zip(hidden, norms, strict=True)]
    tensors.append((last.weight, last.bias))
    named = zip(layers(FILTERS, last.out_features), tensors, strict=True)
    return {
        f"{PREFIX}{name}.{what}": value.detach().numpy().copy()
        for (name, _), pair in named
        for what, value in zip(("weight", "bias"), pair, strict=True)
    }


def fold(weight: Tensor, norm: nn.BatchNorm1d) -> tuple[Tensor, Tensor]:
    """Weight and bias that do what a weight without bias and a batch norm behind it do."""
    mean, variance = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
    gain = norm.weight / (variance + norm.eps).sqrt()
    return weight * gain.view(-1, *[1] * (weight.ndim - 1)), norm.bias - mean * gain
