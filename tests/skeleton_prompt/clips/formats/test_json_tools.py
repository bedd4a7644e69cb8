"""JSON of pose tools: each becomes the frames, people, joints and confidences that it holds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from skeleton_prompt.clips.clip import parse_clip
from skeleton_prompt.clips.formats import AmbiguousFile, FileClip, FormatError, ReadOptions, read_files
from tests.skeleton_prompt.clips.formats.pose_files import (
    T,
    flat,
    image,
    joints,
    landmark,
    mmpose_instance,
    openpose_folder,
    openpose_frame,
    person,
    ultralytics_detection,
    write_json,
)


def read(path: Path, **options: object) -> list[FileClip]:
    clips = list(read_files([path], ReadOptions(**options)))  # type: ignore[arg-type]
    for clip in clips:
        parse_clip(clip.document)
    return clips


def one(path: Path, **options: object) -> FileClip:
    (clip,) = read(path, **options)
    return clip


def notes(clip: FileClip) -> str:
    return "; ".join(clip.notes)


# --- OpenPose


@pytest.mark.parametrize("layout", ["openpose25", "openpose18"])
def test_a_folder_of_openpose_frames_is_one_clip(tmp_path, layout):
    values = image(layout)
    clip = one(openpose_folder(tmp_path / "op", values))
    assert clip.document["layout"] == layout
    np.testing.assert_allclose(clip.document["keypoints"], values)
    assert "30 are assumed" in notes(clip)
    assert clip.document["id"] == "clip"


def test_openpose_frames_are_in_the_order_of_their_numbers_and_gaps_are_empty(tmp_path):
    values = image("openpose25", 12)
    for index in (0, 1, 2, 9, 10, 11):
        write_json(tmp_path / f"v_{index}_keypoints.json", openpose_frame(values[index]))
    clip = one(tmp_path)
    found = clip.document["keypoints"]
    assert found.shape == (12, 25, 3)
    np.testing.assert_allclose(found[[0, 9, 10, 11]], values[[0, 9, 10, 11]])
    assert np.isnan(found[3:9]).all()
    assert "6 of 12 frames are missing" in notes(clip)


def test_two_videos_in_one_folder_are_two_clips(tmp_path):
    a, b = image("openpose25", seed=1), image("openpose25", seed=2)
    openpose_folder(tmp_path, a, "a_")
    openpose_folder(tmp_path, b, "b_")
    first, second = read(tmp_path)
    np.testing.assert_allclose(first.document["keypoints"], a)
    np.testing.assert_allclose(second.document["keypoints"], b)


def test_openpose_frames_that_the_shell_named_one_by_one_are_one_clip(tmp_path):
    values = image("openpose25")
    openpose_folder(tmp_path, values)
    (clip,) = read_files(sorted(tmp_path.iterdir()))
    np.testing.assert_allclose(clip.document["keypoints"], values)
    (again,) = read_files([tmp_path / "*_keypoints.json"])
    np.testing.assert_allclose(again.document["keypoints"], values)


def test_openpose_people_and_frames_without_anybody(tmp_path):
    a, b = image("openpose25", seed=1), image("openpose25", seed=2)
    frames = [openpose_frame(a[0], b[0]), openpose_frame(), openpose_frame(a[2]), openpose_frame(a[3], b[3])]
    for index, frame in enumerate(frames):
        write_json(tmp_path / f"{index:06d}.json", frame)
    clip = one(tmp_path)
    found = clip.document["keypoints"]
    assert found.shape == (4, 2, 25, 3)
    np.testing.assert_allclose(found[3], [a[3], b[3]])
    assert np.isnan(found[1]).all()


def test_openpose_person_ids_keep_people_apart(tmp_path):
    a, b = image("openpose25", seed=1), image("openpose25", seed=2)
    for index in range(4):
        frame = (
            openpose_frame(a[index], b[index], ids=(7, 9))
            if index % 2
            else openpose_frame(b[index], a[index], ids=(9, 7))
        )
        write_json(tmp_path / f"f{index}.json", frame)
    clip = one(tmp_path)
    assert {tuple(clip.document["keypoints"][:, p, 0, 0]) for p in (0, 1)} == {tuple(a[:4, 0, 0]), tuple(b[:4, 0, 0])}


def test_openpose_of_other_versions_is_read(tmp_path):
    values = image("openpose18")
    for index, rows in enumerate(values):
        write_json(tmp_path / "old" / f"v_{index}.json", {"version": 1.0, "people": [{"pose_keypoints": flat(rows)}]})
    assert one(tmp_path / "old").document["layout"] == "openpose18"
    alpha = {
        f"{index}.jpg": {"version": "AlphaPose v0.3", "bodies": [{"joints": flat(rows)}]}
        for index, rows in enumerate(values)
    }
    np.testing.assert_allclose(one(write_json(tmp_path / "cmu.json", alpha)).document["keypoints"], values)


def test_body_135_keeps_its_body(tmp_path):
    values = image("body_25b")
    whole = np.concatenate([values, np.ones((T, 110, 3))], 1)
    clip = one(openpose_folder(tmp_path, whole))
    assert clip.document["layout"] == "body_25b"
    np.testing.assert_allclose(clip.document["keypoints"], values)


def test_an_unknown_number_of_openpose_joints_asks_for_the_layout(tmp_path):
    openpose_folder(tmp_path, np.ones((3, 22, 3)))
    with pytest.raises(AmbiguousFile, match=r"22 joints.*--layout"):
        read(tmp_path)


def test_the_mpi_model_has_its_own_joints(tmp_path):
    openpose_folder(tmp_path, np.random.default_rng(0).uniform(0, 1, (3, 15, 3)) + 0.01 * np.array([1, 1, -1]))
    assert one(tmp_path).document["layout"]["joints"][14] == "chest"


def test_3d_keypoints_of_openpose_have_y_down(tmp_path):
    metres = person("openpose25")
    rows = np.concatenate([metres * [1, -1, -1], np.ones((T, 25, 1))], -1)
    for index in range(T):
        frame = openpose_frame(np.zeros((0, 3)))
        frame["people"][0]["pose_keypoints_3d"] = flat(rows[index])
        write_json(tmp_path / f"{index}.json", frame)
    clip = one(tmp_path)
    parsed = parse_clip(clip.document)
    np.testing.assert_allclose(parsed.positions[0], metres, atol=1e-6)


def test_a_single_openpose_frame_names_the_way_out(tmp_path):
    path = write_json(tmp_path / "a_keypoints.json", openpose_frame(image("openpose25")[0]))
    with pytest.raises(FormatError, match=r"OpenPose: one frame only.*folder"):
        read(path)


def test_frames_of_two_models_in_one_recording_are_refused(tmp_path):
    write_json(tmp_path / "f0.json", openpose_frame(image("openpose25")[0]))
    write_json(tmp_path / "f1.json", openpose_frame(image("openpose18")[0]))
    with pytest.raises(FormatError, match=r"openpose25.*openpose18"):
        read(tmp_path)


# --- AlphaPose and COCO


def alphapose(values, names=None, **more):
    return [
        {"image_id": (names or "{}.jpg").format(index), "category_id": 1, "keypoints": flat(rows), "score": 2.5, **more}
        for index, rows in enumerate(values)
    ]


@pytest.mark.parametrize("layout", ["coco17", "halpe26", "wholebody133"])
def test_alphapose_results_are_one_clip(tmp_path, layout):
    values = image(layout, 12)
    clip = one(write_json(tmp_path / "alphapose-results.json", alphapose(values, idx=[1.0])))
    assert clip.document["layout"] == layout
    np.testing.assert_allclose(clip.document["keypoints"], values)


def test_alphapose_people_are_grouped_by_idx(tmp_path):
    a, b = image("coco17", seed=1), image("coco17", seed=2)
    rows = [row for x, y in zip(alphapose(a, idx=3), alphapose(b, idx=5), strict=True) for row in (y, x)]
    found = one(write_json(tmp_path / "r.json", rows)).document["keypoints"]
    assert found.shape == (T, 2, 17, 3)
    np.testing.assert_allclose(found[:, 0], b)
    np.testing.assert_allclose(found[:, 1], a)


def test_ids_that_repeat_within_a_frame_are_not_used(tmp_path):
    a, b = image("coco17", seed=1), image("coco17", seed=2)
    clip = one(write_json(tmp_path / "r.json", alphapose(a, idx=0) + alphapose(b, idx=0)))
    assert clip.document["keypoints"].shape == (T, 2, 17, 3)
    assert "ids are not used" in notes(clip)


def test_one_clip_for_each_person_on_request(tmp_path):
    a, b = image("coco17", seed=1), image("coco17", seed=2)
    path = write_json(tmp_path / "r.json", alphapose(a, idx=3) + alphapose(b[:4], idx=5))
    first, second = read(path, per_person=True)
    np.testing.assert_allclose(first.document["keypoints"], a)
    np.testing.assert_allclose(second.document["keypoints"], b[:4])


def test_halpe_136_keeps_its_body(tmp_path):
    values = image("halpe26")
    whole = np.concatenate([values, np.ones((T, 110, 3))], 1)
    clip = one(write_json(tmp_path / "r.json", alphapose(whole)))
    assert clip.document["layout"] == "halpe26"
    np.testing.assert_allclose(clip.document["keypoints"], values)


def test_more_people_than_a_clip_holds_are_cut_with_a_note(tmp_path):
    rows = []
    for track in range(20):
        rows += alphapose(image("coco17", 4 if track else 6, seed=track), idx=track)
    clip = one(write_json(tmp_path / "r.json", rows))
    assert clip.document["keypoints"].shape == (6, 16, 17, 3)
    assert "20 people" in notes(clip)


def test_coco_results_with_whole_number_ids(tmp_path):
    values = image("coco17")
    rows = [
        {"image_id": 100 + 5 * i, "category_id": 1, "keypoints": flat(v), "score": 0.9} for i, v in enumerate(values)
    ]
    clip = one(write_json(tmp_path / "results.json", rows))
    np.testing.assert_allclose(clip.document["keypoints"], values)
    assert "steps of 5" in notes(clip)


def coco(values, names, flags=None, **image_fields):
    return {
        "images": [
            {"id": i, "file_name": f"frame_{i:04d}.png", "width": 1920, "height": 1080, **image_fields}
            for i in range(len(values))
        ],
        "annotations": [
            {
                "id": 1000 + i, "image_id": i, "category_id": 3, "iscrowd": 0, "num_keypoints": 17,
                "keypoints": flat(np.column_stack([rows[:, :2], np.full(len(rows), 2) if flags is None else flags[i]])),
            }
            for i, rows in enumerate(values)
        ],
        "categories": [{"id": 3, "name": "person", "keypoints": names, "skeleton": []}, {"id": 4, "name": "dog"}],
    }  # fmt: skip


def test_coco_annotations_take_names_sizes_and_flags(tmp_path):
    values = image("coco17")
    flags = np.full((T, 17), 2)
    flags[2, 4], flags[3, 5] = 0, 1
    clip = one(write_json(tmp_path / "a.json", coco(values, joints("coco17"), flags)))
    assert (clip.document["layout"], clip.document["image_size"]) == ("coco17", [1920.0, 1080.0])
    found = clip.document["keypoints"]
    assert np.isnan(found[2, 4]).all()
    np.testing.assert_allclose(found[3, 5], [*values[3, 5, :2], 1.0])
    np.testing.assert_allclose(found[0, :, :2], values[0, :, :2])


def test_coco_frames_follow_the_numbers_of_the_images_and_not_the_order_of_the_file(tmp_path):
    values = image("coco17", 12)
    document = coco(values, joints("coco17"))
    document["images"].reverse()
    document["annotations"] = document["annotations"][3:] + document["annotations"][:3]
    found = one(write_json(tmp_path / "a.json", document)).document["keypoints"]
    np.testing.assert_allclose(found[..., :2], values[..., :2])


def test_images_without_annotation_are_frames_without_anybody(tmp_path):
    document = coco(image("coco17"), joints("coco17"))
    del document["annotations"][2]
    found = one(write_json(tmp_path / "a.json", document)).document["keypoints"]
    assert np.isnan(found[2]).all()
    assert len(found) == T


def test_tracks_of_cvat_keep_people_apart(tmp_path):
    a, b = image("coco17", seed=1), image("coco17", seed=2)
    document = coco(a, joints("coco17"))
    for row in document["annotations"]:
        row["attributes"] = {"track_id": 4, "occluded": False}
    for i, row in enumerate(coco(b, joints("coco17"))["annotations"]):
        document["annotations"].insert(0, {**row, "id": i, "attributes": {"track_id": 8}})
    found = one(write_json(tmp_path / "a.json", document)).document["keypoints"]
    assert {tuple(found[:, p, 0, 0]) for p in (0, 1)} == {tuple(a[:, 0, 0]), tuple(b[:, 0, 0])}


def test_videos_of_one_coco_file_are_clips_of_their_own(tmp_path):
    document = coco(image("coco17", 8), joints("coco17"))
    for i, row in enumerate(document["images"]):
        row.update(vid_id=f"v{i // 4}", frame_id=i % 4, file_name=f"images/v{i // 4}/{i:06d}.jpg")
    clips = read(write_json(tmp_path / "a.json", document))
    assert [clip.document["id"] for clip in clips] == ["v0", "v1"]
    assert all(len(clip.document["keypoints"]) == 4 for clip in clips)


def test_coco_annotations_with_the_names_of_another_skeleton(tmp_path):
    names = joints("posetrack17")
    clip = one(write_json(tmp_path / "a.json", coco(image("posetrack17"), names)))
    assert clip.document["layout"] == "posetrack17"


# --- MMPose


def mmpose(values, names=None, scores=1.0, **instance):
    info = [{"frame_id": i + 1, "instances": [{**mmpose_instance(rows), **instance}]} for i, rows in enumerate(values)]
    meta = {"dataset_name": "coco", "keypoint_id2name": {str(i): name for i, name in enumerate(names or [])}}
    return {"meta_info": meta, "instance_info": info} if names else info


def test_mmpose_results_take_the_names_of_their_meta_info(tmp_path):
    values = image("coco17", 12)
    clip = one(write_json(tmp_path / "results.json", mmpose(values, joints("coco17"))))
    assert clip.document["layout"] == "coco17"
    np.testing.assert_allclose(clip.document["keypoints"], values)
    other = one(write_json(tmp_path / "other.json", mmpose(image("halpe26"), joints("halpe26"))))
    assert other.document["layout"] == "halpe26"


def test_mmpose_names_of_no_built_in_layout_are_joint_names(tmp_path):
    names = ["nose", "left_shoulder", "right_shoulder", "left_hip", "right_hip"]
    clip = one(write_json(tmp_path / "r.json", mmpose(image(names), names)))
    assert clip.document["layout"] == {"joints": names}


def test_inferencer_predictions_of_a_video_and_of_images(tmp_path):
    values = image("coco17")
    np.testing.assert_allclose(one(write_json(tmp_path / "v.json", mmpose(values))).document["keypoints"], values)
    for index, rows in enumerate(values):
        write_json(tmp_path / "predictions" / f"img_{index:03d}.json", [mmpose_instance(rows)])
    np.testing.assert_allclose(one(tmp_path / "predictions").document["keypoints"], values)


def test_scores_above_one_are_taken_as_one_with_a_note(tmp_path):
    values = image("coco17")
    values[..., 2] = 1.08
    clip = one(write_json(tmp_path / "r.json", mmpose(values)))
    assert (clip.document["keypoints"][..., 2] == 1).all()
    assert "1.08" in notes(clip)


def test_scores_that_are_no_confidence_are_refused(tmp_path):
    values = image("coco17")
    values[..., 2] = 87.0
    with pytest.raises(AmbiguousFile, match=r"87.*no confidence"):
        read(write_json(tmp_path / "r.json", mmpose(values)))


def test_empty_frames_of_mmpose_are_kept(tmp_path):
    document = mmpose(image("coco17"))
    document[2]["instances"] = []
    found = one(write_json(tmp_path / "r.json", document)).document["keypoints"]
    assert np.isnan(found[2]).all()
    assert len(found) == T


def test_the_mirrored_drawing_axes_of_the_3d_inferencer_are_turned_back(tmp_path):
    metres = person("h36m17")
    camera = metres * [1, -1, -1]  # x right, y down, z away
    drawn = np.stack([-camera[..., 0], camera[..., 2], -camera[..., 1]], -1)
    values = np.concatenate([drawn, np.full((T, 17, 1), 0.9)], -1)
    clip = one(write_json(tmp_path / "r.json", mmpose(values)))
    assert clip.document["layout"] == "h36m17"
    np.testing.assert_allclose(parse_clip(clip.document).positions[0], metres, atol=1e-6)


def test_results_of_mmpose_0_have_their_scores_among_the_coordinates(tmp_path):
    values = image("coco17")
    frames = [[{"bbox": [1, 2, 3, 4, 0.9], "keypoints": rows.tolist(), "track_id": 3, "area": 10.0}] for rows in values]
    np.testing.assert_allclose(one(write_json(tmp_path / "r.json", frames)).document["keypoints"], values)


def test_frame_numbers_that_repeat_are_not_used(tmp_path):
    document = mmpose(image("coco17"))
    for row in document:
        row["frame_id"] = 1
    clip = one(write_json(tmp_path / "r.json", document))
    assert len(clip.document["keypoints"]) == T
    assert "repeat" in notes(clip)


# --- Ultralytics


def test_ultralytics_frames_as_lists_texts_lines_and_objects(tmp_path):
    values = image("coco17")
    frames = [[ultralytics_detection(rows)] for rows in values]
    write_json(tmp_path / "list.json", frames)
    write_json(tmp_path / "texts.json", [json.dumps(frame) for frame in frames])
    (tmp_path / "lines.jsonl").write_text("\n".join(json.dumps(frame) for frame in frames))
    write_json(tmp_path / "object.json", {str(i): frame for i, frame in enumerate(frames)})
    write_json(tmp_path / "named.json", {"frames": [{"frame": i, "detections": f} for i, f in enumerate(frames)]})
    for name in ("list.json", "texts.json", "lines.jsonl", "object.json", "named.json"):
        clip = one(tmp_path / name)
        assert clip.document["layout"] == "coco17", name
        np.testing.assert_allclose(clip.document["keypoints"], values, err_msg=name)


def test_ultralytics_of_one_frame_a_file(tmp_path):
    values = image("coco17")
    for index, rows in enumerate(values):
        write_json(tmp_path / f"v_{index}.json", [ultralytics_detection(rows)])
    np.testing.assert_allclose(one(tmp_path).document["keypoints"], values)


def test_ultralytics_leaves_out_objects_and_detections_without_a_track(tmp_path):
    values = image("coco17")
    frames = [[{"name": "dog", "class": 16, "box": {}}, ultralytics_detection(rows, 5)] for rows in values]
    frames[3].append(ultralytics_detection(values[3] + 50, None))
    clip = one(write_json(tmp_path / "r.json", frames))
    np.testing.assert_allclose(clip.document["keypoints"], values)
    assert "without a track id" in notes(clip)


def test_ultralytics_joints_at_zero_are_not_seen_and_visible_may_lack(tmp_path):
    values = image("coco17")
    values[1, 3, :2] = 0
    frames = [[ultralytics_detection(rows)] for rows in values]
    for frame in frames:
        del frame[0]["keypoints"]["visible"]
    clip = one(write_json(tmp_path / "r.json", frames))
    assert np.isnan(clip.document["keypoints"][1, 3]).all()
    assert parse_clip(clip.document).confidence[0, 1, 3] == 0


def test_normalised_ultralytics_asks_for_the_image_size_in_a_note(tmp_path):
    values = image("coco17") / [1920, 1080, 1]
    path = write_json(tmp_path / "r.json", [[ultralytics_detection(rows)] for rows in values])
    assert "--image-size" in notes(one(path))
    sized = one(path, image_size=(1920.0, 1080.0))
    assert "--image-size" not in notes(sized)
    assert sized.document["image_size"] == [1920.0, 1080.0]


@pytest.mark.parametrize("tail", ["", " 0.91", " 7", " 0.91 7"])
def test_ultralytics_label_files_are_frames(tmp_path, tail):
    values = image("coco17") / [1920, 1080, 1]
    for index, rows in enumerate(values, 1):
        words = " ".join(f"{value:.6f}" for value in rows.ravel())
        (tmp_path / f"video_{index}.txt").write_text(f"0 0.5 0.5 0.2 0.6 {words}{tail}\n")
    clip = one(tmp_path)
    np.testing.assert_allclose(clip.document["keypoints"], values, atol=1e-6)
    assert "--image-size" in notes(clip)


def test_a_text_file_that_is_no_label_file_is_not_read(tmp_path):
    (tmp_path / "notes.txt").write_text("0 1 2 3\n")
    with pytest.raises(FormatError, match="no clip files"):
        read(tmp_path)


# --- others


def test_kinetics_skeletons_keep_their_label(tmp_path):
    values = image("openpose18") / [1920, 1080, 1]
    data = [
        {"frame_index": i + 1, "skeleton": [{"pose": flat(rows[:, :2]), "score": flat(rows[:, 2])}]}
        for i, rows in enumerate(values)
    ]
    clip = one(write_json(tmp_path / "k.json", {"data": data, "label": "squat", "label_index": 3}))
    assert (clip.document["layout"], clip.document["label"]) == ("openpose18", "squat")
    np.testing.assert_allclose(clip.document["keypoints"], values)
    data[2]["skeleton"] = []
    again = one(write_json(tmp_path / "k.json", {"data": data, "label_index": 3, "has_skeleton": True}))
    assert np.isnan(again.document["keypoints"][2]).all()
    assert again.document["label"] == "3"


def test_a_person_tracked_dictionary_gives_one_clip_for_each_person(tmp_path):
    a, b = image("coco17", 12, seed=1), image("coco17", 4, seed=2)
    tracked = {
        "1": {f"{i:04d}": {"keypoints": flat(rows), "scores": None} for i, rows in enumerate(a)},
        "12": {f"{i + 5:04d}": {"keypoints": flat(rows), "scores": 1.4} for i, rows in enumerate(b)},
    }
    first, second = read(write_json(tmp_path / "x_tracked_person.json", tracked))
    np.testing.assert_allclose(first.document["keypoints"], a)
    np.testing.assert_allclose(second.document["keypoints"], b)
    assert second.document["id"] == "12"


def test_openpifpaf_of_images_and_of_a_video(tmp_path):
    values = image("coco17")
    people = [[{"keypoints": flat(rows), "bbox": [0, 0, 1, 1], "score": 0.8, "category_id": 1}] for rows in values]
    for index, frame in enumerate(people):
        write_json(tmp_path / "images" / f"{index}.jpg.predictions.json", frame)
    np.testing.assert_allclose(one(tmp_path / "images").document["keypoints"], values)
    lines = [json.dumps({"frame": i + 1, "predictions": frame}) for i, frame in enumerate(people)]
    lines[2] = json.dumps({"frame": 3, "predictions": []})
    (tmp_path / "video.json").write_text("\n".join(lines))
    found = one(tmp_path / "video.json").document["keypoints"]
    np.testing.assert_allclose(found[3:], values[3:])
    assert np.isnan(found[2]).all()


def azure(metres, levels=None):
    frames = []
    for index, rows in enumerate(metres * [1000, -1000, -1000]):
        body = {"body_id": 1, "joint_positions": rows.tolist()}
        if levels:
            body["confidence_level"] = levels
        frames.append({"frame_id": index, "timestamp_usec": 33_333 * index, "num_bodies": 1, "bodies": [body]})
    names = [name.upper() for name in joints("azure_kinect32")]
    return {"total_frames": len(metres), "joint_names": names, "frames": frames}


def test_azure_kinect_has_y_down_and_time_stamps(tmp_path):
    metres = person("azure_kinect32")
    clip = one(write_json(tmp_path / "a.json", azure(metres)))
    assert clip.document["layout"] == "azure_kinect32"
    assert clip.document["fps"] == pytest.approx(30, abs=0.01)
    np.testing.assert_allclose(parse_clip(clip.document).positions[0] / 1000, metres, atol=1e-6)


def test_azure_kinect_confidence_levels_become_confidences(tmp_path):
    levels = [2] * 30 + [0, 1]
    found = one(write_json(tmp_path / "a.json", azure(person("azure_kinect32"), levels))).document["keypoints"]
    assert np.isnan(found[0, 30]).all()
    assert found[0, 31, 3] == 0.5
    assert found[0, 0, 3] == 1


# --- joints as objects


def test_tfjs_poses_are_read_by_the_names_of_their_joints(tmp_path):
    values, names = image("coco17"), joints("coco17")
    poses = [{"score": 0.9, "keypoints": [landmark(r, n) for r, n in zip(rows, names, strict=True)]} for rows in values]
    write_json(tmp_path / "poses.json", [[pose] for pose in poses])
    write_json(tmp_path / "pose.json", poses)
    write_json(tmp_path / "bare.json", [pose["keypoints"] for pose in poses])
    write_json(
        tmp_path / "clip.json",
        {"layout": "coco17", "fps": 12, "label": "wave", "keypoints": [p["keypoints"] for p in poses]},
    )
    for name in ("poses.json", "pose.json", "bare.json", "clip.json"):
        clip = one(tmp_path / name)
        assert clip.document["layout"] == "coco17", name
        np.testing.assert_allclose(clip.document["keypoints"], values, err_msg=name)
    assert (clip.document["fps"], clip.document["label"]) == (12, "wave")


def test_posenet_parts_and_joints_that_are_missing_in_some_frames(tmp_path):
    values = image("coco17")
    camel = [name.split("_")[0] + "".join(word.title() for word in name.split("_")[1:]) for name in joints("coco17")]
    frames = []
    for index, rows in enumerate(values):
        points = [
            {"part": name, "position": {"x": float(x), "y": float(y)}, "score": float(c)}
            for name, (x, y, c) in zip(camel, rows, strict=True)
        ]
        frames.append({"keypoints": points[:-1] if index == 1 else points})
    clip = one(write_json(tmp_path / "p.json", frames))
    assert np.isnan(clip.document["keypoints"][1, -1]).all()
    np.testing.assert_allclose(clip.document["keypoints"][0], values[0])


def test_mediapipe_world_landmarks_are_preferred_and_have_y_down(tmp_path):
    metres = person("mediapipe33")
    metres -= metres[:, [23, 24]].mean(1, keepdims=True)
    world = np.concatenate([metres * [1, -1, -1], np.full((T, 33, 1), 0.9)], -1)
    flat_ones = np.concatenate([image("mediapipe33")[..., :2] / [1920, 1080], np.full((T, 33, 2), 0.9)], -1)
    frames = [
        {
            "timestamp_ms": 40 * i,
            "pose_landmarks": [[landmark(row, score="visibility") for row in flat_ones[i]]],
            "pose_world_landmarks": [[landmark(row, score="visibility") for row in world[i]]],
        }
        for i in range(T)
    ]
    path = write_json(tmp_path / "m.json", frames)
    clip = one(path)
    assert (clip.document["layout"], clip.document["coords"], clip.document["fps"]) == ("mediapipe33", "xyzc", 25)
    np.testing.assert_allclose(parse_clip(clip.document).positions[0], metres, atol=1e-6)
    other = one(path, coords="xyc", image_size=(1920.0, 1080.0))
    assert other.document["coords"] == "xyc"
    np.testing.assert_allclose(other.document["keypoints"][..., :2], flat_ones[..., :2])


def test_bare_mediapipe_landmarks_are_told_apart_by_the_hips(tmp_path):
    metres = person("mediapipe33")
    metres -= metres[:, [23, 24]].mean(1, keepdims=True)
    world = np.concatenate([metres * [1, -1, -1], np.full((T, 33, 1), 0.9)], -1)
    clip = one(write_json(tmp_path / "w.json", [[landmark(r, score="visibility") for r in rows] for rows in world]))
    assert (clip.document["coords"], clip.document["y_axis"]) == ("xyzc", "down")
    ones = np.concatenate([image("mediapipe33")[..., :2] / [1920, 1080], np.full((T, 33, 2), 0.9)], -1)
    lines = "\n".join(
        json.dumps({"frame": i, "landmarks": [landmark(r, score="visibility") for r in rows]})
        for i, rows in enumerate(ones)
    )
    (tmp_path / "i.jsonl").write_text(lines)
    image_clip = one(tmp_path / "i.jsonl")
    assert image_clip.document["coords"] == "xyc"
    assert "--image-size" in notes(image_clip)


def test_frames_and_joints_may_be_objects_by_number(tmp_path):
    values = image("mediapipe33") / [1920, 1080, 1]
    frames = {
        str(i): {str(j): landmark(row, score="visibility") for j, row in enumerate(rows)}
        for i, rows in enumerate(values)
    }
    frames = dict(reversed(frames.items()))
    clip = one(write_json(tmp_path / "m.json", frames))
    assert clip.document["layout"] == "mediapipe33"
    np.testing.assert_allclose(clip.document["keypoints"], values)


def test_the_id_of_a_person_is_no_frame_number(tmp_path):
    names = joints("coco17")
    values = image("coco17")
    poses = [{"id": 1, "keypoints": [landmark(r, n) for r, n in zip(v, names, strict=True)]} for v in values]
    np.testing.assert_allclose(one(write_json(tmp_path / "p.json", poses)).document["keypoints"], values)


def test_frames_without_a_pose_are_kept(tmp_path):
    values = image("mediapipe33") / [1920, 1080, 1]
    frames = [
        {"frame": i, "pose_landmarks": [landmark(r, score="visibility") for r in rows]} for i, rows in enumerate(values)
    ]
    frames[2]["pose_landmarks"] = None
    frames[3]["pose_landmarks"] = []
    found = one(write_json(tmp_path / "m.json", frames)).document["keypoints"]
    assert np.isnan(found[2:4]).all()
    np.testing.assert_allclose(found[4], values[4])


def test_apple_vision_has_fractions_with_y_up(tmp_path):
    names = ["head_joint", "left_eye_joint", "right_eye_joint", "neck_1_joint", "left_shoulder_1_joint",
             "right_shoulder_1_joint", "left_forearm_joint", "right_forearm_joint", "left_hand_joint",
             "right_hand_joint", "root", "left_upLeg_joint", "right_upLeg_joint", "left_leg_joint", "right_leg_joint",
             "left_foot_joint", "right_foot_joint"]  # fmt: skip
    values = image(names) / [1920, 1080, 1]
    frames = [
        {
            name: {"x": float(x), "y": float(1 - y), "confidence": float(c)}
            for name, (x, y, c) in zip(names, rows, strict=True)
        }
        for rows in values
    ]
    clip = one(write_json(tmp_path / "v.json", frames), image_size=(1920.0, 1080.0))
    assert clip.document["y_axis"] == "up"
    np.testing.assert_allclose(clip.document["keypoints"][..., 0], values[..., 0])


def test_kinect_bodies_have_tracking_states(tmp_path):
    names = ["SpineBase", "SpineMid", "Neck", "Head", "ShoulderLeft", "ElbowLeft", "HipLeft", "HipRight"]
    metres = person(names)
    states = ["Tracked"] * 6 + ["Inferred", "NotTracked"]
    frames = [
        {"time_ms": 33 * i, "bodies": [{"id": 4, "joints": {
            name: {"Position": {"X": x, "Y": y, "Z": z}, "TrackingState": state}
            for name, (x, y, z), state in zip(names, rows.tolist(), states, strict=True)}}]}
        for i, rows in enumerate(metres)
    ]  # fmt: skip
    clip = one(write_json(tmp_path / "k.json", frames))
    assert clip.document["y_axis"] == "up"
    np.testing.assert_allclose(clip.document["keypoints"][0, :6, :3], metres[0, :6])
    assert clip.document["keypoints"][0, 6, 3] == 0.5
    assert np.isnan(clip.document["keypoints"][0, 7]).all()


def test_named_3d_joints_with_unknown_axes_are_stood_up_or_asked_for(tmp_path):
    names = joints("h36m17")
    metres = person("h36m17")
    tall = np.stack([metres[..., 0], -metres[..., 2], metres[..., 1]], -1)  # z up
    frames = [
        [{"name": n, "x": x, "y": y, "z": z} for n, (x, y, z) in zip(names, rows, strict=True)]
        for rows in tall.tolist()
    ]
    clip = one(write_json(tmp_path / "z.json", frames))
    assert "stand along z" in notes(clip)
    np.testing.assert_allclose(parse_clip(clip.document).positions[0], metres, atol=1e-6)
    lying = [
        [{**p, "z": 0.7 * p["z"] + 0.7 * p["x"], "x": 0.7 * p["z"] - 0.7 * p["x"]} for p in frame] for frame in frames
    ]
    path = write_json(tmp_path / "l.json", lying)
    with pytest.raises(AmbiguousFile, match="--up-axis"):
        read(path)
    assert one(path, up_axis="z").document["y_axis"] == "up"


# --- JSON itself


def test_nan_byte_order_marks_and_utf16_are_read(tmp_path):
    values = image("coco17")
    values[1, 2] = np.nan
    rows = [
        {"image_id": f"{i}.jpg", "category_id": 1, "score": 1.0, "keypoints": v.ravel().tolist()}
        for i, v in enumerate(values)
    ]
    text = json.dumps(rows)
    assert "NaN" in text
    for name, data in (
        ("a.json", text.encode()),
        ("b.json", text.encode("utf-8-sig")),
        ("c.json", text.encode("utf-16")),
    ):
        (tmp_path / name).write_bytes(data)
        found = one(tmp_path / name).document["keypoints"]
        assert np.isnan(found[1, 2]).all()
        np.testing.assert_allclose(found[0], values[0])


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("", "empty"),
        ("{", "JSON"),
        ('{"a": 1}', "JSON object with a.*convert --list"),
        ('[{"b": 2}]', "objects with b"),
        ("[" * 2000, "JSON"),
        ('{"people": [{"pose_keypoints_2d": "x"}]}', "JSON object with people"),
        ('{"people": [{"pose_keypoints_2d": [1, 2, 3, 4]}]}', "no multiple of 3"),
        ('{"people": [{"pose_keypoints_2d": [1, 2, "three"]}]}', "three"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, content, match):
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(FormatError, match=match) as caught:
        read(path)
    assert "x.json" in str(caught.value)
