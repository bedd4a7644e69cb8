"""Scales of confidence: 0 to 1, COCO's visibility flags, Kinect's tracking states, per cent, scores above 1.

Letters: T frames, P people, J joints, C channels.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from skeleton_prompt.clips.findings import Finding

Array = np.ndarray[Any, np.dtype[np.float32]]

SCALES = ("unit", "coco", "kinect", "percent")
FIELD = "confidence_scale"
SLIGHTLY_ABOVE = 1.25  # SimCC heads, as RTMPose has, exceed 1 a little
MANY = 0.05  # share of the values above 1 that makes it a scale and not a slip
SCORE = 10.0
PIXELS = 20.0  # coordinates that span more are pixels or millimetres, and a third of up to 10 is no z of their unit
KINECT_LAYOUTS = frozenset({"ntu25", "kinect20", "msr20", "utd20", "ui_prmd22", "azure_kinect32"})
_LARGEST = {"unit": 1.0, "coco": 2.0, "kinect": 3.0, "percent": 100.0}
_STATES = np.array([0, 0.5, 1, 1], np.float32)


def to_unit_scale(values: Array, coords: str, scale: str | None, layout: str) -> Finding | None:
    """Bring confidences, the last channel, to 0 to 1 in place; leave them where no scale is certain.

    Args:
        values: ``(T, P, J, C)``, NaN where a joint was not sent.
        coords: What the channels are.
        scale: The clip's ``confidence_scale``, None if it does not say.
        layout: Name of the layout.

    Returns:
        What to say of it, None where nothing was changed. Values outside 0 to 1 that remain are mistakes.
    """
    confidence = values[..., -1]
    most = float(np.fmax.reduce(confidence, axis=None))
    least = float(np.fmin.reduce(confidence, axis=None))
    if scale in ("coco", "kinect", "percent"):
        if not out_of_scale(confidence, scale).any():
            _from_stated(confidence, scale)
        return None
    if not most > 1 or least < 0:
        return None
    sent = confidence[confidence == confidence]
    if most <= 2 and scale is None and ((sent == 0) | (sent == 1) | (sent == 2)).all():
        return _flags(confidence, coords, layout)
    above = float((sent > 1).mean())
    if most <= SLIGHTLY_ABOVE or (above >= MANY and most <= SCORE and _certain(values, coords)):
        np.minimum(confidence, 1, out=confidence)
        return Finding("confidence_clipped", f"confidences of up to {most:.3g} were clipped to 1", FIELD)
    if scale is None and above >= MANY and SCORE < most <= 100 and _certain(values, coords):
        confidence /= 100
        return Finding("confidence_in_percent", f"confidences of up to {most:.3g} were read as per cent", FIELD)
    return None


def out_of_scale(confidence: Array, scale: str | None) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which values a stated scale does not have; NaN, which is not seen, passes."""
    with np.errstate(invalid="ignore"):
        bad = (confidence < 0) | (confidence > _LARGEST.get(scale or "unit", 1.0))
        if scale in ("coco", "kinect"):
            bad |= confidence % 1 > 0
    return bad


def _from_stated(confidence: Array, scale: str) -> None:
    """Convert a scale that the clip states, in place."""
    if scale == "percent":
        confidence /= 100
    elif scale == "coco":
        np.minimum(confidence, 1, out=confidence)
    else:
        _apply_states(confidence)


def _flags(confidence: Array, coords: str, layout: str) -> Finding:
    """Whole numbers 0, 1 and 2: Kinect's states for its layouts and for 3-D, else COCO's flags."""
    if layout in KINECT_LAYOUTS or "z" in coords:
        _apply_states(confidence)
        message = "confidences 0, 1 and 2 were read as Kinect's tracking states: not tracked, inferred (0.5), tracked"
        return Finding("confidence_is_tracking_state", message, FIELD)
    np.minimum(confidence, 1, out=confidence)
    message = "confidences 0, 1 and 2 were read as COCO's visibility flags: 1 and 2 count as seen"
    return Finding("confidence_is_visibility_flag", message, FIELD)


def _apply_states(confidence: Array) -> None:
    known = confidence == confidence
    confidence[known] = _STATES[confidence[known].astype(np.intp)]


def _certain(values: Array, coords: str) -> bool:
    """Whether the last channel cannot be a z: there is a z beside it, or x and y are pixels."""
    if "z" in coords:
        return True
    plane = values[..., :2]
    span = np.fmax.reduce(plane, axis=(0, 1, 2)) - np.fmin.reduce(plane, axis=(0, 1, 2))
    return float(span.max()) > PIXELS


def hint(coords: str, scale: str | None, values: Array) -> str:
    """The way out for confidences outside 0 to 1."""
    if scale is not None and scale != "unit":
        return f"; confidence_scale {scale!r} allows {'0 to 100' if scale == 'percent' else 'whole numbers 0, 1, 2'}"
    ways = ', or state "confidence_scale": "coco", "kinect" or "percent"'
    if "z" in coords:
        return ways.replace(", or", ";", 1)
    negative = bool(np.fmin.reduce(values[..., -1], axis=None) < 0)
    return '; a third coordinate needs "coords": "xyz"' + ("" if negative else ways)
