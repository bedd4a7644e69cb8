"""The active version beside a new one: loaded on the backbone that it was made on, and asked about the same clips."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import structlog

from service.errors import NotFound, ServiceError, StorageUnavailable
from service.storage.blobs.paths import BackboneGone
from service.storage.records import JobKind
from skeleton_prompt.model.backbone import BackboneError
from skeleton_prompt.model.prompt_file import BadPrompt, Prompt, load_prompt
from skeleton_prompt.model.window_batches import window_batches
from training.jobs.activation_policy import ActivationDecision, ActiveVersion, decide
from training.jobs.errors import JobFailed
from training.jobs.training_examples import MAX_CLIP_WINDOWS
from training.tuning.plda import prior_of

if TYPE_CHECKING:
    from service.storage.records import JobRecord, PromptRecord
    from service.storage.store import TenantRepository
    from skeleton_prompt.model.engine import Engine
    from training.jobs.context import WorkerContext
    from training.jobs.lease import Lease
    from training.jobs.training_examples import Example
    from training.tuning.tune import TrainingSet, TuningResult

log = structlog.get_logger(__name__)

BATCH = 16


class ActiveVersionComparison:
    """Decides whether what a job made takes over.

    Args:
        workplace: Engines, the worker's own and older ones.
        repository: The tenant's.
        job: What is done.
        lease: Checked while the active version is asked.
        examples: The clips of the job.
    """

    def __init__(
        self,
        workplace: WorkerContext,
        repository: TenantRepository,
        job: JobRecord,
        lease: Lease,
        examples: Sequence[Example],
    ) -> None:
        self._workplace = workplace
        self._repository = repository
        self._job = job
        self._lease = lease
        self._people = [one.person for one in examples]
        self._stored = [one.stored for one in examples]
        self._engine = workplace.engine

    def verdict(self, lesson: TrainingSet, outcome: TuningResult) -> ActivationDecision:
        """Apply the job's ``activate`` option.

        Raises:
            JobFailed: The active version can be loaded, but not asked.
        """
        option = str(self._job.options.get("activate") or "if_better")
        active = self._repository.active_prompt()
        previous = None if active is None or option != "if_better" else self._previous(active, lesson)
        again = self._job.kind is JobKind.BACKBONE_UPGRADE
        return decide(option, lesson, outcome, previous, self._ask, again=again)

    def _previous(self, active: PromptRecord, lesson: TrainingSet) -> ActiveVersion:
        prompt = self._load(active)
        try:
            known = set(self._repository.job_clips(active.job)) if active.job else set()
        except NotFound:
            known = set()
        taught = np.array([stored in known for stored in self._stored])
        own = self._engine is self._workplace.engine
        features = lesson.block_features if own else self._features
        return ActiveVersion(
            active.version, prompt, tuple(active.labels), taught, len(known), features, prior_of(self._engine)
        )

    def _load(self, active: PromptRecord) -> Prompt | None:
        """The active version, with the engine to ask it; None where either cannot be had."""
        try:
            self._engine = self._engine_of(active.backbone_sha256)
            data = self._repository.prompt_bytes(active.version)
            return load_prompt(data, sha256=active.sha256, backbone_sha256=self._engine.backbone_sha256)
        except StorageUnavailable:
            raise  # for a moment only: another attempt compares, instead of activating what nothing was compared with
        except (BackboneGone, BackboneError, BadPrompt, ServiceError) as error:
            log.warning("the active version cannot be compared with", version=active.version, error=str(error))
            return None

    def _engine_of(self, sha256: str) -> Engine:
        own = self._workplace.engine
        if sha256 == own.backbone_sha256:
            return own
        if self._workplace.old_engine is None:
            raise BackboneGone(f"this worker runs no other backbone than {own.backbone_sha256[:12]}")
        return self._workplace.old_engine(sha256)

    def _features(self) -> dict[str, np.ndarray]:
        """The clips' features on the backbone of the active version, block by block."""
        parts = []
        for start in range(0, len(self._people), BATCH):
            self._lease.check()
            parts.append(self._engine.features(self._people[start : start + BATCH], BATCH, self._lease.check))
        values = np.concatenate(parts)
        return {name: values[:, columns] for name, columns in self._engine.blocks.items()}

    def _ask(self, prompt: Prompt, rows: np.ndarray) -> np.ndarray:
        logits: list[np.ndarray | Exception] = []
        for batch in window_batches([self._people[row] for row in rows], BATCH, MAX_CLIP_WINDOWS):
            self._lease.check()
            logits += self._engine.forward([(person, prompt) for person in batch])
        failed = [one for one in logits if isinstance(one, Exception)]
        if failed:
            raise JobFailed(f"the active version cannot be asked: {failed[0]}")
        return np.stack([one for one in logits if not isinstance(one, Exception)])
