"""Tuning a version again because the backbone is new: from the same lesson, and only as long as it is wanted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from service.errors import NotFound
from service.storage.records import JobKind

if TYPE_CHECKING:
    from service.storage.records import JobRecord
    from service.storage.store import TenantRepository


class Superseded(Exception):
    """The tenant did something else meanwhile, which counts for more; the message says what."""


class TrainingClipsMissing(Exception):
    """The clips that a version was made of are not there any more; the message is for the tenant."""


def require_still_active(repository: TenantRepository, job: JobRecord) -> None:
    """Whether the version is still the one that predicts; nothing to check for a job that a tenant asked for.

    Raises:
        Superseded: Another one does, or none.
    """
    if job.kind is not JobKind.BACKBONE_UPGRADE:
        return
    active = repository.active_prompt()
    # The job's own version is active where an attempt died between activating it and saying so.
    if active is None or active.version not in (job.source, job.version):
        now = "no version is" if active is None else f"version {active.version} is"
        raise Superseded(f"{now} active by now, not version {job.source} that was to be tuned again")


def require_all_labels(repository: TenantRepository, job: JobRecord, labels: Iterable[str | None]) -> None:
    """Whether everything that the version tells apart can be taught again.

    Args:
        repository: The tenant's.
        job: The job.
        labels: Of the clips that are still stored; None is background.

    Raises:
        TrainingClipsMissing: Of some label no clip is left.
    """
    if job.kind is not JobKind.BACKBONE_UPGRADE or job.source is None:
        return
    there = set(labels)
    missing = [repr(label) for label in repository.get_prompt(job.source).labels if label not in there]
    if (repository.get_report(job.source).get("data") or {}).get("background") and None not in there:
        missing.append("background")
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise TrainingClipsMissing(
            f"version {job.source} cannot be tuned again for the new backbone: no clip is stored any more of "
            f"{', '.join(missing[:5])}{more}. It goes on predicting on the backbone it was made on; to move on, send "
            "clips of all labels to tune"
        )


def provenance(repository: TenantRepository, job: JobRecord) -> dict[str, Any]:
    """Where a version comes from, for its report."""
    base = job.options.get("base_version")
    try:
        before = repository.get_prompt(int(base)) if base is not None else None
        clips = repository.job_clips(before.job) if before is not None and before.job else []
    except NotFound:  # deleted since the job was made
        before, clips = None, []
    if before is None:
        return {"kind": job.kind.value}
    taken = len(set(clips) & set(repository.job_clips(job.id)))
    again = f"The backbone is new: version {before.version} was tuned again from its own clips."
    on = f"Learnt on from version {before.version}, with {taken} of its {len(clips)} clips."
    return {
        "kind": job.kind.value,
        "base_version": before.version,
        "base_backbone_sha256": before.backbone_sha256,
        "why": again if job.kind is JobKind.BACKBONE_UPGRADE else on,
    }
