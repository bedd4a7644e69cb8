"""TorchServe parts that die while rows are under way: what a caller sees, and how soon it is over."""

import asyncio
import os
import signal
import time

import pytest

from service import errors
from service.inference.protocol import Question
from service.inference.torchserve import TorchServeEngine
from tests.skeleton_prompt.rows import person, random_prompt
from tests.torchserving import Room
from tests.waiting import alive, children, eventually


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    return Room(tmp_path_factory.mktemp("torchserve"))


@pytest.fixture(scope="module")
def ref(room):
    return room.publish(random_prompt(room.engine, 1))


@pytest.fixture(scope="module")
def pair(room):
    with room.serving(2) as servers:
        yield servers


def question(ref, seed=0):
    return Question(person(seed), ref, 2, None, time.monotonic() + 60)


async def stream(engine, ref, until, strike):
    """Ask four at a time until `until` is true, `strike` after the first answers; gives all outcomes."""
    outcomes = []
    while len(outcomes) < 8 or not await until():
        rows = [asyncio.ensure_future(engine.predict(question(ref, n))) for n in range(4)]
        await asyncio.sleep(0.001)  # the rows are on their way by now
        if len(outcomes) == 4:
            strike()
        outcomes += await asyncio.gather(*rows, return_exceptions=True)
        await asyncio.sleep(0.01)
    return outcomes


def worker_of(server):
    return eventually(
        lambda: next((pid for pid, command in children(server.child.pid or 0).items() if "python" in command), None),
        "a worker of TorchServe",
    )


def test_a_killed_worker_costs_nothing_but_503_with_retry_after_until_another_is_ready(pair, ref):
    server = pair[0]

    async def run():
        engine = TorchServeEngine([server.url], management_url=server.management_url)
        await engine.start()
        killed = {}

        def strike():
            killed["pid"] = worker_of(server)
            os.kill(killed["pid"], signal.SIGKILL)

        async def ready():
            return "pid" in killed and worker_of(server) != killed["pid"] and await engine.probe()

        try:
            outcomes = await asyncio.wait_for(stream(engine, ref, ready, strike), 60)
            return outcomes, await engine.predict(question(ref))
        finally:
            await engine.stop()

    outcomes, answer = asyncio.run(run())
    failures = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    assert {type(failure) for failure in failures} <= {errors.EngineUnavailable}, failures
    assert all(failure.retry_after for failure in failures)
    assert answer.prediction.predictions


def test_rows_of_a_killed_server_are_answered_by_the_other_and_it_comes_back(pair, ref):
    async def run():
        engine = TorchServeEngine([server.url for server in pair])
        await engine.start()
        await eventually_healthy(engine)
        first = pair[0].child.pid

        async def back():
            return pair[0].child.pid not in (None, first) and all(s.healthy for s in engine._servers.all)

        try:
            strike = lambda: os.killpg(first, signal.SIGKILL)  # noqa: E731
            return await asyncio.wait_for(stream(engine, ref, back, strike), 120)
        finally:
            await engine.stop()

    failures = [outcome for outcome in asyncio.run(run()) if isinstance(outcome, Exception)]
    assert not failures


async def eventually_healthy(engine, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not all(server.healthy for server in engine._servers.all):
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.02)


def test_a_killed_java_takes_its_worker_along(pair):
    java, worker = pair[1].child.pid, worker_of(pair[1])
    os.kill(java, signal.SIGKILL)
    eventually(lambda: not alive(java) and not alive(worker), "Java and its worker are gone")
