"""Quotas of a tenant, the reserve of disk, and what probes and event streams may cost."""

import asyncio
import shutil
from types import SimpleNamespace

import pytest

from service.gateway.operations import quotas
from service.gateway.state.event_streams import EventStreams
from tests.support.gateway_app import ADMIN, gateway, lessons, person


def exceeded(response, name, limit, used):
    assert (response.status_code, response.json()["code"]) == (429, "quota_exceeded"), response.text
    (row,) = response.json()["errors"]
    assert (row["rule"], row["message"]) == (name, f"{name} is {limit}; {used} are in use")


def test_a_tenant_stores_no_more_clips_than_its_quota(tmp_path):
    with gateway(tmp_path, max_tenant_clips=5) as limited:
        key, other = limited.tenant("acme"), limited.tenant("other")
        assert limited.ask("POST", "/tenants/acme/clips", key, json={"clips": lessons()}).status_code == 201
        for path in ("clips", "tune"):
            response = limited.ask("POST", f"/tenants/acme/{path}", key, json={"clips": lessons()})
            exceeded(response, "max_tenant_clips", 5, 4)
        body = {"clip": person(), "label": "wave"}
        assert limited.ask("POST", "/tenants/acme/feedback", key, json=body).status_code == 201
        exceeded(limited.ask("POST", "/tenants/acme/feedback", key, json=body), "max_tenant_clips", 5, 5)
        assert len(limited.ask("GET", "/tenants/acme/clips", key).json()["items"]) == 5
        assert limited.ask("POST", "/tenants/other/clips", other, json={"clips": lessons()}).status_code == 201
        one = limited.ask("GET", "/tenants/acme/clips", key).json()["items"][0]["id"]
        assert limited.ask("DELETE", f"/tenants/acme/clips/{one}", key).status_code == 204
        assert limited.ask("POST", "/tenants/acme/feedback", key, json=body).status_code == 201


def test_a_tenant_stores_no_more_bytes_than_its_quota(tmp_path):
    with gateway(tmp_path, max_tenant_bytes=1 << 20) as limited:
        key = limited.tenant("acme")
        answers = [
            limited.ask("POST", "/tenants/acme/clips", key, json={"clips": [person(frames=600, seed=n, label="a")] * 3})
            for n in range(12)
        ]
        assert answers[0].status_code == 201
        assert answers[-1].json()["errors"][0]["rule"] == "max_tenant_bytes"
        assert limited.storage.tenant("acme").stored_bytes() <= 1 << 20


def test_a_tenant_has_no_more_versions_than_its_quota(tmp_path):
    with gateway(tmp_path, max_tenant_prompts=3) as limited:
        key = limited.tenant("acme")
        path = "/tenants/acme/tune"
        limited.teach("acme")
        jobs = [limited.ask("POST", path, key, json={"clips": lessons()}) for _ in range(3)]
        assert [job.status_code for job in jobs] == [202, 202, 429]
        exceeded(jobs[2], "max_tenant_prompts", 3, 3)
        limited.ask("POST", f"/tenants/acme/jobs/{jobs[0].json()['job']}/cancel", key)
        assert limited.ask("POST", path, key, json={"clips": lessons()}).status_code == 202


def test_uploads_leave_the_service_its_disk(bench, taught, monkeypatch):
    tenant, key = taught
    free = shutil.disk_usage(".")
    monkeypatch.setattr(quotas.shutil, "disk_usage", lambda folder: SimpleNamespace(total=free.total, free=1 << 20))
    before = bench.ask("GET", f"/tenants/{tenant}/clips", key).json()["items"]
    for path, body in (
        ("clips", {"clips": lessons()}),
        ("tune", {"clips": lessons()}),
        ("feedback", {"clip": person(), "label": "wave"}),
    ):
        response = bench.ask("POST", f"/tenants/{tenant}/{path}", key, json=body)
        assert (response.status_code, response.json()["code"]) == (507, "storage_full"), path
        assert "min_free_bytes" in response.json()["detail"]
    assert bench.ask("GET", f"/tenants/{tenant}/clips", key).json()["items"] == before
    assert bench.ask("POST", "/predict", key, json=person()).status_code == 200


def test_probes_from_anyone_share_one_forward_pass(bench, monkeypatch):
    probes = 0

    async def is_ready():
        nonlocal probes
        probes += 1
        await asyncio.sleep(0.01)
        return True

    monkeypatch.setattr(bench.engine, "is_ready", is_ready)
    bench.app.state.gateway.readiness.expire()

    async def many():
        return await asyncio.gather(*[bench.asking("GET", "/readyz", None) for _ in range(50)])

    assert {answer.status_code for answer in bench.wait(many())} == {200}
    assert probes <= 2


class Counting:
    """What the poller asks, counted."""

    def __init__(self):
        self.queries = 0
        self.keys = {"key"}
        self.events = {}

    def last_events(self, jobs):
        self.queries += 1
        return {job: self.events[job] for job in jobs if job in self.events}

    def known_keys(self, ids):
        self.queries += 1
        return self.keys & set(ids)


def test_one_poller_serves_all_streams_and_rests_without_any(monkeypatch):
    monkeypatch.setattr("service.gateway.state.event_streams.POLL_S", 0.01)

    async def watch():
        storage = Counting()
        streams = EventStreams(storage, 400, 400)
        poller = asyncio.create_task(streams.run())
        await asyncio.sleep(0.05)
        assert storage.queries == 0
        with streams.watch("acme", "job", "key") as mine, streams.watch("acme", "other", "key") as other:
            for watcher in (mine, other):
                await asyncio.wait_for(watcher.woken.wait(), 2)  # once, to begin with
                watcher.woken.clear()
            storage.events["acme", "job"] = 7
            await asyncio.wait_for(mine.woken.wait(), 2)
            assert not other.woken.is_set()
            storage.keys.clear()
            await asyncio.wait_for(other.woken.wait(), 2)
            assert mine.revoked
            assert other.revoked
        poller.cancel()

    asyncio.run(watch())


def test_a_revoked_key_ends_its_open_streams_within_a_second(bench, taught):
    tenant, key = taught
    job = bench.ask("POST", f"/tenants/{tenant}/tune", key, json={"clips": lessons()}).json()["job"]
    made = bench.ask("POST", f"/tenants/{tenant}/keys", key, json={"scopes": ["predict"]}).json()
    path = f"/tenants/{tenant}/jobs/{job}/events"
    headers = {"Accept": "text/event-stream"}

    async def watched():
        stream = asyncio.ensure_future(bench.asking("GET", path, made["secret"], headers=headers))
        await asyncio.sleep(0.3)
        assert not stream.done()
        await bench.asking("DELETE", f"/tenants/{tenant}/keys/{made['id']}", key)
        return await asyncio.wait_for(stream, 1.5)

    assert bench.wait(watched()).status_code == 200
    bench.ask("POST", f"/tenants/{tenant}/jobs/{job}/cancel", key)


def test_a_tenant_has_its_number_of_open_streams(tmp_path):
    with gateway(tmp_path, max_tenant_event_streams=2) as limited:
        key = limited.tenant("acme")
        job = limited.ask("POST", "/tenants/acme/tune", key, json={"clips": lessons()}).json()["job"]
        path = f"/tenants/acme/jobs/{job}/events"
        headers = {"Accept": "text/event-stream"}

        async def three():
            held = [asyncio.ensure_future(limited.asking("GET", path, key, headers=headers)) for _ in range(2)]
            await asyncio.sleep(0.3)
            refused = await limited.asking("GET", path, key, headers=headers)
            await limited.asking("POST", f"/tenants/acme/jobs/{job}/cancel", key)
            return refused, [(await stream).status_code for stream in held]

        refused, held = limited.wait(three())
        exceeded(refused, "max_tenant_event_streams", 2, 2)
        assert held == [200, 200]
        assert limited.ask("GET", f"{path}?after=0", key).status_code == 200


@pytest.mark.parametrize("path", ["/layouts", "/tenants/{tenant}/usage"])
def test_every_list_is_paged(bench, taught, path):
    tenant, key = taught
    bench.ask("POST", "/predict", key, json=person())
    path = path.format(tenant=tenant)
    whole = bench.ask("GET", path, key).json()
    assert whole["next"] is None
    found, after = [], ""
    for _ in range(len(whole["items"])):
        page = bench.ask("GET", f"{path}?limit=1{after}", key).json()
        assert len(page["items"]) == 1
        found += page["items"]
        after = f"&after={page['next']}"
    assert found == whole["items"]
    assert page["next"] is None
    for wrong in ("limit=0", "limit=201", "limit=x", "after=nothing"):
        assert bench.ask("GET", f"{path}?{wrong}", key).status_code == 422, wrong


def test_allow_names_every_method_of_an_address(bench):
    for path, methods in (
        ("/tenants", "GET, POST"),
        ("/tenants/a", "DELETE, GET"),
        ("/tenants/a/keys", "GET, POST"),
        ("/predict", "POST"),
    ):
        assert bench.ask("PUT", path, ADMIN).headers["Allow"] == methods
