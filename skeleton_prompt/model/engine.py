"""The engine: ``prepare``, ``forward``, ``finish``; free of any server.

One frozen backbone serves batches whose rows belong to any tenants. The trunk and the plain features are computed once
for the whole batch; what a tenant owns is applied to its own rows alone. A row that cannot be computed gives its error
in its place and leaves its neighbours as they are.

Letters: B rows, W windows of all rows together, F features, N classes of a prompt.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from skeleton_prompt.clips.canonical_skeleton import FRAMES, JOINTS
from skeleton_prompt.clips.clip import Clip
from skeleton_prompt.clips.normalise import PreparedPerson, Quality, prepare
from skeleton_prompt.model import openvino_runtime
from skeleton_prompt.model.backbone import Backbone, load_backbone, read_sizes
from skeleton_prompt.model.backbone_files import backbone_path
from skeleton_prompt.model.class_model import missing_joints, usual_joints
from skeleton_prompt.model.decision import DecisionOptions, Prediction, decide
from skeleton_prompt.model.devices import CapturedForward, cuda_capture, resolve, to_device
from skeleton_prompt.model.dimensions import FLAT, seen_in_2d
from skeleton_prompt.model.features import Windows, completed_features, descriptor_features, frozen_features, streams
from skeleton_prompt.model.multi_tenant import (
    MODULE,
    PROJECTED,
    Outcome,
    PromptTensorCache,
    combine_logits,
    group_by,
    head_logits,
    linear_rows,
    module_rows,
    run_isolated,
    stacked,
    temporal_rows,
    with_familiarity,
)
from skeleton_prompt.model.openvino_runtime import RuntimeUnavailable, openvino_pass
from skeleton_prompt.model.prompt_file import CLASS_MODEL, Array, BackboneMismatch, BadPrompt, Prompt
from skeleton_prompt.model.prompt_module import FULL, Ablation, Parameters, module_logits
from skeleton_prompt.model.temporal_net import frontal, joints_shown, signals, windows_at
from skeleton_prompt.model.tensor_shapes import PROMPTED_BLOCKS, STREAM_FEATURES, TEMPORAL
from skeleton_prompt.model.window_batches import MAX_WINDOWS, window_batches, window_pieces
from skeleton_prompt.model.window_sums import Chunk, Result, WindowSums

Row = tuple[PreparedPerson, Prompt]

log = logging.getLogger(__name__)


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
        runtime: What computes the frozen pass on a CPU: ``torch``, ``openvino``, or ``auto``, OpenVINO where it is
            installed; there PyTorch answers until the backbone is converted.
        cache: Folder for the converted backbone; None keeps it nowhere.

    Raises:
        DeviceUnavailable: If the device is not there.
        RuntimeUnavailable: If OpenVINO is asked for and cannot be used.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        device: str = "cpu",
        threads: int | None = None,
        cuda_graphs: bool = False,
        runtime: str = "torch",
        cache: str | Path | None = None,
    ) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self.device = resolve(device)
        self.backbone = backbone.to(self.device).eval().requires_grad_(False)
        if backbone.house is not None:
            backbone.house = backbone.house.to(self.device)
        self._frozen_pass = self._prepared_pass(cuda_graphs)
        self.backbone_sha256 = backbone.sha256
        self.runtime = "torch"
        sizes = {**read_sizes(backbone.config.width), "frontal": JOINTS * STREAM_FEATURES}
        if backbone.house is not None:
            sizes["house"] = backbone.house.width
        ends = np.cumsum(list(sizes.values()))
        self._shelf = PromptTensorCache(self.device)
        self._read: dict[tuple[str, ...], Tensor] = {}
        self.blocks = {name: slice(int(end) - sizes[name], int(end)) for name, end in zip(sizes, ends, strict=True)}
        if runtime != "torch" and self.device.type == "cpu":
            self._choose_runtime(runtime, None if cache is None else Path(cache))

    @classmethod
    def load(
        cls,
        backbone: str | Path = "edge",
        *,
        device: str = "cpu",
        threads: int | None = None,
        cuda_graphs: bool = False,
        runtime: str = "torch",
        cache: str | Path | None = None,
    ) -> Engine:
        """The engine on a backbone by name or path; see ``backbone_path`` and ``load_backbone`` for errors."""
        options = {"device": device, "threads": threads, "cuda_graphs": cuda_graphs, "runtime": runtime, "cache": cache}
        return cls(load_backbone(backbone_path(backbone)), **options)  # type: ignore[arg-type]

    def _choose_runtime(self, runtime: str, cache: Path | None) -> None:
        """Run the frozen pass on OpenVINO, at once where it was converted before or is insisted on, else later."""
        if not openvino_runtime.is_installed():
            if runtime == "openvino":
                raise RuntimeUnavailable("openvino is not installed: pip install 'skeleton-prompt[server]'")
            return
        path = openvino_runtime.cached(cache, self.backbone_sha256)
        if runtime == "openvino" or (path is not None and path.is_file()):
            self._use_openvino(path, insist=runtime == "openvino")
        else:
            threading.Thread(target=self._use_openvino, args=(path,), name="openvino", daemon=True).start()

    def _use_openvino(self, path: Path | None, *, insist: bool = False) -> None:
        try:
            self._frozen_pass = CapturedForward(openvino_pass(self._frozen, path), padded=False)
            self.runtime = "openvino"
        except RuntimeUnavailable as error:
            if insist:
                raise
            log.warning("PyTorch computes the backbone: %s", error)

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
        self,
        person: PreparedPerson,
        prompt: Prompt,
        logits: Array,
        *,
        top_k: int = 5,
        threshold: float | None = None,
        refusal: float | None = None,
        coverage: float | None = None,
    ) -> Prediction:
        """The prediction from a row's logits; see ``decision.decide``."""
        return decide(person, prompt, logits, DecisionOptions(top_k, threshold, refusal, coverage))

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
        return self._with_projection(total[0] / len(person.pose), person.has_depth)[None]

    def _with_projection(self, features: Tensor, has_depth: bool) -> Tensor:
        """``(F,)`` features averaged over windows, with the shared projection of that average in place."""
        house = self.backbone.house
        if house is None:
            return features
        plain = features[None, : self.blocks["house"].start]
        read = torch.cat([plain[:, self.blocks[name]] for name in house.blocks], 1)
        deep = torch.tensor([has_depth], device=self.device)
        return torch.cat((plain, house.apply(read, deep)), 1)[0]

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
        """Logits of every row; rows may belong to any tenants and have any number of windows.

        Returns:
            Per row ``(N,)`` float32, or the exception that stands for it.
        """
        results: list[Result] = []
        for batch in window_batches([person for person, _ in rows], max(1, len(rows))):
            prompts = [prompt for _, prompt in rows[len(results) : len(results) + len(batch)]]
            if len(batch[0].pose) > MAX_WINDOWS:
                results.append(self._forward_in_pieces(batch[0], prompts[0]))
            else:
                results += self.forward_chunks([Chunk(*row) for row in zip(batch, prompts, strict=True)])
        return [result if not isinstance(result, WindowSums) else RuntimeError("unreachable") for result in results]

    def _forward_in_pieces(self, person: PreparedPerson, prompt: Prompt) -> Result:
        """The logits of a row with more windows than one forward pass takes."""
        result: Result | None = None
        left = len(person.pose)
        for piece in window_pieces(person):
            left -= len(piece.pose)
            before = result if isinstance(result, WindowSums) else None
            (result,) = self.forward_chunks([Chunk(piece, prompt, before, last=not left)])
            if isinstance(result, Exception):
                break
        return result if result is not None else ValueError("the person has no window")

    def forward_chunks(self, chunks: Sequence[Chunk]) -> list[Result]:
        """Logits of every row that ends with its chunk, sums over the windows so far of every other one.

        Returns:
            Per chunk ``(N,)`` float32, ``WindowSums``, or the exception that stands for its row.
        """
        chunks = [
            replace(one, person=seen_in_2d(one.person)) if one.prompt.dimension == FLAT else one for one in chunks
        ]
        refusals = {prompt: self._incompatibility(prompt) for prompt in dict.fromkeys(one.prompt for one in chunks)}
        results: list[Result | None] = [refusals[chunk.prompt] for chunk in chunks]
        runnable = [index for index, result in enumerate(results) if result is None]
        if runnable:
            with torch.inference_mode():
                for index, outcome in zip(runnable, self._outcomes([chunks[i] for i in runnable]), strict=True):
                    values = outcome.features if isinstance(outcome, WindowSums) else outcome
                    finite = isinstance(values, Exception) or bool(np.isfinite(values).all())
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
        mean = prompt.tensors.get(f"{CLASS_MODEL}mean")
        projected = self.blocks.get(*PROJECTED, slice(0, 0))
        if mean is not None and len(mean) != projected.stop - projected.start:
            got, have = len(mean), projected.stop - projected.start
            return BadPrompt(f"the prompt's class model reads {got} features; the shared projection has {have}")
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

    def _outcomes(self, chunks: Sequence[Chunk]) -> Iterator[Result]:
        observed = self.encode(Windows.of([chunk.person for chunk in chunks], self.device))
        prompts = [chunk.prompt for chunk in chunks]
        counts = observed.windows.counts
        windows = [range(end - count, end) for end, count in zip(np.cumsum(counts).tolist(), counts, strict=True)]
        temporal = self._temporal(observed, prompts, windows)
        module = self._module(observed, prompts, windows)
        shown, features = joints_shown(observed.windows).cpu(), observed.features
        parts = [i for i, chunk in enumerate(chunks) if not chunk.is_whole]
        sums = {i: self._sums(chunks[i], features[i], temporal.get(i), module.get(i), shown[i]) for i in parts}
        ending = {i: found for i, found in sums.items() if chunks[i].last and isinstance(found, WindowSums)}
        if ending:
            features, shown = features.clone(), shown.clone()
        for i, found in ending.items():
            average = to_device(found.features / found.windows, self.device)
            features[i] = self._with_projection(average, chunks[i].person.has_depth)
            shown[i] = torch.from_numpy(found.shown)
            for outcomes, total in ((temporal, found.temporal), (module, found.module)):
                if total is not None:
                    outcomes[i] = torch.from_numpy(total / found.windows)
        linear = self._linear(prompts, features, shown.numpy())
        for i, prompt in enumerate(prompts):
            if i in sums and i not in ending:
                yield sums[i]
            else:
                yield combine_logits(prompt, linear[i], temporal.get(i), module.get(i), shown[i])

    def _sums(
        self, chunk: Chunk, features: Tensor, temporal: Outcome | None, module: Outcome | None, shown: Tensor
    ) -> WindowSums | Exception:
        """Sums of a row up to the end of a chunk, of whose windows these are the averages."""
        if isinstance(temporal, Exception) or isinstance(module, Exception):
            return temporal if isinstance(temporal, Exception) else module  # type: ignore[return-value]
        W = len(chunk.person.pose)
        plain = features[: self.blocks["house"].start] if self.backbone.house is not None else features
        logits = [None if part is None else W * part.float().numpy() for part in (temporal, module)]
        found = WindowSums(W, (W * plain).cpu().numpy(), logits[0], logits[1], shown.numpy())
        return found if chunk.before is None else chunk.before + found

    def _linear(self, prompts: Sequence[Prompt], features: Tensor, shown: Array) -> dict[int, Outcome]:
        """Logits of the linear part of every row, on the host."""
        usual = [usual_joints(prompt) for prompt in prompts]
        missing = [
            0 if mine is None else int(missing_joints(mine, seen)) for mine, seen in zip(usual, shown, strict=True)
        ]
        if self.device.type != "cpu":  # few launches and one transfer matter more there than rounding alike
            return linear_rows(self._shelf, prompts, features, self._columns, missing)
        found: dict[int, Outcome] = {}
        for rows in group_by(range(len(prompts)), lambda row: (prompts[row], missing[row])):

            def run(some: Sequence[int], first: int = rows[0]) -> list[Tensor]:
                own = features[some[0], None] if len(some) == 1 else features[list(some)]  # one row needs no copy
                return list(self.linear_logits(prompts[first], own, missing[first]))

            found |= run_isolated(rows, run)
        return found

    def linear_logits(self, prompt: Prompt, features: Tensor, missing: int = 0) -> Tensor:
        """``(B, F)`` features of one prompt's rows, all of which lack ``missing`` joints, to logits ``(B, N)``."""
        heads = self._shelf.heads(prompt, missing)
        x = features[:, self._columns(prompt.blocks)]
        logits = familiar = head_logits(heads.answer, x)
        if heads.familiar:
            x = x if heads.expected is None else features[:, self._columns(PROJECTED)]
            familiar = head_logits(heads.familiar, x[:, : len(heads.familiar["mean"])])
        return with_familiarity(logits, familiar, heads.expected)

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
