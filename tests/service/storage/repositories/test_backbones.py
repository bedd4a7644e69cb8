"""Files of backbones, whole or not used at all, and which backbone is the newest."""

import errno
import time
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config

from service.errors import StorageFull
from service.jobs.backbone_upgrade import BackboneUpgrader
from service.storage.blobs.paths import BackboneGone, backbone_blob
from service.storage.records import JobKind
from service.storage.repositories.backbones import ALIVE_S
from service.storage.sql.database import MIGRATIONS
from skeleton_prompt.model.prompt_file import digest
from tests.support.storage_fixtures import BACKBONE, change, storing, teach, tenant_of

DATA = b"a backbone" * 1000
SHA = digest(DATA)
OTHER = "c" * 64


@pytest.fixture
def storage(tmp_path, database_url):
    with storing(tmp_path, database_url=database_url) as opened:
        yield opened


def file_of(storage, sha256=SHA):
    return Path(storage.blobs.root) / backbone_blob(sha256)


def age(storage, sha256, seconds):
    sql = "UPDATE backbones SET since = since - :age, seen = seen - :age WHERE sha256 = :sha256"
    change(storage, sql, age=seconds, sha256=sha256)


def test_a_backbone_is_kept_once_under_its_hash(storage):
    assert storage.backbones.store(DATA)
    before = file_of(storage).stat().st_mtime_ns
    assert not storage.backbones.store(DATA)
    assert file_of(storage).stat().st_mtime_ns == before
    assert storage.backbones.read(SHA) == DATA
    assert storage.backbones.kept() == [SHA]


@pytest.mark.parametrize("damage", [DATA[:-1], b"", DATA[:500] + bytes([DATA[500] ^ 1]) + DATA[501:], None])
def test_a_file_that_is_not_what_its_name_says_is_never_used_and_is_mended_where_it_can_be(storage, damage):
    storage.backbones.store(DATA)
    file_of(storage).unlink() if damage is None else file_of(storage).write_bytes(damage)
    with pytest.raises(BackboneGone, match=SHA[:12]):
        storage.backbones.read(SHA)
    assert not storage.backbones.is_intact(SHA)
    assert storage.backbones.store(DATA)
    assert storage.backbones.read(SHA) == DATA


@pytest.mark.parametrize("name", ["", "edge", "../" + "a" * 61, SHA[:-1], SHA.upper(), SHA + "/x"])
def test_what_is_no_hash_is_no_backbone(storage, name):
    with pytest.raises(BackboneGone):
        storage.backbones.read(name)


def test_a_full_disk_leaves_no_half_file_stops_nothing_and_is_tried_again(storage, tmp_path, monkeypatch):
    path = tmp_path / "edge.safetensors"
    path.write_bytes(DATA)
    retuner = BackboneUpgrader(storage, str(path), SHA)

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(StorageFull):
            storage.backbones.store(DATA)
        assert retuner.run_once() == 0
    assert not list(file_of(storage).parent.iterdir())
    retuner.run_once()
    assert storage.backbones.read(SHA) == DATA


def test_a_file_that_changed_under_a_running_service_is_not_kept_as_what_it_was(storage, tmp_path):
    path = tmp_path / "edge.safetensors"
    path.write_bytes(b"the next release")
    BackboneUpgrader(storage, str(path), SHA).run_once()
    assert storage.backbones.kept() == []


def test_the_newest_backbone_is_the_one_that_services_began_to_run_on_last(storage):
    backbones = storage.backbones
    backbones.heartbeat(SHA)
    assert backbones.newest(SHA)
    age(storage, SHA, 10)
    backbones.heartbeat(OTHER)
    backbones.heartbeat(SHA)  # a replica of the old release, also one that was restarted
    assert (backbones.newest(SHA), backbones.newest(OTHER)) == (False, True)
    age(storage, OTHER, ALIVE_S + 1)
    assert backbones.newest(SHA), "no service runs on the other any more"
    age(storage, SHA, 1)
    backbones.heartbeat(OTHER)
    assert (backbones.newest(SHA), backbones.newest(OTHER)) == (False, True), "it came back"


def test_a_file_is_removed_when_the_last_prompt_is_gone_and_no_service_has_run_on_it_for_a_day(storage):
    storage.backbones.store(DATA)
    repository = tenant_of(storage)
    first, second = teach(repository), teach(repository)
    change(storage, "UPDATE prompts SET backbone_sha256 = :sha256 WHERE version = :v", sha256=SHA, v=first.version)
    assert storage.backbones.remove_unused() == [], "an inactive version may be activated again"
    repository.delete_prompt(first.version)
    storage.backbones.heartbeat(SHA)
    assert storage.backbones.remove_unused() == [], "a worker may be about to publish on it"
    age(storage, SHA, 25 * 3600)
    assert storage.backbones.remove_unused() == [SHA]
    assert storage.backbones.kept() == []
    assert repository.active_prompt().version == second.version


def test_only_active_versions_of_other_backbones_wait(storage):
    one, two, three = (tenant_of(storage) for _ in range(3))
    teach(one)
    teach(two)
    teach(three, activate=False)
    assert storage.backbones.waiting(BACKBONE) == {}
    assert storage.backbones.waiting(SHA) == {BACKBONE: 2}
    assert [(w.tenant, w.version) for w in storage.backbones.pending(SHA, 10)] == [(one.tenant, 1), (two.tenant, 1)]
    job = one.create_backbone_upgrade(1, SHA)
    assert one.create_backbone_upgrade(1, SHA) is None
    assert one.create_backbone_upgrade(2, SHA) is None
    assert two.create_backbone_upgrade(1, BACKBONE) is None
    assert three.create_backbone_upgrade(1, SHA) is None
    assert [w.tenant for w in storage.backbones.pending(SHA, 10)] == [two.tenant]
    assert job.options == {"activate": "if_better", "base_version": 1, "backbone_sha256": SHA}


def test_what_tenants_ask_for_goes_first(storage):
    one, two = tenant_of(storage), tenant_of(storage)
    teach(one)
    again = one.create_backbone_upgrade(1, SHA)
    own = two.create_job([], {})
    assert one.get_job(again.id).queue_position == 1
    assert two.get_job(own.id).queue_position == 0


def test_a_database_that_a_newer_release_has_used_still_opens(storage, tmp_path):
    with storage.database.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
        connection.exec_driver_sql("ALTER TABLE jobs ADD COLUMN later VARCHAR(16) DEFAULT 'x' NOT NULL")
    storage.migrate()
    repository = tenant_of(storage)
    teach(repository)
    assert repository.active_prompt().version == 1
    with storage.database.read() as connection:
        assert connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one() == "9999"


def test_the_clock_of_a_backbone_is_that_of_now(storage):
    storage.backbones.heartbeat(SHA)
    with storage.database.read() as connection:
        row = connection.exec_driver_sql("SELECT since, seen FROM backbones").one()
    assert row.since == row.seen == pytest.approx(time.time(), abs=60)


def test_jobs_of_the_release_before_are_what_tenants_asked_for(storage):
    repository = tenant_of(storage)
    teach(repository)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with storage.database.write() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0001")
    storage.migrate()
    assert [(job.kind, job.source, job.target) for job in repository.list_jobs().items] == [(JobKind.TUNE, None, None)]
    assert repository.create_backbone_upgrade(1, SHA) is not None
