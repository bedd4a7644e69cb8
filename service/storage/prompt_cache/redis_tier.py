"""Redis tier of the prompt cache, and the pub/sub channel for prompt updates; shared by all replicas.

Redis is never authoritative. A value carries the hash of its payload, a key is a hash of the whole address, and if
Redis fails (unreachable, slow, full, flushed, refused by an ACL) the blob store answers. After a failed connection
Redis is not used for a while. Every value expires after a day, so that a server with the policy ``volatile-lru``
evicts prompts and never a job message.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable
from dataclasses import dataclass

import redis
import structlog
from redis.exceptions import NoPermissionError

from service.redis_client import connect, describe_error
from skeleton_prompt.model.prompt_file import PromptRef

log = structlog.get_logger(__name__)

REDIS_TIMEOUT_S = 0.2
REDIS_PAUSE_S = 5.0
REDIS_TTL_S = 24 * 3600
READ_ONLY_S = 600.0  # after the ACL refused a write; roles change seldom
LARGEST_VALUE = 64 * 2**20  # a larger prompt would push hundreds of others out
MAGIC = b"SPP1"
HEADER = len(MAGIC) + 32
CHANNEL = "sp:prompts"


def redis_key(ref: PromptRef) -> str:
    """Redis key of a prompt: a hash of (tenant, version, sha256), so ids cannot collide by construction."""
    address = f"{len(ref.tenant)}:{ref.tenant}:{ref.version}:{ref.sha256}"
    return f"sp:prompt:{hashlib.sha256(address.encode('utf-8', 'surrogatepass')).hexdigest()}"


def redis_client(url: str) -> redis.Redis:
    """A client with a short timeout and no retry: reading the store is faster than waiting for Redis."""
    return connect(url, REDIS_TIMEOUT_S)


def encode_value(data: bytes) -> bytes:
    """Encode a value: magic, SHA-256 of the payload, payload."""
    return MAGIC + hashlib.sha256(data).digest() + data


def decode_value(value: bytes, ref: PromptRef) -> bytes | None:
    """The payload of a value, or None if it is not byte for byte the requested one."""
    header, data = value[:HEADER], value[HEADER:]
    told = bytes.fromhex(ref.sha256)
    if header != MAGIC + told or hashlib.sha256(data).digest() != told:
        return None
    return data


@dataclass(frozen=True)
class PromptEvent:
    """Channel message: a published version, or an erased tenant."""

    tenant: str
    ref: PromptRef | None = None

    def encoded(self) -> str:
        """Encode for sending."""
        version = [self.ref.version, self.ref.sha256] if self.ref else None
        return json.dumps({"tenant": self.tenant, "published": version})

    @classmethod
    def decoded(cls, data: bytes | str) -> PromptEvent:
        """Decode a message.

        Raises:
            ValueError: Not a valid message.
        """
        try:
            document = json.loads(data)
            tenant, published = document["tenant"], document["published"]
            if published is None:
                return cls(str(tenant))
            version, sha256 = published
            if len(bytes.fromhex(sha256)) != 32:
                raise ValueError(sha256)
            return cls(str(tenant), PromptRef(str(tenant), int(version), str(sha256)))
        except (KeyError, TypeError, RecursionError, UnicodeDecodeError, ValueError) as error:
            raise ValueError(f"not a message about prompts: {type(error).__name__}") from None


class RedisPromptCache:
    """Redis tier of the prompt cache. Thread-safe; Redis errors are never raised.

    Args:
        client: Redis, or None for a tier that is always empty.
    """

    def __init__(self, client: redis.Redis | None) -> None:
        self._redis = client
        self._again = 0.0
        self._writable_again = 0.0

    def get(self, ref: PromptRef) -> bytes | None:
        """The file of a prompt if present and intact."""
        if self._redis is None or time.monotonic() < self._again:
            return None
        try:
            value = self._redis.get(redis_key(ref))
        except redis.RedisError as error:
            self._failed(error)
            return None
        if value is None:
            return None
        data = decode_value(bytes(value), ref)  # type: ignore[arg-type, unused-ignore]
        if data is None:
            log.warning("a cached prompt is damaged; the store has it", key=redis_key(ref))
        return data

    def put(self, ref: PromptRef, data: bytes) -> bool:
        """Store a prompt file for a day; returns whether that succeeded. Not retried where the ACL is read-only."""
        now = time.monotonic()
        if self._redis is None or now < max(self._again, self._writable_again) or len(data) > LARGEST_VALUE:
            return False
        try:
            self._redis.set(redis_key(ref), encode_value(data), ex=REDIS_TTL_S)
        except NoPermissionError:
            self._writable_again = now + READ_ONLY_S
            log.info("this role may read prompts in Redis and not write them")
            return False
        except redis.RedisError as error:
            self._failed(error)
            return False
        return True

    def delete(self, refs: Iterable[PromptRef]) -> None:
        """Delete prompts; on failure they expire after a day."""
        keys = [redis_key(ref) for ref in refs]
        if not keys or self._redis is None:
            return
        try:
            self._redis.delete(*keys)
        except redis.RedisError as error:
            self._failed(error)

    def announce(self, news: PromptEvent) -> None:
        """Publish an event. A lost message costs one load from the store, or one unused entry."""
        if self._redis is None or time.monotonic() < self._again:
            return
        try:
            self._redis.publish(CHANNEL, news.encoded())
        except redis.RedisError as error:
            self._failed(error)

    def publish(self, ref: PromptRef, data: bytes) -> None:
        """Store a version and announce it; workers call this before activation."""
        self.put(ref, data)
        self.announce(PromptEvent(ref.tenant, ref))

    def _failed(self, error: redis.RedisError) -> None:
        """Suspend use of Redis for a while; errors about a single key do not count."""
        if isinstance(error, redis.ConnectionError | redis.TimeoutError):
            self._again = time.monotonic() + REDIS_PAUSE_S
        log.warning("Redis does not serve prompts; the store does", error=describe_error(error))
