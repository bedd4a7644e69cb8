"""What a request costs the gateway itself: its CPU for ``POST /predict`` before an engine that answers at once.

    python benchmarks/gateway_cost.py                # CPU ms per request of the server's process, and per stage
    python benchmarks/gateway_cost.py --form msgpack

The real application runs under the real uvicorn in this process; another process sends the clips over connections that
stay open. The clips are those of ``skeleton-prompt bench``: 96 frames of 17 joints, 33 kB as JSON. Every figure is CPU
time and the best of several rounds, because other work on the machine can only add to it. Gate S4 wants 2.5 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import http.client
import multiprocessing
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn

from service.bench.clips import CONTENT_TYPES, FORMS, body, documents
from service.gateway.app import create_app
from service.gateway.http import request_body
from service.inference.execution.batch import GC_THRESHOLD
from service.inference.interface import PredictionInput, PredictionResult
from service.logs import configure_logging
from service.settings import Settings
from service.storage.store import Storage
from skeleton_prompt.clips.clip import parse_clip
from skeleton_prompt.clips.normalise import prepare
from skeleton_prompt.model.decision import Prediction

LABELS = ("squat", "wave")
START_S = 30.0


class InstantEngine:
    """Says the same to everybody, at once: what remains is the gateway's own work."""

    async def start(self) -> None:
        """Nothing to load; the garbage collector as real engines leave it."""
        gc.collect()
        gc.freeze()
        gc.set_threshold(GC_THRESHOLD)

    async def stop(self) -> None:
        """Nothing to let go of."""

    def admit(self, tenant: str) -> None:
        """There is room for everybody."""

    async def predict(self, question: PredictionInput) -> PredictionResult:  # noqa: ARG002  # everybody gets the same answer
        """The first label."""
        ranked = tuple(zip(LABELS, (0.9, 0.1), strict=True))
        return PredictionResult(Prediction(LABELS[0], True, 0.9, ranked), "memory", 0.1, 0.2, 3.0)

    async def probe(self) -> bool:
        """It is always there."""
        return True


def taught_tenant(settings: Settings) -> str:
    """Make a tenant with an active version, as a tuning job would; gives its key."""
    storage = Storage.open(settings)
    storage.prepare()
    _, _, secret = storage.admin.create_tenant("bench")
    repository = storage.tenant("bench")
    job = repository.create_job([], {})
    token = repository.claim_job(job.id, "benchmark").token
    version = repository.next_version(job.id, token)
    described: dict[str, Any] = {"backbone_sha256": "b" * 64, "labels": LABELS, "parameters": 1}
    repository.publish(job.id, token, version, b"prompt", **described, metrics={}, report={})
    repository.activate(version)
    storage.close()
    return secret


def send(port: int, secret: str, form: str, requests: int, connections: int) -> None:
    """Send clips over some connections at once, in a process of its own; every one must be answered with 200."""
    contents = [body(document, form) for document in documents()]
    headers = {"Authorization": f"Bearer {secret}", "Content-Type": CONTENT_TYPES[form]}

    def one(share: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        for number in range(share):
            connection.request("POST", "/predict", contents[number % len(contents)], headers)
            response = connection.getresponse()
            answer = response.read()
            if response.status != 200:
                raise SystemExit(f"{response.status}: {answer[:200]!r}")

    threads = [threading.Thread(target=one, args=(requests // connections,)) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


async def rounds_of(settings: Settings, secret: str, form: str, requests: int, rounds: int, connections: int) -> float:
    """CPU milliseconds per request of this process, the best round; one round before them warms up."""
    listener = socket.create_server(("127.0.0.1", 0))
    app = create_app(settings, engine=InstantEngine())
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, server_header=False))
    serving = asyncio.create_task(server.serve([listener]))
    deadline = time.monotonic() + START_S
    while not server.started and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    spawn = multiprocessing.get_context("spawn")
    best = float("inf")
    for number in range(rounds + 1):
        arguments = (listener.getsockname()[1], secret, form, requests, connections)
        client = spawn.Process(target=send, args=arguments)
        client.start()
        began = time.process_time()
        await asyncio.to_thread(client.join)
        spent = time.process_time() - began
        if client.exitcode:
            raise SystemExit("the client failed")
        if number:
            best = min(best, 1e3 * spent / requests)
    server.should_exit = True
    await serving
    return best


def stage(work: Callable[[Any], object], items: Sequence[Any], rounds: int = 40) -> float:
    """CPU milliseconds of one call, the best round."""
    best = float("inf")
    for _ in range(rounds):
        began = time.process_time()
        for item in items:
            work(item)
        best = min(best, 1e3 * (time.process_time() - began) / len(items))
    return best


def stages(form: str) -> dict[str, float]:
    """What decoding, checking and preparing a clip take of it."""
    contents = [body(document, form) for document in documents()]
    decode = partial(request_body.decode_clip, form=CONTENT_TYPES[form], max_depth=32)
    decoded = [decode(content) for content in contents]
    clips = [parse_clip(document) for document in decoded]
    return {
        "decode": stage(decode, contents),
        "parse_clip": stage(parse_clip, decoded),
        "prepare": stage(prepare, clips),
    }


def main() -> None:
    """Print the cost of a request and of its stages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--form", default="json", choices=FORMS)
    parser.add_argument("--requests", type=int, default=800, help="of one round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=4)
    given = parser.parse_args()
    configure_logging()
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(data_dir=Path(folder), redis_url=None)
        secret = taught_tenant(settings.resolved())
        whole = uvloop_run(rounds_of(settings, secret, given.form, given.requests, given.rounds, given.connections))
    print(f"whole request  {whole:6.2f} ms")
    for name, value in stages(given.form).items():
        print(f"{name:14} {value:6.2f} ms")


def uvloop_run(work: Any) -> Any:
    """Run on the event loop that ``serve`` uses."""
    import uvloop

    return uvloop.run(work)


if __name__ == "__main__":
    main()
