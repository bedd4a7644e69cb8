"""The commands that need no service."""

import json

import numpy as np
import pytest

from service.cli import main
from service.cli.clip_files import write_clips
from skeleton_prompt.client.requests import clip_body
from skeleton_prompt.clips.layouts import layout_names
from skeleton_prompt.synthetic import make_clip


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    return caught.value.code or 0


@pytest.fixture
def clips(tmp_path):
    rng = np.random.default_rng(0)
    write_clips(tmp_path / "clips.json", [clip_body(make_clip(action, rng)) for action in ("wave", "squat")])
    return tmp_path / "clips.json"


def test_layouts_are_listed_shown_and_drawn(capsys, tmp_path):
    assert run("layouts", "list", "--json") == 0
    assert {row["name"] for row in json.loads(capsys.readouterr().out)} == set(layout_names())
    assert run("layouts", "show", "coco17", "--json", "--svg", tmp_path / "coco17.svg") == 0
    assert json.loads(capsys.readouterr().out)["joints"][0] == "nose"
    assert (tmp_path / "coco17.svg").read_text().startswith("<svg")
    assert run("layouts", "show", "coco71") == 1
    assert "coco17" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("name", ["one.svg", "one.png", "one.gif"])
def test_a_clip_of_a_file_is_drawn(clips, tmp_path, name):
    assert run("render", clips, tmp_path / name, "--number", 2) == 0
    assert (tmp_path / name).stat().st_size > 500


def test_converted_clips_are_checked_and_kept(clips, tmp_path, capsys):
    assert run("convert", clips, tmp_path / "out.ndjson.gz", "--json") == 0
    assert json.loads(capsys.readouterr().out)["clips"] == 2
    bad = {"layout": "coco17", "keypoints": [[[1.0, 2.0]] * 16] * 3}
    write_clips(tmp_path / "bad.json", [bad])
    assert run("convert", tmp_path / "bad.json", tmp_path / "out.json") == 2
    assert "16" in capsys.readouterr().err
