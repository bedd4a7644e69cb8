import json
import subprocess
import sys

import numpy as np
import pytest

from tests.support.mocap_people import amc_text, asf_text, bvh_text, write
from training.corpora.collect import CorpusOptions, build, collect, naming
from training.corpora.motion_file import clips_of, decide_held_out, is_known_test, read_motion_file, resample
from training.pretraining.motion_sampler import load_corpus


@pytest.fixture
def folder(tmp_path):
    """Three CMU subjects, two BVH people in folders of their own, and an AMASS file."""
    root = tmp_path / "capture"
    for subject in ("07", "08", "09"):
        write(root / "cmu" / subject / f"{subject}.asf", asf_text())
        write(root / "cmu" / subject / f"{subject}_01.amc", amc_text(frames=121, step=0.01))
    for name in ("anna", "ben"):
        write(root / "own" / name / "wave.bvh", bvh_text({"LeftArm": (0, 0, 60)}, frames=60, fps=60))
    poses = np.zeros((60, 156))
    poses[:, 0] = np.pi / 2
    (root / "amass").mkdir()
    np.savez(root / "amass" / "walk_poses.npz", poses=poses, trans=np.zeros((60, 3)), mocap_framerate=np.array(60.0))
    np.savez(root / "amass" / "shape.npz", betas=np.zeros(16))
    return root


def test_everything_that_is_known_becomes_one_corpus_that_pre_training_reads(folder, tmp_path) -> None:
    out = tmp_path / "motion.npz"
    found = build([folder], out, CorpusOptions())
    report = found.report(30)
    assert {row["source"]: row["clips"] for row in report["sources"]} == {
        "capture": 1, "capture/cmu": 3, "capture/own": 2,
    }  # fmt: skip
    assert [entry["note"] for entry in report["skipped"]] == ["holds neither poses nor joints"]
    train, held = load_corpus(out, held_out=False), load_corpus(out, held_out=True)
    assert len(train.weights) + len(held.weights) == 6
    assert train.weights.sum() == pytest.approx(1)
    assert (train.fps, train.frames.shape[1:]) == (30.0, (17, 3))
    with np.load(out) as file:
        assert file["rel"].dtype == np.float16
        assert not file["root"][file["offsets"][:-1]][:, [0, 2]].any()
        assert file["names"].tolist()[1] == "capture/cmu/07/07_01"
        walk = file["root"][file["offsets"][1] : file["offsets"][2]]
        assert len(walk) == 31  # a second of 121 frames at 120 fps
        assert walk[-1] == pytest.approx([0, 0.9, 1.2], abs=1e-3)


def test_the_same_folder_gives_the_same_file_byte_by_byte(folder, tmp_path) -> None:
    for name in ("a.npz", "b.npz"):
        build([folder], tmp_path / name, CorpusOptions())
    with np.load(tmp_path / "a.npz") as a, np.load(tmp_path / "b.npz") as b:
        assert all(np.array_equal(a[name], b[name]) for name in a.files)


def test_a_broken_file_never_stops_the_rest(folder, tmp_path) -> None:
    write(folder / "own" / "carl" / "broken.bvh", "HIERARCHY\nROOT Hips\n{")
    (folder / "own" / "carl" / "binary.bvh").write_bytes(b"\xff" * 100)
    (folder / "amass" / "cut_poses.npz").write_bytes(b"PK\x03\x04")
    write(folder / "cmu" / "10" / "10_01.amc", amc_text())
    found = build([folder], tmp_path / "motion.npz", CorpusOptions())
    report = found.report(30)
    assert report["read"] == 6
    notes = {entry["path"].rsplit("/", 1)[-1]: entry["note"] for entry in report["broken"]}
    assert set(notes) == {"broken.bvh", "binary.bvh", "cut_poses.npz", "10_01.amc"}
    assert "give one with --asf" in notes["10_01.amc"]
    assert notes["binary.bvh"].startswith("line 1:")


def test_a_skeleton_may_be_given(folder, tmp_path) -> None:
    alone = write(tmp_path / "alone" / "10_01.amc", amc_text())
    found = collect([alone], CorpusOptions(asf=folder / "cmu" / "07" / "07.asf"))
    assert [outcome.note for outcome in found.outcomes] == ["skeleton 07.asf"]


def test_corpora_are_merged_and_keep_what_they_hold_out(folder, tmp_path) -> None:
    first, both = tmp_path / "motion_a.npz", tmp_path / "both.npz"
    build([folder / "cmu"], first, CorpusOptions())
    build([first, folder / "own"], both, CorpusOptions())
    with np.load(first) as a, np.load(both) as b:
        assert b["names"].tolist()[:3] == a["names"].tolist()
        assert b["held_out"].tolist()[:3] == a["held_out"].tolist()
        assert np.array_equal(b["rel"][: len(a["rel"])], a["rel"])
        assert np.array_equal(b["root"][: len(a["root"])], a["root"])
        assert b["source"].tolist()[3:] == ["own", "own"]


def test_descriptions_are_kept_and_a_source_can_be_left_out(tmp_path) -> None:
    described, out = tmp_path / "described.npz", tmp_path / "motion.npz"
    np.savez(
        described, rel=np.zeros((90, 17, 3), np.float16), root=np.zeros((90, 3)), offsets=np.arange(4) * 30,
        names=np.array(["cmu_fbx/05_01", "cmu_fbx/05_02", "hdm05/HDM_bd_walk_001_120"]),
        source=np.array(["cmu_fbx", "cmu_fbx", "hdm05"]), fps=np.array(30.0), labels=np.array(["kick", "", "walk"]),
    )  # fmt: skip
    build([described], out, CorpusOptions(leave_out=frozenset({"hdm05"})))
    with np.load(out) as file:
        assert file["names"].tolist() == ["cmu_fbx/05_01", "cmu_fbx/05_02"]
        assert file["labels"].tolist() == ["kick", ""]
    everything = CorpusOptions(leave_out=frozenset({"cmu_fbx", "hdm05"}))
    assert [outcome.note for outcome in collect([described], everything).outcomes] == ["left out: source cmu_fbx"]


def test_a_recording_that_comes_twice_is_taken_once(folder, tmp_path) -> None:
    first = tmp_path / "motion_a.npz"
    build([folder / "cmu"], first, CorpusOptions())
    found = collect([first, folder / "cmu"], CorpusOptions())
    assert len(found.clips) == 3
    assert {outcome.state for outcome in found.outcomes[1:]} == {"skipped"}
    assert found.outcomes[1].note == f"already read from {first}"


def test_nothing_to_read_is_an_error_that_says_why(tmp_path) -> None:
    write(tmp_path / "in" / "a.bvh", "nonsense")
    with pytest.raises(ValueError, match=r"no motion was read from 1 files: .*a\.bvh: line 1: has no MOTION section"):
        build([tmp_path / "in"], tmp_path / "motion.npz", CorpusOptions())
    assert not (tmp_path / "motion.npz").exists()
    with pytest.raises(FileNotFoundError):
        build([tmp_path / "nowhere"], tmp_path / "motion.npz", CorpusOptions())


def test_a_write_that_fails_leaves_the_old_file(folder, tmp_path, monkeypatch) -> None:
    out = tmp_path / "motion.npz"
    build([folder / "own"], out, CorpusOptions())
    before = out.read_bytes()

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("training.corpora.motion_file.np.savez_compressed", full)
    with pytest.raises(OSError, match="No space"):
        build([folder], out, CorpusOptions())
    assert out.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["capture", "motion.npz"]


def test_whole_subjects_are_held_out_and_stay_so_when_others_come() -> None:
    still = np.zeros((30, 17, 3))
    clips = [
        clip
        for subject in range(40)
        for take in range(3)
        for clip in clips_of(f"own/{subject}/{take}", "own", f"own/{subject}", still, 30)
    ]
    held = decide_held_out(clips)
    by_subject = {clip.subject: set() for clip in clips}
    for clip, out in zip(clips, held, strict=True):
        by_subject[clip.subject].add(out)
    assert all(len(parts) == 1 for parts in by_subject.values())
    assert 1 <= sum(parts == {True} for parts in by_subject.values()) <= 10
    assert decide_held_out(clips[:90]) == held[:90]


def test_one_subject_is_split_by_recordings_and_one_recording_not_at_all() -> None:
    still = np.zeros((30, 17, 3))
    clips = [clip for take in range(4) for clip in clips_of(f"own/{take}", "own", "own/me", still, 30)]
    assert 1 <= sum(decide_held_out(clips)) < 4
    assert decide_held_out(clips[:1]) == [False]


@pytest.mark.parametrize(
    "name",
    ["CMU/02/02_05_poses", "x/002_05", "MPI_HDM05/tr/HDM_tr_05-03_01_120_poses", "a/02_01#3", "CMU/144/144_07_poses"],
)
def test_people_that_the_shipped_corpus_holds_out_are_held_out_in_every_collection(name) -> None:
    assert is_known_test(name) == (name != "x/002_05")
    clips = clips_of(name, "CMU", "CMU/2", np.zeros((30, 17, 3)), 30)
    clips += clips_of("CMU/03/03_01_poses", "CMU", "CMU/3", np.zeros((30, 17, 3)), 30)
    clips += clips_of("CMU/05/05_01_poses", "CMU", "CMU/5", np.zeros((30, 17, 3)), 30)
    if is_known_test(name):
        assert decide_held_out(clips)[0]


def test_recordings_are_cut_where_a_joint_jumps_and_where_they_are_long() -> None:
    frames = np.zeros((100, 17, 3))
    frames[40:] += 5.0  # another place from one frame to the next
    clips = clips_of("own/a", "own", "me", frames, 30)
    assert [(clip.name, len(clip.rel)) for clip in clips] == [("own/a#0", 40), ("own/a#1", 60)]
    assert not clips[1].root[0].tolist()[0]
    long = clips_of("own/b", "own", "me", np.zeros((1500, 17, 3)), 30)
    assert [len(clip.rel) for clip in long] == [500, 500, 500]
    assert clips_of("own/c", "own", "me", frames[:14], 30) == []


def test_resampling_keeps_time_and_interpolates() -> None:
    t = np.arange(121) / 120
    there = resample(np.repeat(t[:, None], 3, 1), 120, 30)
    assert there[:, 0] == pytest.approx(np.arange(31) / 30)
    back = resample(there, 30, 45)
    assert back[:, 0] == pytest.approx(np.arange(46) / 45)


def test_subjects_are_told_by_names_and_folders(tmp_path) -> None:
    root = tmp_path / "AMASS"
    root.mkdir()
    assert naming(root / "CMU" / "01" / "01_02_poses.npz", root) == (
        "AMASS/CMU",
        "AMASS/CMU/01/01_02_poses",
        "AMASS/CMU/1",
    )
    assert naming(root / "ACCAD" / "Female1" / "Run_poses.npz", root)[2] == "AMASS/ACCAD/Female1"
    assert naming(root / "walk1_subject5.bvh", root) == ("AMASS", "AMASS/walk1_subject5", "AMASS/5")
    assert naming(root / "dance.bvh", root)[2] == "AMASS/dance"


BROKEN = {
    "no offsets": ({"offsets": None}, "has no array offsets"),
    "offsets that go back": ({"offsets": np.array([0, 20, 10])}, "offsets and source do not fit"),
    "offsets beyond the end": ({"offsets": np.array([0, 20, 90])}, "offsets and source do not fit"),
    "labels of other clips": ({"labels": np.array(["walk"])}, "labels (1,) do not fit 2 clips"),
    "nan": ({"root": np.full((40, 3), np.nan)}, "root[0, 0] is not a finite number"),
    "other joints": ({"rel": np.zeros((40, 16, 3))}, "must be (frames, 17, 3)"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_corpus_that_does_not_fit_together_is_refused(tmp_path, name) -> None:
    changes, reason = BROKEN[name]
    arrays = {
        "rel": np.zeros((40, 17, 3)), "root": np.zeros((40, 3)), "offsets": np.array([0, 20, 40]),
        "names": np.array(["a", "b"]), "source": np.array(["own", "own"]), "fps": np.array(30.0),
    }  # fmt: skip
    path = tmp_path / "motion.npz"
    np.savez(path, **{key: value for key, value in (arrays | changes).items() if value is not None})
    with pytest.raises(ValueError, match=r"motion\.npz") as caught:
        read_motion_file(path, 30)
    assert reason in str(caught.value)


def command(*arguments):
    program = "import sys; from service.cli import main; main(sys.argv[1:])"
    return subprocess.run(
        [sys.executable, "-c", program, "corpus", *map(str, arguments)], capture_output=True, text=True
    )


@pytest.mark.slow
def test_the_command_says_what_it_read_and_its_exit_code_tells_of_broken_files(folder, tmp_path) -> None:
    done = command(folder, "--out", tmp_path / "motion.npz")
    assert (done.returncode, done.stderr.strip()) == (0, "")
    assert "6 files read, 1 skipped, 0 broken" in done.stdout
    done = command(folder, "--out", tmp_path / "part.npz", "--leave-out", "capture/cmu", "--leave-out", "capture/own")
    assert "1 files read, 6 skipped, 0 broken" in done.stdout
    assert "shape.npz: holds neither poses nor joints" in done.stdout
    write(folder / "broken.bvh", "HIERARCHY")
    done = command(folder, "--out", tmp_path / "motion.npz", "--json")
    assert done.returncode == 3
    assert json.loads(done.stdout)["broken"][0]["path"].endswith("broken.bvh")
    assert command(tmp_path / "nowhere", "--out", tmp_path / "motion.npz").returncode not in (0, 3)
    assert "--up must be y or z" in command(folder, "--up", "x", "--out", tmp_path / "x.npz").stderr
