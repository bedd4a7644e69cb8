"""Validation of a backbone on held-out motion: lift error and few-shot accuracy by kind of motion."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from skeleton_prompt.model.backbone import Backbone
from training.pretraining.motion_sampler import MotionSampler, load_corpus

CLASS_CLIPS = 6  # minimum clips of a class: 5 for training, the others for the test
EXAMPLES = 8  # windows of a recording where recordings are the classes
CLASSES = 48  # recordings used as classes where the corpus has no kinds of motion


def pooled(features: Tensor) -> Tensor:
    """Features ``(B, F)`` of ``(B, S, J, D)``: means over time per joint, and means of four time bins over joints."""
    bins = torch.unflatten(features, 1, (4, -1)).mean((2, 3))
    return torch.cat((features.mean(1).flatten(1), bins.flatten(1)), 1).float().cpu()


def observed(model: Backbone, pose: Tensor, log_seconds: Tensor) -> tuple[np.ndarray, Tensor]:
    """Pooled features ``(B, F)`` of views ``(B, T, J, 3)``, and their lifted poses ``(B, T, J, 3)``."""
    model.eval()
    device = next(model.parameters()).device
    rows, lifted = [], []
    with torch.inference_mode():
        for part, seconds in zip(*(torch.split(x.to(device), 32) for x in (pose, log_seconds)), strict=True):
            features = model(part, seconds)
            rows.append(pooled(features))
            lifted.append(model.lift(features, part).cpu())
    return torch.cat(rows).numpy(), torch.cat(lifted)


def ridge_accuracy(features: np.ndarray, labels: np.ndarray, shots: int, draws: int, seed: int) -> float:
    """Mean accuracy of ridge on ``shots`` examples per class, all others being the test, over ``draws`` draws."""
    rng = np.random.default_rng(seed)
    scores = []
    for _ in range(draws):
        train = np.concatenate([rng.permutation(np.flatnonzero(labels == c))[:shots] for c in np.unique(labels)])
        test = np.setdiff1d(np.arange(len(labels)), train)
        mean, scale = features[train].mean(0), features[train].std(0) + 1e-3
        x, y = (features[train] - mean) / scale, (features[test] - mean) / scale
        kernel = x @ x.T / x.shape[1]
        goal = (labels[train][:, None] == np.unique(labels)[None]).astype(float) * 2 - 1
        weights = np.linalg.solve(kernel + 0.03 * np.eye(len(x)), goal)
        scores.append(float((np.unique(labels)[(y @ x.T / x.shape[1] @ weights).argmax(1)] == labels[test]).mean()))
    return float(np.mean(scores))


class HeldOut:
    """Held-out motion in two views, one of them with joints missing.

    Its classes are the kinds of motion with at least ``CLASS_CLIPS`` clips, at most 16 clips each. In a corpus without
    such kinds each of up to 48 recordings is a class, and windows of it from different cameras are its examples.
    """

    def __init__(self, motion: Path) -> None:
        corpus = load_corpus(motion, held_out=True)
        sampler = MotionSampler(corpus)
        rng = np.random.default_rng(7)
        many = [g for g in np.unique(corpus.groups) if (corpus.groups == g).sum() >= CLASS_CLIPS]
        if len(many) > 1:
            chosen = np.concatenate([rng.permutation(np.flatnonzero(corpus.groups == g))[:16] for g in many])
            self.labels = corpus.groups[chosen]
        else:
            chosen = np.repeat(rng.permutation(len(corpus.weights))[:CLASSES], EXAMPLES)
            self.labels = chosen
        motions, seconds = sampler.windows(chosen, np.full(len(chosen), len(many) > 1), rng)
        *self.full, self.metres = sampler.measured_view(motions, seconds, 11, hide=0.0)
        self.other = sampler.view(motions, seconds, 12, hide=1.0)

    def figures(self, model: Backbone) -> dict[str, float]:
        """Figures of a backbone.

        Returns:
            ``mpjpe`` in units of the normalised clip; ``mpjpe_mm`` in millimetres relative to the root, after the best
            scale of each clip (the scale of a person is not to be seen in an image); ``flat_mm``, the same for the true
            image plane without depth, which whoever lifts must beat; ``depth``, the correlation of lifted and true
            depth; accuracies in per cent.
        """
        a, lifted = observed(model, self.full[0], self.full[1])
        b, _ = observed(model, self.other[0], self.other[1])
        target = self.full[2]
        flat = target * target.new_tensor([1.0, 1.0, 0.0])
        depths = torch.stack((lifted[..., 2].flatten(), target[..., 2].flatten()))
        mixed = np.where((np.arange(len(a)) % 2 == 0)[:, None], a, b)
        return {
            "mpjpe": float((lifted - target).norm(dim=-1).mean()),
            "mpjpe_mm": 1000 * float(aligned_error(lifted, target, self.metres).mean()),
            "flat_mm": 1000 * float(aligned_error(flat, target, self.metres).mean()),
            "depth": float(torch.corrcoef(depths)[0, 1]),
            "few_shot": 100 * ridge_accuracy(a, self.labels, 5, 5, 0),
            "few_shot_hidden": 100 * ridge_accuracy(mixed, self.labels, 5, 5, 0),
        }


def aligned_error(lifted: Tensor, target: Tensor, metres: Tensor) -> Tensor:
    """Mean distance of joints in metres, relative to the root and after the one scale per clip that fits best, N-MPJPE.

    Args:
        lifted: ``(B, T, 17, 3)``.
        target: The same shape, root-relative, in units of the normalised clip.
        metres: ``(B,)`` metres per such unit.

    Returns:
        ``(B,)``.
    """
    lifted = lifted - lifted[:, :, :1]
    scale = (lifted * target).sum((1, 2, 3)) / lifted.square().sum((1, 2, 3)).clamp(min=1e-9)
    error: Tensor = (scale[:, None, None, None] * lifted - target).norm(dim=-1).mean((1, 2)) * metres
    return error
