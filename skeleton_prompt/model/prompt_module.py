"""The prompt module: generator, dynamic queries, joint-enhanced multi-stream fusion and a cosine head.

Every function takes the parameters of a tenant as a dict of tensors with a leading *row* dimension R, which is 1 (one
tenant for the whole batch, while tuning) or B (each row its own tenant, while serving): the same lines serve both, and
a row's answer cannot depend on its neighbours.

Letters: B rows, R rows of parameters (1 or B), S patches, J joints, D width of the backbone, H heads, K prompt tokens,
Q queries, E width of the fusion, N classes, G hidden units of the generator, M prompt bases, P prompted blocks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from skeleton_prompt.model.backbone import Backbone, Prefix
from skeleton_prompt.model.tensor_shapes import (
    BASES,
    FUSION,
    FUSION_HEADS,
    PROMPTED_BLOCKS,
    QUERIES,
    RANK,
    STREAMS,
    shapes,
)

Parameters = Mapping[str, Tensor]


@dataclass(frozen=True)
class Ablation:
    """Parts of the module that are switched off, to see what each is worth.

    Attributes:
        prompts: ``instance``; ``none`` leaves the backbone unprompted, ``static`` gives every clip the same prompt,
            ``shuffled`` gives each clip the prompt of another clip of its batch.
        queries: Whether the dynamic queries take part in the fusion.
        streams: The streams that take part.
    """

    prompts: str = "instance"
    queries: bool = True
    streams: tuple[str, ...] = STREAMS

    def generates_prompts(self, g: Tensor) -> Tensor | None:
        """What the prompts are made from, in place of the instance's own ``(B, G)``; None for no prompt."""
        kinds = {"instance": g, "static": torch.zeros_like(g), "shuffled": g.roll(1, 0), "none": None}
        if self.prompts not in kinds:
            raise ValueError(f"prompts are {', '.join(kinds)}, not {self.prompts!r}")
        return kinds[self.prompts]

    def visible_streams(self, seen: Tensor) -> Tensor:
        """The stream masks ``(B, 4, J)`` without the streams that are off."""
        on = torch.tensor([name in self.streams for name in STREAMS], device=seen.device)
        return seen & on[:, None]


FULL = Ablation()


def initial(width: int, classes: int, seed: int) -> dict[str, Tensor]:
    """Parameters to start tuning from; prompt values are zero, so step 0 sees the frozen backbone."""
    rng = torch.Generator().manual_seed(seed)
    result = {}
    for name, shape in shapes(width, classes).items():
        if name == "fusion.norms":
            result[name] = torch.ones(shape)
        elif name == "head.scale":
            result[name] = torch.full(shape, 10.0)
        elif name.endswith(("_bias", "generator.values", "query.shift")):
            result[name] = torch.zeros(shape)
        elif name.endswith("_embedding"):
            result[name] = torch.randn(shape, generator=rng) * 0.1
        else:
            result[name] = torch.randn(shape, generator=rng) / math.sqrt(shape[-1])
    return result


def shared_names(width: int) -> tuple[str, ...]:
    """What house weights hold of the module: everything but the head, which only a tenant's labels can give."""
    return tuple(name for name in shapes(width, 1) if not name.startswith("head."))


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``(B, M, in)`` times ``(R, out, in)``, plus ``(R, out)``: a linear layer with weights per row."""
    y = torch.matmul(x, weight.transpose(-1, -2))
    return y if bias is None else y + bias[:, None]


def generate(p: Parameters, x: Tensor) -> Tensor:
    """g(x): what the generator makes of a clip, ``(B, G)``, from the embedded input ``(B, S, J, D)``."""
    flat = x.flatten(1, 2)
    summary = torch.cat((flat.mean(1), flat.std(1)), -1)[:, None]
    return functional.gelu(linear(summary, p["generator.in"], p["generator.in_bias"]))[:, 0]


def prefixes(p: Parameters, g: Tensor, heads: int) -> list[tuple[Prefix, Prefix]]:
    """The instance's prefix keys and values for both attentions of each prompted block.

    Args:
        p: Parameters.
        g: ``(B, G)``.
        heads: H of the backbone.

    Returns:
        P pairs (over joints, over time) of (keys, values), each ``(B, H, K, D / H)``.
    """
    B = g.shape[0]
    logits = linear(g[:, None], p["generator.mix"], p["generator.mix_bias"])
    mixture = logits.view(B, PROMPTED_BLOCKS, 2, BASES).softmax(-1)
    sides = []
    for name in ("generator.keys", "generator.values"):
        mixed = (mixture[..., None, None] * p[name]).sum(3)  # (B, P, 2, K, D)
        sides.append(torch.unflatten(mixed, -1, (heads, -1)).transpose(3, 4))  # (B, P, 2, H, K, D / H)
    keys, values = sides
    return [((keys[:, b, 0], values[:, b, 0]), (keys[:, b, 1], values[:, b, 1])) for b in range(PROMPTED_BLOCKS)]


def dynamic_queries(p: Parameters, g: Tensor, features: Tensor) -> Tensor:
    """Dynamic queries: shifted by the instance, they cross-attend to the backbone's tokens.

    Args:
        p: Parameters.
        g: ``(B, G)``.
        features: ``(B, S, J, D)``.

    Returns:
        ``(B, Q, E)``.
    """
    B = g.shape[0]
    tokens = features.flatten(1, 2)
    queries = p["query.base"] + linear(g[:, None], p["query.shift"]).view(B, QUERIES, RANK)
    keys, values = linear(tokens, p["query.key"]), linear(tokens, p["query.value"])
    weights = (queries @ keys.transpose(1, 2) / math.sqrt(RANK)).softmax(-1)
    x = linear(weights @ values, p["query.out"])
    return x + linear(functional.gelu(linear(x, p["query.mlp_in"])), p["query.mlp_out"])


def layer_norm(x: Tensor, gain: Tensor) -> Tensor:
    """Layer norm of ``(B, M, E)`` with a gain ``(R, E)`` of each row's own."""
    return functional.layer_norm(x, (FUSION,)) * gain[:, None]


def fuse(p: Parameters, asked: Tensor, tokens: Tensor, seen: Tensor) -> Tensor:
    """Self-attention over the queries and one token per stream and joint; missing joints are masked.

    Args:
        p: Parameters.
        asked: ``(B, Q, E)`` from ``ask``; Q may be 0.
        tokens: ``(B, 4, J, 72)`` stream tokens.
        seen: ``(B, 4, J)`` bool.

    Returns:
        ``(B, E)`` of unit length.
    """
    B = asked.shape[0]
    lanes = torch.matmul(tokens, p["fusion.stream"].transpose(-1, -2))
    lanes = lanes + p["fusion.stream_embedding"][:, :, None] + p["fusion.joint_embedding"][:, None]
    x = torch.cat((asked, lanes.flatten(1, 2)), 1)
    mask = torch.cat((seen.new_ones(B, asked.shape[1]), seen.flatten(1)), 1)
    norms = p["fusion.norms"]
    qkv = torch.unflatten(linear(layer_norm(x, norms[:, 0]), p["fusion.qkv"]), -1, (3, FUSION_HEADS, -1))
    qkv = qkv.permute(2, 0, 3, 1, 4)
    mixed = functional.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2], attn_mask=mask[:, None, None])
    x = x + linear(mixed.transpose(1, 2).flatten(2), p["fusion.out"])
    x = x + linear(functional.gelu(linear(layer_norm(x, norms[:, 1]), p["fusion.mlp_in"])), p["fusion.mlp_out"])
    weight = mask[..., None].to(x.dtype)
    pooled = (layer_norm(x, norms[:, 2]) * weight).sum(1) / weight.sum(1)
    return functional.normalize(pooled * norms[:, 3], dim=-1)


def classify(p: Parameters, embedding: Tensor) -> Tensor:
    """Cosine similarity to the class centres times a learned scale: ``(B, E)`` to ``(B, N)``."""
    centres = functional.normalize(p["head.centres"], dim=-1)
    return linear(embedding[:, None], centres)[:, 0] * p["head.scale"]


def module_logits(
    p: Parameters,
    backbone: Backbone,
    trunk: tuple[Tensor, Tensor],
    embedded: Tensor,
    tokens: Tensor,
    seen: Tensor,
    controls: Ablation = FULL,
) -> Tensor:
    """The whole module on windows whose trunk is already computed.

    Args:
        p: Parameters with R rows, R being 1 or B.
        backbone: The frozen backbone.
        trunk: Tokens ``(B, S, J, D)`` in front of the prompted blocks and their attention bias ``(B, S, J)``.
        embedded: ``(B, S, J, D)``, the embedded input that the generator looks at.
        tokens: ``(B, 4, J, 72)`` stream tokens.
        seen: ``(B, 4, J)`` bool.
        controls: Parts that are switched off.

    Returns:
        Logits ``(B, N)``.
    """
    g = generate(p, embedded)
    source = controls.generates_prompts(g)
    prompted = None if source is None else prefixes(p, source, backbone.config.heads)
    features = backbone.top(*trunk, prompted, last=PROMPTED_BLOCKS)
    asked = dynamic_queries(p, g, features) if controls.queries else features.new_zeros(len(g), 0, FUSION)
    return classify(p, fuse(p, asked, tokens, controls.visible_streams(seen)))
