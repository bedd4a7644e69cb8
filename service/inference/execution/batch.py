"""Steps of a prediction that every engine shares: get the prompt, run the forward pass, finish the row."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import structlog

from service.errors import BackboneMismatch, DeadlineExceeded, EngineUnavailable, ServiceError
from service.inference.interface import CacheLayer, PredictionInput, PromptedModel, WorkerCrashed
from skeleton_prompt.clips.normalise import PreparedPerson
from skeleton_prompt.model import prompt_file
from skeleton_prompt.model.decision import Prediction
from skeleton_prompt.model.prompt_file import Array, Prompt, PromptRef
from skeleton_prompt.model.window_sums import Chunk, Result

log = structlog.get_logger(__name__)

GC_THRESHOLD = 50_000  # new objects between two garbage collections


class PromptSource(Protocol):
    """The part of the prompt cache that predicting needs."""

    def peek(self, ref: PromptRef) -> Prompt | None:
        """The prompt, if it is in memory."""

    def get(self, ref: PromptRef) -> tuple[Prompt, CacheLayer]:
        """The prompt, and where it was found; may wait for Redis or the store."""


def get_prompt(prompts: PromptSource, ref: PromptRef) -> tuple[Prompt, CacheLayer]:
    """Load a prompt; blocks. Returns it and the cache layer that had it.

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


def forward_chunks(
    model: PromptedModel, chunks: Sequence[Chunk], is_wanted: Callable[[int], bool] = lambda _index: True
) -> list[Result]:
    """The forward pass of one model; where a whole batch fails, each chunk by itself, to find the one to blame.

    Args:
        model: Of all the chunks.
        chunks: Of any tenants.
        is_wanted: Whether a caller still waits for a chunk, by its index; others are not computed a second time.
    """
    try:
        outcomes = model.forward_chunks(chunks)
        if len(outcomes) == len(chunks):
            return outcomes
        raise RuntimeError(f"{len(outcomes)} outcomes for {len(chunks)} rows")
    except (ServiceError, WorkerCrashed) as error:  # of the engine as a whole
        return [error] * len(chunks)
    except Exception as error:
        if len(chunks) == 1:
            return [error]
        log.warning("a batch failed; its rows are tried one by one", rows=len(chunks), exc_info=True)
    late = DeadlineExceeded("The prediction was not ready before its deadline.")
    return [forward_chunks(model, [chunk])[0] if is_wanted(index) else late for index, chunk in enumerate(chunks)]


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
        return model.finish(
            question.person,
            prompt,
            outcome,
            top_k=question.top_k,
            threshold=question.threshold,
            refusal=question.refusal,
            coverage=question.coverage,
        )
    except ServiceError:
        raise
    except prompt_file.BackboneMismatch as error:
        raise BackboneMismatch(str(error)) from error
    except Exception as error:
        log.error("a row failed", version=question.ref.version, error=repr(error))
        raise EngineUnavailable("The forward pass failed for this clip.", retry_after=1.0) from error


def warm_up(model: PromptedModel) -> None:
    """Run the model once, then exclude its objects from garbage collection."""
    model.features([PROBE_INPUT])
    tune_gc()


def tune_gc() -> None:
    """Exclude all present objects from garbage collection and make collections rare."""
    # A model's many objects never become garbage, nor do an application's; scanning them made for the slowest requests.
    gc.collect()
    gc.freeze()
    # A JSON clip is thousands of lists, which no cycle keeps: looking for one twice in each request found nothing.
    gc.set_threshold(GC_THRESHOLD)


def _probe_input() -> PreparedPerson:
    """A person who stands still, visible throughout: input of a forward pass that belongs to no tenant."""
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
