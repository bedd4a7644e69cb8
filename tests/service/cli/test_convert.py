"""`convert`, and what `predict` and `tune` share with it: files of other tools, options, labels, notes."""

from __future__ import annotations

import json

import numpy as np
import pytest

from service.cli import main
from service.cli.clip_files import Notes, read_clips, write_clips
from service.cli.output import UsageError
from service.cli.read_options import read_options
from service.cli.tune import _labelled
from skeleton_prompt.clips.clip import parse_clip
from skeleton_prompt.clips.formats import FORMATS
from tests.skeleton_prompt.clips.formats.pose_files import (
    T,
    image,
    openpose_folder,
    person,
    ultralytics_detection,
    write_json,
)


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    return caught.value.code or 0


def test_a_folder_of_openpose_frames_becomes_one_clip_and_what_was_assumed_is_printed(tmp_path, capsys):
    values = image("openpose25")
    openpose_folder(tmp_path / "op", values)
    assert run("convert", tmp_path / "op", tmp_path / "out.json") == 0
    shown = capsys.readouterr()
    assert shown.err.count("30") == 1, shown.err
    assert "30 are assumed" in shown.err
    clip = parse_clip(json.loads((tmp_path / "out.json").read_text()))
    np.testing.assert_allclose(clip.positions[0], values[..., :2], atol=1e-3)


def test_several_sources_and_patterns_are_read_into_one_file(tmp_path, capsys):
    for name in ("a", "b", "c"):
        write_json(tmp_path / f"{name}.json", [[ultralytics_detection(rows)] for rows in image("coco17")])
    assert (
        run("convert", tmp_path / "a.json", tmp_path / "[bc].json", tmp_path / "out.ndjson", "--fps", 25, "--json") == 0
    )
    assert json.loads(capsys.readouterr().out)["clips"] == 3
    assert [document["fps"] for _, document in read_clips([tmp_path / "out.ndjson"])] == [25.0] * 3


def test_the_warnings_of_the_quality_report_are_printed(tmp_path, capsys):
    values = image("coco17")
    values[..., 1] = 1080 - values[..., 1]
    write_clips(tmp_path / "flipped.json", [{"layout": "coco17", "fps": 30, "keypoints": values}])
    assert run("convert", tmp_path / "flipped.json", tmp_path / "out.json") == 0
    assert "y axis looks flipped" in " ".join(capsys.readouterr().err.split())
    assert run("convert", tmp_path / "flipped.json", tmp_path / "out.json", "--json") == 0
    notes = json.loads(capsys.readouterr().out)["notes"]
    assert any(row["kind"] == "warning" and "y axis" in row["text"] for row in notes)


def test_options_settle_what_an_array_is(tmp_path, capsys):
    np.save(tmp_path / "a.npy", image("coco17"))
    assert run("convert", tmp_path / "a.npy", tmp_path / "out.json") == 2
    assert "--layout" in capsys.readouterr().err
    options = ("--layout", "coco17", "--coords", "xyc", "--fps", "20", "--image-size", "1920x1080")
    assert run("convert", tmp_path / "a.npy", tmp_path / "out.json", *options) == 0
    document = json.loads((tmp_path / "out.json").read_text())
    assert (document["layout"], document["fps"], document["image_size"]) == ("coco17", 20.0, [1920.0, 1080.0])


@pytest.mark.parametrize(
    ("option", "value", "match"),
    [("--coords", "xyw", "xyzc"), ("--up-axis", "w", "-z"), ("--fps", "0", "0.1"), ("--image-size", "big", "1920x1080"),
     ("--format", "nonsense", "openpose"), ("--layout", "nonsense", "no layout")],
)  # fmt: skip
def test_a_wrong_option_is_refused_with_what_is_allowed(tmp_path, capsys, option, value, match):
    np.save(tmp_path / "a.npy", image("coco17"))
    assert run("convert", tmp_path / "a.npy", tmp_path / "out.json", option, value) == 2
    assert match in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("size", ["1920x1080", "1920X1080", "1920,1080", " 1920 x 1080 "])
def test_an_image_size_is_taken_in_several_spellings(size):
    assert read_options(image_size=size).image_size == (1920.0, 1080.0)


def test_joint_names_are_given_with_commas(tmp_path):
    np.save(tmp_path / "a.npy", image(["nose", "left_wrist", "left_hip", "right_hip"]))
    names = "nose, left_wrist,left_hip,right_hip"
    assert run("convert", tmp_path / "a.npy", tmp_path / "out.json", "--layout", names, "--coords", "xyc") == 0
    assert json.loads((tmp_path / "out.json").read_text())["layout"]["joints"][1] == "left_wrist"


def test_long_recordings_are_cut_on_request_and_keep_one_group(tmp_path, capsys):
    values = image("coco17", 2500)
    write_clips(tmp_path / "long.json", [{"id": "rec", "layout": "coco17", "fps": 10, "keypoints": values}])
    assert run("convert", tmp_path / "long.json", tmp_path / "out.ndjson") == 2
    assert "--cut" in capsys.readouterr().err
    assert run("convert", tmp_path / "long.json", tmp_path / "out.ndjson", "--cut", "60", "--json") == 0
    clips = [document for _, document in read_clips([tmp_path / "out.ndjson"])]
    assert [len(clip["keypoints"]) for clip in clips] == [600, 600, 600, 600]
    assert {clip["group"] for clip in clips} == {"rec"}


def test_the_parts_of_a_recording_keep_the_tracks_of_its_people(tmp_path, capsys):
    values = np.stack([image("coco17", 40), image("coco17", 40, seed=4)], 1)
    np.save(tmp_path / "a.npy", values)
    options = ("--layout", "coco17", "--coords", "xyc", "--axes", "TPJC", "--fps", "10", "--cut", "2")
    assert run("convert", tmp_path / "a.npy", tmp_path / "out.ndjson", *options, "--json") == 0
    clips = [parse_clip(document) for _, document in read_clips([tmp_path / "out.ndjson"])]
    assert [(clip.people, clip.frames) for clip in clips] == [(2, 20), (2, 20)]


def test_the_formats_are_listed(capsys):
    assert run("convert", "--list", "--json") == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)] == [form.name for form in FORMATS]
    assert run("convert", "--list") == 0
    assert "OpenPose" in capsys.readouterr().out


def test_a_source_and_a_target_are_needed(capsys):
    assert run("convert", "only.json") == 2
    assert "SRC... DST" in capsys.readouterr().err


def test_files_of_a_folder_that_no_reader_knows_are_named_and_left_out(tmp_path, capsys):
    write_json(tmp_path / "in" / "settings.json", {"threshold": 0.3})
    openpose_folder(tmp_path / "in" / "frames", image("openpose25"))
    (tmp_path / "in" / "notes.txt").write_text("hello")
    assert run("convert", tmp_path / "in", tmp_path / "out.json", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["clips"] == 1
    assert [row["file"] for row in found["notes"] if "left out" in row["text"]] == [
        str(tmp_path / "in" / "settings.json")
    ]


# --- labels of `tune`


def labels(files, label=None, folder_labels=False):
    return sorted(clip["label"] for clip in _labelled(files, label, folder_labels, read_options(), Notes()))


def write_unlabelled(path):
    write_json(path, {"layout": "coco17", "fps": 30, "keypoints": image("coco17").tolist()})


def test_a_folder_for_each_label_teaches_its_name(tmp_path):
    for name in ("squat/1.json", "squat/2.json", "wave/day1/1.json"):
        write_unlabelled(tmp_path / "clips" / name)
    openpose_folder(tmp_path / "clips" / "wave" / "take2", image("openpose25"))
    openpose_folder(tmp_path / "clips" / "bow", image("openpose25"))
    assert labels([tmp_path / "clips"]) == ["bow", "squat", "squat", "wave", "wave"]
    assert labels([tmp_path / "clips" / name for name in ("squat", "wave")]) == ["squat", "squat", "wave", "wave"]
    write_unlabelled(tmp_path / "other" / "day1" / "1.json")
    with pytest.raises(UsageError, match="one folder that holds"):  # folders of labels, or of takes?
        labels([tmp_path / "clips" / "wave", tmp_path / "other"])
    assert labels([tmp_path / "clips" / "squat"], label="x") == ["x", "x"]
    assert labels([tmp_path / "clips" / "squat" / "1.json"], folder_labels=True) == ["squat"]


def test_a_label_of_the_file_goes_before_its_folder(tmp_path):
    write_json(
        tmp_path / "squat" / "1.json", {"layout": "coco17", "label": "jump", "keypoints": image("coco17").tolist()}
    )
    assert labels([tmp_path]) == ["jump"]


@pytest.mark.parametrize("place", ["clips/1.json", "clips"])
def test_a_clip_without_any_label_is_refused_with_the_ways_out(tmp_path, place):
    write_unlabelled(tmp_path / "clips" / "1.json")
    with pytest.raises(UsageError, match=r"--label or --folder-labels.*one folder that holds one folder"):
        labels([tmp_path / place])


def test_three_dimensions_and_people_arrive(tmp_path):
    both = np.stack([person("h36m17"), person("h36m17", seed=3) + np.array([1.0, 0, 0])], 1)
    np.save(tmp_path / "a.npy", both)
    options = ("--layout", "h36m17", "--coords", "xyz", "--axes", "TPJC")
    assert run("convert", tmp_path / "a.npy", tmp_path / "out.json", *options) == 0
    clip = parse_clip(json.loads((tmp_path / "out.json").read_text()))
    assert (clip.people, clip.frames) == (2, T)
    assert run("convert", tmp_path / "a.npy", tmp_path / "each.ndjson", *options, "--per-person") == 0
    assert len(list(read_clips([tmp_path / "each.ndjson"]))) == 2


class Answering:
    """A client whose answers carry a warning."""

    def __init__(self) -> None:
        self.asked: list[dict] = []

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None

    def predict(self, clip, **options):
        self.asked.append(clip)
        quality = {"warnings": ["y axis looks flipped"], "notes": [{"code": "a", "message": "mended", "field": None}]}
        document = {"label": "squat", "known": True, "confidence": 0.9, "predictions": [], "quality": quality}
        return type("Prediction", (), {"document": document})()


@pytest.fixture
def client(monkeypatch):
    found = Answering()
    monkeypatch.setattr("service.cli.predict.connect", lambda url, key: found)
    return found


def test_predict_prints_what_the_answer_warns_of_and_what_the_reader_assumed(tmp_path, capsys, client):
    openpose_folder(tmp_path / "op", image("openpose25"))
    assert run("predict", tmp_path / "op") == 0
    shown = capsys.readouterr()
    assert "squat" in shown.out
    for text in ("y axis looks flipped", "mended", "30 are assumed"):
        assert text in " ".join(shown.err.split())
    assert client.asked[0]["layout"] == "openpose25"


def test_predict_gives_notes_and_warnings_to_machines(tmp_path, capsys, client):
    openpose_folder(tmp_path / "op", image("openpose25"))
    assert run("predict", tmp_path / "op", "--fps", 12, "--json") == 0
    [row] = json.loads(capsys.readouterr().out)
    assert row["quality"]["warnings"] == ["y axis looks flipped"]
    assert client.asked[0]["fps"] == 12
    assert not any("assumed" in note for note in row.get("notes", ()))
