"""Long clips in the local engine, with a model that takes a fixed time for each window."""

import asyncio
import time

import numpy as np
import pytest

from service import errors
from service.inference.interface import PredictionInput, WorkerCrashed
from service.inference.local.engine import LocalEngine
from skeleton_prompt.model.prompt_file import PromptRef
from skeleton_prompt.model.window_sums import WindowSums
from tests.service.inference.local.test_engine import Cache, Model, until
from tests.support.engine_rows import person

WINDOW_S = 0.005


class SlowModel(Model):
    """Sleeps for each window and notes whose windows it computed; may crash for some tenants."""

    def __init__(self):
        super().__init__()
        self.windows: list[tuple[str, int]] = []
        self.sizes: list[int] = []
        self.crash: dict[str, int] = {}

    def forward_chunks(self, chunks):
        time.sleep(WINDOW_S * sum(len(chunk.person.pose) for chunk in chunks))
        self.sizes.append(len(chunks))
        for chunk in chunks:
            self.windows.append((chunk.prompt.tenant, len(chunk.person.pose)))
        for chunk in chunks:
            if self.crash.get(chunk.prompt.tenant, 0) > 0:
                self.crash[chunk.prompt.tenant] -= 1
                raise WorkerCrashed
        return [
            np.zeros(2, np.float32) if chunk.last else WindowSums(1, np.zeros(1), None, None, np.zeros(1))
            for chunk in chunks
        ]


def asked(tenant, windows=1, seconds=60.0):
    return PredictionInput(
        person(0, windows=windows), PromptRef(tenant, 1, "0" * 64), 5, None, time.monotonic() + seconds
    )


def with_slow_engine(work, **options):
    model = SlowModel()

    async def go():
        engine = LocalEngine(lambda: model, Cache(), **options)
        await engine.start()
        try:
            return await work(engine, model)
        finally:
            await engine.stop()

    return asyncio.run(go())


def test_a_tenant_at_its_worst_delays_another_by_one_chunk_at_most():
    async def work(engine, model):
        async def heavy():
            while True:
                rows = (engine.predict(asked("heavy", windows=7)) for _ in range(15))
                await asyncio.gather(*rows, return_exceptions=True)

        clients = [asyncio.create_task(heavy()) for _ in range(2)]
        await until(lambda: engine.waiting > 15)
        delays = []
        for _ in range(40):
            before = len(model.windows)
            await engine.predict(asked("peeked"))
            passed = model.windows[before : model.windows.index(("peeked", 1), before)]
            delays.append(sum(windows for _, windows in passed))
        for client in clients:
            client.cancel()
        assert max(delays) <= 4, "windows of the heavy tenant before those of the light one"
        assert max(model.sizes) == 1, "no chunk of a long row shares the light tenant's batch"

    with_slow_engine(work)


def test_a_row_past_its_deadline_stops_between_chunks():
    async def work(engine, model):
        with pytest.raises(errors.DeadlineExceeded):
            await engine.predict(asked("long", windows=400, seconds=0.1))
        await engine.predict(asked("next"))
        assert sum(windows for tenant, windows in model.windows if tenant == "long") < 60

    with_slow_engine(work)


def test_a_row_whose_client_leaves_stops_between_chunks():
    async def work(engine, model):
        gone = asyncio.create_task(engine.predict(asked("long", windows=400)))
        await until(lambda: model.windows)
        gone.cancel()
        await asyncio.sleep(0)
        await engine.predict(asked("next"))
        assert sum(windows for tenant, windows in model.windows if tenant == "long") < 40

    with_slow_engine(work)


def test_rows_of_a_crashed_process_are_computed_again_and_the_one_to_blame_alone():
    async def work(engine, model):
        model.crash = {"poisoned": 2}
        rows = [engine.predict(asked(tenant)) for tenant in ("a", "poisoned", "b")]
        first, second, third = await asyncio.gather(*rows, return_exceptions=True)
        assert isinstance(second, errors.EngineUnavailable)
        assert [first.prediction.label, third.prediction.label] == ["a", "b"]

    with_slow_engine(work)


def test_a_long_row_goes_on_where_a_crash_left_it():
    async def work(engine, model):
        model.crash = {"long": 1}
        answer = await engine.predict(asked("long", windows=8))
        assert answer.prediction.label == "long"
        assert model.windows == [("long", 4)] * 3

    with_slow_engine(work)
