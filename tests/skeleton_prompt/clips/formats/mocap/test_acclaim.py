import numpy as np
import pytest

from skeleton_prompt.clips.canonical_skeleton import CANONICAL
from skeleton_prompt.clips.formats.mocap.acclaim import find_asf, read_amc, read_asf
from skeleton_prompt.clips.formats.mocap.canonical import canonical
from skeleton_prompt.clips.formats.mocap.kinematics import solve
from skeleton_prompt.clips.formats.mocap.reading import MotionFileError
from tests.support.mocap_people import amc_text, asf_text, write

AT = {name: index for index, name in enumerate(CANONICAL)}

# Three bones: an upper arm along x whose own axes are turned by 90 degrees about z, a forearm with one hinge, a hand.
ARM = """\
:version 1.10
:units
  length 0.45
  angle {unit}
:root
  order TX TY TZ RX RY RZ
  axis XYZ
  position 0 0 0
  orientation 0 0 0
:bonedata
  begin
    id 1
    name upper
    direction 1 0 0
    length 3
    axis 0 0 {axis} XYZ
    dof rx ry rz
    limits (-160.0 20.0)
           (-70.0 70.0)
           (-60.0 70.0)
  end
  begin
    id 2
    name lower
    direction 1 0 0
    length 2
    axis 0 0 0 XYZ
    dof rz
    limits (-10.0 20.0)
  end
  begin
    id 3
    name hand
    direction 2 0 0
    length 1
    axis 0 0 0 XYZ
  end
:hierarchy
  begin
    root upper
    upper lower
    lower hand
  end
"""


def pose(tmp_path, upper, lower, root="1 2 3 0 0 0", *, header=":DEGREES", asf=None):
    skeleton = write(tmp_path / "arm.asf", asf or ARM.format(unit="deg", axis=90))
    amc = write(tmp_path / "arm_01.amc", f":FULLY-SPECIFIED\n{header}\n1\nroot {root}\nupper {upper}\nlower {lower}\n")
    motion = read_amc(amc, read_asf(skeleton), 120)
    names = motion.skeleton.names
    places, _ = solve(motion, range(len(names)))
    return {name: places[i][0].round(9).tolist() for i, name in enumerate(names)}


def test_at_rest_bones_lie_along_their_directions(tmp_path) -> None:
    found = pose(tmp_path, "0 0 0", "0")
    assert found["root"] == found["upper"] == [1, 2, 3]
    assert (found["lower"], found["hand"], found["hand_end"]) == ([4, 2, 3], [6, 2, 3], [7, 2, 3])


def test_a_bone_turns_about_its_own_axes(tmp_path) -> None:
    # The bone's own axes are turned by 90 degrees about z, so its x axis is the world's y: rx of 90 turns x to -z.
    assert pose(tmp_path, "90 0 0", "0")["lower"] == [1, 2, 0]
    # Its y axis is the world's -x, along the bone: nothing moves.
    assert pose(tmp_path, "0 90 0", "0")["lower"] == [4, 2, 3]
    assert pose(tmp_path, "0 0 90", "0")["lower"] == [1, 5, 3]


def test_the_axes_of_a_frame_are_applied_x_first(tmp_path) -> None:
    # Own axes unturned: Rz(90) Ry(0) Rx(90) x = y, while Rz first would give z.
    plain = ARM.format(unit="deg", axis=0)
    assert pose(tmp_path, "90 0 90", "0", asf=plain)["lower"] == [1, 5, 3]
    # Rz(90) Ry(90) x = Rz(90) (-z) = -z.
    assert pose(tmp_path, "0 90 90", "0", asf=plain)["lower"] == [1, 2, 0]


def test_what_hangs_on_a_bone_follows_it(tmp_path) -> None:
    found = pose(tmp_path, "90 0 0", "90")
    # The forearm turns about the world's z by 90 (to y), then with the upper arm about y by 90 (y stays).
    assert found["hand"] == [1, 4, 0]
    assert found["hand_end"] == [1, 5, 0]
    turned = pose(tmp_path, "0 0 0", "0", root="0 0 0 0 90 0")
    assert turned["hand_end"] == [0, 0, -6]


def test_radians_and_degrees_are_told_apart(tmp_path) -> None:
    half = f"{np.pi / 2:.12f}"
    radians = ARM.format(unit="rad", axis=half)
    assert pose(tmp_path, f"{half} 0 0", "0", header=":RADIANS", asf=radians)["lower"] == [1, 2, 0]
    assert pose(tmp_path, f"{half} 0 0", "0", header="", asf=radians)["lower"] == [1, 2, 0]
    assert pose(tmp_path, "90 0 0", "0", header=":DEGREES", asf=radians)["lower"] == [1, 2, 0]


def test_a_cmu_skeleton_gives_a_person_in_metres(tmp_path) -> None:
    write(tmp_path / "07.asf", asf_text())
    amc = write(tmp_path / "07_01.amc", amc_text(frames=8))
    asf = find_asf(amc)
    assert asf is not None
    assert asf.name == "07.asf"
    found = canonical(amc, read_amc(amc, read_asf(asf), 120))
    frame = found.frames[0]
    assert found.unit == "as the file says"
    assert frame[AT["root"]] == pytest.approx([0, 0.9, 0], abs=1e-6)
    assert frame[AT["lankle"]] == pytest.approx([0.1, 0.9 - 0.82, 0], abs=1e-6)
    # The forearm ends where the hand starts, not where the radius turns.
    assert frame[AT["lwrist"]] == pytest.approx([0.18 + 0.28 + 0.18 + 0.08, frame[AT["lshoulder"], 1], 0], abs=1e-6)
    assert frame[AT["rwrist"], 0] == pytest.approx(-frame[AT["lwrist"], 0], abs=1e-6)
    assert frame[AT["thorax"], 1] > frame[AT["spine"], 1] > frame[AT["root"], 1]
    assert frame[AT["nose"], 2] > 0.08


def test_the_skeleton_beside_a_motion_is_found_by_name(tmp_path) -> None:
    for name in ("1.asf", "01.asf", "HDM_bd.asf"):
        write(tmp_path / name, "")
    assert find_asf(tmp_path / "01_02.amc") == tmp_path / "01.asf"
    assert find_asf(tmp_path / "HDM_bd_walk_001_120.amc") == tmp_path / "HDM_bd.asf"
    assert find_asf(tmp_path / "02_02.amc") is None
    alone = write(tmp_path / "alone" / "skeleton.asf", "")
    assert find_asf(alone.parent / "walk.amc") == alone


ASF = ARM.format(unit="deg", axis=90)
BAD_ASF = {
    "cut in a bone": (ASF[: ASF.index("name hand") + 9], "has no :hierarchy section"),
    "no bones": (ASF.replace(":bonedata", ":bones"), "has no :bonedata section"),
    "cut in the bone data": (ASF.replace("    length 1\n    axis 0 0 0 XYZ\n  end\n", ""), "bone 'hand' has no 'end'"),
    "text as length": (ASF.replace("length 3", "length long"), ":15: 'long' is not a number"),
    "nan": (ASF.replace("direction 2 0 0", "direction nan 0 0"), "'nan' is not a finite number"),
    "unknown order": (ASF.replace("0 XYZ\n    dof rz", "0 XXZ\n    dof rz"), "'xxz' is no order of axes"),
    "unknown degree of freedom": (ASF.replace("dof rz", "dof rw"), "unknown degree of freedom 'rw'"),
    "hierarchy with a stranger": (ASF.replace("upper lower", "upper lowest"), "'lowest' is not among the bones"),
    "a loop": (ASF.replace("lower hand", "lower upper"), "does not hang on the tree once"),
    "a loose bone": (ASF.replace("    lower hand\n", ""), "bone 'hand' is not in the hierarchy"),
    "a unit of nothing": (ASF.replace("length 0.45", "length 0"), "a length unit of 0"),
}


@pytest.mark.parametrize("name", BAD_ASF)
def test_a_malformed_skeleton_is_refused_with_the_reason(tmp_path, name) -> None:
    text, reason = BAD_ASF[name]
    with pytest.raises(MotionFileError) as caught:
        read_asf(write(tmp_path / "arm.asf", text))
    assert reason in str(caught.value)


FRAME = "root 0 0 0 0 0 0\nupper 0 0 0\nlower 0\n"
AMC = f":FULLY-SPECIFIED\n:DEGREES\n1\n{FRAME}2\n{FRAME}"
BAD_AMC = {
    "empty": ("", "has no frames"),
    "cut in a frame": (AMC[:-8], "frame 2 has no line for 'lower': the file is cut off"),
    "a bone that is not there": (AMC.replace("lower", "leg", 1), ":6: 'leg' is not a moving bone of the skeleton"),
    "too few numbers": (AMC.replace("upper 0 0 0", "upper 0 0", 1), ":5: upper has 2 numbers and 3 degrees of freedom"),
    "text": (AMC.replace("lower 0", "lower x", 1), ":6: 'x' is not a number"),
    "infinity": (AMC.replace("lower 0", "lower 1e999", 1), ":6: '1e999' is not a finite number"),
    "a bone twice": (
        AMC.replace("lower 0\n", "lower 0\nlower 0\n", 1),
        ":7: lower stands before the first frame",
    ),
    "no frame number": (AMC.replace("1\nroot", "root", 1), "stands before the first frame"),
}


@pytest.mark.parametrize("name", BAD_AMC)
def test_a_malformed_motion_is_refused_with_the_line(tmp_path, name) -> None:
    text, reason = BAD_AMC[name]
    skeleton = read_asf(write(tmp_path / "arm.asf", ASF))
    with pytest.raises(MotionFileError) as caught:
        read_amc(write(tmp_path / "arm_01.amc", text), skeleton, 120)
    assert reason in str(caught.value)
