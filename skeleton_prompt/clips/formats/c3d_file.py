"""C3D files of motion capture systems, read with the library ``c3d``.

A point has x, y, z, residual (negative where it was not seen) and cameras. ``POINT:RATE`` states the frames per second,
``POINT:LABELS`` the names. Axes are those of the laboratory, mostly z up. Source: c3d.org, "The C3D File Format".
"""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np

from skeleton_prompt.clips.formats.errors import FormatError, LibraryMissing
from skeleton_prompt.clips.formats.format import Format
from skeleton_prompt.clips.formats.layout_choice import known_layout
from skeleton_prompt.clips.formats.options import ReadOptions
from skeleton_prompt.clips.formats.people import Detection, Frame
from skeleton_prompt.clips.formats.recording import Recording
from skeleton_prompt.clips.formats.source import Source
from skeleton_prompt.clips.layouts import MAX_JOINTS

MAX_FRAMES = 200_000
_KEY = 0x50  # second byte of every C3D file


def detect(source: Source) -> float:
    """How surely a file is C3D."""
    if source.suffix == ".c3d":
        return 0.95
    return 0.0


def read(source: Source, _options: ReadOptions) -> list[Recording]:
    """The recording of a file."""
    if len(source.head) < 2 or source.head[1] != _KEY:
        raise FormatError(source.path, "not a C3D file: its second byte is not 0x50")
    try:
        import c3d
    except ImportError:
        raise LibraryMissing(source.path, "C3D", "c3d") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the library warns of repairable headers
            reader = c3d.Reader(io.BytesIO(source.data))
            labels = [str(label).strip() for label in reader.point_labels]
            rate = float(reader.point_rate)
            frames = _frames(source, reader, len(labels))
    except FormatError:
        raise
    except Exception as error:  # the library raises whatever a damaged header leads to
        raise FormatError(
            source.path, f"the C3D file is damaged or has no points ({type(error).__name__} in its header or frames)"
        ) from None
    used = [index for index, label in enumerate(labels) if label and not label.startswith("*")][:MAX_JOINTS]
    if len(used) < 2:
        raise FormatError(source.path, "no named points in this C3D file")
    chosen = [Frame([Detection(person.values[used]) for person in frame.people], frame.number) for frame in frames]
    return [
        Recording(
            chosen, "xyzc", known_layout([labels[index] for index in used]), fps=rate if rate > 0 else None,
            id=source.stem, unknown_axes=True,
        )
    ]  # fmt: skip


def _frames(source: Source, reader: Any, joints: int) -> list[Frame]:
    frames: list[Frame] = []
    for number, points, _ in reader.read_frames(copy=True):
        if len(frames) >= MAX_FRAMES:
            raise FormatError(source.path, f"more than {MAX_FRAMES} frames; cut the recording")
        rows = np.asarray(points, dtype=np.float64)[:joints]
        values = np.full((joints, 4), np.nan)
        seen = np.isfinite(rows[:, :3]).all(1) & (rows[:, 3] >= 0) & (rows[:, :3] != 0).any(1)
        values[: len(rows)][seen] = np.column_stack([rows[seen, :3], np.ones(int(seen.sum()))])
        frames.append(Frame([Detection(values)] if seen.any() else [], int(number)))
    return frames


FORMAT = Format(
    "c3d",
    "C3D",
    (".c3d",),
    "`.c3d` points with names; needs `pip install 'skeleton-prompt[formats]'`",
    "names of the points",
    "`POINT:RATE`",
    detect,
    read,
    options=("--up-axis",),
)
