"""Tables of joints: DeepLabCut, SLEAP, Kinect, MediaPipe and other CSV files with one row for each frame.

DeepLabCut has three header rows (``scorer``, ``bodyparts``, ``coords``), four with several animals (``individuals``).
SLEAP has ``track``, ``frame_idx`` and columns such as ``nose.x``, ``nose.y``, ``nose.score``. Others have a column for
each joint and coordinate. Sources: DeepLabCut, docs/standardDeepLabCut_UserGuide.md; SLEAP, "Export data for analysis".
"""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skeleton_prompt.clips.formats.columns import Columns, find_columns, sensor_axes
from skeleton_prompt.clips.formats.errors import AmbiguousFile, FormatError
from skeleton_prompt.clips.formats.format import Format
from skeleton_prompt.clips.formats.instances import as_fractions
from skeleton_prompt.clips.formats.layout_choice import known_layout
from skeleton_prompt.clips.formats.options import ReadOptions
from skeleton_prompt.clips.formats.people import Detection, Frame
from skeleton_prompt.clips.formats.recording import Recording
from skeleton_prompt.clips.formats.series import frame_series
from skeleton_prompt.clips.formats.source import Source

Array = NDArray[np.float64]

SUFFIXES = (".csv", ".tsv")
MAX_COLUMNS = 20_000
FRAME_COLUMNS = (
    "frame", "frame_idx", "frameidx", "frame_id", "frameid", "frame_number", "framenumber", "frame#", "framenum",
    "index", "frame_index",
)  # fmt: skip
_TIMES = {"time": 0.0, "timestamp": 0.0, "timestamps": 0.0, "t": 0.0, "time_s": 1.0, "seconds": 1.0, "time (s)": 1.0,
          "timestamp_ms": 1e-3, "time_ms": 1e-3, "timestamp_us": 1e-6, "timestamp_usec": 1e-6}  # fmt: skip
TRACK_COLUMNS = ("track", "track_id", "body_id", "bodyid", "person", "person_id", "individual", "bodyindex", "body")
_STATES = {"0": 0.0, "1": 0.5, "2": 1.0, "nottracked": 0.0, "inferred": 0.5, "tracked": 1.0}
_MISSING = {"", "nan", "null", "none", "na", "n/a", "-", "inf", "-inf"}


def table_of(source: Source, limit: int | None = None) -> list[list[str]]:
    """Rows of a table, its delimiter found in the first lines; at most ``limit`` rows."""
    text = source.text if limit is None else source.text[: 1 << 20]
    lines = text.splitlines()
    first = next((line for line in lines if line.strip()), "")
    delimiter = max(",;\t", key=lambda mark: first.count(mark))
    decimal_comma = delimiter != ","
    rows: list[list[str]] = []
    for row in csv.reader(lines if limit is None else lines[: limit + 5], delimiter=delimiter, skipinitialspace=True):
        if any(cell.strip() for cell in row) and not (row[0].startswith("#") and not rows):
            rows.append([cell.strip().replace(",", ".") if decimal_comma else cell.strip() for cell in row])
        if limit is not None and len(rows) >= limit:
            break
    return rows


def cell(value: str) -> float:
    """A cell as a number; empty cells, ``nan`` and the like are NaN.

    Raises:
        ValueError: other text.
    """
    return math.nan if value.lower() in _MISSING else float(value)


def head_rows(source: Source) -> list[list[str]]:
    """The first rows of a table, none if the file is no text."""
    try:
        return table_of(source, 6)
    except (csv.Error, FormatError):
        return []


def _is_deeplabcut(rows: Sequence[Sequence[str]]) -> bool:
    firsts = [row[0].lower() if row else "" for row in rows[:4]]
    return len(rows) > 2 and firsts[0] == "scorer" and "bodyparts" in firsts and "coords" in firsts


def detect_deeplabcut(source: Source) -> float:
    """How surely a file is a table of DeepLabCut."""
    return 0.95 if source.suffix in SUFFIXES and _is_deeplabcut(head_rows(source)) else 0.0


def read_deeplabcut(source: Source, _options: ReadOptions) -> list[Recording]:
    """The recording of a table of DeepLabCut."""
    rows = table_of(source)
    header: dict[str, list[str]] = {}
    while rows and rows[0][0].lower() in ("scorer", "individuals", "bodyparts", "coords"):
        row = rows.pop(0)
        header[row[0].lower()] = row
    parts, coords = header["bodyparts"], header["coords"]
    # Since DeepLabCut 2.2 image paths of labelled data fill three columns, two of them without a header.
    start = next((index for index, name in enumerate(coords) if name.lower() in ("x", "y", "z", "likelihood")), 1)
    animals = header.get("individuals", ["individuals"] + [""] * (len(parts) - 1))
    names = list(zip(animals[start:], parts[start:], coords[start:], strict=False))
    return [_deeplabcut(source, names, rows, start)]


def _deeplabcut(
    source: Source, names: Sequence[tuple[str, str, str]], rows: Sequence[Sequence[str]], start: int
) -> Recording:
    labels = ["/".join(row[:start]) for row in rows]
    numbers: list[int | None] = [None] * len(rows)
    if all(label.isdecimal() for label in labels):
        numbers = [int(label) for label in labels]
    else:
        series = frame_series(labels)
        if len(series) == 1:
            for number, index in series[0].members:
                numbers[index] = number
    table = numbers_of(source, rows, start, len(names))
    return deeplabcut_recording(str(source.path), names, table, numbers)


def deeplabcut_recording(
    place: str, names: Sequence[tuple[str, str, str]], table: Array, numbers: Sequence[int | None]
) -> Recording:
    """The recording of a DeepLabCut table.

    Args:
        place: the file, for messages.
        names: individual, body part and coordinate of each column.
        table: (T, columns) numbers, NaN where empty.
        numbers: frame number of each row, None where unknown.
    """
    joints = list(dict.fromkeys(part for _, part, _ in names))
    columns = {(animal, part, kind.lower()): index for index, (animal, part, kind) in enumerate(names)}
    kinds = {kind.lower() for _, _, kind in names}
    if not {"x", "y"} <= kinds:
        raise FormatError(place, f"coords {', '.join(sorted(kinds))}; x and y are needed")
    deep = "z" in kinds
    axes = ("x", "y", "z") if deep else ("x", "y")
    scored = "likelihood" in kinds
    frames = []
    animals = list(dict.fromkeys(animal for animal, _, _ in names if animal != "single")) or ["single"]
    stack = {}
    for animal in animals:
        picked = np.full((len(table), len(joints), len(axes) + 1), np.nan)
        for j, joint in enumerate(joints):
            for c, axis in enumerate((*axes, "likelihood")):
                index = columns.get((animal, joint, axis))
                if index is not None:
                    picked[:, j, c] = table[:, index]
                elif axis == "likelihood":
                    picked[:, j, c] = 1.0
        stack[animal] = picked
    several = len(animals) > 1
    for t, number in enumerate(numbers):
        people = [
            Detection(values[t], animal if several else None)
            for animal, values in stack.items()
            if np.isfinite(values[t, :, :2]).any()
        ]
        frames.append(Frame(people, number))
    return Recording(
        frames,
        "xyzc" if deep else "xyc",
        known_layout(joints),
        unknown_axes=deep,
        notes=() if scored else ("no likelihood in this table: every joint with coordinates counts as seen",),
    )


def numbers_of(source: Source, rows: Sequence[Sequence[str]], start: int, width: int) -> Array:
    """(T, width) numbers of a table from a column on; short rows are filled with NaN."""
    if width > MAX_COLUMNS:
        raise FormatError(source.path, f"{width} columns; at most {MAX_COLUMNS} are read")
    table = np.full((len(rows), width), np.nan)
    for index, row in enumerate(rows):
        cells = row[start : start + width]
        table[index, : len(cells)] = _row_numbers(source, index, cells)
    return table


def _row_numbers(source: Source, index: int, cells: Sequence[str]) -> list[float]:
    try:
        return [cell(value) for value in cells]
    except ValueError as error:
        raise FormatError(source.path, f"row {index + 1} of the data: {error}") from None


def detect_wide(source: Source) -> float:
    """How surely a file is a table with a column for each joint and coordinate."""
    if source.suffix not in SUFFIXES:
        return 0.0
    rows = head_rows(source)
    if not rows or _is_deeplabcut(rows):
        return 0.0
    return 0.7 if find_columns(rows[0]) else 0.0


def read_wide(source: Source, options: ReadOptions) -> list[Recording]:
    """The recording of a wide table: SLEAP, Kinect, MediaPipe and the like."""
    rows = table_of(source)
    header, rows = rows[0], rows[1:]
    columns = find_columns(header)
    if columns is None:
        raise FormatError(source.path, "no columns such as nose_x and nose_y")
    lower = [name.lower() for name in header]
    frame_at = next((lower.index(name) for name in FRAME_COLUMNS if name in lower), None)
    time_at = next((lower.index(name) for name in _TIMES if name in lower), None)
    track_at = next((lower.index(name) for name in TRACK_COLUMNS if name in lower), None)
    by_frame: dict[Any, list[Detection]] = defaultdict(list)
    times: dict[Any, float | None] = {}
    numbered = frame_at is not None
    for index, row in enumerate(rows):
        row = [*row, *[""] * (len(header) - len(row))]
        try:
            number = int(cell(row[frame_at])) if frame_at is not None else index
            times[number] = _seconds(cell(row[time_at]), lower[time_at]) if time_at is not None else None
            values = _joints_of(row, columns)
        except ValueError as error:
            raise FormatError(source.path, f"row {index + 2}: {error}") from None
        track = row[track_at] if track_at is not None and row[track_at] else None
        people = by_frame[number]
        if np.isfinite(values[:, :2]).any():
            people.append(Detection(values, track))
    frames = [Frame(people, number if numbered else None, times[number]) for number, people in by_frame.items()]
    return [_wide(columns, frames, options, str(source.path))]


def _seconds(value: float, name: str) -> float | None:
    return value * (_TIMES[name] or 1.0) if math.isfinite(value) else None


def _joints_of(row: Sequence[str], columns: Columns) -> Array:
    """(J, 3 or 4) of one row: coordinates and confidence."""
    axes = "xyz" if columns.deep else "xy"
    values = np.full((len(columns.places), len(axes) + 1), np.nan)
    for joint, places in enumerate(columns.places):
        for c, axis in enumerate(axes):
            values[joint, c] = cell(row[places[axis]])
        confidence = 1.0
        if "c" in places:
            confidence = cell(row[places["c"]])
        elif "state" in places:
            confidence = _STATES.get(row[places["state"]].lower().replace(" ", ""), 1.0)
        values[joint, -1] = confidence
    return values


def _wide(columns: Columns, frames: list[Frame], options: ReadOptions, place: str) -> Recording:
    deep = columns.deep
    notes: list[str] = []
    layout: str | tuple[str, ...] | None = None
    if not columns.numbered:
        layout = known_layout(list(columns.joints))
    elif len(columns.places) == 33:
        layout = "mediapipe33"
        notes.append("33 numbered joints are taken as mediapipe33; --layout says otherwise")
    elif options.layout is None:
        raise AmbiguousFile(
            place,
            f"{len(columns.places)} numbered joints without names: give --layout NAME or --layout joint,names,...",
        )
    y_axis, note = sensor_axes(columns.joints) if deep else (None, None)
    if deep and len(columns.places) == 33 and y_axis is None:
        y_axis, deep, frames, note = mediapipe_depth(frames)
    if note:
        notes.append(note)
    return Recording(
        frames,
        "xyzc" if deep else "xyc",
        layout,
        y_axis=y_axis,
        unknown_axes=deep and y_axis is None,
        units=None if deep else as_fractions(frames),
        notes=tuple(notes),
    )


def mediapipe_depth(frames: list[Frame]) -> tuple[str | None, bool, list[Frame], str | None]:
    """What the z of 33 landmarks is: world landmarks are centred on the hips, image landmarks are fractions."""
    middles = [np.abs(person.values[[23, 24], :2].mean(0)).max() for frame in frames for person in frame.people]
    known = [middle for middle in middles if np.isfinite(middle)]
    if known and float(np.median(known)) < 0.03:
        return "down", True, frames, "landmarks centred on the hips are taken as MediaPipe's world landmarks: y down"
    if as_fractions(frames):
        flat = [
            Frame(
                [Detection(person.values[:, [0, 1, 3]], person.track) for person in frame.people],
                frame.number,
                frame.seconds,
            )
            for frame in frames
        ]
        return None, False, flat, "image landmarks: z, which is only a relative depth, is left out"
    return None, True, frames, None


DEEPLABCUT = Format(
    "deeplabcut-csv",
    "DeepLabCut CSV",
    SUFFIXES,
    "`.csv` with the rows `scorer`, `bodyparts`, `coords` (and `individuals`)",
    "names of the body parts",
    "`--fps`",
    detect_deeplabcut,
    read_deeplabcut,
    options=("--fps",),
)
WIDE = Format(
    "csv",
    "CSV with a column for each joint and coordinate (SLEAP, Kinect v1 and v2, Azure Kinect, MediaPipe)",
    SUFFIXES,
    "columns such as `SpineBase_X`, `nose.x`, `left_wrist_score`, with `frame`, `time` and `track` if there are such",
    "names of the columns; 33 numbered joints `mediapipe33`",
    "column `time` or `timestamp`, or `--fps`",
    detect_wide,
    read_wide,
    options=("--fps", "--layout", "--up-axis"),
)
