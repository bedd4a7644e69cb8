"""A row of a TorchServe batch. TorchServe admits one class per handler module, so this is a module of its own."""

from __future__ import annotations

from dataclasses import dataclass

from service.inference.interface import CacheLayer, PredictionInput
from skeleton_prompt.model.window_sums import Chunk


@dataclass(frozen=True)
class BatchRow:
    """A row that was read and whose prompt was found.

    Attributes:
        index: Its place in the batch.
        input: What was asked.
        chunk: What is computed.
        layer: Cache layer that had the prompt.
        prompt_ms: Milliseconds that the prompt took.
    """

    index: int
    input: PredictionInput
    chunk: Chunk
    layer: CacheLayer
    prompt_ms: float
