"""Layouts: every built-in and custom set of joints reaches the right canonical joints."""

from __future__ import annotations

import numpy as np
import pytest

from skeleton_prompt.clips.canonical_skeleton import CANONICAL, CANONICAL_EDGES, CANONICAL_MIRROR
from skeleton_prompt.clips.joint_aliases import resolve_roles, split_side
from skeleton_prompt.clips.layouts import (
    BadLayout,
    Layout,
    UnknownLayout,
    custom_layout,
    get_layout,
    layout_names,
    resolve_layout,
    unknown_layout_message,
)

COUNTS = {
    "coco17": 17, "openpose18": 18, "openpose25": 25, "mediapipe33": 33, "halpe26": 26, "h36m17": 17, "ntu25": 25,
    "kinect20": 20, "msr20": 20, "utd20": 20, "penn13": 13, "jhmdb15": 15, "florence15": 15, "smpl24": 24,
    "ui_prmd22": 22, "body_25b": 25, "wholebody133": 133, "mpii16": 16, "posetrack17": 17, "azure_kinect32": 32,
    "zed34": 34, "zed38": 38, "apple19": 19,
}  # fmt: skip
SPELLINGS = [
    "{S}Shoulder", "{side}_shoulder", "Shoulder{Side}", "{s}-shoulder", "{s}shoulder", "shoulder_{s}",
    "{SIDE} SHOULDER",
    "shoulder.{side}", "{Side}Shoulder", "{side}shoulder", "shoulder{side}", "  {side}   shoulder ", "{S}Sho",
    "{S}_SHO",
]  # fmt: skip
COCO = get_layout("coco17").joints


def spell(pattern: str, side: str) -> str:
    return pattern.format(S=side[0].upper(), s=side[0], side=side, Side=side.title(), SIDE=side.upper())


def source_names(layout: Layout, role: str) -> list[str]:
    return [layout.joints[joint] for joint, _ in layout.sources[CANONICAL.index(role)]]


def test_all_documented_layouts_are_built_in_with_their_joint_counts():
    assert {name: len(get_layout(name).joints) for name in layout_names()} == COUNTS


@pytest.mark.parametrize("name", layout_names())
def test_every_built_in_joint_has_a_known_role_and_every_edge_joins_two_of_them(name):
    layout = get_layout(name)
    assert layout.unknown == ()
    assert len(set(layout.joints)) == len(layout.joints)
    assert all(0 <= a < len(layout.joints) and 0 <= b < len(layout.joints) and a != b for a, b in layout.edges)
    assert layout.matrix.shape == (17, len(layout.joints))
    np.testing.assert_allclose(layout.matrix.sum(1), layout.available, atol=1e-6)


@pytest.mark.parametrize("name", layout_names())
def test_limbs_come_from_one_joint_of_the_same_side(name):
    layout = get_layout(name)
    for role in CANONICAL:
        if role[0] in "lr" and role != "root":
            (source,) = source_names(layout, role)
            assert split_side(source)[0] == role[0]


def test_missing_trunk_joints_are_means_of_hips_and_shoulders_and_a_missing_head_top_is_masked():
    layout = get_layout("coco17")
    assert source_names(layout, "root") == ["left_hip", "right_hip"]
    assert source_names(layout, "thorax") == ["left_shoulder", "right_shoulder"]
    assert sorted(source_names(layout, "spine")) == ["left_hip", "left_shoulder", "right_hip", "right_shoulder"]
    assert source_names(layout, "head_top") == []
    assert not layout.available[CANONICAL.index("head_top")]


@pytest.mark.parametrize(
    ("name", "role", "joint"),
    [
        ("ui_prmd22", "lwrist", "left_hand"),
        ("ui_prmd22", "lshoulder", "left_upper_arm"),
        ("ui_prmd22", "lankle", "left_foot"),
        ("ui_prmd22", "rknee", "right_lower_leg"),
        ("ui_prmd22", "head_top", "head_tip"),
        ("kinect20", "lwrist", "left_wrist"),
        ("kinect20", "lankle", "left_ankle"),
        ("kinect20", "nose", "head"),
        ("ntu25", "thorax", "spine_shoulder"),
        ("ntu25", "spine", "spine_mid"),
        ("smpl24", "spine", "spine2"),
        ("smpl24", "thorax", "neck"),
        ("halpe26", "head_top", "head"),
        ("halpe26", "root", "hip"),
        ("openpose25", "root", "mid_hip"),
        ("jhmdb15", "spine", "belly"),
        ("jhmdb15", "nose", "face"),
        ("penn13", "nose", "head"),
    ],
)
def test_a_word_means_what_its_whole_set_says(name, role, joint):
    assert source_names(get_layout(name), role) == [joint]


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("pattern", SPELLINGS)
def test_case_separators_and_the_place_of_the_side_do_not_matter(pattern, side):
    assert split_side(spell(pattern, side)) == (side[0], "shoulder")


def test_the_names_ntu_prints_resolve():
    names = ["base of the spine", "middle of the spine", "neck", "head", "left shoulder", "left elbow", "left wrist",
             "left hand", "right shoulder", "right elbow", "right wrist", "right hand", "left hip", "left knee",
             "left ankle", "left foot", "right hip", "right knee", "right ankle", "right foot", "spine",
             "tip of the left hand", "left thumb", "tip of the right hand", "right thumb"]  # fmt: skip
    assert custom_layout(names).sources == get_layout("ntu25").sources


def test_the_names_of_human36m_papers_resolve():
    names = ["Hip", "RHip", "RKnee", "RFoot", "LHip", "LKnee", "LFoot", "Spine", "Thorax", "Neck/Nose", "Head",
             "LShoulder", "LElbow", "LWrist", "RShoulder", "RElbow", "RWrist"]  # fmt: skip
    assert custom_layout(names).sources == get_layout("h36m17").sources


def test_a_bvh_skeleton_has_its_shoulders_at_the_arms():
    names = ["Hips", "Spine", "Neck", "Head", "LeftShoulder", "LeftArm", "LeftForeArm", "LeftHand", "RightShoulder",
             "RightArm", "RightForeArm", "RightHand", "LeftUpLeg", "LeftLeg", "LeftFoot", "LeftToeBase"]  # fmt: skip
    roles = dict(zip(names, resolve_roles(names), strict=True))
    assert roles["LeftShoulder"] == "lcollar"
    assert roles["LeftArm"] == "lshoulder"
    assert roles["LeftForeArm"] == "lelbow"
    assert roles["LeftLeg"] == "lknee"
    assert roles["LeftFoot"] == "lankle"


def test_a_custom_layout_of_coco_names_equals_the_built_in_one_in_any_order():
    assert custom_layout(COCO).sources == get_layout("coco17").sources
    backwards = custom_layout(COCO[::-1])
    for role in CANONICAL:
        assert set(source_names(backwards, role)) == set(source_names(get_layout("coco17"), role))


def test_unknown_joints_are_named_and_used_by_nothing():
    layout = custom_layout([*COCO, "tail", "left_wing", "left right knee"])
    assert layout.unknown == ("tail", "left_wing", "left right knee")
    assert not layout.matrix[:, 17:].any()


@pytest.mark.parametrize(
    ("joints", "rule", "index"),
    [
        (["nose"], "too_few_joints", None),
        ([f"j{i}" for i in range(257)], "too_many_joints", None),
        ("nose", "not_a_list", None),
        ({"nose": 1}, "not_a_list", None),
        (["nose", 3], "bad_joint_name", 1),
        (["nose", ""], "bad_joint_name", 1),
        (["nose", "x" * 65], "bad_joint_name", 1),
        (["nose", "a\ud800"], "bad_joint_name", 1),
        (["nose", "neck", "nose"], "duplicate_joint", 2),
        (["left_hip", "LHip"], "duplicate_joint", 1),
        (["tail", "wing"], "no_known_joint", None),
    ],
)
def test_an_unusable_custom_layout_says_why_and_where(joints, rule, index):
    with pytest.raises(BadLayout) as caught:
        custom_layout(joints)
    assert (caught.value.rule, caught.value.index) == (rule, index)


def test_an_unknown_name_suggests_the_close_ones():
    with pytest.raises(UnknownLayout, match="coco17"):
        get_layout("cocoo-17")
    with pytest.raises(UnknownLayout, match="known are"):
        get_layout("zzz")


@pytest.mark.parametrize("spec", [17, None, ["nose"], {"names": ["nose"]}])
def test_a_layout_is_a_name_or_an_object_with_joints(spec):
    with pytest.raises(BadLayout) as caught:
        resolve_layout(spec)
    assert caught.value.rule == "not_a_layout"


@pytest.mark.parametrize("name", layout_names())
def test_a_layout_survives_its_document(name):
    layout = get_layout(name)
    assert resolve_layout(layout.to_dict()) == layout
    assert custom_layout(list(layout.joints)).to_dict() == {"joints": list(layout.joints)}


def test_mirroring_twice_changes_nothing_and_swaps_names():
    assert [CANONICAL_MIRROR[i] for i in CANONICAL_MIRROR] == list(range(17))
    swap = {"l": "r", "r": "l"}
    for a, b in enumerate(CANONICAL_MIRROR):
        assert a == b or CANONICAL[b] == swap[CANONICAL[a][0]] + CANONICAL[a][1:]
    assert len(CANONICAL_EDGES) == 16


MIXAMO = ["Hips", "Spine", "Spine1", "Spine2", "Neck", "Head", "LeftShoulder", "LeftArm", "LeftForeArm", "LeftHand",
          "RightShoulder", "RightArm", "RightForeArm", "RightHand", "LeftUpLeg", "LeftLeg", "LeftFoot",
          "RightUpLeg", "RightLeg", "RightFoot"]  # fmt: skip
OPENCAP = ["r_shoulder_study", "L_shoulder_study", "C7_study", "r_lelbow_study", "r_melbow_study", "L_lelbow_study",
           "L_melbow_study", "r_lwrist_study", "L_lwrist_study", "r.ASIS_study", "L.ASIS_study", "r_knee_study",
           "r_mknee_study", "L_knee_study", "L_mknee_study", "r_ankle_study", "L_ankle_study"]  # fmt: skip


@pytest.mark.parametrize(
    "pattern",
    ["mixamorig:{}", "Character1_{}", "rig|{}", "subject01:{}", "body_{}", "{}_JNT", "{}.001", "Robot_{}_bone"],
)
def test_words_that_all_names_share_at_their_ends_do_not_matter(pattern):
    assert custom_layout([pattern.format(name) for name in MIXAMO]).sources == custom_layout(MIXAMO).sources


def test_a_prefix_may_be_lacking_on_the_root_alone():
    names = ["Bip01", "Bip01 Pelvis", "Bip01 Spine", "Bip01 Neck", "Bip01 Head", "Bip01 L Clavicle",
             "Bip01 L UpperArm", "Bip01 L Forearm", "Bip01 L Hand", "Bip01 R UpperArm", "Bip01 R Forearm",
             "Bip01 R Hand", "Bip01 L Thigh", "Bip01 L Calf", "Bip01 L Foot", "Bip01 L Toe0", "Bip01 R Thigh",
             "Bip01 R Calf", "Bip01 R Foot"]  # fmt: skip
    layout = custom_layout(names)
    assert layout.unknown == ("Bip01",)
    assert source_names(layout, "lshoulder") == ["Bip01 L UpperArm"]
    assert source_names(layout, "lknee") == ["Bip01 L Calf"]
    assert layout.available.sum() == 16  # all but the top of the head


@pytest.mark.parametrize(
    ("names", "role", "joint"),
    [
        ("Pelvis L5 L3 T12 T8 Neck Head RightShoulder RightUpperArm RightForeArm RightHand LeftUpperArm LeftForeArm"
         " LeftHand", "rshoulder", "RightUpperArm"),
        ("Pelvis L5 L3 T12 T8 Neck Head RightUpperArm RightForeArm RightHand", "spine", "T12"),
        ("Hips Spine Chest UpperChest Neck Head LeftShoulder LeftUpperArm LeftLowerArm LeftHand LeftUpperLeg",
         "lshoulder", "LeftUpperArm"),
        ("Hips Spine Chest UpperChest Head LeftUpperArm", "thorax", "UpperChest"),
        ("Hips LHipJoint LeftUpLeg LeftLeg LeftFoot Spine Neck", "lhip", "LeftUpLeg"),
        ("root lhipjoint lfemur ltibia lfoot lclavicle lhumerus lradius lhand", "lelbow", "lradius"),
        ("root left_upLeg_joint left_leg_joint left_foot_joint left_shoulder_1_joint left_forearm_joint left_hand_joint"
         " neck_1_joint head_joint", "lshoulder", "left_shoulder_1_joint"),
        ("root left_upLeg_joint left_shoulder_1_joint neck_1_joint head_joint", "thorax", "neck_1_joint"),
        ("hips_joint left_arm_joint left_shoulder_1_joint left_forearm_joint", "lshoulder", "left_arm_joint"),
        ("root right_hip spine thorax neck_base head left_shoulder", "nose", "neck_base"),
        ("root right_hip spine thorax neck_base head left_shoulder", "head_top", "head"),
        ("LASI RASI LKNE LANK LSHO LELB LWRA LWRB", "lwrist", "LWRA"),
        ("Hip Ab Chest Neck Head LShoulder LUArm LFArm LHand LThigh LShin LFoot", "lshoulder", "LUArm"),
        ("pelvis spine_01 spine_02 spine_03 neck_01 head clavicle_l upperarm_l lowerarm_l hand_l thigh_l calf_l foot_l",
         "spine", "spine_02"),
        ("J_Bip_C_Hips J_Bip_C_Spine J_Bip_L_UpperLeg J_Bip_L_LowerLeg J_Bip_L_Foot J_Bip_R_UpperLeg", "root",
         "J_Bip_C_Hips"),
    ],
)  # fmt: skip
def test_the_names_of_capture_systems_and_avatars_resolve(names, role, joint):
    assert source_names(custom_layout(names.split()), role) == [joint]


def test_of_the_markers_of_a_joint_the_lateral_one_is_the_joint_and_a_hip_centre_goes_before_the_pelvis():
    layout = custom_layout(OPENCAP)
    assert source_names(layout, "relbow") == ["r_lelbow_study"]
    assert source_names(layout, "lknee") == ["L_knee_study"]
    assert source_names(layout, "lhip") == ["L.ASIS_study"]
    assert {"r_melbow_study", "L_mknee_study"} <= set(layout.unknown)
    centred = custom_layout([*OPENCAP, "RHJC_study", "LHJC_study"])
    assert source_names(centred, "lhip") == ["LHJC_study"]


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("blazepose", "mediapipe33"), ("BlazePose", "mediapipe33"), ("movenet", "coco17"), ("vitpose", "coco17"),
        ("YOLOv8-pose", "coco17"), ("COCO17", "coco17"), ("coco_17", "coco17"), ("body_25", "openpose25"),
        ("BODY_25B", "body_25b"), ("body25", "openpose25"), ("k4abt", "azure_kinect32"), ("mpii", "mpii16"),
        ("posetrack18", "posetrack17"), ("COCO-WholeBody", "wholebody133"), ("kinect_v2", "ntu25"), ("h36m", "h36m17"),
    ],
)  # fmt: skip
def test_layouts_are_found_by_the_names_of_their_models(spelling, name):
    assert get_layout(spelling) == get_layout(name)
    assert get_layout(spelling).name == name


@pytest.mark.parametrize("name", ["openpose", "kinect", "rtmpose", ""])
def test_a_name_with_several_meanings_is_refused(name):
    with pytest.raises(UnknownLayout):
        get_layout(name)


def test_an_unknown_name_gets_the_layouts_of_as_many_joints_as_the_clip_has():
    message = unknown_layout_message("mocopi", 33)
    assert "the clip has 33 joints, as mediapipe33" in message
    assert '{"joints": [names]}' in message
    assert "the clip has 27 joints" in unknown_layout_message("mocopi", 27)


def test_the_first_joints_of_wholebody_are_those_of_coco():
    whole, body = get_layout("wholebody133"), get_layout("coco17")
    assert whole.joints[:17] == body.joints
    assert whole.sources == body.sources


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("utd_mhad", "utd20"), ("nw_ucla", "kinect20"), ("msr_action3d", "msr20"), ("penn_action", "penn13"),
        ("jhmdb14", "jhmdb15"), ("ui_prmd_kinect", "ui_prmd22"), ("posepilot_yoga", "mediapipe33"),
        ("irds_subset", "ntu25"),
    ],
)  # fmt: skip
def test_the_joint_order_of_each_dataset_is_the_built_in_one(folder, name, datasets):
    with np.load(datasets / folder / "data.npz") as data:
        names, edges = [str(n) for n in data["joint_names"]], data["edges"].tolist()
    layout = get_layout(name)
    assert [split_side(joint) for joint in names] == [split_side(joint) for joint in layout.joints]
    assert {frozenset(edge) for edge in edges} == {frozenset(edge) for edge in layout.edges}
    assert custom_layout(names).sources == layout.sources
