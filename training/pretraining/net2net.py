"""Starting a larger backbone, or one with another part, from a smaller, trained one instead of from random weights.

The larger one computes at first what the smaller one did: its weights stand in the leading part of every tensor, the
new features of a token start near zero, new heads and hidden units write nothing, and a new block adds nothing
(Net2Net, Chen et al. 2016; bert2BERT, Chen et al. 2022). Training goes on from there.

Letters: D and D' old and new width, H and H' old and new heads of one size.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from skeleton_prompt.model.backbone import Attention, Backbone, BackboneConfig, Block

SMALL = 0.02  # deviation of the weights that write the new features


def grow(small: Backbone, config: BackboneConfig) -> Backbone:
    """A backbone of a larger configuration that starts as the smaller one.

    Args:
        small: Trained.
        config: At least as wide and deep, with heads of the same size.

    Returns:
        The larger backbone; its new weights follow from torch's random state.

    Raises:
        ValueError: If the configuration is not larger in this sense.
    """
    old = small.config
    if config.width // config.heads != old.width // old.heads:
        raise ValueError(
            f"heads of {config.name} have {config.width // config.heads} features, those of {old.name} "
            f"{old.width // old.heads}: only heads of one size can be taken over"
        )
    narrower = config.width < old.width or config.blocks < old.blocks or config.skip < old.skip
    if narrower or config.ratio != old.ratio:
        raise ValueError(
            f"{config.name} is not a larger {old.name}: it must be as wide, as deep, and of the same ratio"
        )
    large = Backbone(config)
    with torch.no_grad():
        for name in ("joint", "time", "missing"):
            _lead(getattr(large, name), getattr(small, name), 0.0)
        for layer in ("embed", "duration"):
            _widen(getattr(large, layer), getattr(small, layer))
        _grow_skip(large, small)
        for index, block in enumerate(large.blocks):
            if index < old.blocks:
                _grow_block(block, small.blocks[index])  # type: ignore[arg-type]
            else:
                _silence(block)  # type: ignore[arg-type]
        _grow_norm(large.norm, small.norm)
        _widen(large.lift_head, small.lift_head)
    return large


def _lead(large: Tensor, small: Tensor, rest: float) -> None:
    """Put a tensor into the leading corner of a larger one, whose remainder becomes normal with deviation ``rest``."""
    large.normal_(0, rest) if rest else large.zero_()
    large[tuple(slice(size) for size in small.shape)] = small


def _widen(large: nn.Linear, small: nn.Linear) -> None:
    """Old outputs see old inputs only; new outputs see everything, faintly."""
    _lead(large.weight, small.weight, SMALL)
    large.weight[: small.out_features, small.in_features :] = 0
    _lead(large.bias, small.bias, 0.0)


def _grow_skip(large: Backbone, small: Backbone) -> None:
    """The lift head's network on the whole pose says nothing yet where the smaller backbone has none."""
    if large.lift_skip is None:
        return
    if small.lift_skip is None:
        large.lift_skip[2].weight.zero_()  # type: ignore[operator]
        large.lift_skip[2].bias.zero_()  # type: ignore[operator]
        return
    for place in (0, 2):
        _widen(large.lift_skip[place], small.lift_skip[place])  # type: ignore[arg-type]


def _grow_norm(large: nn.LayerNorm, small: nn.LayerNorm) -> None:
    """Layer norm over features of which the new ones are about zero: the deviation shrinks by √(D / D')."""
    (old,), (new,) = small.normalized_shape, large.normalized_shape
    large.weight.fill_(1.0)
    large.weight[:old] = small.weight * math.sqrt(old / new)
    _lead(large.bias, small.bias, 0.0)


def _grow_attention(large: Attention, small: Attention) -> None:
    """Old heads as they were; new heads look around but write nothing yet."""
    old, new = small.out.out_features, large.out.out_features
    for name in ("weight", "bias"):
        was = getattr(small.qkv, name).view(3, old, -1)
        now = getattr(large.qkv, name).view(3, new, -1)
        now[:, :old] = 0
        now[:, :old, : was.shape[2]] = was
    _widen(large.out, small.out)


def _grow_block(large: Block, small: Block) -> None:
    for wide, narrow in zip(large.norms, small.norms, strict=True):
        _grow_norm(wide, narrow)  # type: ignore[arg-type]
    _grow_attention(large.space, small.space)
    _grow_attention(large.time, small.time)
    for wide, narrow in ((large.space_mlp, small.space_mlp), (large.time_mlp, small.time_mlp)):
        for place in (0, 2):
            _widen(wide[place], narrow[place])  # type: ignore[arg-type]


def _silence(block: Block) -> None:
    """Make a block add nothing: its last layers write zeros."""
    for layer in (block.space.out, block.time.out, block.space_mlp[2], block.time_mlp[2]):
        layer.weight.zero_()  # type: ignore[operator]
        layer.bias.zero_()  # type: ignore[operator]
