"""Work is priced in windows times people, before any of it is done."""

import asyncio
import time

import msgpack
import orjson
import pytest

from service import errors
from service.gateway.operations import prediction
from tests.support.gateway_app import gateway, lessons, person

LONG = person(frames=2040, fps=0.1)  # 20,400 seconds: 2,040 windows of 10 seconds


def crowd(people, frames, **fields):
    """Many people in a clip that is small on the wire."""
    joints = [[float(x), float(x * 2 + 1)] for x in range(17)]
    return person() | {"keypoints": [[joints] * people] * frames, "coords": "xy"} | fields


def named(response, code, word):
    assert (response.status_code, response.json()["code"]) == (413, code), response.text
    assert word in response.json()["detail"]


@pytest.mark.parametrize("clip", [LONG, crowd(15, 200, fps=2)], ids=["slow", "crowd"])
def test_a_clip_of_too_many_windows_is_refused_before_it_is_prepared(bench, taught, monkeypatch, clip):
    def fail(*args):
        pytest.fail("the clip was prepared")

    monkeypatch.setattr(prediction, "prepare", fail)
    asked = len(bench.engine.questions)
    response = bench.ask("POST", "/predict", taught[1], json=clip)
    named(response, "too_large", "max_windows is 64")
    assert "/predict/segments" in response.json()["detail"]
    (row,) = bench.ask("POST", "/predict/batch", taught[1], json={"clips": [clip]}).json()["results"]
    assert (row["status"], row["code"]) == (413, "too_large")
    assert len(bench.engine.questions) == asked


def test_no_clip_to_learn_from_takes_more_windows_either(bench, acme):
    tenant, key = acme
    body = {"clips": [*lessons(), LONG | {"label": "wave"}]}
    for path in ("tune", "clips"):
        response = bench.ask("POST", f"/tenants/{tenant}/{path}", key, json=body)
        named(response, "too_large", "clips[4].keypoints")
    response = bench.ask("POST", f"/tenants/{tenant}/feedback", key, json={"clip": LONG, "label": "wave"})
    named(response, "too_large", "max_windows")
    overlapping = [{"label": "wave", "start": 0, "end": 600}] * 50
    recording = person(frames=600, fps=1, segments=overlapping)
    response = bench.ask("POST", f"/tenants/{tenant}/tune", key, json={"clips": [*lessons(), recording]})
    named(response, "too_large", "max_windows")
    assert bench.ask("GET", f"/tenants/{tenant}/clips", key).json()["items"] == []


def test_more_clips_than_the_limit_are_refused_in_every_form(tmp_path):
    with gateway(tmp_path, max_tune_clips=5) as small:
        key = small.tenant("acme")
        clips = [person(frames=2, label="a")] * 6
        json, packed = orjson.dumps({"clips": clips}), msgpack.packb({"clips": clips})
        lines = b"\n".join(orjson.dumps(clip) for clip in clips)
        for path, body, kind in (
            ("tune", json, "application/json"),
            ("tune", packed, "application/msgpack"),
            ("tune", lines, "application/x-ndjson"),
            ("clips", json, "application/json"),
            ("clips", packed, "application/msgpack"),
        ):
            response = small.ask("POST", f"/tenants/acme/{path}", key, content=body, headers={"Content-Type": kind})
            named(response, "too_large", "max_tune_clips")
        blank = b"\n" * 20_000
        headers = {"Content-Type": "application/x-ndjson"}
        named(small.ask("POST", "/tenants/acme/tune", key, content=blank, headers=headers), "too_large", "lines")


def test_many_tiny_clips_leave_other_tenants_their_time(tmp_path):
    with gateway(tmp_path, max_tune_clips=2000) as shared:
        busy, calm = shared.tenant("busy"), shared.tenant("calm")
        shared.teach("calm")
        body = orjson.dumps({"clips": [person(frames=2, label="a")] * 2000, "options": {"dry_run": True}})

        async def both():
            uploads = [
                asyncio.ensure_future(shared.asking("POST", "/tenants/busy/tune", busy, content=body)) for _ in range(3)
            ]
            times = []
            for n in range(20):
                began = time.monotonic()
                answer = await shared.asking("POST", "/predict", calm, json=person(seed=n))
                assert answer.status_code == 200
                times.append(time.monotonic() - began)
            done = [await upload for upload in uploads]
            return sorted(times), [answer.status_code for answer in done]

        times, statuses = shared.wait(both(), 120)
        assert statuses == [200] * 3
        assert times[len(times) // 2] < 0.25, times  # 1.3 s when uploads were checked in all threads at once


def test_a_rate_counts_work_and_not_requests(tmp_path):
    with gateway(tmp_path, rate_limit="2/minute") as limited:
        key = limited.tenant("acme")
        limited.teach("acme")
        batch = {"clips": [person()] * 64}
        first, second = (limited.ask("POST", "/predict/batch", key, json=batch) for _ in range(2))
        assert (first.status_code, second.status_code) == (200, 429)
        assert first.headers["RateLimit-Policy"] == '"work";q=2;w=60'
        assert first.headers["RateLimit"].startswith('"work";r=0;t=')
        assert second.headers["RateLimit"].startswith('"work";r=0;t=')
        assert int(second.headers["Retry-After"]) > 1800  # 64 at 2 a minute
        other = limited.tenant("other")
        limited.teach("other")
        assert limited.ask("POST", "/predict", other, json=person(frames=300, fps=10)).status_code == 200
        assert limited.ask("POST", "/predict", other, json=person()).status_code == 429, "three windows were charged"


def test_windows_of_a_timeline_wait_for_an_engine_that_is_full(bench, taught, monkeypatch):
    monkeypatch.setattr(prediction, "QUEUE_FULL_RETRY_S", 0.01)
    answers, inside = bench.engine.predict, 0

    async def narrow(question):
        nonlocal inside
        if inside >= 2:
            raise errors.Overloaded("full", retry_after=1.0)
        inside += 1
        try:
            await asyncio.sleep(0.002)
            return await answers(question)
        finally:
            inside -= 1

    monkeypatch.setattr(bench.engine, "predict", narrow)
    response = bench.ask("POST", "/predict/segments", taught[1], json=person(frames=800))
    assert response.status_code == 200, response.text
    assert "forward" in response.headers["Server-Timing"]


def test_a_timeline_waits_no_longer_than_its_deadline(tmp_path):
    with gateway(tmp_path, predict_deadline_seconds=0.5) as impatient:
        key = impatient.tenant("acme")
        impatient.teach("acme")
        impatient.engine.error = errors.Overloaded("full", retry_after=1.0)
        began = time.monotonic()
        response = impatient.ask("POST", "/predict/segments", key, json=person(frames=800))
        assert (response.status_code, response.json()["code"]) == (503, "overloaded")
        assert time.monotonic() - began < 3


def test_a_tenant_has_its_number_of_requests_at_once(tmp_path):
    with gateway(tmp_path, max_tenant_requests=2) as limited:
        key, other = limited.tenant("acme"), limited.tenant("other")
        limited.teach("acme")
        limited.teach("other")
        limited.engine.hold = asyncio.Event()

        async def three():
            held = [asyncio.ensure_future(limited.asking("POST", "/predict", key, json=person())) for _ in range(2)]
            while len(limited.engine.questions) < 2:
                await asyncio.sleep(0.01)
            refused = await limited.asking("POST", "/predict", key, json=person())
            limited.engine.hold.set()
            return (
                refused,
                [await answer for answer in held],
                await limited.asking("POST", "/predict", other, json=person()),
            )

        refused, held, elsewhere = limited.wait(three())
        assert [answer.status_code for answer in (*held, elsewhere)] == [200] * 3
        assert (refused.status_code, refused.json()["code"]) == (429, "quota_exceeded")
        assert refused.json()["errors"][0]["message"] == "max_tenant_requests is 2; 2 are in use"
        assert limited.ask("POST", "/predict", key, json=person()).status_code == 200
