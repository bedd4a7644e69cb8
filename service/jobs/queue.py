"""Job messages: dramatiq on Redis. A message is only a hint that a row waits; the row in SQL is the truth.

The service sends by the actor's name and never imports ``training``.
"""

from __future__ import annotations

import dramatiq
import redis
import structlog
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import AgeLimit, Retries, ShutdownNotifications, TimeLimit

from service.redis_client import connect, describe_error
from service.storage.records import JobKind

log = structlog.get_logger(__name__)

QUEUE = "tune"
ACTOR = "tune"
UPGRADE = "retune"  # queue and actor of jobs that nobody asked for: a worker takes them where no other job waits
SOCKET_TIMEOUT_S = 5.0
SEND_TIMEOUT_S = 1.0  # a request waits for this; what is not sent by then the sweeper sends
DAY_MS = 24 * 3600 * 1000


def make_broker(redis_url: str, timeout_s: float = SOCKET_TIMEOUT_S, *, sends_only: bool = False) -> RedisBroker:
    """The broker, for senders and workers alike.

    A killed worker's message is sent again after 5 s (dramatiq's own defaults take about two minutes); attempts are
    counted by the jobs table, so nothing is retried here.

    Args:
        redis_url: Where the messages go, as ``Settings.redis_address`` gives it.
        timeout_s: Longest wait for Redis.
        sends_only: Leave what dead workers held to the workers, so that a sender needs few rights.
    """
    middleware = [AgeLimit(), TimeLimit(time_limit=DAY_MS), ShutdownNotifications(), Retries(max_retries=0)]
    # A client of our own: given a URL, the broker drops the timeouts, and a Redis that hangs would hang us, too.
    client = connect(redis_url, timeout_s)
    broker = RedisBroker(  # type: ignore[no-untyped-call]
        client=client,
        namespace="sp:jobs",
        heartbeat_timeout=5000,
        maintenance_chance=0 if sends_only else 1_000_000,
        middleware=middleware,
    )
    broker.declare_queue(QUEUE)
    broker.declare_queue(UPGRADE)
    return broker


class JobQueue:
    """Tells workers about jobs.

    Args:
        redis_url: Where the messages go; None sends nothing.
    """

    def __init__(self, redis_url: str | None) -> None:
        self._broker = make_broker(redis_url, SEND_TIMEOUT_S, sends_only=True) if redis_url else None

    def send(self, tenant: str, job_id: str, kind: JobKind = JobKind.TUNE) -> bool:
        """Send a job's message; whether it went out. If not, the sweeper will try again."""
        if self._broker is None:
            return False
        queue, actor = (UPGRADE, UPGRADE) if kind is JobKind.BACKBONE_UPGRADE else (QUEUE, ACTOR)
        message: dramatiq.Message[None] = dramatiq.Message(
            queue_name=queue, actor_name=actor, args=(tenant, job_id), kwargs={}, options={}
        )
        try:
            self._broker.enqueue(message)
        except (redis.RedisError, dramatiq.errors.BrokerError) as error:
            log.warning("the job's message waits for Redis", job=job_id, error=describe_error(error))
            return False
        return True

    def close(self) -> None:
        """Close the connections."""
        if self._broker is not None:
            self._broker.close()
            self._broker.client.close()
