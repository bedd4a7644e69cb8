"""Judging a backbone by motion that it was never trained on: lift error and few-shot accuracy of its actions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from skeleton_prompt.model.backbone import Backbone
from training.pretraining.motion_sampler import MotionSampler, load_corpus

CLASS_CLIPS = 8  # an action needs as many clips, 5 to teach and others to test
CLASSES = 48  # recordings that stand for actions where a corpus names none


def pooled(model: Backbone, pose: Tensor, log_seconds: Tensor) -> np.ndarray:
    """Plain features of views, to judge a backbone by: mean over time per joint, four time bins over joints."""
    model.eval()
    rows = []
    with torch.inference_mode():
        for start in range(0, len(pose), 32):
            features = model(pose[start : start + 32], log_seconds[start : start + 32])
            bins = torch.unflatten(features, 1, (4, -1)).mean((2, 3))
            rows.append(torch.cat((features.mean(1).flatten(1), bins.flatten(1)), 1))
    return torch.cat(rows).float().cpu().numpy()


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
    """Held-out motion seen by two cameras, by one of them with joints missing.

    Its classes are the actions of which it has enough clips. A corpus whose recordings have no such names is judged by
    recordings: each is a class, and windows of it from different cameras are its examples.
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
            chosen = np.repeat(rng.permutation(len(corpus.weights))[:CLASSES], CLASS_CLIPS)
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
        device = next(model.parameters()).device
        views = [[part.to(device) for part in view] for view in (self.full, self.other)]
        model.eval()
        with torch.inference_mode():
            lifted = torch.cat(
                [
                    model.lift(model(pose, log_seconds), pose)
                    for pose, log_seconds, _ in zip(*(torch.split(part, 32) for part in views[0]), strict=True)
                ]
            )
        lifted, target = lifted.cpu(), self.full[2]
        flat = target * target.new_tensor([1.0, 1.0, 0.0])
        depths = torch.stack((lifted[..., 2].flatten(), target[..., 2].flatten()))
        a, b = (pooled(model, view[0], view[1]) for view in views)
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
