"""Writes docs/metrics.md: every metric of gateways and workers with its type, labels and meaning, read from the code.

    python tools/metrics_page.py

A test fails when the page and the code disagree.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from prometheus_client import Metric
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.registry import Collector

from service.inference.metrics import InstancesCollector
from service.inference.torchserve.instances import Instance
from service.metrics import Metrics
from service.storage.prompt_cache.cache import EngineStats
from training.jobs.metrics import WorkerMetrics

PAGE = Path(__file__).parents[1] / "docs" / "metrics.md"
HEAD = """# Metrics

What Prometheus reads from `GET /metrics` of a gateway (with the admin key or `SKELETON_PROMPT_METRICS_KEY`) and from a
training worker (`SKELETON_PROMPT_WORKER_METRICS_PORT`). No tenant appears in a label: their number has no bound.
A counter ends in `_total`; a histogram has `_bucket`, `_sum` and `_count`. `engine` is host and port of a TorchServe
instance, or `embedded`.

<!-- Made by tools/metrics_page.py: change the help of the metric and write the page again. -->
"""


def collectors() -> dict[str, list[Collector]]:
    """All collectors by who shows them."""
    engine = Instance("http://127.0.0.1:8080", figures=EngineStats(late=0))
    return {
        "Gateway": members(Metrics()),
        "Engines, shown by gateways": [InstancesCollector([engine])],
        "Training worker": members(WorkerMetrics()),
    }


def members(owner: object) -> list[Collector]:
    """The collectors among an object's attributes, in the order in which they were made."""
    return [value for value in vars(owner).values() if isinstance(value, MetricWrapperBase)]


def row(metric: Metric, labels: Iterable[str]) -> str:
    """A metric's line of the table."""
    name = metric.name + ("_total" if metric.type == "counter" else "")
    return f"| `{name}` | {metric.type} | {', '.join(f'`{label}`' for label in labels)} | {metric.documentation} |\n"


def rows(collector: Collector) -> list[str]:
    """The lines of all metrics of a collector."""
    found = {
        value._name: value._labelnames
        for value in [collector, *members(collector)]
        if isinstance(value, MetricWrapperBase)
    }
    return [row(metric, found.get(metric.name, getattr(metric, "_labelnames", ()))) for metric in collector.collect()]


def page() -> str:
    """The whole page."""
    text = HEAD
    for title, given in collectors().items():
        lines = "".join(line for collector in given for line in rows(collector))
        text += f"\n## {title}\n\n| Metric | Type | Labels | Meaning |\n|---|---|---|---|\n{lines}"
    return text


if __name__ == "__main__":
    PAGE.write_text(page())
