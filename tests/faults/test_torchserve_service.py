"""The whole service on TorchServe: its worker is killed and it is told to stop while requests are under way."""

import asyncio
import os
import signal
import time
import uuid

import httpx
import numpy as np
import pytest

from skeleton_prompt.synthetic import make_clip
from tests.support.polling import alive, children, eventually
from tests.support.service_process import serving

pytestmark = pytest.mark.services

TENANTS = (("wave", "squat"), ("kick", "bow"))


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("torchserve") / "data", engine="torchserve") as running:
        yield running


@pytest.fixture(scope="module")
def taught(service):
    """Two tenants that were taught different actions: the headers with their key, a clip, and its right answer."""
    rng = np.random.default_rng(1)
    known = []
    for actions in TENANTS:
        with service.client() as admin:
            made = admin.create_tenant(f"t-{uuid.uuid4().hex[:12]}")
        clips = [make_clip(action, rng, group=f"{action}-{n}") for action in actions for n in range(2)]
        asked = make_clip(actions[0], rng)
        clip = {**asked, "keypoints": asked["keypoints"].tolist()}
        del clip["label"]
        with service.client(made.key.secret) as client:
            assert client.tune(made.id, clips, seed=0).wait(timeout=240).activated
        headers = {"Authorization": f"Bearer {made.key.secret}"}
        right = httpx.post(f"{service.url}/predict", json=clip, headers=headers, timeout=60.0)
        assert right.status_code == 200
        known.append((headers, clip, said(right.json())))
    return known


def said(document):
    """What an answer says about a clip, without what differs from one request to the next."""
    ranked = {each["label"]: each["probability"] for each in document["predictions"]}
    return document.get("tenant"), document.get("version"), document["label"], ranked


def roughly(right):
    """The same answer out of another batch, which rounds a little differently."""
    return (*right[:-1], pytest.approx(right[-1], abs=1e-3))


def worker_of(java):
    return next((pid for pid, command in children(java).items() if "python" in command), None)


def check(answers):
    """Each is right, or a 503 that says when to come back; gives how many are right."""
    assert {answer.status_code for answer, _ in answers} <= {200, 503}, [answer.text for answer, _ in answers]
    for answer, right in answers:
        if answer.status_code == 200:
            assert said(answer.json()) == roughly(right)
        else:
            assert int(answer.headers["Retry-After"]) >= 1
            assert answer.json()["code"] == "engine_unavailable"
    return sum(answer.status_code == 200 for answer, _ in answers)


def test_while_its_worker_is_killed_every_answer_is_right_or_a_503_with_retry_after(service, taught):
    java = service.child("org.pytorch.serve.ModelServer")
    first = eventually(lambda: worker_of(java), "a worker")
    answers = []

    async def ask(http, headers, clip, right):
        answers.append((await http.post("/predict", json=clip, headers=headers), right))
        if len(answers) == 1:
            os.kill(first, signal.SIGKILL)  # with the others under way

    async def run():
        deadline = time.monotonic() + 60
        async with httpx.AsyncClient(base_url=service.url, timeout=30.0) as http:
            while not (worker_of(java) not in (None, first) and answers[-1][0].status_code == 200):
                assert time.monotonic() < deadline, "it did not come back"
                await asyncio.gather(*(ask(http, *each) for each in taught * 4))

    async def first_then_run():
        async with httpx.AsyncClient(base_url=service.url, timeout=30.0) as http:
            await asyncio.gather(*(ask(http, *each) for each in taught * 4))
        await run()

    asyncio.run(first_then_run())
    assert check(answers) >= len(taught)


def test_sigterm_under_load_finishes_the_requests_in_flight_and_leaves_nothing_behind(service, taught):
    family = [service.process.pid, *children(service.process.pid)]
    family += [pid for parent in family for pid in children(parent)]
    answers = []

    async def run():
        async with httpx.AsyncClient(base_url=service.url, timeout=60.0) as http:

            async def ask(headers, clip, right):
                batch = {"clips": [clip] * 6}
                answers.append((await http.post("/predict/batch", json=batch, headers=headers), right))
                if len(answers) == 1:
                    service.process.send_signal(signal.SIGTERM)  # the others began with it and are being worked on

            await asyncio.gather(*(ask(*each) for each in taught * 4))

    asyncio.run(run())
    assert service.process.wait(30) == 0
    assert [answer.status_code for answer, _ in answers] == [200] * 8, [answer.text for answer, _ in answers]
    for answer, right in answers:
        assert [said(each) for each in answer.json()["results"]] == [roughly(right)] * 6
    eventually(lambda: not any(map(alive, family)), "every process of the service is gone")
