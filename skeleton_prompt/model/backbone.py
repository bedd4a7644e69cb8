"""The frozen motion backbone: a spatio-temporal transformer pre-trained to lift 2-D skeletons to 3-D.

Letters used in every shape: B batch, T frames (64), S time patches (T / 4), J joints (17), D width, H heads,
K prompt tokens, L blocks.

A clip enters as ``(B, T, J, 3)``: x, y (normalised, y down) and confidence, 0 where a joint was not seen. Four frames
fold into one patch, so a clip is ``S * J`` tokens. Each block attends over the joints of a patch, then over the patches
of a joint. A tenant's prompt reaches the last blocks as *prefix* keys and values that every query of the clip also
attends to, in a softmax of its own: a prefix whose values are zero leaves the frozen network exactly as it was
(the zero-initialised attention of LLaMA-Adapter, Zhang et al. 2023, without its gate).
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn import functional

from skeleton_prompt.clips.canonical_skeleton import FRAMES, JOINTS
from skeleton_prompt.model.shared_projection import SharedProjection
from skeleton_prompt.model.tensor_shapes import STREAM_FEATURES

PATCH = 4
DESCRIPTORS = 3 * JOINTS * STREAM_FEATURES + 1  # three streams, and the log duration

Prefix = tuple[Tensor, Tensor]
"""Keys and values of one attention, each ``(B, H, K, D / H)``."""


class BackboneError(ValueError):
    """A backbone file that is damaged, incomplete or of another shape."""


@dataclass(frozen=True)
class BackboneConfig:
    """The sizes of a backbone.

    Attributes:
        name: What the file is called in ``model_store/backbone``.
        width: D, the number of features of a token.
        blocks: L, the number of blocks.
        heads: H, the heads of each attention; divides ``width``.
        ratio: Hidden width of each MLP as a multiple of ``width``.
        skip: Hidden units of the lift head's second network, which sees the whole pose of a patch; 0 for none, as
            backbones of version 0.1 have it.
    """

    name: str = "edge"
    width: int = 128
    blocks: int = 4
    heads: int = 4
    ratio: int = 2
    skip: int = 0


CONFIGS = {
    "edge": BackboneConfig(skip=256),
    "base": BackboneConfig("base", width=160, blocks=5, heads=5, skip=256),
}


class Attention(nn.Module):
    """Multi-head self-attention over one axis of the tokens, with room for a prefix."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, bias: Tensor, prefix: Prefix | None = None, *, over_time: bool = False) -> Tensor:
        """Attend within each of the N sequences of M tokens of every clip.

        Args:
            x: ``(B, S, J, D)``. Each patch is a sequence of joints, or with ``over_time`` each joint one of patches.
            bias: ``(B, S, J)``, added to the logits of each key.
            prefix: Keys and values that all S·J queries of a clip attend to as well, in a softmax of their own.
            over_time: Attend over the patches of a joint instead of the joints of a patch.

        Returns:
            ``(B, S, J, D)``.
        """
        B, S, J, D = x.shape
        H = self.heads
        # The axes are swapped after the product, which is slower on a tensor that is not contiguous.
        qkv = self.qkv(x).view(B, S, J, 3, H, D // H)
        if over_time:
            qkv, bias = qkv.transpose(1, 2), bias.transpose(1, 2)
        # Four dimensions, because PyTorch's fused CPU kernel does not take five.
        q, k, v = qkv.flatten(0, 1).permute(2, 0, 3, 1, 4)
        y = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias.flatten(0, 1)[:, None, None])
        y = torch.unflatten(y.transpose(1, 2), 0, (B, -1))  # (B, N, M, H, D / H)
        if prefix is not None:
            keys, values = prefix
            queries = q.transpose(1, 2).reshape(B, S * J, H, D // H).transpose(1, 2)
            prompted = functional.scaled_dot_product_attention(queries, keys, values)
            y = y + torch.unflatten(prompted.transpose(1, 2), 1, y.shape[1:3])
        if over_time:
            y = y.transpose(1, 2)
        return self.out(y.flatten(3))  # type: ignore[no-any-return]


class Gelu(nn.Module):
    """GELU in its tanh form: ``x / 2 · (1 + tanh u) = x · sigmoid(2 u)`` with ``u = √(2/π) (x + 0.044715 x³)``.

    PyTorch's kernel took a tenth to a fifth of a forward pass on CPUs; the sigmoid in place takes half of that and
    differs by less than 1e-6 (docs/decisions/0003-cpu-inference.md). Gradients need PyTorch's own.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map any shape to the same shape."""
        if x.device.type != "cpu" or torch.is_grad_enabled():
            return functional.gelu(x, approximate="tanh")
        twice = 2 * math.sqrt(2 / math.pi)
        y = x.square().mul_(0.044715 * twice).add_(twice).mul_(x)
        return y.sigmoid_().mul_(x)


def mlp(width: int, ratio: int) -> nn.Sequential:
    """The two-layer GELU network of a transformer block."""
    return nn.Sequential(nn.Linear(width, ratio * width), Gelu(), nn.Linear(ratio * width, width))


class Block(nn.Module):
    """Attention over joints, an MLP, attention over time, an MLP; all pre-norm and residual."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        D = config.width
        self.norms = nn.ModuleList(nn.LayerNorm(D) for _ in range(4))
        self.space = Attention(D, config.heads)
        self.space_mlp = mlp(D, config.ratio)
        self.time = Attention(D, config.heads)
        self.time_mlp = mlp(D, config.ratio)

    def forward(self, x: Tensor, bias: Tensor, prefixes: tuple[Prefix, Prefix] | None = None) -> Tensor:
        """Map ``(B, S, J, D)`` to the same shape.

        Args:
            x: Tokens.
            bias: ``(B, S, J)``: 0 for a token to attend to, a large negative number for a missing one.
            prefixes: One prefix for the attention over joints and one for the attention over time.
        """
        for_joints, for_time = prefixes if prefixes is not None else (None, None)
        x = x + self.space(self.norms[0](x), bias, for_joints)
        x = x + self.space_mlp(self.norms[1](x))
        x = x + self.time(self.norms[2](x), bias, for_time, over_time=True)
        return x + self.time_mlp(self.norms[3](x))  # type: ignore[no-any-return]


class Backbone(nn.Module):
    """The whole backbone: embedding, L blocks, final norm and the lift head.

    ``forward`` is ``top(trunk(tokens(...)))``; the engine calls the parts apart, because the trunk below the prompted
    blocks is the same for every tenant.
    """

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.config = config
        self.sha256 = ""
        self.house: SharedProjection | None = None
        D = config.width
        self.embed = nn.Linear(3 * PATCH, D)
        self.joint = nn.Parameter(torch.randn(JOINTS, D) * 0.02)
        self.time = nn.Parameter(torch.randn(FRAMES // PATCH, D) * 0.02)
        self.duration = nn.Linear(1, D)
        self.missing = nn.Parameter(torch.zeros(D))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.blocks))
        self.norm = nn.LayerNorm(D)
        self.lift_head = nn.Linear(D, 3 * PATCH)
        self.lift_skip: nn.Sequential | None = None
        if config.skip:
            # A token knows its own joint; depth shows in the joints beside each other, which attention hardly began
            # to compare in training on a few thousand motions. A small network on the whole pose finds it at once.
            size = PATCH * JOINTS * 3
            act = nn.GELU(approximate="tanh")
            self.lift_skip = nn.Sequential(nn.Linear(size, config.skip), act, nn.Linear(config.skip, size))

    def tokens(self, pose: Tensor, log_seconds: Tensor) -> tuple[Tensor, Tensor]:
        """Embed clips.

        Args:
            pose: ``(B, T, J, 3)`` x, y, confidence; normalised as ``skeleton_prompt.clips.normalise`` does.
            log_seconds: ``(B,)``, the natural logarithm of each clip's true duration in seconds.

        Returns:
            Tokens ``(B, S, J, D)`` and the attention bias ``(B, S, J)`` of their keys.
        """
        B, T, J, C = pose.shape
        S = T // PATCH
        folded = pose.view(B, S, PATCH, J, C).transpose(2, 3).reshape(B, S, J, PATCH * C)
        seen = folded[..., 2::3].amax(-1) > 0
        x = torch.where(seen[..., None], self.embed(folded), self.missing)
        x = x + self.joint + self.time[:S, None] + self.duration(log_seconds[:, None])[:, None, None]
        # Finite, so that a row without any key to see averages instead of turning into NaN.
        bias = torch.where(seen, 0.0, -1e4).to(x.dtype)
        return x, bias

    def trunk(self, x: Tensor, bias: Tensor, prompted: int = 0) -> Tensor:
        """Run all but the last ``prompted`` blocks on what ``tokens`` gave; returns ``(B, S, J, D)``."""
        for block in self.blocks[: len(self.blocks) - prompted]:
            x = block(x, bias)
        return x

    def top(self, x: Tensor, bias: Tensor, prefixes: list[tuple[Prefix, Prefix]] | None = None, *, last: int) -> Tensor:
        """Run the last ``last`` blocks, with one pair of prefixes each if given, and the final norm.

        Returns:
            ``(B, S, J, D)``.
        """
        for index, block in enumerate(self.blocks[len(self.blocks) - last :]):
            x = block(x, bias, None if prefixes is None else prefixes[index])
        return self.norm(x)  # type: ignore[no-any-return]

    def forward(self, pose: Tensor, log_seconds: Tensor) -> Tensor:
        """Features ``(B, S, J, D)`` of clips ``(B, T, J, 3)`` with ``(B,)`` log durations."""
        return self.norm(self.trunk(*self.tokens(pose, log_seconds)))  # type: ignore[no-any-return]

    def lift(self, features: Tensor, pose: Tensor) -> Tensor:
        """The 3-D pose seen in the features and in the pose itself.

        Args:
            features: ``(B, S, J, D)`` as ``forward`` gives them.
            pose: ``(B, T, J, 3)`` as ``tokens`` takes it.

        Returns:
            ``(B, T, J, 3)``: x right, y down, z away from the camera, relative to the root, in the clip's own scale.
        """
        lifted = self.lift_tokens(features)
        return lifted + self.skipped(pose) if self.lift_skip is not None else lifted

    def lift_tokens(self, features: Tensor) -> Tensor:
        """The lift head's part that sees one token each: ``(B, S, J, D)`` to ``(B, T, J, 3)``."""
        B, S, J, _ = features.shape
        folded = self.lift_head(features).view(B, S, J, PATCH, 3)
        return folded.transpose(2, 3).reshape(B, S * PATCH, J, 3)  # type: ignore[no-any-return]

    def skipped(self, pose: Tensor) -> Tensor:
        """The lift head's part that sees the whole pose: ``(B, T, J, 3)`` to the same shape."""
        if self.lift_skip is None:
            return torch.zeros_like(pose)
        B, T, J, C = pose.shape
        return self.lift_skip(pose.reshape(B, T // PATCH, PATCH * J * C)).reshape(B, T, J, C)  # type: ignore[no-any-return]

    def parameters_count(self) -> int:
        """How many numbers the backbone holds."""
        return sum(p.numel() for p in self.parameters())


def read_sizes(width: int) -> dict[str, int]:
    """How many features each block has that house weights may read, for a backbone of ``width`` D."""
    return {"frozen": (JOINTS + 4) * width, "descriptors": DESCRIPTORS, "completed": DESCRIPTORS}


def backbone_bytes(model: Backbone, metadata: dict[str, str] | None = None) -> bytes:
    """A backbone and its house weights as one safetensors file, its configuration in the metadata."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    if model.house is not None:
        tensors |= model.house.tensors()
    return save(tensors, {"config": json.dumps(asdict(model.config)), **(metadata or {})})


def load_backbone(path: Path) -> Backbone:
    """Read, check and freeze a backbone file; see ``parse_backbone``.

    Args:
        path: A file that ``backbone_bytes`` wrote.

    Raises:
        BackboneError: If a tensor is missing, of another shape or not finite, or the configuration is unknown.
        OSError: If the file cannot be read.
    """
    return parse_backbone(path.read_bytes(), path.name)


def parse_backbone(data: bytes, name: str) -> Backbone:
    """A backbone from the bytes of its file, checked and frozen.

    Args:
        data: What ``backbone_bytes`` gave.
        name: What to call it in an error.

    Returns:
        The model in evaluation mode with ``sha256`` set to the hash of the bytes.

    Raises:
        BackboneError: If a tensor is missing, of another shape or not finite, or the configuration is unknown.
    """
    try:
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        config = BackboneConfig(**json.loads(header["__metadata__"]["config"]))
        tensors = load(data)
        model = Backbone(config)
        house = {key: tensors.pop(key) for key in list(tensors) if key.startswith("house.")}
        model.load_state_dict(tensors)
        if house:
            model.house = SharedProjection.of(house, read_sizes(config.width))
    except Exception as error:  # safetensors raises its own types, load_state_dict a RuntimeError
        raise BackboneError(f"{name} is not a backbone: {error}") from error
    for key, value in (tensors | house).items():
        if not bool(torch.isfinite(value).all()):
            raise BackboneError(f"{name}: tensor {key} holds a number that is not finite")
    model.sha256 = hashlib.sha256(data).hexdigest()
    return model.eval().requires_grad_(False)
