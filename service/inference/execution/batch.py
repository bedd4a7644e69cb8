"""What every engine does with rows, wherever it runs: in the gateway's process or in TorchServe's worker."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import structlog

from service.errors import BackboneMismatch, EngineUnavailable, ServiceError
from service.inference.interface import CacheLayer, PredictionInput, PromptedModel
from skeleton_prompt.clips.normalise import PreparedPerson
from skeleton_prompt.model import prompt_file
from skeleton_prompt.model.decision import Prediction
from skeleton_prompt.model.prompt_file import Array, Prompt, PromptRef

log = structlog.get_logger(__name__)

GC_THRESHOLD = 50_000  # new objects between two rounds of the garbage collector


class PromptSource(Protocol):
    """The part of the prompt cache that predicting needs."""

    def peek(self, ref: PromptRef) -> Prompt | None:
        """The prompt, if it is in memory."""

    def get(self, ref: PromptRef) -> tuple[Prompt, CacheLayer]:
        """The prompt, and where it was found; may wait for Redis or the store."""


def get_prompt(prompts: PromptSource, ref: PromptRef) -> tuple[Prompt, CacheLayer]:
    """A prompt and where it was found; blocks.

    Raises:
        BackboneMismatch, VersionNotFound, StorageUnavailable: As the cache says.
        EngineUnavailable: It could not be loaded for any other reason.
    """
    try:
        return prompts.get(ref)
    except ServiceError:
        raise
    except prompt_file.BackboneMismatch as error:
        raise BackboneMismatch(str(error)) from error
    except Exception as error:
        log.error("prompt cannot be loaded", version=ref.version, exc_info=True)
        raise EngineUnavailable("The prompt could not be loaded.", retry_after=2.0) from error


def forward_rows(model: PromptedModel, rows: Sequence[tuple[PreparedPerson, Prompt]]) -> list[Array | Exception]:
    """The forward pass of one model's rows; where a whole batch fails, each row on its own, to find the culprit."""
    try:
        outcomes = model.forward(rows)
        if len(outcomes) == len(rows):
            return outcomes
        raise RuntimeError(f"{len(outcomes)} outcomes for {len(rows)} rows")
    except ServiceError as error:  # of the engine as a whole
        return [error] * len(rows)
    except Exception as error:
        if len(rows) == 1:
            return [error]
        log.warning("a batch failed; its rows are tried one by one", rows=len(rows), exc_info=True)
        return [forward_rows(model, [row])[0] for row in rows]


def finish_row(
    model: PromptedModel, question: PredictionInput, prompt: Prompt, outcome: Array | Exception
) -> Prediction:
    """The prediction of a row's outcome.

    Raises:
        BackboneMismatch: The prompt belongs to another backbone.
        EngineUnavailable: The row failed for any other reason.
    """
    try:
        if isinstance(outcome, Exception):
            raise outcome
        return model.finish(question.person, prompt, outcome, top_k=question.top_k, threshold=question.threshold)
    except ServiceError:
        raise
    except prompt_file.BackboneMismatch as error:
        raise BackboneMismatch(str(error)) from error
    except Exception as error:
        log.error("a row failed", version=question.ref.version, error=repr(error))
        raise EngineUnavailable("The forward pass failed for this clip.", retry_after=1.0) from error


def warm_up(model: PromptedModel) -> None:
    """Run the model once, and take all that it is made of from the garbage collector's rounds."""
    model.features([PROBE_INPUT])
    tune_gc()


def tune_gc() -> None:
    """Have the garbage collector look at nothing that is there now, and seldom at what comes."""
    # A model's many objects never become garbage, nor do an application's; scanning them made for the slowest requests.
    gc.collect()
    gc.freeze()
    # A JSON clip is thousands of lists, which no cycle keeps: looking for one twice in each request found nothing.
    gc.set_threshold(GC_THRESHOLD)


def _probe_input() -> PreparedPerson:
    """Somebody who stands still, visible throughout: input for a forward pass that belongs to no tenant."""
    pose = np.zeros((1, 64, 17, 3), np.float32)
    pose[..., 1] = np.linspace(-1, 1, 17, dtype=np.float32)
    pose[..., 2] = 1.0
    return PreparedPerson(
        pose=pose,
        depth=np.zeros((1, 64, 17), np.float32),
        has_depth=False,
        log_seconds=np.zeros(1, np.float32),
        visible=1.0,
        frames=64,
        motion=0.0,
    )


PROBE_INPUT = _probe_input()
