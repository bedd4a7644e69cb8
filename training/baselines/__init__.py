"""Honest peers of ours: each learns from the same clips, reads the same normalised people and states its size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np

from skeleton_prompt.clips.normalise import PreparedPerson
from skeleton_prompt.model.engine import Engine
from training.baselines import ddnet, stgcn
from training.baselines.finetune import fine_tuning
from training.baselines.interface import Baseline, Fitted
from training.baselines.kernels import probe, svm
from training.baselines.linear import OnFeatures, nearest_mean, ridge
from training.baselines.random_weights import random_engine
from training.baselines.sources import Descriptors, Frozen

__all__ = ["BASELINES", "Baseline", "Fitted", "baseline", "prime_feature_cache"]


class _Sources:
    """What the linear baselines of one engine share, so that features are computed once."""

    def __init__(self, engine: Engine) -> None:
        self.descriptors = Descriptors()
        self.frozen = Frozen(engine)
        self.unlearnt = Frozen(random_engine(engine))


_shared = lru_cache(maxsize=2)(_Sources)

_MAKERS: dict[str, Callable[[str, Engine, _Sources], Baseline]] = {
    "DD-Net": lambda name, _engine, _sources: ddnet.ddnet(name),
    "ST-GCN++": lambda name, _engine, _sources: stgcn.stgcn(name),
    "SVM on stream descriptors": lambda name, _, sources: OnFeatures(name, sources.descriptors, svm),
    "ridge on stream descriptors": lambda name, _, sources: OnFeatures(name, sources.descriptors, ridge),
    "NCM on the frozen backbone": lambda name, _, sources: OnFeatures(name, sources.frozen, nearest_mean),
    "linear probe on the frozen backbone": lambda name, _, sources: OnFeatures(name, sources.frozen, probe),
    "linear probe on random frozen weights": lambda name, _, sources: OnFeatures(name, sources.unlearnt, probe),
    "full fine-tuning": lambda name, engine, _: fine_tuning(name, engine),
}
BASELINES: tuple[str, ...] = tuple(_MAKERS)


def baseline(name: str, engine: Engine) -> Baseline:
    """A baseline by name.

    Args:
        name: One of ``BASELINES``.
        engine: Whose backbone the frozen and fine-tuned ones use.

    Raises:
        LookupError: If no baseline has this name; the message lists what there is.
    """
    if name not in _MAKERS:
        raise LookupError(f"no baseline is called {name!r}; there are: {', '.join(BASELINES)}")
    return _MAKERS[name](name, engine, _shared(engine))


def prime_feature_cache(engine: Engine, people: Sequence[PreparedPerson], **features: np.ndarray) -> None:
    """Spare the linear baselines of an engine what is known of people already.

    Args:
        engine: Whose baselines.
        people: n people, the very objects that will be taught or asked about.
        **features: ``(n, F)`` by source: ``descriptors``, ``frozen``, or ``unlearnt`` for the random weights.
    """
    for source, rows in features.items():
        getattr(_shared(engine), source).recall(people, rows)
