"""Documents of pose tools in place of a clip: read where nothing is uncertain, else named with the way out."""

import numpy as np
import pytest

from tests.skeleton_prompt.clips.formats.pose_files import (
    image,
    joints,
    landmark,
    mmpose_instance,
    openpose_frame,
    ultralytics_detection,
)

VALUES = image("coco17", 12)
MMPOSE = {
    "meta_info": {"keypoint_id2name": {str(i): name for i, name in enumerate(joints("coco17"))}},
    "instance_info": [{"frame_id": i + 1, "instances": [mmpose_instance(rows)]} for i, rows in enumerate(VALUES)],
}
MEDIAPIPE = {
    "fps": 25,
    "frames": [
        {"pose_landmarks": [landmark(row, score="visibility") for row in rows / [1920, 1080, 1]]}
        for rows in image("mediapipe33", 12)
    ],
}
TRACKED = {
    str(track): {str(i): {"keypoints": rows.ravel().tolist(), "scores": 0.9} for i, rows in enumerate(VALUES)}
    for track in (1, 2)
}
ULTRALYTICS = {"frames": [{"frame": i, "detections": [ultralytics_detection(rows)]} for i, rows in enumerate(VALUES)]}


@pytest.mark.parametrize("document", [MMPOSE, MEDIAPIPE, ULTRALYTICS], ids=["mmpose", "mediapipe", "ultralytics"])
def test_a_recording_of_a_tool_is_read_and_the_answer_says_so(bench, taught, document):
    _, key = taught
    before = len(bench.engine.questions)
    response = bench.ask("POST", "/predict", key, json=document)
    assert response.status_code == 200, response.text
    assert len(bench.engine.questions) == before + 1
    notes = [note["message"] for note in response.json()["quality"]["notes"]]
    assert notes[0].startswith("read as")
    assert any("30 are assumed" in note for note in notes) == (document is not MEDIAPIPE)


def test_the_engine_gets_what_it_would_get_from_the_clip(bench, taught):
    _, key = taught
    before = len(bench.engine.questions)
    bench.ask("POST", "/predict", key, json=MMPOSE)
    clip = {"layout": "coco17", "keypoints": VALUES.tolist(), "fps": 30}
    assert bench.ask("POST", "/predict", key, json=clip).status_code == 200
    first, second = bench.engine.questions[before:]
    np.testing.assert_allclose(first.person.pose, second.person.pose, atol=1e-5)


def test_one_frame_of_openpose_is_named_and_its_version_is_no_option(bench, taught):
    _, key = taught
    response = bench.ask("POST", "/predict", key, json=openpose_frame(image("openpose25")[0]))
    problem = response.json()
    assert (response.status_code, problem["code"]) == (422, "invalid_clip")
    assert "one frame of OpenPose" in problem["detail"]
    assert "skeleton-prompt convert" in problem["detail"]
    assert [row["rule"] for row in problem["errors"]] == ["other_format"]


def test_a_document_with_several_clips_is_not_guessed_at(bench, taught):
    _, key = taught
    response = bench.ask("POST", "/predict", key, json=TRACKED)
    assert response.status_code == 422
    assert "with 2 clips" in response.json()["detail"]


def test_a_document_that_needs_an_option_names_it(bench, taught):
    _, key = taught
    odd = {"instance_info": [{"frame_id": i, "instances": [mmpose_instance(r)]} for i, r in enumerate(VALUES[:, :14])]}
    response = bench.ask("POST", "/predict", key, json=odd)
    assert response.status_code == 422
    assert "--layout" in response.json()["detail"]


def test_a_row_of_a_batch_may_be_of_a_tool(bench, taught):
    _, key = taught
    clip = {"layout": "coco17", "keypoints": VALUES.tolist()}
    body = {"clips": [clip, MMPOSE, openpose_frame(image("openpose25")[0])]}
    rows = bench.ask("POST", "/predict/batch", key, json=body).json()["results"]
    assert [row.get("label") for row in rows] == ["squat", "squat", None]
    assert rows[2]["errors"][0]["loc"] == "clips[2]"
    assert "OpenPose" in rows[2]["detail"]


def test_clips_to_learn_from_may_be_of_a_tool(bench, acme):
    tenant, key = acme
    taught = [{**MMPOSE, "label": "squat"}, {**MEDIAPIPE, "label": "wave"}]
    answer = bench.ask("POST", f"/tenants/{tenant}/clips", key, json={"clips": taught})
    assert answer.status_code == 201, answer.text
    assert len(answer.json()["ids"]) == 2
    body = {"clips": taught, "options": {"dry_run": True}}
    report = bench.ask("POST", f"/tenants/{tenant}/tune", key, json=body).json()
    assert report["valid"] is True
    assert any("read as MMPose" in note["message"] for note in report["notes"])
    bad = bench.ask("POST", f"/tenants/{tenant}/clips", key, json={"clips": [TRACKED | {"label": "x"}]})
    assert bad.status_code == 422


def test_a_correction_may_be_of_a_tool(bench, acme):
    tenant, key = acme
    body = {"clip": MMPOSE, "label": "squat"}
    assert bench.ask("POST", f"/tenants/{tenant}/feedback", key, json=body).status_code == 201


def test_a_list_is_answered_with_the_command_that_reads_it(bench, taught):
    _, key = taught
    rows = [{"image_id": f"{i}.jpg", "category_id": 1, "keypoints": v.ravel().tolist()} for i, v in enumerate(VALUES)]
    response = bench.ask("POST", "/predict", key, json=rows)
    assert response.status_code == 400
    assert "skeleton-prompt convert" in response.json()["detail"]


@pytest.mark.parametrize("document", [{}, {"a": 1}, {"frames": []}, {"people": 3}, {"data": [1]}, {"images": {}}])
def test_any_other_document_is_answered_as_before(bench, taught, document):
    _, key = taught
    response = bench.ask("POST", "/predict", key, json=document)
    assert response.status_code == 422
    assert {row["rule"] for row in response.json()["errors"]} == {"missing_layout", "missing_keypoints"}
