"""Learning the house weights from the motion corpus; see ``skeleton_prompt.model.shared_projection`` for what they are.

Letters: n motions, v views of each, F features, R numbers per clip.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from skeleton_prompt.clips.canonical_skeleton import JOINTS
from skeleton_prompt.model.engine import Engine, FrozenFeatures
from skeleton_prompt.model.features import Windows
from skeleton_prompt.model.shared_projection import BLOCKS, KINDS, SharedProjection
from training.pretraining.meta_train_module import EpisodeBank, MetaTrainConfig, train_module
from training.pretraining.motion_sampler import (
    MotionSampler,
    body_scales,
    facing,
    from_bones,
    load_corpus,
    normalise,
    resample,
    rotate_y,
    stretch,
    to_bones,
    visibility,
)

log = logging.getLogger(__name__)

VIEWS = 4
WIDTH = 512
COMPONENTS = 768  # principal components that are kept before whitening
SHRINKAGE = 0.1  # of the within-class covariance towards its mean variance
BATCH = 64
Floats = npt.NDArray[np.float32]


def frontal_view(pose: Tensor, seconds: Tensor, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """What a depth camera or motion capture gives of motions once the person is turned to the front.

    Args:
        pose: ``(B, G, 17, 3)`` world positions in metres, y up.
        seconds: ``(B,)``.
        seed: Everything drawn follows from it.

    Returns:
        ``(B, T, 17, 3)`` x, y, confidence; ``(B,)`` log seconds; depth ``(B, T, 17)`` in the same scale.
    """
    rng = torch.Generator().manual_seed(seed)
    B = len(pose)
    index, seconds = stretch(B, seconds, rng)
    bones = to_bones(resample(pose, index))
    bones[:, :, 1:] *= body_scales(B, rng)[:, None, 1:, None]
    pose = from_bones(bones)
    # The turn to the front is only as good as the hips and shoulders it is measured on.
    yaw = (torch.rand(B, generator=rng) * 2 - 1) * math.radians(20) - facing(pose)
    camera = rotate_y(pose, yaw[:, None, None]) * pose.new_tensor([1.0, -1.0, -1.0])
    size = torch.rand(B, 1, 1, 1, generator=rng) ** 2 * 0.03
    camera = camera + torch.randn(camera.shape, generator=rng) * size
    camera = camera + torch.randn(B, 1, JOINTS, 3, generator=rng) * 0.02
    seen = visibility(B, 0.3, rng)
    placed, scaled = normalise(camera[..., :2], seen, camera)
    depth = scaled[..., 2]
    middle = torch.nanquantile(depth.masked_fill(~seen, float("nan")).flatten(1), 0.5, dim=1)
    return placed, torch.log(seconds), (depth - middle[:, None, None]) * seen


def episodes(
    engine: Engine,
    sampler: MotionSampler,
    kind: str,
    motions: int,
    progress: Callable[[float], None],
    shown: Callable[[list[FrozenFeatures], Tensor], None] | None = None,
) -> Floats:
    """Features ``(n, v, F)`` of motions, each from several cameras.

    Args:
        engine: The frozen backbone.
        sampler: Of motions and views.
        kind: ``flat`` or ``deep``.
        motions: n.
        progress: Told the share done.
        shown: Given the observations of every batch of motions, one for each view, and the motions' groups.
    """
    columns = torch.from_numpy(engine.columns(BLOCKS))
    rows = []
    batches = max(1, motions // BATCH)
    for batch in range(batches):
        seed = (batch + 1) * 100_003 + KINDS.index(kind)
        first, other, seconds, other_seconds, groups = sampler.motions(BATCH, seed)
        views = []
        for view in range(VIEWS):
            motion, duration = (first, seconds) if view % 2 == 0 else (other, other_seconds)
            if kind == "deep":
                pose, log_seconds, depth = frontal_view(motion, duration, seed + view + 1)
            else:
                pose, log_seconds, _ = sampler.view(motion, duration, seed + view + 1)
                depth = torch.zeros(pose.shape[:3])
            has_depth = torch.full((BATCH,), kind == "deep")
            with torch.inference_mode():
                views.append(engine.encode(Windows(pose, depth, has_depth, log_seconds, (1,) * BATCH)))
        rows.append(torch.stack([seen.features[:, columns].half() for seen in views], 1))
        if shown is not None:
            shown(views, groups)
        progress((batch + 1) / batches)
    return torch.cat(rows).float().numpy()


def lda_projection(shots: Floats, width: int) -> tuple[Floats, Floats]:
    """Linear discriminant analysis with motions as classes, in the space of the largest principal components.

    Args:
        shots: ``(n, v, F)``.
        width: R.

    Returns:
        Mean ``(F,)`` and projection ``(F, R)``; each direction is weighted by the root of the share of its variance
        that lies between motions.
    """
    n, v, F = shots.shape
    flat = shots.reshape(n * v, F)
    mean, spread = flat.mean(0), flat.std(0)
    scale = np.where(spread > 1e-6, 1 / np.maximum(spread, 1e-3), 0) / math.sqrt(F)
    standard = torch.from_numpy((flat - mean) * scale)
    torch.manual_seed(0)
    components = min(COMPONENTS, n * v - 1, F)
    _, _, basis = torch.pca_lowrank(standard, q=components, niter=2, center=False)
    scores = (standard @ basis).numpy().reshape(n, v, components)
    centres = scores.mean(1)
    within = (scores - centres[:, None]).reshape(n * v, components)
    inner = within.T @ within / (n * (v - 1))
    inner += SHRINKAGE * np.trace(inner) / components * np.eye(components)
    outer = np.cov(centres.T)
    values, vectors = np.linalg.eigh(inner)
    whitener = vectors / np.sqrt(values)
    gains, directions = np.linalg.eigh(whitener.T @ outer @ whitener)
    best = np.argsort(-gains)[:width]
    share = np.maximum(gains[best], 0)
    weights = np.sqrt(share / (1 + share))
    projection = scale[:, None] * (basis.numpy() @ whitener @ directions[:, best] * weights)
    return mean.astype(np.float32), projection.astype(np.float32)


def variance_components(shots: Floats, mean: Floats, projection: Floats) -> Floats:
    """How much the projection ``(n, v, R)`` of motions varies within a motion and between motions, ``(2, R)``."""
    n, v, F = shots.shape
    projected = (shots.reshape(n * v, F) - mean) @ projection
    projected = (projected / np.linalg.norm(projected, axis=1, keepdims=True)).reshape(n, v, -1)
    within = projected.var(1, ddof=1).mean(0)
    within = np.maximum(within, 1e-6 * within.mean())  # a small corpus fills fewer directions than there are
    between = projected.mean(1).var(0, ddof=1) - within / v
    return np.stack((within, np.maximum(between, 1e-3 * within)))


def fit_shared_projection(
    engine: Engine,
    motion: Path,
    *,
    motions: int = 2048,
    module: MetaTrainConfig | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> SharedProjection:
    """Learn house weights for an engine's backbone from the training part of the corpus.

    Args:
        engine: The frozen backbone; house weights it already has are not looked at.
        motion: ``motion.npz``.
        motions: n; each is seen four times as 2-D and four times as 3-D.
        module: How the prompt module is trained on the same views; None takes the defaults.
        progress: Told what is done (a kind of input, or ``module``) and the share.
    """
    sampler = MotionSampler(load_corpus(motion, held_out=False))
    module = module or MetaTrainConfig()
    told = progress or (lambda _what, _share: None)
    mean, projection, variances = {}, {}, []
    kept = [EpisodeBank() for _ in KINDS]
    for kind, keep in zip(KINDS, kept, strict=True):
        shots = episodes(engine, sampler, kind, motions, partial(told, kind), partial(keep.add, most=module.motions))
        centre, directions = lda_projection(shots, WIDTH)
        mean[kind], projection[kind] = torch.from_numpy(centre), torch.from_numpy(directions)
        variances.append(variance_components(shots, centre, directions))
        log.info("house weights for %s input: %d motions, %d features", kind, len(shots), shots.shape[2])
    trained = train_module(engine.backbone.config.width, kept, module, partial(told, "module")) if module.steps else {}
    return SharedProjection(mean, projection, module=trained, variances=torch.from_numpy(np.mean(variances, axis=0)))
