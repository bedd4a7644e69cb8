"""What the service counts, for Prometheus. No tenant appears in a label: their number has no bound."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
ROWS = (1, 2, 4, 8, 16, 32)


class Metrics:
    """One set of collectors per application, so that several can live in a process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        prefix = "skeleton_prompt_"
        self.requests = Counter(
            prefix + "requests", "Requests answered", ("method", "route", "status"), registry=self.registry
        )
        self.request_seconds = Histogram(
            prefix + "request_seconds", "Time to answer", ("route",), buckets=SECONDS, registry=self.registry
        )
        self.predictions = Counter(prefix + "predictions", "People predicted", ("known",), registry=self.registry)
        self.prompt_cache = Counter(
            prefix + "prompt_cache", "Where prompts were found", ("layer",), registry=self.registry
        )
        self.batch_rows = Histogram(
            prefix + "batch_rows", "Rows per forward pass", buckets=ROWS, registry=self.registry
        )
        self.forward_seconds = Histogram(
            prefix + "forward_seconds", "Time of a forward pass", buckets=SECONDS, registry=self.registry
        )
        self.engine_starts = Counter(
            prefix + "engine_process_starts", "Engine processes that became ready", registry=self.registry
        )
        self.queue_rows = Gauge(prefix + "queue_rows", "Rows that wait for the engine", registry=self.registry)
        self.jobs_created = Counter(prefix + "jobs_created", "Tuning jobs created", registry=self.registry)
        self.jobs = Gauge(prefix + "jobs", "Jobs not finished, by the database", ("state",), registry=self.registry)
        self.retunes_created = Counter(
            prefix + "retunes_created", "Jobs created to tune again on a new backbone", registry=self.registry
        )
        self.old_backbone_tenants = Gauge(
            prefix + "old_backbone_tenants", "Tenants served on another backbone than this", registry=self.registry
        )
        self.old_backbones_loaded = Gauge(
            prefix + "old_backbones_loaded", "Older backbones in memory", registry=self.registry
        )

    def retuned(self, waiting: int, created: int) -> None:
        """Count a look at tenants on older backbones."""
        self.old_backbone_tenants.set(waiting)
        self.retunes_created.inc(created)

    def unfinished(self, jobs: Mapping[str, int] | None) -> None:
        """Show how many jobs are in each state, or nothing where nobody knows."""
        self.jobs.clear()
        for state, count in (jobs or {}).items():
            self.jobs.labels(state).set(count)

    def batch(self, rows: int, seconds: float) -> None:
        """Count a forward pass."""
        self.batch_rows.observe(rows)
        self.forward_seconds.observe(seconds)

    def page(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self.registry)
