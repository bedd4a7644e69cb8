"""Walking folders and making one corpus of all the motion that is found in them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from skeleton_prompt.clips.formats.mocap.acclaim import Acclaim, find_asf, read_amc, read_asf
from skeleton_prompt.clips.formats.mocap.bvh import read_bvh
from skeleton_prompt.clips.formats.mocap.canonical import canonical
from skeleton_prompt.clips.formats.mocap.kinematics import Motion
from skeleton_prompt.clips.formats.mocap.reading import MotionFileError, NoMotion
from training.corpora.amass import BodyModel, read_amass, read_body_model
from training.corpora.motion_file import (
    Clip,
    clips_of,
    decide_held_out,
    is_motion_file,
    read_motion_file,
    resample,
    write_motion_file,
)

SUFFIXES = {".bvh": "bvh", ".amc": "amc", ".npz": "amass"}


@dataclass(frozen=True)
class CorpusOptions:
    """How files are read.

    Attributes:
        fps: Frames per second of the corpus.
        amc_fps: Those of AMC files, which do not say (CMU and HDM05: 120).
        asf: The skeleton of every AMC file, instead of the one beside it.
        smpl: A body model for AMASS files, ``.npz``.
        up: ``y`` or ``z`` for every file, instead of what the format says or the data shows.
        leave_out: Sources whose clips are not taken.
    """

    fps: float = 30.0
    amc_fps: float = 120.0
    asf: Path | None = None
    smpl: Path | None = None
    up: str | None = None
    leave_out: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Outcome:
    """What became of one file: ``read``, ``skipped`` (nothing to read in it) or ``broken``, and why."""

    path: str
    format: str
    state: str
    note: str
    clips: int = 0
    frames: int = 0


@dataclass
class Collected:
    """All that was found."""

    clips: list[Clip] = field(default_factory=list)
    held_out: list[bool] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)

    def report(self, fps: float) -> dict[str, Any]:
        """Figures for people and machines: a row per source, and the files that were not read."""
        sources = []
        for source in sorted({clip.source for clip in self.clips}):
            mine = [(clip, held) for clip, held in zip(self.clips, self.held_out, strict=True) if clip.source == source]
            minutes = [len(clip.rel) / fps / 60 for clip, _ in mine]
            held = sum(time for time, (_, out) in zip(minutes, mine, strict=True) if out)
            recordings = len({clip.name.split("#")[0] for clip, _ in mine})
            sources.append(
                {"source": source, "clips": len(mine), "recordings": recordings, "minutes": round(sum(minutes), 2),
                 "held_out_minutes": round(held, 2)}
            )  # fmt: skip
        files = [asdict(outcome) for outcome in self.outcomes]
        return {
            "sources": sources,
            "read": sum(outcome.state == "read" for outcome in self.outcomes),
            "skipped": [entry for entry in files if entry["state"] == "skipped"],
            "broken": [entry for entry in files if entry["state"] == "broken"],
            "files": files,
        }


def find_files(places: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Motion files in folders and among files, each with the place it was found under, in a fixed order.

    Raises:
        FileNotFoundError: If a place is not there.
    """
    found = []
    for place in places:
        if not place.exists():
            raise FileNotFoundError(f"{place} is not there")
        inside = sorted(place.rglob("*")) if place.is_dir() else [place]
        found += [(path, place) for path in inside if path.suffix.lower() in SUFFIXES and path.is_file()]
    return found


def collect(
    places: Sequence[Path], options: CorpusOptions, progress: Callable[[int, int, str], None] | None = None
) -> Collected:
    """Read everything that is known in folders and files. A file that cannot be read is noted and never stops the rest.

    Args:
        places: Folders, motion files and other ``motion.npz``.
        options: How to read them.
        progress: Progress callback (files done, files in all, name of the next file).

    Raises:
        FileNotFoundError: If a place is not there.
        MotionFileError: If a skeleton or body model that was given cannot be read.
    """
    reader = _Reader(options)
    files = find_files(places)
    result = Collected()
    recordings: dict[str, str] = {}
    for index, (path, place) in enumerate(files):
        if progress:
            progress(index, len(files), path.name)
        kind = SUFFIXES[path.suffix.lower()]
        try:
            clips, kind, note = reader.read(path, place)
            wanted = [clip for clip in clips if clip.source not in options.leave_out]
            new = [clip for clip in wanted if recordings.setdefault(recording_of(clip), str(path)) == str(path)]
            if clips and not wanted:
                note = f"left out: source {clips[0].source}"
            elif clips and not new:
                note = f"already read from {recordings[recording_of(clips[0])]}"
            state = "read" if new else "skipped"
            result.clips += new
            frames = sum(len(clip.rel) for clip in new)
            result.outcomes.append(Outcome(str(path), kind, state, note, len(new), frames))
        except NoMotion as error:
            result.outcomes.append(Outcome(str(path), kind, "skipped", error.why))
        except (MotionFileError, OSError, MemoryError) as error:
            why = error.why if isinstance(error, MotionFileError) else str(error) or "too large for the memory"
            result.outcomes.append(Outcome(str(path), kind, "broken", why))
    result.held_out = decide_held_out(result.clips)
    return result


def build(
    places: Sequence[Path],
    out: Path,
    options: CorpusOptions,
    progress: Callable[[int, int, str], None] | None = None,
) -> Collected:
    """Collect a corpus and write it.

    Raises:
        ValueError: If nothing could be read; the first reasons are in the message.
        OSError: If the file cannot be written.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    result = collect(places, options, progress)
    if not result.clips:
        reasons = "; ".join(f"{outcome.path}: {outcome.note}" for outcome in result.outcomes[:5])
        raise ValueError(f"no motion was read from {len(result.outcomes)} files{': ' if reasons else ''}{reasons}")
    write_motion_file(out, result.clips, result.held_out, options.fps)
    return result


class _Reader:
    """Reads one file of any known format; skeletons are read once."""

    def __init__(self, options: CorpusOptions) -> None:
        self.options = options
        self.model: BodyModel | None = read_body_model(options.smpl) if options.smpl else None
        self.given: Acclaim | None = read_asf(options.asf) if options.asf else None
        self.skeletons: dict[Path, Acclaim] = {}

    def read(self, path: Path, place: Path) -> tuple[list[Clip], str, str]:
        """Clips, format and a note."""
        fps = self.options.fps
        suffix = path.suffix.lower()
        if suffix == ".npz" and is_motion_file(path):
            return read_motion_file(path, fps), "corpus", "a motion corpus"
        if suffix == ".bvh":
            motion, note = read_bvh(path), ""
        elif suffix == ".amc":
            motion, note = self.amc(path)
        else:
            motion, note = read_amass(path, self.model)
        found = canonical(path, motion, self.options.up)
        source, name, subject = naming(path, place)
        clips = clips_of(name, source, subject, resample(found.frames, found.fps, fps), fps)
        if not clips:
            raise NoMotion(path, f"shorter than half a second ({motion.frames} frames at {motion.fps:g} fps)")
        parts = [note, f"unit {found.unit}", f"{found.up} up"] if suffix == ".bvh" else [note]
        return clips, SUFFIXES[suffix], ", ".join(part for part in parts if part)

    def amc(self, path: Path) -> tuple[Motion, str]:
        """A motion with its skeleton."""
        if self.given and self.options.asf:
            return read_amc(path, self.given, self.options.amc_fps), f"skeleton {self.options.asf.name}"
        asf = find_asf(path)
        if asf is None:
            raise MotionFileError(path, "no skeleton (.asf) of that name beside it; give one with --asf")
        if asf not in self.skeletons:
            self.skeletons[asf] = read_asf(asf)
        return read_amc(path, self.skeletons[asf], self.options.amc_fps), f"skeleton {asf.name}"


def naming(path: Path, place: Path) -> tuple[str, str, str]:
    """Source, name and subject of a recording, from where it lies.

    The source is the folder that was given (or, where it holds folders of folders, the one below, as in AMASS). The
    subject is read from the file's name (``01_02`` of CMU, ``HDM_bd_...`` of HDM05, ``..._subject3``), else it is the
    file's folder, else the recording itself.
    """
    folder = place if place.is_dir() else place.parent
    inside = path.relative_to(folder).with_suffix("")
    top = folder.resolve().name or "motion"
    source = f"{top}/{inside.parts[0]}" if len(inside.parts) > 2 else top
    name = f"{top}/{inside.as_posix()}"
    told = _told_subject(inside.name)
    if told:
        return source, name, f"{source}/{told}"
    return source, name, f"{top}/{inside.parent.as_posix()}" if len(inside.parts) > 1 else name


def _told_subject(stem: str) -> str | None:
    for pattern in (r"(\d{2,3})_\d{2}(?!\d)", r"HDM_([a-z]{2})_", r".*?(?:subject|subj|person|actor)[_-]?(\d+)"):
        if found := re.match(pattern, stem, re.IGNORECASE):
            return found.group(1).lstrip("0") or "0"
    return None


def recording_of(clip: Clip) -> str:
    """Key of a recording; duplicates have the same key and are read once.

    Recordings of CMU and HDM05 have the same names in every format and collection; others are
    identified by their path.
    """
    stem = clip.name.rsplit("/", 1)[-1].split("#")[0]
    known = re.match(r"(\d{2,3}_\d{2})(?:_poses|_stageii)?$|(HDM_[a-z]{2}_\w+?_\d{3}_\d+)", stem)
    if known and re.search(r"cmu|hdm|amc", clip.name + clip.source, re.IGNORECASE):
        return known.group(1) or known.group(2)
    return clip.name.split("#")[0]
