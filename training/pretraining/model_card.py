"""Choosing the checkpoint that ships, and the model card that says what it is."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from skeleton_prompt.model.backbone import backbone_bytes, load_backbone
from skeleton_prompt.model.engine import Engine
from training.pretraining.meta_train_module import MetaTrainConfig
from training.pretraining.motion_sampler import held_out_clips, load_corpus, subject_of
from training.pretraining.shared_projection import fit_shared_projection

CMU_TERMS = (
    "Free for research and inside products; the data may not be resold. The data used in this project was obtained "
    "from mocap.cs.cmu.edu. The database was created with funding from NSF EIA-0196217."
)
TERMS = {  # by the beginning of a source's name
    "cmu": ("CMU Graphics Lab Motion Capture Database", CMU_TERMS),
    "hdm05": (
        "HDM05 (11 classes)",
        "CC BY-SA 3.0. M. Müller, T. Röder, M. Clausen, B. Eberhardt, B. Krüger, A. Weber: Documentation Mocap "
        "Database HDM05, Universität Bonn, 2007",
    ),
    "ui_prmd": (
        "UI-PRMD (10 rehabilitation exercises)",
        "ODC PDDL 1.0. A. Vakanski et al., Data 2018, 3(1), 2",
    ),
}
UNKNOWN_TERMS = "not known to this program: the terms of whoever recorded it"

NOISE = 0.5  # percentage points
JUDGED = ("few_shot", "few_shot_hidden", "mpjpe")


@dataclass(frozen=True)
class Chosen:
    """The checkpoint of a run with the best held-out few-shot accuracy, and its figures."""

    path: Path
    step: int
    figures: dict[str, float]
    random: dict[str, float]


def read_log(run: Path, kind: str) -> list[dict[str, Any]]:
    """The lines of one kind (``held_out`` or ``train``) of a run's log."""
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == kind]


def choose(run: Path) -> Chosen:
    """The best checkpoint of a run.

    Judged by the mean of the few-shot accuracies with all joints and with joints missing; among those within ``NOISE``
    of the best it is the one with the least lift error, because a few hundred held-out clips tell no finer.

    Raises:
        FileNotFoundError: If the run has no checkpoint yet.
    """
    judged = read_log(run, "held_out")
    there = {int(path.stem.rsplit("-", 1)[1]): path for path in run.glob("*-[0-9]*.safetensors")}
    candidates = [line for line in judged if line["step"] in there]
    if not candidates:
        raise FileNotFoundError(f"no checkpoint in {run}")
    most = max(accuracy_of(line) for line in candidates)
    best = min((line for line in candidates if accuracy_of(line) >= most - NOISE), key=lambda line: line["mpjpe"])
    return Chosen(there[best["step"]], best["step"], best, judged[0])


def accuracy_of(line: dict[str, Any]) -> float:
    """Mean held-out few-shot accuracy of a checkpoint, in per cent."""
    return float(line["few_shot"] + line["few_shot_hidden"]) / 2


def ship(
    run: Path,
    store: Path,
    *,
    house_motions: int = 2048,
    house_steps: int = 400,
    progress: Callable[[str, float], None] | None = None,
) -> Path:
    """Put the best checkpoint of a run, with house weights learned on it, into a model store; a card goes beside it.

    Args:
        run: Folder of a pre-training run.
        store: ``model_store/backbone``.
        house_motions: Motions that the house weights are learned from; 0 leaves them out.
        house_steps: Optimiser steps of the house module; 0 leaves it out.
        progress: Told the kind of input and the share done while they are learned.

    Returns:
        The shipped file.
    """
    chosen = choose(run)
    config = json.loads((run / "config.json").read_text())
    model = load_backbone(chosen.path)
    if house_motions:
        module = MetaTrainConfig(steps=house_steps)
        motion = Path(config["motion"])
        model.house = fit_shared_projection(
            Engine(model), motion, motions=house_motions, module=module, progress=progress
        )
    store.mkdir(parents=True, exist_ok=True)
    target = store / f"{model.config.name}.safetensors"
    data = backbone_bytes(model, {"steps": str(chosen.step)})
    partial = target.with_suffix(".part")
    partial.write_bytes(data)
    partial.replace(target)
    facts = {**config, "name": model.config.name, "parameters": model.parameters_count()}
    facts |= {"house": house_motions, "house_steps": house_steps, "sources": sources_table(Path(config["motion"]))}
    if config.get("start"):
        facts |= starting_facts(Path(config["start"]))
    (store / f"{model.config.name}.md").write_text(card(chosen, facts, hashlib.sha256(data).hexdigest()))
    return target


def sources_table(motion: Path) -> str:
    """A Markdown table of a corpus: minutes of training, share of the draws, what is held out, terms."""
    with np.load(motion, allow_pickle=False) as file:
        names, source, minutes = file["names"], file["source"], np.diff(file["offsets"]) / float(file["fps"]) / 60
    held = held_out_clips(motion)
    weights = load_corpus(motion, held_out=False).weights
    families = np.array([next((part for part in TERMS if name.startswith(part)), name) for name in source.astype(str)])
    rows = ["| Source | Minutes | Share of the draws | Held out | Terms and acknowledgement |", "|---|---|---|---|---|"]
    for family in np.unique(families):
        mine = families == family
        title, terms = TERMS.get(str(family), (str(family), UNKNOWN_TERMS))
        share = weights[families[~held] == family].sum()
        people = sorted({subject_of(str(name)) for name in names[mine & held]} - {""})
        out = f"{minutes[mine & held].sum():.0f} minutes" + (f": subjects {', '.join(people)}" if people else "")
        rows.append(f"| {title} | {minutes[mine & ~held].sum():.0f} | {100 * share:.0f} % | {out} | {terms} |")
    return "\n".join(rows) + "\n"


def starting_facts(start: Path) -> dict[str, str]:
    """The SHA-256 of the weights that a run started from, and the data section of the card beside them."""
    facts = {"start_sha256": hashlib.sha256(start.read_bytes()).hexdigest()}
    beside = start.with_suffix(".md")
    if beside.exists() and (found := re.search(r"^## Data\n(.*?)(?=^## |\Z)", beside.read_text(), re.M | re.S)):
        facts["start_data"] = found.group(1).strip()
    return facts


def card(chosen: Chosen, config: dict[str, Any], sha256: str) -> str:
    """The model card, in Markdown."""
    now, start = ({name: f"{f[name]:.3g}" for name in JUDGED} for f in (chosen.figures, chosen.random))
    grown = config.get("start")
    origin = "random weights"
    if grown:
        start_name = f"`{Path(grown).stem}` with SHA-256 `{config['start_sha256']}`"
        origin = f"{start_name} (see `training/pretraining/net2net.py`)"
    lineage = ""
    if "start_data" in config:
        lineage = (
            "### Data of the weights that it started from\n\nThe backbone is derived from them, so the terms of their "
            f"data apply as well.\n\n{config['start_data']}\n\n"
        )
    before = "what it started from" if grown else "random weights"
    metric = ""
    if "mpjpe_mm" in chosen.figures and "mpjpe_mm" in chosen.random:  # runs of earlier versions have none
        metric = (
            f"| lift error in millimetres, after one scale per clip | {chosen.random['mpjpe_mm']:.0f} "
            f"| {chosen.figures['mpjpe_mm']:.0f} |\n"
            f"| the same of a flat person, x and y exact and no depth | {chosen.figures['flat_mm']:.0f} "
            f"| {chosen.figures['flat_mm']:.0f} |\n"
            f"| correlation of lifted and true depth | {chosen.random['depth']:.2f} | {chosen.figures['depth']:.2f} |\n"
        )
    return f"""\
# Backbone `{config["name"]}`

A spatio-temporal transformer, {config["parameters"]:,} parameters, pre-trained to lift 2-D skeletons to 3-D and to
recognise one motion from two cameras. It is frozen: tenants own prompts on it, and none of their data is in it.

| | |
|---|---|
| SHA-256 | `{sha256}` |
| Steps | {chosen.step} of {config["steps"]}, {config["batch"]} motions each; {config["lift_steps"]} lifting only |
| Started from | {origin} |
| Seed | {config["seed"]} |
| Shared projection | from {config["house"]} motions of the training part, four views each as 2-D and as 3-D |
| Prompt module | meta-trained in {config["house_steps"]} episodes on the same views |
| Chosen | by held-out few-shot accuracy, {date.today().isoformat()} |

## Data

Real motion capture only, 30 fps, Human3.6M-17 joints.

{config["sources"]}
Most motions of a batch are put together from limbs of several recordings, mirrored, reversed, or swung along smooth
random paths; see `training/pretraining/motion_sampler.py`.

{lineage}## Figures on held-out motion

A ridge classifier on the frozen features is trained on 5 examples of each kind of motion and tested on the others, mean
of 5 draws.
The lift error is the mean distance of the joints relative to the root, in units of half the clip's extent.

| | {before} | this backbone |
|---|---|---|
| few-shot accuracy, all joints | {start["few_shot"]} % | {now["few_shot"]} % |
| few-shot accuracy, joints missing in half of the clips | {start["few_shot_hidden"]} % | {now["few_shot_hidden"]} % |
| lift error (MPJPE) | {start["mpjpe"]} | {now["mpjpe"]} |
{metric}
Made by `skeleton-prompt pretrain`; figures on public action sets stand in `docs/results.md`.
"""
