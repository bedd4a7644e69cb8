"""The engine: ``prepare``, ``forward``, ``finish``; free of any server.

One frozen backbone serves batches whose rows belong to any tenants. The trunk and the plain features are computed once
for the whole batch; what a tenant owns is applied to its own rows alone. A row that cannot be computed gives its error
in its place and leaves its neighbours as they are.

Letters: B rows, W windows of all rows together, F features, N classes of a prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from skeleton_prompt.clips.clip import Clip
from skeleton_prompt.clips.normalise import PreparedPerson, Quality, prepare
from skeleton_prompt.model.backbone import FRAMES, JOINTS, Backbone, load_backbone, read_sizes
from skeleton_prompt.model.backbone_files import backbone_path
from skeleton_prompt.model.decision import Prediction, decide
from skeleton_prompt.model.devices import CapturedForward, cuda_capture, resolve
from skeleton_prompt.model.features import Windows, completed_features, descriptor_features, frozen_features, streams
from skeleton_prompt.model.multi_tenant import (
    MODULE,
    Outcome,
    PromptTensorCache,
    group_by,
    head_logits,
    linear_rows,
    module_rows,
    run_isolated,
    stacked,
    temporal_rows,
)
from skeleton_prompt.model.prompt_file import Array, BackboneMismatch, BadPrompt, Prompt
from skeleton_prompt.model.prompt_module import FULL, Ablation, Parameters, module_logits
from skeleton_prompt.model.temporal_net import frontal, joints_shown, share_of, signals, windows_at
from skeleton_prompt.model.tensor_shapes import PROMPTED_BLOCKS, STREAM_FEATURES, TEMPORAL, VISIBLE_JOINT_INPUTS
from skeleton_prompt.model.window_batches import MAX_WINDOWS, window_batches, window_pieces

Row = tuple[PreparedPerson, Prompt]


@dataclass(frozen=True)
class FrozenFeatures:
    """What the frozen part of the network makes of windows; no tenant has a part in it.

    Attributes:
        windows: The input.
        embedded: ``(W, S, J, D)``, the embedded input that prompt generators look at.
        x: ``(W, S, J, D)``, tokens in front of the prompted blocks.
        lifted: ``(W, T, J, 3)``, the pose in three dimensions relative to the root, in camera coordinates.
        top: ``(W, S, J, D)``, what the prompted blocks make of them without any prompt.
        bias: ``(W, S, J)``, attention bias of those tokens.
        tokens: ``(W, 4, J, 72)`` stream tokens.
        masks: ``(W, 4, J)`` bool, which stream tokens say anything.
        features: ``(B, F)``, all feature blocks, averaged over the windows of each person.
    """

    windows: Windows
    embedded: Tensor
    x: Tensor
    lifted: Tensor
    top: Tensor
    bias: Tensor
    tokens: Tensor
    masks: Tensor
    features: Tensor

    def logits(
        self, parameters: Parameters, backbone: Backbone, rows: Sequence[int], controls: Ablation = FULL
    ) -> Tensor:
        """Logits ``(len(rows), N)`` of a prompt module on some of the windows; see ``prompts.module_logits``."""
        index = list(rows)
        trunk = self.x[index], self.bias[index]
        embedded, tokens, masks = self.embedded[index], self.tokens[index], self.masks[index]
        return module_logits(parameters, backbone, trunk, embedded, tokens, masks, controls)


class Engine:
    """A frozen backbone and what it computes for people and prompts.

    Args:
        backbone: The frozen model.
        device: Where to compute; see ``devices.resolve``.
        threads: Torch threads of this process, or None to leave them.
        cuda_graphs: On a GPU, record the frozen pass once for each size of batch; see ``devices.CapturedForward``.

    Raises:
        DeviceUnavailable: If the device is not there.
    """

    def __init__(
        self, backbone: Backbone, *, device: str = "cpu", threads: int | None = None, cuda_graphs: bool = False
    ) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self.device = resolve(device)
        self.backbone = backbone.to(self.device).eval().requires_grad_(False)
        if backbone.house is not None:
            backbone.house = backbone.house.to(self.device)
        self._frozen_pass = self._prepared_pass(cuda_graphs)
        self.backbone_sha256 = backbone.sha256
        sizes = {**read_sizes(backbone.config.width), "frontal": JOINTS * STREAM_FEATURES}
        if backbone.house is not None:
            sizes["house"] = backbone.house.width
        ends = np.cumsum(list(sizes.values()))
        self._shelf = PromptTensorCache(self.device)
        self._read: dict[tuple[str, ...], Tensor] = {}
        self.blocks = {name: slice(int(end) - sizes[name], int(end)) for name, end in zip(sizes, ends, strict=True)}

    @classmethod
    def load(
        cls,
        backbone: str | Path = "edge",
        *,
        device: str = "cpu",
        threads: int | None = None,
        cuda_graphs: bool = False,
    ) -> Engine:
        """The engine on a backbone by name or path; see ``backbone_path`` and ``load_backbone`` for errors."""
        return cls(load_backbone(backbone_path(backbone)), device=device, threads=threads, cuda_graphs=cuda_graphs)

    def _prepared_pass(self, cuda_graphs: bool) -> CapturedForward:
        """The frozen pass as this device runs it best."""
        on_gpu = self.device.type == "cuda"
        if on_gpu:
            # Ten bits instead of 23 in convolutions would make answers differ from those that a prompt was made with.
            torch.backends.cudnn.allow_tf32 = False
        capture = cuda_capture(self.device) if on_gpu and cuda_graphs else None
        frozen = CapturedForward(self._frozen, padded=on_gpu, capture=capture)
        pose = torch.ones(1, FRAMES, JOINTS, 3, device=self.device)
        frozen.record(pose, torch.zeros(1, device=self.device))
        return frozen

    def _frozen(self, pose: Tensor, log_seconds: Tensor) -> tuple[Tensor, ...]:
        """The fields ``embedded``, ``bias``, ``x``, ``top`` and ``lifted`` of ``FrozenFeatures``."""
        embedded, bias = self.backbone.tokens(pose, log_seconds)
        x = self.backbone.trunk(embedded, bias, prompted=PROMPTED_BLOCKS)
        top = self.backbone.top(x, bias, last=PROMPTED_BLOCKS)
        return embedded, bias, x, top, self.backbone.lift(top, pose)

    def prepare(self, clip: Clip) -> tuple[list[PreparedPerson], Quality]:
        """One ``PreparedPerson`` per person of a clip, and what was done to it; see ``normalise.prepare``."""
        return prepare(clip)

    def finish(
        self, person: PreparedPerson, prompt: Prompt, logits: Array, *, top_k: int = 5, threshold: float | None = None
    ) -> Prediction:
        """The prediction from a row's logits; see ``decision.decide``."""
        return decide(person, prompt, logits, top_k=top_k, threshold=threshold)

    @torch.inference_mode()
    def features(
        self, people: Sequence[PreparedPerson], batch_size: int = 16, check: Callable[[], object] = lambda: None
    ) -> Array:
        """Frozen features of people, all blocks side by side; ``self.blocks`` maps block names to columns.

        Args:
            people: Any number, each with any number of windows; a forward pass sees at most ``MAX_WINDOWS`` of them.
            batch_size: Maximum number of people per forward pass.
            check: Called before every forward pass; may raise to stop.

        Returns:
            ``(B, F)`` float32, the windows of each person averaged.
        """
        if not people:
            return np.zeros((0, max(block.stop for block in self.blocks.values())), dtype=np.float32)
        parts = []
        for batch in window_batches(people, batch_size):
            check()
            if len(batch[0].pose) > MAX_WINDOWS:
                parts.append(self._features_in_pieces(batch[0], check))
            else:
                parts.append(self.encode(Windows.of(batch, self.device)).features)
        return torch.cat(parts).cpu().numpy()

    def _features_in_pieces(self, person: PreparedPerson, check: Callable[[], object]) -> Tensor:
        """``(1, F)`` of a person with more windows than one forward pass takes."""
        total: Tensor | None = None
        for piece in window_pieces(person):
            check()
            part = self.encode(Windows.of([piece], self.device)).features * len(piece.pose)
            total = part if total is None else total + part
        assert total is not None  # noqa: S101  # a person has at least one window
        mean = total / len(person.pose)
        house = self.backbone.house
        if house is not None:  # projects the mean of the windows, so the mean of the projections is replaced
            plain = mean[:, : self.blocks["house"].start]
            read = torch.cat([plain[:, self.blocks[name]] for name in house.blocks], 1)
            deep = torch.tensor([person.has_depth], device=self.device)
            mean = torch.cat((plain, house.apply(read, deep)), 1)
        return mean

    def columns(self, blocks: Sequence[str]) -> np.ndarray:
        """Indices of the columns of the named feature blocks, in their order.

        Raises:
            BadPrompt: If a block is unknown.
        """
        for name in blocks:
            if name not in self.blocks:
                raise BadPrompt(
                    f"the prompt reads the feature block {name!r}; this engine has {', '.join(self.blocks)}"
                )
        return np.concatenate([np.arange(self.blocks[name].start, self.blocks[name].stop) for name in blocks])

    def _columns(self, blocks: tuple[str, ...]) -> Tensor | slice:
        """``columns`` to index with; those of one block lie side by side."""
        if len(blocks) == 1:
            return self.blocks[blocks[0]]
        if blocks not in self._read:
            self._read[blocks] = torch.from_numpy(self.columns(blocks)).to(self.device)
        return self._read[blocks]

    def forward(self, rows: Sequence[Row]) -> list[Array | Exception]:
        """Logits of every row; rows may belong to any tenants.

        Returns:
            Per row ``(N,)`` float32, or the exception that stands for it.
        """
        refusals = {prompt: self._incompatibility(prompt) for prompt in dict.fromkeys(prompt for _, prompt in rows)}
        results: list[Array | Exception | None] = [refusals[prompt] for _, prompt in rows]
        runnable = [index for index, result in enumerate(results) if result is None]
        if runnable:
            with torch.inference_mode():
                for index, outcome in zip(runnable, self._logits([rows[i] for i in runnable]), strict=True):
                    finite = isinstance(outcome, Exception) or bool(np.isfinite(outcome).all())
                    results[index] = outcome if finite else ArithmeticError("the logits are not finite")
        return [result if result is not None else RuntimeError("unreachable") for result in results]

    def _incompatibility(self, prompt: Prompt) -> Exception | None:
        """Why a prompt cannot run on this engine, if it cannot."""
        if prompt.backbone_sha256 != self.backbone_sha256:
            return BackboneMismatch(
                f"the prompt was made for backbone {prompt.backbone_sha256[:12]}, this engine runs "
                f"{self.backbone_sha256[:12]}"
            )
        try:
            columns = self.columns(prompt.blocks)
        except BadPrompt as error:
            return error
        if prompt.tensors["linear.mean"].shape != columns.shape:
            got = prompt.tensors["linear.mean"].shape[0]
            return BadPrompt(f"the prompt reads {got} features; its blocks have {len(columns)}")
        key = prompt.tensors.get("module.query.key")
        if key is not None and key.shape[1] != self.backbone.config.width:
            return BadPrompt(f"the prompt's module is for width {key.shape[1]}, not {self.backbone.config.width}")
        return None

    def encode(self, windows: Windows) -> FrozenFeatures:
        """Run the frozen part of the network once."""
        embedded, bias, x, frozen, lifted = self._frozen_pass(windows.pose, windows.log_seconds)
        tokens, seen = streams(windows, lifted)
        described = descriptor_features(tokens, windows.log_seconds)
        blocks = (frozen_features(frozen), described, completed_features(windows, lifted), tokens[:, 3].flatten(1))
        # The lift stands in for what a 2-D clip does not show, so its stream is never masked there.
        whole = seen | ~windows.has_depth[:, None]
        masks = torch.stack((seen, seen, seen, whole), 1)
        features = windows.average(torch.cat(blocks, 1))
        house = self.backbone.house
        if house is not None:
            read = torch.cat([features[:, self.blocks[name]] for name in house.blocks], 1)
            features = torch.cat((features, house.apply(read, windows.people_with_depth())), 1)
        return FrozenFeatures(windows, embedded, x, lifted, frozen, bias, tokens, masks, features)

    def _logits(self, rows: Sequence[Row]) -> Iterator[Array | Exception]:
        observed = self.encode(Windows.of([person for person, _ in rows], self.device))
        prompts = [prompt for _, prompt in rows]
        counts = observed.windows.counts
        windows = [range(end - count, end) for end, count in zip(np.cumsum(counts).tolist(), counts, strict=True)]
        linear = self._linear(prompts, observed.features)
        temporal = self._temporal(observed, prompts, windows)
        module = self._module(observed, prompts, windows)
        shown = joints_shown(observed.windows).cpu()
        for row, prompt in enumerate(prompts):
            yield combine_logits(prompt, linear[row], temporal.get(row), module.get(row), shown[row])

    def _linear(self, prompts: Sequence[Prompt], features: Tensor) -> dict[int, Outcome]:
        """Logits of the linear part of every row, on the host."""
        if self.device.type != "cpu":  # few launches and one transfer matter more there than rounding alike
            return linear_rows(self._shelf, prompts, features, self._columns)
        found: dict[int, Outcome] = {}
        for rows in group_by(range(len(prompts)), prompts.__getitem__):

            def run(some: Sequence[int], prompt: Prompt = prompts[rows[0]]) -> list[Tensor]:
                own = features[some[0], None] if len(some) == 1 else features[list(some)]  # one row needs no copy
                return list(self.linear_logits(prompt, own))

            found |= run_isolated(rows, run)
        return found

    def linear_logits(self, prompt: Prompt, features: Tensor) -> Tensor:
        """``(B, F)`` features of one prompt's rows to its logits ``(B, N)``."""
        x = features[:, self._columns(prompt.blocks)]
        logits = head_logits(self._shelf.part(prompt, "linear."), x)
        likeness = self._shelf.part(prompt, "likeness.")
        if likeness:
            familiar = head_logits(likeness, x[:, : len(likeness["mean"])])
            logits = logits + (familiar.amax(1, keepdim=True) - logits.amax(1, keepdim=True))
        return logits

    @torch.inference_mode()
    def frontal(
        self, people: Sequence[PreparedPerson], batch_size: int = 16, check: Callable[[], object] = lambda: None
    ) -> list[PreparedPerson]:
        """People as the temporal part of a prompt sees them: lifted, facing the camera, no joint missing.

        Args:
            people: Any number, each with any number of windows; a forward pass sees at most ``MAX_WINDOWS`` of them.
            batch_size: Maximum number of people per forward pass.
            check: Called before every forward pass; may raise to stop.
        """
        found: list[PreparedPerson] = []
        for batch in window_batches(people, batch_size):
            if len(batch[0].pose) > MAX_WINDOWS:
                pieces = [part for piece in window_pieces(batch[0]) for part in self._turned([piece], check)]
                pose, depth = (np.concatenate([getattr(part, name) for part in pieces]) for name in ("pose", "depth"))
                found.append(replace(batch[0], pose=pose, depth=depth, has_depth=True))
            else:
                found += self._turned(batch, check)
        return found

    def _turned(self, batch: Sequence[PreparedPerson], check: Callable[[], object]) -> list[PreparedPerson]:
        """``frontal`` of a batch that one forward pass can take."""
        check()
        windows = Windows.of(batch, self.device)
        turned = frontal(windows, self.lift(windows))
        found: list[PreparedPerson] = []
        for person, end, count in zip(batch, np.cumsum(turned.counts), turned.counts, strict=True):
            pose, depth = (x[end - count : end].cpu().numpy() for x in (turned.pose, turned.depth))
            found.append(replace(person, pose=pose, depth=depth, has_depth=True))
        return found

    def lift(self, windows: Windows) -> Tensor:
        """The pose of windows in three dimensions, ``(W, T, J, 3)``; see ``Observed.lifted``."""
        return self._frozen_pass(windows.pose, windows.log_seconds)[-1]

    def _temporal(
        self, observed: FrozenFeatures, prompts: Sequence[Prompt], windows: Sequence[range]
    ) -> dict[int, Outcome]:
        """Logits of the rows whose prompt has a temporal part, on the host."""
        rows = [row for row, prompt in enumerate(prompts) if prompt.has_temporal]
        if not rows:
            return {}
        mine = [window for row in rows for window in windows[row]]
        points, _ = windows_at(frontal(observed.windows.select(mine), observed.lifted[mine]))
        seen = signals(points)  # no joint is missing there
        ends = np.cumsum([len(windows[row]) for row in rows]).tolist()
        places = {row: range(end - len(windows[row]), end) for row, end in zip(rows, ends, strict=True)}
        return temporal_rows(self._shelf, prompts, places, seen)

    def _module(
        self, observed: FrozenFeatures, prompts: Sequence[Prompt], windows: Sequence[range]
    ) -> dict[int, Outcome]:
        """Logits of the rows whose prompt has a module, on the host."""
        rows = {row: windows[row] for row, prompt in enumerate(prompts) if prompt.has_module}
        return module_rows(self._shelf, prompts, rows, lambda p, some: observed.logits(p, self.backbone, some))

    def temporal_parameters(self, prompt: Prompt) -> dict[str, Tensor]:
        """The parameters of a prompt's temporal part by their names in ``temporal_layers``."""
        return self._shelf.part(prompt, TEMPORAL)

    def module_parameters(self, prompt: Prompt) -> dict[str, Tensor]:
        """The parameters of a prompt's module, each with one row; see ``prompts.module_logits``."""
        return stacked([self._shelf.part(prompt, MODULE)])


def combine_logits(
    prompt: Prompt, linear: Outcome, temporal: Outcome | None, module: Outcome | None, shown: Tensor
) -> Array | Exception:
    """Logits ``(N,)`` of a row from those of the parts that its prompt has, or the error of one of them.

    Args:
        prompt: Whose row it is.
        linear: ``(N,)`` on the host, as all that follow.
        temporal: ``(N,)``, or None where the prompt has no such part.
        module: Likewise.
        shown: ``(J,)``, the joints that the person shows.
    """
    for outcome in (linear, temporal, module):
        if isinstance(outcome, Exception):
            return outcome
    assert isinstance(linear, Tensor)  # noqa: S101  # every prompt has a linear part, and its error was returned
    logits = linear
    try:
        if isinstance(temporal, Tensor):
            logits = blend_temporal(prompt, logits[None], temporal[None], shown[None])[0]
        if isinstance(module, Tensor):
            logits = (1 - prompt.module_weight) * logits + prompt.module_weight * module
    except Exception as error:  # of a prompt that no file could hold; its own row's alone
        return error
    return logits.float().numpy()


def blend_temporal(prompt: Prompt, linear: Tensor, temporal: Tensor, shown: Tensor) -> Tensor:
    """Logits ``(B, N)`` of the linear and the temporal part together; the largest stays that of the linear part.

    How large it is says how familiar a clip is, which the temporal part knows nothing of.

    Args:
        prompt: Whose they are.
        linear: ``(B, N)``.
        temporal: ``(B, N)``.
        shown: ``(B, J)``, the joints that each person shows; see ``temporal.joints_shown``.
    """
    usual = prompt.tensors.get(TEMPORAL + VISIBLE_JOINT_INPUTS)
    known = None if usual is None else torch.from_numpy(usual).to(shown.device)
    share = share_of(prompt.temporal_weight, prompt.temporal_weight_missing_joints, known, shown)
    mixed = (1 - share) * linear + share * temporal
    return mixed + (linear.amax(1, keepdim=True) - mixed.amax(1, keepdim=True))
