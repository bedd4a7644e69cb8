"""Names and shapes of what a prompt file may hold, so that one can be checked where nothing is computed.

Letters: D width of the backbone, N classes; the rest beside the constants.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from skeleton_prompt.clips.canonical_skeleton import JOINTS

STREAMS = ("joints", "bones", "motion", "frontal")
STREAM_FEATURES = 72  # of one joint in one stream: mean, deviation and speed of three coordinates in eight time bins

# The prompt module, see ``prompts``.
PROMPTED_BLOCKS = 3  # P
PROMPT_TOKENS = 4  # K
BASES = 4  # M
GENERATED = 32  # G
QUERIES = 8  # Q
RANK = 48  # of the queries' cross-attention
FUSION = 96  # E
FUSION_HEADS = 4

# The temporal part, see ``temporal``.
TEMPORAL = "temporal."
VISIBLE_JOINT_INPUTS = "shown"  # the tensor beside the weights: which joints the taught clips show
COORDINATES = 3
BRANCHES = {"distance": JOINTS * (JOINTS - 1) // 2, "slow": JOINTS * COORDINATES, "fast": JOINTS * COORDINATES}
TRUNK = 6
HIDDEN = 128
MAX_FILTERS = 64


def shapes(width: int, classes: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a tenant's module for a backbone of ``width`` D and ``classes`` N."""
    D, E, N, P, K, M, G, Q = width, FUSION, classes, PROMPTED_BLOCKS, PROMPT_TOKENS, BASES, GENERATED, QUERIES
    return {
        "generator.in": (G, 2 * D),
        "generator.in_bias": (G,),
        "generator.mix": (P * 2 * M, G),
        "generator.mix_bias": (P * 2 * M,),
        "generator.keys": (P, 2, M, K, D),
        "generator.values": (P, 2, M, K, D),
        "query.base": (Q, RANK),
        "query.shift": (Q * RANK, G),
        "query.key": (RANK, D),
        "query.value": (RANK, D),
        "query.out": (E, RANK),
        "query.mlp_in": (2 * E, E),
        "query.mlp_out": (E, 2 * E),
        "fusion.stream": (len(STREAMS), E, STREAM_FEATURES),
        "fusion.stream_embedding": (len(STREAMS), E),
        "fusion.joint_embedding": (JOINTS, E),
        "fusion.qkv": (3 * E, E),
        "fusion.out": (E, E),
        "fusion.mlp_in": (2 * E, E),
        "fusion.mlp_out": (E, 2 * E),
        "fusion.norms": (4, E),
        "head.centres": (N, E),
        "head.scale": (1,),
    }


def module_shapes(classes: int, tensors: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Shapes that a prompt file's module must have, the backbone's width read off the file itself."""
    key = tensors.get("module.query.key")
    width = int(key.shape[-1]) if key is not None and key.ndim == 2 else 0
    return {f"module.{name}": shape for name, shape in shapes(width, classes).items()}


def temporal_layers(filters: int, classes: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name and shape of every weight, in the order in which they act; a bias ``(shape[0],)`` stands beside each."""
    U = filters
    for branch, inner in BRANCHES.items():
        yield f"{branch}.0", (2 * U, inner, 1)
        yield f"{branch}.1", (U, 2 * U, 3)
        yield f"{branch}.2", (U, U, 1)
    inner = 3 * U
    for number in range(TRUNK):
        outer = 2 * U * 2 ** (number // 2)
        yield f"trunk.{number}", (outer, inner, 3)
        inner = outer
    yield "head.0", (HIDDEN, inner)
    yield "head.1", (HIDDEN, HIDDEN)
    yield "head.2", (classes, HIDDEN)


def temporal_shapes(classes: int, tensors: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Shapes that the temporal part of a prompt file must have, the number of filters read off the file itself."""
    last = tensors.get(f"{TEMPORAL}distance.2.weight")
    filters = int(last.shape[0]) if last is not None and last.ndim == 3 else 1
    shapes: dict[str, tuple[int, ...]] = {}
    for name, shape in temporal_layers(min(max(filters, 1), MAX_FILTERS), classes):
        shapes |= {f"{TEMPORAL}{name}.weight": shape, f"{TEMPORAL}{name}.bias": shape[:1]}
    if TEMPORAL + VISIBLE_JOINT_INPUTS in tensors:  # prompts of before have none
        shapes[TEMPORAL + VISIBLE_JOINT_INPUTS] = (JOINTS,)
    return shapes
