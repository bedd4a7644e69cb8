"""What the doctor says about tenants on older backbones."""

import pytest

from service.cli.doctor import _old_backbones
from service.storage.backbones import blob_name
from skeleton_prompt.bundle import digest
from tests.storing import storing, teach, tenant_of

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
        assert blob_name(digest(OLD)) in found.advice
        storage.backbones.keep(OLD)
        found = _old_backbones()
        assert (found.ok, found.found) == (None, "2 tenants are served on an older backbone")
