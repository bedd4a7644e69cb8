"""Exporting a prompt file without a service, and asking for what cannot be."""

import json

import pytest

from service.cli import export as command
from service.cli import main
from skeleton_prompt.model.backbone import backbone_bytes, load_backbone
from skeleton_prompt.model.engine import Engine
from skeleton_prompt.model.prompt_file import save_prompt
from skeleton_prompt.onnx.runtime import OnnxModel
from tests.support.engine_rows import random_prompt, small_engine


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    return caught.value.code or 0


@pytest.fixture
def files(tmp_path):
    backbone, prompt = tmp_path / "small.safetensors", tmp_path / "prompt.safetensors"
    backbone.write_bytes(backbone_bytes(small_engine().backbone))
    prompt.write_bytes(save_prompt(random_prompt(Engine(load_backbone(backbone)), 1)))
    return prompt, backbone


@pytest.mark.slow
def test_a_prompt_file_is_exported_without_a_service(files, tmp_path, capsys):
    prompt, backbone = files
    out = tmp_path / "model.onnx"
    assert run("export", "--prompt", prompt, "--backbone", backbone, "--layout", "jhmdb15", "--out", out, "--json") == 0
    assert json.loads(capsys.readouterr().out)["bytes"] == out.stat().st_size
    assert OnnxModel(out).card.layout == "jhmdb15"


def test_the_active_version_is_asked_of_the_service(monkeypatch, tmp_path, capsys):
    asked = []

    class Service:
        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def prompts(self, tenant, limit):
            return [type("Prompt", (), {"version": n, "active": n == 2}) for n in (3, 2, 1)]

        def download_prompt(self, tenant, version, **options):
            asked.append((tenant, version, options))
            return b"model"

    monkeypatch.setattr(command, "connect", lambda url, key: Service())
    assert run("export", "--tenant", "acme", "--out", tmp_path / "model.onnx", "--coords", "xyzc") == 0
    assert asked == [("acme", 2, {"format": "onnx", "layout": None, "coords": "xyzc"})]
    assert (tmp_path / "model.onnx").read_bytes() == b"model"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--tenant"),
        (["--tenant", "a", "--prompt", "p"], "--tenant"),
        (["--prompt", "absent.safetensors"], "absent.safetensors"),
        (["--prompt", "p", "--version", "1"], "--version"),
    ],
)
def test_what_makes_no_sense_is_said(arguments, said, tmp_path, capsys):
    assert run("export", "--out", tmp_path / "model.onnx", *arguments) == 2
    assert said in capsys.readouterr().err
