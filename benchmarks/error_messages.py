"""What a user sees when something is wrong: one table row for each thing tried on a real service of its own.

    python benchmarks/error_messages.py

Sends bad clips, bodies and keys, then kills the training worker, the private Redis and the service itself, each with
SIGKILL, and looks at what is left. Ends only processes that it started; takes about two minutes.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import signal
import time
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from serving import Service, service, start

from skeleton_prompt.client import Client
from skeleton_prompt.synthetic import make_clip

ACTIONS = ("wave", "squat", "bow", "kick")
Json = dict[str, Any]


def clip(action: str = "wave", seed: int = 9, *, label: bool = False, **changes: Any) -> Json:
    """A sound clip as JSON, with some fields changed."""
    document = make_clip(action, np.random.default_rng(seed))
    document["keypoints"] = np.asarray(document["keypoints"]).tolist()
    if not label:
        document.pop("label")
    return document | changes


def lessons(count: int) -> list[Json]:
    """Some labelled clips of each action."""
    return [clip(action, 100 * n + k, label=True) for n, action in enumerate(ACTIONS) for k in range(count)]


def ask(
    at: Service, key: str, path: str, body: Any, headers: dict[str, str] | None = None, method: str = "POST"
) -> Any:
    """Send anything at all; status, document and milliseconds."""
    connection = http.client.HTTPConnection(at.url.split("//")[1], timeout=60)
    sent = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"} | (headers or {})
    data = body if body is None or isinstance(body, bytes) or not isinstance(body, dict) else json.dumps(body).encode()
    began = time.perf_counter()
    with contextlib.closing(connection):
        # A service that has refused a body does not read the rest of it.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.request(method, path, data, sent, encode_chunked="Transfer-Encoding" in sent)
        response = connection.getresponse()
        document = json.loads(response.read())
    return response.status, document, 1000 * (time.perf_counter() - began)


def show(what: str, got: Any) -> None:
    """Print one row."""
    status, document, ms = got
    errors = document.get("errors") or []
    said = f"{errors[0]['loc']}: {errors[0]['message']}" if errors else document.get("detail")
    said = str(said or f"label {document.get('label')}").replace("|", "/")
    print(f"| {what} | {status} | {document.get('code', '')} | {said} | {ms:.0f} |", flush=True)


def note(what: str, said: str) -> None:
    """Print one row about something other than an answer."""
    print(f"| {what} | | | {said} | |", flush=True)


def bad_clips(at: Service, key: str) -> None:
    """Clips that cannot be predicted."""

    def predict(what: str, body: Any, **headers: str) -> None:
        show(what, ask(at, key, "/predict", body, headers))

    keypoints = clip()["keypoints"]
    ragged = [frame[:9] if number == 4 else frame for number, frame in enumerate(keypoints)]
    text = clip()
    text["keypoints"][5][3][0] = "1.5"
    word = clip()
    word["keypoints"][5][3][0] = float("nan")
    blank = np.full((30, 17, 3), np.nan, "<f4")
    packed = {"encoding": "f32", "shape": list(blank.shape), "keypoints": base64.b64encode(blank.tobytes()).decode()}
    predict("16 joints where the layout has 17", clip(keypoints=[frame[:16] for frame in keypoints]))
    predict("unknown layout", clip(layout="coco71"))
    predict("a ragged frame", clip(keypoints=ragged))
    predict('`"1.5"` as a coordinate', text)
    predict("the word NaN", word)
    predict("base64 float32, all NaN", clip(**packed))
    predict("1e999", json.dumps(clip(fps=30)).replace('"fps": 30', '"fps": 1e999').encode())
    predict("an empty clip", clip(keypoints=[]))
    predict("nobody visible", clip(keypoints=[None] * 30))
    predict("100,000 levels of nesting", b'{"keypoints":' + b"[" * 100_000 + b"]" * 100_000 + b"}")
    predict("another content type", clip(), **{"Content-Type": "text/csv"})
    predict("a version that does not exist", clip(version=99))
    show("an unknown key", ask(at, "nonsense", "/predict", clip()))


def large_bodies(at: Service, key: str) -> None:
    """Bodies past every limit."""
    block = b" " * (1 << 20)

    def blocks() -> Iterable[bytes]:
        return (block for _ in range(300))

    for path in ("/predict", "/tenants/acme/tune"):
        show(f"300 MB to `{path}`, declared", ask(at, key, path, blocks(), {"Content-Length": str(300 << 20)}))
        show(f"300 MB to `{path}`, chunked", ask(at, key, path, blocks(), {"Transfer-Encoding": "chunked"}))
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join([*(packer.compress(bytes(1 << 20)) for _ in range(400)), packer.flush()])
    show(f"a gzip bomb of {len(bomb) >> 10} kB", ask(at, key, "/predict", bomb, {"Content-Encoding": "gzip"}))


def child(parent: int, word: str) -> int:
    """The process id of a service's child."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError, ValueError, IndexError):
                mine = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1]) == parent
                if mine and word in (folder / "cmdline").read_text():
                    return int(folder.name)
        time.sleep(0.05)
    raise SystemExit(f"no child {word}")


def killed_parts(at: Service, key: str) -> None:
    """SIGKILL for the worker, Redis and the service."""
    if at.process is None or at.data is None:
        raise SystemExit("the service is not ours to kill")
    with Client(at.url, key, timeout=120) as client:
        worker = child(at.process.pid, "training.jobs.worker")
        job = client.tune("acme", lessons(6), activate="always")
        while job.refresh().state == "queued":
            time.sleep(0.01)
        os.kill(worker, signal.SIGKILL)
        began = time.monotonic()
        done = job.wait(timeout=120)
        note("the training worker killed in a job", f"{done.state}, attempt {done.attempt}, {seconds(began)} later")
        wanted = client.predict(clip())
        os.kill(child(at.process.pid, "redis-server"), signal.SIGKILL)
        began = time.monotonic()
        job = client.tune("acme", lessons(2), activate="always")
        answers = [client.predict(clip()) for _ in range(20)]
        right = sum(answer.label == wanted.label for answer in answers)
        done = job.wait(timeout=120)
        note("Redis killed", f"{right} of 20 predictions right; a job sent at once {done.state} {seconds(began)} later")
        wanted = client.predict(clip())
    at.process.kill()
    at.process.wait()
    began = time.monotonic()
    again = start(at.data)
    at.process, at.url = again.process, again.url
    ready = seconds(began)
    with Client(at.url, key) as client:
        same = client.predict(clip()).predictions == wanted.predictions
    note(
        "the whole service killed and started again", f"ready after {ready}; the same answer: {'yes' if same else 'NO'}"
    )


def seconds(since: float) -> str:
    """Time passed, in words."""
    return f"{time.monotonic() - since:.1f} s"


def main() -> None:
    """Print the table."""
    print("| tried | status | code | the first thing it says | ms |\n|---|---|---|---|---|")
    with service(own=True) as at:
        with Client(at.url, at.key) as admin:
            key, other = (admin.create_tenant(name).key.secret for name in ("acme", "other"))
        show("predicting before teaching", ask(at, key, "/predict", clip()))
        one = {"clips": [clip("wave", seed, label=True) for seed in range(3)]}
        show("one label only", ask(at, key, "/tenants/acme/tune", one))
        with Client(at.url, key) as client:
            job = client.tune("acme", lessons(3))
            job.wait(timeout=120)
        bad_clips(at, key)
        show("another tenant's job", ask(at, other, f"/tenants/acme/jobs/{job.id}", None, method="GET"))
        once = {"Idempotency-Key": "one"}
        ask(at, key, "/tenants/acme/clips", {"clips": lessons(1)}, once)
        show("the same idempotency key, another body", ask(at, key, "/tenants/acme/clips", {"clips": lessons(2)}, once))
        large_bodies(at, key)
        killed_parts(at, key)


if __name__ == "__main__":
    main()
