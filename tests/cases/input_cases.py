"""Expectations of the cases that are posted clips: mended with a note, warned of, or refused with the way out."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.gateway.operations.upload_findings import UploadFindings
from skeleton_prompt.clips.clip import ClipTooLarge, parse_clip
from skeleton_prompt.clips.normalise import Quality, prepare
from tests.cases.expectations import Expectation, document, prepared, refused, same_pose


def codes(quality: Quality) -> set[str]:
    """The codes of all notes and warnings."""
    return {found.code for found in (*quality.notes, *quality.warnings)}


def mended(*expected: str) -> Expectation:
    """The pose is that of the reference, with these codes and no warning."""

    def check(case: Path) -> None:
        same_pose(case)
        _, _, quality = prepared(case / "input.json")
        assert set(expected) <= codes(quality), codes(quality)
        assert not quality.warnings

    return check


def read_with(*expected: str) -> Expectation:
    """There is no reference: the clip is read, with these codes."""

    def check(case: Path) -> None:
        _, _, quality = prepared(case / "input.json")
        assert set(expected) <= codes(quality), codes(quality)

    return check


def settled(code: str, **fields: object) -> Expectation:
    """The clip is warned of with the code, and the fields give the pose of the reference."""

    def check(case: Path) -> None:
        import numpy as np

        _, _, quality = prepared(case / "input.json")
        assert not code or [w.field for w in quality.warnings if w.code == code] == [next(iter(fields))]
        found, _ = prepare(parse_clip(document(case / "input.json") | fields))
        _, wanted, _ = prepared(case / "reference.json")
        np.testing.assert_allclose(found[0].pose, wanted[0].pose, atol=1e-3)

    return check


def dry_run(code: str) -> Expectation:
    """Teaching is warned of with the code."""

    def check(case: Path) -> None:
        found, labels = UploadFindings(), {}
        for index, body in enumerate(document(case / "input.json")["clips"]):
            clip = parse_clip(body, teaching=True)
            people, quality = prepare(clip)
            found.add(f"clips[{index}]", clip, people[0], quality.notes, quality.warnings)
            labels[clip.label or ""] = labels.get(clip.label or "", 0) + 1
        assert code in {row["code"] for row in found.warnings(labels)}

    return check


def too_large(case: Path) -> None:
    """The clip of 2,049 frames is over a limit, that of 2,000 is not."""
    body = document(case / "input.json")
    frame = body["keypoints"][0]
    prepare(parse_clip(body))
    prepare(parse_clip(body | {"keypoints": [frame] * 2000}))
    with pytest.raises(ClipTooLarge, match="max_frames"):
        parse_clip(body | {"keypoints": [frame] * 2049})


EXPECTED: dict[str, Expectation] = {
    "21": refused("nan", "a joint not seen is null"),
    "22": refused("'NaN' is not a number; a joint not seen is null"),
    "23": mended("confidence_clipped"),
    "24": mended("confidence_is_visibility_flag"),
    "25": read_with("confidence_is_tracking_state"),
    "26": refused("keypoints: a clip needs keypoints.*people.*convert"),
    "27": read_with("axes_rearranged"),
    "28": read_with("joints_were_objects"),
    "29": mended("empty_frames"),
    "30": read_with("people_padded"),
    "31": read_with("axes_rearranged"),
    "33": read_with("axes_rearranged"),
    "36": mended("fractions_scaled"),
    "37": read_with("fractions_without_image_size"),
    "39": mended(),
    "40": mended(),
    "42": settled("axes_exchanged", coords="yxc"),
    "43": mended("placeholders_unseen"),
    "45": mended("zeros_unseen"),
    "46": read_with("wrong_layout"),
    "47": read_with("wrong_layout"),
    "48": settled("lying", up_axis="z"),
    "49": read_with("mirrored"),
    "50": mended(),
    "51": refused('"coords": "xyz"'),
    "53": read_with("fps_assumed"),
    "54": mended(),
    "55": mended("people_reordered"),
    "57": read_with(),
    "58": settled("", mirrored=True),
    "59": read_with("mirrored"),
    "69": mended("low_confidence_unseen"),
    "70": dry_run("labels_alike"),
    "71": dry_run("same_clip_several_labels"),
    "72": refused("after the clip's end.*frame numbers"),
    "73": dry_run("mixed_dimensions"),
    "74": refused("float16"),
    "75": refused("label is 3, not text"),
    "76": too_large,
}
