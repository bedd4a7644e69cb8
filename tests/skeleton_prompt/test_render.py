"""Drawings of clips: well-formed, self-contained and bounded."""

from __future__ import annotations

import io
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from skeleton_prompt.clips.clip import Clip, parse_clip
from skeleton_prompt.render import HEIGHT, STRIP_FRAMES, SVG_FRAMES, WIDTH, draw_clip, lay_out, render_clip
from tests.support.sample_people import coco, document, standing


def waving(frames: int = 30, **fields: object) -> Clip:
    return replace(parse_clip(document(frames)), **fields)  # type: ignore[arg-type]


def test_the_svg_is_self_contained_and_escapes_the_label():
    svg = draw_clip(waving(label='<script>alert("1")</script> & more'))
    root = ElementTree.fromstring(svg)  # noqa: S314
    tags = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert tags == {"svg", "title", "rect", "text", "g", "path", "animate"}
    assert not any("href" in name for element in root.iter() for name in element.attrib)
    assert "<script>" not in svg


def test_every_frame_of_the_svg_is_one_value_of_the_animation():
    for frames, drawn in ((30, 30), (500, SVG_FRAMES)):
        root = ElementTree.fromstring(draw_clip(waving(frames)))  # noqa: S314
        moving = [e for e in root.iter() if e.tag.endswith("animate") and e.attrib["attributeName"] == "d"]
        assert moving
        assert {len(e.attrib["values"].split(";")) for e in moving} == {drawn}
        assert {e.attrib["dur"] for e in moving} == {f"{frames / 30:.3f}s"}


def test_the_person_stands_inside_the_picture_with_the_own_right_at_the_left():
    drawing = lay_out(waving(), 10)
    assert drawing.points.shape == (1, 10, 17, 2)
    assert drawing.points.min() > 0
    assert (drawing.points.max((0, 1, 2)) < (WIDTH, HEIGHT)).all()
    nose, right_ankle, left_ankle = drawing.points[0, 0, [0, 16, 15]]
    assert nose[1] < right_ankle[1]
    assert right_ankle[0] < left_ankle[0]


def test_a_3d_clip_is_drawn_from_the_front_whichever_way_the_person_stood():
    fields = {"layout": "h36m17", "coords": "xyz"}
    front = lay_out(parse_clip({**fields, "keypoints": standing(8).tolist()}), 8)
    turned = lay_out(parse_clip({**fields, "keypoints": standing(8, turned=2.0).tolist()}), 8)
    np.testing.assert_allclose(front.points, turned.points, atol=0.5)


def test_unseen_joints_are_not_drawn_and_an_empty_clip_is_an_empty_picture():
    values = coco(10)
    values[:, 5:] = 0
    assert np.isnan(lay_out(parse_clip(document(10, keypoints=values.tolist())), 10).points[:, :, 5:]).all()
    empty = draw_clip(parse_clip(document(4, keypoints=[None] * 4)))
    assert "<path" not in empty
    assert "nan" not in draw_clip(parse_clip(document(10, keypoints=values.tolist())))


def test_a_gif_moves_and_a_png_is_a_strip(tmp_path):
    clip = waving(20, label="winken 挥手 \n")
    for suffix in ("gif", "png", "svg"):
        render_clip(clip, tmp_path / f"clip.{suffix}")
    with Image.open(tmp_path / "clip.gif") as gif:
        assert gif.size == (WIDTH, HEIGHT)
        assert gif.n_frames > 5
    with Image.open(io.BytesIO((tmp_path / "clip.png").read_bytes())) as png:
        assert png.size == (WIDTH * STRIP_FRAMES, HEIGHT)
        assert {(209, 73, 91), (46, 111, 187)} <= set(map(tuple, np.array(png.convert("RGB")).reshape(-1, 3).tolist()))
    assert (tmp_path / "clip.svg").read_text("utf-8").startswith("<svg")


def test_several_people_are_drawn_and_another_suffix_is_refused(tmp_path):
    two = np.stack([coco(6), np.add(coco(6), (300, 0, 0))], 1)
    clip = parse_clip(document(6, keypoints=two.tolist()))
    assert draw_clip(clip).count("<g ") == 2
    with pytest.raises(ValueError, match="bmp"):
        render_clip(clip, tmp_path / "clip.bmp")
