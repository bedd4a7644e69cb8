"""What storage is built on breaks in every way we know: answers stay right, and nothing is half done."""

import asyncio
import errno
import os
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import event

from service.errors import EngineUnavailable, LostLease, StorageFull, StorageUnavailable
from service.jobs.queue import JobQueue
from service.settings import Settings
from service.storage.blobs.paths import prompt_blob
from service.storage.prompt_cache.cache import PromptCache
from service.storage.prompt_cache.redis_tier import REDIS_PAUSE_S, encode_value, redis_key
from service.storage.records import JobState
from service.storage.sql import database
from service.storage.store import Storage
from skeleton_prompt.model.prompt_file import PromptRef, digest
from tests.support.gateway_app import gateway, lessons
from tests.support.redis_server import redis_server
from tests.support.storage_fixtures import claimed, clip, prompt_file, publish, storing, teach, tenant_of

pytestmark = pytest.mark.services


@pytest.fixture
def storage(tmp_path):
    with storing(tmp_path / "data") as opened:
        yield opened


@pytest.fixture
def mine(storage):
    return tenant_of(storage)


@pytest.fixture
def server():
    with redis_server() as running:
        yield running


@pytest.fixture
def fresh_cache(storage, server):
    """Makes caches with an empty memory, as more replicas have them."""
    return lambda: PromptCache.of(Settings(redis_url=server.url), storage)


# Redis


def test_a_prompt_is_found_in_redis_by_the_next_replica(fresh_cache, mine):
    ref = teach(mine)
    assert fresh_cache().get(ref)[1] == "store"
    prompt, layer = fresh_cache().get(ref)
    assert (layer, prompt.tenant, prompt.version) == ("redis", mine.tenant, ref.version)


@pytest.mark.parametrize(
    "damage", ["bit flipped", "truncated", "empty", "no header", "another tenant's prompt", "wrong type"]
)
def test_a_value_in_redis_that_is_not_the_prompt_is_never_used_and_is_replaced(fresh_cache, server, mine, damage):
    ref = teach(mine)
    right = fresh_cache().get(ref)[0]
    key, data = redis_key(ref), encode_value(mine.prompt_bytes(ref.version))
    values = {
        "bit flipped": data[:-1] + bytes([data[-1] ^ 1]),
        "truncated": data[: len(data) // 2],
        "empty": b"",
        "no header": mine.prompt_bytes(ref.version),
        "another tenant's prompt": encode_value(prompt_file("somebody-else", ref.version, seed=9)),
    }
    with server.client() as client:
        client.delete(key)
        if damage == "wrong type":
            client.rpush(key, data)
        else:
            client.set(key, values[damage])
        prompt, layer = fresh_cache().get(ref)
        assert layer == "store"
        assert (prompt.tensors["linear.weight"] == right.tensors["linear.weight"]).all()
        assert client.get(key) == data
    assert fresh_cache().get(ref)[1] == "redis"


def test_without_redis_prompts_come_from_the_store_and_from_redis_again_once_it_is_back(
    fresh_cache, server, mine, monkeypatch
):
    refs = [teach(mine) for _ in range(3)]
    cache = fresh_cache()
    assert cache.get(refs[0])[1] == "store"
    server.kill()
    assert cache.get(refs[1])[1] == "store"
    server.folder.socket.unlink(missing_ok=True)
    server.start()
    assert cache.get(refs[2])[1] == "store", "Redis is left alone for a while"
    later = time.monotonic() + REDIS_PAUSE_S + 1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    cache.forget(mine.tenant)
    assert cache.get(refs[2])[1] == "store"
    cache.forget(mine.tenant)
    assert cache.get(refs[2])[1] == "redis"


def test_a_redis_that_answers_nothing_is_asked_once_and_then_left_alone(fresh_cache, server, mine):
    refs = [teach(mine) for _ in range(10)]
    cache = fresh_cache()
    asked = []
    client = cache._hot._redis
    execute = client.execute_command
    client.execute_command = lambda *words, **options: (asked.append(words[0]), execute(*words, **options))[1]
    with server.frozen():
        assert [cache.get(ref)[1] for ref in refs] == ["store"] * 10
    assert asked == ["GET"]


def test_a_flushed_or_full_redis_only_costs_the_way_to_the_store(fresh_cache, server, mine):
    ref = teach(mine)
    fresh_cache().get(ref)
    with server.client() as client:
        client.flushall()
        assert fresh_cache().get(ref)[1] == "store"
        client.flushall()
        client.config_set("maxmemory", "1")
        assert fresh_cache().get(ref)[1] == "store"
        assert fresh_cache().get(ref)[1] == "store"


def test_an_erased_prompt_is_gone_from_redis(fresh_cache, server, mine):
    ref = teach(mine)
    cache = fresh_cache()
    cache.get(ref)
    with server.client() as client:
        assert client.exists(redis_key(ref))
        cache.erase([ref])
        assert not client.exists(redis_key(ref))
        assert client.keys() == []
    assert cache.peek(ref) is None


def test_a_job_is_queued_though_redis_is_dead_or_silent(server, mine):
    queue = JobQueue(server.url)
    job = mine.create_job([], {})
    with server.frozen():
        assert not queue.send(mine.tenant, job.id)
    server.kill()
    assert not queue.send(mine.tenant, job.id)
    queue.close()
    assert mine.get_job(job.id).state is JobState.QUEUED


# Files


@pytest.mark.parametrize("keep", [0, 7, 100, -1])
def test_a_truncated_prompt_file_is_refused_and_the_version_before_stays(storage, mine, keep):
    before, ref = teach(mine), teach(mine)
    name = prompt_blob(ref)
    Path(storage.blobs.root, name).write_bytes(storage.blobs.read(name)[:keep])
    cache = PromptCache(storage.blobs, None)
    with pytest.raises(EngineUnavailable):
        cache.get(ref)
    assert cache.get(before)[0].version == before.version
    mine.rollback()
    assert mine.active_prompt().version == before.version


@pytest.mark.parametrize(
    ("number", "error"),
    [(errno.ENOSPC, StorageFull), (errno.EDQUOT, StorageFull), (errno.EROFS, StorageUnavailable),
     (errno.EIO, StorageUnavailable)],
)  # fmt: skip
def test_a_full_or_broken_disk_leaves_no_half_version_and_no_half_clips(storage, mine, monkeypatch, number, error):
    job = claimed(mine)
    version = mine.next_version(job.id, job.token)
    before = storage.blobs.names("tenants/" + mine.tenant)
    left = [0]  # syncs that still work; a blob takes two, its own and its folder's

    def sync(_descriptor: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", sync)
        with pytest.raises(error) as refused:
            publish(mine, job, version)
        assert refused.value.status in (503, 507)
        assert mine.list_prompts().items == []
        left[0] = 2  # the first clip is written, the second is not
        with pytest.raises(error):
            mine.add_clips([clip(seed=1), clip(seed=2)], source="tune")
    assert storage.blobs.names("tenants/" + mine.tenant) == before
    assert mine.list_clips().items == []
    # And once there is room, the same attempt goes on.
    assert publish(mine, job, version).version == version


def test_no_partial_file_is_left_by_a_failed_write(storage, mine, monkeypatch):
    def fail(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "no space")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(StorageFull):
            mine.add_clips([clip()], source="tune")
    assert [path for path in Path(storage.blobs.root).rglob("*") if path.is_file()] == []


# The database


@pytest.fixture
def impatient(monkeypatch, tmp_path):
    """Storage whose patience with a locked database is short."""
    monkeypatch.setattr(database, "BUSY_S", 0.05)
    with storing(tmp_path / "impatient") as opened:
        yield opened


def test_a_locked_database_is_a_clear_503_and_half_of_nothing_is_written(impatient, tmp_path):
    mine = tenant_of(impatient)
    job = claimed(mine)
    version = mine.next_version(job.id, job.token)
    other = sqlite3.connect(tmp_path / "impatient" / "skeleton-prompt.db", isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        for write in (
            lambda: mine.create_job([], {}),
            lambda: publish(mine, job, version),
            lambda: mine.add_clips([clip()], source="tune"),
            lambda: impatient.admin.create_tenant("late"),
        ):
            with pytest.raises(StorageUnavailable) as refused:
                write()
            assert refused.value.retry_after
        assert mine.list_prompts().items == [], "reading goes on beside a writer"
        assert impatient.blobs.names(f"tenants/{mine.tenant}/clips") == []
        other.execute("ROLLBACK")
    finally:
        other.close()
    assert publish(mine, job, version).version == version


def test_a_transaction_that_reads_before_it_writes_waits_instead_of_failing(storage, mine):
    # SQLite refuses to upgrade a reading transaction at once, whatever the timeout: writers must begin as writers.
    ref = [teach(mine).version for _ in range(2)]
    with ThreadPoolExecutor(8) as pool:
        done = [pool.submit(mine.activate, ref[n % 2]) for n in range(40)]
        for future in done:
            future.result(30)
    assert mine.active_prompt().version in ref


def test_a_full_database_is_a_507_and_changes_nothing(storage, mine):
    pages = []

    def limit(connection, _record, _proxy):
        used = connection.execute("PRAGMA page_count").fetchone()[0]
        pages.append(connection.execute(f"PRAGMA max_page_count = {used}").fetchone()[0])

    event.listen(storage.database.engine, "checkout", limit)
    before = mine.list_jobs().items
    with pytest.raises(StorageFull):
        mine.create_job(["c" * 22] * 50_000, {})
    assert mine.list_jobs().items == before
    assert pages


def test_a_read_only_database_answers_questions_and_refuses_changes(storage, mine, tmp_path):
    ref = teach(mine)
    _, secret = mine.create_key()
    storage.close()
    settings = {"data_dir": tmp_path / "data", "admin_key": "k" * 16, "secret": "s" * 32}
    address = f"sqlite:///file:{tmp_path / 'data' / 'skeleton-prompt.db'}?mode=ro&uri=true"
    reader = Storage.open(Settings(**settings, database_url=address))
    try:
        assert reader.admin.resolve_prediction(secret).ref == ref
        with pytest.raises(StorageUnavailable, match="read-only"):
            reader.tenant(mine.tenant).create_job([], {})
    finally:
        reader.close()


# Workers


def test_a_worker_that_was_frozen_and_woke_up_cannot_publish(storage, mine):
    frozen = claimed(mine, worker="frozen")
    version = mine.next_version(frozen.id, frozen.token)
    with storage.database.write() as connection:
        connection.exec_driver_sql("UPDATE jobs SET lease_until = 1 WHERE id = ?", (frozen.id,))
    fresh = mine.claim_job(frozen.id, "fresh")
    assert mine.next_version(fresh.id, fresh.token) == version
    right = publish(mine, fresh, version, prompt_file(mine.tenant, version, seed=1))
    mine.activate(version, job_id=fresh.id, token=fresh.token)
    mine.finish_job(fresh.id, fresh.token, JobState.SUCCEEDED, version=version, activated=True)
    for late in (
        lambda: publish(mine, frozen, version, prompt_file(mine.tenant, version, seed=2)),
        lambda: mine.activate(version, job_id=frozen.id, token=frozen.token),
        lambda: mine.finish_job(frozen.id, frozen.token, JobState.FAILED),
    ):
        with pytest.raises(LostLease):
            late()
    assert mine.active_prompt().sha256 == right.sha256
    assert digest(mine.prompt_bytes(version)) == right.sha256
    assert storage.blobs.names(f"tenants/{mine.tenant}") == [prompt_blob(PromptRef(mine.tenant, version, right.sha256))]


def test_of_many_workers_that_claim_a_job_at_once_one_gets_it(storage, mine):
    job = mine.create_job([], {})
    gate = threading.Barrier(16)

    def claim(n: int):
        gate.wait(30)
        return mine.claim_job(job.id, f"worker-{n}")

    with ThreadPoolExecutor(16) as pool:
        won = [found for found in pool.map(claim, range(16)) if found is not None]
    assert [found.attempt for found in won] == [1]


def test_of_a_hundred_jobs_at_once_each_gets_a_version_of_its_own(mine):
    def whole(_n: int) -> int:
        job = claimed(mine)
        return mine.next_version(job.id, job.token)

    with ThreadPoolExecutor(8) as pool:
        versions = list(pool.map(whole, range(100)))
    assert sorted(versions) == list(range(1, 101))


def test_a_hundred_equal_tune_requests_with_one_idempotency_key_make_one_job(tmp_path):
    with gateway(tmp_path / "gateway") as bench:
        key = bench.tenant("acme")
        body = {"clips": lessons()}

        async def ask() -> list:
            headers = {"Idempotency-Key": "the-same"}
            asked = (bench.asking("POST", "/tenants/acme/tune", key, json=body, headers=headers) for _ in range(100))
            return await asyncio.gather(*asked)

        answers = bench.wait(ask(), 120)
        assert {answer.status_code for answer in answers} == {202}
        assert len({answer.json()["job"] for answer in answers}) == 1
        mine = bench.storage.tenant("acme")
        assert len(mine.list_jobs().items) == 1
        assert len(mine.list_clips().items) == len(body["clips"])
