"""Layouts: every built-in and custom set of joints reaches the right canonical joints."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest

from skeleton_prompt.aliases import resolve_roles, split_side
from skeleton_prompt.layouts import (
    CANONICAL,
    CANONICAL_EDGES,
    CANONICAL_MIRROR,
    BadLayout,
    Layout,
    UnknownLayout,
    custom_layout,
    draw_layout,
    get_layout,
    layout_names,
    resolve_layout,
)

COUNTS = {
    "coco17": 17, "openpose18": 18, "openpose25": 25, "mediapipe33": 33, "halpe26": 26, "h36m17": 17, "ntu25": 25,
    "kinect20": 20, "msr20": 20, "utd20": 20, "penn13": 13, "jhmdb15": 15, "florence15": 15, "smpl24": 24,
    "ui_prmd22": 22,
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
        get_layout("COCO-17")
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
    assert resolve_layout(layout.document()) == layout
    assert custom_layout(list(layout.joints)).document() == {"joints": list(layout.joints)}


def test_mirroring_twice_changes_nothing_and_swaps_names():
    assert [CANONICAL_MIRROR[i] for i in CANONICAL_MIRROR] == list(range(17))
    swap = {"l": "r", "r": "l"}
    for a, b in enumerate(CANONICAL_MIRROR):
        assert a == b or CANONICAL[b] == swap[CANONICAL[a][0]] + CANONICAL[a][1:]
    assert len(CANONICAL_EDGES) == 16


@pytest.mark.parametrize("name", layout_names())
def test_the_drawing_is_well_formed_and_shows_each_joint_and_edge(name):
    layout = get_layout(name)
    root = ElementTree.fromstring(draw_layout(layout))  # noqa: S314
    tags = [element.tag.rpartition("}")[2] for element in root.iter()]
    assert tags.count("circle") == len(layout.joints)
    assert tags.count("line") == len(layout.edges)


def test_the_drawing_escapes_names_and_puts_the_persons_right_on_the_readers_left():
    svg = draw_layout(custom_layout(["left_knee", "right_knee", "<script>"]))
    root = ElementTree.fromstring(svg)  # noqa: S314
    circles = [element for element in root.iter() if element.tag.endswith("circle")]
    assert "<script>" not in svg
    assert float(circles[1].attrib["cx"]) < float(circles[0].attrib["cx"])


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
