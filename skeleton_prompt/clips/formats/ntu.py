"""NTU RGB+D: ``S001C001P001R001A001.skeleton``.

Number of frames; for each the number of bodies; for each body a line with its id and nine flags, the number of joints
(25), and a line of twelve numbers for each: x, y, z in metres (Kinect v2 camera space, y up), depth and colour pixel,
orientation, tracking state (0 not tracked, 1 inferred, 2 tracked). Source: shahroudy/NTURGB-D,
Matlab/read_skeleton_file.m.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from skeleton_prompt.clips.formats.errors import FormatError
from skeleton_prompt.clips.formats.format import Format
from skeleton_prompt.clips.formats.options import ReadOptions
from skeleton_prompt.clips.formats.people import Detection, Frame
from skeleton_prompt.clips.formats.recording import Recording
from skeleton_prompt.clips.formats.source import Source

JOINTS, JOINT_NUMBERS = 25, 12
MAX_FRAMES, MAX_BODIES = 100_000, 64
FPS = 30.0  # of the Kinect v2
_STATES = {0: 0.0, 1: 0.5, 2: 1.0}
_NAME = re.compile(r"S\d+C\d+(P\d+)R\d+(A\d+)", re.IGNORECASE)


def detect(source: Source) -> float:
    """How surely a file is of NTU RGB+D."""
    if source.suffix == ".skeleton":
        return 0.95
    if source.suffix != ".txt" or not _NAME.search(source.path.name):
        return 0.0
    lines = source.text[:200].splitlines()
    return 0.8 if len(lines) > 1 and all(line.strip().isdecimal() for line in lines[:2]) else 0.0


def read(source: Source, _options: ReadOptions) -> list[Recording]:
    """The recording of a file: one clip with all bodies."""
    lines = _Lines(source.path, source.lines)
    count = lines.whole("number of frames", MAX_FRAMES)
    frames = []
    for number in range(count):
        bodies = lines.whole(f"number of bodies of frame {number}", MAX_BODIES)
        people = [_body(lines) for _ in range(bodies)]
        frames.append(Frame([person for person in people if person is not None], number))
    if lines.rest():
        raise FormatError(
            source.path, f"line {lines.line}: more lines than the {count} frames that the first line states"
        )
    named = _NAME.search(source.path.name)
    return [
        Recording(
            frames,
            "xyzc",
            "ntu25",
            fps=FPS,
            y_axis="up",
            id=source.stem,
            label=named.group(2).upper() if named else None,
            group=named.group(1).upper() if named else None,
        )
    ]


def _body(lines: _Lines) -> Detection | None:
    head = lines.words("a body")
    joints = lines.whole("number of joints", 256)
    if joints != JOINTS:
        raise FormatError(lines.path, f"line {lines.line}: {joints} joints; NTU RGB+D has {JOINTS}")
    rows = np.array([lines.numbers() for _ in range(joints)])
    confidence = np.array([_STATES.get(int(state), 1.0) for state in rows[:, -1]])
    values = np.column_stack([rows[:, :3], confidence])
    return Detection(values, head[0], float(confidence.sum()))


class _Lines:
    """The lines of a file one after another; messages name the line."""

    def __init__(self, path: Path, lines: list[str]) -> None:
        self.path = path
        self.line = 0
        self._lines: Iterator[tuple[int, str]] = ((index, text) for index, text in enumerate(lines, 1) if text.strip())

    def words(self, what: str) -> list[str]:
        """The words of the next line."""
        found = next(self._lines, None)
        if found is not None:
            self.line = found[0]
            return found[1].split()
        raise FormatError(self.path, f"ends after line {self.line} where {what} is expected: it is cut off")

    def whole(self, what: str, limit: int) -> int:
        """The next line as a whole number up to a limit."""
        words = self.words(what)
        if len(words) != 1 or not words[0].isdecimal() or int(words[0]) > limit:
            raise FormatError(
                self.path, f"line {self.line}: {' '.join(words)[:40]!r} where the {what} (at most {limit}) is expected"
            )
        return int(words[0])

    def numbers(self) -> list[float]:
        """The numbers of a joint."""
        words = self.words("a joint")
        try:
            values = [float(word) for word in words]
        except ValueError:
            values = []
        if len(values) != JOINT_NUMBERS or math.isinf(max(values, key=abs)):
            raise FormatError(
                self.path, f"line {self.line}: a joint has {JOINT_NUMBERS} numbers, not {len(words)} words"
            )
        if math.isnan(values[-1]):
            values[-1] = 0.0
        return values

    def rest(self) -> bool:
        """Whether there is another line."""
        return next(self._lines, None) is not None


FORMAT = Format(
    "ntu",
    "NTU RGB+D",
    (".skeleton", ".txt"),
    "`S...C...P...R...A....skeleton`; one clip with all bodies, label `A...` and group `P...` from the name",
    "`ntu25`",
    "30",
    detect,
    read,
)
