"""What abusive requests do to the service and to another tenant.

    python benchmarks/abuse.py

Starts a service of its own, teaches two tenants, and tries each abuse while another tenant predicts and ``/livez`` is
asked. Prints a table: what was answered, how long it took, the slowest ``/livez``, the other tenant's median and 95th
percentile, and by how much the gateway's memory grew. Takes about three minutes.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson

from skeleton_prompt.synthetic import make_clip
from tests.support.service_process import Server, serving

GZIP = {"Content-Encoding": "gzip"}
MSGPACK = GZIP | {"Content-Type": "application/msgpack"}
DEEP = b"[" * 17 + b'"' + b'\\"' * 16_000


@dataclass
class Target:
    """The service under test and the tenants' keys."""

    server: Server
    http: httpx.AsyncClient
    busy: str
    calm: str
    job: str
    answers: Counter[int] = field(default_factory=Counter)

    async def post(self, path: str, key: str | None = None, **options: Any) -> None:
        """Send one abusive request and count its status; 0 for a connection that ended."""
        headers = options.pop("headers", {}) | ({"Authorization": f"Bearer {key}"} if key else {})
        try:
            response = await self.http.post(self.server.url + path, headers=headers, **options)
            self.answers[response.status_code] += 1
        except httpx.HTTPError:
            self.answers[0] += 1

    async def get(self, path: str) -> None:
        """Ask one address."""
        response = await self.http.get(self.server.url + path)
        self.answers[response.status_code] += 1


def person(frames: int = 30, fps: float = 30, label: str | None = None) -> dict[str, Any]:
    """A clip of a moving person in coco17."""
    document = make_clip("wave", np.random.default_rng(1))
    keypoints = np.resize(np.asarray(document["keypoints"]), (frames, *np.shape(document["keypoints"])[1:]))
    clip = document | {"keypoints": keypoints.round(2).tolist(), "fps": fps}
    return clip | {"label": label} if label else {name: value for name, value in clip.items() if name != "label"}


def lessons(shots: int) -> list[dict[str, Any]]:
    """Clips of two actions to teach."""
    clips = [make_clip(action, np.random.default_rng(seed)) for action in ("wave", "squat") for seed in range(shots)]
    return [clip | {"keypoints": np.asarray(clip["keypoints"]).tolist()} for clip in clips]


def many_keys() -> bytes:
    """A clip with 20,000 unknown fields."""
    return orjson.dumps(person() | {f"k{n:05d}": 0 for n in range(20_000)})


def many_nils() -> bytes:
    """Eight million nils, 8 kB as sent."""
    return gzip.compress(b"\xdd\x00\x7a\x12\x00" + b"\xc0" * 8_000_000)


async def repeat(count: int, call: Callable[[], Awaitable[None]]) -> None:
    """Do something several times at once."""
    await asyncio.gather(*[call() for _ in range(count)])


async def slow_requests(target: Target) -> None:
    """1,000 connections that never finish their headers."""
    host, port = target.server.url.removeprefix("http://").split(":")
    held = []
    for _ in range(1000):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /predict HTTP/1.1\r\nhost: a\r\n")
        held.append((reader, writer))
    for reader, writer in held:
        try:
            line = await reader.readline()
            target.answers[int(line.split()[1]) if line else 0] += 1
        except OSError:
            target.answers[0] += 1
        writer.close()


async def event_streams(target: Target, path: str) -> None:
    """300 streams of one tenant, held open for five seconds."""
    host, port = target.server.url.removeprefix("http://").split(":")
    request = f"GET {path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {target.busy}\r\n\r\n".encode()
    held = [await asyncio.open_connection(host, int(port)) for _ in range(300)]
    for _, writer in held:
        writer.write(request)
    for reader, _ in held:
        line = await reader.readline()
        target.answers[int(line.split()[1]) if line else 0] += 1
    await asyncio.sleep(5)
    for _, writer in held:
        writer.close()


async def large_headers(target: Target) -> None:
    """144 MB of headers in one request."""
    host, port = target.server.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n")
        for _ in range(144):
            writer.write(b"a: " + b"x" * (1 << 20) + b"\r\n")
            await writer.drain()
        line = await reader.readline()
        target.answers[int(line.split()[1]) if line else 0] += 1
    except OSError:
        target.answers[0] += 1
    writer.close()


def abuses(target: Target) -> list[tuple[str, Callable[[], Awaitable[None]]]]:
    """What is tried, in the order of the table."""
    slow = person(frames=2040, fps=0.1)
    joints = [[float(x), float(x + 1)] for x in range(17)]
    crowd = person() | {"coords": "xy", "keypoints": [[joints] * 15] * 2040}
    tiny = person(frames=2, label="a")
    six = orjson.dumps({"clips": [slow | {"label": name} for name in "abcdef"]})
    timeline, nils = orjson.dumps(person(frames=800)), many_nils()
    packed, members = gzip.compress(DEEP), gzip.compress(b"") * 400_000
    key, events, tune = target.busy, f"/tenants/busy/jobs/{target.job}/events", "/tenants/busy/tune"

    def predict(times: int, secret: str | None = key, **options: Any) -> Callable[[], Awaitable[None]]:
        return lambda: repeat(times, lambda: target.post("/predict", secret, **options))

    def dry_run(times: int, clips: int) -> Callable[[], Awaitable[None]]:
        body = orjson.dumps({"clips": [tiny] * clips, "options": {"dry_run": True}})
        return lambda: repeat(times, lambda: target.post(tune, key, content=body))

    return [
        ("nothing", lambda: asyncio.sleep(5)),
        ("deep JSON without a key, 8 at once", predict(8, None, content=DEEP)),
        ("the same with a key", predict(8, content=DEEP)),
        (f"the same as gzip of {len(packed)} bytes", predict(8, content=packed, headers=GZIP)),
        ("8,000,000 nils in msgpack, 8 at once, without a key", predict(8, None, content=nils, headers=MSGPACK)),
        ("the same with a key", predict(8, content=nils, headers=MSGPACK)),
        ("8 MB of empty gzip members", predict(1, content=members, headers=GZIP)),
        ("20,000 keys beside the keypoints, 4 at once", predict(4, content=many_keys())),
        ("a clip of 2,040 windows (fps 0.1), twice", predict(2, content=orjson.dumps(slow))),
        ("six such clips to tune", lambda: target.post(tune, key, content=six)),
        ("15 people in 2,040 frames, twice", predict(2, content=orjson.dumps(crowd))),
        ("`/readyz` on 20 connections for 5 s", lambda: for_seconds(5, 20, lambda: target.get("/readyz"))),
        ("800 frames to `/predict/segments`", lambda: target.post("/predict/segments", key, content=timeline)),
        ("9,999 clips of two frames, dry run", dry_run(1, 9_999)),
        ("20,000 such clips", dry_run(1, 20_000)),
        ("40 dry runs of 500 such clips", dry_run(40, 500)),
        ("1,000 connections with half a request", lambda: slow_requests(target)),
        ("144 MB of headers", lambda: large_headers(target)),
        ("300 event streams at once", lambda: event_streams(target, events)),
    ]  # fmt: skip


async def within(seconds: float, work: Awaitable[None]) -> None:
    """Give something up after a while."""
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(work, seconds)


async def for_seconds(seconds: float, connections: int, call: Callable[[], Awaitable[None]]) -> None:
    """Do something over and over on several connections."""
    end = time.monotonic() + seconds

    async def one() -> None:
        while time.monotonic() < end:
            await call()

    await repeat(connections, one)


def resident_mb(pid: int) -> float:
    """Resident memory of a process."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    return int(fields["VmRSS"].split()[0]) / 1024


async def watch(target: Target, name: str, abuse: Callable[[], Awaitable[None]]) -> str:
    """Try an abuse, and what others see meanwhile; a row of the table."""
    target.answers.clear()
    live: list[float] = []
    calm: list[float] = []
    failed = 0
    memory = [resident_mb(target.server.process.pid)]
    done = asyncio.Event()

    async def watch_live(http: httpx.AsyncClient) -> None:
        while not done.is_set():
            began = time.monotonic()
            await http.get(target.server.url + "/livez")
            live.append(1000 * (time.monotonic() - began))
            memory.append(resident_mb(target.server.process.pid))
            await asyncio.sleep(0.02)

    async def watch_calm(http: httpx.AsyncClient) -> None:
        nonlocal failed
        body = orjson.dumps(person())
        while not done.is_set():
            began = time.monotonic()
            answer = await http.post(
                target.server.url + "/predict", content=body, headers={"Authorization": f"Bearer {target.calm}"}
            )
            failed += answer.status_code != 200
            calm.append(1000 * (time.monotonic() - began))
            await asyncio.sleep(0.02)

    async with httpx.AsyncClient(timeout=60) as http, httpx.AsyncClient(timeout=60) as other:
        watching = [asyncio.create_task(watch_live(http)), asyncio.create_task(watch_calm(other))]
        await asyncio.sleep(0.3)
        began = time.monotonic()
        await within(120, abuse())
        took = time.monotonic() - began
        await asyncio.sleep(0.3)
        done.set()
        await asyncio.gather(*watching)
    answers = ", ".join(f"{status or 'closed'} × {count}" for status, count in sorted(target.answers.items()))
    calm.sort()
    p95 = calm[int(0.95 * (len(calm) - 1))]
    return (
        f"| {name} | {answers} | {took:.2f} | {max(live):.0f} | {statistics.median(calm):.0f}, {p95:.0f}"
        f"{f', {failed} failed' if failed else ''} | {max(memory) - memory[0]:+.0f} |"
    )


async def main(server: Server) -> None:
    """Teach two tenants, try everything and print the table."""
    with server.client() as admin:
        keys = {name: admin.create_tenant(name).key.secret for name in ("busy", "calm")}
    for name, key in keys.items():
        with server.client(key) as client:
            client.tune(name, lessons(3)).wait(progress=False)
    with server.client(keys["busy"]) as client:
        job = client.tune("busy", lessons(3))
        job.wait(progress=False)
    limits = httpx.Limits(max_connections=400)
    print("| tried | answers | s | slowest `/livez`, ms | another tenant, p50 and p95, ms | memory, MB |")
    print("|---|---|---|---|---|---|")
    async with httpx.AsyncClient(timeout=120, limits=limits) as http:
        target = Target(server, http, keys["busy"], keys["calm"], job.id)
        for name, abuse in abuses(target):
            print(await watch(target, name, abuse), flush=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder) / "data") as running:
        asyncio.run(main(running))
