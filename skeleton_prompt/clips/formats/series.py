"""Sequences of files or images: which names belong together, and in which order.

``clip_000000000012_keypoints.json`` is frame 12 of ``clip_``. Where names hold several numbers, the one that varies
within a group is the frame.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

_DIGITS = re.compile(r"(\d+)")
MAX_DIGITS = 18  # a longer run of digits is an identifier and no frame number


@dataclass(frozen=True)
class Series:
    """Names that are frames of one recording.

    Attributes:
        prefix: text before the frame number, without separators at its end; empty where there is none.
        members: (frame number, index into the names), in order.
    """

    prefix: str
    members: tuple[tuple[int, int], ...]


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key with numbers by value: ``f2`` before ``f10``."""
    return tuple(
        (0, int(part), "") if part.isdecimal() and len(part) <= MAX_DIGITS else (1, 0, part.lower())
        for part in _DIGITS.split(name)
        if part
    )


def frame_series(names: Sequence[str]) -> list[Series]:
    """Group names into recordings and put their frames in order; names without a number form one group each."""
    groups: dict[tuple[str, ...], list[int]] = defaultdict(list)
    parts = [_DIGITS.split(name) for name in names]
    for index, pieces in enumerate(parts):
        groups[tuple(pieces[0::2])].append(index)
    series: list[Series] = []
    for texts, members in groups.items():
        if len(texts) == 1:
            series += [Series(names[index], ((0, index),)) for index in members]
            continue
        place = _frame_place([parts[index][1::2] for index in members])
        split: dict[tuple[str, ...], list[tuple[int, int]]] = defaultdict(list)
        for index in members:
            digits = parts[index][1::2]
            split[(*digits[:place], "", *digits[place + 1 :])].append((int(digits[place][:MAX_DIGITS]), index))
        for rows in split.values():
            first = parts[rows[0][1]]
            prefix = "".join(first[: 2 * place + 1]).rstrip("_-. (")
            series.append(Series(prefix, tuple(sorted(rows))))
    return sorted(series, key=lambda one: natural_key(one.prefix))


def _frame_place(rows: Sequence[Sequence[str]]) -> int:
    """Which number of the names counts the frames: the last that varies, or, if that splits all, the most varied."""
    width = len(rows[0])
    counts = [len({row[place] for row in rows}) for place in range(width)]
    varied = [place for place in range(width) if counts[place] > 1]
    if not varied:
        return width - 1
    last = varied[-1]
    others = {tuple(row[:last]) + tuple(row[last + 1 :]) for row in rows}
    if len(varied) > 1 and len(others) == len(rows):
        return max(varied, key=lambda place: (counts[place], place))
    return last
