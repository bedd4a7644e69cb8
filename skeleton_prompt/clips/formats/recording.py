"""From detections, frame by frame, to clip documents in the form of the API.

Readers describe what a file holds as a :class:`Recording`; this module puts frames in order, people in slots and
joints under a layout, and notes what was assumed.

Letters: T frames, P people, J joints, C coordinates.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from skeleton_prompt.clips.formats.axes import standing_axis, to_y_up
from skeleton_prompt.clips.formats.errors import AmbiguousFile, FormatError
from skeleton_prompt.clips.formats.layout_choice import checked_layout
from skeleton_prompt.clips.formats.options import ReadOptions
from skeleton_prompt.clips.formats.people import Array, Frame, Notes, Slots, assign_slots
from skeleton_prompt.clips.layouts import Layout, resolve_layout

Document = dict[str, Any]

MAX_FRAMES = 2048  # as in the API
KEPT_FPS = 25.0  # longer recordings are thinned down to no less than this
MAX_VALUES = 1 << 27  # numbers of one clip: 1 GiB of float64
SPARSE = 20  # frame numbers that span more than this many times the frames are no frame numbers
MIN_FPS, MAX_FPS = 4.0, 260.0  # what time stamps without a unit are held against
_TIME_UNITS = {1.0: "seconds", 1e-3: "milliseconds", 1e-6: "microseconds", 1e-9: "nanoseconds", 1e-7: "units of 100 ns"}
MAX_EMPTY = 64  # numbers of a clip for each that the file has
SMALL = 1 << 20
CHANNELS = {"xy": 2, "xyc": 3, "xyz": 3, "xyzc": 4}
MAX_SCORE = 10.0  # heat-map scores of some networks exceed 1 a little; far more is no confidence
MAX_TEXT = 128
MIN_FRAMES = 2


@dataclass(frozen=True)
class Recording:
    """What a reader found: one sequence of frames with one layout.

    Attributes:
        frames: in any order if they are numbered, else in order.
        coords: meaning of the C numbers.
        layout: name or joint names; None where neither file nor tool says.
        fps: frames per second as the file states them.
        image_size: width and height in pixels.
        y_axis: ``up`` or ``down``, None for the default of the API.
        units: unit of the coordinates as the tool documents it, None if unknown.
        notes: what was assumed, in sentences.
        per_person: the tool stores one sequence for each person, so one clip for each is the default.
        unknown_axes: neither file nor tool says which axis of 3-D coordinates points up.
        axes_settled: the reader already applied ``--up-axis``.
        default_up: up axis where the axes are unknown and the poses do not show it; None refuses.
    """

    frames: Sequence[Frame]
    coords: str
    layout: str | tuple[str, ...] | None
    fps: float | None = None
    image_size: tuple[float, float] | None = None
    y_axis: str | None = None
    units: str | None = None
    id: str | None = None
    label: str | None = None
    group: str | None = None
    notes: tuple[str, ...] = ()
    per_person: bool = False
    unknown_axes: bool = False
    default_up: str | None = None
    axes_settled: bool = False


@dataclass(frozen=True)
class ReadClip:
    """A clip document and what the reader assumed about it.

    Attributes:
        document: as in the API; ``keypoints`` is an array (T, J, C) or (T, P, J, C) with NaN where not seen.
        notes: assumptions and repairs, one sentence each.
    """

    document: Document
    notes: tuple[str, ...] = ()


def assemble(recording: Recording, options: ReadOptions, place: str) -> list[ReadClip]:
    """The clips of a recording.

    Args:
        recording: what the reader found.
        options: what the caller states; goes before what the file states.
        place: the file, for messages.

    Raises:
        FormatError: no frames, ragged joints, a layout that does not fit, or implausible confidences.
        AmbiguousFile: an option has to say what the numbers mean.
    """
    notes = Notes(recording.notes)
    coords = recording.coords
    if options.coords and ("z" in options.coords) != ("z" in coords):
        raise FormatError(place, f"coords {options.coords} is asked for, but this file has {coords}")
    frames = _placed(recording.frames, notes, place)
    if len(frames) < MIN_FRAMES:
        raise FormatError(
            place, "one frame only; a clip has at least 2: name the folder that holds the frames of the recording"
        )
    joints = _check_people(frames, coords, place)
    layout = checked_layout(options.layout or recording.layout, joints, place)
    slots = assign_slots(frames, notes)
    T, P = len(frames), max(1, len(slots.order))
    numbers = T * P * joints * CHANNELS[coords]
    filled = sum(person.values.size for frame in frames for person in frame.people)
    if numbers > min(MAX_VALUES, MAX_EMPTY * filled + SMALL):  # memory stays linear in the file
        raise FormatError(
            place, f"{T} frames of {P} people with {joints} joints are too many for one clip, or nearly all are empty"
        )
    values = np.full((T, P, joints, CHANNELS[coords]), np.nan)
    for t, frame in enumerate(frames):
        for slot, person in slots.of(frame.people):
            values[t, slot] = person.values
    _mend_confidence(values, coords, notes, place)
    if "z" in coords:
        values, y_axis = _upright(values, resolve_layout(layout), recording, options, notes, place)
        recording = replace(recording, y_axis=y_axis)
    document = _document(recording, options, coords, layout, frames, notes)
    values = _thinned(document, values, notes)
    return _clips(document, values, slots, options.per_person or recording.per_person, notes)


def _placed(frames: Sequence[Frame], notes: Notes, place: str) -> list[Frame]:
    """Frames by number with empty ones in the gaps; in the given order where they are not numbered."""
    if not frames:
        raise FormatError(place, "no frames in this file")
    numbers = [frame.number for frame in frames]
    if any(number is None for number in numbers):
        return list(frames)
    by_number = {number: frame for number, frame in zip(numbers, frames, strict=True) if number is not None}
    if len(by_number) < len(frames):
        notes.add("frame numbers repeat and are not used: frames are in the order of the file")
        return list(frames)
    ordered = sorted(by_number)
    if len(ordered) < 2:
        return [by_number[number] for number in ordered]
    step = math.gcd(*(b - a for a, b in itertools.pairwise(ordered)))
    span = (ordered[-1] - ordered[0]) // step + 1
    if span > SPARSE * len(ordered) + 100:
        notes.add("the frame numbers are too far apart to be frames of one video: their order is used, gaps are not")
        return [by_number[number] for number in ordered]
    if step > 1:
        notes.add(f"frame numbers go in steps of {step}: fps is taken as that of the frames kept, not of the video")
    if span > len(ordered):
        notes.add(
            f"{span - len(ordered)} of {span} frames are missing between the first and the last: nobody is seen in them"
        )
    empty = Frame()
    return [by_number.get(ordered[0] + index * step, empty) for index in range(span)]


def _check_people(frames: Sequence[Frame], coords: str, place: str) -> int:
    """J, the same for all detections."""
    counts = Counter(person.values.shape for frame in frames for person in frame.people)
    if not counts:
        raise FormatError(place, "nobody is seen in any frame: there are no people, or all joints are 0, empty or NaN")
    sizes = {shape[0] for shape in counts}
    if len(sizes) > 1:
        raise FormatError(place, f"people with {' and '.join(map(str, sorted(sizes)))} joints in one recording")
    widths = {shape[1] for shape in counts}
    if widths != {CHANNELS[coords]}:
        found = ", ".join(map(str, sorted(widths)))
        raise AmbiguousFile(
            place,
            f"joints have {found} numbers, but coords {coords!r} means {CHANNELS[coords]}; --coords says what they are",
        )
    return int(sizes.pop())


def _mend_confidence(values: Array, coords: str, notes: Notes, place: str) -> None:
    """Clip confidences a little above 1 or below 0 and mark what was not seen as NaN."""
    if not coords.endswith("c"):
        return
    confidence = values[..., -1]
    known = confidence[np.isfinite(confidence)]
    if not len(known):
        return
    high, low = float(known.max()), float(known.min())
    if high > MAX_SCORE:
        raise AmbiguousFile(
            place,
            f"the last number of a joint goes up to {high:g}, which is no confidence; --coords says what it is"
            " (xyz for a depth)",
        )
    if high > 1:
        notes.add(f"confidences go up to {high:.3g}: those above 1 are taken as 1")
    if low < -MAX_SCORE:
        raise AmbiguousFile(
            place, f"the last number of a joint goes down to {low:g}, which is no confidence; see --coords"
        )
    if low < 0:
        notes.add(f"confidences go down to {low:.3g}: those below 0 are taken as not seen")
    np.clip(confidence, 0.0, 1.0, out=confidence)
    values[~(confidence > 0)] = np.nan


def _thinned(document: Document, values: Array, notes: Notes) -> Array:
    """Every n-th frame of a fast recording that is longer than a clip may be."""
    fps, frames = document.get("fps"), len(values)
    if frames <= MAX_FRAMES or not fps:
        return values
    step = int(fps // KEPT_FPS)
    if step < 2:
        return values
    document["fps"] = fps / step
    notes.add(f"{frames} frames at {fps:g} per second: one in {step} is kept")
    return values[::step]


def _upright(
    values: Array, layout: Layout, recording: Recording, options: ReadOptions, notes: Notes, place: str
) -> tuple[Array, str | None]:
    """3-D coordinates with y up, and the ``y_axis`` of the clip; those of tools that document their axes are kept."""
    if options.up_axis and not recording.axes_settled:
        return to_y_up(values, options.up_axis), "up"
    if not recording.unknown_axes:
        return values, recording.y_axis
    T, P, J, C = values.shape
    axis = standing_axis(values.reshape(T * P, J, C), layout)
    if axis is None and recording.default_up is None:
        raise AmbiguousFile(
            place, "nothing says which axis points up, and the poses do not show it: give --up-axis y or --up-axis z"
        )
    if axis is None:
        axis = recording.default_up or "y"
        notes.add(f"nothing shows which axis points up: {axis} is assumed (--up-axis states it)")
    elif axis != "y":
        notes.add(f"people stand along {axis}, which is taken as up (--up-axis states it)")
    return to_y_up(values, axis), "up"


def _document(
    recording: Recording,
    options: ReadOptions,
    coords: str,
    layout: str | dict[str, list[str]],
    frames: Sequence[Frame],
    notes: Notes,
) -> Document:
    document: Document = {"layout": layout, "coords": coords}
    fps = options.fps or recording.fps or _measured_fps(frames, notes)
    if fps:
        document["fps"] = fps
    else:
        notes.add("the file does not state the frames per second: 30 are assumed (--fps states them)")
    size = options.image_size or recording.image_size
    if size:
        document["image_size"] = [float(size[0]), float(size[1])]
    elif recording.units == "fraction":
        notes.add(
            "coordinates are fractions of an image of unknown size, so poses are stretched: give --image-size"
            " WIDTHxHEIGHT"
        )
    if recording.y_axis:
        document["y_axis"] = recording.y_axis
    if recording.units:
        document["units"] = recording.units
    for name in ("id", "label", "group"):
        text = getattr(recording, name)
        if text:
            document[name] = str(text)[-MAX_TEXT:]
    return document


def _measured_fps(frames: Sequence[Frame], notes: Notes) -> float | None:
    """Frames per second from time stamps, if they are even."""
    known = [frame.seconds for frame in frames if frame.seconds is not None]
    if len(known) < 2 or len(known) < len(frames):
        return None
    steps = np.diff(np.array(known))
    middle = float(np.median(steps))
    if middle <= 0 or (steps <= 0).any():
        notes.add("the time stamps do not increase and are not used")
        return None
    scale = next((scale for scale in _TIME_UNITS if MIN_FPS <= 1 / (middle * scale) <= MAX_FPS), None)
    if scale is None:
        notes.add(f"the time stamps have steps of {middle:g}, which no unit makes a frame rate; they are not used")
        return None
    if scale != 1:
        notes.add(f"the time stamps are taken as {_TIME_UNITS[scale]}")
    fps = 1 / (middle * scale)
    if np.abs(steps - middle).max() > 0.5 * middle:
        notes.add(f"the time stamps are uneven: their usual step, {fps:.4g} frames per second, is used for all")
    return round(fps, 3)


def _clips(document: Document, values: Array, slots: Slots, per_person: bool, notes: Notes) -> list[ReadClip]:
    """One clip with all people, or one for each person from its first to its last frame."""
    P = values.shape[1]
    if P == 1:
        return [ReadClip({**document, "keypoints": values[:, 0]}, tuple(notes.lines))]
    if not per_person:
        if slots.tracked:  # so that the API does not match people by position
            seen = np.isfinite(values).max(axis=(2, 3))
            document["track_ids"] = [[slot if seen[t, slot] else None for slot in range(P)] for t in range(len(seen))]
        return [ReadClip({**document, "keypoints": values}, tuple(notes.lines))]
    if not slots.tracked:
        notes.add(
            "people are not tracked in this file: each clip holds the detections of one place in the order of the file"
        )
    clips: list[ReadClip] = []
    short = 0
    for slot, track in enumerate(slots.order):
        seen = np.flatnonzero(np.isfinite(values[:, slot]).any((1, 2)))
        if not len(seen):
            continue
        first, last = int(seen[0]), int(seen[-1]) + 1
        name = f"{document['id']}-{track}" if "id" in document else str(track)
        own = {**document, "id": name[-MAX_TEXT:], "keypoints": values[first:last, slot]}
        if last - first < MIN_FRAMES:
            short += 1
            continue
        clips.append(ReadClip(own, tuple(notes.lines)))
    if short:
        notes.add(f"{short} people are seen in one frame only and left out")
        clips = [ReadClip(clip.document, tuple(notes.lines)) for clip in clips]
    return clips
