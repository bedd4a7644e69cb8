import numpy as np
import pytest

from skeleton_prompt.clips.canonical_skeleton import CANONICAL
from skeleton_prompt.clips.formats.mocap.bvh import read_bvh
from skeleton_prompt.clips.formats.mocap.canonical import canonical
from skeleton_prompt.clips.formats.mocap.reading import MotionFileError
from tests.support.mocap_people import BODY, bvh_text, write

AT = {name: index for index, name in enumerate(CANONICAL)}


def read(tmp_path, text, up=None):
    path = write(tmp_path / "a.bvh", text)
    return canonical(path, read_bvh(path), up)


def refusal(tmp_path, text) -> str:
    with pytest.raises(MotionFileError) as caught:
        read(tmp_path, text)
    return str(caught.value)


def test_a_person_at_rest_stands_upright_in_metres_with_the_left_at_plus_x(tmp_path) -> None:
    found = read(tmp_path, bvh_text())
    places = {name: found.frames[7, index].round(4).tolist() for name, index in AT.items()}
    assert found.unit.startswith("cm")
    assert found.up == "y"
    assert found.fps == pytest.approx(30, abs=1e-4)
    assert places["root"] == [0, 0.87, 0]
    assert places["lankle"] == [0.1, 0.05, 0]
    assert places["rwrist"] == [-0.71, 1.33, 0]
    assert places["thorax"] == [0, 1.37, 0]
    assert places["head_top"] == [0, 1.65, 0]
    assert places["spine"] == [0, 1.13, 0]
    assert places["nose"][2] == pytest.approx(0.11, abs=0.01)
    assert 1.37 < places["nose"][1] < 1.65


@pytest.mark.parametrize(
    ("turn", "elbow", "wrist"),
    [
        # The upper arm points to +x: about z by 90 degrees it points up, by -90 down, about y by -90 to the front.
        ((0, 0, 90), [0.18, 1.61, 0], [0.18, 1.86, 0]),
        ((0, 0, -90), [0.18, 1.05, 0], [0.18, 0.80, 0]),
        ((0, -90, 0), [0.18, 1.33, 0.28], [0.18, 1.33, 0.53]),
        ((90, 0, 0), [0.46, 1.33, 0], [0.71, 1.33, 0]),
    ],
)
def test_an_arm_turned_by_90_degrees_points_where_it_must(tmp_path, turn, elbow, wrist) -> None:
    frame = read(tmp_path, bvh_text({"LeftArm": turn})).frames[0]
    assert frame[AT["lelbow"]] == pytest.approx(elbow, abs=1e-6)
    assert frame[AT["lwrist"]] == pytest.approx(wrist, abs=1e-6)
    assert frame[AT["rwrist"]] == pytest.approx([-0.71, 1.33, 0], abs=1e-6)


@pytest.mark.parametrize(
    ("order", "elbow"),
    [
        # The first channel is outermost. Rz(90) Ry(90) x = Rz(90) (-z) = -z; Ry(90) Rz(90) x = Ry(90) y = y.
        ("ZYX", [0.18, 1.33, -0.28]),
        ("YZX", [0.18, 1.61, 0]),
        ("XZY", [0.18, 1.33, -0.28]),
        ("XYZ", [0.18, 1.61, 0]),
    ],
)
def test_the_order_of_the_channels_is_the_order_of_the_turns(tmp_path, order, elbow) -> None:
    frame = read(tmp_path, bvh_text({"LeftArm": (0, 90, 90)}, order=order)).frames[0]
    assert frame[AT["lelbow"]] == pytest.approx(elbow, abs=1e-6)


def test_the_face_follows_the_head(tmp_path) -> None:
    ahead = read(tmp_path, bvh_text()).frames[0]
    aside = read(tmp_path, bvh_text({"Head": (0, 90, 0)})).frames[0]  # about y by +90: from +z to +x, the left
    assert (ahead[AT["nose"]] - ahead[AT["thorax"]])[2] == pytest.approx(0.11, abs=0.01)
    assert (aside[AT["nose"]] - aside[AT["thorax"]])[0] == pytest.approx(0.11, abs=0.01)


@pytest.mark.parametrize(
    ("unit", "name"), [(10, "mm"), (1, "cm"), (1 / 2.54, "inch"), (0.45 / 2.54, "CMU"), (0.01, "m")]
)
def test_the_unit_is_known_by_the_size_of_the_skeleton(tmp_path, unit, name) -> None:
    found = read(tmp_path, bvh_text(scale=unit))
    assert found.unit.startswith(name)
    assert found.frames[0, AT["head_top"], 1] == pytest.approx(1.65, abs=1e-4)


def test_a_file_with_z_up_is_turned(tmp_path) -> None:
    to_z_up = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    found = read(tmp_path, bvh_text(turn_axes=to_z_up))
    assert found.up == "z"
    assert found.frames[0] == pytest.approx(read(tmp_path, bvh_text()).frames[0], abs=1e-6)


def test_a_person_lying_along_z_in_a_file_with_y_up_stays_lying(tmp_path) -> None:
    found = read(tmp_path, bvh_text({"Hips": (90, 0, 0)}))
    assert found.up == "y"
    assert found.frames[0, AT["head_top"]] == pytest.approx([0, 0.87, 0.78], abs=1e-6)


def test_bones_keep_their_length_while_a_person_moves(tmp_path) -> None:
    rng = np.random.default_rng(0)
    text = bvh_text(frames=1)
    head, last = text.rsplit("\n", 2)[0], len(text.rsplit("\n", 2)[1].split())
    rows = [" ".join(f"{v:.4f}" for v in np.r_[0, 90, 0, rng.uniform(-60, 60, last - 3)]) for _ in range(30)]
    found = read(tmp_path, head.replace("Frames: 1", "Frames: 30") + "\n" + "\n".join(rows) + "\n")
    for joint, parent, length in (("lknee", "lhip", 0.4), ("rankle", "rknee", 0.42), ("lelbow", "lshoulder", 0.28)):
        bone = np.linalg.norm(found.frames[:, AT[joint]] - found.frames[:, AT[parent]], axis=-1)
        assert bone == pytest.approx(np.full(30, length), abs=1e-5)


def test_mirrored_people_are_refused(tmp_path) -> None:
    text = bvh_text(turn_axes=np.diag([-1.0, 1, 1]))
    assert "left and right are swapped" in refusal(tmp_path, text)


NAMES = {
    "mixamo": {name: f"mixamorig:{name}" for name in BODY},
    "cmu": {"Neck": "Neck1", "LeftShoulder": "LeftShoulder"},
    "rokoko": {"LeftUpLeg": "LeftThigh", "RightUpLeg": "RightThigh", "LeftLeg": "LeftShin", "RightLeg": "RightShin"},
    "xsens": {
        "Hips": "Pelvis", "Spine": "L5", "Spine1": "T8",
        **{
            side + old: side + new
            for side in ("Left", "Right")
            for old, new in (("Arm", "UpperArm"), ("UpLeg", "UpperLeg"), ("Leg", "LowerLeg"), ("ToeBase", "Toe"))
        },
    },
    "3ds": {
        side + old: side + new
        for side in ("Left", "Right")
        for old, new in (
            ("Shoulder", "Collar"), ("Arm", "Shoulder"), ("ForeArm", "Elbow"), ("Hand", "Wrist"), ("UpLeg", "Hip"),
            ("Leg", "Knee"), ("Foot", "Ankle"), ("ToeBase", "Toe"),
        )
    },
    "biped": {
        name: "Bip01 " + name.replace("Left", "L ").replace("Right", "R ").replace("UpLeg", "Thigh")
        .replace("Leg", "Calf").replace("Shoulder", "Clavicle").replace("ForeArm", "Forearm")
        .replace(" Arm", " UpperArm")
        for name in BODY
    },
    "daz": {
        "Hips": "hip", "Spine": "abdomen", "Spine1": "chest", "Neck": "neck", "Head": "head",
        **{
            long + old: short + new
            for long, short in (("Left", "l"), ("Right", "r"))
            for old, new in (
                ("Shoulder", "Collar"), ("Arm", "Shldr"), ("ForeArm", "ForeArm"), ("Hand", "Hand"), ("UpLeg", "Thigh"),
                ("Leg", "Shin"), ("Foot", "Foot"), ("ToeBase", "Toe"),
            )
        },
    },
}  # fmt: skip


@pytest.mark.parametrize("maker", NAMES)
def test_every_makers_names_give_the_same_person(tmp_path, maker) -> None:
    found = read(tmp_path, bvh_text({"LeftArm": (0, 0, 60)}, rename=NAMES[maker]))
    assert found.frames == pytest.approx(read(tmp_path, bvh_text({"LeftArm": (0, 0, 60)})).frames, abs=1e-6)


def test_a_joint_that_is_lacking_is_named(tmp_path) -> None:
    assert "lshoulder, lelbow, lwrist" in refusal(tmp_path, bvh_text(rename={"LeftForeArm": "Thing"}))


def cut(text: str, lines: int) -> str:
    return "\n".join(text.splitlines()[:lines])


TEXT = bvh_text()
FIRST = TEXT.splitlines().index("MOTION")
BAD = {
    "empty": ("", "has no MOTION section"),
    "cut in the hierarchy": (cut(TEXT, 20) + TEXT[TEXT.index("\nMOTION") :], "are missing before MOTION"),
    "cut in the frames": (cut(TEXT, FIRST + 20), "declares 40 frames and has 17: it is cut off"),
    "cut in a frame": (TEXT[:-50], "numbers where the joints have 66 channels"),
    "a frame too many": (TEXT + TEXT.splitlines()[-1], "more lines of numbers than the 40 frames"),
    "no frames": (TEXT.replace("Frames: 40", "Frames: 0"), f":{FIRST + 2}: 0 frames"),
    "frames without end": (TEXT.replace("Frames: 40", "Frames: 99999999999"), f":{FIRST + 2}: 99999999999 frames"),
    "not a number": (TEXT.replace("87.000000", "oops", 1), f":{FIRST + 4}: 'oops' is not a number"),
    "nan": (TEXT.replace("87.000000", "nan", 1), "channel 2 of frame 1 is not a finite number"),
    "no frame time": (TEXT.replace("Frame Time", "Frame Tim"), "must be followed by 'Frames:'"),
    "a frame time of 0": (TEXT.replace("Frame Time: 0.03333333", "Frame Time: 0"), "a frame time of 0.0 s"),
    "wrong count of channels": (TEXT.replace("CHANNELS 3", "CHANNELS 4", 1), "CHANNELS declares 4 and names 3"),
    "unknown channel": (TEXT.replace("Xrotation", "Wrotation", 1), "unknown channel 'wrotation'"),
    "offset of two": (TEXT.replace("OFFSET 0.000000 0.000000", "OFFSET 0.000000", 1), "OFFSET needs 3 numbers, not 2"),
    "two roots": (TEXT.replace("JOINT Spine\n", "ROOT Spine\n"), "a second ROOT"),
    "a brace too many": (TEXT.replace("MOTION", "}\nMOTION"), "'}' without its '{'"),
    "words": (TEXT.replace("HIERARCHY", "HIERARCHY\nhello world"), ":2: 'hello world' is not a part of a hierarchy"),
    "a giant's size": (bvh_text(scale=300), "which is a person's size in no unit known"),
    "far away": (TEXT.replace("87.000000", "1e12"), "m from the origin"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_malformed_file_is_refused_with_the_reason(tmp_path, name) -> None:
    text, reason = BAD[name]
    assert reason in refusal(tmp_path, text)


def test_a_file_that_is_not_text_is_refused_with_the_line(tmp_path) -> None:
    path = tmp_path / "a.bvh"
    path.write_bytes(b"HIERARCHY\nROOT \xff\xfe\n")
    with pytest.raises(MotionFileError, match=r"a\.bvh:2: byte 0xff is not UTF-8 text"):
        read_bvh(path)
