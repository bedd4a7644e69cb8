import logging

import pytest
from sqlalchemy import event, select

from service.errors import Forbidden, InvalidRequest, NoActivePrompt, NotFound, Unauthenticated, VersionNotFound
from service.storage.repositories.keys import key_id_of
from service.storage.sql.tables import metadata
from tests.support.storage_fixtures import ADMIN, LABELS, teach, tenant_of


def test_a_key_is_recognised_with_its_tenant_and_its_scopes(storage, mine):
    record, secret = mine.create_key(["predict"])
    principal = storage.admin.authenticate(secret)
    assert (principal.kind, principal.tenant, principal.key_id) == ("tenant", mine.tenant, record.id)
    assert principal.scopes == {"predict"}


def test_the_admin_key_is_recognised_and_belongs_to_no_tenant(storage):
    principal = storage.admin.authenticate(ADMIN)
    assert (principal.kind, principal.tenant) == ("admin", None)


@pytest.mark.parametrize("change", [lambda s: s[:-1] + ("A" if s[-1] != "A" else "B"), lambda s: s[:-1], str.upper])
def test_a_changed_secret_is_not_recognised_though_its_id_is_known(storage, mine, change):
    _, secret = mine.create_key()
    assert storage.admin.authenticate(change(secret)) is None


@pytest.mark.parametrize("secret", ["", "sp_", "\ud800", "é" * 20, "sp_" + "0" * 23 + "_" + "x" * 43, "a" * 100_000])
def test_nonsense_is_not_recognised_and_raises_nothing(storage, secret):
    assert storage.admin.authenticate(secret) is None


def test_a_revoked_key_is_not_recognised(storage, mine):
    record, secret = mine.create_key()
    mine.delete_key(record.id)
    assert storage.admin.authenticate(secret) is None
    with pytest.raises(NotFound):
        mine.delete_key(record.id)


def test_another_tenants_key_can_be_neither_listed_nor_revoked(storage, mine, other):
    record, secret = other.create_key()
    assert record.id not in [key.id for key in mine.list_keys().items]
    with pytest.raises(NotFound):
        mine.delete_key(record.id)
    assert storage.admin.authenticate(secret) is not None


def test_a_secret_is_stored_nowhere_and_shown_in_no_repr(storage, tmp_path, mine, caplog):
    with caplog.at_level(logging.DEBUG):
        record, secret = mine.create_key()
        principal = storage.admin.authenticate(secret)
    hidden = secret.split("_", 2)[2]  # which may hold underscores itself
    for shown in (record, principal, storage, storage.admin, mine, mine.list_keys(), caplog.text):
        assert hidden not in repr(shown)
    with storage.database.read() as connection:
        dump = "\n".join(str(row) for table in metadata.sorted_tables for row in connection.execute(select(table)))
    assert record.id in dump
    assert hidden not in dump


def test_the_id_inside_a_key_is_found_without_a_query(mine):
    record, secret = mine.create_key()
    assert key_id_of(secret) == record.id


def test_keys_are_paged_oldest_first(storage):
    repository = tenant_of(storage)
    made = [repository.list_keys().items[0].id] + [repository.create_key()[0].id for _ in range(4)]
    page = repository.list_keys(limit=3)
    assert len(page.items) == 3
    rest = repository.list_keys(limit=3, after=page.next)
    assert rest.next is None
    assert sorted(key.id for key in page.items + rest.items) == sorted(made)


def test_one_read_gives_the_caller_and_the_exact_prompt(storage, mine):
    ref = teach(mine)
    _, secret = mine.create_key()
    found = storage.admin.resolve_prediction(secret)
    assert (found.ref, found.labels, found.principal.tenant) == (ref, LABELS, mine.tenant)
    assert storage.admin.resolve_prediction(ADMIN, mine.tenant).ref == ref
    newer = teach(mine, activate=False)
    assert storage.admin.resolve_prediction(secret).ref == ref
    assert storage.admin.resolve_prediction(secret, version=newer.version).ref == newer
    assert storage.admin.resolve_prediction(ADMIN, mine.tenant, newer.version).ref == newer


def test_callers_and_versions_that_take_turns_each_get_their_own_prompt(storage, mine, other):
    refs, secrets = {}, {}
    for repository in (mine, other):
        refs[repository.tenant] = teach(repository), teach(repository, activate=False)
        secrets[repository.tenant] = repository.create_key()[1]
    resolve = storage.admin.resolve_prediction
    for _ in range(2):  # the read is put together once, so nothing of one caller may stay in it for the next
        for tenant, (active, newer) in refs.items():
            assert resolve(secrets[tenant]).ref == active
            assert resolve(secrets[tenant], version=newer.version).ref == newer
            assert resolve(ADMIN, tenant).ref == active
            assert resolve(ADMIN, tenant, newer.version).ref == newer


def test_resolving_a_prediction_is_one_indexed_query(storage, mine):
    teach(mine)
    _, secret = mine.create_key()
    statements = []

    def note(connection, cursor, statement, parameters, context, executemany):
        if statement.startswith("SELECT"):
            statements.append((statement, parameters))

    event.listen(storage.database.engine, "before_cursor_execute", note)
    try:
        storage.admin.resolve_prediction(secret)
    finally:
        event.remove(storage.database.engine, "before_cursor_execute", note)
    assert len(statements) == 1
    explain = "EXPLAIN QUERY PLAN " if storage.database.sqlite else "EXPLAIN "
    with storage.database.engine.connect() as connection:
        if not storage.database.sqlite:  # a table of a few rows is read whole, unless that is forbidden
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        plan = connection.exec_driver_sql(explain + statements[0][0], statements[0][1]).all()
    assert not [row for row in plan if "SCAN" in row[-1] or "Seq Scan" in row[-1]], plan


def test_each_reason_not_to_predict_has_its_own_error(storage, mine, other):
    admin = storage.admin
    _, secret = mine.create_key()
    with pytest.raises(NoActivePrompt):
        admin.resolve_prediction(secret)
    with pytest.raises(VersionNotFound):
        admin.resolve_prediction(secret, version=7)
    with pytest.raises(Unauthenticated):
        admin.resolve_prediction("not a key")
    with pytest.raises(Unauthenticated):
        admin.resolve_prediction(secret[:-1] + "!")
    with pytest.raises(Forbidden):
        admin.resolve_prediction(mine.create_key(["tune"])[1])
    with pytest.raises(InvalidRequest):
        admin.resolve_prediction(ADMIN)
    with pytest.raises(NotFound):
        admin.resolve_prediction(ADMIN, "nobody")


def test_another_tenant_and_one_that_does_not_exist_are_refused_in_the_same_words(storage, mine, other):
    teach(other)
    _, secret = mine.create_key()
    said = []
    for tenant in (other.tenant, "nobody-at-all"):
        with pytest.raises(NotFound) as refused:
            storage.admin.resolve_prediction(secret, tenant)
        said.append(refused.value.problem("same"))
    assert said[0] == said[1]


def test_no_key_is_made_for_a_tenant_that_is_gone(storage):
    with pytest.raises(NotFound):
        storage.tenant("never-made").create_key()
