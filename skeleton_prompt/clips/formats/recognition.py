"""Recognises JSON documents of pose tools that were sent where a clip is expected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from skeleton_prompt.clips.formats.errors import FormatError
from skeleton_prompt.clips.formats.options import ReadOptions
from skeleton_prompt.clips.formats.own import documents_of
from skeleton_prompt.clips.formats.recording import ReadClip
from skeleton_prompt.clips.formats.registry import as_clips, json_format_of, read_document


@dataclass(frozen=True)
class Recognition:
    """What a document is.

    Attributes:
        format: title of the tool.
        clips: its clips, if they can be read without another option; else empty.
        message: what was recognised and the way out, for the answer to the client.
    """

    format: str
    clips: tuple[ReadClip, ...]
    message: str


def recognise_document(value: Any) -> Recognition | None:
    """The tool whose output a parsed JSON document is, and the clips in it.

    Args:
        value: the document; a clip of the API gives None.

    Returns:
        None if the document is a clip or of no known tool. Never raises for any JSON value.
    """
    if documents_of(value):
        return None
    form = json_format_of(value)
    if form is None or form.read_json is None:
        return None
    if form.is_frame is not None and form.is_frame(value):
        return Recognition(
            form.title,
            (),
            f"this is one frame of {form.title}, not a clip: put the frames of a recording into one folder and run "
            "`skeleton-prompt convert FOLDER clip.json`",
        )
    try:
        clips = as_clips(
            form, read_document(form, value, ReadOptions(), "document"), ReadOptions(), "document", "document"
        )
    except FormatError as error:
        return Recognition(
            form.title,
            (),
            f"this is {form.title} output, not a clip, and it cannot be read as it is ({error.reason}): "
            "`skeleton-prompt convert FILE clip.json` reads it with the options that it needs",
        )
    many = f" with {len(clips)} clips" if len(clips) > 1 else ""
    message = f"this is {form.title} output{many}, not a clip: `skeleton-prompt convert FILE clip.json` reads it"
    return Recognition(form.title, tuple(clips), message)
