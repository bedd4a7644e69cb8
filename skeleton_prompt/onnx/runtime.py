"""A model that ``onnx_export`` wrote, run by ONNX Runtime: no torch, no service.

The graph does the preprocessing, so running it needs four lines (docs/export.md); this class adds the reading of clips
in every form of the API, several people, and the decision whether an answer may be relied on.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from skeleton_prompt.clips.clip import Clip, parse_clip
from skeleton_prompt.clips.units import to_square_pixels
from skeleton_prompt.model.decision import DecisionOptions, Prediction, classify

Pairs = tuple[tuple[float, float], ...]
FORMAT = "skeleton-prompt-onnx/1"
INPUTS = ("keypoints", "fps")
OUTPUTS = ("logits", "probabilities", "distance", "visible", "frames")
DIMENSIONS = {"xyc": 2, "xyzc": 3}


class BadModel(ValueError):
    """Not a file of ours, or input that it does not take; the message names what is wrong."""


@dataclasses.dataclass(frozen=True)
class ModelMetadata:
    """The metadata of an exported model; each field is one string property of the file, lists and numbers as JSON.

    Attributes:
        format: ``skeleton-prompt-onnx/1``.
        version_of_package: That exported it.
        tenant: Whose prompt it is.
        version: Its number.
        labels: In the order of ``probabilities``.
        background: Whether a last logit, beyond the labels, stands for "none of them".
        kind: Of prompt.
        created: When the prompt was, ISO 8601.
        temperature: Divides the logits; already done in ``probabilities``.
        threshold: The least probability that counts as known.
        distance: The greatest ``distance`` that counts as known; null for no limit.
        familiarity: See ``prompt_file.Calibration``, also for ``refusal`` and ``coverage``. Files of earlier releases
            have none of the three.
        refusal: Share of right answers that may be refused.
        coverage: Least probabilities of labels in prediction sets.
        layout: Of the keypoints.
        joints: Its joints, in the order of the keypoints.
        coords: ``xyc`` (y down) or ``xyzc`` (y up, metres).
        prompt_sha256: Of the prompt's file.
        backbone_sha256: Of the backbone's file.
    """

    format: str
    version_of_package: str
    tenant: str
    version: int
    labels: tuple[str, ...]
    background: bool
    kind: str
    created: str
    temperature: float
    threshold: float
    distance: float
    layout: str
    joints: tuple[str, ...]
    coords: str
    prompt_sha256: str
    backbone_sha256: str
    familiarity: Pairs = ()
    refusal: float = 0.0
    coverage: Pairs = ()

    def properties(self) -> dict[str, str]:
        """As they stand in the file."""
        values = dataclasses.asdict(self)
        values["distance"] = self.distance if math.isfinite(self.distance) else None
        return {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}

    @classmethod
    def read(cls, properties: Mapping[str, str]) -> ModelMetadata:
        """The inverse of ``properties``.

        Raises:
            BadModel: If one is missing or of another format.
        """
        if properties.get("format") != FORMAT:
            raise BadModel(f"model format {properties.get('format')!r}; this release reads {FORMAT!r}")
        values: dict[str, Any] = {}
        try:
            for field in dataclasses.fields(cls):
                if field.name not in properties and field.default is not dataclasses.MISSING:
                    continue
                text = properties[field.name]
                values[field.name] = text if field.type == "str" else json.loads(text)
        except (KeyError, ValueError) as error:
            raise BadModel(f"the model's metadata is incomplete: {error}") from error
        values["labels"], values["joints"] = tuple(values["labels"]), tuple(values["joints"])
        for name in ("familiarity", "coverage"):
            values[name] = tuple((share, limit) for share, limit in values.get(name, ()))
        values["distance"] = math.inf if values["distance"] is None else values["distance"]
        return cls(**values)


@dataclasses.dataclass(frozen=True)
class OnnxResult:
    """What the graph says about one person.

    Attributes:
        logits: ``(N,)``.
        probabilities: Of the labels, calibrated.
        distance: To the nearest class, in units of its spread; with a class model the familiarity, its sign changed.
        visible: Share of the joints that the layout can have that were seen.
        frames: That show the person.
    """

    logits: np.ndarray[Any, np.dtype[np.float32]]
    probabilities: np.ndarray[Any, np.dtype[np.float32]]
    distance: float
    visible: float
    frames: int


class OnnxModel:
    """An exported model in ONNX Runtime.

    Args:
        source: Path or bytes of the file.
        threads: Of one run.

    Raises:
        BadModel: If it is no exported model of this release's format.
        ImportError: Without onnxruntime.
    """

    def __init__(self, source: str | Path | bytes, *, threads: int = 1) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        model = source if isinstance(source, bytes) else str(source)
        try:
            self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has an exception for each cause, none of them documented
            raise BadModel(f"not a model that ONNX Runtime can load: {error}") from error
        self.card = ModelMetadata.read(self.session.get_modelmeta().custom_metadata_map)

    def run(self, keypoints: np.ndarray[Any, Any], fps: float) -> OnnxResult:
        """The graph on one person.

        Args:
            keypoints: ``(frames, joints, 3 or 4)``: coordinates and confidence as the card's ``coords`` has them.
            fps: Frames per second.

        Raises:
            BadModel: If the shape does not fit the card.
        """
        channels = DIMENSIONS[self.card.coords] + 1
        wanted = (len(self.card.joints), channels)
        if keypoints.ndim != 3 or keypoints.shape[1:] != wanted or len(keypoints) < 2 or not fps > 0:
            raise BadModel(
                f"keypoints have shape {keypoints.shape} at {fps} fps; the model takes (frames, {wanted[0]}, "
                f"{channels}) of layout {self.card.layout}, 2 frames or more, at more than 0 fps"
            )
        given = {"keypoints": keypoints.astype(np.float32), "fps": np.array(fps, np.float64)}
        logits, probabilities, distance, visible, frames = self.session.run(list(OUTPUTS), given)
        return OnnxResult(logits, probabilities, float(distance), float(visible), int(frames))

    def answers(self, clip: Clip) -> list[OnnxResult]:
        """One answer per person of a parsed clip.

        Raises:
            BadModel: If the clip has another layout or other coordinates than the model takes.
        """
        if clip.layout.joints != self.card.joints:
            raise BadModel(f"the clip has layout {clip.layout.name}; this model takes {self.card.layout}")
        scale, _, _ = to_square_pixels(clip)
        values = np.concatenate((clip.positions * scale, clip.confidence[..., None]), -1)
        return [self.run(person, clip.fps) for person in values]

    def predict(
        self, clip: Clip | Mapping[str, Any], *, top_k: int = 5, threshold: float | None = None
    ) -> list[Prediction]:
        """One prediction per person, as the service gives them.

        Args:
            clip: Parsed, or a document as in the API.
            top_k: How many labels to give at the most.
            threshold: Least probability that counts as known, in place of the calibrated one.

        Raises:
            BadModel: See ``answers``.
            InvalidClip: If a document is no clip.
        """
        parsed = clip if isinstance(clip, Clip) else parse_clip(clip)
        return [self._prediction(answer, top_k, threshold) for answer in self.answers(parsed)]

    def _prediction(self, answer: OnnxResult, top_k: int, threshold: float | None) -> Prediction:
        options = DecisionOptions(top_k, threshold)
        return classify(self.card, self.card, answer, answer.logits, lambda: answer.distance, options)
