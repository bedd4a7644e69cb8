"""What tenants own, applied to the rows of a mixed batch together.

The frozen part of the network does not know whose row is whose. What follows it has other weights for every tenant,
and run tenant by tenant it would cost each of them the overhead of all its operations. Here the weights of tenants
whose parts have the same shape but for the number of classes are stacked, so that one sequence of operations serves all
of them; heads of fewer classes are padded with zeros, which are cut off again. What fails for rows together is tried
for each by itself, so that only the row to blame has an error for an answer.

Letters: P prompts, W windows of each of them, R rows of parameters, F frames, N classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from skeleton_prompt.model.class_model import ClassModel
from skeleton_prompt.model.prompt_file import CLASS_MODEL, Array, Prompt
from skeleton_prompt.model.prompt_module import Parameters
from skeleton_prompt.model.temporal_net import Signals, share_of, stacked_temporal_logits
from skeleton_prompt.model.tensor_shapes import TEMPORAL, VISIBLE_JOINT_INPUTS

MODULE = "module."
PARTS = ("linear.", "likeness.", TEMPORAL, MODULE)
PROJECTED = ("house",)  # the block of the shared projection
AGREEMENT_WEIGHT, AGREEMENT_FLOOR = 0.1, 1e-3
SCORE_HEADS = 3  # kept for each prompt; the statistics that they are computed from are the prompt's own
PER_CLASS = {"weight", "bias", "head.2.weight", "head.2.bias", "head.centres"}  # their first dimension is N
HOST_ONLY = {
    "linear.centres",
    "linear.spread",
    TEMPORAL + VISIBLE_JOINT_INPUTS,
}  # distances and shares are computed on the host

Outcome = Tensor | Exception
Key = TypeVar("Key")


@dataclass(frozen=True, eq=False)
class Heads:
    """The linear heads that answer some rows of a prompt.

    Attributes:
        answer: Parameters of the head whose logits are the answer.
        familiar: Parameters of the head whose largest logit says how familiar a clip is; empty where that is
            ``answer``. With ``expected`` it reads the shared projection, without it the first features of ``answer``.
        expected: ``()``, what the largest logit of ``familiar`` is on average for a clip of a taught class; None for a
            prompt without a class model, and where it is 1.
    """

    answer: Parameters
    familiar: Parameters
    expected: Tensor | None = None

    @property
    def stack_key(self) -> tuple[object, ...]:
        """What two heads must agree in to be stacked."""
        return stack_key(self.answer), stack_key(self.familiar), self.expected is None


class PromptTensorCache:
    """The tensors of prompts where an engine computes, for as long as somebody holds the prompt.

    On a CPU they are the prompt's own memory, seen as tensors; to a GPU they go once, in one transfer.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._placed: WeakKeyDictionary[Prompt, dict[str, dict[str, Tensor]]] = WeakKeyDictionary()
        self._scores: WeakKeyDictionary[Prompt, dict[int, dict[str, Tensor]]] = WeakKeyDictionary()

    def part(self, prompt: Prompt, prefix: str) -> dict[str, Tensor]:
        """The tensors of one of a prompt's parts (``PARTS``), by their names without the prefix."""
        placed = self._placed.get(prompt)
        if placed is None:
            placed = self._placed[prompt] = self._place(prompt)
        return placed[prefix]

    def heads(self, prompt: Prompt, missing: int) -> Heads:
        """The heads that answer clips which lack ``missing`` joints that the taught clips show."""
        linear = self.part(prompt, "linear.")
        if not prompt.has_class_model:
            return Heads(linear, self.part(prompt, "likeness."))
        probabilistic = "square" in linear
        if probabilistic and not missing:
            return Heads(linear, {})
        scores = self._score_head(prompt, missing)
        expected = scores["expected"]
        scores = {name: value for name, value in scores.items() if name != "expected"}
        return Heads(scores, {}, expected) if probabilistic else Heads(linear, scores, expected)

    @torch.inference_mode(False)
    def _score_head(self, prompt: Prompt, missing: int) -> dict[str, Tensor]:
        kept = self._scores.setdefault(prompt, {})
        head = kept.get(missing)
        if head is None:
            model = ClassModel.of(prompt.tensors)
            if model is None:
                raise ValueError("the prompt has no class model")
            head = {name: torch.from_numpy(value).to(self.device) for name, value in model.parameters(missing).items()}
            while len(kept) >= SCORE_HEADS:
                kept.pop(next(iter(kept)), None)
            kept[missing] = head
        return head

    @torch.inference_mode(False)  # they outlive the forward pass that asked for them first
    def _place(self, prompt: Prompt) -> dict[str, dict[str, Tensor]]:
        arrays = {
            name: value
            for name, value in prompt.tensors.items()
            if name not in HOST_ONLY and not name.startswith(CLASS_MODEL)
        }
        if self.device.type == "cpu":
            placed = {name: torch.from_numpy(value) for name, value in arrays.items()}
        else:
            placed = send_packed(arrays, self.device)
        return {
            prefix: {name.removeprefix(prefix): value for name, value in placed.items() if name.startswith(prefix)}
            for prefix in PARTS
        }


def send_packed(arrays: Mapping[str, Array], device: torch.device) -> dict[str, Tensor]:
    """Arrays on a device in one transfer, as views of one tensor there."""
    packed = torch.from_numpy(np.concatenate([np.ravel(array) for array in arrays.values()]))
    if device.type == "cuda":  # from page-locked memory, so that nobody waits for it
        packed = packed.pin_memory()
    parts = torch.split(packed.to(device, non_blocking=True), [array.size for array in arrays.values()])
    return {name: part.view(array.shape) for (name, array), part in zip(arrays.items(), parts, strict=True)}


def stacked(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The parameters of parts of one kind, each ``(R, ...)``; what has a row per class is padded to the largest N."""
    result = {}
    for name in parts[0]:
        values = [part[name] for part in parts]
        if name in PER_CLASS:
            most = max(len(value) for value in values)
            values = [
                functional.pad(v, (0, 0) * (v.ndim - 1) + (0, most - len(v))) if len(v) < most else v for v in values
            ]
        result[name] = torch.stack(values)
    return result


def stack_key(part: Mapping[str, Tensor]) -> tuple[object, ...]:
    """What two parts must agree in to be stacked: the shapes, but for the number of classes."""
    return tuple(sorted((name, tuple(value.shape[name in PER_CLASS :])) for name, value in part.items()))


def group_by(rows: Iterable[int], key: Callable[[int], Key]) -> list[list[int]]:
    """Rows in groups of one key each, in the order of the first of each group."""
    groups: dict[Key, list[int]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return list(groups.values())


def sort_by_prompt(rows: Sequence[int], prompts: Sequence[Prompt]) -> tuple[list[int], list[Prompt]]:
    """Rows with those of one prompt side by side, so that its weights are stacked once; and those prompts in order."""
    groups = group_by(rows, lambda row: prompts[row])
    return [row for group in groups for row in group], [prompts[group[0]] for group in groups]


def run_isolated(rows: Sequence[int], run: Callable[[Sequence[int]], Sequence[Tensor]]) -> dict[int, Outcome]:
    """What ``run`` makes of rows; where it fails, what it makes of each by itself, to find the one to blame."""
    try:
        return dict(zip(rows, run(rows), strict=True))
    except Exception as error:
        if len(rows) == 1:
            return {rows[0]: error}
        return {row: outcome for one in rows for row, outcome in run_isolated([one], run).items()}


def linear_rows(
    shelf: PromptTensorCache,
    prompts: Sequence[Prompt],
    features: Tensor,
    columns: Callable[[tuple[str, ...]], Tensor | slice],
    missing: Sequence[int],
) -> dict[int, Outcome]:
    """Logits ``(N,)`` of the linear parts of all rows, on the host.

    Args:
        shelf: Of the prompts' tensors.
        prompts: Of the rows.
        features: ``(B, F)`` of the rows, all blocks.
        columns: Which of them are those of some blocks.
        missing: Joints that each row lacks; see ``class_model.missing_joints``.
    """
    heads = {key: shelf.heads(*key) for key in set(zip(prompts, missing, strict=True))}

    def run(rows: Sequence[int]) -> list[Tensor]:
        groups = group_by(rows, lambda row: (prompts[row], missing[row]))
        order, mine = [row for group in groups for row in group], [heads[prompts[g[0]], missing[g[0]]] for g in groups]
        first = prompts[order[0]]
        chosen = torch.unflatten(features[order], 0, (len(mine), -1))
        logits = stacked_head_logits(stacked([one.answer for one in mine]), chosen[..., columns(first.blocks)]).flatten(
            0, 1
        )
        familiar = logits
        if mine[0].familiar:
            x = chosen[..., columns(PROJECTED if mine[0].expected is not None else first.blocks)]
            x = x[..., : mine[0].familiar["mean"].shape[0]]
            familiar = stacked_head_logits(stacked([one.familiar for one in mine]), x).flatten(0, 1)
        logits, familiar = logits.cpu(), familiar.cpu()
        found = {}
        for place, row in enumerate(order):
            N, head = prompts[row].classes, heads[prompts[row], missing[row]]
            mine_alone = logits[place, :N]
            other = familiar[place, :N] if head.familiar else mine_alone
            found[row] = with_familiarity(mine_alone, other, head.expected)
        return [found[row] for row in rows]

    many = Counter(zip(prompts, missing, strict=True))

    def key(row: int) -> tuple[object, ...]:
        mine = prompts[row], missing[row]
        return many[mine], prompts[row].blocks, heads[mine].stack_key

    return {
        row: outcome for rows in group_by(range(len(prompts)), key) for row, outcome in run_isolated(rows, run).items()
    }


def agreement(linear: Tensor, temporal: Tensor, temperature: float) -> Tensor:
    """What the agreement of two heads adds to the familiarity of rows, ``(B, 1)``, from their logits ``(B, N)``."""
    both = ((linear / temperature).softmax(-1) * (temporal / temperature).softmax(-1)).sum(-1, keepdim=True)
    return AGREEMENT_WEIGHT * (both + AGREEMENT_FLOOR).log()


def with_familiarity(logits: Tensor, familiar: Tensor, expected: Tensor | None) -> Tensor:
    """Logits ``(..., N)`` shifted so that the largest is the largest of ``familiar`` over what is ``expected``."""
    if familiar is logits and expected is None:
        return logits
    largest = familiar.amax(-1, keepdim=True)
    if expected is not None:
        largest = largest / expected.to(largest.device)
    return logits + (largest - logits.amax(-1, keepdim=True))


def stacked_head_logits(p: Parameters, x: Tensor) -> Tensor:
    """``head_logits`` of P prompts at once: ``(P, W, F)`` features and parameters ``(P, ...)`` to ``(P, W, N)``."""
    x = (x - p["mean"][:, None]) * p["scale"][:, None]
    logits = torch.baddbmm(p["bias"][:, None], x, p["weight"].mT)
    if "square" not in p:
        return logits
    curved = (x @ p["curve"].mT).square()
    common = x.square() @ p["square"][..., None] + curved @ p["bend"][..., None]
    return logits - common / 2


def temporal_rows(
    shelf: PromptTensorCache, prompts: Sequence[Prompt], windows: Mapping[int, Sequence[int]], seen: Signals
) -> dict[int, Outcome]:
    """Logits ``(N,)`` of the temporal parts of rows, averaged over each row's windows, on the host.

    Args:
        shelf: Of the prompts' tensors.
        prompts: Of all rows of the batch.
        windows: For each row that has a temporal part, which windows of ``seen`` are its own.
        seen: What the temporal parts look at.
    """
    many = Counter(prompts[row] for row, own in windows.items() for _ in own)

    def run(rows: Sequence[int]) -> list[Tensor]:
        order, mine = sort_by_prompt(rows, prompts)
        weights = stacked([shelf.part(prompt, TEMPORAL) for prompt in mine])
        index = [window for row in order for window in windows[row]]
        distance, slow, fast = (torch.unflatten(part[index], 0, (len(mine), -1)).transpose(1, 2) for part in seen)
        every = stacked_temporal_logits(weights, (distance, slow, fast)).transpose(1, 2).flatten(0, 1).cpu()
        means = torch.split(every, [len(windows[row]) for row in order])
        found = {row: mean[:, : prompts[row].classes].mean(0) for row, mean in zip(order, means, strict=True)}
        return [found[row] for row in rows]

    # As many windows of each prompt, so that none is padded.
    groups = group_by(windows, lambda row: (many[prompts[row]], stack_key(shelf.part(prompts[row], TEMPORAL))))
    return {row: outcome for rows in groups for row, outcome in run_isolated(rows, run).items()}


def module_rows(
    shelf: PromptTensorCache,
    prompts: Sequence[Prompt],
    windows: Mapping[int, Sequence[int]],
    ask: Callable[[Parameters, Sequence[int]], Tensor],
) -> dict[int, Outcome]:
    """Logits ``(N,)`` of the modules of rows, averaged over each row's windows, on the host.

    Args:
        shelf: Of the prompts' tensors.
        prompts: Of all rows of the batch.
        windows: For each row that has a module, which windows of the batch are its own.
        ask: Logits of parameters, stacked for one or for all of some windows; see ``Observed.logits``.
    """

    def run(rows: Sequence[int]) -> list[Tensor]:
        owners = [prompts[row] for row in rows for _ in windows[row]]
        weights = stacked([shelf.part(prompt, MODULE) for prompt in (owners if len(set(owners)) > 1 else owners[:1])])
        every = ask(weights, [window for row in rows for window in windows[row]]).cpu()
        means = torch.split(every, [len(windows[row]) for row in rows])
        return [mean[:, : prompts[row].classes].mean(0) for row, mean in zip(rows, means, strict=True)]

    groups = group_by(windows, lambda row: stack_key(shelf.part(prompts[row], MODULE)))
    return {row: outcome for rows in groups for row, outcome in run_isolated(rows, run).items()}


def head_logits(tensors: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """``(B, F)`` features that a linear part reads to its logits ``(B, N)``; see ``bundle.linear_shapes``."""
    x = (x - tensors["mean"]) * tensors["scale"]
    # Row by row: a matrix product may round differently with the number of rows, and with it the answer.
    logits = torch.stack([torch.mv(tensors["weight"], row) for row in x]) + tensors["bias"]
    if "square" in tensors:
        curved = torch.stack([torch.mv(tensors["curve"], row) for row in x])
        common = (x.square() * tensors["square"]).sum(1) + (curved.square() * tensors["bend"]).sum(1)
        logits = logits - common[:, None] / 2
    return logits


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
            mixed = (1 - prompt.module_weight) * logits + prompt.module_weight * module
            logits = with_familiarity(mixed, logits, None) if prompt.has_class_model else mixed
    except Exception as error:  # of a prompt that no file could hold; its own row's alone
        return error
    return logits.float().numpy()


def blend_temporal(prompt: Prompt, linear: Tensor, temporal: Tensor, shown: Tensor) -> Tensor:
    """Logits ``(B, N)`` of the linear and the temporal part together.

    The largest stays that of the linear part, which says how familiar a clip is; with a class model the agreement of
    the two parts is added to it.

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
    largest = linear.amax(1, keepdim=True)
    if prompt.has_class_model:
        largest = largest + agreement(linear, temporal, prompt.calibration.temperature)
    return mixed + (largest - mixed.amax(1, keepdim=True))
