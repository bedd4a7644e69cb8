"""The interface between the gateway and an inference engine, wherever the engine runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from skeleton_prompt.clips.normalise import PreparedPerson
from skeleton_prompt.model.decision import Prediction
from skeleton_prompt.model.prompt_file import Array, Prompt, PromptRef
from skeleton_prompt.model.window_sums import Chunk, Result

if TYPE_CHECKING:
    from service.backbone_loader import BackboneCompatibility
    from service.metrics import Metrics

CacheLayer = Literal["memory", "redis", "store"]


class WorkerCrashed(Exception):
    """The engine process that computed a batch has ended or hangs; another may compute its rows."""


@dataclass(frozen=True)
class PredictionInput:
    """One person of one clip and the prompt to predict with.

    Attributes:
        person: The prepared person.
        ref: The exact prompt, by tenant, version and hash.
        top_k: Number of labels to return.
        threshold: Minimum probability of a known action; None uses the calibrated one.
        deadline: Time (``time.monotonic``) after which no caller waits for the result.
        refusal: Share of right answers that may be refused; None uses the prompt's.
        coverage: Nominal coverage of a prediction set to return.
    """

    person: PreparedPerson
    ref: PromptRef
    top_k: int
    threshold: float | None
    deadline: float
    refusal: float | None = None
    coverage: float | None = None


@dataclass(frozen=True)
class PredictionResult:
    """A prediction and where its time went.

    Attributes:
        prediction: The prediction.
        cache: Cache layer that had the prompt.
        queue_ms: Time in the queue.
        prompt_ms: Time to load the prompt.
        forward_ms: Time of the forward passes that the row was in.
        batch_rows: Rows of the batch, in the result of its first row; 0 in all others, so that batches can be counted.
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

    def forward_chunks(self, chunks: Sequence[Chunk]) -> list[Result]:
        """Logits of rows that end with their chunk, window sums of others, or the exception that stands for the row.

        Raises:
            WorkerCrashed: The engine process has ended or hangs.
        """

    def finish(
        self,
        person: PreparedPerson,
        prompt: Prompt,
        logits: Array,
        *,
        top_k: int = 5,
        threshold: float | None = None,
        refusal: float | None = None,
        coverage: float | None = None,
    ) -> Prediction:
        """The prediction from a row's logits."""


class InferenceEngine(Protocol):
    """Predicts rows of any tenants; safe to call from many tasks of one event loop.

    Engines inherit from it: members that an engine has no use for have a default.
    """

    @property
    def backbone_sha256(self) -> str | None:
        """SHA-256 of the backbone that new prompts are made on; None before it is known."""
        return None

    @property
    def waiting(self) -> int:
        """Rows that wait, or that an engine elsewhere has."""
        return 0

    @property
    def old_models(self) -> int:
        """Models of older backbones in memory."""
        return 0

    @property
    def unavailable_reason(self) -> str | None:
        """Why the engine cannot be used although it runs; None if there is no such reason. Names no address."""
        return None

    def bind(self, metrics: Metrics, compatibility: BackboneCompatibility) -> None:
        """Join a gateway before ``start``.

        Args:
            metrics: Where the engine registers its collectors.
            compatibility: Which backbones the gateway accepts from an engine that runs elsewhere.
        """
        del metrics, compatibility

    async def start(self) -> None:
        """Load what is needed; the engine is ready when this returns."""

    async def stop(self) -> None:
        """Refuse waiting rows and release everything."""

    async def refresh(self) -> None:
        """Fetch current figures for the metrics from where the engine runs; quick, and never fails."""
        return None

    def check_admission(self, tenant: str) -> None:
        """Do nothing if a row of this tenant would be accepted now; called before its clip is read.

        Raises:
            Overloaded: It would be refused.
        """

    async def predict(self, question: PredictionInput) -> PredictionResult:
        """Predict one row.

        Raises:
            Overloaded: The queue is full.
            DeadlineExceeded: The result was not there before the deadline.
            EngineUnavailable: The forward pass or the prompt failed for a reason that is not the caller's.
            BackboneMismatch: The prompt belongs to another backbone, and this engine runs no other.
        """
        raise NotImplementedError

    async def is_ready(self) -> bool:
        """Whether a forward pass succeeds; a busy engine is judged by its rows, which no probe precedes."""
        raise NotImplementedError
