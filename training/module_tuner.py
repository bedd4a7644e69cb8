"""The prompt module as a candidate of the tuning: its fitting bound to an engine and to the people of a lesson."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from skeleton_prompt.clips.normalise import PreparedPerson
from skeleton_prompt.model.engine import Engine, FrozenFeatures
from skeleton_prompt.model.prompt_file import Array
from training.tuning.prompt_module_tuner import ModuleConfig, fit_module, observe_all, predict_module


class PromptModuleTuner:
    """Tunes prompt modules on an engine; see ``training.tuning.ensembling.MemberTuner``.

    Args:
        engine: Whose backbone stays frozen.
        people: All people of the lesson, in its order.
        seed: All randomness follows from it.
        check: Raises if the work should stop; asked before every optimiser step.
    """

    def __init__(self, engine: Engine, people: Sequence[PreparedPerson], seed: int, check: Callable[[], None]) -> None:
        self._engine = engine
        self._people = people
        self._seed = seed
        self._check = check
        self._observed: FrozenFeatures | None = None

    @property
    def observed(self) -> FrozenFeatures:
        """The trunk of every clip, computed at the first use: most lessons have too few clips for a module."""
        if self._observed is None:
            self._observed = observe_all(self._engine, self._people)
        return self._observed

    def fit(
        self,
        lessons: Sequence[np.ndarray],
        labels: np.ndarray,
        classes: int,
        seconds: float,
        tick: Callable[[float], None],
    ) -> list[dict[str, Array]]:
        """Tensors of modules, each taught on some of the people; see ``training.tuning.ensembling.MemberTuner``."""
        config = ModuleConfig(seed=self._seed, seconds=seconds / len(lessons))
        modules = []
        for number, rows in enumerate(lessons):
            tick(number / len(lessons))
            some = _some(self.observed, rows)
            modules.append(fit_module(self._engine, some, labels[rows], classes, config, stop=self._stop))
        return modules

    def logits(self, tensors: Mapping[str, Array], rows: np.ndarray) -> Array:
        """Logits ``(len(rows), N)`` on some of the people."""
        return predict_module(self._engine, self.observed, dict(tensors), [int(row) for row in rows])

    def _stop(self) -> bool:
        self._check()
        return False


def _some(observed: FrozenFeatures, rows: np.ndarray) -> FrozenFeatures:
    """Some of the windows; each person has one."""
    index = rows.tolist()
    names = ("embedded", "x", "lifted", "top", "bias", "tokens", "masks", "features")
    return FrozenFeatures(
        windows=observed.windows.select(index), **{name: getattr(observed, name)[index] for name in names}
    )
