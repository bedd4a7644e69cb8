"""A tenant's prompt as one safetensors file, and the checks it must pass before anything is computed with it.

A prompt holds a *linear* part (standardised features times weights), a *class model* (statistics of the taught classes,
``skeleton_prompt.model.class_model``; prompts of earlier releases have none) and, where the labels justified them, a
*temporal* part (a small convolution over time, ``skeleton_prompt.model.temporal_net``) and a *module* part (the prompt
generator, dynamic queries and fusion of ``skeleton_prompt.model.prompt_module``). Everything about it that is not a
tensor stands in the file's metadata as one JSON document.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from skeleton_prompt.clips.canonical_skeleton import JOINTS
from skeleton_prompt.model.dimensions import DIMENSIONS
from skeleton_prompt.model.tensor_shapes import module_shapes, temporal_shapes

FORMAT = "skeleton-prompt/1"
MAX_BYTES = 64 * 2**20
MAX_LABELS = 4096
MAX_CURVE = 256
MAX_PAIRS = 32
CLASS_MODEL = "class_model."
DEFAULT_REFUSAL = 0.05

Array = np.ndarray[Any, np.dtype[np.float32]]
Pairs = tuple[tuple[float, float], ...]


class BadPrompt(ValueError):
    """A prompt file that must not be used; the message names what is wrong with it."""


class BackboneMismatch(BadPrompt):
    """A sound prompt that was made for another backbone."""


@dataclass(frozen=True)
class PromptRef:
    """The address of a prompt: never a slot or a name, so nothing can be stale."""

    tenant: str
    version: int
    sha256: str


@dataclass(frozen=True)
class Calibration:
    """What turns logits into an answer.

    Attributes:
        temperature: Divides the logits before the softmax.
        threshold: The least calibrated probability that counts as known.
        distance: The greatest distance to the nearest class centre that counts as known, in units of that class's
            own spread; infinite where nothing could be held out to measure it, and where ``familiarity`` is set.
        familiarity: The least familiarity that counts as known for each share of right answers that may be refused:
            pairs (share, limit) in ascending order. Empty for a prompt without a class model, which goes by
            ``threshold`` and ``distance``.
        refusal: The share that holds where a request names none.
        coverage: The least probability of a label in a prediction set, by the set's nominal coverage: pairs (coverage,
            probability) in ascending order; empty where nothing could be held out.
    """

    temperature: float = 1.0
    threshold: float = 0.0
    distance: float = math.inf
    familiarity: Pairs = ()
    refusal: float = DEFAULT_REFUSAL
    coverage: Pairs = ()


@dataclass(frozen=True, eq=False)
class Prompt:
    """One version of what one tenant owns. Compared by identity, so that it can key a cache.

    Attributes:
        tenant: Whose it is.
        version: Its number.
        labels: N labels in the order of the logits.
        background: Whether a last logit, beyond the labels, stands for "none of them".
        kind: Which candidate was chosen: ``prototypes``, ``ridge``, ``lda``, ``plda``, ``temporal`` or ``full``.
        backbone_sha256: The backbone that it was made on.
        created: ISO 8601, UTC.
        calibration: Temperature and limits.
        blocks: Which feature blocks the linear part reads, in this order; see ``skeleton_prompt.model.features``.
        blend: Weight of the module's logits, 0 to 1; the linear and the temporal part have the rest.
        tensors: float32 arrays by name; see ``shapes``.
        metrics: Cross-validated figures, for display.
        temporal: Weight of the temporal part's logits beside the linear part's, 0 to 1.
        lacking: That weight for clips that lack many of the joints that the taught clips show; see ``temporal``.
        dimension: ``2d`` for a version taught on 2-D clips, which sees the frontal projection of 3-D clips, ``3d`` for
            one taught on 3-D clips alone, empty for prompts of earlier releases.
    """

    tenant: str
    version: int
    labels: tuple[str, ...]
    background: bool
    kind: str
    backbone_sha256: str
    created: str
    calibration: Calibration
    tensors: Mapping[str, Array]
    blocks: tuple[str, ...] = ("frozen", "descriptors")
    module_weight: float = 0.0
    metrics: Mapping[str, Any] = field(default_factory=dict)
    temporal_weight: float = 0.0
    temporal_weight_missing_joints: float = 0.0
    dimension: str = ""

    @property
    def classes(self) -> int:
        """N: labels, and one more if background was taught."""
        return len(self.labels) + self.background

    @cached_property
    def parameters(self) -> int:
        """How many numbers the tenant owns."""
        return sum(int(value.size) for value in self.tensors.values())

    @property
    def nbytes(self) -> int:
        """Memory that the loaded tensors take, in bytes."""
        return sum(value.nbytes for value in self.tensors.values())

    @property
    def has_class_model(self) -> bool:
        """Whether statistics of the classes are there, by which familiarity is measured."""
        return f"{CLASS_MODEL}mean" in self.tensors

    @property
    def has_module(self) -> bool:
        """Whether the module part is there and used."""
        return self.module_weight > 0

    @property
    def has_temporal(self) -> bool:
        """Whether the temporal part is there and used."""
        return self.temporal_weight > 0


def digest(data: bytes) -> str:
    """The SHA-256 of a prompt file, in hexadecimal: a part of its address."""
    return hashlib.sha256(data).hexdigest()


def save_prompt(prompt: Prompt) -> bytes:
    """A prompt as safetensors, its tensors in float16.

    Raises:
        BadPrompt: If it would not load again, because a tensor has another shape or is not finite.
    """
    document = {
        "format": FORMAT,
        "tenant": prompt.tenant,
        "version": prompt.version,
        "labels": list(prompt.labels),
        "background": prompt.background,
        "kind": prompt.kind,
        "backbone_sha256": prompt.backbone_sha256,
        "created": prompt.created,
        "temperature": prompt.calibration.temperature,
        "threshold": prompt.calibration.threshold,
        "distance": prompt.calibration.distance if math.isfinite(prompt.calibration.distance) else None,
        "blocks": list(prompt.blocks),
        "blend": prompt.module_weight,
        "metrics": dict(prompt.metrics),
    }
    if prompt.calibration.familiarity:
        document |= {
            "familiarity": [list(pair) for pair in prompt.calibration.familiarity],
            "refusal": prompt.calibration.refusal,
            "coverage": [list(pair) for pair in prompt.calibration.coverage],
        }
    if prompt.dimension:
        document["dimension"] = prompt.dimension
    if prompt.temporal_weight != 0:
        document |= {"temporal": prompt.temporal_weight, "lacking": prompt.temporal_weight_missing_joints}
    with np.errstate(over="ignore"):
        tensors = {name: np.ascontiguousarray(value, dtype=np.float16) for name, value in prompt.tensors.items()}
    _check_tensors(prompt, tensors)
    return save(tensors, {"prompt": json.dumps(document, ensure_ascii=True, allow_nan=False)})


def load_prompt(data: bytes, *, sha256: str | None = None, backbone_sha256: str | None = None) -> Prompt:
    """Read and check a prompt file.

    Args:
        data: The whole file.
        sha256: What the file must hash to, if known.
        backbone_sha256: The backbone that will run it, if known.

    Returns:
        The prompt, tensors widened to float32.

    Raises:
        BackboneMismatch: If it was made for another backbone.
        BadPrompt: If it is too large, damaged, of another format, or a tensor has a wrong name, shape, type or a
            number that is not finite.
    """
    if len(data) > MAX_BYTES:
        raise BadPrompt(f"the prompt file has {len(data)} bytes; the limit is {MAX_BYTES}")
    if sha256 is not None and digest(data) != sha256:
        raise BadPrompt("the prompt file does not have the hash it is addressed by")
    prompt = _parse(data)
    if backbone_sha256 is not None and prompt.backbone_sha256 != backbone_sha256:
        raise BackboneMismatch(
            f"the prompt was made for backbone {prompt.backbone_sha256[:12]}, this engine runs {backbone_sha256[:12]}"
        )
    return prompt


def _parse(data: bytes) -> Prompt:
    try:
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        document = json.loads(header["__metadata__"]["prompt"])
        raw = load(data)
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadPrompt(f"not a prompt file: {error}") from error
    if document.get("format") != FORMAT:
        raise BadPrompt(f"prompt format {document.get('format')!r}; this release reads {FORMAT!r}")
    try:
        distance = document["distance"]
        prompt = Prompt(
            tenant=str(document["tenant"]),
            version=int(document["version"]),
            labels=tuple(str(label) for label in document["labels"]),
            background=bool(document["background"]),
            kind=str(document["kind"]),
            backbone_sha256=str(document["backbone_sha256"]),
            created=str(document["created"]),
            calibration=Calibration(
                float(document["temperature"]),
                float(document["threshold"]),
                math.inf if distance is None else float(distance),
                _pairs(document.get("familiarity", [])),
                float(document.get("refusal", DEFAULT_REFUSAL)),
                _pairs(document.get("coverage", [])),
            ),
            tensors={name: value.astype(np.float32) for name, value in raw.items()},
            blocks=tuple(str(name) for name in document["blocks"]),
            module_weight=float(document["blend"]),
            metrics=dict(document["metrics"]),
            temporal_weight=float(document.get("temporal", 0.0)),  # prompts of before have none
            temporal_weight_missing_joints=float(document.get("lacking", document.get("temporal", 0.0))),
            dimension=str(document.get("dimension", "")),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BadPrompt(f"the prompt's metadata is incomplete: {error}") from error
    _check_metadata(prompt)
    _check_tensors(prompt, raw)
    return prompt


def _pairs(rows: Sequence[Sequence[float]]) -> Pairs:
    return tuple((float(first), float(second)) for first, second in rows)


def _check_metadata(prompt: Prompt) -> None:
    if not 1 <= len(prompt.labels) <= MAX_LABELS or len(set(prompt.labels)) != len(prompt.labels):
        raise BadPrompt(f"a prompt has 1 to {MAX_LABELS} different labels, this one {len(prompt.labels)}")
    if prompt.dimension not in ("", *DIMENSIONS):
        raise BadPrompt(f"dimension {prompt.dimension!r} is none of {', '.join(DIMENSIONS)}")
    calibration = prompt.calibration
    if not (calibration.temperature > 0 and math.isfinite(calibration.temperature)):
        raise BadPrompt(f"temperature {calibration.temperature} is not a positive number")
    shares = (
        calibration.threshold,
        prompt.module_weight,
        prompt.temporal_weight,
        prompt.temporal_weight_missing_joints,
    )
    if not all(0 <= share <= 1 for share in shares) or not calibration.distance > 0:
        raise BadPrompt("threshold, distance, blend, temporal or lacking is out of range")
    for name, pairs in (("familiarity", calibration.familiarity), ("coverage", calibration.coverage)):
        named = [share for share, _ in pairs]
        if len(pairs) > MAX_PAIRS or named != sorted(set(named)) or not all(0 <= share <= 1 for share in named):
            raise BadPrompt(f"{name} must be at most {MAX_PAIRS} pairs with ascending shares from 0 to 1")
        if not all(math.isfinite(limit) for _, limit in pairs):
            raise BadPrompt(f"{name} holds a limit that is not finite")
    if not 0 <= calibration.refusal <= 1 or prompt.has_class_model != bool(calibration.familiarity):
        raise BadPrompt("refusal is out of range, or a class model and limits of familiarity do not come together")


def _check_tensors(prompt: Prompt, tensors: Mapping[str, Any]) -> None:
    wanted = linear_shapes(prompt)
    if prompt.has_module:
        wanted |= module_shapes(prompt.classes, tensors)
    if prompt.has_temporal:
        wanted |= temporal_shapes(prompt.classes, tensors)
    if set(tensors) != set(wanted):
        odd = sorted(set(tensors) ^ set(wanted))
        raise BadPrompt(f"tensors missing or unknown: {', '.join(odd[:5])}")
    for name, shape in wanted.items():
        value = tensors[name]
        if value.dtype != np.float16:
            raise BadPrompt(f"tensor {name} has type {value.dtype}; prompts hold float16")
        if tuple(value.shape) != shape:
            raise BadPrompt(f"tensor {name} has shape {tuple(value.shape)}, {shape} is wanted")
        if not np.isfinite(value).all():
            raise BadPrompt(f"tensor {name} holds a number that is not finite")


def linear_shapes(prompt: Prompt) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the linear part; F is read off the mean and checked by the engine against its features.

    ``linear.mean`` and ``linear.scale`` ``(F,)``: features become ``z = (x - mean) * scale``;
    ``linear.weight`` ``(N, F)``, ``linear.bias`` ``(N,)``: logits;
    ``linear.centres`` ``(N, N)`` and ``linear.spread`` ``(N,)``: from where a clip's distance is measured;
    where the head has them ``linear.square`` ``(F,)``, ``linear.curve`` ``(K, F)`` and ``linear.bend`` ``(K,)``,
    what is taken off all logits alike: half of ``square · z² + bend · (curve @ z)²``;
    and where the head says nothing of how familiar a clip is, ``likeness.`` tensors of all those names but the
    distance's: a second head on the first of the features, whose largest logit the largest logit is shifted to.
    A prompt with a class model has neither ``likeness.`` tensors nor ``linear.centres`` and ``linear.spread``.
    """
    N = prompt.classes
    wanted = head_shapes(prompt, "linear")
    if prompt.has_class_model:
        return wanted | class_model_shapes(prompt)
    wanted |= {"linear.centres": (N, N), "linear.spread": (N,)}
    if "likeness.mean" in prompt.tensors:
        wanted |= head_shapes(prompt, "likeness")
        if wanted["likeness.mean"] > wanted["linear.mean"]:
            raise BadPrompt("tensor likeness.mean is longer than linear.mean")
    return wanted


def class_model_shapes(prompt: Prompt) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the class model; see ``class_model.ClassModel``."""
    mean, directions = (prompt.tensors.get(f"{CLASS_MODEL}{name}") for name in ("mean", "directions"))
    if mean is None or mean.ndim != 1 or directions is None or directions.ndim != 2:
        raise BadPrompt("class_model.mean is not a vector, or class_model.directions is missing or not a matrix")
    R, N, K = int(mean.shape[0]), prompt.classes, min(int(directions.shape[0]), MAX_CURVE)
    shapes: dict[str, tuple[int, ...]] = {"mean": (R,), "scale": (R,), "centres": (N, R), "counts": (N,)}
    shapes |= {"within": (R,), "directions": (K, R), "between": (R,), "widening": (2,), "unit": (1,)}
    for name in ("scale", "within", "between", "unit"):
        if not (prompt.tensors.get(f"{CLASS_MODEL}{name}", np.zeros(1)) > 0).all():
            raise BadPrompt(f"tensor {CLASS_MODEL}{name} is missing or not positive throughout")
    return {f"{CLASS_MODEL}{name}": shape for name, shape in shapes.items()} | {f"{CLASS_MODEL}shown": (JOINTS,)}


def head_shapes(prompt: Prompt, part: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of ``linear`` or ``likeness``, without what distances are measured from."""
    mean = prompt.tensors.get(f"{part}.mean")
    if mean is None or mean.ndim != 1:
        raise BadPrompt(f"tensor {part}.mean is missing or not a vector")
    F, N = int(mean.shape[0]), prompt.classes
    shapes: dict[str, tuple[int, ...]] = {"mean": (F,), "scale": (F,), "weight": (N, F), "bias": (N,)}
    curve = prompt.tensors.get(f"{part}.curve")
    if curve is not None:
        K = min(int(curve.shape[0]), MAX_CURVE) if curve.ndim else 0
        shapes |= {"square": (F,), "curve": (K, F), "bend": (K,)}
    return {f"{part}.{name}": shape for name, shape in shapes.items()}
