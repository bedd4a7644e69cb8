"""Drawings of layouts."""

from xml.etree import ElementTree

import pytest

from skeleton_prompt.clips.layouts import custom_layout, get_layout, layout_names
from skeleton_prompt.layout_drawing import draw_layout


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


def test_joints_of_one_finger_and_points_of_the_face_do_not_hide_each_other():
    root = ElementTree.fromstring(draw_layout(get_layout("wholebody133")))  # noqa: S314
    circles = [
        (element.attrib["cx"], element.attrib["cy"]) for element in root.iter() if element.tag.endswith("circle")
    ]
    assert len(set(circles)) >= 120
    height = float(root.attrib["viewBox"].split()[3])
    assert height < 600
