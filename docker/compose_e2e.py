"""Builds the images, runs all of docker-compose.yml, does the main job on it, kills parts meanwhile, and takes it down.

    make containers-test                     # docker or podman, whichever is there
    python docker/compose_e2e.py --help

It has a project name, a port, volumes and passwords of its own, so a stack that is in use beside it is left alone.
Exits 0 with a line that says why where neither docker nor podman is there.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
import numpy as np
import orjson
import yaml

from skeleton_prompt.client import Client
from skeleton_prompt.client.requests import clip_body
from skeleton_prompt.synthetic import make_clip

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[1]
TARGETS = ("engine", "gateway", "worker")
PROJECT = "skeleton-prompt-rehearsal"
TAUGHT = ("wave", "squat", "walk", "jumping_jack", "fall", "bow", "kick", "sit_down")
TENANT = "rehearsal"


def say(text: str) -> None:
    """One line for whoever watches."""
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


def eventually(look: Callable[[], T | None], what: str, seconds: float) -> T:
    """What ``run_once`` gives once it is neither None nor false.

    Raises:
        TimeoutError: It never was.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.2)
    raise TimeoutError(f"not within {seconds:g} s: {what}")


@dataclass(frozen=True)
class Stack:
    """The containers of one compose project.

    Attributes:
        engine: ``docker`` or ``podman``.
        compose: The compose command.
        env_file: Passwords and the published port.
        services: What runs.
        url: The proxy.
        keys: What the environment file says.
    """

    engine: str
    compose: list[str]
    env_file: Path
    services: list[str]
    url: str
    keys: dict[str, str]

    def run(self, *arguments: str, check: bool = True) -> str:
        """A compose command; gives its output."""
        command = [*self.compose, "--project-name", PROJECT, "--env-file", str(self.env_file)]
        command += ["--file", str(ROOT / "docker-compose.yml"), *arguments]
        return _run(command, check=check)

    def container(self, service: str) -> str:
        """The container of a service."""
        labels = [f"--filter=label=com.docker.compose.{k}={v}" for k, v in (("project", PROJECT), ("service", service))]
        return _run([self.engine, "ps", "--all", "--quiet", *labels]).split()[0]

    def inside(self, service: str, *command: str, check: bool = True) -> str:
        """What a command inside a container says."""
        return _run([self.engine, "exec", self.container(service), *command], check=check)

    def kill(self, service: str) -> None:
        """SIGKILL for everything in a container, by itself: so its restart policy brings it back, as after a crash."""
        self.inside(service, "sh", "-c", "kill -9 -1", check=False)

    def freeze(self, service: str) -> None:
        """SIGSTOP for everything in a container: it is there and says nothing until it is killed."""
        self.inside(service, "sh", "-c", "kill -STOP -1", check=False)

    def fetch(self, address: str) -> str:
        """A page of the inner networks, as a gateway sees it."""
        read = f"import urllib.request as u; print(u.urlopen({address!r}, timeout=5).read().decode())"
        return self.inside("gateway-1", "python", "-c", read)


def _run(command: list[str], *, check: bool = True) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)  # no shell
    if check and done.returncode:
        raise RuntimeError(f"{shlex.join(command[:6])} … ended with {done.returncode}:\n{done.stderr[-3000:]}")
    return done.stdout


@dataclass
class Watcher:
    """Asks without pause, by the raw protocol and without a second try, and holds every answer against the expected.

    Attributes:
        url: The proxy.
        key: The tenant's.
        clips: What is asked.
        expected: Label and version of each, as they were answered in peace.
        seen: How often what was answered.
    """

    url: str
    key: str
    clips: list[bytes]
    expected: list[tuple[str, int]]
    seen: Counter[str] = field(default_factory=Counter)
    gap_s: float = 0.0

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)

    def _ask(self) -> None:
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        last_good = time.monotonic()
        with httpx.Client(base_url=self.url, headers=headers, timeout=30) as http:
            number = 0
            while not self._stop.is_set():
                number = (number + 1) % len(self.clips)
                kind = self._one(http, number)
                self.seen[kind] += 1
                if kind == "right":
                    self.gap_s = max(self.gap_s, time.monotonic() - last_good)
                    last_good = time.monotonic()
                self._stop.wait(0.2)

    def _one(self, http: httpx.Client, number: int) -> str:
        try:
            response = http.post("/predict", content=self.clips[number])
        except httpx.TransportError as error:
            return f"lost: {type(error).__name__}"
        if response.status_code == 503:
            return "503" if "retry-after" in response.headers else "503 without Retry-After"
        if response.status_code != 200:
            return f"status {response.status_code}: {response.text[:200]}"
        answer = response.json()
        right = (answer["predictions"][0]["label"], answer["version"]) == self.expected[number]
        return "right" if right else f"WRONG: {answer['predictions'][0]}, version {answer['version']}"

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def check(self) -> dict[str, Any]:
        """What was seen.

        Raises:
            AssertionError: Something else than right answers and 503 with Retry-After.
        """
        odd = {kind: count for kind, count in self.seen.items() if kind not in ("right", "503")}
        assert not odd, odd
        assert self.seen["right"] > 0
        return dict(self.seen) | {"longest_gap_s": round(self.gap_s, 1)}


def lessons(seed: int, shots: int) -> list[dict[str, Any]]:
    """Made-up labelled clips."""
    rng = np.random.default_rng(seed)
    return [make_clip(action, rng, group=f"{action}-{number}") for action in TAUGHT for number in range(shots)]


def unlabelled(clip: dict[str, Any]) -> dict[str, Any]:
    """The clip as a question."""
    return {name: value for name, value in clip.items() if name != "label"}


class Rehearsal:
    """The steps, in order, and what was measured.

    Args:
        stack: What runs.
    """

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.results: dict[str, Any] = {}
        self.admin = Client(stack.url, stack.keys["SKELETON_PROMPT_ADMIN_KEY"], timeout=120)

    def start(self) -> None:
        """Bring everything up; ready is when a prediction through the proxy is possible."""
        began = time.monotonic()
        self.stack.run("up", "--no-build", "--detach", *self.stack.services)
        self.results["up_s"] = round(time.monotonic() - began, 1)
        eventually(self._ready, "the stack is ready", 600)
        self.results["ready_s"] = round(time.monotonic() - began, 1)

    def _ready(self) -> bool:
        try:
            return httpx.get(f"{self.stack.url}/readyz", timeout=10).status_code == 200
        except httpx.TransportError:
            return False

    def look_around(self) -> None:
        """The console through the proxy; nothing else published; Prometheus sees every part; roots are read-only."""
        page = httpx.get(f"{self.stack.url}/", timeout=30)
        assert page.status_code == 200, page.text
        assert "text/html" in page.headers["content-type"]
        assert httpx.get(f"{self.stack.url}/metrics", timeout=30).status_code == 401
        for service in self.stack.services:
            ports = _run([self.stack.engine, "port", self.stack.container(service)], check=False)
            assert bool(ports.strip()) == (service == "proxy"), f"{service}: {ports}"
        for service in ("gateway-1", "engine-1", "worker-1", "redis", "postgres", "proxy"):
            tried = self.stack.inside(service, "sh", "-c", "id -u; touch /x 2>/dev/null && echo written", check=False)
            assert "written" not in tried, service
            assert int(tried.split()[0]) > 0, service
        self.results["prometheus_targets_up"] = eventually(self._targets, "Prometheus reaches every part", 90)

    def _targets(self) -> int | None:
        found = json.loads(self.stack.fetch("http://prometheus:9090/api/v1/targets"))["data"]["activeTargets"]
        return len(found) if all(target["health"] == "up" for target in found) else None

    def main_job(self) -> None:
        """A tenant teaches eight actions, and asks for clips that were never sent."""
        began = time.monotonic()
        made = self.admin.create_tenant(TENANT)
        self.key = made.key.secret
        self.client = Client(self.stack.url, self.key, timeout=120)
        job = self.client.tune(TENANT, lessons(1, shots=5), seed=0)
        states = self._events(job.id)
        ended = job.wait(timeout=600)
        assert ended.activated, ended
        self.results["main_job_s"] = round(time.monotonic() - began, 1)
        self.results["events_streamed"] = states
        unseen = lessons(101, shots=4)
        answers = [self.client.predict(unlabelled(clip)) for clip in unseen]
        best = [a.predictions[0]["label"] for a in answers]
        right = sum(label == clip["label"] for label, clip in zip(best, unseen, strict=True))
        self.results["unseen_right"] = f"{right} of {len(unseen)}"
        assert right >= 0.8 * len(unseen), self.results
        asked = unseen[::4]
        self.bodies = [orjson.dumps(clip_body(unlabelled(clip))) for clip in asked]
        self.expected = list(zip(best[::4], [a.version for a in answers[::4]], strict=True))
        large = self.client.add_clips(TENANT, lessons(7, shots=12))
        self.results["uploaded_clips"] = len(large["ids"])

    def _events(self, job: str) -> int:
        """How many events of a job came one by one through the proxy."""
        url = f"{self.stack.url}/tenants/{TENANT}/jobs/{job}/events"
        headers = {"Authorization": f"Bearer {self.key}", "Accept": "text/event-stream"}
        with httpx.stream("GET", url, headers=headers, timeout=httpx.Timeout(120)) as response:
            assert response.status_code == 200, response.status_code
            arrivals = [time.monotonic() for line in response.iter_lines() if line.startswith("data:")]
        assert arrivals[-1] - arrivals[0] > 0.5, "the events came all at once: something buffers them"
        return len(arrivals)

    def watched(self) -> Watcher:
        """Predictions that go on meanwhile; a job that publishes must not change what they are about."""
        return Watcher(self.stack.url, self.key, self.bodies, self.expected)

    def kill_an_engine(self) -> None:
        """Predictions stay right or are told to come again; the engine comes back by itself."""
        with self.watched() as watcher:
            time.sleep(2)
            self.stack.kill("engine-1")
            began = time.monotonic()
            eventually(lambda: self._engine_answers("engine-1"), "engine-1 is back", 240)
            self.results["engine_back_s"] = round(time.monotonic() - began, 1)
            time.sleep(1)
        self.results["engine_killed"] = watcher.check()

    def _engine_answers(self, service: str) -> bool:
        try:
            self.stack.inside(service, "python", "/usr/local/lib/probe_engine.py")
        except (RuntimeError, IndexError):
            return False
        return True

    def kill_the_worker_and_redis(self) -> None:
        """Each in the middle of a job: the job ends well, with exactly one version more."""
        for what in ("worker", "redis"):
            before = len(self.client.prompts(TENANT))
            with self.watched() as watcher:
                job = self.client.tune(TENANT, lessons(20, shots=5), seed=1, activate="never")
                eventually(lambda job=job: job.refresh().state == "running", "the job runs", 120)  # type: ignore[misc]
                victim = self._busy_worker() if what == "worker" else "redis"
                self.stack.kill(victim)
                began = time.monotonic()
                ended = job.wait(timeout=600)
                seconds = round(time.monotonic() - began, 1)
            assert ended.state == "succeeded", ended
            versions = len(self.client.prompts(TENANT)) - before
            assert versions == 1, f"{versions} versions of one job"
            self.results[f"{what}_killed"] = watcher.check() | {"job_ended_after_s": seconds, "attempt": ended.attempt}

    def _busy_worker(self) -> str:
        def busy() -> str | None:
            for service in ("worker-1", "worker-2"):
                page = self.stack.fetch(f"http://{service}:9101/metrics")
                if "skeleton_prompt_worker_busy 1.0" in page:
                    return service
            return None

        return eventually(busy, "a worker is busy", 60)

    def kill_every_engine_and_gateway(self) -> None:
        """What a client gets while nobody can answer: 503 with Retry-After, from the gateway and from the proxy."""
        for part, says in (("engine", "the gateway"), ("gateway", "the proxy")):
            both = [f"{part}-{number}" for number in (1, 2)]
            for service in both:
                # A killed gateway is back before the second one is dead, and the proxy waits for it: nobody is refused.
                (self.stack.kill if part == "engine" else self.stack.freeze)(service)
            refusal = eventually(self._refusal, f"{says} refuses", 60)
            assert refusal.headers["retry-after"]
            assert refusal.headers["content-type"].startswith("application/problem+json")
            self.results[f"no_{part}"] = f"503 {refusal.json()['code']}, Retry-After {refusal.headers['retry-after']}"
            began = time.monotonic()
            if part == "gateway":
                for service in both:
                    self.stack.kill(service)
            eventually(self._ready, "the stack is ready again", 600)
            self.results[f"{part}s_back_s"] = round(time.monotonic() - began, 1)

    def _refusal(self) -> httpx.Response | None:
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        try:
            response = httpx.post(f"{self.stack.url}/predict", content=self.bodies[0], headers=headers, timeout=5)
        except httpx.TimeoutException:  # of one that the proxy had handed to a gateway before it found it silent
            return None
        return response if response.status_code == 503 else None

    def run(self) -> None:
        """All of it."""
        for step in (
            self.start,
            self.look_around,
            self.main_job,
            self.kill_an_engine,
            self.kill_the_worker_and_redis,
            self.kill_every_engine_and_gateway,
        ):
            say(f"{step.__name__}: {(step.__doc__ or '').splitlines()[0]}")
            step()
            say(json.dumps(self.results))


def find_engine() -> str | None:
    """The container engine: ENGINE, else what is on the PATH."""
    return os.environ.get("ENGINE") or next((name for name in ("docker", "podman") if shutil.which(name)), None)


def build(engine: str, arguments: list[str]) -> dict[str, float]:
    """Build the three images; how large they are in MB."""
    for target in TARGETS:
        say(f"building {target}")
        tag = ["--tag", f"skeleton-prompt/{target}:0.2.0"]
        _run([engine, "build", *arguments, "--file", "docker/Dockerfile", "--target", target, *tag, "."])
    size = [engine, "image", "inspect", "--format", "{{.Size}}"]
    return {target: round(int(_run([*size, f"skeleton-prompt/{target}:0.2.0"])) / 1e6) for target in TARGETS}


@contextmanager
def stack_of(engine: str, compose: list[str], left_out: set[str], *, keep: bool) -> Iterator[Stack]:
    """A stack that is not up yet, and is taken down at the end with all that it wrote."""
    names = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    made = _run([str(ROOT / "docker" / "make-env.sh")])
    keys = dict(line.split("=", 1) for line in made.splitlines() if line and not line.startswith("#"))
    keys |= {"PUBLISH": address, "TEMPORAL_SECONDS": "20"}
    with tempfile.TemporaryDirectory(prefix="rehearsal-") as folder:
        env_file = Path(folder) / "env"
        env_file.write_text("".join(f"{name}={value}\n" for name, value in keys.items()))
        wanted = [name for name in names if name not in left_out]
        stack = Stack(engine, compose, env_file, wanted, f"http://{address}", keys)
        try:
            yield stack
        except BaseException:
            say("what the containers said last:")
            print(stack.run("logs", "--tail", "40", check=False)[-20000:], file=sys.stderr)
            raise
        finally:
            if not keep:
                stack.run("down", "--volumes", "--timeout", "10", check=False)


def main() -> None:
    """Parse, build, rehearse, print what was measured as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--no-build", action="store_true", help="use the images that are there")
    parser.add_argument("--keep", action="store_true", help="leave the stack running")
    parser.add_argument("--build-args", default=os.environ.get("BUILD_ARGS", ""), help="further arguments of the build")
    parser.add_argument("--leave-out", default=os.environ.get("LEAVE_OUT", ""), help="services that cannot run here")
    options = parser.parse_args()
    engine = find_engine()
    if engine is None:
        print("skipped: neither docker nor podman is installed here")
        return
    compose = shlex.split(os.environ.get("COMPOSE", "docker compose" if engine == "docker" else "podman-compose"))
    results: dict[str, Any] = {}
    if not options.no_build:
        results["image_mb"] = build(engine, shlex.split(options.build_args))
    with stack_of(engine, compose, set(options.leave_out.split()), keep=options.keep) as stack:
        rehearsal = Rehearsal(stack)
        try:
            rehearsal.run()
        finally:
            print(json.dumps(results | rehearsal.results, indent=2))


if __name__ == "__main__":
    main()
