"""The temporal part of a prompt: a small convolution over time that a tenant's clips train from the house's weights.

The signals are those of Yang et al. 2019, "Make Skeleton-based Action Recognition Model Smaller, Faster and Better"
(DD-Net): the distances between all joints, which know no place and no direction, and the motion of every joint at two
speeds. Each passes a branch of its own, the three together a trunk, and the largest value over time goes to a head.
Where the frozen backbone says what a motion is *like*, this part tells apart what one tenant has to tell apart: two
paths of one hand before one sensor. It sees the pose that the backbone lifted, so that a clip from another side, or one
that misses a joint, still shows the same motion. Batch norms are folded into the convolutions once tuning has ended.

Letters: W windows, F frames (32), J joints (17), C coordinates (3), M pairs of joints (136), N classes, U filters.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from itertools import combinations

import torch
from torch import Tensor
from torch.nn import functional

from skeleton_prompt.model.features import Windows, complete, turn_to_front
from skeleton_prompt.model.tensor_shapes import BRANCHES, COORDINATES, TRUNK

FRAMES = 32
SLOPE = 0.2  # of the leaky ReLU
LACKING = 4.5  # joints missing, from which on the share is the one for clips that lack joints
POOLED = ("distance", "slow")  # the fast motion has half the frames already

Parameters = Mapping[str, Tensor]
Signals = tuple[Tensor, Tensor, Tensor]
"""Distances, slow and fast motion; see ``signals``."""


def joints_shown(windows: Windows) -> Tensor:
    """``(people, J)``: 1 for every joint that a person shows at any moment, else 0."""
    return windows.average((windows.pose[..., 2] > 0).any(1).float()).ceil()


def share_of(whole: float, lacking: float, usual: Tensor | None, shown: Tensor) -> Tensor:
    """The temporal part's share of the logits, ``(B, 1)``: what the lift guesses is worth less than what was seen.

    Args:
        whole: Share for people who show every joint that the taught clips show.
        lacking: Share for people who lack 4.5 of them or more; between the two it is interpolated.
        usual: ``(J,)``, how many of the taught clips show a joint, 0 to 1; None where the prompt does not say.
        shown: ``(B, J)``, as ``joints_shown`` gives it.
    """
    if usual is None:
        return torch.full((len(shown), 1), whole, device=shown.device)
    missing = (usual - shown).clamp(min=0).sum(1, keepdim=True)
    return whole + (lacking - whole) * (missing / LACKING).clamp(max=1)


def motion(points: Tensor, seen: Tensor | None = None) -> Tensor:
    """Differences of neighbouring frames ``(B, F - 1, J, C)`` stretched back to F frames: ``(B, J·C, F)``."""
    F = points.shape[1]
    steps = points.diff(dim=1)
    if seen is not None:
        steps = steps * (seen[:, 1:] * seen[:, :-1])[..., None]
    return functional.interpolate(steps.flatten(2).transpose(1, 2), size=F, mode="linear", align_corners=False)


@cache
def pairs(joints: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The first and the second joint of every pair, kept on the device: each copy there would wait for it."""
    with torch.inference_mode(False):
        a, b = torch.tensor(list(combinations(range(joints), 2)), device=device).T.contiguous()
    return a, b


def distances(points: Tensor, seen: Tensor | None = None) -> Tensor:
    """Distances of all pairs of joints ``(B, M, F)`` relative to their mean over the clip, less 1; see ``signals``."""
    B, F, J, _ = points.shape
    a, b = pairs(J, points.device)
    # Coordinates and joints first: every step below then runs over whole rows of memory.
    planes = points.permute(3, 2, 0, 1).flatten(2).contiguous()
    squares = ((plane.index_select(0, a) - plane.index_select(0, b)).square() for plane in planes)
    lengths = sum(squares, torch.zeros(len(a), B * F, device=points.device)).sqrt().view(-1, B, F)
    if seen is None:
        return (lengths / lengths.mean((0, 2), keepdim=True).clamp(min=1e-4) - 1).transpose(0, 1)
    plane = seen.permute(2, 0, 1)
    both = plane[a] * plane[b]
    mean = ((lengths * both).sum((0, 2)) / both.sum((0, 2)).clamp(min=1)).clamp(min=1e-4)[:, None]
    return ((lengths / mean - 1) * both).transpose(0, 1)


def signals(points: Tensor, seen: Tensor | None = None) -> Signals:
    """Distances ``(B, M, F)``, slow motion ``(B, J·C, F)`` and fast motion ``(B, J·C, F/2)`` of points.

    Distances are taken relative to their mean over the clip, as the authors of DD-Net do; one to a joint that is not
    seen is 0, which is that mean, and so is a motion from or to it.

    Args:
        points: ``(B, F, J, C)``.
        seen: ``(B, F, J)``, 0 or 1; None where every joint is.
    """
    fast = motion(points[:, ::2], None if seen is None else seen[:, ::2])
    return distances(points, seen), motion(points, seen), fast


def frontal(windows: Windows, lifted: Tensor) -> Windows:
    """What the temporal part looks at: the person in three dimensions, facing the camera, with no joint missing.

    Clips with depth face the camera already; the lift stands where they miss a joint. Of clips without depth it is the
    lift itself, turned to the front.

    Args:
        windows: As they came.
        lifted: ``(W, T, J, 3)`` from the backbone's lift head.
    """
    deep = windows.has_depth
    points = torch.where(deep[:, None, None, None], complete(windows, lifted), turn_to_front(lifted))
    pose = torch.cat((points[..., :2], torch.ones_like(points[..., :1])), -1)
    return Windows(pose, points[..., 2], torch.ones_like(deep), windows.log_seconds, windows.counts)


def windows_at(windows: Windows, coordinates: int = COORDINATES) -> tuple[Tensor, Tensor]:
    """Points ``(W, F, J, coordinates)`` of windows at 32 of their moments, and which are seen ``(W, F, J)``."""
    points = torch.cat((windows.pose[..., :2], windows.depth[..., None]), -1)[..., :coordinates]
    moments = torch.linspace(0, points.shape[1] - 1, FRAMES, device=points.device)
    low = moments.floor().long()
    high = (low + 1).clamp(max=points.shape[1] - 1)
    part = (moments - low)[:, None]
    visible = windows.pose[..., 2] > 0
    seen = (visible[:, low] & (visible[:, high] | (part == 0))).to(points.dtype)
    between = points[:, low] * (1 - part[..., None]) + points[:, high] * part[..., None]
    return between * seen[..., None], seen


def temporal_logits(p: Parameters, windows: Windows) -> Tensor:
    """Logits ``(W, N)`` of one tenant's windows.

    Args:
        p: Parameters by their names in ``tensor_shapes.temporal_layers``, each with ``.weight`` and ``.bias``.
        windows: All of that tenant, as ``frontal`` gives them.
    """

    def convolved(x: Tensor, name: str) -> Tensor:
        weight = p[f"{name}.weight"]
        y = functional.conv1d(x, weight, p[f"{name}.bias"], padding=weight.shape[-1] // 2)
        return functional.leaky_relu(y, SLOPE)

    parts = []
    points, _ = windows_at(windows)
    for name, x in zip(BRANCHES, signals(points), strict=True):
        for number in range(3):
            x = convolved(x, f"{name}.{number}")
        parts.append(functional.max_pool1d(x, 2) if name in POOLED else x)
    x = torch.cat(parts, 1)
    for number in range(TRUNK):
        x = convolved(x, f"trunk.{number}")
        if number in (1, 3):
            x = functional.max_pool1d(x, 2)
    x = x.amax(2)
    for number in range(2):
        x = functional.linear(x, p[f"head.{number}.weight"], p[f"head.{number}.bias"])
        x = functional.leaky_relu(x, SLOPE)
    return functional.linear(x, p["head.2.weight"], p["head.2.bias"])


def stacked_temporal_logits(p: Parameters, seen: Signals) -> Tensor:
    """``temporal_logits`` of many tenants at once: the same network, with a product of matrices for each layer.

    Args:
        p: Parameters ``(P, ...)`` of P prompts, by their names in ``tensor_shapes.temporal_layers``.
        seen: ``signals`` of W windows of each of them, ``(P, channels, W, F)``.

    Returns:
        ``(P, N, W)``.
    """

    def layer(x: Tensor, name: str) -> Tensor:
        weight, bias = p[f"{name}.weight"].flatten(2), p[f"{name}.bias"]
        return torch.matmul(weight, x).add_(bias[..., None])

    def convolved(x: Tensor, name: str) -> Tensor:
        _, _, W, F = x.shape
        size = p[f"{name}.weight"].shape[-1]
        if size > 1:  # what the filter sees of each frame, one under the other
            x = functional.pad(x, (size // 2, size // 2)).unfold(3, size, 1).permute(0, 1, 4, 2, 3)
            x = x.reshape(len(x), -1, W, F)
        return torch.unflatten(functional.leaky_relu_(layer(x.flatten(2), name), SLOPE), 2, (W, F))

    def halved(x: Tensor) -> Tensor:
        return torch.maximum(x[..., ::2], x[..., 1::2])

    parts = []
    for name, x in zip(BRANCHES, seen, strict=True):
        for number in range(3):
            x = convolved(x, f"{name}.{number}")
        parts.append(halved(x) if name in POOLED else x)
    x = torch.cat(parts, 1)
    for number in range(TRUNK):
        x = convolved(x, f"trunk.{number}")
        if number in (1, 3):
            x = halved(x)
    x = x.amax(3)
    for number in range(2):
        x = functional.leaky_relu_(layer(x, f"head.{number}"), SLOPE)
    return layer(x, "head.2")
