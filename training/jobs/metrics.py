"""What a training worker counts, for Prometheus, on a port of its own: it serves nothing else over HTTP."""

from __future__ import annotations

import time
from collections.abc import Callable
from wsgiref.simple_server import WSGIServer

import structlog
from prometheus_client import CollectorRegistry, Gauge, Histogram, start_http_server

log = structlog.get_logger(__name__)

SECONDS = (1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 60.0, 120.0, 300.0, 900.0)


class WorkerMetrics:
    """Jobs of one worker: how long their attempts took and how they ended."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.seconds = Histogram(
            "skeleton_prompt_job_duration_seconds",
            "Time of an attempt at a job",
            ("outcome",),
            buckets=SECONDS,
            registry=self.registry,
        )
        self.busy = Gauge("skeleton_prompt_worker_busy", "Whether the worker has a job", registry=self.registry)
        self._server: WSGIServer | None = None

    def count(self, work: Callable[[], str]) -> None:
        """Do the work and count it, unless it was refused: then somebody else has the job or it is done.

        Args:
            work: Runs a job; what ``run_job`` gives back.
        """
        began = time.monotonic()
        with self.busy.track_inprogress():
            outcome = work()
        if outcome != "refused":
            self.seconds.labels(outcome).observe(time.monotonic() - began)

    def serve(self, host: str, port: int) -> None:
        """Show the counters on a port, from a thread; a port that is taken leaves the worker without them."""
        try:
            self._server, _ = start_http_server(port, addr=host, registry=self.registry)
        except OSError as error:
            log.warning("the worker's metrics cannot be shown", host=host, port=port, error=str(error))

    def close(self) -> None:
        """Give the port back."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
