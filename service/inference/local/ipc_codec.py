"""What the gateway and an engine process of its own say to each other: msgpack documents, each after its length.

Both ends are of one release and of one start, so there is no version; but nothing is pickled. Arrays travel as bytes
beside their shape.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import msgpack
import numpy as np

from skeleton_prompt.clips.normalise import PreparedPerson
from skeleton_prompt.model.prompt_file import Array, BackboneMismatch, BadPrompt, Calibration, Prompt

_LENGTH = struct.Struct("<Q")
OTHER = "other"
# Those of the first kinds mean something to whoever gets them; all others are told in words.
ERRORS: Mapping[str, type[Exception]] = {"backbone": BackboneMismatch, "prompt": BadPrompt, OTHER: RuntimeError}


def send(connection: socket.socket, document: Mapping[str, Any]) -> None:
    """Write a document.

    Raises:
        OSError: The other end is gone, or does not read within the socket's timeout.
    """
    body = msgpack.packb(document)
    connection.sendall(_LENGTH.pack(len(body)))
    connection.sendall(body)


def receive(connection: socket.socket) -> dict[str, Any]:
    """Wait for a document.

    Raises:
        EOFError: The other end has closed the connection.
        OSError: It is gone, or says nothing within the socket's timeout.
    """
    (length,) = _LENGTH.unpack(_read(connection, _LENGTH.size))
    document: dict[str, Any] = msgpack.unpackb(_read(connection, length))
    return document


def _read(connection: socket.socket, length: int) -> bytearray:
    data = bytearray(length)
    room = memoryview(data)
    while room:
        count = connection.recv_into(room)
        if not count:
            raise EOFError("the other end has closed the connection")
        room = room[count:]
    return data


def encode_array(array: Array) -> list[Any]:
    """A float32 array as a part of a document."""
    return [array.shape, np.ascontiguousarray(array, np.float32).data.cast("B") if array.size else b""]


def decode_array(part: list[Any]) -> Array:
    """The array again, in memory of its own."""
    shape, data = part
    return np.frombuffer(data, np.float32).reshape(shape).copy()


def encode_person(person: PreparedPerson) -> dict[str, Any]:
    """A person as a part of a document."""
    document = _plain(person, without=("pose", "depth", "log_seconds"))
    document |= {"pose": encode_array(person.pose), "log_seconds": encode_array(person.log_seconds)}
    return document | ({"depth": encode_array(person.depth)} if person.has_depth else {})


def decode_person(document: Mapping[str, Any]) -> PreparedPerson:
    """The person again."""
    pose = decode_array(document["pose"])
    depth = decode_array(document["depth"]) if "depth" in document else np.zeros(pose.shape[:-1], np.float32)
    arrays = {"pose": pose, "depth": depth, "log_seconds": decode_array(document["log_seconds"])}
    return PreparedPerson(**{**document, **arrays})


def encode_prompt(prompt: Prompt) -> dict[str, Any]:
    """A prompt, which has been checked, as a part of a document; without its metrics, which are for display."""
    calibration = prompt.calibration
    document = _plain(prompt, without=("tensors", "calibration", "metrics"))
    document["calibration"] = [calibration.temperature, calibration.threshold, calibration.distance]
    return document | {"tensors": {name: encode_array(value) for name, value in prompt.tensors.items()}}


def decode_prompt(document: Mapping[str, Any]) -> Prompt:
    """The prompt again."""
    tensors = {name: decode_array(part) for name, part in document["tensors"].items()}
    changed = {
        "labels": tuple(document["labels"]),
        "blocks": tuple(document["blocks"]),
        "calibration": Calibration(*document["calibration"]),
        "tensors": tensors,
    }
    return Prompt(**{**document, **changed})


def encode_error(error: Exception) -> list[str]:
    """An error as a part of a document."""
    kind = next(name for name, known in ERRORS.items() if isinstance(error, known) or name == OTHER)
    return [kind, repr(error) if kind == OTHER else str(error)]


def decode_error(part: list[str]) -> Exception:
    """The error again, or one that tells of it."""
    return ERRORS[part[0]](part[1])


def encode_outcome(outcome: Array | Exception) -> list[Any]:
    """Logits or an error as a part of a document."""
    return encode_error(outcome) if isinstance(outcome, Exception) else encode_array(outcome)


def decode_outcome(part: list[Any]) -> Array | Exception:
    """The logits or the error again."""
    return decode_error(part) if isinstance(part[0], str) else decode_array(part)


def _plain(value: Any, without: tuple[str, ...]) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in fields(value) if field.name not in without}
