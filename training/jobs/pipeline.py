"""One attempt at a tuning job: validate, features, choose, fit, calibrate, publish, canary, activate.

Every step may be repeated by another attempt: features and the tuned prompt are checkpoints, the version number belongs
to the job, publishing the same version twice is one version, and the pointer moves last, after the published bytes were
read back and gave the logits that they gave while tuning. Each write carries the attempt's fencing token.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import structlog

from service.errors import ServiceError
from service.storage.records import JobState
from skeleton_prompt.clips.clip import Clip
from skeleton_prompt.model.engine import Engine
from skeleton_prompt.model.prompt_file import BadPrompt, Prompt, PromptRef, digest, load_prompt, save_prompt
from training.jobs.activation_policy import ActivationDecision
from training.jobs.active_version import ActiveVersionComparison
from training.jobs.backbone_upgrade import provenance, require_all_labels, require_still_active
from training.jobs.lease import Lease
from training.jobs.training_examples import Example, build_examples, decode_checkpoint, encode_checkpoint, fingerprint
from training.module_tuner import PromptModuleTuner
from training.tuning.ensembling import MemberTuners
from training.tuning.linear_head import linear_logits
from training.tuning.plda import prior_of
from training.tuning.report import Facts, build_report, metrics
from training.tuning.temporal_tuner import TemporalTuner
from training.tuning.tune import TrainingSet, TuneConfig, TuningResult, tune

if TYPE_CHECKING:
    from service.storage.records import JobRecord, PromptRecord
    from service.storage.store import Storage, TenantRepository

log = structlog.get_logger(__name__)

CHUNK = 128  # clips per checkpoint of features
BATCH = 16
CANARIES = 8
MAX_MODULE_CLIPS = 4096
CANARY_TOLERANCE = 1e-4
DEFAULT_SECONDS = 3600.0


class JobFailed(Exception):
    """The job cannot succeed; the message is for the tenant."""


@dataclass(frozen=True)
class WorkerContext:
    """What a worker brings to every job.

    Attributes:
        storage: The truth.
        engine: The worker's own.
        name: Of the worker, for the log and the claim.
        lease_s: How long a claim lasts without renewal.
        max_seconds: Upper bound of a job's own limit.
        temporal_seconds: Most of it for the temporal part; 0 leaves it out.
        stopping: Set when the worker is to stop.
        old_engine: Gives an engine on an older backbone by its SHA-256, to ask versions made on it; None knows none.
        on_published: Told each version and its file once these have passed the canary, before they can be active; keeps
            what goes wrong to itself.
        keep_backbone: Sees to it that the file of the worker's backbone is in the store, before a prompt needs it.
    """

    storage: Storage
    engine: Engine
    name: str
    lease_s: float = 10.0
    max_seconds: float = DEFAULT_SECONDS
    temporal_seconds: float = TuneConfig.temporal_seconds
    stopping: threading.Event = field(default_factory=threading.Event)
    old_engine: Callable[[str], Engine] | None = None
    keep_backbone: Callable[[], object] = lambda: None
    on_published: Callable[[PromptRef, bytes], object] = lambda _ref, _data: None


class StepTimer:
    """Seconds by step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._began = self._last = time.monotonic()

    def lap(self, step: str) -> None:
        """The time since the last lap belongs to a step."""
        now = time.monotonic()
        self.seconds[step] = self.seconds.get(step, 0.0) + now - self._last
        self._last = now

    @property
    def total(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._began


@dataclass(frozen=True, eq=False)
class TuningArtifact:
    """What tuning leaves behind: a prompt file, its report, and what it must answer.

    Attributes:
        data: The prompt file.
        report: JSON document.
        rows: Examples whose logits are held.
        logits: ``(len(rows), N)``.
        verdict: Whether the version takes over, or None where that is not yet decided.
    """

    data: bytes
    report: dict[str, Any]
    rows: np.ndarray
    logits: np.ndarray
    verdict: ActivationDecision


class TuningRun:
    """One worker's attempt at a job."""

    def __init__(self, workplace: WorkerContext, repository: TenantRepository, job: JobRecord, lease: Lease) -> None:
        self.workplace = workplace
        self.engine = workplace.engine
        self.repository = repository
        self.job = job
        self.lease = lease
        self.clock = StepTimer()
        self.skipped: list[dict[str, str]] = list(job.options.get("skipped") or [])

    def run(self) -> None:
        """All steps."""
        examples = self.validate()
        features = self.features(examples)
        tuned = self.tuned(examples, features)
        record = self.publish(tuned)
        try:
            self.canary(record, tuned, examples)
        except (JobFailed, BadPrompt):
            # Nobody should be able to activate by hand what did not pass.
            with contextlib.suppress(ServiceError):
                self.repository.delete_prompt(record.version)
            raise
        self.activate(record, tuned)

    def report_progress(self, progress: float, step: str, message: str) -> None:
        """Tell the tenant; raises if the work should stop."""
        self.lease.report_progress(progress, step, message)

    def _publishing(self, progress: float, step: str, message: str) -> None:
        """Tell the tenant from where a cancel comes too late."""
        self.lease.check()
        self.repository.progress(self.job.id, self.job.token, progress, step, message, publishing=True)

    def validate(self) -> list[Example]:
        """Load and prepare the clips.

        Raises:
            JobFailed: If fewer than two labels can be taught.
            Superseded, TrainingClipsMissing: If a version need not, or cannot be, tuned again.
        """
        self.report_progress(0.0, "validate", f"reading {self.job.clips} clips")
        require_still_active(self.repository, self.job)
        ids = self.repository.job_clips(self.job.id)
        read: list[str] = []

        def clips() -> Iterator[tuple[str, Clip]]:
            for record, clip in self.repository.load_clips(ids):
                self.report_progress(0.05 * len(read) / len(ids), "validate", f"reading {self.job.clips} clips")
                read.append(record.id)
                yield record.id, clip

        examples, skipped = build_examples(clips())
        gone = set(ids) - set(read)
        self.skipped += skipped
        self.skipped += [{"clip": clip, "reason": "it was deleted before the job ran"} for clip in sorted(gone)]
        require_all_labels(self.repository, self.job, (example.label for example in examples))
        labels = {example.label for example in examples if example.label is not None}
        if len(labels) < 2:
            raise JobFailed(
                f"at least 2 labels with a visible clip are needed, there are {len(labels)} (too_few_labels)"
            )
        self.clock.lap("validate")
        return examples

    def features(self, examples: Sequence[Example]) -> np.ndarray:
        """Frozen features ``(n, F)``, a checkpoint after every few clips."""
        parts: list[np.ndarray] = []
        total = len(examples)
        for start in range(0, total, CHUNK):
            chunk = examples[start : start + CHUNK]
            name, mark = f"features_{start // CHUNK}", fingerprint(chunk, self.engine.backbone_sha256)
            saved = decode_checkpoint(self.repository.load_checkpoint(self.job.id, name), mark)
            if saved is None:
                values = self._chunk_features(chunk, start, total)
                self.repository.save_checkpoint(
                    self.job.id, self.job.token, name, encode_checkpoint(mark, features=values)
                )
                parts.append(values)
            else:
                parts.append(saved["features"])
        self.clock.lap("features")
        return np.concatenate(parts)

    def _chunk_features(self, chunk: Sequence[Example], start: int, total: int) -> np.ndarray:
        parts = []
        for first in range(0, len(chunk), BATCH):
            done = start + first
            self.report_progress(0.05 + 0.4 * done / total, "features", f"features of clip {done + 1} of {total}")
            people = [one.person for one in chunk[first : first + BATCH]]
            parts.append(self.engine.features(people, BATCH, self.lease.check))
        return np.concatenate(parts)

    def tuned(self, examples: Sequence[Example], features: np.ndarray) -> TuningArtifact:
        """Choose, fit and calibrate, or what an earlier attempt made of the same clips."""
        mark = fingerprint(examples, self.engine.backbone_sha256)
        saved = decode_checkpoint(self.repository.load_checkpoint(self.job.id, "tuned"), mark)
        if saved is None:
            saved = self._tune(examples, features)
            self.report_progress(0.85, "calibrate", "tuned")
            self.repository.save_checkpoint(self.job.id, self.job.token, "tuned", encode_checkpoint(mark, **saved))
        texts = {name: saved[name].tobytes() for name in ("data", "report", "verdict")}
        return TuningArtifact(
            data=texts["data"],
            report=json.loads(texts["report"]),
            rows=saved["rows"].astype(int),
            logits=saved["logits"],
            verdict=ActivationDecision(**json.loads(texts["verdict"])),
        )

    def _tune(self, examples: Sequence[Example], features: np.ndarray) -> dict[str, np.ndarray]:
        lesson = TrainingSet(
            features=features,
            blocks=self.engine.blocks,
            labels=tuple(one.label for one in examples),
            groups=tuple(one.group for one in examples),
            ids=tuple(one.clip for one in examples),
            prior=prior_of(self.engine),
        )
        # These take what they are given: a third of the job's time each leaves enough for all other steps.
        most = self.lease.max_seconds / 3
        config = TuneConfig(
            seed=int(self.job.options.get("seed") or 0),
            module_seconds=min(TuneConfig.module_seconds, most),
            temporal_seconds=min(self.workplace.temporal_seconds, most),
        )
        people = [one.person for one in examples]
        tuners = MemberTuners(
            TemporalTuner(self.engine, people, config.seed, self.lease.check),
            # It keeps 0.4 MB of activations for each clip.
            PromptModuleTuner(self.engine, people, config.seed, self.lease.check)
            if len(people) <= MAX_MODULE_CLIPS
            else None,
        )
        outcome = tune(lesson, config, self._tick, tuners)
        self.clock.lap("tune")
        self.report_progress(0.82, "calibrate", "comparing with the active version")
        verdict = ActiveVersionComparison(self.workplace, self.repository, self.job, self.lease, examples).verdict(
            lesson, outcome
        )
        self.clock.lap("compare")
        facts = Facts(
            skipped=tuple(self.skipped),
            durations=self.clock.seconds,
            backbone=self.engine.backbone_sha256,
            seed=config.seed,
            warnings=self._warnings(),
            origin=provenance(self.repository, self.job),
            verdict={"activate": verdict.activate, "reason": verdict.reason},
        )
        report = build_report(lesson, outcome, facts)
        prompt = self._prompt(lesson, outcome, report)
        rows = np.unique(np.linspace(0, len(examples) - 1, CANARIES).astype(int))
        logits = self._canary_logits(prompt, lesson, examples, rows)
        texts = {"data": save_prompt(prompt), "report": json.dumps(report).encode()}
        texts["verdict"] = json.dumps({"activate": verdict.activate, "reason": verdict.reason}).encode()
        return {"rows": rows, "logits": logits, **{k: np.frombuffer(v, dtype=np.uint8) for k, v in texts.items()}}

    def _tick(self, share: float, message: str) -> None:
        step = "choose" if share < 0.8 else "fit" if share < 0.95 else "calibrate"
        self.report_progress(0.45 + 0.37 * share, step, message)

    def _warnings(self) -> tuple[str, ...]:
        return (f"{len(self.skipped)} clips were skipped.",) if self.skipped else ()

    def _prompt(self, lesson: TrainingSet, outcome: TuningResult, report: dict[str, Any]) -> Prompt:
        return Prompt(
            tenant=self.repository.tenant,
            version=self.repository.next_version(self.job.id, self.job.token),
            labels=lesson.names,
            background=lesson.background,
            kind=outcome.kind,
            backbone_sha256=self.engine.backbone_sha256,
            # The job's own time, so that a repeated attempt makes the same bytes.
            created=self.job.created.isoformat(),
            calibration=outcome.calibration,
            tensors=outcome.tensors,
            blocks=outcome.choice.chosen.blocks,
            module_weight=outcome.blend,
            metrics=metrics(report),
            temporal_weight=outcome.temporal_blend,
            temporal_weight_missing_joints=outcome.temporal.lacking if outcome.temporal else 0.0,
        )

    def _canary_logits(
        self, prompt: Prompt, lesson: TrainingSet, examples: Sequence[Example], rows: np.ndarray
    ) -> np.ndarray:
        """Logits of a few clips by the engine, which must agree with the tuning's own arithmetic."""
        logits = np.stack(self._forward(prompt, examples, rows))
        if not (prompt.has_module or prompt.has_temporal):
            own = linear_logits(prompt.tensors, lesson.columns(prompt.blocks)[rows])
            if np.abs(own - logits).max() > 10 * CANARY_TOLERANCE * max(1.0, float(np.abs(own).max())):
                raise JobFailed("the engine does not reproduce the logits of the tuning; nothing was published")
        return logits

    def _forward(self, prompt: Prompt, examples: Sequence[Example], rows: np.ndarray) -> list[np.ndarray]:
        # One by one, as a later attempt does it: batches of other sizes round differently.
        results = [self.engine.forward([(examples[row].person, prompt)])[0] for row in rows]
        for result in results:
            if isinstance(result, Exception):
                raise JobFailed(f"the engine refuses the tuned prompt: {result}")
        return [result for result in results if not isinstance(result, Exception)]

    def publish(self, tuned: TuningArtifact) -> PromptRecord:
        """Make the version durable: from here on the job completes, a cancel comes too late."""
        self.lease.check()
        self.lease.cancellable = False
        self._publishing(0.88, "publish", "publishing")
        self.workplace.keep_backbone()
        prompt = load_prompt(tuned.data)
        record = self.repository.publish(
            self.job.id,
            self.job.token,
            prompt.version,
            tuned.data,
            backbone_sha256=prompt.backbone_sha256,
            labels=prompt.labels,
            parameters=prompt.parameters,
            metrics=dict(prompt.metrics),
            report=tuned.report,
        )
        self.clock.lap("publish")
        return record

    def canary(self, record: PromptRecord, tuned: TuningArtifact, examples: Sequence[Example]) -> None:
        """Read the version back as a replica would, and compare what it answers.

        Raises:
            JobFailed: If the bytes or the answers differ; the version before stays active.
        """
        self._publishing(0.94, "canary", "reading the version back")
        data = self.repository.prompt_bytes(record.version)
        if digest(data) != record.sha256 or digest(data) != digest(tuned.data):
            raise JobFailed(f"version {record.version} read back from the store is not what was published")
        prompt = load_prompt(data, sha256=record.sha256, backbone_sha256=self.engine.backbone_sha256)
        logits = np.stack(self._forward(prompt, examples, tuned.rows))
        gap = float(np.abs(logits - tuned.logits).max())
        if not gap <= CANARY_TOLERANCE:
            raise JobFailed(f"version {record.version} does not answer as it did while tuning (off by {gap:.2g})")
        self.clock.lap("canary")

    def activate(self, record: PromptRecord, tuned: TuningArtifact) -> None:
        """Move the pointer where the verdict says so, and end the job."""
        self._publishing(0.98, "activate", tuned.verdict.reason)
        ref = PromptRef(self.repository.tenant, record.version, record.sha256)
        self.workplace.on_published(ref, tuned.data)
        activated, reason = tuned.verdict.activate, tuned.verdict.reason
        if activated:
            activated = self.repository.activate(
                record.version, job_id=self.job.id, token=self.job.token, instead_of=self.job.source
            )
            reason = reason if activated else "another version was activated meanwhile"
        self.repository.finish_job(
            self.job.id,
            self.job.token,
            JobState.SUCCEEDED,
            version=record.version,
            activated=activated,
            reason=reason,
        )
