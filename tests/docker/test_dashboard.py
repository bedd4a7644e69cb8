"""What the dashboard, the alerts and the autoscalers ask for is what the service counts."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.metrics import Metrics
from training.jobs.metrics import WorkerMetrics

DOCKER = Path(__file__).parents[2] / "docker"
DASHBOARD: dict[str, Any] = json.loads((DOCKER / "grafana" / "dashboards" / "skeleton-prompt.json").read_text())
NAME = re.compile(r"\bskeleton_prompt_[a-z_]+")


def counted() -> dict[str, set[str]]:
    """The names of all series that gateways and workers show, with their labels."""
    names: dict[str, set[str]] = {}
    for registry in (Metrics().registry, WorkerMetrics().registry):
        for collector in list(registry._collector_to_names):
            endings = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(collector._type, ("",))
            for ending in endings:
                names[collector._name + ending] = set(collector._labelnames)
    return names


def expressions() -> list[str]:
    rules = yaml.safe_load((DOCKER / "prometheus" / "rules.yml").read_text())
    alerts = [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    adapter = yaml.safe_load((DOCKER / "kubernetes" / "prometheus-adapter.yaml").read_text())["rules"]["external"]
    scaled = [rule[key] for rule in adapter for key in ("seriesQuery", "metricsQuery")]
    plain = [expression.replace("{<<.LabelMatchers>>}", "") for expression in scaled]
    return [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]] + alerts + plain


@pytest.mark.parametrize("expression", expressions())
def test_an_expression_asks_for_what_is_counted(expression):
    known = counted()
    for name, labels in re.findall(r"(skeleton_prompt_[a-z_]+)(?:\{([^}]*)\})?", expression):
        assert name in known, name
        assert {re.split("[=!~]", label)[0].strip() for label in labels.split(",") if label} <= known[name], labels


def test_the_dashboard_shows_traffic_errors_time_queue_batches_cache_and_jobs():
    shown = set(NAME.findall(" ".join(expressions())))
    assert shown >= {
        "skeleton_prompt_http_requests_total",
        "skeleton_prompt_http_request_duration_seconds_bucket",
        "skeleton_prompt_queue_depth",
        "skeleton_prompt_batch_size_sum",
        "skeleton_prompt_prompt_cache_lookups_total",
        "skeleton_prompt_jobs_unfinished",
        "skeleton_prompt_job_duration_seconds_bucket",
    }


def test_panels_have_places_of_their_own_and_the_source_that_is_provisioned():
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in DASHBOARD["panels"]]
    assert len(set(places)) == len(places)
    source = yaml.safe_load((DOCKER / "grafana/provisioning/datasources/prometheus.yml").read_text())
    assert {panel["datasource"]["uid"] for panel in DASHBOARD["panels"]} == {source["datasources"][0]["uid"]}


def test_prometheus_asks_every_gateway_engine_and_worker():
    services = yaml.safe_load((DOCKER.parent / "docker-compose.yml").read_text())["services"]
    config = yaml.safe_load((DOCKER / "prometheus" / "prometheus.yml").read_text())
    asked = {
        t.partition(":")[0] for job in config["scrape_configs"] for s in job["static_configs"] for t in s["targets"]
    }
    assert asked == {name for name in services if name.startswith(("gateway", "engine", "worker"))}
    assert all("watch" in services[name]["networks"] for name in asked)


def test_autoscalers_ask_for_what_the_adapter_gives_them():
    asked = {
        metric["external"]["metric"]["name"]
        for part in ("engine", "worker")
        for document in yaml.safe_load_all((DOCKER / "kubernetes" / f"{part}.yaml").read_text())
        if document["kind"] == "HorizontalPodAutoscaler"
        for metric in document["spec"]["metrics"]
    }
    adapter = yaml.safe_load((DOCKER / "kubernetes" / "prometheus-adapter.yaml").read_text())["rules"]["external"]
    assert (
        asked
        == {rule["seriesQuery"] for rule in adapter}
        == {"skeleton_prompt_queue_depth", "skeleton_prompt_jobs_unfinished"}
    )
