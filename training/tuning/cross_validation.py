"""How clips are split for cross-validation: by group where that is possible, by class otherwise."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

FOLDS = 5
SMALL = 200  # below this many clips the split is repeated
REPEATS = 3


@dataclass(frozen=True, eq=False)
class FoldPlan:
    """The splits of a cross-validation.

    Attributes:
        splits: Per repeat a list of (training rows, held-out rows).
        grouped: Whether no group is on both sides of a split.
        held_out: ``(n,)`` bool, clips that are held out once per repeat; a label's only clip never is.
        why: How the splits were made, for the report.
    """

    splits: tuple[tuple[tuple[np.ndarray, np.ndarray], ...], ...]
    grouped: bool
    held_out: np.ndarray
    why: str


def plan_folds(labels: np.ndarray, groups: Sequence[str | None], seed: int) -> FoldPlan | None:
    """Plan a cross-validation.

    Where groups are given, no group is on both sides of a split. A label whose clips all have one group cannot be held
    out then: its clips are taught in the splits that do not hold out their group, and are in no figure. Groups are
    ignored only where fewer than half of the labels have clips of two groups.

    Args:
        labels: ``(n,)`` class of every clip.
        groups: Group of every clip; one without a group stands alone.
        seed: All randomness follows from it.

    Returns:
        The plan, or None where no label has two clips.
    """
    counts = np.bincount(labels)
    rows = np.flatnonzero(counts[labels] > 1)
    if not len(rows):
        return None
    named = np.array([group if group is not None else f"\0{index}" for index, group in enumerate(groups)])
    several = np.array([len(np.unique(named[labels == label])) > 1 for label in range(len(counts))])
    has_groups = any(group is not None for group in groups)
    repeated = np.unique(labels[rows])
    grouped = has_groups and 2 * int(several[repeated].sum()) >= len(repeated)
    if grouped:
        rows = rows[several[labels[rows]]]
    # Every group held out once is always the same split: there is nothing to repeat.
    alone = grouped and len(np.unique(named[rows])) <= FOLDS
    repeats = REPEATS if len(labels) < SMALL and not alone else 1
    splits = tuple(tuple(_once(labels, named if grouped else None, rows, seed + repeat)) for repeat in range(repeats))
    whole = grouped and bool(several[repeated].all())
    return FoldPlan(splits, grouped, np.isin(np.arange(len(labels)), rows), _why(has_groups, grouped, whole))


def _once(
    labels: np.ndarray, groups: np.ndarray | None, rows: np.ndarray, seed: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """One pass over the rows; a row that is never held out is trained on unless its group is held out."""
    always = np.setdiff1d(np.arange(len(labels)), rows)
    folds = min(FOLDS, int(np.bincount(labels[rows]).max()))
    if groups is None:
        splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
    else:
        folds = min(folds, len(np.unique(groups[rows])))
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # A label with fewer clips than folds is held out in some of them only, as it should be.
        warnings.filterwarnings("ignore", message="The least populated class")
        pairs = list(splitter.split(rows, labels[rows], None if groups is None else groups[rows]))
    splits = []
    for train, test in pairs:
        kept = always if groups is None else always[~np.isin(groups[always], groups[rows[test]])]
        if len(test) and len(train):
            splits.append((np.sort(np.concatenate([kept, rows[train]])), rows[test]))
    return splits


def _why(has_groups: bool, grouped: bool, whole: bool) -> str:
    if whole:
        return "by group: no group is on both sides of a split"
    if grouped:
        return (
            "by group: no group is on both sides of a split; labels whose clips all have one group are never held out"
        )
    if has_groups:
        return "by class only: most labels have clips of a single group"
    return "by class: the clips carry no groups"
