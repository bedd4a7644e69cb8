"""What a prompt cache has done, as numbers: for the metrics, whether the cache is the gateway's or TorchServe's."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from service.settings import Settings
from service.storage.blobs.filesystem import BlobStore
from service.storage.prompt_cache.cache import Layer, PromptCache
from skeleton_prompt.model.prompt_file import Prompt, PromptRef


@dataclass(frozen=True)
class EngineStats:
    """An engine at one moment, and what it did since its process began.

    Attributes:
        prompts: Prompts in memory.
        prompt_bytes: Their bytes.
        loads: Prompts brought into memory, by the layer they came from.
        evictions: Prompts that made room for others.
        old_backbones: Models of older backbones in memory.
        late: Rows that were not computed, because nobody waited for them any more; None where this is not counted.
    """

    prompts: int = 0
    prompt_bytes: int = 0
    loads: Mapping[str, int] = field(default_factory=dict)
    evictions: int = 0
    old_backbones: int = 0
    late: int | None = None


class CountedPromptCache(PromptCache):
    """The prompt cache, which also counts what it loads and what it lets go."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._counting = threading.Lock()
        self._loads: Counter[str] = Counter()
        self._evictions = 0

    @classmethod
    def over(cls, settings: Settings, blobs: BlobStore) -> CountedPromptCache:
        """The cache that the settings describe, where there is no database."""
        cache = super().over(settings, blobs)
        assert isinstance(cache, cls)  # noqa: S101  # it is made by calling `cls`
        return cache

    def stats(self, *, old_backbones: int = 0, late: int | None = None) -> EngineStats:
        """How it stands, beside what the engine says of itself."""
        with self._counting:
            loads, evictions = dict(self._loads), self._evictions
        with self._lock:
            return EngineStats(len(self._entries), self._bytes, loads, evictions, old_backbones, late)

    def _load(self, ref: PromptRef) -> tuple[Prompt, Layer]:
        found = super()._load(ref)
        with self._counting:
            self._loads[found[1]] += 1
        return found

    def _keep(self, ref: PromptRef, prompt: Prompt) -> None:
        with self._counting:  # so that what another thread keeps meanwhile does not look like fewer evictions
            before = len(self._entries) + (ref not in self._entries)
            super()._keep(ref, prompt)
            self._evictions += max(0, before - len(self._entries))
