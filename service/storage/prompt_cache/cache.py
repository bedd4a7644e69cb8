"""Prompts close at hand: memory, then Redis, then the blob store.

An entry is known by (tenant, version, sha256) and every byte string from outside is hashed before it is used, so a
cache can be slow or empty but never wrong. Redis may be away, slow, full or hold anything under our keys: whatever
happens, the store answers, and after a failure Redis is left alone for a while.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import redis
import structlog

from service.errors import BackboneMismatch, EngineUnavailable, VersionNotFound
from service.settings import Settings
from service.storage.blobs.filesystem import BlobStore
from service.storage.blobs.paths import prompt_blob
from service.storage.prompt_cache.redis_tier import PromptEvent, RedisPromptCache, redis_client, redis_key
from skeleton_prompt.model import prompt_file
from skeleton_prompt.model.prompt_file import BadPrompt, Prompt, PromptRef, load_prompt

if TYPE_CHECKING:
    from service.storage.store import Storage

log = structlog.get_logger(__name__)

Layer = Literal["memory", "redis", "store"]
Loader = Callable[[bytes, PromptRef], Prompt]


def plain_loader(data: bytes, ref: PromptRef) -> Prompt:
    """Read a prompt and check that it is the one asked for; which backbone it fits is the engine's to say."""
    prompt = load_prompt(data, sha256=ref.sha256)
    if (prompt.tenant, prompt.version) != (ref.tenant, ref.version):
        raise BadPrompt("the prompt file belongs to another tenant or version")
    return prompt


@dataclass(frozen=True)
class EngineStats:
    """Figures of an engine and its prompt cache since its process began.

    Attributes:
        prompts: Prompts in memory.
        prompt_bytes: Their bytes.
        loads: Prompts brought into memory, by the layer they came from.
        evictions: Prompts that made room for others.
        old_backbones: Models of older backbones in memory.
        late: Rows not computed because their deadline had passed; None where this is not counted.
    """

    prompts: int = 0
    prompt_bytes: int = 0
    loads: Mapping[str, int] = field(default_factory=dict)
    evictions: int = 0
    old_backbones: int = 0
    late: int | None = None


class PromptCache:
    """Gives prompts to the engine; safe to use from many threads.

    A prompt that was given out stays whole for as long as somebody holds it, whether or not it is still cached.

    Args:
        blobs: The store.
        client: Redis, or None.
        max_entries: Most prompts in memory.
        max_bytes: Most bytes of prompts in memory.
        loader: From bytes to a prompt.
    """

    def __init__(
        self,
        blobs: BlobStore,
        client: redis.Redis | None,
        *,
        max_entries: int = 1024,
        max_bytes: int = 512 * 2**20,
        loader: Loader = plain_loader,
    ) -> None:
        self._blobs = blobs
        self._hot = RedisPromptCache(client)
        self._max_entries, self._max_bytes, self._loader = max_entries, max_bytes, loader
        self._entries: OrderedDict[PromptRef, Prompt] = OrderedDict()
        self._bytes = 0
        self._loading: dict[PromptRef, Future[tuple[Prompt, Layer]]] = {}
        self._lock = threading.Lock()
        self._loads: Counter[str] = Counter()
        self._evictions = 0

    @classmethod
    def of(cls, settings: Settings, storage: Storage) -> PromptCache:
        """The cache that the settings describe."""
        return cls.over(settings, storage.blobs)

    @classmethod
    def over(cls, settings: Settings, blobs: BlobStore) -> PromptCache:
        """The cache that the settings describe, where there is no database."""
        client = None
        if settings.redis_address:
            client = redis_client(settings.redis_address)
        return cls(blobs, client, max_entries=settings.prompt_cache_entries, max_bytes=settings.prompt_cache_bytes)

    def stats(self, *, old_backbones: int = 0, late: int | None = None) -> EngineStats:
        """Figures of the cache, beside those that the engine gives of itself."""
        with self._lock:
            return EngineStats(
                len(self._entries), self._bytes, dict(self._loads), self._evictions, old_backbones, late
            )  # fmt: skip

    def get(self, ref: PromptRef) -> tuple[Prompt, Layer]:
        """A prompt and where it was found. Threads that want the same one at once load it once.

        Raises:
            VersionNotFound: Its file is not there.
            EngineUnavailable: Its file is damaged.
            BackboneMismatch: It was made for another backbone.
            StorageUnavailable: The store does not answer.
        """
        with self._lock:
            prompt = self._entries.get(ref)
            if prompt is not None:
                self._entries.move_to_end(ref)
                return prompt, "memory"
            waiting = self._loading.get(ref)
            mine: Future[tuple[Prompt, Layer]] = Future()
            if waiting is None:
                self._loading[ref] = mine
        if waiting is not None:
            return waiting.result()
        try:
            found = self._load(ref)
        except BaseException as error:
            mine.set_exception(error)
            raise
        else:
            self._keep(ref, *found)
            mine.set_result(found)
            return found
        finally:
            with self._lock:
                del self._loading[ref]

    def peek(self, ref: PromptRef) -> Prompt | None:
        """A prompt, if it is in memory; never waits for anything."""
        with self._lock:
            prompt = self._entries.get(ref)
            if prompt is not None:
                self._entries.move_to_end(ref)
            return prompt

    def erase(self, refs: Iterable[PromptRef]) -> None:
        """Drop prompts from memory and, if it can be reached, from Redis; there they would end after a day anyway."""
        refs = list(refs)
        with self._lock:
            for ref in refs:
                prompt = self._entries.pop(ref, None)
                self._bytes -= prompt.nbytes if prompt is not None else 0
        self._hot.delete(refs)

    def announce_erased(self, tenant: str) -> None:
        """Tell other replicas, as far as they hear it, to drop a tenant's prompts from their memory."""
        self._hot.announce(PromptEvent(tenant))

    def on_event(self, news: PromptEvent) -> None:
        """Load a version that was just published, where this tenant is known here or there is room to spare.

        A tenant that never asks this replica should not push out one that does.

        Raises:
            ServiceError: It cannot be loaded.
        """
        if news.ref is None:
            self.forget(news.tenant)
        elif self._wants(news.ref):
            self.get(news.ref)

    def _wants(self, ref: PromptRef) -> bool:
        with self._lock:
            room = 2 * len(self._entries) < self._max_entries and 2 * self._bytes < self._max_bytes
            return ref not in self._entries and (room or any(known.tenant == ref.tenant for known in self._entries))

    def forget(self, tenant: str) -> int:
        """Drop a tenant's prompts from memory; how many."""
        with self._lock:
            mine = [ref for ref in self._entries if ref.tenant == tenant]
            for ref in mine:
                self._bytes -= self._entries.pop(ref).nbytes
        return len(mine)

    def _keep(self, ref: PromptRef, prompt: Prompt, layer: Layer) -> None:
        with self._lock:
            self._loads[layer] += 1
            self._entries[ref] = prompt
            self._bytes += prompt.nbytes
            while len(self._entries) > 1 and (len(self._entries) > self._max_entries or self._bytes > self._max_bytes):
                _, old = self._entries.popitem(last=False)
                self._evictions += 1
                self._bytes -= old.nbytes

    def _load(self, ref: PromptRef) -> tuple[Prompt, Layer]:
        data = self._hot.get(ref)
        if data is not None:
            try:
                return self._loader(data, ref), "redis"
            except prompt_file.BackboneMismatch as error:
                raise BackboneMismatch(str(error)) from error
            except BadPrompt as error:
                log.warning("a cached prompt is damaged; the store has it", ref=redis_key(ref), error=str(error))
        try:
            data = self._blobs.read(prompt_blob(ref))
        except FileNotFoundError:
            raise VersionNotFound("There is no such version.") from None
        try:
            prompt = self._loader(data, ref)
        except prompt_file.BackboneMismatch as error:
            raise BackboneMismatch(str(error)) from error
        except BadPrompt as error:
            log.error("a prompt file is damaged", version=ref.version, error=str(error))
            raise EngineUnavailable(f"The file of version {ref.version} is damaged.", retry_after=60.0) from error
        self._hot.put(ref, data)
        return prompt, "store"
