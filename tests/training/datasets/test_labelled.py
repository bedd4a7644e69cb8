from pathlib import Path

import numpy as np
import pytest

from skeleton_prompt.clips.clip import parse_clip
from skeleton_prompt.clips.normalise import prepare
from training.datasets import SETS, DatasetMissing, draw_shots, read_set

CLIPS = {
    "utd_mhad": (431, 430),
    "nw_ucla": (1020, 464),
    "msr_action3d": (284, 273),
    "penn_action": (1258, 1068),
    "jhmdb14": (433, 176),
    "posepilot_yoga": (116, 72),
    "irds_subset": (None, None),
    "ui_prmd_kinect": (1000, 1000),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A set of two clips in Penn Action's form: hidden joints have plausible numbers."""
    home = tmp_path / "penn_action"
    home.mkdir()
    rng = np.random.default_rng(0)
    visibility = np.ones((7, 13), dtype=bool)
    visibility[:, 3] = False
    np.savez(
        home / "data.npz",
        keypoints=rng.uniform(1, 99, (7, 13, 2)).astype(np.float32),
        offsets=np.array([0, 1, 7]),
        labels=np.array([0, 1]),
        label_names=np.array(["jump", "sit"]),
        visibility=visibility,
        split=np.array(["train", "test"]),
        image_hw=np.array([[480, 640], [480, 640]]),
    )
    return tmp_path


def test_a_joint_that_the_set_calls_hidden_is_not_seen_in_the_clip(folder: Path) -> None:
    penn = read_set("penn_action", folder)
    clip = penn.clip(1)
    assert clip.positions.shape == (1, 6, 13, 2)
    assert (clip.confidence[..., 3] == 0).all()
    assert (np.delete(clip.confidence, 3, axis=-1) == 1).all()
    assert (clip.label, clip.image_size) == ("sit", (640, 480))


def test_a_clip_of_one_frame_is_doubled_so_that_no_test_clip_is_lost(folder: Path) -> None:
    penn = read_set("penn_action", folder)
    assert penn.clip(0).frames == 2
    assert penn.train_indices.tolist() == [0]
    assert penn.test_indices.tolist() == [1]


def test_the_nested_document_and_the_packed_one_mean_the_same_clip(folder: Path) -> None:
    penn = read_set("penn_action", folder)
    nested, packed = (parse_clip(penn.document(1, nested=nested), teaching=True) for nested in (True, False))
    assert np.array_equal(nested.positions, packed.positions, equal_nan=True)
    assert np.array_equal(nested.confidence, packed.confidence)


def test_a_missing_set_is_said_with_its_place(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SKELETON_PROMPT_DATASETS", raising=False)
    with pytest.raises(DatasetMissing, match="utd_mhad"):
        read_set("utd_mhad", folder)
    with pytest.raises(DatasetMissing, match="SKELETON_PROMPT_DATASETS"):
        read_set("utd_mhad")
    with pytest.raises(LookupError, match="penn_action"):
        read_set("ntu", folder)


def test_a_draw_takes_k_clips_of_every_class_from_the_candidates_only() -> None:
    labels = np.repeat(np.arange(4), 10)
    candidates = np.flatnonzero(np.arange(40) % 2 == 0)
    few, more = (draw_shots(labels, candidates, shots, seed=3) for shots in (2, 4))
    assert np.bincount(labels[few]).tolist() == [2, 2, 2, 2]
    assert np.isin(few, candidates).all()
    assert np.isin(few, more).all()
    assert not np.array_equal(few, draw_shots(labels, candidates, 2, seed=4))
    assert np.array_equal(draw_shots(labels, candidates, None, seed=0), candidates)


@pytest.mark.data
@pytest.mark.parametrize("name", SETS)
def test_every_set_reads_with_its_protocol_and_its_people_stand_upright(name: str) -> None:
    labelled = read_set(name)
    train, test = CLIPS[name]
    assert train is None or (len(labelled.train_indices), len(labelled.test_indices)) == (train, test)
    if labelled.groups and name != "nw_ucla":
        sides = [{labelled.groups[i] for i in side} for side in (labelled.train_indices, labelled.test_indices)]
        assert not sides[0] & sides[1]
    for index in (0, len(labelled) // 2):
        clip = labelled.clip(index)
        assert clip.label == labelled.label_names[labelled.labels[index]]
        people, quality = prepare(clip)
        assert people[0].visible > 0.5
        assert not [warning for warning in quality.warnings if "mirror" in warning or "upside" in warning]
