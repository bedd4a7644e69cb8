"""Downloads as ONNX: the model of the version asked for, in the tenant's own layout, and nobody else's."""

import hashlib

import numpy as np
import pytest

from service.gateway.state import onnx_exporter
from skeleton_prompt.clips.clip import parse_clip
from skeleton_prompt.clips.normalise import prepare
from skeleton_prompt.model.backbone import backbone_bytes, load_backbone
from skeleton_prompt.model.engine import Engine
from skeleton_prompt.model.prompt_file import save_prompt
from skeleton_prompt.onnx import export
from skeleton_prompt.onnx.runtime import OnnxModel
from tests.support.engine_rows import random_prompt, small_engine
from tests.support.gateway_app import LABELS, gateway, lessons, person


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    path = tmp_path_factory.mktemp("backbone") / "small.safetensors"
    path.write_bytes(backbone_bytes(small_engine().backbone))
    return path


@pytest.fixture(scope="module")
def engine(small):
    return Engine(load_backbone(small))


@pytest.fixture(scope="module")
def bench(tmp_path_factory, small):
    with gateway(tmp_path_factory.mktemp("data"), backbone=str(small)) as bench:
        yield bench


@pytest.fixture(scope="module")
def taught(bench, engine):
    """A tenant with a version that the small backbone can run; its key and prompt."""
    prompt = random_prompt(engine, 5, classes=2)
    key = bench.tenant("exporting")
    repository = bench.storage.tenant("exporting")
    job = repository.create_job([], {})
    token = repository.claim_job(job.id, "test").token
    version = repository.next_version(job.id, token)
    repository.publish(
        job.id, token, version, save_prompt(prompt), backbone_sha256=prompt.backbone_sha256, labels=LABELS,
        parameters=prompt.parameters, metrics={}, report={},
    )  # fmt: skip
    return key, prompt


def ask(bench, key, query="", version="1", tenant="exporting"):
    path = f"/tenants/{tenant}/prompts/{version}/download?format=onnx{query}"
    return bench.wait(bench.asking("GET", path, key), seconds=200)


@pytest.mark.slow
def test_a_version_is_downloaded_as_a_model_that_answers_as_the_engine_does(bench, engine, taught):
    key, prompt = taught
    bench.ask("POST", "/tenants/exporting/clips", key, json={"clips": lessons(shots=1)})
    response = ask(bench, key)
    assert response.status_code == 200, response.text
    assert 'filename="exporting-1.onnx"' in response.headers["Content-Disposition"]
    assert response.headers["ETag"] == f'"{hashlib.sha256(response.content).hexdigest()}"'
    model = OnnxModel(response.content)
    assert (model.card.layout, model.card.coords) == ("coco17", "xyc")
    clip = parse_clip(person(frames=40, seed=3))
    (logits,) = engine.forward([(prepare(clip)[0][0], prompt)])
    assert np.abs(model.answers(clip)[0].logits - logits).max() <= 1e-4
    assert ask(bench, key).content == response.content


def test_exports_are_made_once_and_forgotten_with_their_tenant(bench, taught, monkeypatch):
    made = []

    async def run(folder, wanted):
        made.append(wanted)
        (folder / "model.onnx").write_bytes(b"a model")

    monkeypatch.setattr(onnx_exporter, "_run", run)
    kept = bench.app.state.gateway.exports
    kept.evict("exporting")
    for query in ("&layout=jhmdb15", "&layout=jhmdb15", "&layout=nose,left_hip,right_hip&coords=xyzc"):
        assert ask(bench, taught[0], query).content == b"a model"
    assert [(wanted.layout, wanted.coords) for wanted in made] == [
        ("jhmdb15", "xyc"),
        ("nose,left_hip,right_hip", "xyzc"),
    ]
    kept.evict("exporting", version=1)
    ask(bench, taught[0], "&layout=jhmdb15")
    assert len(made) == 3
    kept.evict("exporting")


def test_another_tenants_version_and_none_look_alike(bench, taught):
    other = bench.tenant("somebody-else")
    same = {"X-Request-Id": "the-same-request"}
    paths = ("exporting/prompts/1", "nobody/prompts/1", "somebody-else/prompts/1")
    answers = [bench.ask("GET", f"/tenants/{p}/download?format=onnx", other, headers=same) for p in paths]
    assert [answer.status_code for answer in answers] == [404, 404, 404]
    assert answers[0].content == answers[1].content


@pytest.mark.parametrize(
    ("query", "loc"),
    [("&layout=coco71", "query.layout"), ("&coords=xy", "query.coords"), ("&layout=a,b", "query.layout")],
)
def test_what_cannot_be_exported_is_refused_with_its_place(bench, taught, query, loc):
    response = ask(bench, taught[0], query)
    assert response.status_code == 422
    assert response.json()["errors"][0]["loc"] == loc


def test_without_the_extra_the_answer_says_what_to_install(bench, taught, monkeypatch):
    def missing():
        raise export.ExportUnavailable("exporting needs the package onnx: install skeleton-prompt[onnx]")

    monkeypatch.setattr(onnx_exporter, "require_onnx", missing)
    problem = ask(bench, taught[0]).json()
    assert (problem["status"], problem["errors"][0]["rule"]) == (422, "not_installed")
    assert "skeleton-prompt[onnx]" in problem["errors"][0]["message"]


def test_an_export_that_fails_is_a_problem_with_its_reason(bench, taught):
    bench.teach("exporting", activate=False)  # bytes that are no prompt
    problem = ask(bench, taught[0], version="2").json()
    assert problem["code"] in ("engine_unavailable", "backbone_mismatch")


def test_too_many_waiting_exports_are_refused_at_once(bench, taught, monkeypatch):
    monkeypatch.setattr(onnx_exporter, "MAX_WAITING", 0)
    response = ask(bench, taught[0])
    assert (response.status_code, response.json()["code"]) == (503, "overloaded")
    assert int(response.headers["Retry-After"]) > 0
