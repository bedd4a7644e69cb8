"""TorchServe parts that die while rows are under way: what a caller sees, and how soon it is over."""

import asyncio
import os
import signal
import time

import numpy as np
import pytest

from service import errors
from service.inference.interface import PredictionInput
from service.inference.torchserve.engine import TorchServeEngine
from tests.support.engine_rows import person, random_prompt
from tests.support.polling import alive, eventually
from tests.support.torchserve_process import TorchServeRoom, worker_of

pytestmark = pytest.mark.services

BACK_S = 15.0  # the promise for an engine that was killed, on a machine that does little else


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    return TorchServeRoom(tmp_path_factory.mktemp("torchserve"))


@pytest.fixture(scope="module")
def taught(room):
    """Prompts of four tenants, whose answers to one clip differ."""
    prompts = [random_prompt(room.engine, seed) for seed in range(4)]
    return [(prompt, room.publish(prompt)) for prompt in prompts]


@pytest.fixture(scope="module")
def pair(room):
    with room.serving(2) as servers:
        yield servers


@pytest.fixture(scope="module")
def patience(pair):
    """Seconds that a recovery may take: a busy machine is as slow at it as it is at a start, which is measured here."""

    async def start():
        engine = TorchServeEngine([server.url for server in pair])
        await engine.start()
        try:
            await eventually_healthy(engine)
        finally:
            await engine.stop()

    began = time.monotonic()
    asyncio.run(start())
    return max(BACK_S, 3 * (time.monotonic() - began))


def question(ref, seed=0):
    return PredictionInput(person(seed), ref, 2, None, time.monotonic() + 60)


async def stream(engine, taught, until, strike, seconds):
    """Ask for all tenants at a time, `strike` after their first answers, and go on until `until` is true.

    Fails where that takes more than `seconds`. Gives all rows: prompt, question, and the answer or the exception.
    """
    rows, struck = [], None
    while len(rows) < 2 * len(taught) or not await until():
        asked = [(prompt, question(ref, len(rows) + n)) for n, (prompt, ref) in enumerate(taught)]
        sent = [asyncio.ensure_future(engine.ask(each)) for _, each in asked]
        await asyncio.sleep(0.001)  # the rows are on their way by now
        if len(rows) == len(taught):
            struck = time.monotonic()
            strike()
        outcomes = await asyncio.gather(*sent, return_exceptions=True)
        rows += [(*each, outcome) for each, outcome in zip(asked, outcomes, strict=True)]
        assert struck is None or time.monotonic() - struck < seconds, outcomes
        await asyncio.sleep(0.01)
    return rows


def check_answers(room, rows):
    """Every answer is the one of its own tenant's prompt to its own clip; gives how many there are."""
    answered = [row for row in rows if not isinstance(row[2], Exception)]
    for prompt, asked, (answer, logits) in answered:
        (expected,) = room.engine.forward([(asked.person, prompt)])
        np.testing.assert_allclose(logits, expected, atol=1e-5, rtol=1e-5)
        assert answer.prediction.label == room.engine.finish(asked.person, prompt, expected, top_k=2).label
    return len(answered)


def test_a_killed_worker_costs_503_with_retry_after_until_another_is_ready_and_no_wrong_answer(
    room, pair, taught, patience
):
    server = pair[0]

    async def run():
        engine = TorchServeEngine([server.url], management_url=server.management_url)
        await engine.start()
        killed = {}

        def strike():
            killed["pid"] = worker_of(server)
            os.kill(killed["pid"], signal.SIGKILL)

        async def ready():
            return "pid" in killed and worker_of(server) != killed["pid"] and await engine.is_ready()

        try:
            rows = await stream(engine, taught, ready, strike, patience)
            return rows, [(taught[0][0], asked, await engine.ask(asked)) for asked in (question(taught[0][1]),)]
        finally:
            await engine.stop()

    rows, afterwards = asyncio.run(run())
    failures = [outcome for _, _, outcome in rows if isinstance(outcome, Exception)]
    assert {type(failure) for failure in failures} <= {errors.EngineUnavailable}, failures
    assert all(failure.retry_after for failure in failures)
    assert check_answers(room, rows) >= len(taught)
    assert check_answers(room, afterwards) == 1


def test_rows_of_a_killed_server_are_answered_by_the_other_and_it_comes_back(room, pair, taught, patience):
    async def run():
        engine = TorchServeEngine([server.url for server in pair])
        await engine.start()
        await eventually_healthy(engine)
        first = pair[0].child.pid

        async def back():
            return pair[0].child.pid not in (None, first) and all(s.healthy for s in engine._servers.all)

        try:
            strike = lambda: os.killpg(first, signal.SIGKILL)  # noqa: E731
            return await stream(engine, taught, back, strike, patience)
        finally:
            await engine.stop()

    rows = asyncio.run(run())
    assert not [outcome for _, _, outcome in rows if isinstance(outcome, Exception)]
    assert check_answers(room, rows) == len(rows)


async def eventually_healthy(engine, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not all(server.healthy for server in engine._servers.all):
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.02)


def test_a_killed_java_takes_its_worker_along(pair):
    java, worker = pair[1].child.pid, worker_of(pair[1])
    os.kill(java, signal.SIGKILL)
    eventually(lambda: not alive(java) and not alive(worker), "Java and its worker are gone")
