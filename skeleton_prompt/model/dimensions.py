"""3-D clips as the 2-D clips that they are as well: the person seen from the front, without depth."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from skeleton_prompt.clips.normalise import PreparedPerson

FLAT, DEEP = "2d", "3d"
DIMENSIONS = (FLAT, DEEP)


def seen_in_2d(person: PreparedPerson) -> PreparedPerson:
    """The frontal projection of a person; a 2-D person is returned as it is.

    A prepared 3-D person faces the camera already and is placed by its extent across and down.
    """
    if not person.has_depth:
        return person
    return replace(person, depth=np.zeros_like(person.depth), has_depth=False)


def dimension_of(people: Iterable[PreparedPerson]) -> str:
    """``3d`` where all people have depth; else ``2d``: what a version taught on them sees."""
    return DEEP if all(person.has_depth for person in people) else FLAT
