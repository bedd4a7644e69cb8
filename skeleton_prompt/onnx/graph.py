"""The whole way from keypoints to logits as one ``nn.Module`` that can be traced into an ONNX graph.

``Normaliser`` says in tensors what ``skeleton_prompt.clips.normalise`` says in numpy, for any number of frames;
a test holds the two together. Everything after it is the engine's own code, so that a change
there reaches the next export.

Letters: N frames as sent, K joints of the layout, J canonical joints (17), D dimensions (2 or 3), T frames of a window
(64), W windows, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from skeleton_prompt.clips.canonical_skeleton import FRAMES
from skeleton_prompt.clips.layouts import Layout
from skeleton_prompt.clips.normalise import (
    FALLBACK_JOINTS,
    GAP_SECONDS,
    JOINT,
    MAX_OFFSET,
    SIDE_PAIRS,
    WINDOW_SECONDS,
)
from skeleton_prompt.model.class_model import MAX_MISSING, ClassModel
from skeleton_prompt.model.decision import CONFIDENCE_WEIGHT, MIN_DOUBT
from skeleton_prompt.model.dimensions import FLAT
from skeleton_prompt.model.engine import Engine
from skeleton_prompt.model.features import Windows
from skeleton_prompt.model.multi_tenant import blend_temporal, head_logits, with_familiarity
from skeleton_prompt.model.prompt_file import CLASS_MODEL, Prompt
from skeleton_prompt.model.prompt_module import module_logits
from skeleton_prompt.model.temporal_net import frontal, temporal_logits

LONGEST_GAP = 512  # frames that a gap to be filled may have at the most: half a second at 1,024 frames a second


class Normaliser(nn.Module):
    """Keypoints of one person in one layout to windows; see ``normalise.prepare``.

    Args:
        layout: Of the keypoints.
        dimensions: D, 2 or 3.
    """

    matrix: Tensor
    gather: Tensor
    available: Tensor
    stops: Tensor

    def __init__(self, layout: Layout, dimensions: int) -> None:
        super().__init__()
        self.layout, self.D = layout, dimensions
        self.register_buffer("matrix", torch.tensor(layout.matrix))
        self.register_buffer("gather", torch.tensor(layout.gather))
        self.register_buffer("available", torch.tensor(layout.available))
        self.register_buffer("stops", torch.tensor(np.linspace(0, 1, FRAMES)))

    def forward(self, keypoints: Tensor, fps: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Normalise a clip.

        Args:
            keypoints: ``(N, K, D + 1)`` float32: coordinates (2-D: y down; 3-D: y up) and confidence; a joint that is
                not finite, has confidence 0, or lies at exactly 0 in every coordinate was not seen.
            fps: ``()`` float64.

        Returns:
            Pose ``(W, T, J, 3)``, depth ``(W, T, J)``, log seconds ``(W,)``, the share of the joints that were seen
            ``()``, and the frames that show the person ``()``.
        """
        pose, confidence = self.canonical(keypoints)
        seen = confidence > 0
        visible = seen.float().mean(0)[self.available].mean()
        frames = seen.any(1).sum()
        pose, whole = fill_gaps(pose, seen, (GAP_SECONDS * fps + 1e-6).floor().clamp(min=1))
        if self.D == 3:
            pose = turn_to_front(pose, whole)
        return (*self.windows(pose, whole, fps), visible, frames)

    def canonical(self, keypoints: Tensor) -> tuple[Tensor, Tensor]:
        """Positions ``(N, J, D)`` and confidence ``(N, J)``; see ``normalise.to_canonical``."""
        given, trust = keypoints[..., : self.D], keypoints[..., self.D]
        # Compared, not asked with isfinite, which has no ONNX operator; a NaN fails every comparison.
        finite = (keypoints.abs() < math.inf).all(-1)
        shown = finite & (given != 0).any(-1) & (trust > 0)
        trust = torch.where(shown, trust, torch.zeros_like(trust))
        given = torch.where(shown[..., None], given, torch.zeros_like(given))
        positions = list(torch.matmul(self.matrix, given).unbind(1))
        confidence = list((trust[:, self.gather].amin(-1) * self.available).unbind(1))
        for joint, (a, b) in FALLBACK_JOINTS:
            if self.layout.available[joint]:
                never = ~(confidence[joint] > 0).any()
                positions[joint] = torch.where(never, (positions[a] + positions[b]) / 2, positions[joint])
                confidence[joint] = torch.where(never, torch.minimum(confidence[a], confidence[b]), confidence[joint])
        return torch.stack(positions, 1), torch.stack(confidence, 1)

    def windows(self, pose: Tensor, seen: Tensor, fps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Cut into windows, resample and scale; see ``normalise.windows``, whose float64 this keeps."""
        N = (torch.ones_like(seen[:, 0])).double().sum()
        count = (N / fps / WINDOW_SECONDS - 1e-9).ceil().clamp(min=1)
        edges = torch.arange(count + 1, dtype=torch.float64)  # type: ignore[call-overload]
        edges = torch.where(edges == count, N - 1, edges * ((N - 1) / count))
        index = edges[:-1, None] + (edges[1:] - edges[:-1])[:, None] * self.stops
        low = index.floor()
        part = (index - low).float()[..., None]
        high = torch.minimum(low + 1, N - 1).long()
        low = low.long()
        shown = seen[low] & (seen[high] | (part == 0))
        points = pose[low] * (1 - part[..., None]) + pose[high] * part[..., None]
        low_edge, middle, high_edge = spread(points.flatten(1, 2), shown.flatten(1, 2))
        size = (high_edge - low_edge)[:, :2].amax(1).clamp(min=1e-6)
        centred = (points - middle[:, None, None]) * (2 / size)[:, None, None, None]
        centred = centred.clamp(-MAX_OFFSET, MAX_OFFSET) * shown[..., None]
        depth = centred[..., 2] if self.D == 3 else torch.zeros_like(centred[..., 0])
        placed = torch.cat((centred[..., :2], shown[..., None].float()), -1)
        seconds = (N / fps / count).clamp(min=1e-2) * torch.ones_like(edges[:-1])
        return placed, depth, seconds.log().float()


def running_maximum(values: Tensor) -> Tensor:
    """``(N, J)`` along the first axis, for reaches up to ``LONGEST_GAP``; ONNX has no running maximum."""
    reach = 1
    while reach < LONGEST_GAP:
        values = torch.maximum(values, functional.pad(values, (0, 0, reach, 0), value=-1.0)[:-reach])
        reach *= 2
    return values


def fill_gaps(pose: Tensor, seen: Tensor, longest: Tensor) -> tuple[Tensor, Tensor]:
    """Interpolate over short gaps; see ``normalise.fill_gaps``. ``pose`` ``(N, J, D)``, ``seen`` ``(N, J)``."""
    ones = torch.ones_like(pose[..., 0])
    frame = ones.double().cumsum(0) - 1
    last = frame.amax()
    nothing = -torch.ones_like(frame)
    before = running_maximum(torch.where(seen, frame, nothing))
    # Of the clip backwards, counted from its end.
    behind = running_maximum(torch.where(seen, last - frame, nothing).flip(0)).flip(0)
    after = last - behind
    fillable = ~seen & (before >= 0) & (behind >= 0) & (after - before - 1 <= longest)
    low, high = before.clamp(min=0), torch.minimum(after, last)
    part = ((frame - low) / (high - low).clamp(min=1)).float()[..., None]
    low, high = (at.long()[..., None].expand_as(pose) for at in (low, high))
    between = pose.gather(0, low) * (1 - part) + pose.gather(0, high) * part
    return torch.where(fillable[..., None], between, pose), seen | fillable


def ordered(values: Tensor, used: Tensor) -> tuple[Tensor, Tensor]:
    """Sort ``(..., M)`` ascending with what is not ``used`` at the end; also how many are used, ``(...)``."""
    infinite = torch.full_like(values, math.inf)
    return torch.where(used, values, infinite).sort(-1)[0], used.long().sum(-1)


def turn_to_front(pose: Tensor, seen: Tensor) -> Tensor:
    """See ``normalise.turn_to_front``: the median axis across hips and shoulders is laid along +x."""
    across = torch.cat([pose[:, JOINT[left]] - pose[:, JOINT[right]] for right, left in SIDE_PAIRS])
    both = torch.cat([seen[:, JOINT[left]] & seen[:, JOINT[right]] for right, left in SIDE_PAIRS])
    axis = torch.stack((across[:, 0], across[:, 2]))
    values, count = ordered(axis, torch.stack((both, both)))
    lower = values.gather(1, ((count - 1).clamp(min=0) // 2)[:, None])
    upper = values.gather(1, (count // 2)[:, None])
    x, z = ((lower + upper)[:, 0] / 2).double().unbind(0)
    size = (x * x + z * z).sqrt()
    # Never seen, the medians are infinite; then, as where there is no direction, nothing is turned.
    known = (size > 1e-6) & (size < math.inf)
    c = torch.where(known, x / size, torch.ones_like(x)).float()
    s = torch.where(known, z / size, torch.zeros_like(z)).float()
    px, py, pz = pose.unbind(-1)
    return torch.stack((c * px + s * pz, -py, s * px - c * pz), -1)


def spread(points: Tensor, used: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """See ``normalise.spread``: percentiles ``(W, D)`` each of the used among ``(W, M, D)`` points; else 0."""
    values, count = ordered(points.transpose(1, 2), used[:, None].expand_as(points.transpose(1, 2)))
    most = (count - 1).clamp(min=0)
    edges = []
    for share in (0.025, 0.5, 0.975):
        place = share * most.double()
        low = place.floor()
        part = (place - low).float()
        upper = torch.minimum(low + 1, most.double()).long()[..., None]
        at_low, at_upper = values.gather(2, low.long()[..., None])[..., 0], values.gather(2, upper)[..., 0]
        value = at_low * (1 - part) + at_upper * part
        edges.append(torch.where(count > 0, value, torch.zeros_like(value)))
    return edges[0], edges[1], edges[2]


class OnePerson(Windows):
    """The windows of one person, whose number is known only when the graph runs."""

    def average(self, values: Tensor) -> Tensor:
        """``(W, ...)`` to ``(1, ...)``."""
        return values.mean(0, keepdim=True)

    def people_with_depth(self) -> Tensor:
        """``(1,)``; all windows of a person agree."""
        return self.has_depth[:1]

    def select(self, rows: Sequence[int]) -> Windows:
        """Not needed in a graph."""
        raise NotImplementedError


class ScoreTables(nn.Module):
    """The heads of a prompt's class model for every number of missing joints; see ``class_model.ClassModel.head``.

    Args:
        prompt: With a class model.
    """

    usual: Tensor

    def __init__(self, prompt: Prompt) -> None:
        super().__init__()
        model = ClassModel.of(prompt.tensors)
        if model is None:
            raise ValueError("the prompt has no class model")
        heads = [model.parameters(missing) for missing in range(MAX_MISSING + 1)]
        self.names = tuple(heads[0])
        for name in self.names:
            self.register_buffer(name, torch.tensor(np.stack([head[name] for head in heads])))
        self.register_buffer("usual", torch.tensor(prompt.tensors[f"{CLASS_MODEL}shown"]))
        self.prompt, self.probabilistic = prompt, "linear.square" in prompt.tensors

    def forward(self, engine: Engine, features: Tensor, shown: Tensor) -> Tensor:
        """Logits ``(1, C)`` of features ``(1, F)`` of a clip that shows the joints ``(1, J)``; see the engine's own."""
        missing = (self.usual - shown).clamp(min=0).sum(1).round().clamp(max=MAX_MISSING).long()
        head = {name: getattr(self, name).index_select(0, missing)[0] for name in self.names}
        scores = head_logits(head, features[:, engine.blocks["house"]])
        scores = with_familiarity(scores, scores, head["expected"])
        linear = engine.linear_logits(self.prompt, features)
        if self.probabilistic:
            return torch.where(missing[:, None] > 0, scores, linear)
        return with_familiarity(linear, scores, None)


class PromptGraph(nn.Module):
    """One prompt on its backbone, from keypoints to probabilities.

    Args:
        engine: That runs the prompt's backbone.
        prompt: Of any kind.
        layout: Of the keypoints.
        dimensions: 2 or 3.
    """

    def __init__(self, engine: Engine, prompt: Prompt, layout: Layout, dimensions: int) -> None:
        super().__init__()
        self.engine, self.prompt, self.D = engine, prompt, dimensions
        self.normaliser = Normaliser(layout, dimensions)
        self.backbone = engine.backbone  # a submodule, so that its weights become the graph's
        self.parameters_of_module = engine.module_parameters(prompt) if prompt.has_module else None
        self.scores = ScoreTables(prompt) if prompt.has_class_model else None
        if self.scores is None:
            self.centres = torch.tensor(prompt.tensors["linear.centres"])
            self.spread = torch.tensor(prompt.tensors["linear.spread"])

    def forward(self, keypoints: Tensor, fps: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """See ``Normaliser.forward`` for the input.

        Returns:
            Logits ``(C,)``; calibrated probabilities of the labels; distance to the nearest class in units of its
            spread, or for a prompt with a class model the familiarity with its sign changed; share of the joints seen;
            frames that show the person.
        """
        pose, depth, log_seconds, visible, frames = self.normaliser(keypoints, fps)
        logits = self.logits(pose, depth, log_seconds)
        every = torch.softmax(logits.double() / self.prompt.calibration.temperature, -1)[: len(self.prompt.labels)]
        probabilities = (every / every.sum().clamp(min=1e-12)).float()
        if self.scores is None:
            gaps = (self.centres - logits).square().sum(1).sqrt()
            distance = (gaps / self.spread.clamp(min=1e-6)).amin()
        else:
            sure = probabilities.amax().clamp(MIN_DOUBT, 1 - MIN_DOUBT)
            distance = -(logits.amax() + CONFIDENCE_WEIGHT * (sure / (1 - sure)).log())
        return logits, probabilities, distance, visible, frames

    def logits(self, pose: Tensor, depth: Tensor, log_seconds: Tensor) -> Tensor:
        """``(C,)``, as ``Engine.forward`` gives them."""
        flat = self.prompt.dimension == FLAT
        depth = torch.zeros_like(depth) if flat else depth
        has_depth = torch.full_like(log_seconds, float(self.D == 3 and not flat)) > 0
        observed = self.engine.encode(OnePerson(pose, depth, has_depth, log_seconds, ()))
        shown = (pose[..., 2] > 0).float().amax((0, 1))[None]
        if self.scores is None:
            logits = self.engine.linear_logits(self.prompt, observed.features)[0]
        else:
            logits = self.scores(self.engine, observed.features, shown)[0]
        familiar = logits
        if self.prompt.has_temporal:
            temporal = temporal_logits(
                self.engine.temporal_parameters(self.prompt), frontal(observed.windows, observed.lifted)
            )
            logits = familiar = blend_temporal(self.prompt, logits[None], temporal.mean(0, keepdim=True), shown)[0]
        if self.parameters_of_module is not None:
            trunk = observed.x, observed.bias
            tokens, masks = observed.tokens, observed.masks
            prompted = module_logits(
                self.parameters_of_module, self.backbone, trunk, observed.embedded, tokens, masks
            ).mean(0)
            share = self.prompt.module_weight
            logits = (1 - share) * logits + share * prompted
        if self.scores is not None:
            logits = with_familiarity(logits, familiar, None)
        return logits
