"""What is read off a clip: four motion streams per joint, and the feature blocks that linear heads work on.

Letters: B rows, T frames (64), S patches (16), J joints (17), D width of the backbone, F features of a block.

The streams are joints, bones, motion and the *frontal* 3-D pose: measured depth for 3-D input, the backbone's own lift
for 2-D input, both turned about the vertical until the person faces the camera. Each stream describes each joint by
mean, deviation and speed in eight time bins. A joint that was not seen has zeros and is masked. The *completed*
descriptors are those of the same pose with every joint that was not seen put where the lift has it, so that a missing
joint costs what the lift does not know of it and no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from skeleton_prompt.clips.canonical_skeleton import CANONICAL_PARENTS
from skeleton_prompt.clips.normalise import PreparedPerson
from skeleton_prompt.model.devices import to_device

TIME_BINS = 8
RIGHT_TO_LEFT = ((1, 4), (14, 11))


@dataclass(frozen=True)
class Windows:
    """Windows of several people, one after the other, as tensors.

    Attributes:
        pose: ``(W, T, J, 3)`` x, y, confidence.
        depth: ``(W, T, J)``, zeros for 2-D input.
        has_depth: ``(W,)`` bool.
        log_seconds: ``(W,)``.
        counts: How many windows each person has.
    """

    pose: Tensor
    depth: Tensor
    has_depth: Tensor
    log_seconds: Tensor
    counts: tuple[int, ...]

    @classmethod
    def of(cls, people: Sequence[PreparedPerson], device: torch.device | str = "cpu") -> Windows:
        """Collect the windows of people into one batch."""

        def join(parts: list[np.ndarray]) -> Tensor:
            return to_device(np.concatenate(parts), device)

        counts = tuple(len(person.pose) for person in people)
        has_depth = np.repeat([person.has_depth for person in people], counts)
        pose = join([person.pose for person in people])
        # Detectors mean different things by confidence; pre-training knows only seen and not seen.
        pose[..., 2] = (pose[..., 2] > 0).float()
        return cls(
            pose,
            join([person.depth for person in people]),
            to_device(has_depth, device),
            join([person.log_seconds for person in people]),
            counts,
        )

    @classmethod
    def join(cls, parts: Sequence[Windows]) -> Windows:
        """Put batches of windows one after the other."""
        return cls(
            torch.cat([part.pose for part in parts]),
            torch.cat([part.depth for part in parts]),
            torch.cat([part.has_depth for part in parts]),
            torch.cat([part.log_seconds for part in parts]),
            tuple(count for part in parts for count in part.counts),
        )

    def select(self, rows: Sequence[int]) -> Windows:
        """Some of the windows, each counted as a person of its own."""
        index = list(rows)
        return Windows(
            self.pose[index], self.depth[index], self.has_depth[index], self.log_seconds[index], (1,) * len(index)
        )

    def people_with_depth(self) -> Tensor:
        """``(people,)`` bool: whose clip was 3-D."""
        first = np.cumsum([0, *self.counts[:-1]])
        return self.has_depth[to_device(first, self.has_depth.device)]

    def average(self, values: Tensor) -> Tensor:
        """Mean over the windows of each person: ``(W, ...)`` to ``(people, ...)``."""
        if len(self.counts) == len(values):
            return values
        return torch.stack([part.mean(0) for part in torch.split(values, list(self.counts))])


def turn_to_front(pose: Tensor) -> Tensor:
    """Turn 3-D poses about the vertical until the person faces the camera.

    Args:
        pose: ``(B, T, J, 3)``: x right, y down, z away from the camera.

    Returns:
        The same shape: hips and shoulders, on average over the clip, run along +x from right to left.
    """
    across = sum((pose[:, :, left] - pose[:, :, right] for right, left in RIGHT_TO_LEFT), torch.zeros(()))
    x, z = across[..., 0].mean(1), across[..., 2].mean(1)
    size = torch.hypot(x, z)
    known = size > 1e-4
    cos = torch.where(known, x / size.clamp(min=1e-4), torch.ones_like(x))[:, None, None]
    sin = torch.where(known, z / size.clamp(min=1e-4), torch.zeros_like(z))[:, None, None]
    turned_x = cos * pose[..., 0] + sin * pose[..., 2]
    turned_z = cos * pose[..., 2] - sin * pose[..., 0]
    return torch.stack((turned_x, pose[..., 1], turned_z), -1)


def statistics(values: Tensor, seen: Tensor) -> Tensor:
    """Mean, deviation and speed of each joint in eight time bins.

    Args:
        values: ``(B, T, J, 3)``.
        seen: ``(B, T, J)`` 0 or 1.

    Returns:
        ``(B, J, 72)``; zeros where a joint was not seen in a bin.
    """
    mask = seen[..., None]
    binned, weight = (torch.unflatten(x, 1, (TIME_BINS, -1)) for x in (values * mask, mask))
    count = weight.sum(2).clamp(min=1)
    mean = binned.sum(2) / count
    spread = (((binned - mean[:, :, None]) * weight).square().sum(2) / count).sqrt()
    both = mask[:, 1:] * mask[:, :-1]
    step = torch.zeros_like(values)
    step[:, 1:] = values.diff(dim=1).abs() * both
    speed = torch.unflatten(step, 1, (TIME_BINS, -1)).sum(2) / count
    joined = torch.stack((mean, spread, speed * 8), -1)  # (B, bins, J, 3, 3)
    return joined.permute(0, 2, 1, 3, 4).flatten(2)


def streams(windows: Windows, lifted: Tensor | None) -> tuple[Tensor, Tensor]:
    """The stream tokens of windows.

    Args:
        windows: The clips.
        lifted: ``(W, T, J, 3)`` from the backbone's lift head, for windows without depth; None leaves that stream out.

    Returns:
        ``(W, 3 or 4, J, 72)`` and whether each joint was seen at all, ``(W, J)`` bool.
    """
    seen = (windows.pose[..., 2] > 0).float()
    joints = torch.cat((windows.pose[..., :2], windows.depth[..., None]), -1)
    tokens = plain_streams(joints, seen)
    if lifted is not None:
        measured = joints - joints[:, :, :1]
        frontal = torch.where(windows.has_depth[:, None, None, None], measured, turn_to_front(lifted))
        # The lift stands in for missing joints, so its stream is whole for 2-D input.
        whole = torch.where(windows.has_depth[:, None, None], seen, torch.ones_like(seen))
        tokens.append(statistics(frontal, whole))
    return torch.stack(tokens, 1), seen.amax(1) > 0


def plain_streams(joints: Tensor, seen: Tensor) -> list[Tensor]:
    """The tokens of joints, bones and motion, each ``(B, J, 72)``, of ``(B, T, J, 3)`` and ``(B, T, J)`` 0 or 1."""
    parents = parent_joints(joints.device)
    motion = torch.zeros_like(joints)
    motion[:, 1:] = joints.diff(dim=1) * 8
    moved = seen.clone()
    moved[:, 1:] *= seen[:, :-1]
    moved[:, 0] = 0
    bones = joints - joints.index_select(2, parents)
    moving = statistics(motion, moved)
    return [statistics(joints, seen), statistics(bones, seen * seen.index_select(2, parents)), moving]


@cache
def parent_joints(device: torch.device) -> Tensor:
    """``CANONICAL_PARENTS`` as an index tensor, cached per device: CUDA graphs cannot record a copy from the host."""
    with torch.inference_mode(False):
        return torch.tensor(CANONICAL_PARENTS, device=device)


def complete(windows: Windows, lifted: Tensor) -> Tensor:
    """Poses in which joints that were not seen stand where the lift has them.

    The lift is relative to the root, which may itself be missing; it is moved, frame by frame, to where it agrees on
    average with the joints that were seen, and by the clip's own average in frames that show nothing.

    Args:
        windows: The clips.
        lifted: ``(W, T, J, 3)`` from the backbone's lift head.

    Returns:
        ``(W, T, J, 3)``; the third coordinate is zero for 2-D input.
    """
    seen = (windows.pose[..., 2:] > 0).float()
    joints = torch.cat((windows.pose[..., :2], windows.depth[..., None]), -1)
    gaps = (joints - lifted) * seen
    count = seen.sum(2, keepdim=True)
    overall = gaps.sum((1, 2), keepdim=True) / seen.sum((1, 2), keepdim=True).clamp(min=1)
    offset = torch.where(count > 0, gaps.sum(2, keepdim=True) / count.clamp(min=1), overall)
    filled = torch.where(seen > 0, joints, lifted + offset)
    filled[..., 2] *= windows.has_depth[:, None, None]
    return filled


def completed_features(windows: Windows, lifted: Tensor) -> Tensor:
    """The plain descriptors ``(W, DESCRIPTORS)`` of completed poses."""
    filled = complete(windows, lifted)
    tokens = torch.stack(plain_streams(filled, torch.ones_like(filled[..., 0])), 1)
    return descriptor_features(tokens, windows.log_seconds)


def frozen_features(features: Tensor) -> Tensor:
    """``(B, S, J, D)`` as ``(B, J·D + 4·D)``: the mean over time per joint, and four time bins over joints."""
    bins = torch.unflatten(features, 1, (4, -1)).mean((2, 3))
    return torch.cat((features.mean(1).flatten(1), bins.flatten(1)), 1)


def descriptor_features(tokens: Tensor, log_seconds: Tensor) -> Tensor:
    """Stream tokens ``(B, ≥3, J, 72)`` as the plain descriptors ``(B, DESCRIPTORS)`` of joints, bones and motion."""
    return torch.cat((tokens[:, :3].flatten(1), log_seconds[:, None]), 1)


def descriptors(people: Sequence[PreparedPerson]) -> np.ndarray:
    """The stream descriptors of people, without any backbone: the baseline to beat.

    Returns:
        ``(people, DESCRIPTORS)`` float32.
    """
    windows = Windows.of(people)
    tokens, _ = streams(windows, None)
    return windows.average(descriptor_features(tokens, windows.log_seconds)).numpy()
