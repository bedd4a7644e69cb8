"""Tuning the full prompt module of one tenant on the frozen backbone.

The trunk below the prompted blocks and the stream tokens of every clip are computed once and kept; only the prompted
blocks run again, with gradients flowing through them into the tenant's prefixes. Joints are dropped from the streams at
random, so that no class hangs on a joint that may be missing tomorrow.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from skeleton_prompt.clips.normalise import PreparedPerson
from skeleton_prompt.model.backbone import BackboneError
from skeleton_prompt.model.engine import Engine, FrozenFeatures
from skeleton_prompt.model.features import Windows
from skeleton_prompt.model.prompt_file import Array
from skeleton_prompt.model.prompt_module import FULL, Ablation, dynamic_queries, fuse, generate, initial, shared_names


@dataclass(frozen=True)
class ModuleConfig:
    """How a module is tuned.

    Attributes:
        epochs: Passes over the clips, fewer if the seconds run out.
        seconds: Wall-clock budget; the schedule is shortened to fit after the first batches are timed.
        batch: Clips per step.
        learning_rate: Peak of the cosine schedule.
        weight_decay: Of AdamW.
        joint_drop: Probability that a joint is left out of a clip's streams.
        smoothing: Label smoothing.
        seed: All randomness follows from it.
        controls: Parts of the module that are switched off.
    """

    epochs: int = 30
    seconds: float = 60.0
    batch: int = 32
    learning_rate: float = 2e-3
    weight_decay: float = 0.02
    joint_drop: float = 0.15
    smoothing: float = 0.05
    seed: int = 0
    controls: Ablation = FULL


class TuningStopped(RuntimeError):
    """Tuning was asked to stop between two steps."""


def observe_all(engine: Engine, people: Sequence[PreparedPerson], batch_size: int = 32) -> FrozenFeatures:
    """``Engine.encode`` for any number of people, one window of each (the one that moves on from the middle).

    Returns:
        One window per person, in order.
    """
    middles = [Windows.of([person], engine.device).select([len(person.pose) // 2]) for person in people]
    with torch.inference_mode():
        parts = [engine.encode(Windows.join(middles[i : i + batch_size])) for i in range(0, len(middles), batch_size)]
    # Clones leave inference mode, which autograd demands of what it saves for the way back.
    names = ("embedded", "x", "lifted", "top", "bias", "tokens", "masks", "features")
    joined = {name: torch.cat([getattr(part, name) for part in parts]).clone() for name in names}
    return FrozenFeatures(windows=Windows.join([part.windows for part in parts]), **joined)


def fit_module(
    engine: Engine,
    observed: FrozenFeatures,
    labels: np.ndarray,
    classes: int,
    config: ModuleConfig = ModuleConfig(),
    *,
    progress: Callable[[float], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> dict[str, Array]:
    """Tune a module.

    Args:
        engine: The engine whose backbone stays frozen.
        observed: From ``observe_all``, one window per clip.
        labels: ``(B,)`` int, 0 to ``classes`` - 1.
        classes: N.
        config: How.
        progress: Told the share that is done after every step.
        stop: Asked before every step whether to give up.

    Returns:
        The tensors of the module part of a prompt, by their names there.

    Raises:
        TuningStopped: If ``stop`` said so.
    """
    torch.manual_seed(config.seed)
    rng = torch.Generator().manual_seed(config.seed)
    parameters = {
        name: value[None].to(engine.device).requires_grad_()
        for name, value in starting_point(engine, observed, labels, classes, config).items()
    }
    decayed = [value for value in parameters.values() if value.ndim > 2]
    plain = [value for value in parameters.values() if value.ndim <= 2]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=config.learning_rate)
    goal = torch.from_numpy(labels).long().to(engine.device)
    batches = math.ceil(len(labels) / config.batch)
    total, step, began = config.epochs * batches, 0, time.monotonic()
    while step < total:
        for rows in torch.split(torch.randperm(len(labels), generator=rng), config.batch):
            if stop is not None and stop():
                raise TuningStopped("tuning was stopped")
            for group in optimiser.param_groups:
                group["lr"] = config.learning_rate * 0.5 * (1 + math.cos(math.pi * step / total))
            loss = module_loss(engine, observed, parameters, rows, goal, config, rng)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            step += 1
            if step == 3:
                pace = (time.monotonic() - began) / step
                total = max(batches, min(total, int(config.seconds / max(pace, 1e-6))))
            if progress is not None:
                progress(min(1.0, step / total))
            if step >= total:
                break
    return {f"module.{name}": value.detach()[0].cpu().numpy() for name, value in parameters.items()}


def starting_point(
    engine: Engine, observed: FrozenFeatures, labels: np.ndarray, classes: int, config: ModuleConfig
) -> dict[str, Tensor]:
    """The house module, its class centres at the means of the clips that are taught; random where there is none.

    Raises:
        BackboneError: If the house module is not of this code's shapes.
    """
    parameters = initial(engine.backbone.config.width, classes, config.seed)
    house = engine.backbone.house.module if engine.backbone.house is not None else {}
    if not house:
        return parameters
    for name in shared_names(engine.backbone.config.width):
        if name not in house or house[name].shape != parameters[name].shape:
            raise BackboneError(f"house module: {name} is missing or not of shape {tuple(parameters[name].shape)}")
        parameters[name] = house[name].cpu().clone()
    stacked = {name: value[None].to(engine.device) for name, value in parameters.items()}
    with torch.no_grad():
        rows = torch.split(torch.arange(len(labels)), 64)
        embedded = torch.cat([embed(stacked, observed, part) for part in rows]).cpu()
    truth = torch.from_numpy(labels)
    means = torch.stack([embedded[truth == label].sum(0) for label in range(classes)])
    counts = torch.bincount(truth, minlength=classes).clamp(min=1)
    parameters["head.centres"] = means / counts[:, None] - embedded.mean(0)
    return parameters


def embed(
    parameters: Mapping[str, Tensor], observed: FrozenFeatures, rows: Tensor, masks: Tensor | None = None
) -> Tensor:
    """Queries and fusion on the unprompted backbone.

    Args:
        parameters: With one row.
        observed: Windows.
        rows: Which of them.
        masks: ``(len(rows), 4, J)`` in place of the windows' own.

    Returns:
        ``(len(rows), E)`` of unit length.
    """
    g = generate(parameters, observed.embedded[rows].float())
    seen = observed.masks[rows] if masks is None else masks
    return fuse(
        parameters, dynamic_queries(parameters, g, observed.top[rows].float()), observed.tokens[rows].float(), seen
    )


def module_loss(
    engine: Engine,
    observed: FrozenFeatures,
    parameters: dict[str, Tensor],
    rows: Tensor,
    goal: Tensor,
    config: ModuleConfig,
    rng: torch.Generator,
) -> Tensor:
    """Cross-entropy of a batch with some joints dropped from its streams."""
    dropped = torch.rand(len(rows), 1, observed.masks.shape[2], generator=rng) < config.joint_drop
    masks = observed.masks.clone()
    masks[rows] &= ~dropped.to(masks.device)
    view = replace(observed, masks=masks)
    logits = view.logits(parameters, engine.backbone, rows.tolist(), config.controls)
    return functional.cross_entropy(logits, goal[rows], label_smoothing=config.smoothing)


def predict_module(
    engine: Engine, observed: FrozenFeatures, tensors: dict[str, Array], rows: Sequence[int], controls: Ablation = FULL
) -> Array:
    """Logits ``(len(rows), N)`` of a tuned module on observed windows."""
    parameters = {
        name.removeprefix("module."): torch.from_numpy(value)[None].to(engine.device) for name, value in tensors.items()
    }
    with torch.inference_mode():
        parts = [
            observed.logits(parameters, engine.backbone, list(rows[start : start + 64]), controls)
            for start in range(0, len(rows), 64)
        ]
    return torch.cat(parts).cpu().numpy()
