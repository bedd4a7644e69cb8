"""One attempt at a tuning job: validate, features, first version, refinement.

The *first version* has the default linear head only and is active seconds after the upload. The *refined* version, for
which all candidates and the parts beside the head are compared, follows in the same job and replaces it if its held-out
accuracy is not lower. A job without anything to refine publishes one version.

Every step may be repeated by another attempt: features and tuned prompts are checkpoints, both version numbers belong
to the job, and what an earlier attempt has activated is not made again; see ``training.jobs.publication``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import structlog

from service.storage.job_estimates import Work, predicted_seconds
from service.storage.records import JobKind, JobState
from skeleton_prompt.clips.clip import Clip
from skeleton_prompt.model.class_model import missing_joints, shown_joints, usual_joints
from skeleton_prompt.model.dimensions import dimension_of
from skeleton_prompt.model.prompt_file import Prompt, save_prompt
from training.jobs.activation_policy import ActivationDecision, compared_with_first
from training.jobs.active_version import ActiveVersionComparison
from training.jobs.backbone_upgrade import provenance, require_all_labels, require_still_active
from training.jobs.context import DEFAULT_SECONDS, WorkerContext
from training.jobs.errors import JobFailed
from training.jobs.lease import Lease
from training.jobs.progress import ProgressEstimator
from training.jobs.publication import CANARIES, CANARY_TOLERANCE, Publication, TuningArtifact, canary_rows
from training.jobs.training_examples import (
    Example,
    build_examples,
    decode_checkpoint,
    encode_checkpoint,
    fingerprint,
    of_one_dimension,
)
from training.module_tuner import PromptModuleTuner
from training.tuning.ensembling import MemberTuners
from training.tuning.linear_head import linear_logits
from training.tuning.model_selection import default_candidate
from training.tuning.plda import prior_of
from training.tuning.report import Facts, build_report, metrics
from training.tuning.temporal_tuner import TemporalTuner
from training.tuning.tune import TrainingSet, TuneConfig, TuningResult, tune

if TYPE_CHECKING:
    from service.storage.records import JobRecord
    from service.storage.store import TenantRepository

__all__ = ["DEFAULT_SECONDS", "JobFailed", "TuningRun", "WorkerContext"]

log = structlog.get_logger(__name__)

CHUNK = 128  # clips per checkpoint of features
BATCH = 16
MAX_MODULE_CLIPS = 4096  # the prompt module keeps 0.4 MB of activations for each clip
FIRST_NOTE = "This first version has the default linear head only; the refined version of the same job follows."
# Shares that tune() reports, and the shares of its time that they stand for: fitting the parts takes most of it.
TUNE_SHARES, TUNE_TIMES = (0.0, 0.3, 0.6, 0.8, 1.0), (0.0, 0.15, 0.85, 0.97, 1.0)


class StepTimer:
    """Seconds by step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._began = self._last = time.monotonic()

    def lap(self, step: str) -> None:
        """Add the time since the last lap to a step."""
        now = time.monotonic()
        self.seconds[step] = self.seconds.get(step, 0.0) + now - self._last
        self._last = now

    @property
    def total(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._began


def _missing(prompt: Prompt, lesson: TrainingSet, rows: np.ndarray) -> np.ndarray | None:
    """Joints that clips lack and the others show, or None where the prompt does not ask."""
    usual = usual_joints(prompt)
    return None if usual is None or lesson.shown is None else missing_joints(usual, lesson.shown[rows])


class TuningRun:
    """One worker's attempt at a job.

    Args:
        workplace: Of the worker.
        repository: The tenant's.
        job: As claimed.
        lease: On the job.
    """

    def __init__(self, workplace: WorkerContext, repository: TenantRepository, job: JobRecord, lease: Lease) -> None:
        self.workplace = workplace
        self.engine = workplace.engine
        self.repository = repository
        self.job = job
        self.lease = lease
        self.clock = StepTimer()
        self.skipped: list[dict[str, str]] = list(job.options.get("skipped") or [])
        self.publication = Publication(workplace, repository, job, lease)
        never = job.options.get("activate") == "never"
        self.refines = job.kind is JobKind.TUNE and workplace.temporal_seconds > 0 and not never
        self.last_phase = "refine" if self.refines else "tune"
        self._rates = workplace.storage.dispatch.rates()
        self._work = Work(job.clips, job.clips)
        self.dimension = ""
        self.progress = ProgressEstimator(self._planned(), job.progress)

    def _planned(self) -> dict[str, float]:
        return predicted_seconds(self._work, self._rates, refines=self.refines)

    def run(self) -> None:
        """Run all steps."""
        examples = self.validate()
        features = self.features(examples)
        lesson = TrainingSet(
            features=features,
            blocks=self.engine.blocks,
            labels=tuple(one.label for one in examples),
            groups=tuple(one.group for one in examples),
            ids=tuple(one.clip for one in examples),
            prior=prior_of(self.engine),
            shown=shown_joints([one.person for one in examples]),
        )
        first, active = None, None
        if self.refines:
            first, active = self.first(lesson, examples)
        self.refined(lesson, examples, first, active)
        measured = self.progress.finish()
        self.workplace.storage.dispatch.observe_rates(
            {phase: seconds / self._work.units(phase) for phase, seconds in measured.items()}
        )

    def show(self, phase: str, share: float, step: str, message: str, *, publishing: bool = False) -> None:
        """Check the lease and record the progress; raises if the work should stop."""
        progress, remaining = self.progress.at(phase, share)
        remaining = min(remaining, self.lease.remaining_s)
        self.lease.report_progress(progress, step, message, remaining, publishing=publishing)

    def validate(self) -> list[Example]:
        """Load and prepare the clips.

        Raises:
            JobFailed: If fewer than two labels can be taught.
            TooManyWindows: If the clips are too long together.
            Superseded, TrainingClipsMissing: If a version need not, or cannot be, tuned again.
        """
        self.show("validate", 0.0, "validate", f"reading {self.job.clips} clips")
        require_still_active(self.repository, self.job)
        ids = self.repository.job_clips(self.job.id)
        read: list[str] = []

        def clips() -> Iterator[tuple[str, Clip]]:
            for record, clip in self.repository.load_clips(ids):
                self.show("validate", len(read) / len(ids), "validate", f"reading {self.job.clips} clips")
                read.append(record.id)
                yield record.id, clip

        examples, skipped = build_examples(clips())
        examples = of_one_dimension(examples)
        gone = set(ids) - set(read)
        self.skipped += skipped
        self.skipped += [{"clip": clip, "reason": "it was deleted before the job ran"} for clip in sorted(gone)]
        require_all_labels(self.repository, self.job, (example.label for example in examples))
        labels = {example.label for example in examples if example.label is not None}
        if len(labels) < 2:
            raise JobFailed(
                f"at least 2 labels with a visible clip are needed, there are {len(labels)} (too_few_labels)"
            )
        self.dimension = dimension_of(one.person for one in examples)
        self._work = Work(len(examples), sum(len(one.person.pose) for one in examples))
        self.progress.replan(self._planned())
        self.clock.lap("validate")
        return examples

    def features(self, examples: Sequence[Example]) -> np.ndarray:
        """Frozen features ``(n, F)``, a checkpoint after every few clips."""
        parts: list[np.ndarray] = []
        total = len(examples)
        computed = False
        for start in range(0, total, CHUNK):
            chunk = examples[start : start + CHUNK]
            name, mark = f"features_{start // CHUNK}", fingerprint(chunk, self.engine.backbone_sha256)
            saved = decode_checkpoint(self.repository.load_checkpoint(self.job.id, name), mark)
            if saved is None:
                computed = True
                values = self._chunk_features(chunk, start, total)
                self.repository.save_checkpoint(
                    self.job.id, self.job.token, name, encode_checkpoint(mark, features=values)
                )
                parts.append(values)
            else:
                parts.append(saved["features"])
        if not computed:
            self.progress.skip("features")
        self.clock.lap("features")
        return np.concatenate(parts)

    def _chunk_features(self, chunk: Sequence[Example], start: int, total: int) -> np.ndarray:
        parts = []
        for first in range(0, len(chunk), BATCH):
            done = start + first
            self.show("features", done / total, "features", f"features of clip {done + 1} of {total}")
            people = [one.person for one in chunk[first : first + BATCH]]
            parts.append(self.engine.features(people, BATCH, self.lease.check))
        return np.concatenate(parts)

    def first(self, lesson: TrainingSet, examples: Sequence[Example]) -> tuple[TuningArtifact, int | None]:
        """Tune the default head alone, and publish it where it may become the active version.

        Returns:
            What was tuned, and the number of the first version if it is or was active.
        """
        tuned = self._checkpointed("first", examples, lambda: self._tune_first(lesson, examples))
        if self.job.first_version is not None:  # by an earlier attempt
            self.progress.skip("first")
            return tuned, self.job.first_version
        if not tuned.verdict.activate:
            return tuned, None

        def show(share: float, step: str, message: str) -> None:
            self.show("first", 0.7 + 0.3 * share, step, message)

        record, _ = self.publication.run(tuned, examples, show, first=True, instead_of=self.job.source)
        self.lease.cancellable = True
        self.clock.lap("first version")
        log.info("first version active", version=record.version, seconds=round(self.clock.total, 1))
        return tuned, record.version

    def refined(
        self, lesson: TrainingSet, examples: Sequence[Example], first: TuningArtifact | None, active: int | None
    ) -> None:
        """Tune everything, publish the result where it is not worse than the first version, and end the job."""
        tuned = self._checkpointed("refined", examples, lambda: self._tune_all(lesson, examples, first, active))
        if active is not None and not tuned.data:
            self.lease.check()
            self._finish(active, True, tuned.verdict.reason)
            return

        def show(share: float, step: str, message: str) -> None:
            self.show(self.last_phase, 0.95 + 0.05 * share, step, message, publishing=True)

        instead_of = active if active is not None else self.job.source
        record, activated = self.publication.run(tuned, examples, show, instead_of=instead_of)
        reason = tuned.verdict.reason
        if tuned.verdict.activate and not activated:
            reason = "another version was activated meanwhile"
        self._finish(record.version, activated, reason)

    def _finish(self, version: int, activated: bool, reason: str) -> None:
        self.repository.finish_job(
            self.job.id, self.job.token, JobState.SUCCEEDED, version=version, activated=activated, reason=reason
        )

    def _checkpointed(
        self, name: str, examples: Sequence[Example], make: Callable[[], TuningArtifact]
    ) -> TuningArtifact:
        """What ``make`` tunes, or what an earlier attempt tuned of the same clips."""
        mark = fingerprint(examples, self.engine.backbone_sha256)
        saved = decode_checkpoint(self.repository.load_checkpoint(self.job.id, name), mark)
        if saved is not None:
            self.progress.skip("first" if name == "first" else self.last_phase)
            return TuningArtifact.of(saved)
        tuned = make()
        self.repository.save_checkpoint(self.job.id, self.job.token, name, encode_checkpoint(mark, **tuned.arrays()))
        return tuned

    def _config(self) -> TuneConfig:
        # The parts take what they are given: a third of the job's time each leaves enough for all other steps.
        most = self.lease.max_seconds / 3
        return TuneConfig(
            seed=int(self.job.options.get("seed") or 0),
            module_seconds=min(TuneConfig.module_seconds, most),
            temporal_seconds=min(self.workplace.temporal_seconds, most),
            refusal=float(self.job.options.get("refusal", TuneConfig.refusal)),
        )

    def _tune_first(self, lesson: TrainingSet, examples: Sequence[Example]) -> TuningArtifact:
        kind = default_candidate(tuple(lesson.blocks), lesson.prior).kind
        config = replace(self._config(), kinds=(kind,), temporal_seconds=0.0, module_seconds=0.0)

        def tick(share: float, _message: str) -> None:
            self.show("first", 0.5 * share, "first", "fitting the first version")

        outcome = tune(lesson, config, tick)
        self.show("first", 0.5, "first", "comparing the first version with the active one")
        verdict = self._verdict(lesson, outcome, examples)
        return self._artifact(lesson, outcome, examples, verdict, publish=verdict.activate, first=True)

    def _tune_all(
        self, lesson: TrainingSet, examples: Sequence[Example], first: TuningArtifact | None, active: int | None
    ) -> TuningArtifact:
        config = self._config()
        people = [one.person for one in examples]
        module = PromptModuleTuner(self.engine, people, config.seed, self.lease.check)
        tuners = MemberTuners(
            TemporalTuner(self.engine, people, config.seed, self.lease.check),
            module if len(people) <= MAX_MODULE_CLIPS else None,
        )
        outcome = tune(lesson, config, self._tick, tuners)
        self.clock.lap("tune")
        self.show(self.last_phase, 0.92, "calibrate", "comparing with the active version")
        if first is None or active is None:
            verdict, publish = self._verdict(lesson, outcome, examples), True
        else:
            verdict = compared_with_first(outcome, first.right, active)
            publish = verdict.activate
        self.clock.lap("compare")
        return self._artifact(lesson, outcome, examples, verdict, publish=publish, first=False)

    def _verdict(self, lesson: TrainingSet, outcome: TuningResult, examples: Sequence[Example]) -> ActivationDecision:
        comparison = ActiveVersionComparison(self.workplace, self.repository, self.job, self.lease, examples)
        return comparison.verdict(lesson, outcome)

    def _tick(self, share: float, message: str) -> None:
        step = "choose" if share < 0.8 else "fit" if share < 0.95 else "calibrate"
        self.show(self.last_phase, 0.92 * float(np.interp(share, TUNE_SHARES, TUNE_TIMES)), step, message)

    def _artifact(
        self,
        lesson: TrainingSet,
        outcome: TuningResult,
        examples: Sequence[Example],
        verdict: ActivationDecision,
        *,
        publish: bool,
        first: bool,
    ) -> TuningArtifact:
        """The prompt file with its report and canaries; without a file where nothing is to be published."""
        judged = outcome.judged
        right = np.full(len(lesson.truth), np.nan) if judged is None else judged.right
        rows = canary_rows(examples, CANARIES)
        if not publish:
            return TuningArtifact(b"", {}, rows, np.zeros((0, 0), dtype=np.float32), right, verdict)
        notes = [f"{len(self.skipped)} clips were skipped."] if self.skipped else []
        facts = Facts(
            skipped=tuple(self.skipped),
            durations=self.clock.seconds,
            backbone=self.engine.backbone_sha256,
            seed=int(self.job.options.get("seed") or 0),
            warnings=tuple(notes + ([FIRST_NOTE] if first else [])),
            origin=provenance(self.repository, self.job),
            verdict={"activate": verdict.activate, "reason": verdict.reason},
        )
        report = build_report(lesson, outcome, facts)
        prompt = self._prompt(lesson, outcome, report, first=first)
        logits = self._canary_logits(prompt, lesson, examples, rows)
        if not first:
            self.show(self.last_phase, 0.95, "calibrate", "tuned")
        return TuningArtifact(save_prompt(prompt), report, rows, logits, right, verdict)

    def _prompt(self, lesson: TrainingSet, outcome: TuningResult, report: dict[str, Any], *, first: bool) -> Prompt:
        return Prompt(
            tenant=self.repository.tenant,
            version=self.repository.next_version(self.job.id, self.job.token, first=first),
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
            dimension=self.dimension,
        )

    def _canary_logits(
        self, prompt: Prompt, lesson: TrainingSet, examples: Sequence[Example], rows: np.ndarray
    ) -> np.ndarray:
        """Logits of a few clips by the engine, which must agree with the tuning's own arithmetic."""
        logits = np.stack(self.publication.forward(prompt, examples, rows))
        if not (prompt.has_module or prompt.has_temporal):
            projected = None if lesson.projected is None else lesson.projected[rows]
            own = linear_logits(
                prompt.tensors, lesson.columns(prompt.blocks)[rows], projected, _missing(prompt, lesson, rows)
            )
            if np.abs(own - logits).max() > 10 * CANARY_TOLERANCE * max(1.0, float(np.abs(own).max())):
                raise JobFailed("the engine does not reproduce the logits of the tuning; nothing was published")
        return logits
