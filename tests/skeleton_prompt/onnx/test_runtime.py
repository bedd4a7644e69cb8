"""Exported models against the engine, on every kind of clip that the preprocessing treats in its own way."""

import re
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from skeleton_prompt.clips.clip import Clip
from skeleton_prompt.clips.layouts import custom_layout, get_layout
from skeleton_prompt.clips.normalise import prepare
from skeleton_prompt.model.backbone import backbone_bytes, load_backbone
from skeleton_prompt.model.backbone_files import backbone_path
from skeleton_prompt.model.engine import Engine
from skeleton_prompt.model.prompt_file import BackboneMismatch, Prompt, digest, save_prompt
from skeleton_prompt.onnx.export import export_onnx, layout_of
from skeleton_prompt.onnx.graph import Normaliser
from skeleton_prompt.onnx.runtime import BadModel, ModelMetadata, OnnxModel
from tests.support.engine_rows import class_model_prompt, projected_engine, random_prompt, small_engine

pytestmark = pytest.mark.slow

COCO = get_layout("coco17")


def moving(seed: int, *, frames: int = 60, D: int = 2, layout=COCO, fps: float = 30.0, hidden: float = 0.1) -> Clip:
    """A body that wanders, with joints lost for single frames, for long and for good."""
    rng = np.random.default_rng(seed)
    J = len(layout.joints)
    body = rng.normal(size=(1, 1, J, D)) * 100 + 400
    positions = (body + np.cumsum(rng.normal(size=(1, frames, J, D)), 1) * 3).astype(np.float32)
    confidence = rng.uniform(0.2, 1, (1, frames, J)).astype(np.float32)
    confidence[rng.random(confidence.shape) < hidden] = 0
    confidence[:, frames // 4 : frames // 2, 3] = 0
    confidence[:, :, 9] = 0
    positions[confidence == 0] = np.nan
    return Clip(positions, confidence, layout, fps)


CLIPS = [
    {"frames": 60},
    {"frames": 64, "hidden": 0.0},
    {"frames": 900, "fps": 29.97},
    {"frames": 2000, "fps": 120.0},
    {"frames": 2},
    {"frames": 40, "fps": 3.0, "hidden": 0.6},
]


@dataclass(frozen=True)
class Exported:
    engine: Engine
    prompt: Prompt
    model: OnnxModel
    data: bytes


@pytest.fixture(scope="session")
def exported(tmp_path_factory) -> dict[int, Exported]:
    """A prompt with a module on the backbone that ships, for 2-D clips, and a linear one on a small one, for 3-D."""
    small = tmp_path_factory.mktemp("backbone") / "small.safetensors"
    small.write_bytes(backbone_bytes(small_engine().backbone))
    found = {}
    for D, path, coords in ((2, backbone_path("edge"), "xyc"), (3, small, "xyzc")):
        engine = Engine(load_backbone(path))
        prompt = random_prompt(
            engine, 6 - D, classes=4, blend=0.5 * (D == 2), background=D == 2, curve=D, likeness=30, temporal=0.3
        )
        data = export_onnx(save_prompt(prompt), path, COCO, coords)
        model = OnnxModel(data)
        found[D] = Exported(engine, prompt, model, data)
    return found


@pytest.mark.parametrize("D", [2, 3])
@pytest.mark.parametrize("form", CLIPS, ids=str)
def test_an_exported_model_answers_as_the_engine_does(exported, form, D) -> None:
    engine, prompt, model = exported[D].engine, exported[D].prompt, exported[D].model
    clip = moving(len(str(form)), D=D, **form)
    person = prepare(clip)[0][0]
    (logits,) = engine.forward([(person, prompt)])
    (answer,) = model.answers(clip)
    assert np.abs(answer.logits - logits).max() <= 1e-4
    assert (answer.visible, answer.frames) == (pytest.approx(person.visible, abs=1e-6), person.frames)
    wanted = engine.finish(person, prompt, logits, top_k=50)
    (told,) = model.predict(clip, top_k=50)
    assert (told.label, told.known, told.reason) == (wanted.label, wanted.known, wanted.reason)
    among = dict(wanted.predictions)
    for label, probability in zip(prompt.labels, answer.probabilities, strict=True):
        assert probability == pytest.approx(among[label], abs=1e-4)


@pytest.mark.parametrize("plda", [True, False], ids=["plda", "other head"])
def test_a_prompt_with_a_class_model_is_exported_with_its_limits(tmp_path, plda) -> None:
    path = tmp_path / "small.safetensors"
    path.write_bytes(backbone_bytes(projected_engine().backbone))
    engine = Engine(load_backbone(path))
    prompt = class_model_prompt(engine, 3, classes=4, temporal=0.3, plda=plda)
    model = OnnxModel(export_onnx(save_prompt(prompt), path, COCO))
    assert model.card.familiarity == prompt.calibration.familiarity
    known = set()
    for seed in range(8):
        clip = moving(seed, hidden=0.0)
        clip.confidence[:, :, : 2 * seed] = 0
        clip.positions[:, :, : 2 * seed] = np.nan
        person = prepare(clip)[0][0]
        (logits,) = engine.forward([(person, prompt)])
        (given,) = model.answers(clip)
        assert np.abs(given.logits - logits).max() <= 1e-3 * max(1, np.abs(logits).max())
        (told,), wanted = model.predict(clip), engine.finish(person, prompt, logits)
        assert (told.label, told.known, told.reason) == (wanted.label, wanted.known, wanted.reason)
        # The rule that the documentation gives for other languages says the same.
        assert (given.distance <= model.card.distance) == (wanted.familiarity >= wanted.limits["familiarity"])
        known.add(wanted.known)
    assert known


@pytest.mark.data
@pytest.mark.parametrize(("name", "D"), [("penn_action", 2), ("nw_ucla", 3)])
def test_real_clips_are_normalised_in_tensors_as_they_are_in_numpy(name, D) -> None:
    from training.datasets import read_set

    labelled = read_set(name)
    for index in range(0, len(labelled), len(labelled) // 20):
        same_windows(labelled.clip(index))


@pytest.mark.parametrize("layout", ["openpose25", "kinect20", "jhmdb15", "smpl24"])
def test_every_layout_is_normalised_in_tensors_as_it_is_in_numpy(layout) -> None:
    for D in (2, 3):
        same_windows(moving(1, D=D, layout=get_layout(layout), frames=75))
    centred = moving(2, D=3, layout=get_layout(layout))
    centred.positions[:, :, :2] = 0  # exactly zero is not seen; where it is the root, the hips stand in for it
    centred.confidence[:, :, :2] = 0
    same_windows(centred)


def same_windows(clip: Clip) -> None:
    D = clip.positions.shape[-1]
    person = prepare(clip)[0][0]
    given = np.concatenate((clip.positions, clip.confidence[..., None]), -1)[0]
    with torch.inference_mode():
        pose, depth, seconds, visible, frames = Normaliser(clip.layout, D)(
            torch.from_numpy(given), torch.tensor(clip.fps, dtype=torch.float64)
        )
    assert np.abs(pose[..., :2].numpy() - person.pose[..., :2]).max() <= 1e-4
    assert (pose[..., 2].numpy() == (person.pose[..., 2] > 0)).all()
    assert np.abs(depth.numpy() - person.depth).max() <= 1e-4
    assert np.abs(seconds.numpy() - person.log_seconds).max() <= 1e-6
    assert float(visible) == pytest.approx(person.visible, abs=1e-6)
    assert int(frames) == person.frames


def test_the_card_says_what_was_exported(exported) -> None:
    card, prompt = exported[2].model.card, exported[2].prompt
    assert (card.labels, card.background, card.kind) == (prompt.labels, True, "full")
    assert (card.temperature, card.threshold, card.distance) == (1.3, 0.2, 4.0)
    assert (card.layout, card.joints, card.coords) == ("coco17", COCO.joints, "xyc")
    assert card.prompt_sha256 == digest(save_prompt(prompt))
    assert card.backbone_sha256 == exported[2].engine.backbone_sha256
    assert ModelMetadata.read(card.properties()) == card


def test_several_people_have_an_answer_each(exported) -> None:
    one, other = moving(1), moving(2)
    both = Clip(
        np.concatenate((one.positions, other.positions)), np.concatenate((one.confidence, other.confidence)), COCO
    )
    alone = [exported[2].model.answers(clip)[0].logits for clip in (one, other)]
    assert np.array_equal([answer.logits for answer in exported[2].model.answers(both)], alone)


def test_what_a_model_does_not_take_is_said(exported) -> None:
    with pytest.raises(BadModel, match="layout jhmdb15; this model takes coco17"):
        exported[2].model.answers(moving(0, layout=get_layout("jhmdb15")))
    with pytest.raises(BadModel, match=r"shape \(5, 17, 4\) .* \(frames, 17, 3\)"):
        exported[2].model.run(np.ones((5, 17, 4)), 30)
    with pytest.raises(BadModel, match="ONNX Runtime"):
        OnnxModel(b"not a model")
    with pytest.raises(BadModel, match="format 'other/1'"):
        ModelMetadata.read({"format": "other/1"})


def test_a_prompt_of_another_backbone_is_not_exported(exported) -> None:
    foreign = save_prompt(replace(exported[2].prompt, backbone_sha256="f" * 64))
    with pytest.raises(BackboneMismatch, match="ffffffffffff"):
        export_onnx(foreign, backbone_path("edge"), COCO)


def test_a_layout_is_given_by_name_or_by_its_joints() -> None:
    assert layout_of("coco17") is COCO
    assert layout_of("nose,left_hip,right_hip") == custom_layout(["nose", "left_hip", "right_hip"])


def test_running_a_model_imports_no_torch() -> None:
    code = "import sys, skeleton_prompt.onnx.runtime; sys.exit('torch' in sys.modules or 'safetensors' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_example_of_the_documentation_runs_without_this_package(exported, tmp_path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "export.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert "skeleton_prompt" not in code
    clip = moving(5)
    (tmp_path / "acme.onnx").write_bytes(exported[2].data)
    np.save(tmp_path / "clip.npy", np.concatenate((clip.positions, clip.confidence[..., None]), -1)[0])
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    (wanted,) = exported[2].model.predict(clip)
    assert ran.stdout.split(" ")[: len(str(wanted.label).split(" "))] == str(wanted.label).split(" ")
    assert float(ran.stdout.split()[-1]) == pytest.approx(wanted.confidence, abs=1e-4)
