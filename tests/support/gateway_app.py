"""The gateway with real storage and a small engine, asked over ASGI without a socket."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import structlog

from service.errors import Overloaded
from service.gateway.app import create_app
from service.inference.interface import InferenceEngine, PredictionInput, PredictionResult
from service.settings import Settings
from service.storage.records import JobState
from service.storage.store import Storage
from skeleton_prompt.model.decision import Prediction

# The default renderer draws tracebacks with all local variables, which takes seconds.
structlog.configure(
    processors=[
        structlog.processors.add_log_level,
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
    ]
)

ADMIN = "admin-key-of-the-tests"
LABELS = ("squat", "wave")


class SmallEngine(InferenceEngine):
    """Says the tenant's first label to everybody who moves, and what it was asked."""

    def __init__(self) -> None:
        self.questions: list[PredictionInput] = []
        self.error: Exception | None = None
        self.alive = True
        self.full = False
        self.hold: asyncio.Event | None = None

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass

    def check_admission(self, tenant: str) -> None:
        if self.full:
            raise Overloaded("full", retry_after=1.0)

    async def predict(self, question: PredictionInput) -> PredictionResult:
        self.questions.append(question)
        if self.hold is not None:
            await self.hold.wait()
        if self.error is not None:
            raise self.error
        ranked = tuple(zip(LABELS, (0.9, 0.1), strict=True))[: question.top_k]
        return PredictionResult(Prediction(LABELS[0], True, 0.9, ranked), "memory", 0.1, 0.2, 3.0)

    async def is_ready(self) -> bool:
        return self.alive


class GatewayApp:
    """A running application, its storage, and one way to ask it from ordinary tests."""

    def __init__(self, data_dir: Path, **settings: Any) -> None:
        values = {"data_dir": data_dir, "admin_key": ADMIN, "secret": "s" * 32, "redis_url": None} | settings
        self.engine = SmallEngine()
        self.app = create_app(Settings(**values), engine=self.engine)
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)

    def __enter__(self) -> "GatewayApp":
        self._thread.start()
        self._lifespan = self.app.router.lifespan_context(self.app)
        self.wait(self._lifespan.__aenter__())
        self._http = httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app, raise_app_exceptions=False), base_url="http://test"
        )
        return self

    def __exit__(self, *error: object) -> None:
        self.wait(self._http.aclose())
        self.wait(self._lifespan.__aexit__(None, None, None))
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    def wait(self, work: Any, seconds: float = 30.0) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(seconds)

    @property
    def storage(self) -> Storage:
        return self.app.state.gateway.storage

    def ask(self, method: str, path: str, key: str | None = ADMIN, **options: Any) -> httpx.Response:
        return self.wait(self.asking(method, path, key, **options))

    async def asking(self, method: str, path: str, key: str | None = ADMIN, **options: Any) -> httpx.Response:
        headers = dict(options.pop("headers", {}))
        if key is not None:
            headers.setdefault("Authorization", f"Bearer {key}")
        return await self._http.request(method, path, headers=headers, **options)

    def tenant(self, name: str) -> str:
        """Make a tenant; gives its first key."""
        made = self.ask("POST", "/tenants", json={"id": name})
        assert made.status_code == 201, made.text
        return made.json()["key"]["secret"]

    def key(self, tenant: str, *scopes: str) -> str:
        return self.ask("POST", f"/tenants/{tenant}/keys", json={"scopes": list(scopes)}).json()["secret"]

    def teach(self, tenant: str, *, activate: bool = True) -> int:
        """Do what a worker does, without learning anything; gives the new version."""
        repository = self.storage.tenant(tenant)
        job = repository.create_job([], {})
        token = repository.claim_job(job.id, "test").token
        version = repository.next_version(job.id, token)
        data = f"prompt {tenant} {version}".encode()
        publish(repository, job.id, token, version, data)
        if activate:
            repository.activate(version)
        repository.finish_job(job.id, token, JobState.SUCCEEDED, version=version, activated=activate)
        return version


def publish(repository: Any, job: str, token: int, version: int, data: bytes) -> None:
    repository.publish(
        job,
        token,
        version,
        data,
        backbone_sha256="b" * 64,
        labels=LABELS,
        parameters=10,
        metrics={"accuracy": 0.9},
        report={"accuracy": {"value": 0.9, "low": 0.8, "high": 0.95, "split": "5 folds", "note": "held out"}},
    )


@contextlib.contextmanager
def gateway(data_dir: Path, **settings: Any) -> Iterator[GatewayApp]:
    with GatewayApp(data_dir, **settings) as bench:
        yield bench


def person(frames: int = 24, seed: int = 0, **fields: Any) -> dict[str, Any]:
    """A clip of somebody who stands and sways, in coco17, as nested lists."""
    rng = np.random.default_rng(seed)
    heights = np.array([0, -4, -4, -2, -2, 20, 20, 50, 50, 75, 75, 80, 80, 120, 120, 160, 160], float)
    sides = np.array([0, 4, -4, 8, -8, 18, -18, 26, -26, 30, -30, 12, -12, 13, -13, 14, -14], float)
    sway = 10 * np.sin(np.linspace(0, 6, frames))
    x = 300 + sides[None] + sway[:, None] + rng.normal(0, 0.5, (frames, 17))
    y = 100 + heights[None] + rng.normal(0, 0.5, (frames, 17))
    keypoints = np.stack([x, y, np.full_like(x, 0.9)], -1).round(2).tolist()
    return {"layout": "coco17", "fps": 30, "keypoints": keypoints} | fields


def lessons(shots: int = 2, labels: tuple[str, ...] = LABELS) -> list[dict[str, Any]]:
    return [person(seed=n, label=label, id=f"{label}-{n}", group=f"g{n}") for label in labels for n in range(shots)]
