"""The engine in a real TorchServe: the answers of the embedded one, and rows that cannot harm each other."""

import asyncio
import os
import signal
import time
from dataclasses import replace

import aiohttp
import numpy as np
import pytest

from service import errors
from service.backbone_loader import BackboneCompatibility
from service.inference.interface import PredictionInput
from service.inference.torchserve import codec
from service.inference.torchserve.engine import PATH, TorchServeEngine
from service.metrics import Metrics
from service.storage.blobs.paths import backbone_blob
from skeleton_prompt.model.prompt_file import PromptRef
from tests.support.engine_rows import person, random_prompt
from tests.support.storage_fixtures import storing, teach, tenant_of
from tests.support.torchserve_process import TorchServeRoom, backbone_file, worker_of

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    return TorchServeRoom(tmp_path_factory.mktemp("torchserve"))


@pytest.fixture(scope="module")
def local(room):
    with room.serving() as (only,):
        yield only


@pytest.fixture(scope="module")
def taught(room):
    """Prompts of four tenants, two of them with a module."""
    prompts = [random_prompt(room.engine, seed, classes=3 + seed, blend=0.5 * (seed > 1)) for seed in range(4)]
    return [(prompt, room.publish(prompt)) for prompt in prompts]


def question(ref, seed=0, **fields):
    return PredictionInput(person(seed, **fields), ref, 2, None, time.monotonic() + 120)


def with_engine(local, work):
    """Run some work with a started engine; gives what it gives."""

    async def run():
        engine = TorchServeEngine([local.url], management_url=local.management_url)
        await engine.start()
        try:
            return await work(engine)
        finally:
            await engine.stop()

    return asyncio.run(run())


def test_mixed_tenants_in_one_batch_get_the_logits_and_answers_of_the_embedded_engine(room, local, taught):
    rows = [
        (prompt, question(ref, seed, windows=1 + seed % 2, depth=seed % 3 == 0))
        for seed in range(12)
        for prompt, ref in taught
    ]

    async def work(engine):
        return await asyncio.gather(*(engine.ask(asked) for _, asked in rows)), engine.backbone_sha256

    got, backbone = with_engine(local, work)
    assert backbone == room.engine.backbone_sha256
    for (prompt, asked), (answer, logits) in zip(rows, got, strict=True):
        (expected,) = room.engine.forward([(asked.person, prompt)])
        np.testing.assert_allclose(logits, expected, atol=1e-5, rtol=1e-5)
        said = room.engine.finish(asked.person, prompt, expected, top_k=2)
        assert (answer.prediction.label, answer.prediction.known) == (said.label, said.known)
        assert answer.prediction.confidence == pytest.approx(said.confidence, abs=1e-5)
        assert [label for label, _ in answer.prediction.predictions] == [label for label, _ in said.predictions]
    assert "memory" in {answer.cache for answer, _ in got[len(taught) :]}


def test_a_long_row_goes_out_in_chunks_and_has_the_logits_of_one_piece(room, local, taught):
    rows = [(prompt, question(ref, 3, windows=9, depth=deep)) for prompt, ref in taught for deep in (False, True)]

    async def work(engine):
        return await asyncio.gather(*(engine.ask(asked) for _, asked in rows))

    for (prompt, asked), (_, logits) in zip(rows, with_engine(local, work), strict=True):
        (expected,) = room.engine.forward([(asked.person, prompt)])
        np.testing.assert_allclose(logits, expected, atol=2e-5, rtol=1e-5)


def test_a_row_that_cannot_be_answered_fails_alone_with_its_own_error(room, local, taught):
    (_, good), (_, other) = taught[:2]
    stranger = random_prompt(room.engine, 9)
    crooked = room.publish(replace(stranger, backbone_sha256="f" * 64))
    refused = [
        (PromptRef(good.tenant, good.version, "0" * 64), errors.VersionNotFound),
        (PromptRef(other.tenant, good.version, good.sha256), errors.VersionNotFound),
        (PromptRef(good.tenant, 7, good.sha256), errors.VersionNotFound),
        (crooked, errors.EngineUnavailable),
    ]

    async def work(engine):
        asked = [question(ref, n) for ref, _ in refused for n in range(2)] + [question(good, n) for n in range(8)]
        return await asyncio.gather(*map(engine.predict, asked), return_exceptions=True)

    got = with_engine(local, work)
    for n, (_, kind) in enumerate(refused):
        assert {type(error) for error in got[2 * n : 2 * n + 2]} == {kind}, got
    assert all(error.retry_after for error in got[:8] if isinstance(error, errors.EngineUnavailable))
    assert all(not isinstance(answer, Exception) for answer in got[8:]), got


def test_malformed_and_late_rows_are_told_so_and_their_neighbours_answered(local, taught):
    _, ref = taught[0]
    asked = question(ref)
    body, headers = codec.encode_input(asked), codec.encode_headers(asked)
    rows = [
        (b"", headers, 400),
        (b"SPR1" + b"\xff" * 300, headers, 400),
        (body[:-4], headers, 400),
        (body.replace(body[40:44], np.float32("nan").tobytes(), 1), headers, 400),
        (body, {**headers, codec.DEADLINE: f"{time.time() - 1}"}, 504),
        (body, {**headers, codec.DEADLINE: "soon"}, 400),
        (body, {**headers, codec.VERSION: "1.5"}, 400),
        (body, {name: value for name, value in headers.items() if name != codec.TENANT}, 400),
        *[(body, headers, 200)] * 4,
    ]

    async def work(engine):
        async def send(session, body, headers):
            headers = {**headers, "Content-Type": "application/octet-stream"}
            async with session.post(local.url + PATH, data=body, headers=headers) as response:
                return response.status, response.content_type

        async with aiohttp.ClientSession() as session:
            return await asyncio.gather(*(send(session, body, headers) for body, headers, _ in rows))

    assert with_engine(local, work) == [(status, codec.CONTENT_TYPE) for _, _, status in rows]


def test_a_prompt_made_on_an_older_backbone_is_answered_on_it(room, local, tmp_path):
    from skeleton_prompt.model.engine import Engine

    path = backbone_file(tmp_path, seed=3)
    old = Engine.load(path)
    room.blobs.write(backbone_blob(old.backbone_sha256), path.read_bytes())
    prompt = random_prompt(old, 5)
    asked = question(room.publish(prompt))

    async def work(engine):
        return await engine.ask(asked)

    _, logits = with_engine(local, work)
    np.testing.assert_allclose(logits, old.forward([(asked.person, prompt)])[0], atol=1e-5, rtol=1e-5)


def test_rows_past_the_limit_are_refused_and_a_greedy_tenant_first(local, taught):
    (_, greedy), (_, modest) = taught[:2]

    async def run():
        engine = TorchServeEngine([local.url], queue_size=8)
        await engine.start()
        try:
            many = [asyncio.ensure_future(engine.predict(question(greedy, n))) for n in range(12)]
            await asyncio.sleep(0)
            one = await engine.predict(question(modest))
            return one, await asyncio.gather(*many, return_exceptions=True)
        finally:
            await engine.stop()

    one, got = asyncio.run(run())
    assert one.prediction
    assert 0 < sum(isinstance(answer, errors.Overloaded) for answer in got) < 12
    assert all(answer.retry_after for answer in got if isinstance(answer, errors.Overloaded))


def test_rows_that_became_late_in_torchserves_queue_are_answered_so_and_never_computed(local, taught):
    _, ref = taught[0]
    late, patient = (PredictionInput(person(0), ref, 2, None, time.monotonic() + seconds) for seconds in (0.3, 120))
    worker = worker_of(local)

    async def work(engine):
        async def send(session, asked):
            headers = {**codec.encode_headers(asked), "Content-Type": "application/octet-stream"}
            async with session.post(local.url + PATH, data=codec.encode_input(asked), headers=headers) as response:
                return response.status

        await engine.refresh()
        before = engine._servers.all[0].figures.late
        os.kill(worker, signal.SIGSTOP)
        try:
            async with aiohttp.ClientSession() as session:
                rows = [asyncio.ensure_future(send(session, asked)) for asked in (late, late, patient)]
                while time.monotonic() < late.deadline:
                    await asyncio.sleep(0.01)
                os.kill(worker, signal.SIGCONT)
                got = await asyncio.gather(*rows)
        finally:
            os.kill(worker, signal.SIGCONT)
        await engine.refresh()
        return got, engine._servers.all[0].figures.late - before

    assert with_engine(local, work) == ([504, 504, 200], 2)


@pytest.fixture
def storage(tmp_path):
    with storing(tmp_path / "gateway") as opened:
        yield opened


def value(page, name):
    """The sum over all labels of a metric."""
    lines = [line for line in page.splitlines() if line.startswith((f"{name} ", f"{name}{{"))]
    assert lines, f"no {name} in\n{page}"
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def test_the_gateways_metrics_show_each_instance_and_its_prompt_cache(room, local, taught, storage):
    metrics = Metrics()
    nowhere = "http://127.0.0.1:9"

    async def run():
        engine = TorchServeEngine([local.url, nowhere])
        engine.bind(metrics, BackboneCompatibility(storage, str(room.backbone)))
        await engine.start()
        try:
            answers = await asyncio.gather(*(engine.predict(question(ref, n)) for n in range(6) for _, ref in taught))
            engine._servers.all[1].healthy = True  # as when it has just died
            engine._servers.all[0].in_flight += 1  # so that the dead one is asked first
            answers.append(await engine.predict(question(taught[0][1])))
            await engine.refresh()
            return answers, metrics.page().decode()
        finally:
            await engine.stop()

    answers, page = asyncio.run(run())
    name, dead = (url.removeprefix("http://") for url in (local.url, nowhere))
    for line in (
        f'skeleton_prompt_engine_up{{engine="{name}"}} 1.0',
        f'skeleton_prompt_engine_up{{engine="{dead}"}} 0.0',
        f'skeleton_prompt_engine_requests_total{{engine="{name}",outcome="answered"}} {len(answers):.1f}',
        f'skeleton_prompt_engine_requests_total{{engine="{dead}",outcome="unreachable"}} 1.0',
        f'skeleton_prompt_engine_retries_total{{engine="{name}"}} 1.0',
        f'skeleton_prompt_engine_ejections_total{{engine="{dead}"}} 1.0',
        f'skeleton_prompt_engine_info{{engine="{name}",sha256="{room.engine.backbone_sha256}"}} 1.0',
    ):
        assert line in page.splitlines(), page
    assert value(page, "skeleton_prompt_batch_size_sum") == len(answers)
    assert value(page, "skeleton_prompt_engine_request_duration_seconds_count") == len(answers)
    assert value(page, "skeleton_prompt_engine_prompt_cache_entries") >= len(taught)
    assert value(page, "skeleton_prompt_engine_prompt_cache_bytes") > 0
    assert value(page, "skeleton_prompt_engine_prompt_loads_total") >= len(taught)


def test_an_instance_on_a_backbone_that_nobody_is_served_on_is_refused_and_both_are_named(room, local, storage):
    other = backbone_file(room.folder, seed=4)
    check = BackboneCompatibility(storage, str(other))

    async def run():
        engine = TorchServeEngine([local.url])
        engine.bind(Metrics(), check)
        with pytest.raises(errors.EngineUnavailable) as refused:
            await engine.start()
        return refused.value.detail, engine.unavailable_reason

    for said in asyncio.run(run()):
        assert room.engine.backbone_sha256[:12] in said
        assert check.sha256[:12] in said
        assert "skeleton-prompt archive" in said


def test_an_instance_on_an_older_backbone_serves_as_long_as_the_gateway_lives_if_tenants_were_on_it(
    room, local, storage
):
    from skeleton_prompt.model.engine import Engine

    other = backbone_file(room.folder, seed=4)
    new = Engine.load(other)
    room.blobs.write(backbone_blob(new.backbone_sha256), other.read_bytes())
    tuned = room.publish(replace(random_prompt(new, 5), tenant="tuned-again"))
    teach(tenant_of(storage))
    with storage.database.write() as connection:
        connection.exec_driver_sql("UPDATE prompts SET backbone_sha256 = ?", (room.engine.backbone_sha256,))
    check = BackboneCompatibility(storage, str(other))

    async def run():
        engine = TorchServeEngine([local.url])
        engine.bind(Metrics(), check)
        await engine.start()
        try:
            with storage.database.write() as connection:
                connection.exec_driver_sql("UPDATE prompts SET backbone_sha256 = ?", (check.sha256,))
            return await engine.is_ready(), engine.backbone_sha256, await engine.predict(question(tuned))
        finally:
            await engine.stop()

    ready, sha256, answer = asyncio.run(run())
    assert (ready, sha256) == (True, new.backbone_sha256), "new prompts are made on the gateway's backbone"
    assert answer.prediction.predictions


def test_the_doctor_says_that_an_instance_predicts_and_on_which_backbone(room, local, monkeypatch, tmp_path):
    from service.cli.engine_check import engine_findings

    monkeypatch.chdir(tmp_path)
    for name, value in {"engine": "torchserve", "engine_url": local.url, "data_dir": tmp_path}.items():
        monkeypatch.setenv(f"SKELETON_PROMPT_{name.upper()}", str(value))
    for backbone, ok in ((room.backbone, True), (backbone_file(room.folder, seed=4), None)):
        monkeypatch.setenv("SKELETON_PROMPT_BACKBONE", str(backbone))
        (found,) = engine_findings()
        assert (found.ok, room.engine.backbone_sha256[:12] in found.found) == (ok, True)


def test_no_more_rows_are_sent_than_are_answered_in_time():
    engine = TorchServeEngine(["http://127.0.0.1:9", "http://127.0.0.1:10"], queue_size=100, queue_seconds=0.5)
    engine._row_s, engine._batch_rows = 0.05, 4
    engine._servers.all[0].healthy = True
    engine._rows["a"], engine._rows["b"] = 8, 8
    engine.check_admission("a")
    engine._rows["b"] = 9  # ten in half a second, and two batches
    engine._rows["c"] = 1
    with pytest.raises(errors.Overloaded, match="max_queue_wait_seconds"):
        engine.check_admission("d")
    engine._servers.all[1].healthy = True
    engine.check_admission("d")
    engine._row_s = 1e-6
    engine._rows["b"] = 99
    with pytest.raises(errors.Overloaded, match="max_queue_rows"):
        engine.check_admission("d")


def test_a_model_that_was_scaled_to_no_worker_gets_one_again(local, taught):
    _, ref = taught[0]

    async def work(engine):
        async with aiohttp.ClientSession() as session:
            url = f"{local.management_url}/models/skeleton_prompt?min_worker=0&max_worker=0&synchronous=true"
            async with session.put(url) as response:
                assert response.status == 200
        assert not await engine.is_ready()
        deadline = time.monotonic() + 60
        while not await engine.is_ready():
            assert time.monotonic() < deadline, "there is a worker again"
            await asyncio.sleep(0.5)
        return await engine.predict(question(ref))

    assert with_engine(local, work).prediction.predictions
