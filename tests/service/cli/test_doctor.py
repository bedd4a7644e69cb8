"""What the doctor says about tenants on older backbones."""

import pytest
import torch

from service.cli import main
from service.cli.doctor import _database, _device, _old_backbones
from service.cli.output import UsageError
from service.cli.serve import use_database
from service.storage.blobs.paths import backbone_blob
from skeleton_prompt.model.prompt_file import digest
from tests.support.storage_fixtures import change, storing, teach, tenant_of

OLD, NEW = b"the old backbone", b"the new backbone"


@pytest.fixture
def data_dir(tmp_path, monkeypatch):
    (tmp_path / "edge.safetensors").write_bytes(NEW)
    monkeypatch.setenv("SKELETON_PROMPT_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("SKELETON_PROMPT_BACKBONE", str(tmp_path / "edge.safetensors"))
    return tmp_path / "data"


def taught_on(storage, data):
    teach(tenant_of(storage))
    with storage.database.write() as connection:
        connection.exec_driver_sql("UPDATE prompts SET backbone_sha256 = ?", (digest(data),))


def test_a_folder_without_data_is_left_without_any(data_dir):
    assert (_old_backbones().ok, data_dir.exists()) == (True, False)


def test_tenants_on_an_older_backbone_are_counted_and_a_lost_file_is_named(data_dir):
    with storing(data_dir) as storage:
        taught_on(storage, NEW)
        assert _old_backbones().ok
        taught_on(storage, OLD)
        found = _old_backbones()
        assert (found.ok, found.found) == (False, "2 tenants cannot be served")
        assert backbone_blob(digest(OLD)) in found.advice
        storage.backbones.store(OLD)
        found = _old_backbones()
        assert (found.ok, found.found) == (None, "2 tenants are served on an older backbone")


def test_the_doctor_says_which_database_and_how_far_its_tables_are(data_dir):
    assert (_database().ok, data_dir.exists()) == (True, False)
    with storing(data_dir) as storage:
        newest = storage.schema().newest
        assert _database().found == f"{storage.schema().server} at {data_dir}/skeleton-prompt.db, migration {newest}"
        for revision, ok in (("9999", None), ("b0003", False)):
            change(storage, "UPDATE alembic_version SET version_num = :v", v=revision)
            assert _database().ok is ok


def test_a_database_that_does_not_answer_is_broken_and_its_password_stays_unsaid(data_dir, monkeypatch):
    monkeypatch.setenv("SKELETON_PROMPT_DATABASE_URL", "postgresql://me:hidden-word@127.0.0.1:1/db")
    found = _database()
    assert found.ok is False
    assert "127.0.0.1:1" in found.advice
    assert "hidden-word" not in repr(found)


@pytest.mark.parametrize("url", ["postgresql://me:word@host/db", "postgresql://host/db?user=me&password=word"])
def test_a_password_on_the_command_line_is_refused(url):
    with pytest.raises(UsageError, match="can be seen by every user"):
        use_database(url)


def test_the_table_of_settings_shows_an_address_without_its_password(monkeypatch, capsys):
    for url in ("postgresql://me:hidden-word@host/db", "postgresql://host/db?password=hidden-word&sslmode=require"):
        monkeypatch.setenv("SKELETON_PROMPT_DATABASE_URL", url)
        with pytest.raises(SystemExit) as ended:
            main(["settings", "--json"])
        assert ended.value.code == 0
        shown = capsys.readouterr().out
        assert "host/db" in shown
        assert "hidden-word" not in shown


def test_the_doctor_says_where_the_engine_computes_and_that_a_gpu_is_not_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    found = _device()
    assert (found.ok, found.found.startswith("cpu, ")) == (True, True)
    monkeypatch.setenv("SKELETON_PROMPT_CUDA_GRAPHS", "true")
    assert _device().ok is None
    monkeypatch.setenv("SKELETON_PROMPT_DEVICE", "cuda:1")
    found = _device()
    assert (found.ok, "cuda:1" in found.found, "SKELETON_PROMPT_DEVICE" in found.advice) == (False, True, True)
