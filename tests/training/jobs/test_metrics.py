"""What a worker counts, and that it can be read over HTTP."""

import socket

import httpx
import pytest

from training.jobs.metrics import WorkerMetrics


def value(counters: WorkerMetrics, name: str, **labels: str) -> float | None:
    return counters.registry.get_sample_value(name, labels)


def test_an_attempt_is_counted_by_its_end_and_a_refused_one_is_not() -> None:
    counters = WorkerMetrics()
    for outcome in ("succeeded", "succeeded", "failed", "refused"):
        counters.count(lambda outcome=outcome: outcome)  # type: ignore[misc]
    assert value(counters, "skeleton_prompt_job_duration_seconds_count", outcome="succeeded") == 2
    assert value(counters, "skeleton_prompt_job_duration_seconds_count", outcome="failed") == 1
    assert value(counters, "skeleton_prompt_job_duration_seconds_count", outcome="refused") is None


def test_a_worker_is_busy_while_it_works_and_not_after_it_broke() -> None:
    counters = WorkerMetrics()

    def work() -> str:
        assert value(counters, "skeleton_prompt_worker_busy") == 1
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        counters.count(work)
    assert value(counters, "skeleton_prompt_worker_busy") == 0


def test_the_counters_are_shown_on_a_port_and_one_that_is_taken_stops_nothing() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        WorkerMetrics().serve("127.0.0.1", taken.getsockname()[1])
        port = taken.getsockname()[1]
    counters = WorkerMetrics()
    counters.serve("127.0.0.1", port)
    try:
        assert "skeleton_prompt_worker_busy 0.0" in httpx.get(f"http://127.0.0.1:{port}/metrics").text
    finally:
        counters.close()
