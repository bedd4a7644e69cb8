"""Prompts close at hand: memory, then Redis, then the blob store.

An entry is known by (tenant, version, sha256) and every byte string from outside is hashed before it is used, so a
cache can be slow or empty but never wrong. Redis may be away, slow, full or hold anything under our keys: whatever
happens, the store answers, and after a failure Redis is left alone for a while.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Literal

import redis
import structlog
from redis.backoff import NoBackoff
from redis.retry import Retry

from service.errors import BackboneMismatch, EngineUnavailable, VersionNotFound
from service.settings import Settings
from service.storage import Storage
from service.storage.base import prompt_blob
from service.storage.blobs import BlobStore
from skeleton_prompt import bundle
from skeleton_prompt.bundle import BadPrompt, Prompt, PromptRef, digest, load_prompt

log = structlog.get_logger(__name__)

Layer = Literal["memory", "redis", "store"]
Loader = Callable[[bytes, PromptRef], Prompt]
REDIS_TIMEOUT_S = 0.2
REDIS_PAUSE_S = 5.0
REDIS_TTL_S = 24 * 3600


def plain_loader(data: bytes, ref: PromptRef) -> Prompt:
    """Read a prompt and check that it is the one asked for; which backbone it fits is the engine's to say."""
    prompt = load_prompt(data, sha256=ref.sha256)
    if (prompt.tenant, prompt.version) != (ref.tenant, ref.version):
        raise BadPrompt("the prompt file belongs to another tenant or version")
    return prompt


def redis_key(ref: PromptRef) -> str:
    """The key of a prompt: a hash of all of its address, so no tenant id can be made to look like another's."""
    address = f"{len(ref.tenant)}:{ref.tenant}:{ref.version}:{ref.sha256}"
    return f"sp:prompt:{hashlib.sha256(address.encode()).hexdigest()}"


def redis_client(url: str) -> redis.Redis:
    """A client that gives up soon and tries once: the store is quicker than a Redis that has to be waited for."""
    timeouts = {"socket_timeout": REDIS_TIMEOUT_S, "socket_connect_timeout": REDIS_TIMEOUT_S}
    return redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0), **timeouts)


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
        self._redis = client
        self._max_entries, self._max_bytes, self._loader = max_entries, max_bytes, loader
        self._entries: OrderedDict[PromptRef, Prompt] = OrderedDict()
        self._bytes = 0
        self._loading: dict[PromptRef, Future[tuple[Prompt, Layer]]] = {}
        self._lock = threading.Lock()
        self._redis_again = 0.0

    @classmethod
    def of(cls, settings: Settings, storage: Storage) -> PromptCache:
        """The cache that the settings describe."""
        return cls.over(settings, storage.blobs)

    @classmethod
    def over(cls, settings: Settings, blobs: BlobStore) -> PromptCache:
        """The cache that the settings describe, where there is no database."""
        client = None
        if settings.redis_url:
            client = redis_client(settings.redis_url)
        return cls(blobs, client, max_entries=settings.prompt_cache_entries, max_bytes=settings.prompt_cache_bytes)

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
            self._keep(ref, found[0])
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
        if refs and self._redis is not None:
            try:
                self._redis.delete(*map(redis_key, refs))
            except redis.RedisError as error:
                self._pause(error)

    def forget(self, tenant: str) -> int:
        """Drop a tenant's prompts from memory; how many."""
        with self._lock:
            mine = [ref for ref in self._entries if ref.tenant == tenant]
            for ref in mine:
                self._bytes -= self._entries.pop(ref).nbytes
        return len(mine)

    def _keep(self, ref: PromptRef, prompt: Prompt) -> None:
        with self._lock:
            self._entries[ref] = prompt
            self._bytes += prompt.nbytes
            while len(self._entries) > 1 and (len(self._entries) > self._max_entries or self._bytes > self._max_bytes):
                _, old = self._entries.popitem(last=False)
                self._bytes -= old.nbytes

    def _load(self, ref: PromptRef) -> tuple[Prompt, Layer]:
        data = self._from_redis(ref)
        if data is not None:
            try:
                return self._loader(data, ref), "redis"
            except bundle.BackboneMismatch as error:
                raise BackboneMismatch(str(error)) from error
            except BadPrompt as error:
                log.warning("a cached prompt is damaged; the store has it", ref=redis_key(ref), error=str(error))
        try:
            data = self._blobs.read(prompt_blob(ref))
        except FileNotFoundError:
            raise VersionNotFound("There is no such version.") from None
        try:
            prompt = self._loader(data, ref)
        except bundle.BackboneMismatch as error:
            raise BackboneMismatch(str(error)) from error
        except BadPrompt as error:
            log.error("a prompt file is damaged", version=ref.version, error=str(error))
            raise EngineUnavailable(f"The file of version {ref.version} is damaged.", retry_after=60.0) from error
        self._to_redis(ref, data)
        return prompt, "store"

    def _from_redis(self, ref: PromptRef) -> bytes | None:
        if self._redis is None or time.monotonic() < self._redis_again:
            return None
        try:
            data = self._redis.get(redis_key(ref))
        except redis.RedisError as error:
            self._pause(error)
            return None
        if not isinstance(data, bytes) or digest(data) != ref.sha256:
            return None
        return data

    def _to_redis(self, ref: PromptRef, data: bytes) -> None:
        if self._redis is None or time.monotonic() < self._redis_again:
            return
        try:
            self._redis.set(redis_key(ref), data, ex=REDIS_TTL_S)
        except redis.RedisError as error:
            self._pause(error)

    def _pause(self, error: redis.RedisError) -> None:
        """Leave Redis alone for a while; what it refuses about one key alone is no reason to."""
        if isinstance(error, redis.ConnectionError | redis.TimeoutError):
            self._redis_again = time.monotonic() + REDIS_PAUSE_S
        log.warning("Redis does not serve prompts; the store does", error=str(error))
