"""The main job on real skeletons, over HTTP: teach a tenant k clips per class, predict the whole test side.

    python benchmarks/main_job.py --sets utd_mhad,penn_action --shots 5,1 --out runs/main_job.json

Starts a service of its own in an empty folder, or uses the one at SKELETON_PROMPT_URL with SKELETON_PROMPT_KEY (the
admin key). Beside the answers of the service stands ridge on the stream descriptors of the very same clips, its
strength chosen by cross-validation on them. Latency is one client's, throughput that of ``--clients`` at once.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from serving import Service, service

from skeleton_prompt.client import Client
from skeleton_prompt.clips.normalise import prepare
from skeleton_prompt.model.backbone import DESCRIPTORS
from skeleton_prompt.model.features import descriptors
from training.datasets import LabelledSet, draw_shots, read_set
from training.tuning.linear_head import linear_logits
from training.tuning.model_selection import BASELINE_BLOCKS
from training.tuning.tune import TrainingSet, TuneConfig, tune

LATENCY_CLIPS = 200


def baseline(labelled: LabelledSet, drawn: np.ndarray) -> float:
    """Accuracy of ridge on the stream descriptors of the same clips; a clip that shows nothing counts as wrong."""

    def features(indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rows, kept = [], []
        for index in indices:
            with contextlib.suppress(ValueError):
                people, _ = prepare(labelled.clip(int(index)))
                rows.append(descriptors([max(people, key=lambda person: person.motion)])[0])
                kept.append(index)
        return np.stack(rows), np.array(kept)

    taught, drawn = features(drawn)
    lesson = TrainingSet(
        features=taught,
        blocks={BASELINE_BLOCKS[0]: slice(0, DESCRIPTORS)},
        labels=tuple(labelled.label_names[label] for label in labelled.labels[drawn]),
        groups=tuple(labelled.groups[i] if labelled.groups else None for i in drawn),
        ids=tuple(labelled.names[i] for i in drawn),
    )
    outcome = tune(lesson, TuneConfig(kinds=("ridge",)), lambda *_: None)
    asked, kept = features(labelled.test_indices)
    told = [lesson.names[i] for i in linear_logits(outcome.tensors, asked).argmax(1)]
    right = sum(a == labelled.label_names[labelled.labels[i]] for a, i in zip(told, kept, strict=True))
    return right / len(labelled.test_indices)


def one_set(at: Service, labelled: LabelledSet, shots: int, clients: int) -> dict[str, Any]:
    """Teach, predict, count."""
    drawn = draw_shots(labelled.labels, labelled.train_indices, shots, 0)
    tenant = f"{labelled.name.replace('_', '-')}-{shots}-{os.getpid()}"
    with Client(at.url, at.key) as admin:
        key = admin.create_tenant(tenant).key.secret
    with Client(at.url, key, timeout=120) as client:
        began = time.monotonic()
        job = client.tune(tenant, [labelled.document(int(i)) for i in drawn])
        uploaded = time.monotonic() - began
        predicted = job.info.eta_seconds
        first_version = job.wait(timeout=600, until="first").first_version
        first = time.monotonic() - began
        info = job.wait(timeout=600)
        active = time.monotonic() - began
        report = client.report(tenant, info.version)
        answers, rate, errors = predict_all(at.url, key, labelled, clients)
        slow = latencies(client, labelled)
    names = [labelled.label_names[labelled.labels[i]] for i in labelled.test_indices]
    told = [answer.predictions[0]["label"] if answer is not None else None for answer in answers]
    right = np.array([a == b for a, b in zip(told, names, strict=True)])
    known = np.array([answer is not None and answer.known for answer in answers])
    return {
        "set": labelled.name,
        "shots": shots,
        "classes": len(labelled.label_names),
        "taught": len(drawn),
        "tested": len(names),
        "accuracy": float(right.mean()),
        "ridge_on_descriptors": baseline(labelled, drawn),
        "known": float(known.mean()),
        "accuracy_if_known": float(right[known].mean()) if known.any() else None,
        "chosen": report.get("chosen"),
        "upload_seconds": uploaded,
        "first_version": first_version,
        "upload_to_first_seconds": first,
        "upload_to_active_seconds": active,
        "predicted_seconds": predicted,
        "activated": info.activated,
        "errors": errors,
        "p50_ms": slow[0],
        "p99_ms": slow[1],
        "clients": clients,
        "clips_per_second": rate,
    }


def predict_all(url: str, key: str, labelled: LabelledSet, clients: int) -> tuple[list[Any], float, list[str]]:
    """All test clips by several clients at once: answers in order, clips per second, and what went wrong.

    A clip that shows nobody is refused by contract and counts as a wrong answer, not as an error.
    """
    documents = [labelled.document(int(i)) for i in labelled.test_indices]
    mine = threading.local()
    errors: list[str] = []

    def ask(document: dict[str, Any]) -> Any:
        if not hasattr(mine, "client"):
            mine.client = Client(url, key)
        try:
            return mine.client.predict(document)
        except Exception as error:
            if getattr(error, "code", "") != "invalid_clip":
                errors.append(str(error))
            return None

    began = time.monotonic()
    with ThreadPoolExecutor(clients) as pool:
        answers = list(pool.map(ask, documents))
    return answers, len(documents) / (time.monotonic() - began), errors


def latencies(client: Client, labelled: LabelledSet) -> tuple[float, float]:
    """p50 and p99 in ms of one client, one request after the other."""
    times = []
    for index in labelled.test_indices[:LATENCY_CLIPS]:
        document = labelled.document(int(index))
        began = time.perf_counter()
        with contextlib.suppress(Exception):
            client.predict(document)
            times.append(1000 * (time.perf_counter() - began))
    return statistics.median(times), float(np.percentile(times, 99))


def table(rows: list[dict[str, Any]]) -> str:
    """The figures as a Markdown table."""
    head = "| set | shots | ours | ridge on descriptors | upload to first / refined | p50 / p99 | clips/s | errors |"
    lines = [
        f"| {row['set']} | {row['shots']} | {row['accuracy']:.1%} | {row['ridge_on_descriptors']:.1%} "
        f"| {row['upload_to_first_seconds']:.1f} / {row['upload_to_active_seconds']:.1f} s "
        f"| {row['p50_ms']:.1f} / {row['p99_ms']:.1f} ms "
        f"| {row['clips_per_second']:.0f} | {len(row['errors'])} |"
        for row in rows
    ]
    return "\n".join([head, "|---|---|---|---|---|---|---|---|", *lines])


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", default="utd_mhad,penn_action,nw_ucla,posepilot_yoga,irds_subset")
    parser.add_argument("--shots", default="5,1")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--datasets", type=Path, default=None, help="default: SKELETON_PROMPT_DATASETS")
    parser.add_argument("--out", type=Path, default=None)
    given = parser.parse_args()
    rows = []
    with service() as at:
        for name in given.sets.split(","):
            labelled = read_set(name, given.datasets)
            for shots in given.shots.split(","):
                rows.append(one_set(at, labelled, int(shots), given.clients))
                print(json.dumps(rows[-1]), flush=True)
    print(table(rows))
    if given.out is not None:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        document = {"date": datetime.now(timezone.utc).isoformat(timespec="seconds"), "machine": platform.machine()}
        given.out.write_text(json.dumps(document | {"cores": os.cpu_count(), "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
