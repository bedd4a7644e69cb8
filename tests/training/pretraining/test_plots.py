import json
import logging
import sys

import matplotlib.image
import numpy as np
import pytest
import torch

from skeleton_prompt.model.backbone import CONFIGS, Backbone, BackboneConfig, backbone_bytes
from training.pretraining.plots import MOMENTS, draw_run, lift_real, series


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run of two checkpoints on a corpus of three recordings."""
    config = BackboneConfig("tiny", width=16, blocks=1, heads=2)
    monkeypatch.setitem(CONFIGS, "tiny", config)
    monkeypatch.delenv("SKELETON_PROMPT_DATASETS", raising=False)
    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "motion.npz", rel=rng.normal(0, 0.4, (180, 17, 3)).astype(np.float16),
        root=np.zeros((180, 3), dtype=np.float32), offsets=np.array([0, 60, 120, 180]), fps=np.array(30.0),
        names=np.array(["own/a", "own/b", "own/c"]), source=np.array(["own"] * 3),
        held_out=np.array([True, True, False]),
    )  # fmt: skip
    folder = tmp_path / "run"
    folder.mkdir()
    for step in (2, 4):
        (folder / f"tiny-{step:06d}.safetensors").write_bytes(backbone_bytes(Backbone(config)))
    lines = [{"kind": "train", "step": 20, "total": 3.0}, {"kind": "train", "step": 20, "total": 2.0}]
    lines += [
        {"kind": "held_out", "step": step, "mpjpe": 1.0, "few_shot": 50.0 + step, "few_shot_hidden": 40.0}
        for step in (0, 2, 4)
    ]
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "config.json").write_text(json.dumps({"motion": str(tmp_path / "motion.npz")}))
    return folder


@pytest.mark.slow
def test_a_run_is_drawn_from_held_out_motion_where_there_is_no_real_video(run) -> None:
    assert [path.name for path in draw_run(run)] == ["curves.png", "lifted.png"]
    for name in ("curves.png", "lifted.png"):
        picture = matplotlib.image.imread(run / name)
        assert min(picture.shape[:2]) > 300
        assert len(np.unique(picture[..., :3].reshape(-1, 3), axis=0)) > 20
    wide = matplotlib.image.imread(run / "lifted.png").shape
    assert wide[1] > 3 * len(MOMENTS) * 100


def test_a_step_that_was_done_twice_is_drawn_once(run) -> None:
    assert series(run, "train", "total") == ([20], [2.0])
    assert series(run, "held_out", "few_shot") == ([0, 2, 4], [50.0, 52.0, 54.0])
    assert series(run, "held_out", "unknown") == ([], [])


def test_without_matplotlib_it_says_so_and_goes_on(run, monkeypatch, caplog) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with caplog.at_level(logging.WARNING):
        assert draw_run(run) == []
    assert "matplotlib is not installed" in caplog.text


def test_clips_of_real_video_are_lifted(datasets) -> None:
    torch.manual_seed(0)
    clips = lift_real(Backbone(BackboneConfig("tiny", width=16, blocks=1, heads=2)), datasets)
    assert len(clips) == 8
    assert {clip.title.split(":")[0] for clip in clips} == {"penn_action", "jhmdb14"}
    assert all(clip.pose.shape == clip.lifted.shape == (64, 17, 3) for clip in clips)
    assert all(bool((clip.pose[..., 2] > 0).any()) for clip in clips)
