"""Reading files, folders and patterns: what belongs together is one clip.

Files that hold one frame each (OpenPose, OpenPifPaf, MMPose and Ultralytics per image) are grouped by folder and by
the text before the frame number; all others are read one by one.
"""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from skeleton_prompt.clips.formats.errors import FormatError, NotThisFormat
from skeleton_prompt.clips.formats.format import JSON_SUFFIXES, Format
from skeleton_prompt.clips.formats.options import ReadOptions
from skeleton_prompt.clips.formats.people import Frame
from skeleton_prompt.clips.formats.recording import Document, Recording
from skeleton_prompt.clips.formats.registry import as_clips, read_recordings, recognise, suffixes, unrecognised
from skeleton_prompt.clips.formats.series import frame_series, natural_key
from skeleton_prompt.clips.formats.source import Source

MAX_FILES = 1_000_000
SMALL_FILE = 4 << 20  # files of one frame are smaller; larger ones are not parsed to find out


@dataclass(frozen=True)
class FileClip:
    """A clip and where it comes from.

    Attributes:
        path: the file, or the folder of a recording with a file for each frame.
        root: the path that the caller named, under which it was found.
        document: the clip as in the API, ``keypoints`` an array.
        notes: assumptions of the reader.
        format: title of the format.
    """

    path: Path
    root: Path
    document: Document
    notes: tuple[str, ...]
    format: str

    @property
    def folder_label(self) -> str | None:
        """The first folder between the named path and the file, or the named folder itself for files right in it."""
        if self.path == self.root or not self.root.is_dir():
            return None
        inside = self.path.relative_to(self.root).parts
        return inside[0] if len(inside) > 1 else None


@dataclass
class Skipped:
    """Files of a folder that no reader recognises."""

    paths: list[Path]


def expand(paths: Iterable[Path]) -> list[Path]:
    """Paths with patterns (``*``, ``?``, ``[...]``) that the shell left alone replaced by what they match.

    Raises:
        FormatError: nothing matches.
    """
    found: list[Path] = []
    for path in paths:
        if path.exists() or not glob.has_magic(str(path)):
            found.append(path)
            continue
        root = Path(path.anchor)
        matches = sorted(root.glob(str(path.relative_to(root))), key=lambda one: natural_key(str(one)))
        if not matches:
            raise FormatError(path, "no file matches this pattern")
        found += matches
    return found


def read_files(
    paths: Iterable[Path], options: ReadOptions | None = None, skipped: Skipped | None = None
) -> Iterator[FileClip]:
    """Clips of files, folders and patterns, in natural order.

    Args:
        paths: what the caller named.
        options: what the caller states about the files.
        skipped: collects the files of folders that were not recognised.

    Raises:
        FormatError: a file is missing, damaged, of no known format, or needs an option.
    """
    options = options or ReadOptions()
    loose: list[Path] = []
    for path in expand(paths):
        if path.is_dir():
            yield from _group(loose, None, options, skipped)
            loose = []
            yield from _folder(path, options, skipped)
        else:
            loose.append(path)
    yield from _group(loose, None, options, skipped)


def _folder(root: Path, options: ReadOptions, skipped: Skipped | None) -> Iterator[FileClip]:
    """Clips of a folder and the folders in it."""
    files = [path for path in root.rglob("*") if Source(path).suffix in suffixes() and path.is_file()]
    if len(files) > MAX_FILES:
        raise FormatError(root, f"more than {MAX_FILES} files")
    files.sort(key=lambda path: natural_key(str(path.relative_to(root))))
    yielded = False
    for clip in _group(files, root, options, skipped):
        yielded = True
        yield clip
    if not yielded:
        raise FormatError(
            root, f"no clip files in this folder (known are {', '.join(sorted(suffixes()))}; see convert --list)"
        )


def _group(files: list[Path], root: Path | None, options: ReadOptions, skipped: Skipped | None) -> Iterator[FileClip]:
    """Clips of files; frames of one recording are read together at the place of the first of them."""
    frames: dict[Path, list[Path]] = {}
    member: dict[Path, list[Path]] = {}
    for path in files:
        if _may_be_frame(path, options):
            frames.setdefault(path.parent, []).append(path)
    for own in frames.values():
        for series in frame_series([path.name for path in own]):
            group = [own[index] for _, index in series.members]
            if len(group) > 1:
                member.update(dict.fromkeys(group, group))
    done: set[Path] = set()
    for path in files:
        if path in done:
            continue
        group = member.get(path, [path])
        if len(group) > 1:
            done.update(group)
            yield from _series(group, root or path, options)
        else:
            yield from _one(path, root or path, options, skipped, alone=root is None)


def _may_be_frame(path: Path, options: ReadOptions) -> bool:
    """Whether a file holds one frame of a recording."""
    source = Source(path)
    if source.suffix not in (*JSON_SUFFIXES, ".txt") or not path.is_file() or path.stat().st_size > SMALL_FILE:
        return False
    form = recognise(source, options)
    if form is None:
        return False
    return form.name == "ultralytics-txt" or (form.is_frame is not None and form.is_frame(source.json))


def _one(path: Path, root: Path, options: ReadOptions, skipped: Skipped | None, *, alone: bool) -> Iterator[FileClip]:
    source = Source(path)
    form = recognise(source, options)
    if form is None:
        if not alone and source.suffix == ".txt":
            return  # notes and logs
        if alone or skipped is None:
            raise unrecognised(source)
        skipped.paths.append(path)
        return
    clips = as_clips(form, read_recordings(form, source, options), options, str(path), source.stem)
    for clip in clips:
        yield FileClip(path, root, clip.document, clip.notes, form.title)


def _series(group: list[Path], root: Path, options: ReadOptions) -> Iterator[FileClip]:
    """The recording of files with a frame each."""
    series = frame_series([path.name for path in group])[0]
    recordings: list[tuple[int, Recording]] = []
    form: Format | None = None
    for number, index in series.members:
        source = Source(group[index])
        form = recognise(source, options)
        if form is None:
            raise unrecognised(source)
        for recording in read_recordings(form, source, options):
            if not isinstance(recording, Recording) or len(recording.frames) != 1:
                raise NotThisFormat(source.path, f"{form.title}: more than one frame among files of one frame each")
            recordings.append((number, recording))
    folder = group[0].parent
    place = folder / series.prefix if series.prefix else folder
    assert form is not None  # noqa: S101 (a group has members)
    merged = _merged(recordings, str(folder))
    name = series.prefix or folder.name
    for clip in as_clips(form, [merged], options, str(place), name):
        yield FileClip(place, root, clip.document, clip.notes, form.title)


def _merged(recordings: list[tuple[int, Recording]], place: str) -> Recording:
    """One recording out of single frames; what they state has to agree."""
    full = [recording for _, recording in recordings if recording.frames[0].people]
    first = full[0] if full else recordings[0][1]
    for one in full:
        if (one.coords, one.layout) != (first.coords, first.layout):
            raise FormatError(
                place,
                f"frames with layout {first.layout} ({first.coords}) and {one.layout} ({one.coords}) in one recording",
            )
    frames: list[Frame] = [replace(recording.frames[0], number=number) for number, recording in recordings]
    notes = tuple(dict.fromkeys(note for recording in full for note in recording.notes))
    sized = all(recording.units == "fraction" for recording in full)
    return replace(first, frames=frames, notes=notes, units="fraction" if full and sized else None)
