"""Training examples: a tenant's stored clips as prepared people, and checkpoints of arrays made of them."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from skeleton_prompt.clips.clip import Clip, InvalidClip, cut_segments
from skeleton_prompt.clips.normalise import PreparedPerson, prepare
from skeleton_prompt.model.dimensions import DEEP, dimension_of, seen_in_2d
from skeleton_prompt.model.prompt_file import Array
from skeleton_prompt.model.window_batches import thinned

# A longer clip teaches with windows evenly spaced over it: they overlap, and their features are averaged.
MAX_CLIP_WINDOWS = 256
# Of all clips together; prepared windows stay in memory for the whole job, 17 KB each.
MAX_JOB_WINDOWS = 131_072


class TooManyWindows(Exception):
    """The clips of a job are too long to be taught together; the message is for the tenant."""


@dataclass(frozen=True, eq=False)
class Example:
    """One labelled person.

    Attributes:
        clip: Where it came from, for the report: the client's own id where there is one.
        stored: Id of the stored clip.
        label: What is taught; None is background.
        group: Clips of one group are on the same side of every validation split.
        person: Ready for the engine.
    """

    clip: str
    stored: str
    label: str | None
    group: str | None
    person: PreparedPerson


def examples_of(stored: str, clip: Clip) -> Iterator[Example | dict[str, str]]:
    """Build the examples of one stored clip: one, or one per segment.

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
        # One person is taught per clip: the one that moves most.
        main = max(people, key=lambda person: (person.visible > 0, person.motion))
        yield Example(name, stored, part.label, part.group, thinned(main, MAX_CLIP_WINDOWS))


def of_one_dimension(examples: list[Example]) -> list[Example]:
    """Examples that are all 3-D, or all 2-D: beside 2-D clips a 3-D clip teaches by its frontal projection."""
    if dimension_of(one.person for one in examples) == DEEP:
        return examples
    return [replace(one, person=seen_in_2d(one.person)) for one in examples]


def build_examples(clips: Iterable[tuple[str, Clip]]) -> tuple[list[Example], list[dict[str, str]]]:
    """Build the examples of all clips, in order.

    Args:
        clips: Stored id and clip; read one by one, so that only the prepared windows stay in memory.

    Returns:
        The examples, and for whatever cannot be taught ``{"clip", "reason"}``.

    Raises:
        TooManyWindows: The clips have more than ``MAX_JOB_WINDOWS`` windows.
    """
    examples: list[Example] = []
    skipped: list[dict[str, str]] = []
    windows = 0
    for stored, clip in clips:
        for found in examples_of(stored, clip):
            if isinstance(found, Example):
                windows += len(found.person.pose)
                if windows > MAX_JOB_WINDOWS:
                    raise TooManyWindows(
                        f"the clips of one job may have at most {MAX_JOB_WINDOWS:,} windows of 64 frames, "
                        f"and the first {len(examples) + 1} have {windows:,}: send fewer or shorter clips"
                    )
                examples.append(found)
            else:
                skipped.append(found)
    return examples, skipped


def fingerprint(examples: Sequence[Example], backbone_sha256: str) -> str:
    """SHA-256 that identifies examples and backbone; a checkpoint is used only for the same ones."""
    text = "\n".join([backbone_sha256, *(f"{one.stored} {one.clip} {one.label!r}" for one in examples)])
    return hashlib.sha256(text.encode()).hexdigest()


def encode_checkpoint(mark: str, **arrays: np.ndarray) -> bytes:
    """Encode arrays as an npz checkpoint with the fingerprint ``mark``."""
    buffer = io.BytesIO()
    named: dict[str, Any] = {"mark": np.frombuffer(mark.encode(), dtype=np.uint8), **arrays}
    np.savez(buffer, **named)
    return buffer.getvalue()


def decode_checkpoint(data: bytes | None, mark: str) -> dict[str, Array] | None:
    """Decode a checkpoint; None if there is none, it is damaged, or its fingerprint is not ``mark``."""
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
