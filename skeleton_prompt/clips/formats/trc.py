"""Track Row Column files (``.trc``) of OpenSim, Pose2Sim, Qualisys and Vicon: marker trajectories.

Line 2 names and line 3 states ``DataRate``, ``NumFrames``, ``NumMarkers`` and ``Units``; line 4 has the marker names,
line 5 ``X1 Y1 Z1 ...``; data rows have frame, time and three numbers for each marker, empty where it was not seen.
Source: OpenSim documentation, "Marker (.trc) Files".
"""

from __future__ import annotations

import math

import numpy as np

from skeleton_prompt.clips.formats.errors import FormatError
from skeleton_prompt.clips.formats.format import Format
from skeleton_prompt.clips.formats.layout_choice import known_layout
from skeleton_prompt.clips.formats.options import ReadOptions
from skeleton_prompt.clips.formats.people import Detection, Frame
from skeleton_prompt.clips.formats.recording import Recording
from skeleton_prompt.clips.formats.source import Source

MAX_MARKERS = 256
UNITS = {"mm": "mm", "cm": "cm", "m": "m", "millimeters": "mm", "meters": "m", "inches": "inch", "ft": "foot"}


def detect(source: Source) -> float:
    """How surely a file is a TRC file."""
    if source.suffix == ".trc":
        return 0.9
    return 0.9 if source.suffix == ".txt" and source.head.lstrip().startswith(b"PathFileType") else 0.0


def read(source: Source, _options: ReadOptions) -> list[Recording]:
    """The recording of a file."""
    lines = source.lines
    top = next((index for index, line in enumerate(lines) if line.strip().lower().startswith("datarate")), None)
    if top is None or len(lines) < top + 4:
        raise FormatError(source.path, "no line DataRate ... NumMarkers ... Units as TRC files have it")
    header = dict(zip((word.lower() for word in lines[top].split()), lines[top + 1].split(), strict=False))
    names = _names(source, lines[top + 2])
    fps = _rate(source, header)
    frames = []
    for number, line in enumerate(lines[top + 3 :], top + 4):
        cells = line.split("\t") if "\t" in line else line.split()
        if not cells or not cells[0].strip() or not cells[0].strip().lstrip("-").isdecimal():
            continue  # the line X1 Y1 Z1, and empty lines
        frames.append(_row(source, number, cells, len(names)))
    stated = header.get("numframes", "")
    notes = [f"units: {header.get('units', 'not stated')}"]
    if stated.isdecimal() and int(stated) != len(frames):
        notes.append(f"NumFrames states {stated} frames, the file has {len(frames)}")
    return [
        Recording(
            frames, "xyzc", known_layout(names), fps=fps, id=source.stem, notes=tuple(notes),
            unknown_axes=True, default_up="y",
        )
    ]  # fmt: skip


def _names(source: Source, line: str) -> list[str]:
    cells = [cell.strip() for cell in (line.split("\t") if "\t" in line else line.split())]
    names = [cell for cell in cells if cell and cell.lower() not in ("frame#", "frame", "time")]
    if not 2 <= len(names) <= MAX_MARKERS:
        raise FormatError(source.path, f"{len(names)} marker names; 2 to {MAX_MARKERS} are read")
    return names


def _rate(source: Source, header: dict[str, str]) -> float | None:
    try:
        rate = float(header.get("datarate", "nan").replace(",", "."))
    except ValueError:
        raise FormatError(source.path, f"DataRate {header['datarate'][:20]!r} is not a number") from None
    return rate if math.isfinite(rate) and rate > 0 else None


def _row(source: Source, line: int, cells: list[str], markers: int) -> Frame:
    values = np.full((markers, 4), np.nan)
    numbers = [*cells[2:], *[""] * (3 * markers - len(cells) + 2)]
    if any(cell.strip() for cell in numbers[3 * markers :]):
        raise FormatError(source.path, f"line {line}: {len(cells)} columns for {markers} markers")
    for marker in range(markers):
        three = [cell.strip() for cell in numbers[3 * marker : 3 * marker + 3]]
        try:
            place = [float(cell.replace(",", ".")) if cell else math.nan for cell in three]
        except ValueError:
            raise FormatError(source.path, f"line {line}: {' '.join(three)[:40]!r} are not numbers") from None
        if all(map(math.isfinite, place)):
            values[marker] = (*place, 1.0)
    return Frame([Detection(values)] if np.isfinite(values).any() else [], int(cells[0]))


FORMAT = Format(
    "trc",
    "TRC (OpenSim, Pose2Sim, OpenCap)",
    (".trc", ".txt"),
    "`.trc` marker trajectories",
    "names of the markers",
    "`DataRate`",
    detect,
    read,
    options=("--up-axis",),
)
