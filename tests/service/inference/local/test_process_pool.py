"""Engine processes: they compute what the engine computes, and their end is nobody else's."""

import dataclasses
import gc
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from service.errors import EngineUnavailable
from service.inference.local import process_pool
from service.inference.local.process_pool import EngineProcessPool, EngineStartError
from skeleton_prompt.model.backbone import backbone_bytes
from skeleton_prompt.model.engine import Engine, backbone_path
from skeleton_prompt.model.prompt_file import BackboneMismatch, BadPrompt, digest
from tests.support.engine_rows import person, random_prompt
from tests.support.polling import alive, eventually

pytestmark = pytest.mark.services

OPTIONS = {"device": "cpu", "cuda_graphs": False}
PARTS = ({}, {"curve": 3, "likeness": 5}, {"temporal": 0.4}, {"blend": 0.3, "background": True})


@pytest.fixture(scope="module")
def local():
    """The engine in this process, which says what is right."""
    return Engine.load("edge", **OPTIONS)


@pytest.fixture(scope="module")
def pool():
    running = EngineProcessPool("edge", OPTIONS)
    try:
        running.current()
        yield running
    finally:
        running.close()


@pytest.fixture
def model(pool, monkeypatch):
    """The current model, whose processes a slow machine may take longer to start again than a request would wait."""
    monkeypatch.setattr(process_pool, "ACQUIRE_TIMEOUT_S", 60.0)
    monkeypatch.setattr(process_pool, "LONGEST_PAUSE_S", 0.2)
    return pool.current()


def rows_of(engine, seeds=(0, 1, 2, 3)):
    prompts = [random_prompt(engine, seed, **PARTS[seed % len(PARTS)]) for seed in seeds]
    return [(person(n, windows=1 + n % 2, depth=n % 3 == 0), prompt) for n, prompt in enumerate(prompts)]


def check(found, expected):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5, rtol=1e-5)


def kill(pool):
    """Kill the only process, and wait until another is ready."""
    (pid,) = pool.pids
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: pool.pids != [pid] and pool._idle, "another process is ready")


def test_a_mixed_batch_is_what_the_engine_itself_computes(local, model):
    rows = rows_of(local)
    check(model.forward(rows), local.forward(rows))
    people = [one for one, _ in rows]
    np.testing.assert_allclose(model.features(people), local.features(people), atol=1e-4, rtol=1e-4)
    logits = local.forward(rows)[0]
    assert model.finish(*rows[0], logits, top_k=2) == local.finish(*rows[0], logits, top_k=2)
    assert model.backbone_sha256 == local.backbone_sha256


def test_a_bad_prompt_costs_its_own_row_and_says_what_it_is(local, model):
    good, other = rows_of(local, (0, 1))
    foreign = dataclasses.replace(other[1], backbone_sha256="f" * 64)
    tensors = other[1].tensors | {"linear.mean": np.zeros(5, np.float32)}
    short = dataclasses.replace(other[1], tensors=tensors)
    first, second, third = model.forward([(good[0], foreign), good, (good[0], short)])
    assert type(first) is BackboneMismatch
    check([second], local.forward([good]))
    assert type(third) is BadPrompt
    assert "5 features" in str(third)


def test_a_prompt_is_sent_once_and_forgotten_when_nobody_holds_it(local, model, pool):
    rows = rows_of(local)
    model.forward(rows)
    process = pool._idle[0]
    known = set(process.prompts)
    model.forward(rows)
    assert process.prompts == known
    numbers = {pool.prompt_id(prompt) for _, prompt in rows}
    assert numbers <= known
    del rows
    gc.collect()
    model.features([person(0)])
    assert not process.prompts & numbers


def test_an_older_backbone_runs_beside_the_current_one_and_is_forgotten(local, pool, model):
    backbone = Engine.load("edge", **OPTIONS).backbone
    for weights in backbone.parameters():
        weights.data *= 1.01
    data = backbone_bytes(backbone)
    sha256 = digest(data)
    read = lambda: data  # noqa: E731
    old = pool.older(sha256, read)
    path = backbone_path("edge")
    assert old.backbone_sha256 == sha256 != digest(path.read_bytes())
    people = [person(1)]
    assert not np.allclose(old.features(people), model.features(people))
    before = old.features(people)
    kill(pool)
    np.testing.assert_allclose(old.features(people), before, atol=1e-4, rtol=1e-4)
    process = pool._idle[0]
    assert sha256 in process.models
    del old
    gc.collect()
    model.features(people)
    assert process.models == {model.backbone_sha256}


def test_a_backbone_that_cannot_be_read_harms_nothing_else(pool, model):
    with pytest.raises(RuntimeError, match="BackboneError"):
        pool.older("a" * 64, lambda: b"no backbone")
    (pid,) = pool.pids
    with pytest.raises(OSError, match="disk"):
        pool.older("a" * 64, _no_disk)
    assert pool.pids == [pid], "trouble with a file is not the process's"
    assert np.isfinite(model.features([person(0)])).all()


def _no_disk():
    raise OSError("the disk is away")


def test_rows_of_a_killed_process_are_computed_by_the_next(local, pool, model):
    rows = rows_of(local)
    (pid,) = pool.pids
    os.kill(pid, signal.SIGKILL)
    check(model.forward(rows), local.forward(rows))
    assert pool.pids != [pid]


def test_a_process_that_hangs_is_killed_and_replaced(local, pool, model, monkeypatch):
    monkeypatch.setattr(process_pool, "CALL_TIMEOUT_S", 1.0)
    kill(pool)  # the next one has the short patience
    (pid,) = pool.pids
    os.kill(pid, signal.SIGSTOP)
    rows = rows_of(local)
    check(model.forward(rows), local.forward(rows))
    eventually(lambda: not alive(pid), "the hanging process is gone")


def test_an_idle_process_that_hangs_is_noticed_before_a_row_meets_it(pool, model, monkeypatch):
    monkeypatch.setattr(process_pool, "HUNG_AFTER_S", 2.5)
    kill(pool)  # the next one is judged sooner
    (pid,) = pool.pids
    os.kill(pid, signal.SIGSTOP)
    eventually(lambda: pool.pids not in ([], [pid]) and pool._idle, "another process is ready")
    assert not alive(pid)


def test_a_row_that_kills_every_process_is_given_up(local, pool, model, monkeypatch):
    def deadly(self, request):
        self.process.kill()
        raise process_pool.WorkerCrashed("it died")

    with monkeypatch.context() as patch:
        patch.setattr(process_pool.EngineWorker, "call", deadly)
        with pytest.raises(EngineUnavailable) as caught:
            model.forward(rows_of(local))
        assert caught.value.retry_after
    eventually(lambda: pool._idle, "another process is ready")
    check(model.forward(rows_of(local)), local.forward(rows_of(local)))


def test_nobody_waits_for_ever_for_a_process(pool, model, monkeypatch):
    monkeypatch.setattr(process_pool, "ACQUIRE_TIMEOUT_S", 0.05)
    with pool.acquire(), pytest.raises(EngineUnavailable, match="started again"):
        model.features([person(0)])


def test_two_processes_compute_at_once_and_end_with_their_pool():
    pool = EngineProcessPool("edge", OPTIONS, 2)
    try:
        model = pool.current()
        pids = pool.pids
        with pool.acquire():  # the first is busy
            assert np.isfinite(model.features([person(0)])).all()
        assert len(set(pids)) == 2
    finally:
        pool.close()
    assert not any(alive(pid) for pid in pids)
    with pytest.raises(EngineUnavailable):
        model.features([person(0)])


def test_a_model_that_does_not_exist_is_named_at_the_start():
    pool = EngineProcessPool("edgy", OPTIONS)
    try:
        with pytest.raises(EngineStartError, match=r"edgy.*there are: edge"):
            pool.current()
    finally:
        pool.close()


def test_a_program_that_cannot_be_started_is_told_at_the_start(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "absent"))
    pool = EngineProcessPool("edge", OPTIONS)
    try:
        with pytest.raises(EngineStartError, match="cannot be started"):
            pool.current()
    finally:
        pool.close()


def test_an_engine_process_is_given_no_secret(monkeypatch):
    monkeypatch.setenv("SKELETON_PROMPT_ADMIN_KEY", "the-key-of-the-admin")
    pool = EngineProcessPool("edge", OPTIONS)
    pool.start()
    (pid,) = eventually(lambda: pool.pids, "the process is there")
    environment = Path(f"/proc/{pid}/environ").read_bytes()
    pool.close()
    assert b"PYTHONSAFEPATH" in environment
    assert b"the-key-of-the-admin" not in environment


def test_a_pool_that_is_closed_while_it_starts_leaves_nothing_behind():
    pool = EngineProcessPool("edge", OPTIONS)
    pool.start()
    (pid,) = eventually(lambda: pool.pids, "the process is there")
    pool.close()
    assert not alive(pid)
