"""Readers of the files of pose estimators, trackers and motion capture systems.

``read_files`` gives the clips of files, folders and patterns; ``recognise_document`` names the tool behind a JSON
document; ``FORMATS`` lists what can be read. Nothing here imports torch, runs a pickle, or opens more than one file at
a time.
"""

from skeleton_prompt.clips.formats.errors import AmbiguousFile, FormatError, LibraryMissing, NotThisFormat
from skeleton_prompt.clips.formats.options import COORDS, UP_AXES, ReadOptions
from skeleton_prompt.clips.formats.reading import FileClip, Skipped, read_files
from skeleton_prompt.clips.formats.recognition import Recognition, recognise_document
from skeleton_prompt.clips.formats.recording import ReadClip
from skeleton_prompt.clips.formats.registry import FORMATS

__all__ = [
    "COORDS", "FORMATS", "UP_AXES", "AmbiguousFile", "FileClip", "FormatError", "LibraryMissing", "NotThisFormat",
    "ReadClip", "ReadOptions", "Recognition", "Skipped", "read_files", "recognise_document",
]  # fmt: skip
