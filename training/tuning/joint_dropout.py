"""Clips that lack joints throughout, made from whole ones: what joint-drop training adds to a baseline.

A person with joints gone is placed anew as ``skeleton_prompt.clips.normalise`` would place it, because a clip that
is sent without them is centred and scaled on what it shows.

Letters: W windows, T frames (64), J joints (17).
"""

from __future__ import annotations

import torch
from torch import Tensor

from skeleton_prompt.model.features import Windows

FEWEST, MOST = 1, 8  # joints that a clip loses
LEFT = 4  # joints that it keeps at the least: fewer are no clip that anybody sends
QUANTILES = (0.025, 0.5, 0.975)


def drop_joints(windows: Windows, rng: torch.Generator) -> Windows:
    """The same people, each without 1 to 8 of the joints it shows, in all of its windows alike."""
    counts = torch.tensor(windows.counts)
    P, J = len(windows.counts), windows.pose.shape[2]
    owner = torch.repeat_interleave(torch.arange(P), counts)
    shown = torch.zeros(P, J).index_add_(0, owner, (windows.pose[..., 2] > 0).any(1).float()) > 0
    wanted = torch.randint(FEWEST, MOST + 1, (P,), generator=rng)
    gone = torch.minimum(wanted, (shown.sum(1) - LEFT).clamp(min=0))
    # A random order in which the joints that are shown come first.
    order = (torch.rand(P, J, generator=rng) + (~shown).float()).argsort(1).argsort(1)
    return without(windows, (order < gone[:, None])[owner])


def without(windows: Windows, gone: Tensor) -> Windows:
    """Windows without the joints ``gone`` ``(W, J)`` bool, placed anew on what is left."""
    seen = (windows.pose[..., 2] > 0) & ~gone[:, None]
    points = torch.cat((windows.pose[..., :2], windows.depth[..., None]), -1)
    low, middle, high = _quantiles(points, seen)
    size = (high - low)[:, :2].amax(1).clamp(min=1e-6)
    placed = (points - middle[:, None, None]) * (2 / size)[:, None, None, None]
    # A window that shows nothing keeps its zeros; one that lost nothing is left as it was, to the bit.
    placed = torch.where(gone.any(1)[:, None, None, None], placed, points)
    placed = placed.nan_to_num(0.0) * seen[..., None]
    pose = torch.cat((placed[..., :2], (windows.pose[..., 2] * seen)[..., None]), -1)
    depth = placed[..., 2] * windows.has_depth[:, None, None]
    return Windows(pose, depth, windows.has_depth, windows.log_seconds, windows.counts)


def _quantiles(points: Tensor, seen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """2.5th, 50th and 97.5th percentile ``(W, 3)`` of the points that are seen; infinite where none is."""
    ordered = points.masked_fill(~seen[..., None], float("inf")).flatten(1, 2).sort(1).values
    count = seen.flatten(1).sum(1)
    result = []
    for quantile in QUANTILES:
        place = (count - 1).clamp(min=0) * quantile
        low = place.floor().long()
        high = torch.minimum(low + 1, (count - 1).clamp(min=0))
        part = (place - low)[:, None]
        ends = [ordered.gather(1, at[:, None, None].expand(-1, 1, 3))[:, 0] for at in (low, high)]
        result.append(ends[0] * (1 - part) + ends[1] * part)
    return result[0], result[1], result[2]
