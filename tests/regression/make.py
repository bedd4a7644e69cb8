"""Makes the regression files anew: ``python -m tests.regression.make``, only when answers are meant to change.

Six small prompts on the shipped backbone, the clips they are asked about, and the logits that they give.
"""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from skeleton_prompt.clips.clip import parse_clip
from skeleton_prompt.clips.normalise import PreparedPerson, prepare
from skeleton_prompt.model.engine import Engine
from skeleton_prompt.model.features import Windows
from skeleton_prompt.model.prompt_file import CLASS_MODEL, Calibration, Prompt, load_prompt, save_prompt
from skeleton_prompt.model.temporal_net import joints_shown
from skeleton_prompt.synthetic import make_clip
from training.tuning.calibration import class_centres
from training.tuning.heads import Candidate, fit_head
from training.tuning.linear_head import round_fp16
from training.tuning.plda import prior_of
from training.tuning.prompt_module_tuner import ModuleConfig, fit_module, observe_all
from training.tuning.temporal_tuner import TemporalConfig, TemporalTuner
from training.tuning.tune import TrainingSet, TuneConfig, tune

FOLDER = Path(__file__).parent
BACKBONE = "edge"
ACTIONS = ("fall", "kick", "sit_down", "wave")
TAUGHT, ASKED = 4, 2
WITH_CLASS_MODEL = "class_model"
HEADS = {
    WITH_CLASS_MODEL: Candidate("plda", ("house",)),
    "lda": Candidate("lda", ("house",)),
    "plda": Candidate("plda", ("house",)),
    "ridge": Candidate("ridge", ("house", "descriptors"), 0.1),
    "full": Candidate("ridge", ("house",), 0.1),
    "temporal": Candidate("plda", ("house",)),
}


def person_of(document: dict[str, Any]) -> PreparedPerson:
    """The one person of a clip."""
    return prepare(parse_clip(document))[0][0]


def packed(document: dict[str, Any]) -> dict[str, Any]:
    """The clip with its keypoints as base64 float32, so that the file is small and exact."""
    values = document["keypoints"].astype("<f4")
    text = base64.b64encode(values.tobytes()).decode()
    return document | {"encoding": "f32", "shape": list(values.shape), "keypoints": text}


def asked_documents() -> list[dict[str, Any]]:
    """Clips that are asked about: 2-D and 3-D, whole and with joints missing."""
    rng = np.random.default_rng(11)
    documents = []
    for number in range(ASKED):
        for action in ACTIONS:
            layout = "h36m17" if number % 2 else "coco17"
            documents.append(packed(make_clip(action, rng, layout=layout)))
    return documents


def prompts(engine: Engine) -> dict[str, Prompt]:
    """The prompts, taught on clips of other people."""
    rng = np.random.default_rng(7)
    labels = [action for action in ACTIONS for _ in range(TAUGHT)]
    layouts = [("coco17", "h36m17")[i % 2] for i in range(len(labels))]
    people = [
        person_of(packed(make_clip(label, rng, layout=layout))) for label, layout in zip(labels, layouts, strict=True)
    ]
    features = engine.features(people)
    names = tuple(str(i) for i in range(len(labels)))
    shown = joints_shown(Windows.of(people)).numpy()
    lesson = TrainingSet(features, engine.blocks, tuple(labels), (None,) * len(labels), names, prior_of(engine), shown)
    outcome = tune(lesson, TuneConfig(kinds=("plda",)), lambda *_: None)
    observed = observe_all(engine, people)
    module = fit_module(engine, observed, lesson.truth, lesson.classes, ModuleConfig(epochs=2))
    tuner = TemporalTuner(engine, people, 0, lambda: None, TemporalConfig(steps=60))
    (temporal,) = tuner.fit([np.arange(len(people))], lesson.truth, lesson.classes, 1e3, lambda _: None)
    added = {"full": module, "temporal": temporal, WITH_CLASS_MODEL: temporal}
    # What prompts of earlier releases measure distances by, and their limits.
    centres, spread = class_centres(outcome.held_out[0])
    before = Calibration(outcome.calibration.temperature, 0.1, 2 * float(np.abs(centres).max()))
    result = {}
    for name, plain in HEADS.items():
        head = replace(plain, prior=lesson.prior) if plain.kind == "plda" else plain
        blocks = {block: lesson.block_features()[block] for block in head.blocks}
        tensors = fit_head(head, blocks, lesson.truth, lesson.classes).tensors()
        if name == WITH_CLASS_MODEL:
            tensors |= {key: value for key, value in outcome.tensors.items() if key.startswith(CLASS_MODEL)}
        else:
            tensors |= {"linear.centres": round_fp16(centres), "linear.spread": round_fp16(spread)}
        tensors |= {key: round_fp16(value) for key, value in added.get(name, {}).items()}
        result[name] = Prompt(
            tenant="regression",
            version=1,
            labels=lesson.names,
            background=False,
            kind=name if name in added else head.kind,
            backbone_sha256=engine.backbone_sha256,
            created="2026-11-23T00:00:00+00:00",
            calibration=outcome.calibration if name == WITH_CLASS_MODEL else before,
            tensors=tensors,
            blocks=head.blocks,
            module_weight=0.5 if name == "full" else 0.0,
            temporal_weight=0.5 if name in ("temporal", WITH_CLASS_MODEL) else 0.0,
        )
    return result


def main() -> None:
    """Write prompts, clips and logits."""
    engine = Engine.load(BACKBONE)
    documents = asked_documents()
    (FOLDER / "clips.json").write_text(json.dumps(documents))
    people = [person_of(document) for document in documents]
    answers: dict[str, Any] = {"backbone_sha256": engine.backbone_sha256}
    for name, prompt in prompts(engine).items():
        data = save_prompt(prompt)
        (FOLDER / f"{name}.safetensors").write_bytes(data)
        loaded = load_prompt(data)
        logits = [np.asarray(row) for row in engine.forward([(person, loaded) for person in people])]
        answers[name] = [[round(float(value), 6) for value in row] for row in logits]
    (FOLDER / "logits.json").write_text(json.dumps(answers, indent=1))


if __name__ == "__main__":
    main()
