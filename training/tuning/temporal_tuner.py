"""Tuning the temporal part of one tenant: DD-Net's smallest form on varied copies of its clips.

What the tenant's clips could honestly have been (another cut, a slightly other camera and body, a noisier detector) is
drawn anew at every step, half of the time from a copy that lacks joints, which the lift stands in for; see
``training.baselines.neural``. All folds of a cross-validation and the part that is kept are trained side by side.
Afterwards batch norms are folded into the convolutions, and what is left is what a prompt holds; see
``skeleton_prompt.model.temporal_net``.

Letters: K parts, n people, N classes, F features.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from skeleton_prompt.clips.canonical_skeleton import JOINTS
from skeleton_prompt.clips.normalise import PreparedPerson
from skeleton_prompt.model.engine import Engine
from skeleton_prompt.model.features import Windows
from skeleton_prompt.model.prompt_file import Array
from skeleton_prompt.model.temporal_net import FRAMES, joints_shown, signals, temporal_logits
from skeleton_prompt.model.tensor_shapes import TEMPORAL, VISIBLE_JOINT_INPUTS, temporal_layers
from skeleton_prompt.model.window_batches import window_batches
from training.baselines.neural import CLIP_NORM, Schedule, augment
from training.tuning.joint_dropout import drop_joints
from training.tuning.stacked_nets import StackedTemporalNets

FILTERS = 16
DROPOUT, SPATIAL = 0.2, 0.05
MIN_STEPS = 40
TOLD_EVERY = 20  # steps
TRIED = 3  # steps by which the time of one is told
ASKED_AT_ONCE, WINDOWS_AT_ONCE = 64, 512  # people and windows of one pass
BATCH = 16


def temporal_numbers(classes: int) -> int:
    """How many numbers the temporal part of a prompt holds."""
    return sum(math.prod(shape) + shape[0] for _, shape in temporal_layers(FILTERS, classes)) + JOINTS


@dataclass(frozen=True)
class TemporalConfig:
    """How a temporal part is tuned.

    Attributes:
        steps: Of AdamW; fewer, but at least 40, where the seconds would not do.
        batch: Clips per step and part.
        rate: Peak of the cosine schedule.
        copies: How often each clip is also taught without some of its joints.
    """

    steps: int = 600
    batch: int = 32
    rate: float = 2e-3
    copies: int = 1


class TemporalTuner:
    """Tunes temporal parts on the people of a lesson; see ``training.tuning.ensembling.MemberTuner``.

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
        people: Sequence[PreparedPerson],
        seed: int,
        check: Callable[[], None],
        config: TemporalConfig | None = None,
    ) -> None:
        self._engine, self._people, self._seed, self._check = engine, people, seed, check
        self._config = config or TemporalConfig()

    @cached_property
    def whole(self) -> list[PreparedPerson]:
        """The people as the temporal part sees them; computed at the first use, a few at a time."""
        return self._frontal(self._people)

    @cached_property
    def _missing_joint_features(self) -> list[list[PreparedPerson]]:
        """The people without some of their joints; one list per copy."""
        rng = torch.Generator().manual_seed(self._seed)
        return [
            [without_random_joints(person, rng) for person in self._people] for _ in range(max(1, self._config.copies))
        ]

    @cached_property
    def missing_joint_copies(self) -> list[list[PreparedPerson]]:
        """Those copies with the backbone's lift in the place of the joints that they lack."""
        return [self._frontal(copy) for copy in self._missing_joint_features]

    def fit(
        self,
        lessons: Sequence[np.ndarray],
        labels: np.ndarray,
        classes: int,
        seconds: float,
        tick: Callable[[float], None],
    ) -> list[dict[str, Array]]:
        """Tensors of K temporal parts, each taught on some of the people; see ``ensembling.MemberTuner``."""
        people = [person for copy in (self.whole, *self.missing_joint_copies[: self._config.copies]) for person in copy]
        windows = Windows.of(people)
        owner = np.repeat(np.tile(np.arange(len(self._people)), 1 + self._config.copies), windows.counts)
        pools = [torch.from_numpy(np.flatnonzero(np.isin(owner, rows))) for rows in lessons]
        truth = torch.from_numpy(labels.astype(np.int64)[owner])

        def trained(steps: int, tick: Callable[[float], None]) -> StackedTemporalNets:
            # Dropout draws from the global state: it is seeded here and given back as it was.
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self._seed)
                nets = StackedTemporalNets(len(lessons), FILTERS, classes, dropout=DROPOUT, spatial=SPATIAL)
                self._train(nets, windows, truth, pools, steps, tick)
            return nets.eval()

        trained(1, lambda _: None)  # the first of a process takes a second longer, and would be taken for all
        began = time.monotonic()
        trained(TRIED, lambda _: None)
        allowed = int(TRIED * seconds / max(time.monotonic() - began, 1e-6))
        nets = trained(min(self._config.steps, max(MIN_STEPS, allowed)), tick)
        shown = joints_shown(Windows.of(self._people)).numpy()
        return [
            {**nets.folded(number), TEMPORAL + VISIBLE_JOINT_INPUTS: shown[rows].mean(0)}
            for number, rows in enumerate(lessons)
        ]

    def logits(self, tensors: Mapping[str, Array], rows: np.ndarray) -> Array:
        """Logits ``(len(rows), N)`` on some of the people, the windows of each averaged."""
        return predict(tensors, [self.whole[int(row)] for row in rows])

    def mostly_3d(self) -> bool:
        """Whether most of the people came with depth."""
        return sum(person.has_depth for person in self._people) * 2 > len(self._people)

    def missing_joint_features(self) -> Array:
        """Features ``(n, F)`` of the first copy of the people that lacks joints."""
        return self._engine.features(self._missing_joint_features[0], BATCH, self._check)

    def missing_joint_logits(self, tensors: Mapping[str, Array], rows: np.ndarray) -> Array:
        """Logits ``(len(rows), N)`` on that copy of some of the people."""
        return predict(tensors, [self.missing_joint_copies[0][int(row)] for row in rows])

    def _frontal(self, people: Sequence[PreparedPerson]) -> list[PreparedPerson]:
        return self._engine.frontal(people, BATCH, self._check)

    def _train(
        self,
        nets: StackedTemporalNets,
        windows: Windows,
        truth: Tensor,
        pools: Sequence[Tensor],
        steps: int,
        tick: Callable[[float], None],
    ) -> None:
        """AdamW on batches of each part's own pool of windows; ``Net`` of the baselines, K times at once."""
        config, rng = self._config, torch.Generator().manual_seed(self._seed)
        schedule = Schedule(steps=steps, passes=0, batch=config.batch, rate=config.rate)
        optimiser = torch.optim.AdamW(nets.groups(schedule.decay), lr=schedule.rate, fused=True)
        pace = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: schedule.factor(step, steps))
        draws = [EpochSampler(pool, rng) for pool in pools]
        nets.train()
        for step in range(steps):
            self._check()
            if step % TOLD_EVERY == 0:
                tick(step / steps)
            rows = torch.cat([draw.next(config.batch) for draw in draws])
            batch = augment(windows.select(rows.tolist()), rng, FRAMES)
            points = torch.cat((batch.pose[..., :2], batch.depth[..., None]), -1)
            inputs = (x.reshape(len(pools), config.batch, *x.shape[1:]).transpose(1, 2) for x in signals(points))
            logits = nets(*inputs).flatten(0, 1)
            loss = functional.cross_entropy(logits, truth[rows], label_smoothing=schedule.smoothing) * len(pools)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nets.bound_gradients(CLIP_NORM)
            optimiser.step()
            pace.step()


class EpochSampler:
    """Draws from a pool, all of it in a new order before any of it again.

    Args:
        pool: ``(n,)``.
        rng: Of the orders.
    """

    def __init__(self, pool: Tensor, rng: torch.Generator) -> None:
        self._pool, self._rng = pool, rng
        self._left = pool[:0]

    def next(self, count: int) -> Tensor:
        """The next ``count`` of them."""
        while len(self._left) < count:
            order = torch.randperm(len(self._pool), generator=self._rng)
            self._left = torch.cat((self._left, self._pool[order]))
        drawn, self._left = self._left[:count], self._left[count:]
        return drawn


def without_random_joints(person: PreparedPerson, rng: torch.Generator) -> PreparedPerson:
    """The same person without 1 to 8 of the joints it shows, placed anew on what is left."""
    windows = drop_joints(Windows.of([person]), rng)
    return replace(person, pose=windows.pose.numpy(), depth=windows.depth.numpy())


def predict(tensors: Mapping[str, Array], frontal: Sequence[PreparedPerson]) -> Array:
    """Logits ``(len(frontal), N)`` of a prompt's temporal part on people as ``Engine.frontal`` gives them."""
    p = {name.removeprefix(TEMPORAL): torch.from_numpy(value) for name, value in tensors.items()}
    parts = []
    with torch.inference_mode():
        for batch in window_batches(frontal, ASKED_AT_ONCE, WINDOWS_AT_ONCE):
            windows = Windows.of(batch)
            parts.append(windows.average(temporal_logits(p, windows)))
    return torch.cat(parts).numpy()
