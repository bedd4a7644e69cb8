"""The repositories against a real SQLite file: what is fenced stays fenced, what is erased is gone."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from service.errors import LostLease, VersionActive
from service.settings import Settings
from service.storage import JobState, PromptRecord, Storage, TenantRepository
from service.storage import jobs as jobs_module
from service.storage.tables import metadata


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    opened = Storage.open(Settings(data_dir=tmp_path / "data"))
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
    acme: TenantRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = acme.create_job([], {}).id
    first = acme.claim_job(job_id, "one")
    assert first is not None
    assert acme.claim_job(job_id, "two") is None
    now = jobs_module.time.time()
    monkeypatch.setattr(jobs_module.time, "time", lambda: now + 60)
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
