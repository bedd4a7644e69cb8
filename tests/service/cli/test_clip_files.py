"""Clips in files."""

import gzip
import json

import msgpack
import numpy as np
import pytest

from service.cli.clip_files import read_clips, write_clips
from service.cli.output import UsageError

CLIP = {"id": "a", "layout": "coco17", "keypoints": [[[1.0, 2.0, 1.0]] * 17] * 2}


@pytest.mark.parametrize("name", ["clips.json", "clips.ndjson", "clips.jsonl.gz", "clips.json.gz"])
@pytest.mark.parametrize("number", [1, 3])
def test_what_is_written_is_read_back(tmp_path, name, number):
    clips = [CLIP | {"id": str(i)} for i in range(number)]
    assert write_clips(tmp_path / name, clips) == number
    assert [clip for _, clip in read_clips([tmp_path / name])] == clips


def test_a_folder_gives_its_clip_files_in_order_and_leaves_out_the_others(tmp_path):
    for name in ("b.json", "a/c.ndjson", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(json.dumps(CLIP))
    assert [path.name for path, _ in read_clips([tmp_path])] == ["c.ndjson", "b.json"]


def test_msgpack_and_lists_are_read(tmp_path):
    (tmp_path / "a.msgpack").write_bytes(msgpack.packb(CLIP))
    (tmp_path / "b.json.gz").write_bytes(gzip.compress(json.dumps([CLIP, CLIP]).encode()))
    assert len(list(read_clips([tmp_path]))) == 3


def test_a_set_of_clips_in_one_npz_is_taken_apart(tmp_path):
    keypoints = np.arange(5 * 2 * 2, dtype=np.float32).reshape(5, 2, 2)
    np.savez(
        tmp_path / "set.npz", keypoints=keypoints, offsets=[0, 2, 5], labels=[1, 0], subjects=[7, 8],
        label_names=["bow", "wave"], joint_names=["nose", "left_wrist"], fps=25.0,
    )  # fmt: skip
    first, second = (clip for _, clip in read_clips([tmp_path / "set.npz"]))
    assert (first["label"], second["label"], first["group"], first["fps"]) == ("wave", "bow", "7", 25.0)
    assert first["layout"] == {"joints": ["nose", "left_wrist"]}
    assert np.array_equal(second["keypoints"], keypoints[2:])


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("a.txt", b"{}", "not a clip file"),
        ("a.json", b"{", "a.json"),
        ("a.json", b'{"no": 1}', "keypoints"),
        ("a.json.gz", b"not gzip", "gzip"),
        ("a.npz", b"not a zip", "a.npz"),
    ],
)
def test_what_is_not_a_clip_file_is_named(tmp_path, name, content, match):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=match):
        list(read_clips([tmp_path / name]))


def test_an_array_that_would_have_to_be_unpickled_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", keypoints=np.array([object()]), offsets=[0, 1])
    with pytest.raises(UsageError, match="pickle"):
        list(read_clips([tmp_path / "a.npz"]))
