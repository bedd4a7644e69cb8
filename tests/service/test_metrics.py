"""Prometheus metrics: renamed ones are exposed under both names."""

from service.metrics import PREFIX, RENAMED, Metrics


def test_a_renamed_metric_is_exposed_under_its_old_name_with_the_same_values():
    metrics = Metrics()
    metrics.http_requests.labels("GET", "/livez", "200").inc(3)
    metrics.record_batch(4, 0.02)
    page = metrics.page().decode()
    labels = '{method="GET",route="/livez",status="200"} 3.0'
    assert f"{PREFIX}http_requests_total{labels}" in page
    assert f"{PREFIX}requests_total{labels}" in page
    assert f"{PREFIX}batch_size_count 1.0" in page
    assert f"{PREFIX}batch_rows_count 1.0" in page


def test_no_old_name_is_also_a_name_of_today():
    assert not set(RENAMED) & set(RENAMED.values())
