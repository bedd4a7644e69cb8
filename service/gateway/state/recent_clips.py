"""The clips predicted lately, so that a correction may name a request instead of sending its clip again."""

from __future__ import annotations

import threading
from collections import OrderedDict

from skeleton_prompt.clips.clip import Clip

MAX_CLIPS = 1024
MAX_BYTES = 32 << 20


class RecentClips:
    """Clips by tenant and request id; bounded, in memory only, gone with the process."""

    def __init__(self) -> None:
        self._clips: OrderedDict[tuple[str, str], Clip] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def add(self, tenant: str, request_id: str, clip: Clip) -> None:
        """Remember a clip, and forget the oldest ones where there is no room."""
        with self._lock:
            self._drop((tenant, request_id))
            self._clips[tenant, request_id] = clip
            self._bytes += _size(clip)
            while len(self._clips) > MAX_CLIPS or self._bytes > MAX_BYTES:
                self._drop(next(iter(self._clips)))

    def get(self, tenant: str, request_id: str) -> Clip | None:
        """The clip of a request of this tenant, if it is still remembered."""
        with self._lock:
            return self._clips.get((tenant, request_id))

    def forget(self, tenant: str) -> None:
        """Drop everything of a tenant."""
        with self._lock:
            for key in [key for key in self._clips if key[0] == tenant]:
                self._drop(key)

    def _drop(self, key: tuple[str, str]) -> None:
        clip = self._clips.pop(key, None)
        if clip is not None:
            self._bytes -= _size(clip)


def _size(clip: Clip) -> int:
    return clip.positions.nbytes + clip.confidence.nbytes
