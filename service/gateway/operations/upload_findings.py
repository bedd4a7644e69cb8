"""What looks wrong about clips to learn from as a whole: labels spelt alike, one clip twice, 2-D beside 3-D."""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from skeleton_prompt.clips.clip import Clip
from skeleton_prompt.clips.clip_fields import MAX_TEXT
from skeleton_prompt.clips.findings import Finding
from skeleton_prompt.clips.normalise import PreparedPerson

MAX_FINDINGS = 100
MAX_PLACES = 20
MAX_COMPARED = 20_000  # different clips of which poses are compared; more are compared only for equal keypoints
MAX_NEIGHBOURS = 64  # clips of nearly the same mean pose that one clip is compared with
SAME_POSE = 0.004  # in half extents of the person: rounding and another unit, not another recording
SAME_SECONDS = 0.02  # of the logarithm of the duration
STEP = 8  # frames between those that are compared


class UploadFindings:
    """Gathers findings clip by clip and compares the clips with one another."""

    def __init__(self) -> None:
        self._notes: dict[tuple[str, str], list[str]] = defaultdict(list)
        self._warnings: dict[tuple[str, str], list[str]] = defaultdict(list)
        self._samples: dict[str, Finding] = {}
        self._rows: list[_Row] = []
        self._labels: Counter[str] = Counter()

    def add_labels(self, document: Any) -> None:
        """Count the labels of a document as sent, also where the clip is refused."""
        if not isinstance(document, Mapping):
            return
        segments = document.get("segments")
        rows = [document, *(segments if isinstance(segments, list) else ())]
        labels = [row.get("label") for row in rows if isinstance(row, Mapping)]
        self._labels.update(label for label in labels if isinstance(label, str) and len(label) <= MAX_TEXT)

    def add(self, place: str, clip: Clip, person: PreparedPerson, notes: Iterable[Finding], warnings: Iterable[Finding]
            ) -> None:  # fmt: skip
        """Add a clip.

        Args:
            place: Where it is, such as ``clips[3]``.
            clip: Parsed.
            person: Its main person, prepared.
            notes: Of its quality report.
            warnings: Likewise.
        """
        for note in notes:
            self._notes[note.code, ""].append(place)
            self._samples.setdefault(note.code, note)
        for warning in warnings:
            if len(self._warnings) >= MAX_FINDINGS and (warning.code, str(warning)) not in self._warnings:
                continue
            self._warnings[warning.code, str(warning)].append(place)
            self._samples.setdefault(warning.code + str(warning), warning)
        if not clip.segments:
            self._rows.append(_Row.of(place, clip, person))

    def notes(self) -> list[dict[str, Any]]:
        """Each kind of note once, with the first clips that it is about."""
        return [_with_places(self._samples[code], places) for (code, _), places in self._notes.items()][:MAX_FINDINGS]

    def warnings(self, labels: Mapping[str, int]) -> list[dict[str, Any]]:
        """What looks wrong about the clips together, then about single clips.

        Args:
            labels: Examples by label, those of stored clips included.
        """
        rows = [*_alike(self._labels | Counter(labels)), *_dimensions(self._rows), *_twice(self._rows)]
        rows += [_with_places(self._samples[code + text], places) for (code, text), places in self._warnings.items()]
        return rows[:MAX_FINDINGS]


class _Row:
    """What is compared of one clip."""

    __slots__ = ("digest", "dimensions", "label", "place", "pose", "seconds")

    def __init__(
        self, place: str, label: str | None, dimensions: int, digest: bytes, pose: Any, seconds: float
    ) -> None:
        self.place, self.label, self.dimensions = place, label, dimensions
        self.digest, self.pose, self.seconds = digest, pose, seconds

    @classmethod
    def of(cls, place: str, clip: Clip, person: PreparedPerson) -> _Row:
        digest = hashlib.blake2b(clip.positions.tobytes(), digest_size=16, usedforsecurity=False).digest()
        pose = person.pose[0, ::STEP, :, :2].astype(np.float16).ravel()
        return cls(place, clip.label, clip.positions.shape[-1], digest, pose, float(person.log_seconds.sum()))


def _with_places(finding: Finding, places: Sequence[str]) -> dict[str, Any]:
    return finding.to_dict() | {"clips": list(places[:MAX_PLACES]), "clips_total": len(places)}


def label_key(label: str) -> str:
    """Labels of one key differ only by case, spaces, hyphens, underscores, full stops or the form of their letters."""
    text = unicodedata.normalize("NFKC", label).casefold()
    return "".join(char for char in text if not (char.isspace() or char in "_-.\u2010\u2011\u2012\u2013\u200b\ufeff"))


def _alike(labels: Mapping[str, int]) -> list[dict[str, Any]]:
    groups: dict[str, list[str]] = defaultdict(list)
    for label in labels:
        groups[label_key(label) or label].append(label)
    rows = []
    for names in groups.values():
        if len(names) > 1:
            shown = ", ".join(f"{name!r} ({labels[name]})" for name in names[:8])
            message = f"labels that differ only by case, spaces or punctuation are taught as different: {shown}"
            rows.append(_with_places(Finding("labels_alike", message, "label"), []))
    return rows


def _dimensions(clips: Sequence[_Row]) -> list[dict[str, Any]]:
    """2-D and 3-D clips beside each other: what is learned from the one serves the other less."""
    by_label: dict[str | None, set[int]] = defaultdict(set)
    places: dict[int, list[str]] = {2: [], 3: []}
    for row in clips:
        by_label[row.label].add(row.dimensions)
        places[row.dimensions].append(row.place)
    if not places[2] or not places[3]:
        return []
    lonely = [f"{label!r} ({next(iter(kinds))}-D)" for label, kinds in by_label.items() if len(kinds) == 1 and label]
    only = f"; labels with clips of one kind only: {', '.join(lonely[:8])}" if lonely else ""
    message = f"{len(places[2])} clips are 2-D and {len(places[3])} are 3-D{only}; recognition across the two is weaker"
    fewer = min(places.values(), key=len)
    return [_with_places(Finding("mixed_dimensions", message, "coords"), fewer)]


def _twice(clips: Sequence[_Row]) -> list[dict[str, Any]]:
    rows = []
    for same in _groups_of_equal(clips):
        labels = list(dict.fromkeys(clip.label for clip in same))
        places = [clip.place for clip in same]
        if len(labels) > 1:
            named = ", ".join("background" if label is None else repr(label) for label in labels[:4])
            message = f"one clip is taught under several labels ({named}): {', '.join(places[:6])}"
            rows.append(_with_places(Finding("same_clip_several_labels", message, "label"), places))
        else:
            message = f"one clip is sent {len(same)} times: {', '.join(places[:6])}; the figures may flatter"
            rows.append(_with_places(Finding("duplicate_clips", message, "keypoints"), places))
    rows.sort(key=lambda row: row["code"] == "duplicate_clips")
    return rows


def _groups_of_equal(clips: Sequence[_Row]) -> list[list[_Row]]:
    """Clips with equal keypoints, or with the same pose up to rounding; groups of at least two.

    Clips with equal keypoints are one item of the comparison of poses. Items are sorted by the mean of their pose, and
    each is compared with the ``MAX_NEIGHBOURS`` that follow, so the cost is linear in the number of clips.
    """
    first: dict[bytes, int] = {}
    item = [first.setdefault(clip.digest, len(first)) for clip in clips]
    parent = list(range(len(first)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    if 1 < len(first) <= MAX_COMPARED:
        distinct = dict(zip(reversed(item), reversed(clips), strict=True))
        poses = np.stack([distinct[index].pose for index in range(len(first))]).astype(np.float32)
        seconds = np.array([distinct[index].seconds for index in range(len(first))])
        order = np.argsort(poses.mean(1), kind="stable")
        means = poses.mean(1)[order]
        ends = np.searchsorted(means, means + SAME_POSE, side="right")
        for rank, index in enumerate(order):
            near = order[rank + 1 : min(ends[rank], rank + 1 + MAX_NEIGHBOURS)]
            near = near[np.abs(seconds[near] - seconds[index]) < SAME_SECONDS]
            for other in near[(np.abs(poses[near] - poses[index]) < SAME_POSE).all(1)] if len(near) else ():
                low, high = sorted((root(int(index)), root(int(other))))
                parent[high] = low
    groups: dict[int, list[_Row]] = defaultdict(list)
    for index, clip in zip(item, clips, strict=True):
        groups[root(index)].append(clip)
    return [group for group in groups.values() if len(group) > 1]
