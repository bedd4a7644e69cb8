"""What a case expects, as small functions that raise AssertionError.

A case is a folder with ``case.json`` and either files of a tool or ``input.json``, a clip as it would be posted. Its
number leads its name; ``EXPECTED`` in the modules beside this one maps numbers to expectations.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from skeleton_prompt.clips.clip import Clip, InvalidClip, parse_clip
from skeleton_prompt.clips.formats import FileClip, FormatError, ReadOptions, read_files
from skeleton_prompt.clips.normalise import PreparedPerson, Quality, prepare

Expectation = Callable[[Path], None]
SAME = 1e-3  # of the prepared pose


def files(case: Path) -> list[Path]:
    """The files and folders of a case that a tool wrote."""
    return [path for path in sorted(case.iterdir()) if path.name not in ("case.json", "reference.json")]


def document(path: Path) -> dict[str, Any]:
    """A clip as it would be posted; NaN as Python writes it is kept."""
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def prepared(path: Path) -> tuple[Clip, list[PreparedPerson], Quality]:
    """The clip of a file as the model gets it."""
    clip = parse_clip(document(path))
    people, quality = prepare(clip)
    return clip, people, quality


def same_pose(case: Path) -> None:
    """The prepared pose of the input is that of the reference."""
    _, found, _ = prepared(case / "input.json")
    _, wanted, _ = prepared(case / "reference.json")
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert one.pose.shape == other.pose.shape
        np.testing.assert_allclose(one.pose, other.pose, atol=SAME)


def reads(
    options: ReadOptions | None = None, *, clips: int = 1, frames: int | None = None, **fields: Any
) -> Expectation:
    """The files are read as so many clips of so many frames with these fields, and can be prepared."""

    def check(case: Path) -> None:
        found: list[FileClip] = list(read_files(files(case), options))
        assert len(found) == clips
        for clip in found:
            assert {name: clip.document.get(name) for name in fields} == fields
            parsed = parse_clip(clip.document)
            prepare(parsed)
            assert frames is None or parsed.frames == frames

    return check


def refused_file(*patterns: str, options: ReadOptions | None = None) -> Expectation:
    """The files are refused with a message that matches every pattern."""

    def check(case: Path) -> None:
        try:
            for clip in read_files(files(case), options):
                parse_clip(clip.document)
        except (FormatError, InvalidClip) as error:
            text = str(error)
        else:
            raise AssertionError("the files are read")
        assert all(re.search(pattern, text) for pattern in patterns), text

    return check


def refused(*patterns: str) -> Expectation:
    """The clip is refused, and its messages match every pattern."""

    def check(case: Path) -> None:
        try:
            parse_clip(document(case / "input.json"))
        except InvalidClip as error:
            text = " | ".join(f"{problem.loc}: {problem.message}" for problem in error.problems)
        else:
            raise AssertionError("the clip is accepted")
        assert all(re.search(pattern, text) for pattern in patterns), text

    return check


def warned(*patterns: str) -> Expectation:
    """The clip is accepted with a warning or note that matches every pattern."""

    def check(case: Path) -> None:
        _, _, quality = prepared(case / "input.json")
        text = json.dumps(quality.to_dict())
        assert all(re.search(pattern, text) for pattern in patterns), text

    return check


def roles(*, unknown: int = 0, **sources: str) -> Expectation:
    """The layout of the clip takes canonical joints from these names, and leaves so many joints without a role."""

    def check(case: Path) -> None:
        from skeleton_prompt.clips.canonical_skeleton import CANONICAL

        layout = parse_clip(document(case / "input.json")).layout
        for role, name in sources.items():
            assert [layout.joints[joint] for joint, _ in layout.sources[CANONICAL.index(role)]] == [name]
        assert len(layout.unknown) == unknown

    return check
