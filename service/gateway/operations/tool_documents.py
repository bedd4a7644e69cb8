"""JSON documents of pose tools that are sent where a clip is expected.

A document without ``keypoints`` that a tool wrote is read as the clip in it, if it holds one and nothing about it is
uncertain; otherwise the answer names the tool and the command that converts its files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skeleton_prompt.clips.clip import InvalidClip, Problem
from skeleton_prompt.clips.findings import Finding
from skeleton_prompt.clips.formats import recognise_document

OTHER_FORMAT = "other_format"
_KEPT = ("id", "label", "group", "segments", "top_k", "threshold", "tenant", "set", "refusal")


class ToolClip(dict[str, Any]):
    """A clip document that was read out of a tool's document.

    Attributes:
        notes: What the reader assumed.
    """

    notes: tuple[str, ...] = ()


def clip_of(document: Any, prefix: str = "") -> Any:
    """The clip in a document of a pose tool; any other document as it is.

    Args:
        document: A decoded JSON document.
        prefix: Its place in the request, for the error.

    Raises:
        InvalidClip: A tool's document that holds no clip, several, or one that needs an option (rule
            ``other_format``).
    """
    if not isinstance(document, Mapping) or "keypoints" in document or "clips" in document:
        return document
    found = recognise_document(dict(document))
    if found is None:
        return document
    if len(found.clips) != 1:
        raise InvalidClip((Problem(prefix, OTHER_FORMAT, found.message),))
    [read] = found.clips
    clip = ToolClip(read.document)
    clip.update({name: document[name] for name in _KEPT if name in document and name not in read.document})
    clip.notes = (f"read as {found.format} output", *read.notes)
    return clip


def notes_of(document: Any) -> list[Finding]:
    """What a quality report says of the reading: notes with code, message and the field that would settle it."""
    notes = document.notes if isinstance(document, ToolClip) else ()
    return [Finding("read_from_tool", note) for note in notes]
