"""Labelled skeleton sets: one folder per set with a ``data.npz``, read without unpickling anything.

Every file has ``keypoints`` (all frames, J, C), ``offsets`` (clip i is frames ``offsets[i]:offsets[i + 1]``),
``labels`` and ``label_names``; a set's split and its traps stand in ``SETS``. Clips are built from the same documents
that a client would send, so that what is measured here is what the service does.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from skeleton_prompt.clips.clip import Clip, parse_clip

VARIABLE = "SKELETON_PROMPT_DATASETS"
MIN_FRAMES = 2


class DatasetMissing(FileNotFoundError):
    """The folder of labelled sets, or one set in it, is not there."""


@dataclass(frozen=True)
class SetFormat:
    """What the file of a set does not say about itself.

    Attributes:
        layout: Built-in layout with the set's joint order.
        split: Name of the array that says ``train`` or ``test``, the set's usual protocol.
        coords: Components that a document sends: ``xy``, ``xyz`` or ``xyc``.
        visible: Array that says which joints were seen or how surely, if any.
        keep: Boolean array of the clips that the protocol uses, if not all.
    """

    layout: str
    split: str
    coords: str
    visible: str | None = None
    keep: str | None = None


SETS: dict[str, SetFormat] = {
    "utd_mhad": SetFormat("utd20", "split_cross_subject", "xyz"),
    # Two clips have a single frame; it is doubled, so that the test side stays whole.
    "nw_ucla": SetFormat("kinect20", "split_cross_view", "xyz"),
    # All-zero frames are frames without a person; ten clips are left out by everybody. The sensor's own confidence is
    # not sent, as the other Kinect sets have none.
    "msr_action3d": SetFormat("msr20", "split_cross_subject", "xyz", keep="in_standard_557"),
    # Unseen joints are at 0 or about 0.67 and not NaN. One clip shows nothing at all.
    "penn_action": SetFormat("penn13", "split", "xy", visible="visibility"),
    "jhmdb14": SetFormat("jhmdb15", "split1", "xy"),
    # MediaPipe's depth is relative and of the image's unit only in name: the clip is sent as the 2-D that it is.
    "posepilot_yoga": SetFormat("mediapipe33", "split", "xyc", visible="visibility"),
    "irds_subset": SetFormat("ntu25", "split", "xyz"),
    "ui_prmd_kinect": SetFormat("ui_prmd22", "split", "xyz"),
}


@dataclass(frozen=True, eq=False)
class LabelledSet:
    """One labelled set in memory.

    Attributes:
        name: Folder name.
        form: Its entry in ``SETS``.
        keypoints: ``(frames, J, C)`` float32 as sent, NaN where a joint was not seen.
        offsets: ``(clips + 1,)``.
        labels: ``(clips,)`` index into ``label_names``.
        label_names: Names of the classes.
        groups: Subject of every clip, or None where the set does not tell.
        test: ``(clips,)`` bool, the test side.
        fps: Frames per second; 30 where nothing is known.
        image_sizes: ``(clips, 2)`` width and height, or None.
        names: The set's own name of every clip.
    """

    name: str
    form: SetFormat
    keypoints: np.ndarray
    offsets: np.ndarray
    labels: np.ndarray
    label_names: tuple[str, ...]
    groups: tuple[str, ...] | None
    test: np.ndarray
    fps: float
    image_sizes: np.ndarray | None
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def train_indices(self) -> np.ndarray:
        """Clips that may be taught."""
        return np.flatnonzero(~self.test)

    @cached_property
    def test_indices(self) -> np.ndarray:
        """Clips that are only ever predicted."""
        return np.flatnonzero(self.test)

    def document(self, index: int, *, nested: bool = False) -> dict[str, Any]:
        """A clip as a client sends it.

        Args:
            index: Which clip.
            nested: Keypoints as nested lists instead of base64 float32.

        Returns:
            A document of the public contract, with label, and with group where the set has subjects.
        """
        keypoints = self.keypoints[self.offsets[index] : self.offsets[index + 1]]
        if len(keypoints) < MIN_FRAMES:
            keypoints = np.repeat(keypoints, MIN_FRAMES, axis=0)
        result: dict[str, Any] = {
            "id": f"{self.name}/{self.names[index]}",
            "label": self.label_names[self.labels[index]],
            "layout": self.form.layout,
            "fps": self.fps,
        }
        if self.form.coords == "xyz":
            result["coords"] = "xyz"
        if self.groups is not None:
            result["group"] = self.groups[index]
        if self.image_sizes is not None:
            result["image_size"] = [int(size) for size in self.image_sizes[index]]
        if nested:
            return result | {"keypoints": _nested(keypoints)}
        data = np.ascontiguousarray(keypoints, dtype="<f4").tobytes()
        packed = {"encoding": "f32", "shape": list(keypoints.shape), "keypoints": base64.b64encode(data).decode()}
        return result | packed

    def clip(self, index: int) -> Clip:
        """A clip as the service sees it."""
        return parse_clip(self.document(index), teaching=True)

    def clips(self, indices: Iterable[int]) -> Iterator[Clip]:
        """Several clips, in order."""
        return (self.clip(int(index)) for index in indices)


def _nested(keypoints: np.ndarray) -> list[list[list[float] | None]]:
    seen = np.isfinite(keypoints).all(-1)
    return [
        [joint if known else None for joint, known in zip(frame, row, strict=True)]
        for frame, row in zip(keypoints.tolist(), seen.tolist(), strict=True)
    ]


def datasets_folder(folder: Path | None = None) -> Path:
    """Where the sets lie: the argument, else the environment.

    Raises:
        DatasetMissing: If neither names an existing folder.
    """
    named = folder or (Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None)
    if named is None:
        raise DatasetMissing(f"no folder of labelled sets: give one, or set {VARIABLE}")
    if not named.is_dir():
        raise DatasetMissing(f"the folder of labelled sets {named} does not exist")
    return named


def read_set(name: str, folder: Path | None = None, *, split: str | None = None) -> LabelledSet:
    """Read one labelled set.

    Args:
        name: One of ``SETS``.
        folder: The folder that holds the sets; by default the environment's.
        split: Another split array than the set's usual one, such as ``split2`` of ``jhmdb14``.

    Raises:
        LookupError: If no set has this name.
        DatasetMissing: If it is not there.
    """
    if name not in SETS:
        raise LookupError(f"no labelled set is called {name!r}; known are {', '.join(SETS)}")
    path = datasets_folder(folder) / name / "data.npz"
    if not path.is_file():
        raise DatasetMissing(f"the labelled set {name} is not there: {path} does not exist")
    form = SETS[name]
    with np.load(path, allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
    return _select(name, form, arrays, split or form.split)


def _select(name: str, form: SetFormat, arrays: dict[str, np.ndarray], split: str) -> LabelledSet:
    """Build the set from its arrays, leaving out the clips that its protocol leaves out."""
    count = len(arrays["labels"])
    kept = np.flatnonzero(arrays[form.keep]) if form.keep else np.arange(count)
    offsets = arrays["offsets"]
    frames = np.concatenate([np.arange(offsets[i], offsets[i + 1]) for i in kept])
    names = arrays.get("names", np.arange(count).astype(str))
    sizes = arrays.get("image_hw")
    return LabelledSet(
        name=name,
        form=form,
        keypoints=_keypoints(form, arrays)[frames],
        offsets=np.concatenate([[0], np.cumsum(np.diff(offsets)[kept])]),
        labels=arrays["labels"][kept].astype(np.int64),
        label_names=tuple(str(label) for label in arrays["label_names"]),
        groups=tuple(str(subject) for subject in arrays["subjects"][kept]) if "subjects" in arrays else None,
        test=arrays[split][kept] == "test",
        fps=float(arrays["fps"]) if "fps" in arrays else 30.0,
        image_sizes=None if sizes is None else sizes[kept][:, ::-1],
        names=tuple(str(own) for own in names[kept]),
    )


def _keypoints(form: SetFormat, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """All frames in the components that are sent, NaN where a joint was not seen."""
    keypoints = arrays["keypoints"].astype(np.float32)
    seen = np.abs(keypoints).max(-1) > 0
    if form.coords == "xyc" and form.visible:
        confidence = np.clip(arrays[form.visible].astype(np.float32), 0, 1)
        keypoints = np.concatenate((keypoints[..., :2], confidence[..., None]), -1)
    elif form.visible:
        seen &= arrays[form.visible].astype(bool)
    keypoints[~seen] = np.nan
    return keypoints
