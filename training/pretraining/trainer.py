"""Pre-training of the backbone: lifting 2-D skeletons to 3-D, then pulling two views of one motion together.

Stage 1 learns only to lift. Stage 2 adds InfoNCE between two views (camera, body, speed, missing joints) of every
motion of the batch and keeps lifting beside it with equal weight: lifting alone tells poses apart, but actions poorly.
A run is a folder; it is seeded, so a run that was stopped continues as if it had not been. The weights that are judged
and shipped are an exponential moving average.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from skeleton_prompt.clips.canonical_skeleton import JOINTS
from skeleton_prompt.model.backbone import CONFIGS, PATCH, Backbone, backbone_bytes, load_backbone
from training.pretraining.distributed import ProcessGroup
from training.pretraining.motion_sampler import MotionSampler, load_corpus
from training.pretraining.net2net import grow
from training.pretraining.run_log import RunLog
from training.pretraining.validation import HeldOut

log = logging.getLogger(__name__)

SEEN_JOINTS = 9  # the fewest joints of which tokens are computed in a training view


@dataclass(frozen=True)
class PretrainConfig:
    """One pre-training run.

    Attributes:
        motion: ``motion.npz``, the corpus.
        out: Folder of the run: checkpoints, ``log.jsonl``, TensorBoard events.
        backbone: ``edge`` or ``base``.
        steps: Optimiser steps in total.
        lift_steps: How many of them are stage 1.
        batch: Motions per step; two views of each in stage 2.
        learning_rate: Peak of the cosine schedule.
        temperature: Of InfoNCE.
        velocity: Weight of the velocity part of the lift loss.
        evaluate_every: Steps between checkpoints and held-out figures.
        seed: All randomness follows from it.
        device: ``cpu``, ``cuda``, or None for CUDA where there is one.
        start: A trained backbone, at most as large, that the run starts from; None for random weights.
    """

    motion: Path
    out: Path
    backbone: str = "edge"
    steps: int = 2000
    lift_steps: int = 150
    batch: int = 48
    learning_rate: float = 1.5e-3
    temperature: float = 0.1
    velocity: float = 5.0
    evaluate_every: int = 100
    seed: int = 0
    device: str | None = None
    start: Path | None = None


class Projector(nn.Module):
    """From the tokens of a view to the unit vector that InfoNCE compares: mean and four time bins, then an MLP."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(5 * width, 2 * width), nn.GELU(), nn.Linear(2 * width, 128))

    def forward(self, features: Tensor) -> Tensor:
        """``(B, S', J', D)`` with S' divisible by 4 to ``(B, 128)`` of unit length."""
        bins = torch.unflatten(features, 1, (4, -1)).mean((2, 3))
        pooled = torch.cat((bins.mean(1, keepdim=True), bins), 1).flatten(1)
        return functional.normalize(self.net(pooled), dim=-1)


def lift_loss(predicted: Tensor, target: Tensor, velocity: float) -> tuple[Tensor, Tensor]:
    """MPJPE + ½ scale-normalised MPJPE + ``velocity`` · velocity error (MotionBERT, Zhu et al. 2023, eq. 2-3).

    Args:
        predicted: ``(B, T, J, 3)``.
        target: The same shape and unit.
        velocity: Weight of the error of frame-to-frame differences.

    Returns:
        The loss and the plain MPJPE.
    """
    error = (predicted - target).norm(dim=-1).mean()
    fit = (predicted * target).sum((1, 2, 3)) / predicted.square().sum((1, 2, 3)).clamp(min=1e-6)
    scaled = (fit.detach()[:, None, None, None] * predicted - target).norm(dim=-1).mean()
    speed = (predicted.diff(dim=1) - target.diff(dim=1)).norm(dim=-1).mean()
    return error + 0.5 * scaled + velocity * speed, error


def contrast_loss(a: Tensor, b: Tensor, groups: Tensor, temperature: float) -> Tensor:
    """InfoNCE in both directions; rows of one group (see ``MotionSampler.motions``) are left out as negatives."""
    logits = a @ b.T / temperature
    same = (groups[:, None] == groups[None]) & (groups[:, None] >= 0)
    same.fill_diagonal_(False)
    logits = logits.masked_fill(same, -1e4)
    goal = torch.arange(len(a), device=a.device)
    return (functional.cross_entropy(logits, goal) + functional.cross_entropy(logits.T, goal)) / 2


def encode(model: Backbone, pose: Tensor, log_seconds: Tensor, keep: tuple[Tensor, Tensor]) -> Tensor:
    """Backbone features of the kept patches and joints only: what is not computed costs nothing.

    Args:
        model: The backbone.
        pose: ``(B, T, J, 3)``.
        log_seconds: ``(B,)``.
        keep: Indices of patches (S' of 16) and joints (J' of 17) that the whole batch keeps.

    Returns:
        ``(B, S', J', D)``.
    """
    x, bias = model.tokens(pose, log_seconds)
    patches, joints = keep
    x, bias = x[:, patches][:, :, joints], bias[:, patches][:, :, joints]
    for block in model.blocks:
        x = block(x, bias)
    return model.norm(x)  # type: ignore[no-any-return]


def kept_tokens(seed: int) -> tuple[Tensor, Tensor]:
    """A random choice of 2 to 4 patches of every four, and of 9 to 17 joints."""
    rng = torch.Generator().manual_seed(seed)
    per_bin = int(torch.randint(2, 5, (1,), generator=rng))
    patches = [4 * part + torch.randperm(4, generator=rng)[:per_bin].sort().values for part in range(4)]
    count = int(torch.randint(SEEN_JOINTS, JOINTS + 1, (1,), generator=rng))
    return torch.cat(patches), torch.randperm(JOINTS, generator=rng)[:count].sort().values


def kept_part(poses: Tensor, keep: tuple[Tensor, Tensor]) -> Tensor:
    """The part of ``(B, T, J, 3)`` that belongs to the kept tokens."""
    patches, joints = keep
    frames = (patches[:, None] * PATCH + torch.arange(PATCH)).flatten()
    return poses[:, frames][:, :, joints]


class Trainer:
    """The state of a run: model, projector, moving average, optimiser and step."""

    def __init__(self, config: PretrainConfig, ranks: ProcessGroup | None = None) -> None:
        torch.manual_seed(config.seed)
        self.config = config
        self.ranks = ranks or ProcessGroup()
        self.device = self.ranks.device(config.device)
        form = CONFIGS[config.backbone]
        model = Backbone(form) if config.start is None else grow(load_backbone(config.start), form)
        self.model = model.requires_grad_(True).to(self.device)
        self.projector = Projector(self.model.config.width).to(self.device)
        self.average = Backbone(CONFIGS[config.backbone]).to(self.device).requires_grad_(False)
        self.average.load_state_dict(self.model.state_dict())
        self.weights = [*self.model.parameters(), *self.projector.parameters()]
        self.ranks.same([*self.weights, *self.average.parameters()])
        decayed = [p for p in self.weights if p.ndim > 1]
        plain = [p for p in self.weights if p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.98))
        self.step = 0
        self.sampler = MotionSampler(load_corpus(config.motion, held_out=False))

    def rate(self) -> float:
        """The learning rate of this step: linear warm-up, then a cosine down to 2 %."""
        warm = min(1.0, (self.step + 1) / 50)
        done = self.step / self.config.steps
        return self.config.learning_rate * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))

    def losses(self) -> dict[str, Tensor]:
        """The losses of this step; ``total`` is the one to differentiate."""
        config, ranks = self.config, self.ranks
        seed = ((config.seed * 1_000_003 + self.step) * ranks.world + ranks.rank) * 8
        first, second, seconds, other_seconds, groups = self.sampler.motions(config.batch, seed)
        stages = [(first, seconds, 1), (second, other_seconds, 2)][: 1 if self.step < config.lift_steps else 2]
        lifted, errors, embeddings = [], [], []
        for motion, duration, number in stages:
            pose, log_seconds, target = self.sampler.view(motion, duration, seed + number)
            keep = kept_tokens(seed + 4 + number)
            pose = pose.to(self.device)
            features = encode(self.model, pose, log_seconds.to(self.device), keep)
            predicted = self.model.lift_tokens(features) + kept_part(self.model.skipped(pose), keep)
            loss, error = lift_loss(predicted, kept_part(target, keep).to(self.device), config.velocity)
            lifted.append(loss)
            errors.append(error.detach())
            embeddings.append(self.projector(features))
        result = {"lift": torch.stack(lifted).mean(), "mpjpe": torch.stack(errors).mean()}
        result["total"] = result["lift"]
        if len(embeddings) == 2:
            first_view, second_view = (ranks.gather(embedding) for embedding in embeddings)
            everyone = ranks.gather(groups.to(self.device))
            result["contrast"] = ranks.share(contrast_loss(first_view, second_view, everyone, config.temperature))
            result["total"] = result["lift"] + result["contrast"]
        return result

    def advance(self) -> dict[str, float]:
        """One optimiser step; returns its losses as numbers."""
        self.model.train()
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate()
        losses = self.losses()
        self.optimiser.zero_grad(set_to_none=True)
        losses["total"].backward()  # type: ignore[no-untyped-call]
        self.ranks.average_gradients(self.weights)
        nn.utils.clip_grad_norm_(self.weights, 1.0)
        self.optimiser.step()
        keep = min(0.99, (self.step + 1) / (self.step + 10))
        with torch.no_grad():
            for mean, now in zip(self.average.parameters(), self.model.parameters(), strict=True):
                mean.lerp_(now, 1 - keep)
        self.step += 1
        return {name: float(value.detach()) for name, value in losses.items()}

    def save(self) -> Path:
        """Write the moving average for this step, and the whole state to continue from (atomically)."""
        folder = self.config.out
        name = folder / f"{self.config.backbone}-{self.step:06d}.safetensors"
        name.write_bytes(backbone_bytes(self.average, {"steps": str(self.step)}))
        state: dict[str, Tensor] = {}
        for part, module in (("model", self.model), ("average", self.average), ("projector", self.projector)):
            state |= {f"{part}.{key}": value.contiguous() for key, value in module.state_dict().items()}
        for index, weight in enumerate(self.weights):
            moments = self.optimiser.state.get(weight, {})
            state |= {f"optimiser.{index}.{key}": value for key, value in moments.items()}
        partial = folder / "state.part"
        save_file(state, partial, {"step": str(self.step)})
        partial.replace(folder / "state.safetensors")
        return name

    def resume(self) -> bool:
        """Continue from the folder's saved state, if there is one."""
        path = self.config.out / "state.safetensors"
        if not path.exists():
            return False
        with safe_open(path, framework="pt", device=str(self.device)) as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
            self.step = int(file.metadata()["step"])
        for part, module in (("model", self.model), ("average", self.average), ("projector", self.projector)):
            prefix = f"{part}."
            module.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
        for index, weight in enumerate(self.weights):
            prefix = f"optimiser.{index}."
            moments = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
            if moments:
                self.optimiser.state[weight] = moments
        return True


def run(config: PretrainConfig, ranks: ProcessGroup | None = None) -> Iterator[dict[str, float]]:
    """Pre-train, yielding the figures of every step; checkpoints and held-out figures land in ``config.out``.

    Args:
        config: The run.
        ranks: This process among several (see ``distributed``); each has ``config.batch`` motions of its own a step,
            and only the first writes and evaluates.

    Raises:
        FileNotFoundError: If the corpus is not there.
    """
    ranks = ranks or ProcessGroup()
    trainer = Trainer(config, ranks)
    resumed = trainer.resume()
    ranks.wait()  # nobody saves before everybody has read where the run stands
    record = _Record(trainer, resumed) if ranks.first else None
    began = time.monotonic()
    try:
        while trainer.step < config.steps:
            figures = trainer.advance()
            figures |= {"step": trainer.step, "seconds": time.monotonic() - began}
            if record:
                figures |= record.keep(figures)
            if trainer.step % config.evaluate_every == 0 or trainer.step == config.steps:
                ranks.wait()
            yield figures
    finally:
        if record:
            record.log.close()


class _Record:
    """What the first process of a run writes down, and the motion it judges by."""

    def __init__(self, trainer: Trainer, resumed: bool) -> None:
        self.trainer, self.config = trainer, trainer.config
        self.config.out.mkdir(parents=True, exist_ok=True)
        (self.config.out / "config.json").write_text(json.dumps(asdict(self.config), default=str, indent=2))
        self.held_out = HeldOut(self.config.motion)
        self.log = RunLog(self.config.out, trainer.step)
        if resumed:
            log.info("continuing at step %d of %d", trainer.step, self.config.steps)
        else:
            self.log.report(0, self.held_out.figures(trainer.average), "held_out")

    def keep(self, figures: dict[str, float]) -> dict[str, float]:
        """Log this step's figures; at a checkpoint save and judge, and return the held-out figures."""
        step = self.trainer.step
        if step % 20 == 0:
            self.log.report(step, figures, "train")
        if step % self.config.evaluate_every and step != self.config.steps:
            return {}
        self.trainer.save()
        judged = self.held_out.figures(self.trainer.average)
        self.log.report(step, judged, "held_out")
        return {f"held_out_{name}": value for name, value in judged.items()}
