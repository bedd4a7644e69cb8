import numpy as np
import pytest

from skeleton_prompt.clips.canonical_skeleton import CANONICAL
from skeleton_prompt.clips.formats.mocap.canonical import canonical
from skeleton_prompt.clips.formats.mocap.reading import MotionFileError, NoMotion
from training.corpora.amass import BODY, NAMES, mean_skeleton, read_amass, read_body_model

AT = {name: index for index, name in enumerate(CANONICAL)}
UPRIGHT = [np.pi / 2, 0, 0]  # SMPL's rest pose has y up, AMASS z: standing people are turned about x


def write(path, *, frames=30, turns=None, **arrays):
    poses = np.zeros((frames, 52, 3))
    poses[:, 0] = UPRIGHT
    for name, vector in (turns or {}).items():
        poses[:, NAMES.index(name)] = vector
    content = {
        "poses": poses.reshape(frames, -1),
        "trans": np.tile((0, 0, 0.96), (frames, 1)),
        "mocap_framerate": np.array(120.0),
    }
    np.savez(path, **{name: value for name, value in (content | arrays).items() if value is not None})
    return path


def read(path, model=None):
    return canonical(path, read_amass(path, model)[0]).frames


def test_a_standing_person_has_y_up_and_the_left_at_plus_x_and_looks_along_plus_z(tmp_path) -> None:
    frame = read(write(tmp_path / "a_poses.npz"))[0]
    assert frame[AT["rankle"], 1] == pytest.approx(0.96 - 0.868, abs=0.001)
    assert frame[AT["lwrist"], 0] == pytest.approx(0.683, abs=0.001)
    assert frame[AT["rwrist"], 0] == pytest.approx(-0.683, abs=0.001)
    assert frame[AT["nose"], 2] - frame[AT["thorax"], 2] > 0.08
    assert frame[AT["head_top"], 1] == frame[:, 1].max()
    assert frame[AT["root"], 1] < frame[AT["spine"], 1] < frame[AT["thorax"], 1] < frame[AT["nose"], 1]


def test_one_turned_joint_moves_what_hangs_on_it_and_nothing_else(tmp_path) -> None:
    rest = read(write(tmp_path / "a_poses.npz"))[0]
    # The left upper arm lies along +x of the body: about its z by 90 degrees it points up.
    raised = read(write(tmp_path / "b_poses.npz", turns={"left_shoulder": [0, 0, np.pi / 2]}))[0]
    bone = np.linalg.norm(rest[AT["lelbow"]] - rest[AT["lshoulder"]])
    assert raised[AT["lelbow"], 1] - raised[AT["lshoulder"], 1] == pytest.approx(0.257, abs=0.001)
    assert np.linalg.norm(raised[AT["lelbow"]] - raised[AT["lshoulder"]]) == pytest.approx(bone)
    moved = np.linalg.norm(raised - rest, axis=-1) > 1e-9
    assert {name for name, index in AT.items() if moved[index]} == {"lelbow", "lwrist"}


def test_a_turn_about_an_axis_is_right_handed_and_its_length_is_the_angle(tmp_path) -> None:
    # Knees bend backwards: the shin, down at rest, turned about +x by 60 degrees.
    frame = read(write(tmp_path / "a_poses.npz", turns={"right_knee": [np.pi / 3, 0, 0]}))[0]
    shin, rest = frame[AT["rankle"]] - frame[AT["rknee"]], mean_skeleton().offsets[NAMES.index("right_ankle")]
    cos, sin = 0.5, np.sqrt(3) / 2
    assert shin == pytest.approx([rest[0], cos * rest[1] - sin * rest[2], sin * rest[1] + cos * rest[2]])
    assert shin[2] < -0.3


def test_the_ground_is_walked_on_in_the_same_direction(tmp_path) -> None:
    moved = np.stack([np.zeros(30), -np.linspace(0, 1, 30), np.full(30, 0.96)], -1)  # along -y with z up
    frames = read(write(tmp_path / "a_poses.npz", trans=moved))
    assert frames[0, 0, 1] == pytest.approx(0.96 - 0.091, abs=0.001)
    assert frames[-1, 0] - frames[0, 0] == pytest.approx([0, 0, 1], abs=1e-9)


def test_joints_of_the_file_are_taken_before_its_poses(tmp_path) -> None:
    rest = mean_skeleton().rest()
    places = np.stack([rest[:, 0], -rest[:, 2], rest[:, 1]], -1)[None].repeat(20, 0)  # z up
    path = write(tmp_path / "a_poses.npz", frames=20, joints=places * [1.1, 1, 1])
    motion, note = read_amass(path)
    assert note == "joints of the file"
    frame = canonical(path, motion).frames[0]
    assert frame[AT["lwrist"], 0] == pytest.approx(0.683 * 1.1, abs=0.001)
    assert frame[AT["nose"], 2] - frame[AT["thorax"], 2] > 0.08


def body_model(path, **changes):
    """Two vertices per joint, the joint half-way; one shape coefficient that makes the body taller."""
    rest = mean_skeleton().rest()
    template = np.concatenate([rest - 0.01, rest + 0.01])
    regressor = np.concatenate([np.eye(BODY), np.eye(BODY)], 1) / 2
    shape = np.zeros((len(template), 3, 1))
    shape[:, 1, 0] = template[:, 1]
    np.savez(path, **({"J_regressor": regressor, "v_template": template, "shapedirs": shape} | changes))
    return path


def test_a_body_model_gives_each_body_its_own_bones(tmp_path) -> None:
    model = read_body_model(body_model(tmp_path / "model.npz"))
    assert model.skeleton(np.zeros(1)).offsets == pytest.approx(mean_skeleton().offsets)
    path = write(tmp_path / "a_poses.npz", betas=np.array([0.1, 5, 5]))
    taller, mean = read(path, model)[0], read(path)[0]
    assert read_amass(path, model)[1] == "body model"
    ratio = (taller[AT["rknee"], 1] - taller[AT["rankle"], 1]) / (mean[AT["rknee"], 1] - mean[AT["rankle"], 1])
    assert ratio == pytest.approx(1.1)


def test_a_pickle_is_never_opened(tmp_path) -> None:
    with pytest.raises(MotionFileError, match="pickles are not read"):
        read_body_model(tmp_path / "SMPL_NEUTRAL.pkl")
    path = tmp_path / "a_poses.npz"
    np.savez(path, poses=np.array([{"a": 1}], dtype=object), mocap_framerate=np.array(30.0))
    with pytest.raises(MotionFileError, match="not a sound npz without objects"):
        read_amass(path)


def test_an_npz_without_motion_is_told_apart_from_a_broken_one(tmp_path) -> None:
    np.savez(tmp_path / "shape.npz", betas=np.zeros(16), gender="male")
    with pytest.raises(NoMotion):
        read_amass(tmp_path / "shape.npz")


NAN = np.zeros((30, 156))
NAN[4, 7] = np.nan
BAD = {
    "no rate": ({"mocap_framerate": None}, "has no frame rate"),
    "a rate of 0": ({"mocap_framerate": np.array(0.0)}, "a frame rate of 0.0"),
    "a rate of nan": ({"mocap_framerate": np.array(np.nan)}, "is not a finite number"),
    "text as rate": ({"mocap_framerate": np.array("fast")}, "has type <U4, not numbers"),
    "nan": ({"poses": NAN}, r"poses[4, 7] is not a finite number (1 such values)"),
    "too few joints": ({"poses": np.zeros((30, 63))}, "poses must be (frames, at least 66), not (30, 63)"),
    "another count of frames": ({"trans": np.zeros((29, 3))}, "trans must be (30, 3) like poses, not (29, 3)"),
    "no frames": ({"poses": np.zeros((0, 156)), "trans": np.zeros((0, 3))}, "0 frames"),
    "joints of another shape": ({"joints": np.zeros((30, 17, 3))}, "joints must be (frames, at least 22, 3)"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_malformed_file_is_refused_with_the_reason(tmp_path, name) -> None:
    arrays, reason = BAD[name]
    with pytest.raises(MotionFileError) as caught:
        read_amass(write(tmp_path / "a_poses.npz", **arrays))
    assert reason in str(caught.value)


def test_a_truncated_file_is_refused(tmp_path) -> None:
    path = write(tmp_path / "a_poses.npz")
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(MotionFileError, match="not a sound npz"):
        read_amass(path)
    path.write_bytes(b"not a zip")
    with pytest.raises(MotionFileError, match="not a sound npz"):
        read_amass(path)


def test_an_array_larger_than_the_limit_is_refused_before_it_is_unpacked(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("skeleton_prompt.clips.formats.mocap.reading.MAX_ARRAY_BYTES", 1000)
    with pytest.raises(MotionFileError, match="array poses has 37568 bytes, more than 1000"):
        read_amass(write(tmp_path / "a_poses.npz"))
