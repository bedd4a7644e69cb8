"""Prometheus metrics of the gateway. No label names a tenant: their number is unbounded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
ROWS = (1, 2, 4, 8, 16, 32)
PREFIX = "skeleton_prompt_"
# Metrics of 0.1 by their names today; both names are exposed until 0.3, for dashboards and alerts made before.
RENAMED = {
    "http_requests": "requests",
    "http_request_duration_seconds": "request_seconds",
    "prompt_cache_lookups": "prompt_cache",
    "batch_size": "batch_rows",
    "forward_duration_seconds": "forward_seconds",
    "queue_depth": "queue_rows",
    "jobs_unfinished": "jobs",
    "backbone_upgrade_jobs_created": "retunes_created",
    "tenants_on_old_backbone": "old_backbone_tenants",
    "engine_requests": "engine_rows",
    "engine_retries": "engine_rows_resent",
    "engine_request_duration_seconds": "engine_seconds",
    "engine_queue_wait_seconds": "engine_queue_seconds",
    "engine_expired_rows": "engine_late_rows",
    "engine_prompt_cache_entries": "engine_prompts",
    "engine_prompt_cache_bytes": "engine_prompt_bytes",
    "engine_info": "engine_backbone",
    "job_duration_seconds": "job_seconds",
}


class WithOldNames:
    """A registry whose renamed metrics are exposed under their old names too.

    Args:
        registry: The registry that is read.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        """All metric families, each renamed one followed by its copy under the old name."""
        for family in self._registry.collect():
            yield family
            old = RENAMED.get(family.name.removeprefix(PREFIX))
            if old is not None:
                copy = Metric(PREFIX + old, f"Old name of {family.name}.", family.type, family.unit)
                copy.samples = [
                    sample._replace(name=sample.name.replace(family.name, copy.name, 1)) for sample in family.samples
                ]
                yield copy


class Metrics:
    """One set of collectors per application, so that several can live in a process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        prefix = PREFIX
        self.http_requests = Counter(
            prefix + "http_requests", "Requests answered", ("method", "route", "status"), registry=self.registry
        )
        self.http_request_duration_seconds = Histogram(
            prefix + "http_request_duration_seconds",
            "Time to answer",
            ("route",),
            buckets=SECONDS,
            registry=self.registry,
        )
        self.predictions = Counter(prefix + "predictions", "People predicted", ("known",), registry=self.registry)
        self.prompt_cache_lookups = Counter(
            prefix + "prompt_cache_lookups", "Where prompts were found", ("layer",), registry=self.registry
        )
        self.batch_size = Histogram(
            prefix + "batch_size", "Rows per forward pass", buckets=ROWS, registry=self.registry
        )
        self.forward_duration_seconds = Histogram(
            prefix + "forward_duration_seconds", "Time of a forward pass", buckets=SECONDS, registry=self.registry
        )
        self.engine_starts = Counter(
            prefix + "engine_process_starts", "Engine processes that became ready", registry=self.registry
        )
        self.queue_depth = Gauge(prefix + "queue_depth", "Rows waiting for the engine", registry=self.registry)
        self.jobs_created = Counter(prefix + "jobs_created", "Tuning jobs created", registry=self.registry)
        self.jobs_unfinished = Gauge(
            prefix + "jobs_unfinished", "Unfinished jobs by state", ("state",), registry=self.registry
        )
        self.backbone_upgrade_jobs_created = Counter(
            prefix + "backbone_upgrade_jobs_created",
            "Jobs created for a backbone upgrade",
            registry=self.registry,
        )
        self.tenants_on_old_backbone = Gauge(
            prefix + "tenants_on_old_backbone", "Tenants served on another backbone than this", registry=self.registry
        )
        self.old_backbones_loaded = Gauge(
            prefix + "old_backbones_loaded", "Older backbones in memory", registry=self.registry
        )

    def record_backbone_upgrades(self, waiting: int, created: int) -> None:
        """Record tenants on older backbones and upgrade jobs created for them."""
        self.tenants_on_old_backbone.set(waiting)
        self.backbone_upgrade_jobs_created.inc(created)

    def set_unfinished_jobs(self, jobs: Mapping[str, int] | None) -> None:
        """Set the number of unfinished jobs by state; no series where it is unknown."""
        self.jobs_unfinished.clear()
        for state, count in (jobs or {}).items():
            self.jobs_unfinished.labels(state).set(count)

    def record_batch(self, rows: int, seconds: float) -> None:
        """Record one forward pass."""
        self.batch_size.observe(rows)
        self.forward_duration_seconds.observe(seconds)

    def page(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(WithOldNames(self.registry))
