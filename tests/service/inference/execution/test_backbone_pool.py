"""Prompts of older backbones in the same batches, and what happens when such a backbone cannot be had."""

import asyncio
import threading
import time

import pytest
import structlog

from service import errors
from service.inference.execution import backbone_pool
from service.inference.local.engine import LocalEngine
from service.storage.blobs.paths import BackboneGone
from tests.service.inference.local.test_engine import Cache, Model, hold, question, until


class Old(Model):
    """A model of an older backbone; it refuses what belongs to another."""

    def __init__(self, sha256):
        super().__init__()
        self.backbone_sha256 = sha256

    def forward(self, rows):
        assert {prompt.backbone_sha256 for _, prompt in rows} == {self.backbone_sha256}
        return super().forward(rows)


class Store:
    """Gives old models, and notes it; some are lost."""

    def __init__(self):
        self.asked: list[str] = []
        self.lost: set[str] = set()
        self.models: dict[str, Old] = {}
        self.open = threading.Event()
        self.open.set()

    def __call__(self, sha256):
        self.asked.append(sha256)
        assert self.open.wait(10)
        if sha256 in self.lost:
            raise BackboneGone(f"the file of backbone {sha256} is damaged")
        self.models[sha256] = Old(sha256)
        return self.models[sha256]


def run_with_store(test, **options):
    """Run an async test with a started engine that knows older backbones."""
    model, store = Model(), Store()

    async def go():
        engine = LocalEngine(lambda: model, Cache(), load_old=store, **options)
        await engine.start()
        try:
            return await test(engine, model, store)
        finally:
            for one in (model, *store.models.values()):
                one.open.set()
            store.open.set()
            await engine.stop()

    return asyncio.run(go())


def test_each_row_of_a_mixed_batch_runs_on_its_own_backbone():
    async def test(engine, model, store):
        await asyncio.gather(engine.predict(question("old-1")), engine.predict(question("old-2")))
        first = await hold(engine, model)
        tenants = ["a", "old-1", "b", "old-2", "c"]
        rows = [asyncio.create_task(engine.predict(question(tenant))) for tenant in tenants]
        await until(lambda: engine.waiting == 5)
        model.open.set()
        await first
        assert [answer.prediction.label for answer in await asyncio.gather(*rows)] == tenants
        assert model.batches == [["first"], ["a", "b", "c"]]
        assert [store.models[name].batches for name in ("old-1", "old-2")] == [[["old-1"]] * 2, [["old-2"]] * 2]
        assert sorted(store.asked) == ["old-1", "old-2"], "loaded once"

    run_with_store(test)


def test_a_backbone_that_cannot_be_loaded_costs_its_own_rows_only_and_is_logged_once():
    async def test(engine, model, store):
        store.lost.add("old-lost")
        tenants = ["a", "old-lost", "b", "old-lost", "old-1"]
        with structlog.testing.capture_logs() as logs:
            answers = await asyncio.gather(*(engine.predict(question(t)) for t in tenants), return_exceptions=True)
            with pytest.raises(errors.EngineUnavailable, match="cannot be loaded"):
                await engine.predict(question("old-lost"))
        assert [answers[n].prediction.label for n in (0, 2, 4)] == ["a", "b", "old-1"]
        for n in (1, 3):
            assert isinstance(answers[n], errors.EngineUnavailable)
            assert "old-lost" in answers[n].detail
            assert "is damaged" in answers[n].detail
            assert answers[n].retry_after > 1
        assert store.asked.count("old-lost") == 1, "not read again for every request"
        assert sum(row["log_level"] == "error" for row in logs) == 1
        assert await engine.is_ready()

    run_with_store(test)


def test_a_backbone_that_comes_back_is_used(monkeypatch):
    monkeypatch.setattr(backbone_pool, "RETRY_AFTER_S", 0.0)

    async def test(engine, model, store):
        store.lost.add("old-1")
        with pytest.raises(errors.EngineUnavailable):
            await engine.predict(question("old-1"))
        store.lost.clear()
        assert (await engine.predict(question("old-1"))).prediction.label == "old-1"

    run_with_store(test)


def test_few_old_backbones_are_in_memory_and_the_least_recently_used_goes():
    async def test(engine, model, store):
        for name in ("old-1", "old-2", "old-1", "old-3", "old-1", "old-2"):
            assert (await engine.predict(question(name))).prediction.label == name
            assert engine.old_models <= 2
        assert store.asked == ["old-1", "old-2", "old-3", "old-2"]

    run_with_store(test, old_models=2)


def test_a_backbone_with_rows_on_their_way_stays_and_others_wait_for_its_place():
    async def test(engine, model, store):
        await engine.predict(question("old-1"))
        busy = store.models["old-1"]
        busy.open.clear()
        busy.entered.clear()
        running = asyncio.create_task(engine.predict(question("old-1")))
        await until(busy.entered.is_set)
        waits = asyncio.create_task(engine.predict(question("old-2")))
        with pytest.raises(errors.DeadlineExceeded):
            await engine.predict(question("old-3", seconds=0.05))
        assert store.asked == ["old-1"]
        busy.open.set()
        assert (await running).prediction.label == "old-1"
        assert (await waits).prediction.label == "old-2"
        assert engine.old_models == 1

    run_with_store(test, old_models=1)


def test_a_client_that_leaves_while_its_backbone_loads_takes_nothing_from_the_others():
    async def test(engine, model, store):
        store.open.clear()
        gone, stays = (asyncio.create_task(engine.predict(question("old-1"))) for _ in range(2))
        await until(lambda: store.asked)
        gone.cancel()
        assert (await engine.predict(question("a"))).prediction.label == "a", "nobody else waits for a backbone"
        store.open.set()
        assert (await stays).prediction.label == "old-1"
        assert store.asked == ["old-1"]

    run_with_store(test)


def test_an_old_backbone_whose_batch_fails_leaves_the_current_one_alone():
    async def test(engine, model, store):
        await engine.predict(question("old-1"))
        store.models["old-1"].forward = lambda rows: (_ for _ in ()).throw(SystemError("broken"))
        first = await hold(engine, model)
        rows = [asyncio.create_task(engine.predict(question(tenant))) for tenant in ("old-1", "a")]
        await until(lambda: engine.waiting == 2)
        model.open.set()
        await first
        answers = await asyncio.gather(*rows, return_exceptions=True)
        assert isinstance(answers[0], errors.EngineUnavailable)
        assert answers[1].prediction.label == "a"

    run_with_store(test)


def test_the_wait_for_a_backbone_ends_with_the_deadline():
    async def test(engine, model, store):
        store.open.clear()
        began = time.monotonic()
        with pytest.raises(errors.DeadlineExceeded):
            await engine.predict(question("old-1", seconds=0.05))
        assert time.monotonic() - began < 5

    run_with_store(test)
