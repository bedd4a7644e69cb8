"""Cases of files, joint names and layout names."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from skeleton_prompt.clips.clip import parse_clip
from skeleton_prompt.clips.formats import ReadOptions, read_files, recognise_document
from skeleton_prompt.clips.layouts import get_layout
from tests.cases.expectations import (
    Expectation,
    document,
    files,
    reads,
    refused_file,
    roles,
    same_pose,
    warned,
)


def recognised(*, tool: str, clips: int) -> Expectation:
    """The posted document is recognised as the output of a tool, with so many readable clips."""

    def check(case: Path) -> None:
        found = recognise_document(document(case / "input.json"))
        assert found is not None
        assert tool in found.format
        assert len(found.clips) == clips
        assert "skeleton-prompt convert" in found.message

    return check


def layout_names(case: Path) -> None:
    """Names of models are the layouts of their joints."""
    wanted = {"blazepose": "mediapipe33", "movenet": "coco17", "vitpose": "coco17", "body_25": "openpose25",
              "k4abt": "azure_kinect32", "COCO17": "coco17", "mpii": "mpii16"}  # fmt: skip
    assert {name: get_layout(name).name for name in wanted} == wanted


def confidence_of_three(case: Path) -> None:
    """Three numbers are a confidence where that is stated, and asked about where not."""
    refused_file("--coords xyz", "--coords xyc")(case)
    (clip,) = read_files(files(case), ReadOptions(coords="xyc"))
    assert np.unique(parse_clip(clip.document).confidence).tolist() == [np.float32(0.9)]


def nothing_to_see(case: Path) -> None:
    """The array is known by its name; it holds only zeros, which is said."""
    refused_file("FreeMoCap", "nobody is seen")(case)


EXPECTED: dict[str, Expectation] = {
    "01": reads(frames=12, layout="openpose25"),
    "02": reads(frames=12, layout="halpe26"),
    "03": reads(frames=12, layout="coco17"),
    "04": reads(frames=12, layout="coco17"),
    "05": reads(frames=12, layout="openpose18", label="squat"),
    "07": reads(frames=12, layout="coco17"),
    "08": reads(frames=12, layout="coco17", image_size=[1920.0, 1080.0]),
    "09": reads(frames=12, layout="coco17"),
    "10": refused_file("HDF5", "damaged"),
    "11": reads(frames=12, fps=30.0, y_axis="up"),
    "12": reads(frames=2),
    "13": refused_file("C3D", "damaged"),
    "14": reads(frames=12, layout="ntu25", fps=30.0, label="A001", y_axis="up"),
    "15": reads(frames=12, layout="coco17", label="3", image_size=[1920.0, 1080.0]),
    "16": nothing_to_see,
    "17": refused_file("keypoints", "joint_names", "--layout", "--coords"),
    "18": refused_file("CSV", "one frame"),
    "19": reads(layout="azure_kinect32", y_axis="down", fps=30.0),
    "26": recognised(tool="OpenPose", clips=0),
    "28": recognised(tool="TensorFlow.js", clips=1),
    "34": same_pose,
    "35": same_pose,
    "36": same_pose,
    "47": warned("openpose25 would fit"),
    "60": roles(lshoulder="LeftUpperArm", rshoulder="RightUpperArm", lwrist="LeftHand", lankle="LeftFoot"),
    "63": roles(lshoulder="mixamorig:LeftArm", rknee="mixamorig:RightLeg", root="mixamorig:Hips"),
    "65": roles(lhip="L.ASIS_study", rknee="r_knee_study", lelbow="L_lelbow_study", rwrist="r_lwrist_study"),
    "66": layout_names,
    "67": confidence_of_three,
}
