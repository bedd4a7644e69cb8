"""The repositories against real databases: what is fenced stays fenced, what is erased is gone."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from service.errors import InvalidRequest, LostLease, NotFound, VersionActive
from service.settings import Settings
from service.storage.records import JobState, PromptRecord
from service.storage.sql.database import Database
from service.storage.sql.postgres import DatabaseUnusable
from service.storage.sql.tables import keys, metadata
from service.storage.store import Storage, TenantRepository


@pytest.fixture
def storage(tmp_path: Path, database_url: str | None) -> Iterator[Storage]:
    opened = Storage.open(Settings(data_dir=tmp_path / "data", database_url=database_url))
    opened.migrate()
    yield opened
    opened.close()


@pytest.fixture
def acme(storage: Storage) -> TenantRepository:
    storage.admin.create_tenant("acme", "marker-name")
    return storage.tenant("acme")


def publish(repository: TenantRepository, data: bytes) -> PromptRecord:
    job = repository.claim_job(repository.create_job([], {}).id, "worker")
    assert job is not None
    version = repository.next_version(job.id, job.token)
    assert repository.next_version(job.id, job.token) == version
    facts = {"labels": ["a", "b"], "backbone_sha256": "0" * 64, "parameters": 1, "metrics": {}, "report": {}}
    first = repository.publish(job.id, job.token, version, data, **facts)
    assert repository.publish(job.id, job.token, version, data, **facts) == first
    repository.finish_job(job.id, job.token, JobState.SUCCEEDED, version=version)
    return first


def test_migrations_make_exactly_the_tables_and_twice_is_as_once(storage: Storage) -> None:
    storage.migrate()
    with storage.database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_a_worker_that_lost_its_lease_can_write_nothing(
    storage: Storage, acme: TenantRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = acme.create_job([], {}).id
    first = acme.claim_job(job_id, "one")
    assert first is not None
    assert acme.claim_job(job_id, "two") is None
    clock = storage.database.clock
    monkeypatch.setattr(storage.database, "clock", lambda connection: clock(connection) + 60)
    second = acme.claim_job(job_id, "two")
    assert second is not None
    assert (second.attempt, second.token) == (2, first.token + 1)
    with pytest.raises(LostLease):
        acme.progress(job_id, first.token, 0.5, "fit", "late")
    with pytest.raises(LostLease):
        acme.next_version(job_id, first.token)
    with pytest.raises(LostLease):
        acme.finish_job(job_id, first.token, JobState.SUCCEEDED)


def test_publishing_twice_is_one_version_and_rollback_goes_back(acme: TenantRepository) -> None:
    one, two = publish(acme, b"first"), publish(acme, b"second")
    assert [prompt.version for prompt in acme.list_prompts().items] == [two.version, one.version]
    acme.activate(one.version)
    acme.activate(two.version)
    with pytest.raises(VersionActive):
        acme.delete_prompt(two.version)
    acme.rollback()
    active = acme.active_prompt()
    assert active is not None
    assert active.version == one.version
    assert acme.prompt_bytes(one.version) == b"first"


def test_nothing_of_an_erased_tenant_stays_on_disk(storage: Storage, acme: TenantRepository, tmp_path: Path) -> None:
    publish(acme, b"marker-prompt")
    acme.create_job([], {"note": "marker-options"})
    receipt = storage.admin.delete_tenant("acme")
    assert receipt["erased"]["prompts"] == 1
    left = [path.name for path in tmp_path.rglob("*") if path.is_file() and b"marker-" in path.read_bytes()]
    assert left == []


def move(database: Database, revision: str) -> None:
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})


@pytest.mark.parametrize("revision", ["b0003", "ae1027a6acf1"])
def test_tables_that_this_release_cannot_work_with_stop_its_start_in_one_line(
    tmp_path: Path, database_url: str | None, revision: str
) -> None:
    database = Database(database_url or f"sqlite:///{tmp_path}/own.db")
    database.migrate()
    try:
        move(database, revision)
        with pytest.raises(DatabaseUnusable, match=f"migration '{revision}', which this release does not know"):
            database.prepare()
        assert not database.schema().usable
    finally:
        move(database, database.schema().newest)
        database.close()


@pytest.mark.parametrize("bad", ["a\0b", "a\ud800b"])
def test_text_that_no_database_can_hold_is_refused_before_any_sees_it(storage: Storage, bad: str) -> None:
    storage.admin.create_tenant("mine")
    mine = storage.tenant("mine")
    with pytest.raises(InvalidRequest, match="lone surrogate or NUL"):
        mine.remember(bad, "digest", 200, {})
    with pytest.raises(NotFound):
        mine.get_job(bad)
    assert mine.create_job([], {"note": bad}).options == {"note": bad}, "JSON writes them as escapes"


def test_text_of_every_script_and_bytes_of_every_value_come_back_as_they_were(storage: Storage) -> None:
    name = "Übung 拳 🤸\n\t\x7f"
    storage.admin.create_tenant("mine", name=name)
    assert storage.admin.get_tenant("mine").name == name
    with storage.database.write() as connection:
        every = bytes(range(32)), bytes(range(224, 256))
        row = {"tenant": "mine", "scopes": [name], "created": 1.5}
        connection.execute(keys.insert(), [row | {"id": str(n), "digest": digest} for n, digest in enumerate(every)])
    with storage.database.read() as connection:
        found = connection.execute(keys.select().where(keys.c.id.in_(["0", "1"])).order_by(keys.c.id)).all()
    assert tuple(bytes(one.digest) for one in found) == every
    assert found[0].scopes == [name]
    assert found[0].created == 1.5
