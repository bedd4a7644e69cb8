"""`skeleton-prompt demo`: the main job from end to end, with made-up actions and a service of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.connection import ADMIN_KEY_FILE, running_server
from service.cli.demo_picture import TAUGHT, Outcome
from service.cli.output import AsJson, console, print_json, progress

if TYPE_CHECKING:
    from skeleton_prompt.client import Client

UNSEEN = ("clap",)  # never taught: the right answer is "I do not know this"
TENANT = "demo"
START_S = 180.0  # usually a few; the first start on a slow disk reads hundreds of megabytes of torch


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(demo)


def demo(
    out: Annotated[Path, typer.Option(help="Where to draw the result.")] = Path("runs/demo.png"),
    shots: Annotated[int, typer.Option(min=1, help="Clips per action to tune on.")] = 5,
    tests: Annotated[int, typer.Option(min=1, help="Unseen clips of each action to predict.")] = 6,
    seed: Annotated[int, typer.Option(help="Another seed makes other people and cameras.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Start a service, tune it on a few synthetic clips per action, predict unseen ones, draw the result."""
    import numpy as np

    from skeleton_prompt.synthetic import make_clip

    say = console(stderr=True).print
    rng = np.random.default_rng(seed)
    lessons = [make_clip(a, rng, group=f"{a}-{n}") for a in TAUGHT for n in range(shots)]
    unseen = [(a, make_clip(a, rng)) for a in (*TAUGHT, *UNSEEN) for _ in range(tests)]
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="skeleton-prompt-demo-") as folder:
        say("[bold]1[/]  Starting a service of its own in a temporary folder")
        with _service(Path(folder)) as client:
            started = time.monotonic()
            client.create_tenant(TENANT)
            say(f"[bold]2[/]  Teaching {len(TAUGHT)} actions with {shots} clips each: {', '.join(TAUGHT)}")
            job = client.tune(TENANT, lessons, seed=seed).wait(timeout=300, progress=not as_json)
            taught = time.monotonic()
            say(f"[bold]3[/]  Predicting {len(unseen)} clips that it never saw, {tests} of them of an untaught action")
            outcomes = [_outcome(client, a, c) for a, c in progress(unseen, total=len(unseen), what="", quiet=as_json)]
            predicted = time.monotonic()
    seconds = {"start": started - began, "teach": taught - started, "predict": predicted - taught}
    summary = _summary(outcomes) | {"version": job.version, "seconds": {k: round(v, 1) for k, v in seconds.items()}}
    from service.cli.demo_picture import draw

    draw(outcomes, summary, out)
    if as_json:
        print_json(summary | {"picture": str(out)})
    else:
        _print(summary, out)


def _outcome(client: Client, action: str, clip: dict[str, Any]) -> Outcome:
    question = {name: value for name, value in clip.items() if name != "label"}
    answer = client.predict(question, tenant=TENANT)
    return Outcome(action, clip, answer.label, answer.confidence, answer.predictions)


def _summary(outcomes: list[Outcome]) -> dict[str, Any]:
    rows = []
    for action in (*TAUGHT, *UNSEEN):
        of_action = [outcome for outcome in outcomes if outcome.action == action]
        wrong = [outcome.label or "unknown" for outcome in of_action if not outcome.right]
        right = len(of_action) - len(wrong)
        rows.append(
            {"action": action, "taught": action in TAUGHT, "clips": len(of_action), "right": right, "wrong": wrong}
        )
    known = [outcome for outcome in outcomes if outcome.action in TAUGHT]
    return {
        "accuracy": sum(o.right for o in known) / len(known),
        "best_guess_accuracy": sum(o.predictions[0]["label"] == o.action for o in known) / len(known),
        "unknown_recognised": sum(o.right for o in outcomes if o.action in UNSEEN) / (len(outcomes) - len(known)),
        "actions": rows,
    }


def _print(summary: dict[str, Any], out: Path) -> None:
    from rich.table import Table

    table = Table("action", "right", "instead", box=None, pad_edge=False, header_style="bold")
    for row in summary["actions"]:
        name = row["action"] if row["taught"] else f"{row['action']} (never taught)"
        table.add_row(name, f"{row['right']} of {row['clips']}", ", ".join(row["wrong"]) or "-")
    shown = console()
    shown.print()
    shown.print(table)
    shown.print()
    times = summary["seconds"]
    facts = {
        "named rightly": f"{summary['accuracy']:.0%}  (best guess right: {summary['best_guess_accuracy']:.0%})",
        "untaught kept unnamed": f"{summary['unknown_recognised']:.0%}",
        "seconds": f"{times['start']} to start, {times['teach']} to teach, {times['predict']} to predict",
        "picture": str(out),
    }
    for name, value in facts.items():
        shown.print(f"{name:<24}{value}")


@contextlib.contextmanager
def _service(data: Path) -> Iterator[Client]:
    """The real `serve` as a child, on a free port, stopped at the end whatever happens."""
    from service.process.child import spawn
    from skeleton_prompt.client import Client

    log = data / "serve.log"
    # Only what the user set for installing or for the machine goes along, not settings meant for another service.
    env = {name: value for name, value in os.environ.items() if not name.startswith("SKELETON_PROMPT_")}
    env |= {"SKELETON_PROMPT_DATA_DIR": str(data), "SKELETON_PROMPT_PORT": "0", "PYTHONSAFEPATH": "1"}
    with log.open("wb") as stream:
        process = spawn([sys.executable, "-m", "service.cli", "serve"], env=env, output=stream.fileno())
    try:
        url = _wait_for_start(process, data, log)
        with Client(url, (data / ADMIN_KEY_FILE).read_text().strip()) as client:
            yield client
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for_start(process: subprocess.Popen[bytes], data: Path, log: Path) -> str:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        server = running_server(data)
        if server is not None:
            return str(server["url"])
        if process.poll() is not None:
            break
        time.sleep(0.05)
    raise RuntimeError(f"The service did not start:\n{log.read_text(errors='replace')[-3000:]}")
