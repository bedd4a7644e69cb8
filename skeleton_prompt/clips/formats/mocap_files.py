"""BVH and Acclaim (AMC with ASF) files as clips.

A skeleton whose limbs and head are found becomes the 17 canonical joints in metres, y up, as in pre-training
(``mocap.canonical``). One that lacks some keeps its joints by name.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from skeleton_prompt.clips.formats.errors import FormatError
from skeleton_prompt.clips.formats.format import Format
from skeleton_prompt.clips.formats.mocap.acclaim import find_asf, read_amc, read_asf
from skeleton_prompt.clips.formats.mocap.bvh import read_bvh
from skeleton_prompt.clips.formats.mocap.canonical import canonical
from skeleton_prompt.clips.formats.mocap.joint_mapping import find_parts
from skeleton_prompt.clips.formats.mocap.kinematics import Motion, solve
from skeleton_prompt.clips.formats.mocap.reading import MotionFileError
from skeleton_prompt.clips.formats.options import ReadOptions
from skeleton_prompt.clips.formats.people import Detection, Frame
from skeleton_prompt.clips.formats.recording import Recording
from skeleton_prompt.clips.formats.source import Source
from skeleton_prompt.clips.layouts import MAX_JOINTS

AMC_FPS = 120.0  # of CMU and HDM05; the format does not state it


def detect_bvh(source: Source) -> float:
    """How surely a file is BVH."""
    if source.suffix != ".bvh":
        return 0.0
    return 0.95


def detect_amc(source: Source) -> float:
    """How surely a file is AMC."""
    return 0.95 if source.suffix == ".amc" else 0.0


def read_bvh_file(source: Source, options: ReadOptions) -> list[Recording]:
    """The recording of a BVH file."""
    _check_plain(source)
    try:
        motion = read_bvh(source.path)
        return [_recording(source, motion, options, ())]
    except MotionFileError as error:
        raise FormatError(source.path, error.why) from None


def read_amc_file(source: Source, options: ReadOptions) -> list[Recording]:
    """The recording of an AMC file with the ASF file beside it."""
    _check_plain(source)
    asf = find_asf(source.path)
    if asf is None:
        raise FormatError(
            source.path,
            "an AMC file needs its skeleton: put the .asf file into the same folder, named as the .amc begins",
        )
    notes = [f"the skeleton is {asf.name}"]
    if options.fps is None:
        notes.append(f"AMC does not state the frames per second: {AMC_FPS:g} are assumed (--fps states them)")
    try:
        motion = read_amc(source.path, read_asf(asf), options.fps or AMC_FPS)
        return [_recording(source, motion, options, tuple(notes))]
    except MotionFileError as error:
        raise FormatError(source.path, str(error) if str(asf) in str(error) else error.why) from None


def _check_plain(source: Source) -> None:
    if source.path.suffix.lower() == ".gz":
        raise FormatError(source.path, "decompress the file first")


def _recording(source: Source, motion: Motion, options: ReadOptions, notes: tuple[str, ...]) -> Recording:
    try:
        find_parts(motion.skeleton)
    except LookupError as error:
        return _by_name(source, motion, (*notes, f"{error}: the joints are read by their names"))
    up = options.up_axis if options.up_axis in ("y", "z") else None
    found = canonical(source.path, motion, up)
    places = (*notes, f"unit: {found.unit}; {found.up} is up in the file")
    frames = _frames(found.frames)
    return Recording(frames, "xyzc", "h36m17", fps=found.fps, y_axis="up", axes_settled=True, notes=places)


def _by_name(source: Source, motion: Motion, notes: tuple[str, ...]) -> Recording:
    names = motion.skeleton.names
    if len(names) > MAX_JOINTS or len(names) < 2:
        raise FormatError(source.path, f"{len(names)} joints; 2 to {MAX_JOINTS} are read")
    if max(Counter(names).values()) > 1:
        names = tuple(f"{name}#{index}" if name in names[:index] else name for index, name in enumerate(names))
    places, _ = solve(motion, range(len(names)))
    values = np.stack([places[joint] for joint in range(len(names))], 1)
    return Recording(
        _frames(values), "xyzc", names, fps=motion.fps, unknown_axes=True, default_up=motion.up or "y", notes=notes
    )


def _frames(places: NDArray[np.float64]) -> list[Frame]:
    values = np.concatenate([places, np.ones((*places.shape[:2], 1))], -1)
    return [Frame([Detection(rows)]) for rows in values]


BVH = Format(
    "bvh",
    "BVH",
    (".bvh",),
    "`.bvh`",
    "the 17 canonical joints `h36m17`, found by names and tree; else joint names",
    "`Frame Time`",
    detect_bvh,
    read_bvh_file,
    options=("--up-axis",),
)
AMC = Format(
    "amc",
    "Acclaim AMC/ASF (CMU, HDM05)",
    (".amc",),
    "`.amc` with the `.asf` of its skeleton in the same folder",
    "the 17 canonical joints `h36m17`",
    "120, or `--fps`",
    detect_amc,
    read_amc_file,
    options=("--fps", "--up-axis"),
)
