import numpy as np
import pytest

from training.pretraining.motion_sampler import load_corpus, source_shares


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
    shares = source_shares(np.array(["cmu_amc", "cmu_exp", "hdm05", "ui_prmd"]), np.array([100, 200, 300, 4000]))
    assert shares == pytest.approx({"cmu_amc": 0.2, "cmu_exp": 0.25, "hdm05": 0.2, "ui_prmd": 0.35})


def test_a_source_nobody_knows_gets_a_share_by_its_size() -> None:
    shares = source_shares(np.array(["hdm05", "ui_prmd", "mine"]), np.array([100, 300, 400]))
    assert shares == pytest.approx({"hdm05": 0.5 * 0.2 / 0.55, "ui_prmd": 0.5 * 0.35 / 0.55, "mine": 0.5})


def test_the_file_says_which_clips_are_held_out(tmp_path) -> None:
    path = write(tmp_path / "motion.npz", ["mine"] * 3, lengths=[20, 30, 40], held_out=[False, True, False])
    assert load_corpus(path, held_out=True).offsets.tolist() == [0, 30]
    assert load_corpus(path, held_out=False).offsets.tolist() == [0, 20, 60]


def test_a_corpus_without_a_held_out_part_is_refused_by_name(tmp_path) -> None:
    path = write(tmp_path / "motion.npz", ["mine"])
    with pytest.raises(ValueError, match="none of the 1 clips is held out"):
        load_corpus(path, held_out=True)
