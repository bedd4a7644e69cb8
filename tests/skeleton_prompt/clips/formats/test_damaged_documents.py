"""Documents with parts removed or replaced: read, or refused with a message, and never anything else."""

from __future__ import annotations

import copy
import random
from typing import Any

import numpy as np
import pytest

from skeleton_prompt.clips.clip import InvalidClip, parse_clip
from skeleton_prompt.clips.formats import FormatError, ReadOptions, recognise_document
from skeleton_prompt.clips.formats.registry import FORMATS, as_clips, read_document
from tests.skeleton_prompt.clips.formats.pose_files import (
    flat,
    image,
    joints,
    landmark,
    mmpose_instance,
    openpose_frame,
    person,
    ultralytics_detection,
)

ROUNDS = 150
REPLACEMENTS: list[Any] = [
    None, [], {}, "", "x", 0, -1, 1, 1e300, float("nan"), float("inf"), True, [None], [[]], [1, "2"], {"x": 1}, 10**30,
]  # fmt: skip
COCO17 = image("coco17", 3)
WORLD = np.concatenate([person("mediapipe33", 3), np.ones((3, 33, 1))], -1)
DOCUMENTS: dict[str, Any] = {
    "openpose": [openpose_frame(*image("openpose25", 2)) for _ in range(3)],
    "alphapose": [{"image_id": f"{i}.jpg", "keypoints": flat(v), "score": 1, "idx": 1} for i, v in enumerate(COCO17)],
    "coco": {
        "images": [{"id": i, "file_name": f"{i}.png", "width": 9, "height": 9} for i in range(3)],
        "annotations": [{"image_id": i, "category_id": 1, "keypoints": flat(v)} for i, v in enumerate(COCO17)],
        "categories": [{"id": 1, "keypoints": joints("coco17")}],
    },
    "mmpose": {
        "meta_info": {"keypoint_id2name": {str(i): name for i, name in enumerate(joints("coco17"))}},
        "instance_info": [{"frame_id": i, "instances": [mmpose_instance(v)]} for i, v in enumerate(COCO17)],
    },
    "ultralytics": [[ultralytics_detection(v)] for v in COCO17],
    "openpifpaf": [{"frame": i, "predictions": [{"keypoints": flat(v), "score": 1}]} for i, v in enumerate(COCO17)],
    "landmarks": [{"timestamp_ms": i, "worldLandmarks": [[landmark(r) for r in v]]} for i, v in enumerate(WORLD)],
    "kinetics": {
        "data": [{"frame_index": i, "skeleton": [{"pose": flat(v[:, :2]), "score": flat(v[:, 2])}]}
                 for i, v in enumerate(image("openpose18", 3))],
        "label": "squat",
    },
    "tracked-person": {"1": {str(i): {"keypoints": flat(v), "scores": None} for i, v in enumerate(COCO17)}},
    "azure-kinect": {
        "joint_names": joints("azure_kinect32"),
        "frames": [{"frame_id": i, "timestamp_usec": i, "num_bodies": 1, "bodies": [
            {"body_id": 1, "joint_positions": v.tolist(), "confidence_level": [2] * 32}]}
            for i, v in enumerate(person("azure_kinect32", 3))],
    },
}  # fmt: skip


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in children:
        found += places(child, (*path, key))
    return found


def damaged(document: Any, rng: random.Random) -> Any:
    result = copy.deepcopy(document)
    for _ in range(rng.choice((1, 1, 2, 4))):
        where = places(result)
        if not where:
            return result
        *parents, key = rng.choice(sorted(where, key=len)[: rng.choice((8, 40, len(where)))])
        node = result
        for parent in parents:
            node = node[parent]
        match rng.randrange(3):
            case 0:
                del node[key]
            case 1:
                node[key] = copy.deepcopy(rng.choice(REPLACEMENTS))
            case _ if isinstance(node, list):
                node.append(copy.deepcopy(node[key]))
            case _:
                node[rng.choice(("frames", "people", "keypoints", "data", "extra"))] = copy.deepcopy(node[key])
    return result


@pytest.mark.parametrize("name", DOCUMENTS)
@pytest.mark.parametrize("options", [ReadOptions(), ReadOptions(layout="coco17", per_person=True, coords="xyz")])
def test_a_damaged_document_is_read_or_refused(name, options):
    (form,) = [form for form in FORMATS if form.name == name]
    assert form.detect_json is not None
    assert form.detect_json(DOCUMENTS[name]) > 0
    rng = random.Random(name)
    for _ in range(ROUNDS):
        document = damaged(DOCUMENTS[name], rng)
        recognise_document(document)
        if not form.detect_json(document):
            continue
        try:
            for clip in as_clips(form, read_document(form, document, options, "document"), options, "document", "stem"):
                parse_clip(clip.document)
        except (FormatError, InvalidClip) as error:
            assert str(error)  # noqa: PT017 (whatever is raised has a message)


@pytest.mark.parametrize("value", [*REPLACEMENTS, [REPLACEMENTS], {"a": REPLACEMENTS}, [[[[[]]]]], [{}] * 3, [[{}]]])
def test_any_json_value_can_be_looked_at(value):
    assert recognise_document(value) is None


@pytest.mark.parametrize("form", [form for form in FORMATS if form.detect_json], ids=lambda form: form.name)
def test_each_tool_recognises_its_own_document_and_is_the_surest(form):
    found = recognise_document(DOCUMENTS[form.name])
    assert found is not None
    assert found.format == form.title
