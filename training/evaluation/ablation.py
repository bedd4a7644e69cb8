"""What each part of ours is worth: the same lesson without it.

Two wholes are taken apart. The first is ours as a job teaches it, without one of the feature blocks that its head may
choose from or without the temporal part. The second is the prompt module by itself, whatever share of the answer it
has: without instance prompts, queries or one of the four streams.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from skeleton_prompt.clips.normalise import PreparedPerson
from skeleton_prompt.model.engine import Engine
from skeleton_prompt.model.prompt_module import FULL, Ablation
from skeleton_prompt.model.tensor_shapes import STREAMS
from training.tuning.prompt_module_tuner import ModuleConfig, fit_module, observe_all, predict_module

MODULE = "module"
WITHOUT_TEMPORAL = "without temporal"
BLOCK_PARTS = ("without house", "without frozen", "without descriptors", "without frontal")
CONTROLS: dict[str, Ablation] = {
    MODULE: FULL,
    f"{MODULE}, no prompt": replace(FULL, prompts="none"),
    f"{MODULE}, one static prompt": replace(FULL, prompts="static"),
    f"{MODULE}, prompts shuffled": replace(FULL, prompts="shuffled"),
    f"{MODULE}, no queries": replace(FULL, queries=False),
    **{
        f"{MODULE}, no {stream} stream": replace(FULL, streams=tuple(s for s in STREAMS if s != stream))
        for stream in STREAMS
    },
}
PARTS = (WITHOUT_TEMPORAL, *BLOCK_PARTS, *CONTROLS)
SECONDS = 60.0  # budget of one module


def whole_of(part: str) -> str:
    """The part name of the whole that a part is taken from."""
    return MODULE if part in CONTROLS else ""


def blocks_without(blocks: Mapping[str, slice], part: str) -> dict[str, slice]:
    """The feature blocks that are left for the choice of the head when a part is taken away.

    The house projection reads other blocks, so it still knows of them where it stays.
    """
    return {name: columns for name, columns in blocks.items() if part != f"without {name}"}


class ModuleAlone:
    """The prompt module by itself, some of its parts switched off.

    Shuffled prompts are those of a module that was taught with each clip's own: the question is whether it matters
    whose prompt a clip gets.

    Args:
        engine: Whose backbone it prompts.
        people: n people that are taught.
        labels: ``(n,)`` below ``classes``.
        classes: N.
        part: One of ``CONTROLS``.
        seed: All randomness follows from it.
    """

    def __init__(
        self, engine: Engine, people: Sequence[PreparedPerson], labels: np.ndarray, classes: int, part: str, seed: int
    ) -> None:
        self._engine, self._controls = engine, CONTROLS[part]
        taught = FULL if self._controls.prompts == "shuffled" else self._controls
        config = ModuleConfig(seed=seed, seconds=SECONDS, controls=taught)
        self._tensors = fit_module(engine, observe_all(engine, people), labels, classes, config)

    @property
    def parameters(self) -> int:
        """How many numbers the module holds."""
        return sum(int(value.size) for value in self._tensors.values())

    def logits(self, people: Sequence[PreparedPerson]) -> np.ndarray:
        """Logits ``(n, N)`` of people, by the window in the middle of each."""
        parts = []
        for start in range(0, len(people), 256):
            observed = observe_all(self._engine, people[start : start + 256])
            rows = range(len(observed.windows.counts))
            parts.append(predict_module(self._engine, observed, self._tensors, rows, self._controls))
        return np.concatenate(parts)
