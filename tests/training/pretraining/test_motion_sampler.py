import numpy as np
import pytest

from training.pretraining.motion_sampler import (
    HELD_OUT,
    clip_weights,
    kind_of,
    load_corpus,
    source_shares,
    subject_of,
)


def write(path, sources, *, lengths=None, held_out=None):
    lengths = lengths or [20] * len(sources)
    extra = {} if held_out is None else {"held_out": np.array(held_out)}
    np.savez(
        path,
        rel=np.zeros((sum(lengths), 17, 3), dtype=np.float16),
        root=np.zeros((sum(lengths), 3), dtype=np.float32),
        offsets=np.cumsum([0, *lengths]),
        names=np.array([f"{source}/{i}" for i, source in enumerate(sources)]),
        source=np.array(sources),
        fps=np.array(30.0),
        **extra,
    )
    return path


def test_sources_that_are_known_keep_their_shares() -> None:
    known = np.array(["cmu_fbx", "cmu_amc", "cmu_exp", "ui_prmd"])
    assert source_shares(known, np.array([900, 100, 200, 4000])) == pytest.approx(
        {"cmu_fbx": 0.65, "cmu_amc": 0.05, "cmu_exp": 0.1, "ui_prmd": 0.2}
    )


def test_a_source_nobody_knows_gets_a_share_by_its_size() -> None:
    shares = source_shares(np.array(["hdm05", "ui_prmd", "mine"]), np.array([100, 300, 400]))
    assert shares == pytest.approx({"hdm05": 0.5 * 0.1 / 0.3, "ui_prmd": 0.5 * 0.2 / 0.3, "mine": 0.5})


def test_the_file_says_which_clips_are_held_out(tmp_path) -> None:
    path = write(tmp_path / "motion.npz", ["mine"] * 3, lengths=[20, 30, 40], held_out=[False, True, False])
    assert load_corpus(path, held_out=True).offsets.tolist() == [0, 30]
    assert load_corpus(path, held_out=False).offsets.tolist() == [0, 20, 60]


def test_a_corpus_without_a_held_out_part_is_refused_by_name(tmp_path) -> None:
    path = write(tmp_path / "motion.npz", ["mine"])
    with pytest.raises(ValueError, match="none of the 1 clips is held out"):
        load_corpus(path, held_out=True)


def test_a_kind_is_drawn_by_the_root_of_its_frames_and_inside_it_every_person_alike() -> None:
    source = np.array(["mine"] * 6)
    kinds = np.array(["walk"] * 4 + ["kick"] * 2)
    people = np.array(["a", "a", "a", "b", "a", "b"])
    weights = clip_weights(source, kinds, people, np.array([100, 100, 100, 100, 50, 50]))
    assert weights.sum() == pytest.approx(1)
    assert weights[:4].sum() / weights[4:].sum() == pytest.approx(2)
    assert weights[:3].sum() == pytest.approx(weights[3])


@pytest.mark.parametrize(
    ("name", "label", "kind"),
    [
        ("cmu_fbx/14_01", "Boxing", "boxing"),
        ("cmu_fbx/30_05", "monkey (human subject)", "monkey"),
        ("cmu_fbx/144_02", "Cartwheels001", "cartwheels"),
        ("cmu_fbx/78_01", "LeftTightTurn CleanedGRS", "lefttightturn"),
        ("cmu_fbx/70_01", "carry 5.5lb suitcase", "carry 5 5lb suitcase"),
        ("cmu_fbx/80_01#1", "Unknown", "cmu_fbx/80_01"),
        ("cmu_amc/01_02#3", "", "cmu_amc/01_02"),
        ("cmu_exp/train/walking_extra/walking_13", "", "cmu_walking"),
        ("ui_prmd/m03_s02_e01", "", "m03"),
        ("hdm05/HDM_bd_cartwheelLHandStart1Reps_001_120", "", "cartwheelLHandStart1Reps"),
    ],
)
def test_the_kind_of_motion_is_the_action_in_the_name_or_the_description(name: str, label: str, kind: str) -> None:
    assert kind_of(name, label) == kind


@pytest.mark.parametrize(
    ("name", "held_out"),
    [
        ("cmu_amc/02_01", True),
        ("cmu_exp/train/walking/walking_1", True),  # CMU's recording 02_01
        ("cmu_exp/train/walking_extra/walking_13", False),
        ("cmu_exp/train/walking/walking_2", False),
        ("cmu_fbx/144_11", True),
        ("cmu_fbx/14_11", False),
        ("cmu_fbx/29_03#2", True),
        ("ui_prmd/m01_s09_e02", True),
        ("ui_prmd/m01_s08_e02", False),
    ],
)
def test_whole_subjects_are_held_out_and_the_copy_of_a_held_out_recording_is_too(name: str, held_out: bool) -> None:
    assert bool(HELD_OUT.search(name)) == held_out


def test_the_person_of_a_clip_is_in_its_name() -> None:
    names = ("cmu_fbx/05_02#1", "ui_prmd/m01_s09_e02", "hdm05/HDM_bd_walk_001_120", "cmu_exp/train/walking/walking_1")
    assert [subject_of(name) for name in names] == ["05", "09", "bd", ""]
