import sqlite3

import pytest

from service.errors import NotFound, StorageUnavailable, TenantExists
from service.storage.sql.tables import OF_TENANT, metadata
from tests.support.storage_fixtures import clip, storing, teach, tenant_of

MARKER = "zq-planted-marker-zq"


def test_a_tenant_comes_with_a_key_that_may_do_everything(storage):
    tenant, key, secret = storage.admin.create_tenant("made-by-hand", "By Hand")
    assert (tenant.id, tenant.name, storage.admin.get_tenant("made-by-hand")) == ("made-by-hand", "By Hand", tenant)
    assert storage.admin.authenticate(secret).scopes == {"predict", "tune", "manage"} == key.scopes


def test_an_id_is_taken_once(storage, mine):
    with pytest.raises(TenantExists):
        storage.admin.create_tenant(mine.tenant)


def test_tenants_are_paged_by_id(tmp_path):
    with storing(tmp_path) as storage:
        made = [tenant_of(storage).tenant for _ in range(5)]
        page = storage.admin.list_tenants(limit=3)
        rest = storage.admin.list_tenants(limit=3, after=page.next)
        assert [tenant.id for tenant in page.items + rest.items] == sorted(made)
        assert rest.next is None


def test_every_table_that_names_a_tenant_is_erased_with_it():
    named = {table.name for table in metadata.sorted_tables if "tenant" in table.c}
    assert named == {table.name for table in OF_TENANT.values()}


def test_an_erased_tenant_is_found_in_no_file_of_the_data_folder(tmp_path):
    with storing(tmp_path) as storage:
        mine, other = tenant_of(storage), tenant_of(storage)
        mine.add_clips([clip(MARKER, group=MARKER, id=MARKER)], source="tune")
        mine.create_job([], {"webhook": MARKER})
        teach(mine, marker=MARKER)
        mine.remember(MARKER, "digest", 200, {"marker": MARKER})
        mine.add_usage(predictions=3)
        kept = teach(other)
        receipt = storage.admin.delete_tenant(mine.tenant)
        erased = receipt["erased"]
        assert (erased["clips"], erased["prompts"], erased["jobs"], erased["keys"]) == (1, 1, 2, 1)
        assert erased["files"] == 2
        for path in tmp_path.rglob("*"):
            assert not path.is_file() or MARKER.encode() not in path.read_bytes(), path
        assert other.active_prompt().sha256 == kept.sha256
        with pytest.raises(NotFound):
            storage.admin.delete_tenant(mine.tenant)


def test_a_tenant_made_again_under_the_same_id_has_nothing_of_the_old_one(storage, mine):
    teach(mine)
    mine.add_clips([clip()], source="tune")
    _, secret = mine.create_key()
    storage.admin.delete_tenant(mine.tenant)
    storage.admin.create_tenant(mine.tenant)
    assert mine.list_clips().items == mine.list_jobs().items == mine.list_prompts().items == []
    assert storage.admin.authenticate(secret) is None
    assert teach(mine).version == 1


def test_an_erasure_that_cannot_delete_the_files_can_be_done_again(storage, mine, monkeypatch):
    teach(mine)

    def fail(_prefix: str) -> int:
        raise StorageUnavailable("the disk is gone")

    with monkeypatch.context() as patch:
        patch.setattr(storage.blobs, "delete_below", fail)
        with pytest.raises(StorageUnavailable):
            storage.admin.delete_tenant(mine.tenant)
    assert storage.admin.get_tenant(mine.tenant).id == mine.tenant
    assert storage.admin.delete_tenant(mine.tenant)["erased"]["files"] == 1


def test_migrating_twice_changes_nothing_and_makes_what_the_tables_say(tmp_path):
    with storing(tmp_path) as storage:
        storage.migrate()
        teach(tenant_of(storage))
        with sqlite3.connect(tmp_path / "skeleton-prompt.db") as connection:
            found = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            columns = {
                table.name: {row[1] for row in connection.execute(f"PRAGMA table_info('{table.name}')")}
                for table in metadata.sorted_tables
            }
            secure = connection.execute("PRAGMA journal_mode").fetchone()[0]
        connection.close()
        assert set(metadata.tables) | {"alembic_version"} <= found
        assert columns == {table.name: set(table.c.keys()) for table in metadata.sorted_tables}
        assert secure == "wal"
