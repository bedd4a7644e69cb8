"""PostgreSQL: many write at once and each thing happens once; what is broken is named in one line."""

import threading
import traceback
from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from structlog.testing import capture_logs

from service.errors import (
    IdempotencyConflict,
    LostLease,
    NotFound,
    StorageUnavailable,
    TenantExists,
    VersionActive,
    VersionNotFound,
)
from service.settings import Settings
from service.storage.records import JobState, StoredAnswer
from service.storage.sql.database import Database
from service.storage.sql.postgres import DatabaseUnreachable, DatabaseUnusable, Limits
from service.storage.sql.tables import metadata
from service.storage.store import Storage
from tests.support.storage_fixtures import change, claimed, clip, publish, storing, teach, tenant_of

MANY = 8


@pytest.fixture(scope="module")
def url(postgres):
    return postgres.database()


@pytest.fixture
def storage(tmp_path, url):
    with storing(tmp_path / "one", database_url=url, blob_url=str(tmp_path / "blobs")) as opened:
        yield opened


@pytest.fixture
def second(tmp_path, url):
    """Another process of the same service: connections of its own."""
    with storing(tmp_path / "two", database_url=url, blob_url=str(tmp_path / "blobs")) as opened:
        yield opened


@pytest.fixture
def mine(storage):
    return tenant_of(storage)


def at_once(*works):
    """What each gives, or raises, when all begin in the same moment."""
    gate = threading.Barrier(len(works))

    def go(work):
        gate.wait(30)
        try:
            return work()
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(go, works))


# Migrations


def test_from_empty_the_migrations_make_exactly_the_tables(postgres):
    database = Database(postgres.empty())
    try:
        assert database.schema().revision is None
        database.prepare()
        database.prepare()
        assert database.schema().current
        with database.read() as connection:
            assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    finally:
        database.close()


def test_processes_that_start_together_migrate_once_and_none_fails(postgres):
    url = postgres.empty()
    databases = [Database(url) for _ in range(4)]
    try:
        assert at_once(*(database.prepare for database in databases)) == [None] * 4
        with databases[0].read() as connection:
            assert len(connection.exec_driver_sql("SELECT * FROM alembic_version").all()) == 1
    finally:
        for database in databases:
            database.close()


# Many at once


def test_of_two_processes_that_claim_a_job_one_gets_it(second, mine):
    there = second.tenant(mine.tenant)
    for job_id in [mine.create_job([], {}).id for _ in range(5)]:
        won = at_once(*((lambda r=r, j=job_id: r.claim_job(j, "w")) for r in [mine, there] * 3))
        assert [(found.attempt, found.token) for found in won if found is not None] == [(1, 1)]


def test_a_lease_is_judged_by_the_databases_clock_and_not_by_the_machines(second, mine, monkeypatch):
    job = claimed(mine)
    monkeypatch.setattr("time.time", lambda: 4e9)  # a machine whose clock is wrong by decades
    assert second.tenant(mine.tenant).claim_job(job.id, "other") is None
    assert second.dispatch.orphaned_jobs() == []
    assert mine.heartbeat(job.id, job.token).state is JobState.RUNNING


def test_a_worker_whose_lease_ran_out_is_fenced_off_by_the_next_ones_token(storage, second, mine):
    old = claimed(mine)
    change(storage, "UPDATE jobs SET lease_until = 1 WHERE id = :id", id=old.id)
    new = second.tenant(mine.tenant).claim_job(old.id, "other")
    for write in (
        lambda: mine.heartbeat(old.id, old.token),
        lambda: mine.next_version(old.id, old.token),
        lambda: publish(mine, old, 1),
        lambda: mine.finish_job(old.id, old.token, JobState.SUCCEEDED),
    ):
        with pytest.raises(LostLease):
            write()
    assert second.tenant(mine.tenant).heartbeat(new.id, new.token).attempt == 2


def test_activations_at_once_leave_one_pointer_and_a_history_that_rolls_back(storage, second, mine):
    versions = [teach(mine, activate=False).version for _ in range(4)]
    there = second.tenant(mine.tenant)
    assert at_once(*((lambda v=v, r=r: r.activate(v)) for v in versions for r in (mine, there))) == [True] * 8
    active = mine.active_prompt().version
    mine.rollback()
    assert mine.active_prompt().version != active
    assert mine.active_prompt().version in versions


def test_a_version_is_never_deleted_and_activated_at_once(mine, second):
    teach(mine)
    there = second.tenant(mine.tenant)
    for _ in range(5):
        version = teach(mine, activate=False).version
        activated, deleted = at_once(lambda v=version: there.activate(v), lambda v=version: mine.delete_prompt(v))
        first = (activated, type(deleted)) == (True, VersionActive)
        assert first or (type(activated), deleted) == (VersionNotFound, None)
        assert mine.active_prompt() is not None


def test_a_version_that_its_failed_job_takes_back_is_never_left_active(mine, second):
    there = second.tenant(mine.tenant)
    for _ in range(5):
        job = claimed(mine)
        version = mine.next_version(job.id, job.token)
        publish(mine, job, version)
        activated, ended = at_once(
            lambda v=version: there.activate(v),
            lambda j=job: mine.finish_job(j.id, j.token, JobState.FAILED, error="no"),
        )
        assert ended is None
        kept = [record.version for record in mine.list_prompts().items]
        assert (version in kept) is (activated is True)


def test_a_tenant_is_made_once(storage, second):
    done = at_once(*((lambda s=s: s.admin.create_tenant("full-readonly")) for s in [storage, second] * 4))
    assert sum(not isinstance(one, Exception) for one in done) == 1
    assert sum(isinstance(one, TenantExists) for one in done) == 7
    assert len(storage.tenant("full-readonly").list_keys().items) == 1


def test_counts_of_many_replicas_add_up(second, mine):
    there = second.tenant(mine.tenant)
    works = [(lambda r=r: r.add_usage(predictions=1, tuning_seconds=0.5)) for r in (mine, there) for _ in range(MANY)]
    assert at_once(*works) == [None] * 2 * MANY
    (today,) = mine.usage()
    assert (today.predictions, today.tuning_seconds) == (2 * MANY, MANY)


def test_versions_are_numbered_without_gaps_or_doubles_by_many_workers(second, mine):
    there = second.tenant(mine.tenant)

    def number(repository):
        job = claimed(repository)
        return repository.next_version(job.id, job.token)

    numbers = at_once(*((lambda r=r: number(r)) for r in [mine, there] * MANY))
    assert sorted(numbers) == list(range(1, 2 * MANY + 1))


def test_a_version_is_tuned_again_once_however_many_gateways_ask(second, mine):
    version = teach(mine).version
    there = second.tenant(mine.tenant)
    made = at_once(*((lambda r=r: r.create_backbone_upgrade(version, "c" * 64)) for r in [mine, there] * 4))
    assert sum(job is not None for job in made) == 1


@pytest.mark.parametrize("attempt", range(2))
def test_an_erasure_among_writers_leaves_nothing_and_waits_in_no_circle(storage, second, mine, attempt):
    there = second.tenant(mine.tenant)
    jobs = [claimed(mine) for _ in range(4)]
    versions = [teach(mine, activate=False).version for _ in range(2)]
    *done, receipt = at_once(
        *((lambda j=j: publish(there, j, there.next_version(j.id, j.token))) for j in jobs),
        *((lambda v=v: there.activate(v)) for v in versions),
        lambda: there.create_job([], {}),
        lambda: there.add_usage(predictions=1),
        lambda: there.add_clips([clip()], source="tune"),
        there.create_key,
        lambda: storage.admin.delete_tenant(mine.tenant),
    )
    assert isinstance(receipt, dict), receipt
    # A deadlock would be a StorageUnavailable.
    assert {type(one) for one in done if isinstance(one, Exception)} <= {NotFound, LostLease, VersionNotFound}
    with storage.database.read() as connection:
        for table in metadata.sorted_tables:
            if "tenant" in table.c:
                assert connection.execute(table.select().where(table.c.tenant == mine.tenant)).all() == []


# Idempotency keys


def test_of_equal_requests_at_many_gateways_one_is_done_and_the_others_get_its_answer(second, mine):
    there = second.tenant(mine.tenant)
    begun = at_once(*((lambda r=r: r.claim("key", "digest")) for r in [mine, there] * 4))
    (mark,) = [one for one in begun if one is not None]
    there.remember("key", "digest", 500, {"by": "somebody else"})
    mine.remember("key", "digest", 202, {"job": "one"}, mark)
    there.remember("key", "digest", 202, {"job": "two"}, "another mark")
    assert there.claim("key", "digest") == StoredAnswer(202, {"job": "one"})
    with pytest.raises(IdempotencyConflict):
        there.claim("key", "another digest")


def test_a_key_whose_request_failed_or_whose_gateway_died_can_be_tried_again(storage, second, mine):
    there = second.tenant(mine.tenant)
    first = mine.claim("key", "digest")
    assert there.claim("key", "digest") is None
    there.release_claim("key", "another mark")
    assert there.claim("key", "digest") is None
    mine.release_claim("key", first)
    again = there.claim("key", "digest")
    change(storage, "UPDATE idempotency SET created = created - 121")
    third = mine.claim("key", "digest")
    assert third not in (None, again)
    there.remember("key", "digest", 202, {"from": "the frozen one"}, again)
    mine.remember("key", "digest", 202, {"from": "the living one"}, third)
    assert mine.idempotent("key", "digest") == StoredAnswer(202, {"from": "the living one"})


# Broken


def test_killed_connections_are_replaced_before_anybody_notices(postgres, url, storage, mine):
    teach(mine)
    assert postgres.break_connections(url) >= 1
    assert mine.active_prompt().version == 1
    postgres.break_connections(url)
    mine.create_job([], {})


def test_a_connection_killed_inside_a_transaction_is_a_503_and_half_of_nothing_is_written(postgres, url, storage, mine):
    def killed():
        with storage.database.write() as connection:
            connection.exec_driver_sql("UPDATE tenants SET active_version = 99")
            postgres.break_connections(url)
            connection.exec_driver_sql("SELECT 1")

    with pytest.raises(StorageUnavailable) as refused:
        killed()
    assert refused.value.retry_after
    assert mine.active_prompt() is None


def test_a_database_that_is_away_is_a_503_and_is_found_again(postgres, storage, mine):
    ref = teach(mine)
    postgres.stop()
    try:
        for ask in (
            mine.active_prompt,
            lambda: mine.create_job([], {}),
            lambda: mine.add_clips([clip()], source="tune"),
        ):
            with pytest.raises(StorageUnavailable) as refused:
                ask()
            assert refused.value.retry_after
        assert storage.blobs.names(f"tenants/{mine.tenant}/clips") == []
    finally:
        postgres.start()
    assert mine.active_prompt().version == ref.version


def test_a_lock_that_somebody_keeps_is_a_503_for_those_who_need_it_alone(url, tmp_path, mine):
    with storing(tmp_path / "impatient", database_url=url, database_lock_seconds=0.1) as impatient:
        ref = teach(mine)
        there = impatient.tenant(mine.tenant)
        with mine._scope.database.write() as connection:
            mine._scope.lock_tenant(connection)
            with pytest.raises(StorageUnavailable) as refused:
                there.activate(ref.version)
            assert refused.value.retry_after
            assert there.create_job([], {}).state is JobState.QUEUED, "what needs no pointer goes on"


def test_a_standby_answers_questions_and_refuses_changes(postgres, tmp_path):
    url = postgres.database()
    with storing(tmp_path / "standby", database_url=url) as standby:
        mine = tenant_of(standby)
        name = url.split("?")[0].rsplit("/", 1)[-1]
        postgres.ask(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        postgres.break_connections(url)
        assert standby.tenant(mine.tenant).list_jobs().items == []
        with pytest.raises(StorageUnavailable, match="read-only"):
            standby.tenant(mine.tenant).create_job([], {})


def test_the_limits_of_the_settings_are_those_of_the_connections(url, tmp_path):
    limits = {"connections": 2, "connect_seconds": 7, "statement_seconds": 0.2, "lock_seconds": 0.3}
    values = {f"database_{name}": value for name, value in limits.items()}
    with storing(tmp_path, database_url=url, **values) as strict:
        with strict.database.read() as one, strict.database.read():
            assert one.exec_driver_sql("SHOW statement_timeout").scalar_one() == "200ms"
            assert one.exec_driver_sql("SHOW lock_timeout").scalar_one() == "300ms"
            assert one.connection.dbapi_connection.info.get_parameters()["connect_timeout"] == "7"
            with pytest.raises(StorageUnavailable, match="busy"), strict.database.read():
                pass
        with pytest.raises(StorageUnavailable), strict.database.read() as one:
            one.exec_driver_sql("SELECT pg_sleep(20)")


def test_a_start_waits_for_a_database_that_is_away_and_says_so(postgres):
    database = Database(postgres.empty())
    pauses = []

    def pause(seconds):
        pauses.append(seconds)
        if len(pauses) == 3:
            postgres.start()

    postgres.stop()
    try:
        with capture_logs() as logs:
            database.prepare(600.0, pause)
    finally:
        if len(pauses) < 3:
            postgres.start()
    assert pauses == [0.25, 0.5, 1.0]
    assert [line["event"] for line in logs].count("waiting for the database") == 3
    assert "does not answer: start it" in logs[0]["reason"]
    assert database.schema().current
    database.close()


def test_waiting_ends_with_the_patience_or_the_process_and_never_begins_for_what_will_not_pass(postgres):
    away = Database("postgresql://me@127.0.0.1:1/db", Limits(connect_s=1))
    with pytest.raises(DatabaseUnreachable):
        away.prepare()
    with pytest.raises(DatabaseUnreachable):
        away.prepare(600.0, lambda _: True)
    never = Database(postgres.url("nothing-here"))
    with pytest.raises(DatabaseUnusable, match="has no such database"):
        never.prepare(600.0, lambda _: pytest.fail("nobody makes it meanwhile"))


def test_what_json_cannot_hold_is_kept_as_nothing(mine):
    job = mine.create_job([], {"rate": float("nan"), "all": [float("inf"), 1.5]})
    assert mine.get_job(job.id).options == {"rate": None, "all": [None, 1.5]}


# What the operator is told

SECRET = "pa55word-of-the-tests"


@pytest.mark.parametrize(
    ("address", "said"),
    [
        (f"postgresql://me:{SECRET}@127.0.0.1:1/db", r"127\.0\.0\.1:1 .*does not answer: start it"),
        (f"postgresql://me:{SECRET}@/db?host=/nowhere", "/nowhere.*does not answer"),
        (f"postgresql://me:{SECRET}@db.invalid/db", "cannot be (found|used)"),
        (f"mysql://me:{SECRET}@host/db", "begins with mysql://; postgresql:// and sqlite:/// are supported"),
        (f"me:{SECRET}@host", "cannot be read as an address"),
        (f"postgresql://me@host:{SECRET}/db", "cannot be read as an address"),
    ],
)
def test_an_address_that_cannot_be_used_is_named_in_one_line_without_its_password(address, said):
    with pytest.raises(DatabaseUnusable, match=said) as refused:
        Database(address).prepare()
    assert SECRET not in str(refused.value)
    assert "\n" not in str(refused.value)
    assert SECRET not in "".join(traceback.format_exception(refused.value))


def test_a_missing_database_and_an_unknown_user_are_named(postgres):
    for url, said in (
        (postgres.url("nothing-here"), "has no such database: create it: createdb"),
        (postgres.url(user="nobody-here"), "does not know the user"),
    ):
        with pytest.raises(DatabaseUnusable, match=said):
            Database(url).prepare()


def test_a_wrong_password_is_named_and_not_repeated(postgres):
    postgres.demand_password("guest", "right")
    try:
        address = postgres.url(user=f"guest:{SECRET}")
        with pytest.raises(DatabaseUnusable, match="refused the password: correct it in SKELETON_PROMPT") as refused:
            Database(address).prepare()
        assert SECRET not in str(refused.value)
        database = Database(postgres.url(user="guest:right"))
        assert database.schema().server.startswith("PostgreSQL")
        database.close()
    finally:
        postgres.demand_no_password()


def test_a_user_who_may_not_make_tables_is_told_so_and_can_use_those_that_are_there(postgres):
    postgres.ask("CREATE ROLE reader LOGIN")
    url = postgres.empty()
    database, owner = Database(url.replace("postgres@", "reader@")), Database(url)
    with pytest.raises(DatabaseUnusable, match="grant it CREATE on the schema"):
        database.prepare()
    owner.prepare()
    with owner.write() as connection:
        connection.exec_driver_sql("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO reader")
    database.prepare()
    assert database.schema().current
    for one in (database, owner):
        one.close()


def test_without_the_driver_the_way_to_get_it_is_told(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "psycopg", None)
    with pytest.raises(DatabaseUnusable, match=r"pip install 'skeleton-prompt\[server,postgres\]'"):
        Database("postgresql://me@host/db")


def test_the_address_is_in_no_repr_of_the_settings(tmp_path):
    settings = Settings(data_dir=tmp_path, database_url=f"postgresql://me:{SECRET}@host/db")
    assert SECRET not in repr(settings) + str(settings) + repr(settings.resolved())
    storage = Storage.open(settings)
    assert SECRET not in repr(storage.database.engine) + storage.database_name
    assert storage.database_name == "host:5432/db"
    storage.close()
