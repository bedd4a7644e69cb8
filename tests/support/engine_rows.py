"""Small engines, people and prompts made from a seed, for tests of the model library."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from skeleton_prompt.clips.normalise import PreparedPerson
from skeleton_prompt.model.backbone import Backbone, BackboneConfig
from skeleton_prompt.model.engine import Engine
from skeleton_prompt.model.prompt_file import Calibration, Prompt, load_prompt, save_prompt
from skeleton_prompt.model.prompt_module import initial
from skeleton_prompt.model.shared_projection import BLOCKS as SHARED_BLOCKS
from skeleton_prompt.model.shared_projection import KINDS, SharedProjection
from skeleton_prompt.model.tensor_shapes import temporal_layers
from training.tuning.linear_head import LinearHead
from training.tuning.plda import Prior, fit_class_model, fit_plda

WIDTH = 32
PROJECTED = 8
TEMPORAL_FILTERS = 4


def small_engine(seed: int = 0) -> Engine:
    """An engine on a random backbone that is small enough for tests."""
    torch.manual_seed(seed)
    backbone = Backbone(BackboneConfig("tiny", width=WIDTH, blocks=4, heads=4))
    backbone.sha256 = f"{seed:064x}"
    return Engine(backbone)


def projected_engine(seed: int = 0) -> Engine:
    """``small_engine`` with a random shared projection to ``PROJECTED`` features."""
    plain = small_engine(seed)
    read = sum(plain.blocks[name].stop - plain.blocks[name].start for name in SHARED_BLOCKS)
    rng = torch.Generator().manual_seed(seed)
    mean = {kind: torch.zeros(read) for kind in KINDS}
    projection = {kind: torch.randn(read, PROJECTED, generator=rng) / read**0.5 for kind in KINDS}
    plain.backbone.house = SharedProjection(mean, projection)
    return Engine(plain.backbone)


def class_model_prompt(
    engine: Engine, seed: int, *, classes: int = 3, temporal: float = 0.0, plda: bool = True
) -> Prompt:
    """A prompt with a class model of random clips, as it comes back from its file."""
    rng = np.random.default_rng(seed)
    prior = Prior(np.full(PROJECTED, 0.01), np.full(PROJECTED, 0.1))
    labels = np.repeat(np.arange(classes), 4)
    x = rng.normal(size=(classes, PROJECTED))[labels] / 4 + rng.normal(size=(len(labels), PROJECTED)) / 10
    shown = np.ones((len(labels), 17), np.float32)
    blocks = ("house",) if plda else ("house", "descriptors")
    plain = random_prompt(engine, seed, classes=classes, temporal=temporal)
    tensors = {name: value for name, value in plain.tensors.items() if name.startswith("temporal.")}
    head = fit_plda(x, labels, classes, prior)
    if not plda:
        F = len(engine.columns(blocks))
        weight = rng.normal(size=(classes, F)) / F**0.5
        head = LinearHead(np.zeros(F), np.ones(F), weight, np.zeros(classes))
    tensors |= head.tensors() | fit_class_model(x, labels, classes, prior, shown).tensors()
    calibration = Calibration(0.3, familiarity=((0.05, 0.3), (0.5, 0.9)), coverage=((0.5, 0.6), (0.99, 0.01)))
    changed = dataclasses.replace(plain, tensors=tensors, blocks=blocks, calibration=calibration)
    return load_prompt(save_prompt(changed))


def without_joints(someone: PreparedPerson, joints: list[int]) -> PreparedPerson:
    """The same person without some joints."""
    pose, depth = someone.pose.copy(), someone.depth.copy()
    pose[:, :, joints] = 0
    depth[:, :, joints] = 0
    return dataclasses.replace(someone, pose=pose, depth=depth)


def person(seed: int, *, windows: int = 1, depth: bool = False) -> PreparedPerson:
    """A random person of some windows, with some joints missing."""
    rng = np.random.default_rng(seed)
    pose = rng.uniform(-1, 1, (windows, 64, 17, 3)).astype(np.float32)
    pose[..., 2] = rng.random((windows, 1, 17)) > 0.2
    pose[..., :2] *= pose[..., 2:]
    z = rng.uniform(-1, 1, (windows, 64, 17)).astype(np.float32) * pose[..., 2]
    log_seconds = np.log(rng.uniform(1, 8, windows)).astype(np.float32)
    return PreparedPerson(pose, z if depth else z * 0, depth, log_seconds, visible=0.8, frames=64, motion=1.0)


def random_prompt(
    engine: Engine,
    seed: int,
    *,
    classes: int = 3,
    blend: float = 0.0,
    background: bool = False,
    curve: int = 0,
    likeness: int = 0,
    temporal: float = 0.0,
) -> Prompt:
    """A prompt of random numbers that is sound, as it comes back from its file.

    With ``curve`` directions of a curve, and with a likeness of the first ``likeness`` features.
    """
    rng = np.random.default_rng(seed)
    blocks = ("frozen", "descriptors") if seed % 2 else ("descriptors", "frontal")
    F, N = len(engine.columns(blocks)), classes + background
    tensors = {
        "linear.mean": rng.normal(size=F),
        "linear.scale": rng.uniform(0.5, 2, F),
        "linear.weight": rng.normal(size=(N, F)) / np.sqrt(F),
        "linear.bias": rng.normal(size=N),
        "linear.centres": rng.normal(size=(N, N)),
        "linear.spread": rng.uniform(0.5, 1, N),
    }
    if curve:
        tensors["linear.square"] = rng.normal(size=F) / F / 100
        tensors["linear.curve"] = rng.normal(size=(curve, F)) / F
        tensors["linear.bend"] = rng.choice([-1.0, 1.0], curve)
    if likeness:
        tensors |= {
            "likeness.mean": rng.normal(size=likeness),
            "likeness.scale": rng.uniform(0.5, 2, likeness),
            "likeness.weight": rng.normal(size=(N, likeness)) / np.sqrt(likeness),
            "likeness.bias": rng.normal(size=N),
        }
    if temporal:
        for name, shape in temporal_layers(TEMPORAL_FILTERS, N):
            tensors[f"temporal.{name}.weight"] = rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))
            tensors[f"temporal.{name}.bias"] = rng.normal(size=shape[0]) / 10
        tensors["temporal.shown"] = rng.uniform(0.5, 1, 17)
    if blend:
        module = initial(engine.backbone.config.width, N, seed)
        module["generator.values"] = torch.from_numpy(rng.normal(size=module["generator.values"].shape))
        tensors |= {f"module.{name}": value.numpy() for name, value in module.items()}
    prompt = Prompt(
        tenant=f"tenant-{seed}",
        version=1,
        labels=tuple(f"label {i}" for i in range(classes)),
        background=background,
        kind="full" if blend else "ridge",
        backbone_sha256=engine.backbone_sha256,
        created="2026-01-01T00:00:00+00:00",
        calibration=Calibration(1.3, 0.2, 4.0),
        tensors={name: value.astype(np.float32) for name, value in tensors.items()},
        blocks=blocks,
        module_weight=blend,
        metrics={"accuracy": 0.5},
        temporal_weight=temporal,
        temporal_weight_missing_joints=temporal / 2,
    )
    return load_prompt(save_prompt(prompt))
