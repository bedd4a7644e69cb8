"""What goes into the archive for TorchServe."""

import json
import zipfile

import pytest
import yaml

from service.cli import main
from service.inference.torchserve.archive import ArchiveError, build_archive
from tests.support.torchserve_process import backbone_file


@pytest.mark.services
def test_an_archive_holds_the_handler_the_backbones_and_the_configuration(tmp_path):
    current, older = backbone_file(tmp_path), backbone_file(tmp_path, seed=1)
    made = build_archive(tmp_path / "out", str(current), [str(older)], batch_size=5, queue_size=7)
    with zipfile.ZipFile(made) as archive:
        manifest = json.loads(archive.read("MAR-INF/MANIFEST.json"))["model"]
        config = yaml.safe_load(archive.read("model-config.yaml"))
        assert archive.read(current.name) == current.read_bytes()
        assert archive.read(older.name) == older.read_bytes()
    assert (manifest["handler"], manifest["serializedFile"]) == ("handler.py", current.name)
    assert (config["batchSize"], config["jobQueueSize"], config["maxWorkers"]) == (5, 7, 1)
    assert [path.name for path in made.parent.iterdir()] == [made.name]


def test_an_archive_without_its_backbone_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        build_archive(tmp_path / "out", str(tmp_path / "nowhere.safetensors"))
    assert not (tmp_path / "out").exists()


def test_two_backbones_of_one_file_name_are_refused(tmp_path):
    path = str(backbone_file(tmp_path))
    with pytest.raises(ArchiveError, match=r"tiny-0\.safetensors"):
        build_archive(tmp_path / "out", path, [path])


@pytest.mark.services
def test_the_command_writes_the_configuration_beside_it_and_keeps_one_that_is_there(tmp_path, capsys):
    (tmp_path / "log4j2.xml").write_text("mine")
    with pytest.raises(SystemExit) as ended:
        main(["archive", "--out", str(tmp_path), "--backbone", str(backbone_file(tmp_path)), "--json"])
    assert not ended.value.code
    assert json.loads(capsys.readouterr().out)["file"] == str(tmp_path / "skeleton_prompt.mar")
    assert (tmp_path / "log4j2.xml").read_text() == "mine"
    assert "enable_model_api=false" in (tmp_path / "config.properties").read_text()
