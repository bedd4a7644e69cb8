"""The prompt module that all tenants start from, meta-trained on the motion corpus in episodes.

Every motion of a batch is a class with one shot; another view of it (camera, speed, body, missing joints) is to be told
from all others. The backbone stays frozen and unprompted: queries and fusion learn what makes two performances the same
motion, and a tenant's own tuning adds prompts and classes.

Letters: n motions, v views of each, E width of the fusion.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from skeleton_prompt.model.engine import FrozenFeatures
from skeleton_prompt.model.features import Windows
from skeleton_prompt.model.prompt_module import initial, shared_names
from training.pretraining.trainer import contrast_loss
from training.tuning.prompt_module_tuner import embed

log = logging.getLogger(__name__)

PROMPTS = ("generator.mix", "generator.mix_bias", "generator.keys", "generator.values")  # left to a tenant's own tuning


@dataclass(frozen=True)
class MetaTrainConfig:
    """How the module is meta-trained.

    Attributes:
        motions: Of each kind of input, kept in memory: about 0.8 MB each for ``edge``.
        steps: Optimiser steps; 0 trains none.
        batch: Motions per step, the classes of an episode.
        learning_rate: Peak of the cosine schedule.
        weight_decay: Of AdamW.
        temperature: Of the cosine similarities.
        joint_drop: Probability that a joint is left out of a view's streams.
        held_out: Motions that are only judged.
        seed: All randomness follows from it.
    """

    motions: int = 1536
    steps: int = 400
    batch: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    temperature: float = 0.1
    joint_drop: float = 0.1
    held_out: int = 128
    seed: int = 0


@dataclass
class EpisodeBank:
    """What the module reads of the views of motions, in half precision.

    Attributes:
        top: Per batch of motions ``(batch · v, S, J, D)``.
        embedded: Likewise.
        tokens: ``(batch · v, 4, J, 72)``.
        masks: ``(batch · v, 4, J)`` bool.
        groups: ``(batch,)``, see ``MotionSampler.motions``.
        views: v.
    """

    top: list[Tensor] = field(default_factory=list)
    embedded: list[Tensor] = field(default_factory=list)
    tokens: list[Tensor] = field(default_factory=list)
    masks: list[Tensor] = field(default_factory=list)
    groups: list[Tensor] = field(default_factory=list)
    views: int = 0

    def add(self, views: Sequence[FrozenFeatures], groups: Tensor, *, most: int) -> None:
        """Keep a batch of motions unless ``most`` motions are kept already."""
        if sum(map(len, self.groups)) >= most:
            return
        self.views = len(views)
        for name in ("top", "embedded", "tokens", "masks"):
            # View after view of one motion, so that row n · v + k is view k of motion n.
            together = torch.stack([getattr(view, name) for view in views], 1).flatten(0, 1)
            getattr(self, name).append(together if name == "masks" else together.half())
        self.groups.append(groups)

    def observed(self) -> tuple[FrozenFeatures, Tensor]:
        """All views as one observation, and the groups of the motions."""
        top, embedded, tokens, masks = (torch.cat(part) for part in (self.top, self.embedded, self.tokens, self.masks))
        empty = torch.zeros(0)
        windows = Windows(empty, empty, empty, empty, ())
        return FrozenFeatures(windows, embedded, empty, empty, top, empty, tokens, masks, empty), torch.cat(self.groups)


def train_module(
    width: int, episodes: Sequence[EpisodeBank], config: MetaTrainConfig, progress: Callable[[float], None]
) -> dict[str, Tensor]:
    """Meta-train the module.

    Args:
        width: D of the backbone.
        episodes: Of every kind of input; steps take turns.
        config: How.
        progress: Told the share done.

    Returns:
        The tensors that ``prompts.shared_names`` names.
    """
    torch.manual_seed(config.seed)
    rng = torch.Generator().manual_seed(config.seed)
    start = initial(width, 1, config.seed)
    parameters = {name: start[name][None].requires_grad_() for name in shared_names(width)}
    trained = [value for name, value in parameters.items() if name not in PROMPTS]
    optimiser = torch.optim.AdamW(trained, lr=config.learning_rate, weight_decay=config.weight_decay)
    material = [(*one.observed(), one.views) for one in episodes]
    for step in range(config.steps):
        warm = min(1.0, (step + 1) / 30)
        for group in optimiser.param_groups:
            group["lr"] = config.learning_rate * warm * 0.5 * (1.02 + math.cos(math.pi * step / config.steps))
        observed, groups, views = material[step % len(material)]
        taught = max(2, len(groups) - config.held_out)
        motions = torch.randperm(taught, generator=rng)[: config.batch]
        loss = episode_loss(parameters, observed, groups, motions, views, config, rng)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        progress((step + 1) / config.steps)
    for observed, groups, views in material:
        held_out = torch.arange(max(0, len(groups) - config.held_out), len(groups))
        with torch.no_grad():
            judged = episode_loss(parameters, observed, groups, held_out, views, config, None)
        log.info("house module: loss %.3f on %d motions that were held out", float(judged), len(held_out))
    return {name: value.detach()[0] for name, value in parameters.items()}


def episode_loss(
    parameters: dict[str, Tensor],
    observed: FrozenFeatures,
    groups: Tensor,
    motions: Tensor,
    views: int,
    config: MetaTrainConfig,
    rng: torch.Generator | None,
) -> Tensor:
    """InfoNCE between two views of every motion; with ``rng`` they are drawn at random, and joints are dropped."""
    first, second = torch.randperm(views, generator=rng)[:2].tolist() if rng is not None else (0, 1)
    sides = []
    for view in (first, second):
        rows = motions * views + view
        masks = observed.masks[rows]
        if rng is not None:
            masks = masks & (torch.rand(len(rows), 1, masks.shape[2], generator=rng) >= config.joint_drop)
        sides.append(embed(parameters, observed, rows, masks))
    return contrast_loss(sides[0], sides[1], groups[motions], config.temperature)
