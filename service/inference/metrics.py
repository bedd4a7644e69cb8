"""What engines count, for Prometheus: one label value per engine, whose number is that of the addresses set."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from urllib.parse import urlsplit

from prometheus_client import Counter, Histogram, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from service.inference.torchserve.instances import Instance
from service.metrics import SECONDS
from service.storage.prompt_cache.cache import EngineStats

PREFIX = "skeleton_prompt_engine_"


class EngineStatsCollector(Collector):
    """The prompt caches of engines.

    Args:
        look: Gives the figures of each engine that has said any, by its name.
    """

    def __init__(self, look: Callable[[], Mapping[str, EngineStats]]) -> None:
        self._look = look

    def collect(self) -> Iterator[Metric]:
        """See ``Collector``."""
        prompts = GaugeMetricFamily(PREFIX + "prompt_cache_entries", "Prompts in an engine's memory", labels=["engine"])
        nbytes = GaugeMetricFamily(PREFIX + "prompt_cache_bytes", "Bytes of these prompts", labels=["engine"])
        loads = CounterMetricFamily(
            PREFIX + "prompt_loads", "Prompts brought into memory, by where from", labels=["engine", "layer"]
        )
        evictions = CounterMetricFamily(
            PREFIX + "prompt_evictions", "Prompts that made room for others", labels=["engine"]
        )
        old = GaugeMetricFamily(PREFIX + "old_backbones", "Older backbones in an engine's memory", labels=["engine"])
        late = CounterMetricFamily(
            PREFIX + "expired_rows", "Rows that expired before they were computed", labels=["engine"]
        )
        for engine, figures in self._look().items():
            prompts.add_metric([engine], figures.prompts)
            nbytes.add_metric([engine], figures.prompt_bytes)
            for layer in ("redis", "store"):
                loads.add_metric([engine, layer], figures.loads.get(layer, 0))
            evictions.add_metric([engine], figures.evictions)
            old.add_metric([engine], figures.old_backbones)
            if figures.late is not None:
                late.add_metric([engine], figures.late)
        yield from (prompts, nbytes, loads, evictions, old, late)


class InstancesCollector(Collector):
    """TorchServe instances: what this gateway sees of each, and what each says of itself."""

    def __init__(self, servers: Sequence[Instance]) -> None:
        self._servers = servers
        names = ("engine",)
        self.rows = Counter(
            PREFIX + "requests", "Rows sent, by what came of them", ("engine", "outcome"), registry=None
        )
        self.resent = Counter(PREFIX + "retries", "Rows sent again after another try failed", names, registry=None)
        self.seconds = Histogram(
            PREFIX + "request_duration_seconds",
            "Time from sending a row to its answer",
            names,
            buckets=SECONDS,
            registry=None,
        )
        self.queue_seconds = Histogram(
            PREFIX + "queue_wait_seconds", "Part of it that was waiting", names, buckets=SECONDS, registry=None
        )
        self._figures = EngineStatsCollector(
            lambda: {name_of(server): server.figures for server in servers if server.figures is not None}
        )

    def collect(self) -> Iterator[Metric]:
        """See ``Collector``."""
        up = GaugeMetricFamily(PREFIX + "up", "Whether rows go to the engine", labels=["engine"])
        in_flight = GaugeMetricFamily(PREFIX + "rows_in_flight", "Rows that the engine has", labels=["engine"])
        ejections = CounterMetricFamily(PREFIX + "ejections", "Times it was found to fail", labels=["engine"])
        backbone = GaugeMetricFamily(PREFIX + "info", "The engine's backbone; always 1", labels=["engine", "sha256"])
        for server in self._servers:
            name = name_of(server)
            up.add_metric([name], server.healthy)
            in_flight.add_metric([name], server.in_flight)
            ejections.add_metric([name], server.ejections)
            if server.backbone_sha256 is not None:
                backbone.add_metric([name, server.backbone_sha256], 1)
        yield from (up, in_flight, ejections, backbone)
        for each in (self.rows, self.resent, self.seconds, self.queue_seconds, self._figures):
            yield from each.collect()


def name_of(server: Instance) -> str:
    """Host and port of an instance: an address may hold a password."""
    return urlsplit(server.url).netloc.rpartition("@")[2]
