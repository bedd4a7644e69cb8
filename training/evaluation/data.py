"""What lessons read, loaded once per process: the engine, sets, features of views, and people."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import cached_property
from typing import TypeVar

import numpy as np

from skeleton_prompt.model.engine import Engine
from training.baselines import prime_feature_cache
from training.baselines.random_weights import random_engine
from training.datasets import LabelledSet, read_set
from training.evaluation.config import EvaluationConfig
from training.evaluation.feature_cache import (
    People,
    SetFeatures,
    default_cache,
    frontal_people,
    people_of,
    set_features,
)
from training.evaluation.perturbations import DAMAGES

KEPT = 30  # views with their features and people: those of one set and a few over
Entry = TypeVar("Entry")


class LruCache:
    """The last few things that were computed."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._entries: OrderedDict[object, object] = OrderedDict()

    def get(self, key: object, make: Callable[[], Entry]) -> Entry:
        """The entry of a key, made now if it is not kept."""
        if key not in self._entries:
            self._entries[key] = make()
        self._entries.move_to_end(key)
        while len(self._entries) > self._most:
            self._entries.popitem(last=False)
        return self._entries[key]  # type: ignore[return-value]


class EvaluationData:
    """What the lessons of one evaluation read.

    Args:
        config: Of the evaluation.
    """

    def __init__(self, config: EvaluationConfig) -> None:
        self.config = config
        self.cache = config.cache or default_cache()
        self._sets, self._features, self._people, self._frontal = (
            LruCache(6),
            LruCache(KEPT),
            LruCache(KEPT),
            LruCache(KEPT),
        )

    @cached_property
    def engine(self) -> Engine:
        """On the backbone that is judged."""
        return Engine.load(self.config.backbone)

    @cached_property
    def unlearnt(self) -> Engine:
        """On random weights."""
        return random_engine(self.engine)

    def labelled(self, name: str, split: str) -> LabelledSet:
        """A set in one of its splits."""
        return self._sets.get((name, split), lambda: read_set(name, self.config.folder, split=split))

    def rows(self, name: str, split: str, view: str) -> np.ndarray:
        """The clips that are ever seen through a view: damaged ones are never taught."""
        labelled = self.labelled(name, split)
        return labelled.test_indices if view in DAMAGES else np.arange(len(labelled))

    def features(self, name: str, split: str, view: str, *, unlearnt: bool = False) -> SetFeatures:
        """Features of a view, from the cache on disk or computed now."""
        rows = self.rows(name, split, view)

        def make() -> SetFeatures:
            engine = self.unlearnt if unlearnt else self.engine
            return set_features(engine, self.labelled(name, split), self.cache, view=view, rows=rows)

        # Splits differ in who is taught, not in the clips themselves.
        return self._features.get((name, view, rows.tobytes(), unlearnt), make)

    def people(self, name: str, split: str, view: str) -> People:
        """The main people of a view."""
        rows = self.rows(name, split, view)
        return self._people.get((name, view, rows.tobytes()), lambda: people_of(self.labelled(name, split), rows, view))

    def frontal(self, name: str, split: str, view: str) -> People:
        """The main people of a view as the temporal part of a prompt sees them."""
        rows = self.rows(name, split, view)

        def make() -> People:
            people = self.people(name, split, view)
            return frontal_people(self.engine, self.labelled(name, split), people, self.cache, view)

        return self._frontal.get((name, view, rows.tobytes()), make)

    def remembered_people(self, name: str, split: str, view: str, *, unlearnt: bool) -> People:
        """The same, their features known to the baselines already."""
        people = self.people(name, split, view)
        known = self.features(name, split, view, unlearnt=unlearnt)
        clips = np.array(list(people), dtype=np.int64)
        blocks = {block: known.of(clips)[:, columns] for block, columns in self.engine.blocks.items()}
        if unlearnt:
            prime_feature_cache(self.engine, list(people.values()), unlearnt=blocks["frozen"])
        else:
            prime_feature_cache(
                self.engine, list(people.values()), frozen=blocks["frozen"], descriptors=blocks["descriptors"]
            )
        return people
