"""The TorchServe handler without TorchServe: what happens to rows, whatever happens to Redis and the clock."""

import ast
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from service.inference.interface import PredictionInput
from service.inference.torchserve import codec
from service.inference.torchserve import handler as handler_module
from service.inference.torchserve.handler import SkeletonPromptHandler
from service.storage.blobs.paths import backbone_blob, prompt_blob
from service.storage.prompt_cache.redis_tier import redis_key
from skeleton_prompt.model.engine import Engine
from tests.support.engine_rows import person, random_prompt
from tests.support.redis_server import redis_server
from tests.support.torchserve_process import TorchServeRoom, backbone_file


class Context:
    """What TorchServe tells a handler about a batch, and what the handler says of each row."""

    gpu_id: int | None = None

    def __init__(self, room, headers=()):
        self.system_properties = {"model_dir": str(room.folder), "gpu_id": self.gpu_id}
        self.manifest = {"model": {"serializedFile": room.backbone.name}}
        self.headers, self.status = list(headers), {}

    def get_request_header(self, index, name):
        return self.headers[index].get(name)

    def set_response_status(self, code, phrase, index):
        self.status[index] = code

    def set_response_content_type(self, index, kind):
        assert kind == codec.CONTENT_TYPE


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    return TorchServeRoom(tmp_path_factory.mktemp("handler"))


@pytest.fixture
def start(room, monkeypatch):
    """Starts handlers, as more replicas have them."""

    def start(**settings):
        values = {"data_dir": room.folder, "blob_url": room.folder / "blobs", **settings}
        for name, value in values.items():
            monkeypatch.setenv(f"SKELETON_PROMPT_{name.upper()}", str(value))
        handler = SkeletonPromptHandler()
        handler.initialize(Context(room))
        return handler

    return start


def ask(room, handler, *questions):
    """Status, answer and logits of each row of one batch; without logits the error."""
    context = Context(room, [codec.encode_headers(question) for question in questions])
    bodies = handler.handle([{"body": bytearray(codec.encode_input(question))} for question in questions], context)
    read = [
        codec.decode_result(body, 0.0) if context.status[n] == 200 else (codec.decode_error(body), None)
        for n, body in enumerate(bodies)
    ]
    return [(context.status[n], *both) for n, both in enumerate(read)]


def figures(room, handler):
    context = Context(room, [{codec.PROBE: codec.FIGURES}])
    return codec.decode_probe(handler.handle([{"body": b""}], context)[0])[1]


def question(ref, seed=0, seconds=60.0):
    return PredictionInput(person(seed), ref, 2, None, time.monotonic() + seconds)


def right(engine, prompt, asked):
    return pytest.approx(engine.forward([(asked.person, prompt)])[0], abs=1e-5)


def test_rows_that_were_late_before_they_came_are_answered_without_being_computed(room, start, monkeypatch):
    handler, ref = start(), room.publish(random_prompt(room.engine, 1))
    computed = []
    forward = handler._engine.forward_chunks
    monkeypatch.setattr(handler._engine, "forward_chunks", lambda rows: (computed.append(len(rows)), forward(rows))[1])
    rows = [question(ref, 0, -1.0), question(ref, 1), question(ref, 2, -1.0), question(ref, 3)]
    got = ask(room, handler, *rows)
    assert [status for status, _, _ in got] == [504, 200, 504, 200]
    assert computed == [2]
    assert figures(room, handler).late == 2


def test_a_row_that_becomes_late_while_its_neighbours_prompt_loads_is_not_computed(room, start, monkeypatch):
    handler = start()
    near, far = (room.publish(random_prompt(room.engine, seed)) for seed in (1, 2))
    assert ask(room, handler, question(near))[0][0] == 200  # in memory from here on
    clock, real = [0.0], time.monotonic
    read = handler_module.get_prompt

    def slowly(prompts, ref):
        clock[0] = 10.0  # ten seconds pass
        return read(prompts, ref)

    rows = [question(near, 0, 5.0), question(far, 1, 60.0)]
    monkeypatch.setattr(handler_module, "get_prompt", slowly)
    monkeypatch.setattr(handler_module, "WAIT_S", 60.0)  # the loop runs by the same clock
    monkeypatch.setattr(handler_module.time, "monotonic", lambda: real() + clock[0])
    got = ask(room, handler, *rows)
    assert [status for status, _, _ in got] == [504, 200]
    assert got[1][1].batch_rows == 1


def test_of_each_batch_one_answer_tells_how_many_rows_it_had(room, start):
    ref = room.publish(random_prompt(room.engine, 1))
    got = ask(room, start(), *(question(ref, seed) for seed in range(5)))
    assert sorted(answer.batch_rows for _, answer, _ in got) == [0, 0, 0, 0, 5]


def test_loads_evictions_and_bytes_are_counted(room, start):
    handler = start(prompt_cache_entries=2)
    prompts = [random_prompt(room.engine, seed) for seed in range(1, 5)]
    refs = [room.publish(prompt) for prompt in prompts]
    for ref in [*refs, refs[0], refs[0]]:
        assert ask(room, handler, question(ref))[0][0] == 200
    got = figures(room, handler)
    assert (got.prompts, got.loads, got.evictions) == (2, {"store": 5}, 3)
    assert got.prompt_bytes == prompts[3].nbytes + prompts[0].nbytes


@pytest.mark.services
@pytest.mark.parametrize("trouble", ["bit flipped", "wrong type", "killed", "frozen"])
def test_whatever_happens_to_redis_the_answers_are_right(room, start, trouble):
    prompt = random_prompt(room.engine, 1)
    ref = room.publish(prompt)
    asked = question(ref)
    with redis_server() as server:
        assert ask(room, start(redis_url=server.url), asked)[0][1].cache == "store"
        status, answer, logits = ask(room, start(redis_url=server.url), asked)[0]
        assert (status, answer.cache, logits) == (200, "redis", right(room.engine, prompt, asked))
        data = room.blobs.read(prompt_blob(ref))
        with server.client() as client:
            if trouble == "bit flipped":
                client.set(redis_key(ref), data[:-1] + bytes([data[-1] ^ 1]))
            elif trouble == "wrong type":
                client.delete(redis_key(ref))
                client.rpush(redis_key(ref), data)
        handler = start(redis_url=server.url)
        if trouble == "killed":
            server.kill()
        if trouble == "frozen":
            with server.frozen():
                status, answer, logits = ask(room, handler, asked)[0]
        else:
            status, answer, logits = ask(room, handler, asked)[0]
    assert (status, answer.cache, logits) == (200, "store", right(room.engine, prompt, asked))
    assert figures(room, handler).loads == {"store": 1}


def test_prompts_of_the_new_and_of_an_older_backbone_share_a_batch_and_each_is_answered_on_its_own(
    room, start, tmp_path
):
    path = backbone_file(tmp_path, seed=3)
    old = Engine.load(path)
    room.blobs.write(backbone_blob(old.backbone_sha256), path.read_bytes())
    engines = [room.engine, old, room.engine, old]
    prompts = [replace(random_prompt(engine, 5 + n), tenant=f"t{n}") for n, engine in enumerate(engines)]
    rows = [question(room.publish(prompt), n) for n, prompt in enumerate(prompts)]
    handler = start()
    got = ask(room, handler, *rows)
    for (status, _, logits), engine, prompt, asked in zip(got, engines, prompts, rows, strict=True):
        assert status == 200
        np.testing.assert_allclose(logits, engine.forward([(asked.person, prompt)])[0], atol=1e-5)
    assert sorted(answer.batch_rows for _, answer, _ in got) == [0, 0, 2, 2]
    assert figures(room, handler).old_backbones == 1


@pytest.mark.parametrize(
    ("setting", "gpu_id", "device"), [("auto", 1, "cuda:1"), ("auto", None, "cpu"), ("cuda:0", 1, "cuda:0")]
)
def test_a_worker_computes_on_the_gpu_that_torchserve_gave_it(room, start, monkeypatch, setting, gpu_id, device):
    asked, load = [], Engine.load

    def loaded(path, *, threads, **where):
        asked.append(where)
        return load(path, threads=threads)

    monkeypatch.setattr(Engine, "load", loaded)
    monkeypatch.setattr(Context, "gpu_id", gpu_id)
    start(device=setting, cuda_graphs=True)
    (where,) = asked
    cache = where.pop("cache")
    assert where == {"device": device, "cuda_graphs": True, "runtime": "auto"}
    assert cache.endswith("/cache/openvino")


def test_the_handler_module_defines_one_class_because_torchserve_refuses_more():
    module = ast.parse(Path(handler_module.__file__).read_text())
    assert [node.name for node in module.body if isinstance(node, ast.ClassDef)] == ["SkeletonPromptHandler"]
