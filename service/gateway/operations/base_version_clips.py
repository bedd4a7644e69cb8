"""``base_version``: a tuning that learns on from a version takes along the clips that the version was made of."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

import numpy as np

from service.gateway.operations.clip_intake import labels_of
from service.storage.store import TenantRepository
from skeleton_prompt.clips.clip import Clip, cut_segments


def base_version_clips(
    repository: TenantRepository, version: int, sent: Sequence[Clip]
) -> tuple[list[str], Counter[str], int]:
    """The stored clips that a version was made of; blocks.

    A clip that the request sends again, by its id or by what it shows, is left out: what is sent counts, be it with
    another label, and no clip may stand on both sides of a validation split.

    Args:
        repository: The tenant's.
        version: The version to learn on from.
        sent: The clips of the request.

    Returns:
        Their ids, examples by label, examples of background.

    Raises:
        VersionNotFound: There is no such version.
    """
    job = repository.get_prompt(version).job
    again = {clip.id for clip in sent if clip.id is not None} | {_shown(clip) for clip in sent}
    ids: list[str] = []
    labels: Counter[str] = Counter()
    background = 0
    for record, clip in repository.load_clips(repository.job_clips(job) if job else []):
        if clip.id in again or _shown(clip) in again:
            continue
        ids.append(record.id)
        more, none = labels_of(cut_segments(clip))
        labels += more
        background += none
    return ids, labels, background


def _shown(clip: Clip) -> bytes:
    """A digest of what a clip shows."""
    return hashlib.sha256(np.nan_to_num(clip.positions).tobytes() + clip.confidence.tobytes()).digest()
