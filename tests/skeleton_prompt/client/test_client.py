"""The client against a scripted transport: what it sends, when it sends again, what it raises."""

import base64
import json
import subprocess
import sys
from collections.abc import Callable, Iterator

import httpx
import numpy as np
import pytest
import stamina

from skeleton_prompt import client as client_module
from skeleton_prompt.client import (
    AsyncClient,
    Client,
    ConnectionFailed,
    InvalidRequest,
    JobFailed,
    Unavailable,
    requests,
)

ANSWER = {
    "tenant": "acme", "version": 3, "sha256": "ab", "label": "squat", "known": True, "confidence": 0.9,
    "predictions": [{"label": "squat", "probability": 0.9}, {"label": "bow", "probability": 0.1}],
    "people": [{"label": "squat", "known": True, "confidence": 0.9, "predictions": []}], "quality": {}, "new": 1,
}  # fmt: skip
CLIP = {"layout": "coco17", "keypoints": np.full((2, 17, 3), 0.5)}

Handler = Callable[[httpx.Request], httpx.Response]


class Script:
    """A transport that gives prepared answers in turn and remembers what it was sent."""

    def __init__(self, *answers: httpx.Response | Exception):
        self.answers = list(answers)
        self.seen: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture(autouse=True)
def _no_waiting() -> Iterator[None]:
    with stamina.set_testing(True, attempts=3):
        yield


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Script], Client]]:
    made: list[Client] = []

    def make(script: Script) -> Client:
        def open_(self: Client, **options: object) -> None:
            self._http = httpx.Client(transport=httpx.MockTransport(script), **options)

        monkeypatch.setattr(Client, "_open", open_)
        made.append(Client("http://service", "k"))
        return made[-1]

    yield make
    for client in made:
        client.close()


def problem(status: int, code: str, **extra: object) -> httpx.Response:
    headers = {"Retry-After": "0"} if status in (429, 503) else {}
    return httpx.Response(status, json={"code": code, "detail": "no", "request_id": "r1", **extra}, headers=headers)


def test_an_array_of_keypoints_travels_as_float32_and_the_answer_is_typed(connect):
    script = Script(httpx.Response(200, json=ANSWER))
    answer = connect(script).predict(CLIP, top_k=2, tenant="acme")
    sent = json.loads(script.seen[0].content)
    assert (sent["encoding"], sent["shape"], sent["top_k"], sent["tenant"]) == ("f32", [2, 17, 3], 2, "acme")
    assert np.array_equal(np.frombuffer(base64.b64decode(sent["keypoints"]), "<f4"), np.full(102, 0.5))
    assert (answer.label, answer.version, answer.probabilities["bow"]) == ("squat", 3, 0.1)
    assert answer.people[0].label == "squat"
    assert answer.document["new"] == 1
    assert isinstance(CLIP["keypoints"], np.ndarray), "the caller's clip is left alone"


def test_the_key_goes_into_the_header_and_never_into_the_repr(connect):
    script = Script(httpx.Response(200, json=ANSWER))
    client = connect(script)
    client.predict(CLIP)
    assert script.seen[0].headers["Authorization"] == "Bearer k"
    assert "k" not in repr(client).replace("Client", "")


def test_a_busy_service_is_asked_again_and_a_tuning_keeps_its_idempotency_key(connect):
    job = {"job": "j1", "state": "queued"}
    script = Script(problem(503, "overloaded"), httpx.ReadError("broken"), httpx.Response(202, json=job))
    assert connect(script).tune("acme", [CLIP | {"label": "a"}]).id == "j1"
    keys = {request.headers["Idempotency-Key"] for request in script.seen}
    assert len(script.seen) == 3
    assert len(keys) == 1


def test_what_must_not_happen_twice_is_not_sent_twice_once_it_may_have_arrived(connect):
    script = Script(httpx.ReadError("broken"))
    with pytest.raises(ConnectionFailed, match="does not answer"):
        connect(script).rollback("acme")
    assert len(script.seen) == 1
    script = Script(httpx.ConnectError("refused"), httpx.Response(200, json={"version": 1}))
    assert connect(script).rollback("acme").version == 1


def test_a_wrong_clip_is_not_sent_again_and_its_problems_are_in_the_exception(connect):
    errors = [{"loc": "keypoints[3]", "rule": "wrong_joint_count", "message": "16 joints, 17 expected"}]
    script = Script(problem(422, "invalid_clip", errors=errors))
    with pytest.raises(InvalidRequest) as caught:
        connect(script).predict(CLIP)
    assert len(script.seen) == 1
    assert (caught.value.code, caught.value.errors, caught.value.request_id) == ("invalid_clip", errors, "r1")
    assert "keypoints[3]: 16 joints, 17 expected" in str(caught.value)


def test_when_it_stays_busy_the_last_problem_is_raised(connect):
    script = Script(*[problem(503, "overloaded") for _ in range(3)])
    with pytest.raises(Unavailable) as caught:
        connect(script).predict(CLIP)
    assert caught.value.retry_after == 0.0


def test_waiting_until_the_first_version_ends_while_the_job_goes_on(connect, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)
    states = [{"job": "j", "state": "running", "progress": p, "first_version": v} for p, v in ((0.1, None), (0.3, 4))]
    info = connect(Script(*[httpx.Response(200, json=state) for state in states])).job("acme", "j").wait(until="first")
    assert (info.state, info.first_version, info.version) == ("running", 4, None)
    without = {"job": "j", "state": "succeeded", "first_version": None, "version": 1}
    assert connect(Script(httpx.Response(200, json=without))).job("acme", "j").wait(until="first").version == 1
    with pytest.raises(ValueError, match="'soon'"):
        connect(Script(httpx.Response(200, json=without))).job("acme", "j").wait(until="soon")


def test_waiting_ends_with_the_job_and_raises_when_it_failed(connect, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)
    states = [{"job": "j", "state": s, "progress": p} for s, p in (("queued", 0), ("running", 0.5), ("succeeded", 1))]
    client = connect(Script(*[httpx.Response(200, json=state) for state in states]))
    assert client.job("acme", "j").wait(progress=True).state == "succeeded"
    failed = {"job": "j", "state": "failed", "error": {"detail": "nothing to learn"}}
    with pytest.raises(JobFailed, match="nothing to learn"):
        connect(Script(httpx.Response(200, json=failed))).job("acme", "j").wait()


def test_the_async_client_has_the_same_methods_with_the_same_arguments():
    import inspect

    public = [name for name in vars(Client) if not name.startswith("_")]
    assert "predict" in public
    for name in public:
        sync, later = getattr(Client, name), getattr(AsyncClient, name)
        assert inspect.iscoroutinefunction(later), name
        assert inspect.signature(sync).parameters.keys() == inspect.signature(later).parameters.keys(), name


def test_the_async_client_predicts(monkeypatch):
    import anyio

    script = Script(problem(503, "overloaded"), httpx.Response(200, json=ANSWER))

    def open_(self: AsyncClient, **options: object) -> None:
        self._http = httpx.AsyncClient(transport=httpx.MockTransport(script), **options)

    monkeypatch.setattr(AsyncClient, "_open", open_)

    async def main() -> str | None:
        async with AsyncClient("http://service", "k") as client:
            return (await client.predict(CLIP)).label

    assert anyio.run(main) == "squat"


def test_every_endpoint_has_a_method_on_both_clients():
    built = [
        name
        for name, value in vars(requests).items()
        if callable(value) and not name.startswith("_") and getattr(value, "__module__", "") == requests.__name__
    ]
    for name in set(built) - {"Request", "clip_body"}:
        assert hasattr(Client, name), name
        assert hasattr(AsyncClient, name), name


def test_importing_the_client_imports_neither_torch_nor_the_server():
    heavy = ("torch", "fastapi", "pydantic", "sqlalchemy", "service", "training")
    code = f"import sys, skeleton_prompt.client; sys.exit(str([m for m in {heavy} if m in sys.modules] or ''))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stderr.strip() == ""
    assert client_module.__all__ == sorted(client_module.__all__)
