"""The motion corpus and what pre-training makes of it: new motions, and two views of each.

A *motion* is a 3-D skeleton sequence in world coordinates (metres, y up, the person's own left and right). The corpus
is small, so most motions of a batch are new: limbs of several recordings are put together, sides swapped, time
reversed, and arms and legs swung along smooth random paths. A *view* of a motion is what a detector would have seen of
it from one camera: another body, another stretch and speed, noise, missing joints; normalised exactly as
``skeleton_prompt.clips.normalise`` does.

Letters: B batch, G base frames (96), T frames (64), J joints (17).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from skeleton_prompt.clips.canonical_skeleton import CANONICAL_MIRROR, CANONICAL_PARENTS, FRAMES, JOINTS

BASE_FRAMES = 96
LEGS, TORSO, LEFT_ARM, RIGHT_ARM = (1, 2, 3, 4, 5, 6), (7, 8, 9, 10), (11, 12, 13), (14, 15, 16)
BODY_PARTS = ((1, 4), (2, 3, 5, 6), (7, 8), (9, 10), (11, 14), (12, 13, 15, 16))  # bones by the joint at their end
CHAINS = (((11, 12), (13,), 1.3), ((14, 15), (16,), 1.3), ((2,), (3,), 0.5), ((5,), (6,), 0.5))
LIMBS = ((12, 13), (15, 16), (2, 3), (5, 6), (11, 12, 13), (14, 15, 16), (1, 2, 3), (4, 5, 6), (9, 10))
SOURCE_SHARE = {"cmu_fbx": 0.65, "cmu_amc": 0.05, "cmu_exp": 0.1, "hdm05": 0.1, "ui_prmd": 0.2}
CMU_HELD_OUT = ("02", "29", "31", "63", "74", "115", "118", "124", "126", "127", "135", "144")
HELD_OUT = re.compile(
    # cmu_exp/train/walking/walking_1 is CMU's recording 02_01.
    rf"cmu_(amc|fbx)/({'|'.join(CMU_HELD_OUT)})_|cmu_exp/test/|cmu_exp/train/walking/walking_1(?!\d)"
    r"|HDM_tr_|ui_prmd/m\d+_s(09|10)_"
)
NO_KIND = {"", "clean", "no movie", "story", "unknown"}  # descriptions of recordings that name no action
PAIRED_SECONDS = 8.0  # windows of two recordings of one kind show the same only where recordings are short


@dataclass(frozen=True)
class Corpus:
    """Motion clips in the Human3.6M-17 layout.

    Attributes:
        frames: ``(N, 17, 3)`` float32 world positions in metres, all clips one after the other.
        offsets: ``(clips + 1,)``: clip i is ``frames[offsets[i]:offsets[i + 1]]``.
        weights: ``(clips,)`` probability that a clip is drawn; sums to 1.
        groups: ``(clips,)`` int: clips of one group show the same kind of motion and are never each other's negatives.
        fps: Frames per second.
    """

    frames: Tensor
    offsets: np.ndarray
    weights: np.ndarray
    groups: np.ndarray
    fps: float


def kind_of(name: str, label: str = "") -> str:
    """The kind of motion of a clip.

    Args:
        name: ``source/recording``, perhaps with ``#n``.
        label: The description of the recording, or empty.

    Returns:
        The action in the name (UI-PRMD, HDM05), else the description in lower case without remarks in brackets,
        punctuation and numbers of takes; the recording where there is neither, so that it is a kind of its own.
    """
    if name.startswith("ui_prmd/"):
        return name.split("/")[1][:3]
    if name.startswith("hdm05/"):
        return re.sub(r"^HDM_[a-z]+_|_\d+_120.*$", "", name.split("/")[1])
    if name.startswith("cmu_exp/"):
        return "cmu_" + name.split("/")[2].replace("_extra", "")
    kind = re.sub(r"\([^)]*\)|cleaned *grs", "", label.lower())
    kind = re.sub(r"(?<=[a-z])\d+\b", "", kind)
    kind = re.sub(r"[^a-z0-9]+", " ", kind).strip()
    return name.split("#")[0] if kind in NO_KIND else kind


def subject_of(name: str) -> str:
    """The person of a clip as far as its name says: UI-PRMD ``_s01_``, HDM05 ``HDM_bd_``, CMU ``02_01``; else empty."""
    found = re.search(r"_s(\d+)_|HDM_([a-z]+)_|/(\d+)_\d", name)
    return next((group for group in found.groups() if group), "") if found else ""


def clip_weights(source: np.ndarray, kinds: np.ndarray, subjects: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """How often each clip is drawn: by source, kind of motion, person and length, in this order.

    Inside its source (``source_shares``) a kind is drawn by the square root of its frames, so that many recordings of
    walks do not drown rare actions; inside a kind every person equally; inside a person's a clip by the square root of
    its length.

    Args:
        source: ``(clips,)``.
        kinds: ``(clips,)``.
        subjects: ``(clips,)``.
        lengths: ``(clips,)`` frames.

    Returns:
        ``(clips,)``, summing to 1.
    """
    weights = np.zeros(len(lengths))
    for name, share in source_shares(source, lengths).items():
        mine = np.flatnonzero(source == name)
        sizes = {kind: math.sqrt(lengths[mine[kinds[mine] == kind]].sum()) for kind in np.unique(kinds[mine])}
        for kind, size in sizes.items():
            shown = mine[kinds[mine] == kind]
            people = np.unique(subjects[shown])
            for person in people:
                clips = shown[subjects[shown] == person]
                part = np.sqrt(lengths[clips])
                weights[clips] = share * size / sum(sizes.values()) / len(people) * part / part.sum()
    weights /= weights.sum()
    return weights


def source_shares(source: np.ndarray, lengths: np.ndarray) -> dict[str, float]:
    """How much of the draws each source gets: by its frames, but those of ``SOURCE_SHARE`` split theirs as it says.

    Args:
        source: ``(clips,)`` source of every clip.
        lengths: ``(clips,)`` frames of every clip.
    """
    size = {str(name): float(lengths[source == name].sum()) for name in np.unique(source)}
    known = {name: SOURCE_SHARE[name] for name in size if name in SOURCE_SHARE}
    together = sum(size[name] for name in known)
    shares = {name: together * share / sum(known.values()) for name, share in known.items()}
    return {name: shares.get(name, frames) / sum(size.values()) for name, frames in size.items()}


def held_out_clips(path: Path) -> np.ndarray:
    """Which clips of a corpus are held out, ``(clips,)`` bool: its ``held_out`` array, else names by ``HELD_OUT``."""
    with np.load(path, allow_pickle=False) as file:
        names, marked = file["names"], file.get("held_out")
    return np.array([bool(HELD_OUT.search(str(name))) for name in names] if marked is None else marked, dtype=bool)


def load_corpus(path: Path, *, held_out: bool) -> Corpus:
    """Read ``motion.npz`` (see its README for the arrays; ``docs/pretraining.md`` for those of other corpora).

    Args:
        path: The file.
        held_out: Whether to take the held-out clips (whole recordings and whole subjects) or the training ones. Which
            they are is said by the file's ``held_out`` array, or where it has none by ``HELD_OUT``.

    Raises:
        ValueError: If no clip of the file is of the part asked for.
    """
    with np.load(path, allow_pickle=False) as file:
        frames = file["rel"].astype(np.float32) + file["root"].astype(np.float32)[:, None]
        offsets, names, source = file["offsets"], file["names"], file["source"]
        labels = file["labels"] if "labels" in file else np.full(len(names), "")
        fps = float(file["fps"])
    keep = held_out_clips(path) == held_out
    if not keep.any():
        raise ValueError(f"{path}: none of the {len(names)} clips is {'held out' if held_out else 'for training'}")
    pieces = [frames[offsets[i] : offsets[i + 1]] for i in np.flatnonzero(keep)]
    lengths = np.array([len(piece) for piece in pieces])
    kinds = np.array([kind_of(str(name), str(label)) for name, label in zip(names[keep], labels[keep], strict=True)])
    subjects = np.array([subject_of(str(name)) for name in names[keep]])
    weights = clip_weights(source[keep], kinds, subjects, lengths)
    groups = np.unique(kinds, return_inverse=True)[1]
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    return Corpus(torch.from_numpy(np.concatenate(pieces)), bounds, weights, groups, fps)


def rotate_y(points: Tensor, angle: Tensor) -> Tensor:
    """Turn ``(..., 3)`` points about the vertical by an angle that broadcasts against ``points[..., 0]``."""
    c, s = torch.cos(angle), torch.sin(angle)
    x, y, z = points.unbind(-1)
    return torch.stack((c * x + s * z, y, c * z - s * x), -1)


def to_bones(pose: Tensor) -> Tensor:
    """Bone vectors ``(..., 17, 3)`` (joint less its parent; the root stays as it is)."""
    bones = pose.clone()
    bones[..., 1:, :] -= pose[..., list(CANONICAL_PARENTS[1:]), :]
    return bones


def from_bones(bones: Tensor) -> Tensor:
    """Positions from bone vectors, down the kinematic tree."""
    joints = [bones[..., 0, :]]
    for joint in range(1, JOINTS):
        joints.append(joints[CANONICAL_PARENTS[joint]] + bones[..., joint, :])
    return torch.stack(joints, -2)


def resample(frames: Tensor, index: Tensor) -> Tensor:
    """Linear interpolation of ``(B, G, ...)`` at fractional frame numbers ``(B, T)``."""
    low = index.floor().long().clamp(0, frames.shape[1] - 1)
    high = (low + 1).clamp(max=frames.shape[1] - 1)
    part = (index - low).view(*index.shape, *(1 for _ in frames.shape[2:]))
    rows = torch.arange(len(frames))[:, None]
    result: Tensor = torch.lerp(frames[rows, low], frames[rows, high], part)
    return result


def smooth_path(shape: tuple[int, ...], frames: int, cycles: float, rng: torch.Generator) -> Tensor:
    """Random smooth curves ``(*shape, frames)`` of about unit size: three sinusoids of up to ``cycles`` turns."""
    t = torch.linspace(0, 1, frames)
    total = torch.zeros(*shape, frames)
    for _ in range(3):
        speed = torch.rand(*shape, 1, generator=rng) * cycles
        phase = torch.rand(*shape, 1, generator=rng)
        size = torch.rand(*shape, 1, generator=rng)
        total += size * torch.sin(2 * math.pi * (speed * t + phase))
    return total


def rotate_about(vectors: Tensor, axis: Tensor, angle: Tensor) -> Tensor:
    """Rodrigues' rotation of ``(..., 3)`` vectors about unit axes by angles that broadcast."""
    c, s = torch.cos(angle)[..., None], torch.sin(angle)[..., None]
    axis = axis.expand_as(vectors)
    along = (vectors * axis).sum(-1, keepdim=True)
    turned: Tensor = vectors * c + torch.linalg.cross(axis, vectors) * s + axis * along * (1 - c)
    return turned


def perturb_limbs(bones: Tensor, rng: torch.Generator) -> Tensor:
    """Swing arms (often) and legs (seldom) along smooth random paths: gestures that no recording holds."""
    B, G = bones.shape[:2]
    for upper, lower, size in CHAINS:
        chosen = (torch.rand(B, generator=rng) < (0.5 if size > 1 else 0.15)).float()[:, None, None]
        for moved, share in ((upper + lower, 1.0), (lower, 0.9)):
            axis = torch.randn(B, 1, 1, 3, generator=rng)
            axis = axis / axis.norm(dim=-1, keepdim=True)
            angle = smooth_path((B,), G, 4.0, rng)[..., None] * size * share * chosen
            bones[:, :, list(moved)] = rotate_about(bones[:, :, list(moved)], axis, angle)
    return bones


def facing(pose: Tensor) -> Tensor:
    """The yaw ``(B,)`` by which each sequence's hips are turned away from +x (the left hip) in its middle frame."""
    across = (pose[:, :, 4] - pose[:, :, 1]).mean(1)
    return torch.atan2(-across[:, 2], across[:, 0])


class MotionSampler:
    """Draws batches of motions and views; every draw is a function of the seed it is given."""

    def __init__(self, corpus: Corpus) -> None:
        self.corpus = corpus
        self.by_group = {int(g): np.flatnonzero(corpus.groups == g) for g in np.unique(corpus.groups)}
        lengths = np.diff(corpus.offsets) / corpus.fps
        self.paired = {
            group: len(clips) > 3 and bool(np.median(lengths[clips]) <= PAIRED_SECONDS)
            for group, clips in self.by_group.items()
        }

    def windows(self, clips: np.ndarray, whole: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Windows of 1 to 5 s (the whole clip where ``whole``) as ``(B, G, 17, 3)``, and their seconds ``(B,)``."""
        starts, ends = self.corpus.offsets[clips], self.corpus.offsets[clips + 1]
        lengths = ends - starts
        wanted = np.where(whole, 5.0, rng.uniform(1.0, 5.0, len(clips))) * self.corpus.fps
        span = np.minimum(wanted, lengths - 1)
        first = starts + rng.uniform(0, 1, len(clips)) * (lengths - 1 - span)
        index = torch.from_numpy(first[:, None] + span[:, None] * np.linspace(0, 1, BASE_FRAMES)[None])
        low = index.floor().long()
        high = torch.minimum(low + 1, torch.from_numpy(ends - 1)[:, None])
        part = (index - low).float()[..., None, None]
        frames = self.corpus.frames
        return frames[low] * (1 - part) + frames[high] * part, torch.from_numpy(span / self.corpus.fps).float()

    def motions(self, count: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """A batch of motions, each performed twice.

        Args:
            count: B.
            seed: Everything drawn follows from it.

        Returns:
            Two performances ``(B, G, 17, 3)`` (mostly the same one; for a part of the batch two recordings of the same
            action), their seconds ``(B,)`` each, and ``(B,)`` int group numbers: rows with the same number are never
            to be told apart, -1 is a motion of its own.
        """
        draw = np.random.default_rng(seed)
        rng = torch.Generator().manual_seed(seed)
        clips = draw.choice(len(self.corpus.weights), count, p=self.corpus.weights)
        groups = self.corpus.groups[clips]
        pair = (draw.random(count) < 0.3) & np.array([self.paired[int(g)] for g in groups])
        partners = np.where(pair, [draw.choice(self.by_group[int(g)]) for g in groups], clips)
        first, seconds = self.windows(clips, pair, draw)
        other, other_seconds = self.windows(partners, pair, draw)
        paired = torch.from_numpy(pair)

        flip = torch.from_numpy(draw.random(count) < 0.5)[:, None, None, None]
        first, other = (torch.where(flip, mirror(x), x) for x in (first, other))
        back = torch.from_numpy(draw.random(count) < 0.2)[:, None, None, None]
        first, other = (torch.where(back, x.flip(1), x) for x in (first, other))

        invented = from_bones(perturb_limbs(self.splice(to_bones(first), first, rng), rng))
        new = torch.from_numpy(draw.random(count) < 0.7) & ~paired
        first = torch.where(new[:, None, None, None], invented, first)
        other = torch.where(paired[:, None, None, None], other, first)
        other_seconds = torch.where(paired, other_seconds, seconds)
        kinds = torch.from_numpy(groups).long()
        return first, other, seconds, other_seconds, torch.where(new, torch.full_like(kinds, -1), kinds)

    @staticmethod
    def splice(bones: Tensor, pose: Tensor, rng: torch.Generator) -> Tensor:
        """Give each motion, part by part, the trunk and the arms of other motions of the batch, turned its own way."""
        B = len(bones)
        yaw = facing(pose)
        result = bones.clone()
        for part in (TORSO, LEFT_ARM, RIGHT_ARM):
            donor = torch.randperm(B, generator=rng)
            donor = torch.where(torch.rand(B, generator=rng) < 0.4, donor, torch.arange(B))
            turned = rotate_y(bones[donor][:, :, list(part)], (yaw - yaw[donor])[:, None, None])
            result[:, :, list(part)] = turned
        return result

    @staticmethod
    def view(pose: Tensor, seconds: Tensor, seed: int, *, hide: float = 0.5) -> tuple[Tensor, Tensor, Tensor]:
        """What one camera sees of motions.

        Args:
            pose: ``(B, G, 17, 3)`` world positions in metres.
            seconds: ``(B,)`` duration of each.
            seed: Everything drawn follows from it.
            hide: The share of the batch in which joints are missing.

        Returns:
            ``(B, T, 17, 3)`` x, y, confidence as the backbone takes them, ``(B,)`` log seconds, and the target
            ``(B, T, 17, 3)``: camera coordinates (x right, y down, z away) relative to the root, in the same scale.
        """
        return MotionSampler.measured_view(pose, seconds, seed, hide=hide)[:3]

    @staticmethod
    def measured_view(
        pose: Tensor, seconds: Tensor, seed: int, *, hide: float = 0.5
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What ``view`` gives, and ``(B,)`` metres per unit of its target."""
        rng = torch.Generator().manual_seed(seed)
        B = len(pose)
        index, seconds = stretch(B, seconds, rng)
        bones = to_bones(resample(pose, index))
        bones[:, :, 1:] *= body_scales(B, rng)[:, None, 1:, None]
        image, camera = project(from_bones(bones), rng)
        target = camera - camera[:, :, :1]
        seen = visibility(B, hide, rng)
        image = add_detector_noise(replace_joints(image, seen, rng), rng)
        placed, scaled = normalise(image, seen, target)
        metres = target.flatten(1).norm(dim=1) / scaled.flatten(1).norm(dim=1)
        return placed, torch.log(seconds), scaled, metres


def mirror(pose: Tensor) -> Tensor:
    """The motion in a mirror: x negated, left and right swapped."""
    return pose[:, :, list(CANONICAL_MIRROR)] * pose.new_tensor([-1.0, 1.0, 1.0])


def body_scales(B: int, rng: torch.Generator) -> Tensor:
    """Factors on the bones of B other bodies, ``(B, 17)``: ±22 % per part of the body, ±15 % per bone, sides alike."""
    scales = (torch.rand(B, JOINTS, generator=rng) * 2 - 1) * 0.15
    for part in BODY_PARTS:
        scales[:, list(part)] += (torch.rand(B, 1, generator=rng) * 2 - 1) * 0.2
    scales = torch.exp(scales)
    return (scales + scales[:, list(CANONICAL_MIRROR)]) / 2


def stretch(B: int, seconds: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Frame numbers ``(B, T)`` of a sub-window (75 to 100 %) at a smoothly varying speed, and the new seconds."""
    span = 0.75 + 0.25 * torch.rand(B, 1, generator=rng)
    first = torch.rand(B, 1, generator=rng) * (1 - span)
    t = torch.linspace(0, 1, FRAMES)[None]
    bend = (torch.rand(B, 1, generator=rng) * 2 - 1) * 0.12
    warped = t + bend * torch.sin(math.pi * t) * t.sqrt()
    warped = (warped / warped[:, -1:]).clamp(0, 1)
    speed = torch.exp((torch.rand(B, generator=rng) * 2 - 1) * 0.35)
    return (first + span * warped) * (BASE_FRAMES - 1), seconds * span[:, 0] / speed


def project(pose: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Random cameras: pitch ±20°, roll ±5°, half perspective at 2.5 to 7 m, half orthographic.

    The yaw is uniform over 360° for most and within 15° of the person's front for a third, because 3-D input is
    turned to the front before the backbone sees it.

    Returns:
        Image points ``(B, T, 17, 2)`` (y down) and camera coordinates ``(B, T, 17, 3)`` (x right, y down, z away).
    """
    B = len(pose)
    pose = pose - pose[:, :, :1].mean(1, keepdim=True)
    anywhere = torch.rand(B, generator=rng) * 2 * math.pi
    in_front = (torch.rand(B, generator=rng) * 2 - 1) * math.radians(15) - facing(pose)
    frontal = torch.rand(B, generator=rng) < 0.35
    pose = rotate_y(pose, torch.where(frontal, in_front, anywhere)[:, None, None])
    pitch = (torch.rand(B, 1, 1, generator=rng) * 2 - 1) * math.radians(20)
    roll = (torch.rand(B, 1, 1, generator=rng) * 2 - 1) * math.radians(5)
    x, y, z = pose.unbind(-1)
    y, z = torch.cos(pitch) * y - torch.sin(pitch) * z, torch.sin(pitch) * y + torch.cos(pitch) * z
    x, y = torch.cos(roll) * x - torch.sin(roll) * y, torch.sin(roll) * x + torch.cos(roll) * y
    camera = torch.stack((x, -y, -z), -1)
    distance = 2.5 + 4.5 * torch.rand(B, 1, 1, 1, generator=rng)
    factor = distance / (distance + camera[..., 2:]).clamp(min=0.5)
    flat = torch.rand(B, 1, 1, 1, generator=rng) < 0.5
    return torch.where(flat, camera[..., :2], camera[..., :2] * factor), camera


def visibility(B: int, hide: float, rng: torch.Generator) -> Tensor:
    """Which joints of which frames are seen, ``(B, T, 17)`` bool.

    In a share ``hide`` of the batch up to half of the joints are gone for the whole clip, whole limbs among them; in
    some clips joints are gone for a while; some source layouts have no nose, no head top or no spine.
    """
    seen = torch.ones(B, FRAMES, JOINTS, dtype=torch.bool)
    hidden = torch.rand(B, JOINTS, generator=rng) < torch.rand(B, 1, generator=rng) * 0.5
    for limb in LIMBS:
        hidden[:, list(limb)] |= torch.rand(B, 1, generator=rng) < 0.06
    hidden &= torch.rand(B, 1, generator=rng) < hide
    for joint, share in ((9, 0.25), (10, 0.35), (7, 0.15)):
        hidden[:, joint] |= torch.rand(B, generator=rng) < share
    # At least five joints stay: fewer are no clip that anybody sends.
    order = torch.rand(B, JOINTS, generator=rng).argsort(1)
    hidden.scatter_(1, order[:, :5], False)
    seen &= ~hidden[:, None]
    start = torch.rand(B, 1, JOINTS, generator=rng) * FRAMES
    length = torch.rand(B, 1, JOINTS, generator=rng) * 0.4 * FRAMES
    t = torch.arange(FRAMES)[None, :, None]
    away = (t >= start) & (t < start + length) & (torch.rand(B, 1, JOINTS, generator=rng) < 0.3)
    return seen & ~(away & (torch.rand(B, 1, 1, generator=rng) < 0.3))


def replace_joints(image: Tensor, seen: Tensor, rng: torch.Generator) -> Tensor:
    """Put mid-hips, mid-shoulders and their middle for root, thorax and spine in most clips, as for COCO."""
    chosen = (torch.rand(len(image), 1, 1, 1, generator=rng) < 0.6).expand(-1, *image.shape[1:3], 1)
    stand_in = image.clone()
    stand_in[:, :, 0] = (image[:, :, 1] + image[:, :, 4]) / 2
    stand_in[:, :, 8] = (image[:, :, 11] + image[:, :, 14]) / 2
    stand_in[:, :, 7] = (stand_in[:, :, 0] + stand_in[:, :, 8]) / 2
    for joint, sources in ((0, (1, 4)), (8, (11, 14)), (7, (1, 4, 11, 14))):
        seen[:, :, joint] &= seen[:, :, list(sources)].all(-1) | ~chosen[:, :, joint, 0]
    return torch.where(chosen, stand_in, image)


def add_detector_noise(image: Tensor, rng: torch.Generator) -> Tensor:
    """Add a detector's noise: Gaussian of up to 2 cm, slow drift per joint, and rare outliers."""
    B = len(image)
    size = torch.rand(B, 1, 1, 1, generator=rng) ** 2 * 0.03
    noise = torch.randn(image.shape, generator=rng) * size
    drift = torch.randn(B, 1, JOINTS, 2, generator=rng) * size
    outlier = (torch.rand(B, FRAMES, JOINTS, 1, generator=rng) < 0.003).float()
    return image + noise + drift + outlier * torch.randn(image.shape, generator=rng) * 0.2


def normalise(image: Tensor, seen: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Centre on the median visible point, scale by the larger robust extent; the target gets the same scale."""
    hidden = ~seen[..., None].expand_as(image)
    points = image.masked_fill(hidden, float("nan")).flatten(1, 2)
    low, middle, high = torch.nanquantile(points, torch.tensor([0.025, 0.5, 0.975]), dim=1)
    scale = (2 / (high - low).amax(-1).clamp(min=0.05))[:, None, None, None]
    placed = ((image - middle[:, None, None]) * scale).masked_fill(hidden, 0)
    return torch.cat((placed, seen[..., None].float()), -1), target * scale
