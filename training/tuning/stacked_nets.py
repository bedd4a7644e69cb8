"""Temporal parts of several lessons trained side by side: the folds of a cross-validation and all clips at once.

Small nets spend most of a step on starting operations. K nets of one shape that take their steps together, each on
clips of its own, do so once: four take half of the time that they take one after the other. They share nothing else;
weights, batch norms, drawn clips and the bound on the gradient are those of each net alone.

Letters: K nets, I and O channels in and out, B clips of a batch of one net, F frames (32), N classes.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from skeleton_prompt.model.prompt_file import Array
from skeleton_prompt.model.temporal_net import POOLED, SLOPE
from skeleton_prompt.model.tensor_shapes import BRANCHES, TEMPORAL, TRUNK, temporal_layers

EPSILON = 1e-3  # of the batch norms, as in DD-Net
HALVED_AFTER = (1, 3)  # layers of the trunk


class Layer(nn.Module):
    """A convolution of K nets without bias, batch norm and leaky ReLU, and by wish spatial dropout.

    Args:
        nets: K.
        inner: I.
        outer: O.
        kernel: 1 or 3 frames.
        dropout: Share of whole channels of a clip that are dropped.
    """

    def __init__(self, nets: int, inner: int, outer: int, kernel: int, dropout: float = 0.0) -> None:
        super().__init__()
        bound = 1 / math.sqrt(inner * kernel)  # as torch begins a convolution
        self.weight = nn.Parameter(torch.empty(nets, outer, inner * kernel).uniform_(-bound, bound))
        self.norm = nn.BatchNorm1d(nets * outer, eps=EPSILON)
        self.kernel, self.dropout = kernel, dropout

    def forward(self, x: Tensor) -> Tensor:
        """``(K, I, B, F)`` to ``(K, O, B, F)``."""
        K, _, B, F = x.shape
        if self.kernel == 3:
            padded = functional.pad(x, (1, 1))
            x = torch.stack((padded[..., :-2], x, padded[..., 2:]), 2)
        y = torch.bmm(self.weight, x.reshape(K, -1, B * F))
        y = functional.leaky_relu(self.norm(y.view(1, -1, B * F)), SLOPE).view(K, -1, B, F)
        return dropped(y, self.dropout) if self.training else y

    def folded(self, net: int, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Weight ``shape`` and bias of one net that do what its convolution and its batch norm do."""
        mine = slice(net * shape[0], (net + 1) * shape[0])
        mean, variance = cast(Tensor, self.norm.running_mean)[mine], cast(Tensor, self.norm.running_var)[mine]
        gain = self.norm.weight[mine] / (variance + self.norm.eps).sqrt()
        return (self.weight[net] * gain[:, None]).view(shape), self.norm.bias[mine] - mean * gain


class StackedTemporalNets(nn.Module):
    """K untrained temporal parts; see ``skeleton_prompt.model.temporal_net`` for what one of them is.

    Args:
        nets: K.
        filters: U.
        classes: N.
        dropout: Between the layers of the head.
        spatial: Share of whole channels dropped elsewhere.
    """

    def __init__(self, nets: int, filters: int, classes: int, *, dropout: float, spatial: float) -> None:
        super().__init__()
        self.nets, self.spatial = nets, spatial
        *self.shapes, self.last = temporal_layers(filters, classes)
        shares = {"head.0": dropout, "head.1": dropout, **{f"{name}.{n}": spatial for name in BRANCHES for n in (0, 1)}}
        self.parts = nn.ModuleList(
            Layer(nets, shape[1], shape[0], shape[2] if len(shape) == 3 else 1, shares.get(name, 0.0))
            for name, shape in self.shapes
        )
        inner = self.last[1][1]
        bound = 1 / math.sqrt(inner)
        self.weight = nn.Parameter(torch.empty(nets, classes, inner).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(nets, classes).uniform_(-bound, bound))

    def forward(self, distance: Tensor, slow: Tensor, fast: Tensor) -> Tensor:
        """Logits ``(K, B, N)`` of the signals of each net's clips, ``(K, I, B, F)`` each."""
        part = {name: part for (name, _), part in zip(self.shapes, self.parts, strict=True)}
        branches = []
        for name, x in zip(BRANCHES, (distance, slow, fast), strict=True):
            for number in range(3):
                x = part[f"{name}.{number}"](x)
            branches.append(self._dropped(max_pool_time(x) if name in POOLED else x))
        x = torch.cat(branches, 1)
        for number in range(TRUNK):
            x = part[f"trunk.{number}"](x)
            x = max_pool_time(x) if number in HALVED_AFTER else x
            x = self._dropped(x) if number % 2 else x
        x = x.amax(3, keepdim=True)
        for number in range(2):
            x = part[f"head.{number}"](x)
        return (torch.bmm(self.weight, x[..., 0]) + self.bias[..., None]).transpose(1, 2)

    def groups(self, decay: float) -> list[dict[str, object]]:
        """Parameter groups of an optimiser; norms and biases are not decayed."""
        weights = [value for name, value in self.named_parameters() if name.endswith("weight") and "norm" not in name]
        others = [value for name, value in self.named_parameters() if name.endswith("bias") or "norm" in name]
        return [{"params": weights, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]

    def bound_gradients(self, most: float) -> None:
        """Shorten the gradient of each net to a norm of ``most`` where it is longer."""
        gradients = [value.grad.view(self.nets, -1) for value in self.parameters() if value.grad is not None]
        length = torch.cat(gradients, 1).norm(dim=1)
        factor = (most / (length + 1e-6)).clamp(max=1)[:, None]
        for gradient in gradients:
            gradient.mul_(factor)

    def folded(self, net: int) -> dict[str, Array]:
        """The tensors of one net as a prompt holds them, its batch norms folded into its convolutions."""
        pairs = [
            (name, *cast(Layer, part).folded(net, shape))
            for (name, shape), part in zip(self.shapes, self.parts, strict=True)
        ]
        pairs.append((self.last[0], self.weight[net], self.bias[net]))
        return {
            f"{TEMPORAL}{name}.{what}": value.detach().numpy().copy()
            for name, *pair in pairs
            for what, value in zip(("weight", "bias"), pair, strict=True)
        }

    def _dropped(self, x: Tensor) -> Tensor:
        return dropped(x, self.spatial) if self.training else x


def dropped(x: Tensor, share: float) -> Tensor:
    """``(K, C, B, F)`` with whole channels of clips set to 0 and the others raised in their place."""
    if share == 0:
        return x
    kept = torch.rand(*x.shape[:3], 1) >= share
    return x * (kept / (1 - share))


def max_pool_time(x: Tensor) -> Tensor:
    """The larger of every two frames of ``(K, C, B, F)``."""
    return torch.maximum(x[..., ::2], x[..., 1::2])
