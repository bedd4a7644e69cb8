"""From a tenant's stored clips to the people that are taught, and to their features."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from skeleton_prompt.clips.clip import Clip, InvalidClip, cut_segments
from skeleton_prompt.clips.normalise import PreparedPerson, prepare
from skeleton_prompt.model.prompt_file import Array


@dataclass(frozen=True, eq=False)
class Example:
    """One labelled person.

    Attributes:
        clip: Where it came from, for the report: the client's own id where there is one.
        stored: Id of the stored clip.
        label: What is taught; None is background.
        group: Its clips never straddle a validation split.
        person: Ready for the engine.
    """

    clip: str
    stored: str
    label: str | None
    group: str | None
    person: PreparedPerson


def examples_of(stored: str, clip: Clip) -> Iterator[Example | dict[str, str]]:
    """The examples in a stored clip: one, or one per segment.

    Yields:
        Examples, and for whatever cannot be taught ``{"clip", "reason"}``.
    """
    for part in cut_segments(clip):
        name = part.id or stored
        if part.label is None and not part.background:
            yield {"clip": name, "reason": "it carries no label"}
            continue
        try:
            people, _ = prepare(part)
        except InvalidClip as error:
            yield {"clip": name, "reason": error.problems[0].message}
            continue
        # The others in the picture stand by: what is taught is who moves most.
        main = max(people, key=lambda person: (person.visible > 0, person.motion))
        yield Example(name, stored, part.label, part.group, main)


def build_examples(clips: Iterable[tuple[str, Clip]]) -> tuple[list[Example], list[dict[str, str]]]:
    """Examples of all clips in order, and what was skipped."""
    examples: list[Example] = []
    skipped: list[dict[str, str]] = []
    for stored, clip in clips:
        for found in examples_of(stored, clip):
            if isinstance(found, Example):
                examples.append(found)
            else:
                skipped.append(found)
    return examples, skipped


def fingerprint(examples: Sequence[Example], backbone_sha256: str) -> str:
    """What a checkpoint of these examples' features is good for: the same clips on the same backbone."""
    text = "\n".join([backbone_sha256, *(f"{one.stored} {one.clip} {one.label!r}" for one in examples)])
    return hashlib.sha256(text.encode()).hexdigest()


def encode_checkpoint(mark: str, **arrays: np.ndarray) -> bytes:
    """Arrays as an npz checkpoint that is only good for ``mark``."""
    buffer = io.BytesIO()
    named: dict[str, Any] = {"mark": np.frombuffer(mark.encode(), dtype=np.uint8), **arrays}
    np.savez(buffer, **named)
    return buffer.getvalue()


def decode_checkpoint(data: bytes | None, mark: str) -> dict[str, Array] | None:
    """The arrays of a checkpoint, or None if there is none, it is damaged, or it was made for something else."""
    if data is None:
        return None
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile):
        return None
    if arrays.pop("mark", np.zeros(0, dtype=np.uint8)).tobytes() != mark.encode():
        return None
    return arrays
