"""Messages between the gateway and its engine processes: msgpack documents, each preceded by its length.

Both ends run the same release, so messages carry no version. Nothing is pickled; arrays travel as shape and bytes.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import msgpack
import numpy as np

from service.error_codec import decode_error, encode_error
from service.inference.execution.array_codec import decode_array, decode_sums, encode_array, encode_sums
from skeleton_prompt.clips.normalise import PreparedPerson
from skeleton_prompt.model.prompt_file import Calibration, Prompt
from skeleton_prompt.model.window_sums import Chunk, Result, WindowSums

_LENGTH = struct.Struct("<Q")


def send(connection: socket.socket, document: Mapping[str, Any]) -> None:
    """Write a document.

    Raises:
        OSError: The peer is gone, or did not read within the socket's timeout.
    """
    body = msgpack.packb(document)
    connection.sendall(_LENGTH.pack(len(body)))
    connection.sendall(body)


def receive(connection: socket.socket) -> dict[str, Any]:
    """Wait for a document.

    Raises:
        EOFError: The peer closed the connection.
        OSError: The peer is gone, or sent nothing within the socket's timeout.
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
            raise EOFError("the peer closed the connection")
        room = room[count:]
    return data


def encode_person(person: PreparedPerson) -> dict[str, Any]:
    """A person as a document."""
    document = _plain(person, without=("pose", "depth", "log_seconds"))
    document |= {"pose": encode_array(person.pose), "log_seconds": encode_array(person.log_seconds)}
    return document | ({"depth": encode_array(person.depth)} if person.has_depth else {})


def decode_person(document: Mapping[str, Any]) -> PreparedPerson:
    """The person of a document."""
    pose = decode_array(document["pose"])
    depth = decode_array(document["depth"]) if "depth" in document else np.zeros(pose.shape[:-1], np.float32)
    arrays = {"pose": pose, "depth": depth, "log_seconds": decode_array(document["log_seconds"])}
    return PreparedPerson(**{**document, **arrays})


def encode_prompt(prompt: Prompt) -> dict[str, Any]:
    """A checked prompt as a document, without its metrics, which are for display only."""
    calibration = prompt.calibration
    document = _plain(prompt, without=("tensors", "calibration", "metrics"))
    document["calibration"] = _plain(calibration, without=())
    return document | {"tensors": {name: encode_array(value) for name, value in prompt.tensors.items()}}


def decode_prompt(document: Mapping[str, Any]) -> Prompt:
    """The prompt of a document."""
    tensors = {name: decode_array(part) for name, part in document["tensors"].items()}
    changed = {
        "labels": tuple(document["labels"]),
        "blocks": tuple(document["blocks"]),
        "calibration": _decode_calibration(document["calibration"]),
        "tensors": tensors,
    }
    return Prompt(**{**document, **changed})


def encode_chunk(chunk: Chunk, prompt_id: int) -> dict[str, Any]:
    """A chunk of a row, its prompt by the number that the engine process knows it by."""
    before = {} if chunk.before is None else {"before": encode_sums(chunk.before)}
    return {"person": encode_person(chunk.person), "prompt": prompt_id, "last": chunk.last, **before}


def _decode_calibration(document: Mapping[str, Any]) -> Calibration:
    pairs = {name: tuple((share, limit) for share, limit in document[name]) for name in ("familiarity", "coverage")}
    return Calibration(**{**document, **pairs})


def decode_chunk(document: Mapping[str, Any], prompts: Mapping[int, Prompt]) -> Chunk:
    """The chunk of a document.

    Raises:
        KeyError: Its prompt is not among the prompts.
    """
    before = decode_sums(document["before"]) if "before" in document else None
    return Chunk(decode_person(document["person"]), prompts[document["prompt"]], before, document["last"])


def encode_outcome(outcome: Result) -> list[Any] | dict[str, Any]:
    """Logits, window sums or an exception."""
    if isinstance(outcome, WindowSums):
        return {"sums": encode_sums(outcome)}
    return encode_error(outcome) if isinstance(outcome, Exception) else encode_array(outcome)


def decode_outcome(part: list[Any] | dict[str, Any]) -> Result:
    """The logits, window sums or exception of a document."""
    if isinstance(part, list):
        return decode_array(part)
    return decode_sums(part["sums"]) if "sums" in part else decode_error(part)


def _plain(value: Any, without: tuple[str, ...]) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in fields(value) if field.name not in without}
