"""What each part of ours is worth: the same lesson without it."""

from __future__ import annotations

from collections.abc import Mapping

PARTS = ("without house", "without frozen", "without descriptors", "without frontal")


def blocks_without(blocks: Mapping[str, slice], part: str) -> dict[str, slice]:
    """The feature blocks that are left for the choice of the head when a part is taken away.

    The house projection reads other blocks, so it still knows of them where it stays.
    """
    return {name: columns for name, columns in blocks.items() if part != f"without {name}"}
