"""One row on its way from the gateway to TorchServe and back: a binary body, an address in the headers.

The body of a request, all little-endian::

    offset  type     what
    0       4 bytes  "SPR3"
    4       uint32   W, how many windows
    8       uint8    1 if the clip had depth
    9       uint8    which options count: 1 `threshold`, 2 `refusal`, 4 `coverage`
    10      uint16   top_k
    12      uint32   frames
    16      float64  threshold
    24      float64  visible
    32      float64  motion
    40      float64  refusal
    48      float64  coverage
    56      float32  pose (W, 64, 17, 3), then depth (W, 64, 17) if there is any, then log_seconds (W)

A long row is sent chunk by chunk, each with the window sums that the answer to the one before gave. Such a body begins
with "SPR4" and ends with::

    uint8   1 if the row ends with these windows
    uint32  L, the length of the sums
    L bytes msgpack of the sums over the windows before, empty for the first chunk

Headers: ``x-prompt-tenant``, ``x-prompt-version``, ``x-prompt-sha256``, and ``x-deadline``, the Unix time in seconds
after which the row is not computed (clocks of the machines must agree to a fraction of predict_deadline_seconds).
``x-probe: forward`` asks for a forward pass that belongs to no tenant, ``x-probe: figures`` for none at all; such a row
has no body, and is answered with the engine's backbone and figures.

An answer is msgpack of content type ``application/vnd.skeleton-prompt``; any other content type is TorchServe's own.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import msgpack
import numpy as np

from service import error_codec, errors
from service.inference.execution.array_codec import decode_sums, encode_sums
from service.inference.interface import PredictionInput, PredictionResult
from service.storage.prompt_cache.cache import EngineStats
from skeleton_prompt.clips.canonical_skeleton import FRAMES, JOINTS
from skeleton_prompt.clips.normalise import PreparedPerson
from skeleton_prompt.model.decision import Prediction
from skeleton_prompt.model.prompt_file import Array, PromptRef
from skeleton_prompt.model.window_batches import MAX_WINDOWS
from skeleton_prompt.model.window_sums import WindowSums

CONTENT_TYPE = "application/vnd.skeleton-prompt"
TENANT, VERSION, SHA256 = "x-prompt-tenant", "x-prompt-version", "x-prompt-sha256"
DEADLINE, PROBE = "x-deadline", "x-probe"
FORWARD, FIGURES = "forward", "figures"  # what a probe may ask for

_HEAD = struct.Struct("<4sIBBHIddddd")
_TAIL = struct.Struct("<BI")
_WHOLE, _CHUNK = b"SPR3", b"SPR4"


def encode_input(
    question: PredictionInput,
    part: PreparedPerson | None = None,
    before: WindowSums | None = None,
    *,
    last: bool = True,
) -> bytes:
    """The body of a row.

    Args:
        question: The row.
        part: The person with the windows of one chunk; None for the whole row.
        before: Sums over the windows before the chunk.
        last: Whether the row ends with the chunk.
    """
    person = part or question.person
    options = (question.threshold, question.refusal, question.coverage)
    head = _HEAD.pack(
        _WHOLE if part is None else _CHUNK,
        len(person.pose),
        person.has_depth,
        sum(1 << place for place, value in enumerate(options) if value is not None),
        question.top_k,
        person.frames,
        question.threshold or 0.0,
        person.visible,
        person.motion,
        question.refusal or 0.0,
        question.coverage or 0.0,
    )
    arrays = [person.pose, *([person.depth] if person.has_depth else []), person.log_seconds]
    parts = [head, *(np.ascontiguousarray(array, "<f4").tobytes() for array in arrays)]
    if part is not None:
        sums = b"" if before is None else _pack(encode_sums(before))
        parts += [_TAIL.pack(last, len(sums)), sums]
    return b"".join(parts)


def encode_headers(question: PredictionInput) -> dict[str, str]:
    """The headers of a question."""
    return {
        TENANT: question.ref.tenant,
        VERSION: str(question.ref.version),
        SHA256: question.ref.sha256,
        DEADLINE: f"{time.time() + question.deadline - time.monotonic():.4f}",
    }


def decode_input(body: bytes | bytearray, header: Callable[[str], str | None]) -> PredictionInput:
    """The row of a body and its headers, without what is said of other windows; see ``decode_row``."""
    return decode_row(body, header)[0]


def decode_row(
    body: bytes | bytearray, header: Callable[[str], str | None]
) -> tuple[PredictionInput, WindowSums | None, bool]:
    """The row of a body and its headers; `header` returns one by its name.

    Returns:
        The input with the windows of the body, the sums over the windows before, and whether the row ends here.

    Raises:
        MalformedBody: One of them is not what the format says.
    """
    ref = PromptRef(_text(header, TENANT), _number(header, VERSION), _text(header, SHA256))
    deadline = time.monotonic() + _seconds(header, DEADLINE) - time.time()
    if len(body) < _HEAD.size or body[:4] not in (_WHOLE, _CHUNK):
        raise errors.MalformedBody(f"A row begins with {_WHOLE!r} or {_CHUNK!r} and has at least {_HEAD.size} bytes.")
    magic, W, deep, given, top_k, frames, threshold, visible, motion, refusal, coverage = _HEAD.unpack_from(body)
    if not 1 <= W <= MAX_WINDOWS:
        raise errors.MalformedBody(f"A request has 1 to {MAX_WINDOWS} windows of a row; got {W}.")
    sizes = (W * FRAMES * JOINTS * 3, W * FRAMES * JOINTS if deep else 0, W)
    expected = _HEAD.size + 4 * sum(sizes)
    before, last = (None, True) if magic == _WHOLE else _sums_at(body, expected)
    if magic == _WHOLE and len(body) != expected:
        raise errors.MalformedBody(f"A row of {W} windows has {expected} bytes; got {len(body)}.")
    if top_k < 1 or deep > 1 or given > 7:
        raise errors.MalformedBody("top_k is at least 1, the depth flag is 0 or 1, the options' flags are 0 to 7.")
    # A copy, because the buffer is TorchServe's.
    values = np.frombuffer(body, "<f4", sum(sizes), _HEAD.size).astype(np.float32)
    if not (np.isfinite(values).all() and np.isfinite((threshold, visible, motion, refusal, coverage)).all()):
        raise errors.MalformedBody("A row holds finite numbers only.")
    pose, depth, log_seconds = np.split(values, np.cumsum(sizes)[:-1])
    person = PreparedPerson(
        pose=pose.reshape(W, FRAMES, JOINTS, 3),
        depth=depth.reshape(W, FRAMES, JOINTS) if deep else np.zeros((W, FRAMES, JOINTS), np.float32),
        has_depth=bool(deep),
        log_seconds=log_seconds,
        visible=visible,
        frames=frames,
        motion=motion,
    )
    options = [value if given & 1 << place else None for place, value in enumerate((threshold, refusal, coverage))]
    return PredictionInput(person, ref, top_k, options[0], deadline, options[1], options[2]), before, last


def _sums_at(body: bytes | bytearray, start: int) -> tuple[WindowSums | None, bool]:
    """The sums at the end of a chunk, and whether it is the last one."""
    end = start + _TAIL.size
    if len(body) < end:
        raise errors.MalformedBody(f"A chunk has at least {end} bytes; got {len(body)}.")
    last, length = _TAIL.unpack_from(body, start)
    if last > 1 or len(body) != end + length:
        raise errors.MalformedBody(f"A chunk with {length} bytes of sums has {end + length} bytes; got {len(body)}.")
    try:
        return decode_sums(msgpack.unpackb(bytes(body[end:]))) if length else None, bool(last)
    except (ValueError, KeyError, TypeError) as error:
        raise errors.MalformedBody("The sums of a chunk cannot be read.") from error


def encode_partial(sums: WindowSums, forward_ms: float, batch_rows: int) -> bytes:
    """The answer to a chunk whose row goes on."""
    return _pack({"sums": encode_sums(sums), "forward_ms": forward_ms, "batch_rows": batch_rows})


def decode_partial(data: bytes) -> tuple[WindowSums, float, int]:
    """The sums, the milliseconds of the forward pass and the rows of its batch.

    Raises:
        EngineUnavailable: It cannot be read: gateway and engine are of different releases.
    """
    try:
        document = msgpack.unpackb(data)
        return decode_sums(document["sums"]), float(document["forward_ms"]), int(document["batch_rows"])
    except (ValueError, KeyError, TypeError) as error:
        raise errors.EngineUnavailable("The engine's answer cannot be read.", retry_after=5.0) from error


def encode_result(answer: PredictionResult, logits: Array) -> bytes:
    """An answer, with the logits that it was made of."""
    said = answer.prediction
    document = {
        "label": said.label,
        "known": said.known,
        "confidence": said.confidence,
        "predictions": said.predictions,
        "reason": said.reason,
        "margin": said.margin,
        "familiarity": said.familiarity,
        "limits": said.limits,
        "explanation": said.explanation,
        "label_set": said.label_set,
        "coverage": said.coverage,
        "cache": answer.cache,
        "prompt_ms": answer.prompt_ms,
        "forward_ms": answer.forward_ms,
        "batch_rows": answer.batch_rows,
        "logits": np.ascontiguousarray(logits, "<f4").tobytes(),
    }
    return _pack(document)


def decode_result(data: bytes, total_ms: float) -> tuple[PredictionResult, Array]:
    """An answer and its logits; what of `total_ms` the engine did not use was waiting.

    Raises:
        EngineUnavailable: It cannot be read: gateway and engine are of different releases.
    """
    try:
        document = msgpack.unpackb(data)
        ranked = tuple((str(label), float(value)) for label, value in document["predictions"])
        names = ("label", "known", "confidence", "reason", "margin", "familiarity", "limits", "explanation", "coverage")
        labels = document["label_set"]
        said = Prediction(
            predictions=ranked,
            label_set=None if labels is None else tuple(labels),
            **{name: document[name] for name in names},
        )
        prompt_ms, forward_ms = float(document["prompt_ms"]), float(document["forward_ms"])
        waited = max(0.0, total_ms - prompt_ms - forward_ms)
        logits = np.frombuffer(document["logits"], "<f4").astype(np.float32)
        rows = int(document["batch_rows"])
        return PredictionResult(said, document["cache"], waited, prompt_ms, forward_ms, rows), logits
    except (ValueError, KeyError, TypeError) as error:
        raise errors.EngineUnavailable("The engine's answer cannot be read.", retry_after=5.0) from error


def encode_probe(backbone_sha256: str, figures: EngineStats) -> bytes:
    """The answer to a probe."""
    return _pack({"backbone_sha256": backbone_sha256, "figures": asdict(figures)})


def decode_probe(data: bytes) -> tuple[str, EngineStats]:
    """The engine's backbone, and its figures.

    Raises:
        EngineUnavailable: It cannot be read: gateway and engine are of different releases.
    """
    try:
        document = msgpack.unpackb(data)
        return str(document["backbone_sha256"]), EngineStats(**document["figures"])
    except (ValueError, KeyError, TypeError) as error:
        raise errors.EngineUnavailable("The engine's answer to a probe cannot be read.", retry_after=5.0) from error


def encode_error(error: errors.ServiceError) -> bytes:
    """An error as the body of an answer."""
    return _pack(error_codec.encode_error(error))


def decode_error(data: bytes) -> errors.ServiceError:
    """The error of an answer; ``EngineUnavailable`` where it cannot be read or its code is unknown here."""
    try:
        found = error_codec.decode_error(msgpack.unpackb(data))
    except (ValueError, KeyError, TypeError):
        return errors.EngineUnavailable("The engine's error cannot be read.", retry_after=5.0)
    if isinstance(found, errors.ServiceError) and type(found) is not errors.ServiceError:
        return found
    return errors.EngineUnavailable(f"The engine failed: {found}", retry_after=5.0)


def _pack(document: dict[str, Any]) -> bytes:
    data: bytes = msgpack.packb(document)
    return data


def _text(header: Callable[[str], str | None], name: str) -> str:
    value = header(name)
    if not value:
        raise errors.MalformedBody(f"The header {name} is missing.")
    return value


def _number(header: Callable[[str], str | None], name: str) -> int:
    text = _text(header, name)
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise errors.MalformedBody(f"The header {name} is no whole number.")
    return int(text)


def _seconds(header: Callable[[str], str | None], name: str) -> float:
    try:
        value = float(_text(header, name))
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise errors.MalformedBody(f"The header {name} is no time.")
    return value
