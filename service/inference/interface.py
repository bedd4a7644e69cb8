"""What the gateway asks of an engine, wherever it runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from skeleton_prompt.clips.normalise import PreparedPerson
from skeleton_prompt.model.decision import Prediction
from skeleton_prompt.model.prompt_file import Array, Prompt, PromptRef

CacheLayer = Literal["memory", "redis", "store"]


@dataclass(frozen=True)
class PredictionInput:
    """One person of one clip, and whose prompt is to name what they do.

    Attributes:
        person: What the engine computes on.
        ref: The exact prompt, by tenant, version and hash.
        top_k: How many labels to list.
        threshold: Least probability that counts as known, in place of the calibrated one.
        deadline: On the clock of ``time.monotonic``; after it nobody waits for the answer.
    """

    person: PreparedPerson
    ref: PromptRef
    top_k: int
    threshold: float | None
    deadline: float


@dataclass(frozen=True)
class PredictionResult:
    """A prediction and where its time went.

    Attributes:
        prediction: What is said about the person.
        cache: Where the prompt was found.
        queue_ms: Waiting for the engine.
        prompt_ms: Getting the prompt.
        forward_ms: The forward pass of the batch that it was in.
        batch_rows: Rows of that batch, where this answer is the one of them that says so; of the others 0. So batches
            can be counted by whoever sees answers.
    """

    prediction: Prediction
    cache: CacheLayer
    queue_ms: float
    prompt_ms: float
    forward_ms: float
    batch_rows: int = 0


class PromptedModel(Protocol):
    """The part of ``skeleton_prompt.model.engine.Engine`` that predicting needs."""

    backbone_sha256: str

    def features(self, people: Sequence[PreparedPerson], batch_size: int = 16) -> Array:
        """Frozen features."""

    def forward(self, rows: Sequence[tuple[PreparedPerson, Prompt]]) -> list[Array | Exception]:
        """Logits per row, or the exception that stands for them."""

    def finish(
        self, person: PreparedPerson, prompt: Prompt, logits: Array, *, top_k: int = 5, threshold: float | None = None
    ) -> Prediction:
        """The prediction."""


class InferenceEngine(Protocol):
    """Predicts rows of any tenants; safe to call from many tasks of one event loop."""

    async def start(self) -> None:
        """Load what is needed; the engine is ready when this returns."""

    async def stop(self) -> None:
        """Refuse what waits and let go of everything."""

    def check_admission(self, tenant: str) -> None:
        """Nothing, unless a row of this tenant would be refused now: then its clip need not be read.

        Raises:
            Overloaded: It would.
        """

    async def predict(self, question: PredictionInput) -> PredictionResult:
        """Answer one row.

        Raises:
            Overloaded: The queue is full.
            DeadlineExceeded: The answer would come too late.
            EngineUnavailable: The forward pass or the prompt failed for a reason that is not the caller's.
            BackboneMismatch: The prompt belongs to another backbone, and this engine runs no other.
        """

    async def is_ready(self) -> bool:
        """Whether a real forward pass succeeded just now, or recently while the engine is busy."""
