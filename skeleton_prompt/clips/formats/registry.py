"""The formats that can be read, and the choice among them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from skeleton_prompt.clips.formats import (
    arrays,
    azure_kinect,
    c3d_file,
    coco,
    hdf5,
    kinetics,
    landmarks,
    long_tables,
    mmpose,
    mocap_files,
    ntu,
    openpifpaf,
    openpose,
    own,
    pickles,
    tables,
    tracked_person,
    trc,
    ultralytics,
)
from skeleton_prompt.clips.formats.errors import FormatError, NotThisFormat
from skeleton_prompt.clips.formats.format import Format
from skeleton_prompt.clips.formats.options import ReadOptions
from skeleton_prompt.clips.formats.recording import ReadClip, Recording, assemble
from skeleton_prompt.clips.formats.source import Source

FORMATS: tuple[Format, ...] = (
    own.JSON,
    own.MSGPACK,
    own.NPZ,
    openpose.FORMAT,
    mmpose.FORMAT,
    coco.RESULTS,
    coco.ANNOTATIONS,
    ultralytics.FORMAT,
    ultralytics.LABELS,
    openpifpaf.FORMAT,
    landmarks.FORMAT,
    kinetics.FORMAT,
    tracked_person.FORMAT,
    ntu.FORMAT,
    azure_kinect.FORMAT,
    tables.DEEPLABCUT,
    tables.WIDE,
    long_tables.FORMAT,
    hdf5.FORMAT,
    trc.FORMAT,
    c3d_file.FORMAT,
    mocap_files.BVH,
    mocap_files.AMC,
    pickles.FORMAT,
    arrays.NPY,
    arrays.NPZ,
)
# What reading a structure that is not as documented leads to. FormatError is a ValueError.
MALFORMED = (TypeError, KeyError, ValueError, AttributeError, IndexError, OverflowError)
# Known formats that are not read, and what to export instead.
ELSEWHERE = {
    ".asf": "a skeleton alone; name the .amc files beside it",
    ".xml": "CVAT XML is not read; export the task as COCO Keypoints 1.0",
    ".slp": "a SLEAP project is not read; export analysis HDF5 (sleap-convert --format analysis)",
    ".fbx": "FBX is not read; export BVH",
    ".mat": "MATLAB files are not read; save the keypoints as .npy or CSV",
    ".pt": "PyTorch files are pickles and never read; save numpy arrays with np.savez",
    ".pth": "PyTorch files are pickles and never read; save numpy arrays with np.savez",
    ".xlsx": "Excel files are not read; save the sheet as CSV",
    ".mp4": "videos are not read; run a pose estimator on them first",
    ".avi": "videos are not read; run a pose estimator on them first",
    ".mov": "videos are not read; run a pose estimator on them first",
}


@lru_cache(maxsize=1)
def suffixes() -> frozenset[str]:
    """Lower-case suffixes of all formats."""
    return frozenset(suffix for form in FORMATS for suffix in form.suffixes)


def format_named(name: str) -> Format:
    """The format of this name.

    Raises:
        FormatError: there is none.
    """
    for form in FORMATS:
        if form.name == name:
            return form
    raise FormatError("", f"no format is called {name[:40]!r}; known are {', '.join(form.name for form in FORMATS)}")


def recognise(source: Source, options: ReadOptions) -> Format | None:
    """The format of a file, None if no reader recognises it.

    Raises:
        FormatError: the file cannot be opened or is damaged.
    """
    if options.format is not None:
        return format_named(options.format)
    found = [(form.detect(source), -rank, form) for rank, form in enumerate(FORMATS) if source.suffix in form.suffixes]
    best = max(found, key=lambda row: row[:2], default=None)
    return best[2] if best is not None and best[0] > 0 else None


def unrecognised(source: Source) -> FormatError:
    """The exception for a file that no reader recognises."""
    if source.suffix in ELSEWHERE:
        return NotThisFormat(source.path, ELSEWHERE[source.suffix])
    if source.suffix in suffixes():
        what = _described(source)
        return NotThisFormat(
            source.path,
            f"not a clip file: {what} of no known format; clips have keypoints, `convert --list` shows others",
        )
    known = ", ".join(sorted(suffixes()))
    return NotThisFormat(source.path, f"not a clip file by its name ({known}; see `convert --list`)")


def _described(source: Source) -> str:
    if source.suffix not in (".json", ".ndjson", ".jsonl"):
        return f"a {source.suffix} file"
    value = source.json
    if isinstance(value, dict):
        return f"a JSON object with {', '.join(str(key)[:30] for key in list(value)[:6]) or 'no keys'}"
    if isinstance(value, list):
        first = value[0] if value else None
        keys = (
            f" of objects with {', '.join(str(key)[:30] for key in list(first)[:6])}" if isinstance(first, dict) else ""
        )
        return f"a JSON list of {len(value)}{keys}"
    return "JSON"


def read_source(source: Source, options: ReadOptions) -> tuple[Format, list[ReadClip]]:
    """The clips of one file.

    Raises:
        FormatError: not recognised, damaged, or an option is needed.
    """
    form = recognise(source, options)
    if form is None:
        raise unrecognised(source)
    return form, as_clips(form, read_recordings(form, source, options), options, str(source.path), source.stem)


def read_recordings(form: Format, source: Source, options: ReadOptions) -> Sequence[Recording | ReadClip]:
    """The recordings of a file.

    Raises:
        FormatError: damaged, or of a version whose structure the reader does not know.
    """
    try:
        return form.read(source, options)
    except MALFORMED as error:
        raise malformed(form, str(source.path), error) from error


def read_document(form: Format, value: Any, options: ReadOptions, place: str) -> Sequence[Recording | ReadClip]:
    """The recordings of a parsed JSON document; raises as :func:`read_recordings`."""
    if form.read_json is None:
        raise FormatError(place, f"{form.title} is no JSON")
    try:
        return form.read_json(value, options, place)
    except MALFORMED as error:
        raise malformed(form, place, error) from error


def malformed(form: Format, place: str, error: Exception) -> FormatError:
    """The exception for a file whose structure is not that of its format; a FormatError as it is."""
    if isinstance(error, FormatError):
        return error
    return FormatError(
        place, f"{form.title}: the file is damaged or of an unknown version ({type(error).__name__}: {error})"
    )


def as_clips(
    form: Format, found: Sequence[Recording | ReadClip], options: ReadOptions, place: str, stem: str
) -> list[ReadClip]:
    """Clips of recordings; a recording without an id gets the name of the file."""
    clips: list[ReadClip] = []
    for item in found:
        if isinstance(item, ReadClip):
            clips.append(item)
            continue
        try:
            own_clips = assemble(item, options, place)
        except FormatError as error:
            raise type(error)(place, f"{form.title}: {error.reason}") from None
        for clip in own_clips:
            clip.document.setdefault("id", stem[-128:])
        clips += own_clips
    if not clips:
        raise FormatError(place, f"{form.title}: no clips in this file")
    return clips


def json_format_of(value: Any) -> Format | None:
    """The format of a parsed JSON document that is no clip of the API, None if no tool is recognised."""
    found = [
        (form.detect_json(value), -rank, form) for rank, form in enumerate(FORMATS) if form.detect_json is not None
    ]
    best = max(found, key=lambda row: row[:2], default=None)
    return best[2] if best is not None and best[0] > 0 else None
