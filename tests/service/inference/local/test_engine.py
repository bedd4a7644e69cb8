"""The batcher, with a model that does what a test tells it to."""

import asyncio
import math
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from service import errors
from service.inference.interface import PredictionInput
from service.inference.local.engine import PROBE_INPUT, LocalEngine
from skeleton_prompt.model import prompt_file
from skeleton_prompt.model.decision import Prediction
from skeleton_prompt.model.prompt_file import PromptRef


class Model:
    """Notes each batch; a gate holds it while a test arranges the queue."""

    backbone_sha256 = "now"

    def __init__(self):
        self.batches: list[list[str]] = []
        self.open = threading.Event()
        self.open.set()
        self.entered = threading.Event()
        self.fail_batches = False

    def features(self, people, batch_size=16):
        return np.zeros((len(people), 1), np.float32)

    def forward(self, rows):
        self.entered.set()
        assert self.open.wait(10)
        self.batches.append([prompt.tenant for _, prompt in rows])
        tenants = {prompt.tenant for _, prompt in rows}
        if "breaks-batches" in tenants:
            raise MemoryError("no room")
        return [ValueError("bad row") if prompt.tenant == "bad" else np.zeros(2, np.float32) for _, prompt in rows]

    def forward_chunks(self, chunks):
        return self.forward([(chunk.person, chunk.prompt) for chunk in chunks])

    def finish(self, person, prompt, logits, *, top_k=5, threshold=None, refusal=None, coverage=None):
        if prompt.tenant == "unfinishable":
            raise KeyError("label")
        return Prediction(prompt.tenant, True, 1.0, ((prompt.tenant, 1.0),))


def prompt_of(ref):
    """A prompt; tenants named ``old-…`` have theirs on an older backbone of that name."""
    return SimpleNamespace(tenant=ref.tenant, backbone_sha256=ref.tenant if ref.tenant.startswith("old-") else "now")


class Cache:
    def peek(self, ref):
        return prompt_of(ref) if ref.tenant == "peeked" else None

    def get(self, ref):
        if ref.tenant == "absent":
            raise OSError("no such file")
        if ref.tenant == "old":
            raise prompt_file.BackboneMismatch("made for another backbone")
        return prompt_of(ref), "memory"


def question(tenant="acme", seconds=10.0):
    return PredictionInput(PROBE_INPUT, PromptRef(tenant, 1, "0" * 64), 5, None, time.monotonic() + seconds)


async def settle():
    """Let every task and thread that can go on do so, without a fixed pause."""
    for _ in range(50):
        await asyncio.sleep(0.001)


async def until(condition, seconds=5.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.001)


def run_with_engine(test, **options):
    """Run an async test with a started engine."""
    model = Model()

    async def go():
        engine = LocalEngine(lambda: model, Cache(), **options)
        await engine.start()
        try:
            return await test(engine, model)
        finally:
            model.open.set()
            await engine.stop()

    return asyncio.run(go())


async def hold(engine, model):
    """Have the engine busy with one row, so that others queue; gives that row's task."""
    model.open.clear()
    model.entered.clear()
    task = asyncio.create_task(engine.predict(question("first")))
    await until(model.entered.is_set)
    return task


def test_a_row_gets_the_prediction_of_its_own_tenant():
    async def test(engine, model):
        tenants = [*(f"t{n}" for n in range(40)), "peeked"]
        answers = await asyncio.gather(*(engine.predict(question(t)) for t in tenants))
        assert [answer.prediction.label for answer in answers] == tenants
        assert all(answer.cache == "memory" and math.isfinite(answer.forward_ms) for answer in answers)

    run_with_engine(test)


def test_rows_that_arrive_while_the_engine_is_busy_share_the_next_batch():
    async def test(engine, model):
        first = await hold(engine, model)
        others = [asyncio.create_task(engine.predict(question(f"t{n}"))) for n in range(6)]
        await until(lambda: engine.waiting == 6)
        model.open.set()
        await asyncio.gather(first, *others)
        assert [len(batch) for batch in model.batches] == [1, 4, 2]

    run_with_engine(test, batch_size=4)


@pytest.mark.parametrize("culprit", ["bad", "breaks-batches", "unfinishable"])
def test_a_row_that_fails_never_harms_its_neighbours(culprit):
    async def test(engine, model):
        first = await hold(engine, model)
        tenants = ["a", culprit, "b", "c"]
        rows = [asyncio.create_task(engine.predict(question(tenant))) for tenant in tenants]
        await until(lambda: engine.waiting == 4)
        model.open.set()
        await first
        outcomes = await asyncio.gather(*rows, return_exceptions=True)
        assert isinstance(outcomes[1], errors.EngineUnavailable)
        assert [outcomes[n].prediction.label for n in (0, 2, 3)] == ["a", "b", "c"]
        assert (await engine.predict(question("later"))).prediction.label == "later"

    run_with_engine(test)


def test_a_full_queue_refuses_with_a_time_to_come_back():
    async def test(engine, model):
        first = await hold(engine, model)
        waiting = [asyncio.create_task(engine.predict(question("a"))) for _ in range(3)]
        await until(lambda: engine.waiting == 3)
        with pytest.raises(errors.Overloaded) as caught:
            await engine.predict(question("a"))
        assert caught.value.retry_after >= 1
        model.open.set()
        assert len(await asyncio.gather(first, *waiting)) == 4

    run_with_engine(test, queue_size=3)


def test_a_row_that_would_wait_too_long_is_refused_at_once_but_never_one_batch():
    async def test(engine, model):
        engine._window_s = 10.0  # as if each row took that long
        first = await hold(engine, model)
        waiting = [asyncio.create_task(engine.predict(question("a"))) for _ in range(4)]
        await until(lambda: engine.waiting == 4)
        with pytest.raises(errors.Overloaded, match=r"40\.00 s .*max_queue_wait_seconds") as caught:
            await engine.predict(question("a"))
        assert caught.value.retry_after == 40
        engine._window_s = 0.001
        waiting.append(asyncio.create_task(engine.predict(question("a"))))
        await until(lambda: engine.waiting == 5)
        model.open.set()
        assert len(await asyncio.gather(first, *waiting)) == 6

    run_with_engine(test, batch_size=4, queue_seconds=0.5)


def test_a_tenant_is_told_beforehand_that_it_would_be_refused():
    async def test(engine, model):
        first = await hold(engine, model)
        waiting = [asyncio.create_task(engine.predict(question("greedy"))) for _ in range(3)]
        await until(lambda: engine.waiting == 3)
        engine.check_admission("modest")
        with pytest.raises(errors.Overloaded):
            engine.check_admission("greedy")
        model.open.set()
        await asyncio.gather(first, *waiting)
        engine.check_admission("greedy")

    run_with_engine(test, queue_size=3)


def test_several_threads_compute_several_batches_at_once():
    async def test(engine, model):
        first = await hold(engine, model)
        model.entered.clear()
        second = asyncio.create_task(engine.predict(question("second")))
        await until(model.entered.is_set)
        assert not first.done()
        model.open.set()
        await asyncio.gather(first, second)
        assert sorted(model.batches) == [["first"], ["second"]]

    run_with_engine(test, threads=2)


def test_what_computes_is_let_go_when_nothing_computes_any_more():
    told = []

    async def test(engine, model):
        await engine.predict(question())
        engine._on_stop = lambda: told.append([thread.is_alive() for thread in engine._threads])

    run_with_engine(test, threads=2)
    assert told == [[False, False]]


def test_a_tenant_that_fills_the_queue_loses_a_place_to_one_that_has_none():
    async def test(engine, model):
        first = await hold(engine, model)
        greedy = [asyncio.create_task(engine.predict(question("greedy"))) for _ in range(4)]
        await until(lambda: engine.waiting == 4)
        modest = asyncio.create_task(engine.predict(question("modest")))
        await until(lambda: any(task.done() for task in greedy))
        model.open.set()
        assert (await modest).prediction.label == "modest"
        await first
        outcomes = await asyncio.gather(*greedy, return_exceptions=True)
        assert sum(isinstance(outcome, errors.Overloaded) for outcome in outcomes) == 1

    run_with_engine(test, queue_size=4)


def test_tenants_take_turns():
    async def test(engine, model):
        first = await hold(engine, model)
        rows = [asyncio.create_task(engine.predict(question("busy"))) for _ in range(8)]
        await until(lambda: engine.waiting == 8)
        rows += [asyncio.create_task(engine.predict(question("rare"))) for _ in range(2)]
        await until(lambda: engine.waiting == 10)
        model.open.set()
        await asyncio.gather(first, *rows)
        assert model.batches[1:3] == [["busy", "rare"], ["busy", "rare"]]

    run_with_engine(test, batch_size=2)


def test_a_row_past_its_deadline_is_answered_so_and_never_computed():
    async def test(engine, model):
        first = await hold(engine, model)
        with pytest.raises(errors.DeadlineExceeded):
            await engine.predict(question("late", seconds=0.05))
        model.open.set()
        await first
        await engine.predict(question("next"))
        assert "late" not in [tenant for batch in model.batches for tenant in batch]

    run_with_engine(test)


def test_a_row_whose_client_left_is_dropped():
    async def test(engine, model):
        first = await hold(engine, model)
        gone = asyncio.create_task(engine.predict(question("gone")))
        await until(lambda: engine.waiting == 1)
        gone.cancel()
        await settle()
        model.open.set()
        await first
        await engine.predict(question("next"))
        assert model.batches == [["first"], ["next"]]

    run_with_engine(test)


def test_trouble_with_a_prompt_is_told_apart_from_a_prompt_of_another_backbone():
    async def test(engine, model):
        with pytest.raises(errors.EngineUnavailable):
            await engine.predict(question("absent"))
        with pytest.raises(errors.BackboneMismatch):
            await engine.predict(question("old"))
        assert (await engine.predict(question())).prediction.known

    run_with_engine(test)


def test_the_probe_is_a_real_forward_pass_and_a_busy_engine_is_not_a_dead_one():
    async def test(engine, model):
        assert await engine.is_ready()
        first = await hold(engine, model)
        waiting = asyncio.create_task(engine.predict(question("a")))
        await until(lambda: engine.waiting == 1)
        assert await engine.is_ready(), "busy"
        model.open.set()
        await asyncio.gather(first, waiting)
        model.features = lambda people, batch_size=16: np.full((len(people), 1), np.nan)
        assert not await engine.is_ready(), "what it computes is not finite"

    run_with_engine(test)


def test_an_engine_that_stops_refuses_what_waits_and_what_comes():
    async def test(engine, model):
        first = await hold(engine, model)
        waiting = asyncio.create_task(engine.predict(question("a")))
        await until(lambda: engine.waiting == 1)
        stopping = asyncio.create_task(engine.stop())
        with pytest.raises(errors.EngineUnavailable):
            await waiting
        model.open.set()
        await asyncio.gather(first, stopping)
        assert not await engine.is_ready()

    run_with_engine(test)
