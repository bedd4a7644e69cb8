"""The read that an event loop makes by itself: the newest truth at once, or nothing and somebody else waits."""

from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from service.errors import NoActivePrompt, NotFound, Unauthenticated
from service.storage.store import Storage, TenantRepository
from tests.support.storage_fixtures import ADMIN, storing, teach, tenant_of


@pytest.fixture
def storage(tmp_path: Path):
    with storing(tmp_path) as opened:
        opened.database.enable_nowait_reads()
        yield opened


@pytest.fixture
def mine(storage: Storage) -> TenantRepository:
    return tenant_of(storage)


def test_a_glance_finds_what_the_read_that_waits_finds(storage, mine):
    ref = teach(mine)
    newer = teach(mine, activate=False)
    _, secret = mine.create_key()
    admin = storage.admin
    for asked in ((secret, None, None), (secret, mine.tenant, newer.version), (ADMIN, mine.tenant, None)):
        assert admin.resolve_prediction_nowait(*asked) == admin.resolve_prediction(*asked)
    assert admin.resolve_prediction_nowait(secret, None, None).ref == ref


def test_a_glance_sees_what_others_have_just_written(storage, mine):
    _, secret = mine.create_key()
    key = mine.list_keys().items[-1]
    with pytest.raises(NoActivePrompt):
        storage.admin.resolve_prediction_nowait(secret, None, None)
    for _ in range(3):
        ref = teach(mine)
        assert storage.admin.resolve_prediction_nowait(secret, None, None).ref == ref
    for record in mine.list_keys().items:
        if record.id == key.id:
            mine.delete_key(record.id)
    with pytest.raises(Unauthenticated):
        storage.admin.resolve_prediction_nowait(secret, None, None)
    storage.admin.delete_tenant(mine.tenant)
    with pytest.raises(NotFound):
        storage.admin.resolve_prediction_nowait(ADMIN, mine.tenant, None)


def test_a_glance_leaves_no_transaction_behind_that_would_keep_erased_data_in_the_log(storage, mine):
    teach(mine)
    storage.admin.resolve_prediction_nowait(ADMIN, mine.tenant, None)
    with storage.database.engine.connect() as connection:
        raw = connection.connection.dbapi_connection
        assert raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
    assert not storage.database._glances.connection.dbapi_connection.in_transaction


def test_a_glance_does_not_wait_for_another(storage, mine):
    teach(mine)
    with storage.database._glancing:
        assert storage.admin.resolve_prediction_nowait(ADMIN, mine.tenant, None) is None
    assert storage.admin.resolve_prediction_nowait(ADMIN, mine.tenant, None) is not None


def test_a_glance_over_a_broken_connection_gives_nothing_and_the_next_one_has_a_new_one(storage, mine):
    ref = teach(mine)
    storage.admin.resolve_prediction_nowait(ADMIN, mine.tenant, None)
    storage.database._glances.connection.dbapi_connection.close()
    assert storage.admin.resolve_prediction_nowait(ADMIN, mine.tenant, None) is None
    assert storage.admin.resolve_prediction(ADMIN, mine.tenant).ref == ref
    assert storage.admin.resolve_prediction_nowait(ADMIN, mine.tenant, None).ref == ref


def test_a_read_that_found_its_answer_does_not_fail_for_want_of_a_connection_to_glance_by(tmp_path, monkeypatch):
    with storing(tmp_path) as storage:
        mine = tenant_of(storage)
        ref = teach(mine)
        _, secret = mine.create_key()
        used: list[int] = []
        connect = storage.database.engine.connect

        def once():
            used.append(1)
            if len(used) > 1:
                raise OperationalError("no file descriptors are left", None, Exception())
            return connect()

        monkeypatch.setattr(storage.database.engine, "connect", once)
        assert storage.admin.resolve_prediction(secret).ref == ref
        assert len(used) == 2
        assert storage.admin.resolve_prediction_nowait(secret, None, None) is None


def test_a_glance_at_a_locked_database_gives_nothing_at_once(tmp_path):
    with storing(tmp_path) as storage:
        mine = tenant_of(storage)
        teach(mine)
        assert (
            storage.admin.resolve_prediction_nowait(ADMIN, mine.tenant, None) is None
        )  # it may have to wait for a lock
        storage.database.engine.dispose()
        with storage.database.engine.connect() as connection:
            raw = connection.connection.dbapi_connection
            raw.execute("PRAGMA locking_mode=EXCLUSIVE").fetchall()
            raw.execute("BEGIN EXCLUSIVE")
            try:
                assert storage.admin.resolve_prediction_nowait(ADMIN, mine.tenant, None) is None
            finally:
                raw.execute("ROLLBACK")
                raw.execute("PRAGMA locking_mode=NORMAL").fetchall()
                raw.execute("SELECT count(*) FROM tenants").fetchall()  # lets go of the lock
        assert storage.admin.resolve_prediction(ADMIN, mine.tenant) is not None
        assert storage.admin.resolve_prediction_nowait(ADMIN, mine.tenant, None) is not None


def test_a_server_that_must_be_waited_for_is_not_glanced_at(tmp_path, postgres):
    with storing(tmp_path, database_url=postgres.database()) as storage:
        mine = tenant_of(storage)
        teach(mine)
        storage.admin.resolve_prediction(ADMIN, mine.tenant)
        assert storage.admin.resolve_prediction_nowait(ADMIN, mine.tenant, None) is None
