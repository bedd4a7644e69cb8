"""The methods behind one interface: ours as a tuning job teaches it, and its peers.

Letters: n clips, N classes of the set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, Protocol

import numpy as np
import torch

from skeleton_prompt.clips.normalise import PreparedPerson
from skeleton_prompt.model.class_model import missing_joints, usual_joints
from skeleton_prompt.model.decision import softmax
from skeleton_prompt.model.features import Windows
from skeleton_prompt.model.multi_tenant import blend_temporal
from skeleton_prompt.model.prompt_file import Prompt, save_prompt
from skeleton_prompt.model.temporal_net import joints_shown
from training.baselines import baseline
from training.datasets import LabelledSet
from training.evaluation.ablation import CONTROLS, WITHOUT_TEMPORAL, ModuleAlone, blocks_without
from training.evaluation.config import OURS
from training.evaluation.data import EvaluationData
from training.evaluation.experiments import EpisodeKey
from training.evaluation.scores import Answers
from training.module_tuner import PromptModuleTuner
from training.tuning.calibration import confidences, judge_known, probabilities
from training.tuning.ensembling import MemberTuners
from training.tuning.linear_head import linear_logits
from training.tuning.plda import Prior, prior_of
from training.tuning.temporal_tuner import TemporalTuner, predict
from training.tuning.tune import TrainingSet, TuneConfig, TuningResult, tune

RANDOM = "linear probe on random frozen weights"
BATCH = 16
PATIENCE_S = 3600.0


class Taught(Protocol):
    """A method that has been taught."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """What is worth knowing beside its answers, such as its size."""

    def answers(self, view: str, clips: np.ndarray) -> Answers:
        """What it says about clips, all of which show something."""


def teach(material: EvaluationData, key: EpisodeKey, drawn: np.ndarray) -> Taught:
    """Teach a method the drawn clips."""
    if key.part in CONTROLS:
        return BaselineMethod(material, key, drawn)
    return (OurMethod if key.method == OURS else BaselineMethod)(material, key, drawn)


def lesson_of(
    labelled: LabelledSet,
    features: np.ndarray,
    blocks: Mapping[str, slice],
    drawn: np.ndarray,
    prior: Prior | None = None,
) -> TrainingSet:
    """What a tenant who sent the drawn clips teaches; ``features`` are those of the drawn clips."""
    return TrainingSet(
        prior=prior,
        features=features,
        blocks=blocks,
        labels=tuple(labelled.label_names[label] for label in labelled.labels[drawn]),
        groups=tuple(labelled.groups[i] if labelled.groups else None for i in drawn),
        ids=tuple(labelled.names[i] for i in drawn),
    )


def prompt_of(lesson: TrainingSet, outcome: TuningResult, backbone_sha256: str) -> Prompt:
    """The prompt that a tuning job would publish."""
    return Prompt(
        tenant="evaluation",
        version=1,
        labels=lesson.names,
        background=lesson.background,
        kind=outcome.kind,
        backbone_sha256=backbone_sha256,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        calibration=outcome.calibration,
        tensors=outcome.tensors,
        blocks=outcome.choice.chosen.blocks,
        module_weight=outcome.blend,
        temporal_weight=outcome.temporal_blend,
        temporal_weight_missing_joints=outcome.temporal.lacking if outcome.temporal else 0.0,
    )


class OurMethod:
    """Ours, taught exactly as a tuning job teaches."""

    def __init__(self, material: EvaluationData, key: EpisodeKey, drawn: np.ndarray) -> None:
        self._material, self._key = material, key
        self._labelled = material.labelled(key.set, key.split)
        engine = material.engine
        features = material.features(key.set, key.split, key.taught)
        people = material.people(key.set, key.split, key.taught)
        blocks = blocks_without(engine.blocks, key.part)
        self._lesson = lesson_of(self._labelled, features.of(drawn), blocks, drawn, prior_of(engine))
        drawn_people = [people[int(i)] for i in drawn]
        tuners = MemberTuners(
            None if key.part == WITHOUT_TEMPORAL else TemporalTuner(engine, drawn_people, key.seed, lambda: None),
            None if key.part else PromptModuleTuner(engine, drawn_people, key.seed, lambda: None),
        )
        # Not cut short on a busy machine: figures must not hang on what else it does.
        config = TuneConfig(seed=key.seed, temporal_seconds=PATIENCE_S)
        self._outcome = tune(self._lesson, config, lambda *_: None, tuners)
        self.prompt = prompt_of(self._lesson, self._outcome, engine.backbone_sha256)

    @property
    def facts(self) -> Mapping[str, Any]:
        """See ``LabelSpace``."""
        outcome = self._outcome
        return {
            "parameters": self.prompt.parameters,
            "bytes": len(save_prompt(self.prompt)),
            "kind": outcome.kind,
            "chosen": outcome.choice.chosen.name,
            "strength": outcome.choice.chosen.strength or None,
            "blend": outcome.blend,
            "temporal": outcome.temporal_blend,
            "lacking": self.prompt.temporal_weight_missing_joints,
            "temporal_note": outcome.temporal_note,
            "module": outcome.module_note,
            "expected": outcome.judged.accuracy if outcome.judged else None,
        }

    def answers(self, view: str, clips: np.ndarray) -> Answers:
        """See ``LabelSpace``."""
        features = self._material.features(self._key.set, self._key.split, view)
        logits = self._logits(view, clips, features.of(clips))
        calibration, lesson = self._outcome.calibration, self._lesson
        everything = probabilities(logits, calibration.temperature)
        best, confidence = confidences(everything, len(lesson.names))
        judged = judge_known(calibration, self._outcome.tensors, logits, len(lesson.names))
        known = features.enough[features.places(clips)] & judged.known
        # A prompt without a class model measures nothing where nothing was held out: confidence stands in.
        measured = bool(calibration.familiarity) or np.isfinite(calibration.distance)
        familiar = judged.familiarity if measured else confidence
        place = np.array([self._labelled.label_names.index(name) for name in lesson.names])
        probability = np.zeros((len(clips), len(self._labelled.label_names)))
        among = everything[:, : len(lesson.names)]
        probability[:, place] = among / np.maximum(among.sum(1, keepdims=True), 1e-12)
        return Answers(place[best], probability, familiar, known, {"confidence": confidence})

    def _logits(self, view: str, clips: np.ndarray, features: np.ndarray) -> np.ndarray:
        """The linear part from the features that are there, and the temporal one; a module needs the engine itself."""
        engine, prompt = self._material.engine, self.prompt
        people = self._material.people(self._key.set, self._key.split, view)
        if not prompt.has_module:
            columns = np.concatenate([features[:, engine.blocks[name]] for name in prompt.blocks], 1)
            shown = joints_shown(Windows.of([people[int(i)] for i in clips]))
            usual = usual_joints(prompt)
            missing = None if usual is None else missing_joints(usual, shown.numpy())
            projected = features[:, engine.blocks["house"]] if prompt.has_class_model else None
            linear = linear_logits(prompt.tensors, columns, projected, missing)
            if not prompt.has_temporal:
                return linear
            frontal = self._material.frontal(self._key.set, self._key.split, view)
            temporal = torch.from_numpy(predict(prompt.tensors, [frontal[int(i)] for i in clips]))
            return blend_temporal(prompt, torch.from_numpy(linear), temporal, shown).numpy()
        results = []
        for start in range(0, len(clips), BATCH):
            for logits in engine.forward([(people[int(i)], prompt) for i in clips[start : start + BATCH]]):
                if isinstance(logits, Exception):
                    raise logits
                results.append(logits)
        return np.stack(results)


class Peer(Protocol):
    """What has been taught and gives logits."""

    @property
    def parameters(self) -> int:
        """How many numbers training set."""

    def logits(self, people: Sequence[PreparedPerson]) -> np.ndarray:
        """``(n, N)``."""


class BaselineMethod:
    """A baseline, or our module by itself; its probabilities are the softmax of its logits as they are."""

    def __init__(self, material: EvaluationData, key: EpisodeKey, drawn: np.ndarray) -> None:
        self._material, self._key = material, key
        labelled = material.labelled(key.set, key.split)
        people = self._people(key.taught)
        taught, truth, classes = [people[int(i)] for i in drawn], labelled.labels[drawn], len(labelled.label_names)
        self._fitted: Peer
        if key.part:
            self._fitted = ModuleAlone(material.engine, taught, truth, classes, key.part, key.seed)
        else:
            peer = baseline(key.method, material.engine)
            self._fitted = peer.fit(taught, truth, classes, seed=key.seed, drop_joints=key.dropped)
        self._taught = np.unique(labelled.labels[drawn])

    def _people(self, view: str) -> Mapping[int, Any]:
        key = self._key
        return self._material.remembered_people(key.set, key.split, view, unlearnt=key.method == RANDOM)

    @property
    def facts(self) -> Mapping[str, Any]:
        """See ``LabelSpace``."""
        return {"parameters": self._fitted.parameters}

    def answers(self, view: str, clips: np.ndarray) -> Answers:
        """See ``LabelSpace``."""
        people = self._people(view)
        logits = self._fitted.logits([people[int(i)] for i in clips]).astype(np.float64)
        taught = softmax(logits[:, self._taught])
        probability = np.zeros_like(logits)
        probability[:, self._taught] = taught
        return Answers(probability.argmax(1), probability, taught.max(1), None, {})
