"""Tenants, keys, jobs, prompts, clips, corrections, usage: what can be done with them."""

import json

import pytest

from service.errors import StorageUnavailable
from service.storage.records import JobState
from tests.support.gateway_app import ADMIN, GatewayApp, lessons, person


def test_a_tenant_is_made_with_a_key_shown_once(bench):
    made = bench.ask("POST", "/tenants", json={"id": "fresh", "name": "Fresh & Co"})
    assert made.status_code == 201
    document = made.json()
    assert document["key"]["scopes"] == ["manage", "predict", "tune"]
    assert made.headers["Location"] == "/tenants/fresh"
    shown = bench.ask("GET", "/tenants/fresh", document["key"]["secret"]).json()
    assert shown == {"id": "fresh", "name": "Fresh & Co", "created": document["created"]}
    assert bench.ask("POST", "/tenants", json={"id": "fresh"}).json()["code"] == "tenant_exists"


@pytest.mark.parametrize(
    "body", [{}, {"id": ""}, {"id": "Upper"}, {"id": "-x"}, {"id": "x" * 64}, {"id": 5}, {"id": "a/b"}]
)
def test_a_tenant_id_that_does_not_fit_is_refused(bench, body):
    response = bench.ask("POST", "/tenants", json=body)
    assert (response.status_code, response.json()["errors"][0]["loc"]) == (422, "id")


def test_a_repeated_creation_is_answered_with_the_same_secret(bench):
    headers = {"Idempotency-Key": "create-once"}
    first, second = (bench.ask("POST", "/tenants", json={"id": "once"}, headers=headers) for _ in range(2))
    assert first.status_code == second.status_code == 201
    assert first.json() == second.json()
    assert bench.ask("GET", "/tenants/once", second.json()["key"]["secret"]).status_code == 200


def test_lists_come_in_pages(bench):
    for n in range(5):
        bench.tenant(f"paged-{n}")
    seen, after = [], None
    while True:
        page = bench.ask("GET", "/tenants", params={"limit": 2} | ({"after": after} if after else {})).json()
        assert len(page["items"]) <= 2
        seen += [tenant["id"] for tenant in page["items"]]
        after = page["next"]
        if after is None:
            break
    assert {f"paged-{n}" for n in range(5)} <= set(seen)
    assert len(seen) == len(set(seen))
    for limit in ("0", "201", "x"):
        response = bench.ask("GET", "/tenants", params={"limit": limit})
        assert (response.status_code, response.json()["errors"][0]["loc"]) == (422, "query.limit")


def test_an_erased_tenant_leaves_a_receipt_and_nothing_else(bench, taught):
    tenant, key = taught
    bench.ask("POST", f"/tenants/{tenant}/clips", key, json={"clips": lessons()})
    assert bench.ask("DELETE", f"/tenants/{tenant}", key).json()["code"] == "forbidden"
    receipt = bench.ask("DELETE", f"/tenants/{tenant}")
    assert receipt.status_code == 200
    assert receipt.json()
    assert bench.ask("GET", f"/tenants/{tenant}").status_code == 404
    assert bench.ask("GET", f"/tenants/{tenant}/clips", key).status_code == 401


def test_keys_are_made_listed_and_revoked(bench, acme):
    tenant, key = acme
    made = bench.ask("POST", f"/tenants/{tenant}/keys", key, json={"scopes": ["predict"]})
    assert (made.status_code, made.json()["scopes"]) == (201, ["predict"])
    secret, key_id = made.json()["secret"], made.json()["id"]
    listed = bench.ask("GET", f"/tenants/{tenant}/keys", key)
    assert key_id in {row["id"] for row in listed.json()["items"]}
    assert secret not in listed.text
    assert bench.ask("GET", f"/tenants/{tenant}", secret).status_code == 200
    assert bench.ask("GET", f"/tenants/{tenant}/keys", secret).json()["code"] == "forbidden"
    assert bench.ask("DELETE", f"/tenants/{tenant}/keys/{key_id}", key).status_code == 204
    assert bench.ask("GET", f"/tenants/{tenant}", secret).status_code == 401
    assert bench.ask("DELETE", f"/tenants/{tenant}/keys/{key_id}", key).status_code == 404


@pytest.mark.parametrize("scopes", [[], "predict", ["admin"], ["predict", 5], None, [["predict"]], {}])
def test_scopes_that_there_are_not_are_refused(bench, acme, scopes):
    response = bench.ask("POST", f"/tenants/{acme[0]}/keys", acme[1], json={"scopes": scopes})
    assert (response.status_code, response.json()["errors"][0]["loc"]) == (422, "scopes")


def test_a_job_is_watched_and_cancelled(bench, acme):
    tenant, key = acme
    job = bench.ask("POST", f"/tenants/{tenant}/tune", key, json={"clips": lessons()}).json()["job"]
    path = f"/tenants/{tenant}/jobs/{job}"
    assert bench.ask("GET", path, key).json()["queue_position"] is not None
    for _ in range(2):
        cancelled = bench.ask("POST", f"{path}/cancel", key)
        assert (cancelled.status_code, cancelled.json()["state"]) == (200, "cancelled")
    events = bench.ask("GET", f"{path}/events?after=0", key).json()["items"]
    assert [event["state"] for event in events] == ["queued", "cancelled"]
    assert bench.ask("GET", f"{path}/events?after={events[0]['id']}", key).json()["items"] == events[1:]
    assert bench.ask("GET", f"/tenants/{tenant}/jobs/nothing", key).status_code == 404


def test_a_finished_job_cannot_be_cancelled(bench, taught):
    tenant, key = taught
    [job] = bench.ask("GET", f"/tenants/{tenant}/jobs", key).json()["items"]
    assert (job["state"], job["version"], job["activated"]) == ("succeeded", 1, True)
    assert bench.ask("POST", f"/tenants/{tenant}/jobs/{job['job']}/cancel", key).json()["code"] == "job_finished"


def test_events_stream_with_ids_until_the_job_ends_and_go_on_where_the_client_stopped(bench, taught):
    tenant, key = taught
    job = bench.storage.tenant(tenant).list_jobs(1).items[0].id
    path = f"/tenants/{tenant}/jobs/{job}/events"
    stream = bench.ask("GET", path, key, headers={"Accept": "text/event-stream"})
    assert stream.headers["content-type"].startswith("text/event-stream")
    fields = [line.split(": ", 1) for line in stream.text.splitlines() if ": " in line]
    ids = [int(value) for name, value in fields if name == "id"]
    states = [json.loads(value)["state"] for name, value in fields if name == "data"]
    assert ids == sorted(set(ids))
    assert (states[0], states[-1]) == ("queued", JobState.SUCCEEDED.value)
    rest = bench.ask("GET", path, key, headers={"Last-Event-ID": str(ids[-2])})
    assert [line for line in rest.text.splitlines() if line.startswith("id")] == [f"id: {ids[-1]}"]


def test_versions_are_activated_rolled_back_and_deleted(bench, taught):
    tenant, key = taught
    base = f"/tenants/{tenant}/prompts"
    second = bench.teach(tenant, activate=False)
    assert [row["version"] for row in bench.ask("GET", base, key).json()["items"]] == [second, 1]
    assert bench.ask("POST", f"{base}/{second}/activate", key).json()["active"] is True
    assert bench.ask("POST", "/predict", key, json=person()).json()["version"] == second
    assert bench.ask("DELETE", f"{base}/{second}", key).json()["code"] == "version_active"
    assert bench.ask("POST", f"{base}/rollback", key).json()["version"] == 1
    assert bench.ask("POST", "/predict", key, json=person()).json()["version"] == 1
    assert bench.ask("DELETE", f"{base}/{second}", key).status_code == 204
    assert bench.ask("GET", f"{base}/{second}", key).json()["code"] == "version_not_found"


def test_a_version_is_shown_reported_and_downloaded(bench, taught):
    tenant, key = taught
    base = f"/tenants/{tenant}/prompts/1"
    shown = bench.ask("GET", base, key).json()
    assert (shown["labels"], shown["active"], shown["metrics"]) == (["squat", "wave"], True, {"accuracy": 0.9})
    assert bench.ask("GET", f"{base}/report", key).json()["accuracy"]
    page = bench.ask("GET", f"{base}/report", key, headers={"Accept": "text/html"})
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    download = bench.ask("GET", f"{base}/download", key)
    assert download.headers["ETag"] == f'"{shown["sha256"]}"'
    assert len(download.content) == shown["bytes"]
    assert bench.ask("GET", f"{base}/download?format=pickle", key).json()["errors"][0]["loc"] == "query.format"


@pytest.mark.parametrize("version", ["0", "-1", "9999999999999999999", "x", "1.0", "٣"])
def test_a_version_that_cannot_be_one_is_not_found(bench, taught, version):
    response = bench.ask("GET", f"/tenants/{taught[0]}/prompts/{version}", taught[1])
    assert (response.status_code, response.json()["code"]) == (404, "version_not_found")


def test_clips_are_stored_shown_drawn_and_deleted(bench, acme):
    tenant, key = acme
    made = bench.ask("POST", f"/tenants/{tenant}/clips", key, json={"clips": lessons(shots=1)})
    assert made.status_code == 201, made.text
    first, second = made.json()["ids"]
    listed = bench.ask("GET", f"/tenants/{tenant}/clips", key).json()["items"]
    assert [(row["id"], row["label"], row["source"]) for row in listed] == [
        (first, "squat", "upload"), (second, "wave", "upload"),
    ]  # fmt: skip
    shown = bench.ask("GET", f"/tenants/{tenant}/clips/{first}", key).json()
    assert shown["clip"]["layout"] == "coco17"
    assert len(shown["clip"]["keypoints"]) == shown["frames"] == 24
    preview = bench.ask("GET", f"/tenants/{tenant}/clips/{first}/preview.svg", key)
    assert preview.headers["content-type"] == "image/svg+xml"
    assert "<svg" in preview.text
    assert bench.ask("DELETE", f"/tenants/{tenant}/clips/{first}", key).status_code == 204
    assert bench.ask("GET", f"/tenants/{tenant}/clips/{first}", key).status_code == 404


def test_a_correction_is_stored_with_the_right_label(bench, taught):
    tenant, key = taught
    request_id = bench.ask("POST", "/predict", key, json=person()).json()["request_id"]
    path = f"/tenants/{tenant}/feedback"
    for body in ({"request_id": request_id, "label": "jump"}, {"clip": person(label="old"), "label": "jump"}):
        made = bench.ask("POST", path, key, json=body)
        assert (made.status_code, made.json()["label"]) == (201, "jump")
    background = bench.ask("POST", path, key, json={"clip": person(), "label": None})
    assert background.json()["label"] is None
    rows = bench.ask("GET", f"/tenants/{tenant}/clips", key).json()["items"]
    assert [(row["label"], row["background"], row["source"]) for row in rows] == [
        ("jump", False, "feedback"), ("jump", False, "feedback"), (None, True, "feedback"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"label": "x"}, 422),
        ({"clip": {}, "request_id": "r", "label": "x"}, 422),
        ({"request_id": "r"}, 422),
        ({"request_id": "unknown", "label": "x"}, 404),
        ({"clip": 5, "label": "x"}, 422),
        ({"clip": {}, "label": "x"}, 422),
        ({"clip": None, "label": 7}, 422),
    ],
)
def test_a_correction_that_makes_no_sense_is_refused(bench, acme, body, status):
    assert bench.ask("POST", f"/tenants/{acme[0]}/feedback", acme[1], json=body).status_code == status


def test_predictions_are_counted_for_the_tenant(bench, taught):
    tenant, key = taught
    for _ in range(3):
        bench.ask("POST", "/predict", key, json=person())
    days = bench.ask("GET", f"/tenants/{tenant}/usage", key).json()["items"]
    assert sum(day["predictions"] for day in days) == 3


def test_layouts_need_no_key(bench):
    names = [layout["name"] for layout in bench.ask("GET", "/layouts", None).json()["items"]]
    assert "coco17" in names
    one = bench.ask("GET", "/layouts/coco17", None).json()
    assert len(one["joints"]) == 17
    assert one["svg"].startswith("<svg")
    missing = bench.ask("GET", "/layouts/coco71", None)
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
    assert "coco17" in missing.json()["detail"]


def test_liveness_readiness_and_counters(bench, taught):
    assert bench.ask("GET", "/livez", None).status_code == 200
    assert bench.ask("GET", "/readyz", None).status_code == 200
    bench.engine.alive = False
    try:
        bench.app.state.gateway.readiness.expire()
        dead = bench.ask("GET", "/readyz", None)
        assert (dead.status_code, dead.json()["code"]) == (503, "engine_unavailable")
        assert bench.ask("GET", "/livez", None).status_code == 200
    finally:
        bench.engine.alive = True
        bench.app.state.gateway.readiness.expire()
    bench.ask("POST", "/predict", taught[1], json=person())
    counters = bench.ask("GET", "/metrics", ADMIN).text
    assert 'skeleton_prompt_http_requests_total{method="POST",route="/predict",status="200"}' in counters
    assert taught[0] not in counters
    assert bench.ask("GET", "/metrics", taught[1]).status_code == 403


def test_the_metrics_key_opens_the_counters_and_nothing_else(tmp_path):
    with GatewayApp(tmp_path, metrics_key="m" * 32) as other:
        assert other.ask("GET", "/metrics", "m" * 32).status_code == 200
        assert other.ask("GET", "/metrics", ADMIN).status_code == 200
        assert other.ask("GET", "/tenants", "m" * 32).status_code == 401
        assert other.ask("GET", "/metrics", "m" * 31).status_code == 401


def test_the_counters_say_how_many_jobs_wait_and_outlive_the_database(bench, taught, monkeypatch):
    counters = bench.ask("GET", "/metrics").text
    waiting = bench.storage.dispatch.unfinished_jobs()
    assert set(waiting) == {"queued", "running", "publishing"}
    assert f'skeleton_prompt_jobs_unfinished{{state="queued"}} {float(waiting["queued"])}' in counters

    def away() -> None:
        raise StorageUnavailable("The database is away.")

    monkeypatch.setattr(bench.storage.dispatch, "unfinished_jobs", away)
    without = bench.ask("GET", "/metrics")
    assert without.status_code == 200
    assert "skeleton_prompt_jobs_unfinished{" not in without.text


def test_the_console_is_one_page_that_may_load_nothing_from_elsewhere(bench):
    page = bench.ask("GET", "/", None)
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    for name in ("console.js", "console.css"):
        assert name in page.text
        asset = bench.ask("GET", f"/console/{name}", None)
        assert asset.status_code == 200
        assert "http://" not in asset.text
        assert "https://" not in asset.text
    assert bench.ask("GET", "/console/../app.py", None).status_code == 404
