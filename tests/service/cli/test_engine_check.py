"""What the doctor says about the engine."""

import json
import zipfile

import pytest

from service.cli.engine_check import engine_findings
from skeleton_prompt.model.prompt_file import digest

OURS, OTHER = b"the backbone of the service", b"another backbone"


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """Sets settings, in a folder of its own."""
    (tmp_path / "edge.safetensors").write_bytes(OURS)
    monkeypatch.chdir(tmp_path)

    def change(**values):
        for name, value in {"backbone": tmp_path / "edge.safetensors", **values}.items():
            monkeypatch.setenv(f"SKELETON_PROMPT_{name.upper()}", str(value))

    change(data_dir=tmp_path / "data")
    return change


def archive(folder, backbone):
    (folder / "model_store").mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / "model_store" / "skeleton_prompt.mar", "w") as mar:
        mar.writestr("MAR-INF/MANIFEST.json", json.dumps({"model": {"serializedFile": "edge.safetensors"}}))
        mar.writestr("edge.safetensors", backbone)


def test_an_engine_in_the_process_needs_nothing(settings):
    (found,) = engine_findings()
    assert (found.ok, found.found) == (True, "in the service's own process")


def test_a_local_torchserve_needs_a_java_that_runs(settings, monkeypatch, tmp_path):
    settings(engine="torchserve")
    (found,) = engine_findings()
    assert (found.ok, "Java" in found.found) == (True, True)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    (found,) = engine_findings()
    assert found.ok is False
    assert str(tmp_path) in found.advice


def test_an_archive_is_compared_with_the_backbone_of_the_service(settings, tmp_path):
    settings(engine="torchserve")
    archive(tmp_path, OURS)
    assert next(each for each in engine_findings() if each.what == "archive").ok
    archive(tmp_path, OTHER)
    found = next(each for each in engine_findings() if each.what == "archive")
    assert found.ok is None
    assert digest(OURS)[:12] in found.found
    assert digest(OTHER)[:12] in found.found
    assert "skeleton-prompt archive" in found.advice


def test_each_address_is_asked_for_a_forward_pass_and_one_that_gives_none_is_broken(settings, monkeypatch):
    monkeypatch.setattr("service.cli.engine_check.START_S", 0.3)
    settings(engine="torchserve", engine_url="http://127.0.0.1:9,http://me:hidden-word@127.0.0.1:10")
    found = list(engine_findings())
    assert [each.ok for each in found] == [False, False]
    assert "127.0.0.1:9" in found[0].found
    assert "hidden-word" not in str(found)
