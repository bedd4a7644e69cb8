"""float32 arrays and window sums as parts of msgpack documents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from skeleton_prompt.model.prompt_file import Array
from skeleton_prompt.model.window_sums import WindowSums


def encode_array(array: Array) -> list[Any]:
    """A float32 array as its shape and its bytes."""
    return [array.shape, np.ascontiguousarray(array, np.float32).data.cast("B") if array.size else b""]


def decode_array(part: list[Any]) -> Array:
    """The array, in memory of its own.

    Raises:
        ValueError: The bytes do not fit the shape.
    """
    shape, data = part
    return np.frombuffer(data, np.float32).reshape(shape).copy()


def encode_sums(sums: WindowSums) -> dict[str, Any]:
    """Window sums as a document."""
    logits = {"temporal": sums.temporal, "module": sums.module}
    return {
        "windows": sums.windows,
        "features": encode_array(sums.features),
        "shown": encode_array(sums.shown),
        **{name: encode_array(value) for name, value in logits.items() if value is not None},
    }


def decode_sums(document: Mapping[str, Any]) -> WindowSums:
    """The window sums of a document.

    Raises:
        ValueError, KeyError, TypeError: It is none.
    """
    arrays = {
        name: decode_array(document[name]) for name in ("features", "temporal", "module", "shown") if name in document
    }
    return WindowSums(
        int(document["windows"]), arrays["features"], arrays.get("temporal"), arrays.get("module"), arrays["shown"]
    )  # fmt: skip
