"""Publication of a tuned version: store, read back, compare its answers, move the active pointer.

Each step may be repeated by another attempt: the version number belongs to the job, publishing the same version twice
is one version, and the pointer moves last, after the published bytes were read back and gave the logits that they gave
while tuning. Each write carries the attempt's fencing token.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from service.errors import ServiceError
from skeleton_prompt.model.prompt_file import Array, BadPrompt, Prompt, PromptRef, digest, load_prompt
from training.jobs.activation_policy import ActivationDecision
from training.jobs.errors import JobFailed

if TYPE_CHECKING:
    from service.storage.records import JobRecord, PromptRecord
    from service.storage.store import TenantRepository
    from training.jobs.context import WorkerContext
    from training.jobs.lease import Lease
    from training.jobs.training_examples import Example

CANARIES = 8
CANARY_WINDOWS = 256  # of all canaries together
CANARY_TOLERANCE = 1e-4

Show = Callable[[float, str, str], None]  # records share of the publication, step and message


def canary_rows(examples: Sequence[Example], count: int) -> np.ndarray:
    """Evenly spaced examples whose answers are compared; fewer, but at least one, where they have many windows."""
    rows = np.unique(np.linspace(0, len(examples) - 1, count).astype(int))
    windows = np.cumsum([len(examples[row].person.pose) for row in rows])
    return rows[: max(1, int((windows <= CANARY_WINDOWS).sum()))]


@dataclass(frozen=True, eq=False)
class TuningArtifact:
    """The result of tuning: a prompt file, its report, and the answers that it must give.

    Attributes:
        data: The prompt file; empty where nothing is to be published.
        report: JSON document.
        rows: Examples whose logits are compared.
        logits: ``(len(rows), N)``.
        right: ``(n,)`` share of the repeats in which each clip was told right when held out, NaN where it never was.
        verdict: Whether the version becomes the active one, and why.
    """

    data: bytes
    report: dict[str, Any]
    rows: np.ndarray
    logits: np.ndarray
    right: np.ndarray
    verdict: ActivationDecision

    def arrays(self) -> dict[str, np.ndarray]:
        """The artifact as arrays, for a checkpoint."""
        verdict = {"activate": self.verdict.activate, "reason": self.verdict.reason}
        texts = {"data": self.data, "report": json.dumps(self.report).encode(), "verdict": json.dumps(verdict).encode()}
        named = {name: np.frombuffer(text, dtype=np.uint8) for name, text in texts.items()}
        return {"rows": self.rows, "logits": self.logits, "right": self.right, **named}

    @classmethod
    def of(cls, saved: Mapping[str, Array]) -> TuningArtifact:
        """The inverse of ``arrays``."""
        texts = {name: saved[name].tobytes() for name in ("data", "report", "verdict")}
        return cls(
            data=texts["data"],
            report=json.loads(texts["report"]),
            rows=saved["rows"].astype(int),
            logits=saved["logits"],
            right=saved["right"],
            verdict=ActivationDecision(**json.loads(texts["verdict"])),
        )


class Publication:
    """Publishes the versions of one job.

    Args:
        context: Of the worker.
        repository: The tenant's.
        job: As claimed.
        lease: Checked before the first write.
    """

    def __init__(self, context: WorkerContext, repository: TenantRepository, job: JobRecord, lease: Lease) -> None:
        self._context = context
        self._repository = repository
        self._job = job
        self._lease = lease

    def run(
        self,
        tuned: TuningArtifact,
        examples: Sequence[Example],
        show: Show,
        *,
        first: bool = False,
        instead_of: int | None = None,
    ) -> tuple[PromptRecord, bool]:
        """Publish a version and make it the active one where its verdict says so. A cancellation waits meanwhile.

        Args:
            tuned: What to publish.
            examples: The clips of the job.
            show: Records the progress.
            first: Whether it is the job's first version.
            instead_of: Version that must still be the active one; None for any.

        Returns:
            The version, and whether it is active.

        Raises:
            JobFailed, BadPrompt: The version read back is not the one that was tuned; it is deleted.
        """
        self._lease.check()
        self._lease.cancellable = False
        show(0.0, "publish", "publishing")
        record = self._publish(tuned)
        try:
            show(0.4, "canary", "reading the version back")
            self.check_canaries(record, tuned, examples)
        except (JobFailed, BadPrompt):
            # It must not be possible to activate by hand what did not pass.
            with contextlib.suppress(ServiceError):
                self._repository.delete_prompt(record.version)
            raise
        show(0.8, "activate", tuned.verdict.reason)
        self._context.on_published(PromptRef(self._repository.tenant, record.version, record.sha256), tuned.data)
        activated = tuned.verdict.activate and self._repository.activate(
            record.version, job_id=self._job.id, token=self._job.token, instead_of=instead_of, first=first
        )
        return record, activated

    def _publish(self, tuned: TuningArtifact) -> PromptRecord:
        self._context.keep_backbone()
        prompt = load_prompt(tuned.data)
        return self._repository.publish(
            self._job.id,
            self._job.token,
            prompt.version,
            tuned.data,
            backbone_sha256=prompt.backbone_sha256,
            labels=prompt.labels,
            parameters=prompt.parameters,
            metrics=dict(prompt.metrics),
            report=tuned.report,
        )

    def check_canaries(self, record: PromptRecord, tuned: TuningArtifact, examples: Sequence[Example]) -> None:
        """Read the version back as a replica would, and compare its answers.

        Raises:
            JobFailed: The bytes or the answers differ.
        """
        data = self._repository.prompt_bytes(record.version)
        if digest(data) != record.sha256 or digest(data) != digest(tuned.data):
            raise JobFailed(f"version {record.version} read back from the store is not what was published")
        sha256 = self._context.engine.backbone_sha256
        prompt = load_prompt(data, sha256=record.sha256, backbone_sha256=sha256)
        logits = np.stack(self.forward(prompt, examples, tuned.rows))
        gap = float(np.abs(logits - tuned.logits).max())
        if not gap <= CANARY_TOLERANCE:
            raise JobFailed(f"version {record.version} does not answer as it did while tuning (off by {gap:.2g})")

    def forward(self, prompt: Prompt, examples: Sequence[Example], rows: np.ndarray) -> list[np.ndarray]:
        """Logits of some examples by the worker's engine.

        Raises:
            JobFailed: The engine refuses the prompt.
        """
        # One by one, as a later attempt does it: batches of other sizes round differently.
        logits = []
        for row in rows:
            self._lease.check()
            result = self._context.engine.forward([(examples[row].person, prompt)])[0]
            if isinstance(result, Exception):
                raise JobFailed(f"the engine refuses the tuned prompt: {result}")
            logits.append(result)
        return logits
