"""The training worker: takes job messages off Redis and runs one job at a time.

Started with ``python -m training.jobs.worker`` or ``skeleton-prompt worker``, any number of times on any number of
machines.
The jobs table decides who may run what; a message only says that it is worth a look, so one too many does no harm.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
import threading
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from service.backbone_loader import old_engine
from service.jobs.queue import ACTOR, QUEUE, UPGRADE, make_broker
from service.logs import configure_logging
from service.process.cores import background_threads
from service.process.heartbeat import Heartbeat
from service.settings import Settings
from service.storage.prompt_cache.redis_tier import RedisPromptCache, redis_client
from service.storage.sql.postgres import DatabaseUnusable
from service.storage.store import Storage
from skeleton_prompt.model.backbone import parse_backbone
from skeleton_prompt.model.backbone_files import backbone_path
from skeleton_prompt.model.engine import Engine
from training.jobs.context import WorkerContext
from training.jobs.metrics import WorkerMetrics
from training.jobs.run import run_next

if TYPE_CHECKING:
    import dramatiq

log = structlog.get_logger(__name__)

NICENESS = 5  # predictions on the same machine go first
GRACE_S = 20.0  # for the job in hand to notice that it should stop


POLL_MS = 200  # longest pause between two looks into an empty queue; a user waits for the first version
STUCK = 75  # exit status of a worker whose job did not stop at its limit


class NoQueue(RuntimeError):
    """There is no Redis to take jobs from."""


def declare_actor(broker: dramatiq.Broker, workplace: WorkerContext, counters: WorkerMetrics | None = None) -> None:
    """Make the actors that messages name; what they raise is logged by ``run_job`` and never retried by the broker."""
    import dramatiq

    def tune(tenant: str, job_id: str) -> None:
        work = partial(run_next, workplace, tenant, job_id)
        counters.count(work) if counters else work()

    # Of the messages that a worker has fetched, those of a lower number go first: tenants before new backbones.
    for actor, queue, priority in ((ACTOR, QUEUE, 0), (UPGRADE, UPGRADE, 10)):
        declare = dramatiq.actor(
            broker=broker,
            actor_name=actor,
            queue_name=queue,
            priority=priority,
            max_retries=0,
            time_limit=int((workplace.max_seconds + 60) * 1000),
        )
        declare(tune)


def main(settings: Settings | None = None, heartbeat: Path | None = None) -> None:
    """Work until SIGTERM or Ctrl-C; a running job is then given back at its next step.

    Args:
        settings: Of the service; by default from the environment.
        heartbeat: A file to touch every second, for a supervisor that replaces workers that hang.

    Raises:
        NoQueue: If no Redis is set.
        DatabaseUnusable: If the database cannot be used.
    """
    import dramatiq

    settings = (settings or Settings()).resolved()
    configure_logging(settings.log_level, as_json=settings.log_json)
    address = settings.redis_address
    if address is None:
        raise NoQueue("a worker takes its jobs from Redis: set SKELETON_PROMPT_REDIS_URL, or run skeleton-prompt serve")
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    os.nice(NICENESS)
    if heartbeat is not None:
        Heartbeat(heartbeat).start()
    name = f"{socket.gethostname()}:{os.getpid()}"
    storage = Storage.open(settings)
    try:
        # It may be the first process here: gateways and workers of several machines start in any order.
        storage.prepare(settings.database_wait_seconds, stopping.wait)
        # One core is left to predictions; threads that fight over a core cost far more than they bring.
        data = backbone_path(settings.backbone).read_bytes()
        engine = Engine(parse_backbone(data, settings.backbone), threads=background_threads())
        workplace = WorkerContext(
            storage=storage,
            engine=engine,
            name=name,
            lease_s=settings.job_lease_seconds,
            max_seconds=settings.tune_max_seconds,
            temporal_seconds=settings.temporal_tuning_seconds,
            stopping=stopping,
            old_engine=lru_cache(1)(partial(old_engine, storage)),
            # By value: an upgrade under a running worker changes the file, not what its prompts are made on.
            keep_backbone=partial(storage.backbones.store, data),
            on_published=RedisPromptCache(redis_client(address)).publish,
            abandon=partial(os._exit, STUCK),
        )
        broker = make_broker(address)
        counters = WorkerMetrics()
        if settings.worker_metrics_port is not None:
            counters.serve(settings.host, settings.worker_metrics_port)
        declare_actor(broker, workplace, counters)
        worker = dramatiq.Worker(broker, worker_threads=1, worker_timeout=POLL_MS)
        worker.queue_prefetch = 1  # else one worker hoards messages while another idles
        worker.start()
        log.info("worker ready", worker=name, backbone=engine.backbone_sha256[:12])
        stopping.wait()
        log.info("worker stopping")
        worker.stop(timeout=int(GRACE_S * 1000))
        broker.close()
    finally:
        storage.close()
    log.info("worker stopped")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Run one training worker.")
    parser.add_argument("--heartbeat", type=Path, default=None, help="file to touch every second")
    try:
        main(heartbeat=parser.parse_args().heartbeat)
    except DatabaseUnusable as error:
        sys.exit(f"error  {error}")
