"""The made-up actions are anatomically plausible and different each time."""

import numpy as np
import pytest

from skeleton_prompt.synthetic import ACTIONS, COCO17, H36M17, IMAGE_SIZE, make_clip


def joints(clip: dict, *names: str) -> list[np.ndarray]:
    order = COCO17 if clip["layout"] == "coco17" else H36M17
    return [clip["keypoints"][:, order.index(name)] for name in names]


@pytest.mark.parametrize("action", ACTIONS)
def test_bones_keep_their_length_and_feet_stay_above_the_ground(action):
    clip = make_clip(action, np.random.default_rng(1), layout="h36m17")
    thigh = np.linalg.norm(np.subtract(*joints(clip, "left_hip", "left_knee")), axis=-1)
    assert thigh.std() < 0.02, "only the noise of 6 mm a coordinate moves it"
    assert clip["keypoints"][..., 1].min() > 0.0
    assert clip["keypoints"][..., 1].max() < 3.0


@pytest.mark.parametrize("action", ACTIONS)
def test_a_clip_in_pixels_is_in_the_picture_and_upright_at_the_start(action):
    clip = make_clip(action, np.random.default_rng(2), missing=0.0)
    keypoints = clip["keypoints"]
    assert keypoints.dtype == np.float32
    inside = (keypoints[..., :2] > -100) & (keypoints[..., :2] < np.array(IMAGE_SIZE) + 100)
    assert inside.mean() > 0.97
    nose, ankle = joints(clip, "nose", "left_ankle")
    assert nose[0, 1] < ankle[0, 1], "y points down"


def test_a_person_who_faces_the_camera_has_the_left_shoulder_on_the_right_of_the_picture():
    for seed in range(5):
        left, right = joints(
            make_clip("stand", np.random.default_rng(seed), missing=0.0), "left_shoulder", "right_shoulder"
        )
        assert (left[:, 0] > right[:, 0]).all()


def test_the_same_seed_gives_the_same_clip_and_another_seed_another_one():
    first, same, other = (make_clip("wave", np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert np.array_equal(first["keypoints"], same["keypoints"])
    assert first["keypoints"].shape != other["keypoints"].shape or not np.allclose(
        first["keypoints"], other["keypoints"]
    )


def test_missing_joints_have_confidence_zero():
    keypoints = make_clip("wave", np.random.default_rng(5), missing=0.2)["keypoints"]
    hidden = keypoints[..., 2] == 0
    assert 0.1 < hidden.mean() < 0.4
    assert (keypoints[hidden] == 0).all()


def test_the_actions_move_what_their_names_say():
    rng = np.random.default_rng(6)
    hips = joints(make_clip("squat", rng, layout="h36m17"), "root")[0][:, 1]
    assert hips.min() < 0.75 * hips.max()
    head, hand = joints(make_clip("raise_arms", rng, layout="h36m17"), "head_top", "left_wrist")
    assert (hand[:, 1] > head[:, 1]).mean() > 0.2
    fallen = joints(make_clip("fall", rng, layout="h36m17"), "head_top")[0][:, 1]
    assert fallen[-1] < 0.5 * fallen[0]
