"""People of a recording: detections, frames, and which person takes which place of the people axis.

Letters: J joints, C coordinates.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MAX_PEOPLE = 16  # as in the API; more detections than this in one clip are left out with a note


class Notes:
    """Sentences about what was assumed, each once."""

    def __init__(self, lines: Iterable[str] = ()) -> None:
        self.lines: list[str] = []
        for line in lines:
            self.add(line)

    def add(self, line: str) -> None:
        """Add a sentence."""
        if line not in self.lines:
            self.lines.append(line)


@dataclass(frozen=True)
class Detection:
    """One person in one frame.

    Attributes:
        values: (J, C) coordinates, NaN or null rows where a joint was not seen.
        track: identity across frames, None where the tool does not track.
        score: confidence in the whole person, None if not stated.
    """

    values: Array
    track: Hashable | None = None
    score: float | None = None


@dataclass(frozen=True)
class Frame:
    """The people of one frame; number and time are None where the file does not state them."""

    people: Sequence[Detection] = ()
    number: int | None = None
    seconds: float | None = None


class Slots:
    """Which person goes to which place of the people axis."""

    def __init__(self, order: list[Hashable], *, tracked: bool) -> None:
        self.order = order
        self.tracked = tracked
        self._place = {track: index for index, track in enumerate(order)}

    def of(self, people: Sequence[Detection]) -> Iterable[tuple[int, Detection]]:
        """The people of one frame with their places; those without a place are left out."""
        if self.tracked:
            for person in people:
                slot = self._place.get(person.track)
                if slot is not None:
                    yield slot, person
        else:
            yield from enumerate(_surest(people))


def _surest(people: Sequence[Detection]) -> Sequence[Detection]:
    """At most ``MAX_PEOPLE``, those with the highest score; the order of the file is kept."""
    if len(people) <= MAX_PEOPLE:
        return people
    ranked = sorted(range(len(people)), key=lambda index: -(people[index].score or 0.0))[:MAX_PEOPLE]
    return [people[index] for index in sorted(ranked)]


def assign_slots(frames: Sequence[Frame], notes: Notes) -> Slots:
    """Slots by track where the tool tracks people, else by the order of the detections."""
    tracks: Counter[Hashable] = Counter()
    untracked = repeated = 0
    for frame in frames:
        own = [person.track for person in frame.people]
        untracked += own.count(None)
        known = [track for track in own if track is not None]
        repeated += len(known) - len(set(known))
        tracks.update(known)
    if tracks and not repeated:
        if untracked:
            notes.add(f"{untracked} detections without a track id are left out")
        order = [track for track, _ in tracks.most_common(MAX_PEOPLE)]
        first = {track: index for index, track in enumerate(tracks)}
        if len(tracks) > MAX_PEOPLE:
            notes.add(f"{len(tracks)} people; the {MAX_PEOPLE} who are seen longest are kept")
        return Slots(sorted(order, key=lambda track: first[track]), tracked=True)
    if repeated:
        notes.add("a person id occurs twice in one frame: the ids are not used, people are in the order of the file")
    most = max(len(frame.people) for frame in frames)
    if most > MAX_PEOPLE:
        notes.add(f"up to {most} people in one frame; the {MAX_PEOPLE} with the highest score are kept")
    return Slots(list(range(min(most, MAX_PEOPLE))), tracked=False)
