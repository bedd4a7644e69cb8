"""Predicting: every form of a request, who may, and what the answer says."""

import asyncio
import base64
import gzip

import msgpack
import numpy as np
import orjson
import pytest

from service import errors
from service.gateway.operations import prediction
from tests.support.gateway_app import ADMIN, LABELS, gateway, person


def packed(clip):
    array = np.array(clip["keypoints"], "<f4")
    return clip | {"encoding": "f32", "shape": list(array.shape), "keypoints": array.tobytes()}


def test_an_answer_names_the_action_the_version_and_what_was_done_to_the_clip(bench, taught):
    tenant, key = taught
    response = bench.ask("POST", "/predict", key, json=person(), headers={"X-Request-Id": "mine-1"})
    assert response.status_code == 200, response.text
    answer = response.json()
    assert (answer["tenant"], answer["version"], answer["label"], answer["known"]) == (tenant, 1, "squat", True)
    assert answer["predictions"] == [{"label": LABELS[0], "probability": 0.9}, {"label": LABELS[1], "probability": 0.1}]
    assert len(answer["people"]) == 1
    assert answer["people"][0]["label"] == "squat"
    assert answer["quality"]["frames_without_person"] == 0
    assert answer["request_id"] == response.headers["X-Request-Id"] == "mine-1"
    assert response.headers["X-Prompt-Version"] == "1"
    assert response.headers["X-Prompt-Sha256"] == answer["sha256"]
    assert response.headers["X-Prompt-Cache"] == "memory"
    timing = response.headers["Server-Timing"]
    assert [part.split(";")[0] for part in timing.split(", ")] == ["validate", "queue", "prompt", "forward", "total"]


def test_every_form_of_a_clip_gives_the_engine_the_same(bench, taught):
    _, key = taught
    clip = person()
    plain, binary = orjson.dumps(clip), packed(clip)
    text = binary | {"keypoints": base64.b64encode(binary["keypoints"]).decode()}
    before = len(bench.engine.questions)
    for content, headers in (
        (plain, {"Content-Type": "application/json"}),
        (plain, {}),
        (gzip.compress(plain), {"Content-Encoding": "gzip", "Content-Type": "application/json; charset=utf-8"}),
        (orjson.dumps(text), {"Content-Type": "application/json"}),
        (msgpack.packb(binary), {"Content-Type": "application/msgpack"}),
        (gzip.compress(msgpack.packb(binary)), {"Content-Type": "application/x-msgpack", "Content-Encoding": "gzip"}),
    ):
        response = bench.ask("POST", "/predict", key, content=content, headers=headers)
        assert response.status_code == 200, response.text
    asked = bench.engine.questions[before:]
    assert len(asked) == 6
    for question in asked[1:]:
        np.testing.assert_allclose(question.person.pose, asked[0].person.pose, atol=1e-4)


def test_options_reach_the_engine(bench, taught):
    tenant, key = taught
    second = bench.teach(tenant, activate=False)
    response = bench.ask("POST", "/predict", key, json=person(top_k=1, threshold=0.25, version=second))
    assert response.json()["version"] == second
    assert len(response.json()["predictions"]) == 1
    question = bench.engine.questions[-1]
    assert (question.top_k, question.threshold, question.ref.version) == (1, 0.25, second)


def test_several_people_have_an_answer_each_and_the_one_who_moves_most_is_on_top(bench, taught):
    _, key = taught
    still, moving = np.array(person()["keypoints"]), np.array(person(seed=1)["keypoints"])
    still[1:] = still[0]
    clip = person() | {"keypoints": np.stack([still, moving], 1).tolist()}
    before = len(bench.engine.questions)
    answer = bench.ask("POST", "/predict", key, json=clip).json()
    assert len(answer["people"]) == 2
    assert len(bench.engine.questions) == before + 2


@pytest.mark.parametrize(
    ("fields", "place", "rule"),
    [
        ({"top_k": 0}, "top_k", "out_of_range"),
        ({"top_k": 51}, "top_k", "out_of_range"),
        ({"top_k": True}, "top_k", "not_an_integer"),
        ({"top_k": "5"}, "top_k", "not_an_integer"),
        ({"top_k": 5.0}, "top_k", "not_an_integer"),
        ({"version": 0}, "version", "out_of_range"),
        ({"version": 2**70}, "version", "not_an_integer"),
        ({"version": 2**63}, "version", "out_of_range"),
        ({"threshold": 1.5}, "threshold", "out_of_range"),
        ({"threshold": "0.5"}, "threshold", "not_a_number"),
        ({"tenant": 5}, "tenant", "not_a_string"),
    ],
)
def test_a_wrong_option_is_named(bench, taught, fields, place, rule):
    response = bench.ask("POST", "/predict", taught[1], json=person(**fields))
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")
    assert [(row["loc"], row["rule"]) for row in response.json()["errors"]] == [(place, rule)]


def test_the_admin_predicts_for_a_tenant_and_a_tenant_for_itself_only(bench, acme, taught):
    tenant, key = taught
    assert bench.ask("POST", "/predict", ADMIN, json=person(tenant=tenant)).json()["tenant"] == tenant
    assert bench.ask("POST", "/predict", key, json=person(tenant=tenant)).status_code in (200, 403)
    other = bench.key(tenant, "predict")
    stranger = bench.tenant("stranger-to-all")
    answers = [
        bench.ask("POST", "/predict", stranger, json=person(tenant=name), headers={"X-Request-Id": "same"})
        for name in (tenant, "no-such-tenant")
    ]
    assert answers[0].status_code in (403, 404)
    assert answers[0].content == answers[1].content
    assert bench.ask("POST", "/predict", other, json=person()).status_code == 200


def test_who_may_not_predict_is_told_so_before_anything_about_the_body(bench, taught):
    tenant, _ = taught
    no_scope = bench.key(tenant, "tune", "manage")
    for body in (orjson.dumps(person()), b"{", b"x" * 300_000):
        assert bench.ask("POST", "/predict", None, content=body).json()["code"] == "unauthenticated"
        assert bench.ask("POST", "/predict", "sp_wrong", content=body).json()["code"] == "unauthenticated"
        assert bench.ask("POST", "/predict", no_scope, content=body).json()["code"] == "forbidden"


def test_without_an_active_version_and_with_an_unknown_one_the_documented_words_are_said(bench, acme):
    tenant, key = acme
    response = bench.ask("POST", "/predict", key, json=person())
    assert (response.status_code, response.json()["code"]) == (409, "no_active_prompt")
    bench.teach(tenant)
    response = bench.ask("POST", "/predict", key, json=person(version=99))
    assert (response.status_code, response.json()["code"]) == (404, "version_not_found")


def test_a_clip_in_which_nothing_is_visible_is_not_valid(bench, taught):
    clip = person()
    clip["keypoints"] = [None] * 10
    response = bench.ask("POST", "/predict", taught[1], json=clip)
    assert (response.status_code, response.json()["code"]) == (422, "invalid_clip")


def test_an_unknown_layout_has_its_own_code_and_a_suggestion(bench, taught):
    response = bench.ask("POST", "/predict", taught[1], json=person(layout="coco71"))
    assert (response.status_code, response.json()["code"]) == (422, "unknown_layout")
    assert "coco17" in response.json()["detail"]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.Overloaded("full", retry_after=2.4), 503),
        (errors.EngineUnavailable("down", retry_after=1.0), 503),
        (errors.DeadlineExceeded("late"), 504),
        (errors.BackboneMismatch("old"), 409),
        (RuntimeError("a secret detail"), 500),
    ],
)
def test_what_the_engine_refuses_is_answered_as_documented(bench, taught, error, status):
    bench.engine.error = error
    try:
        response = bench.ask("POST", "/predict", taught[1], json=person())
    finally:
        bench.engine.error = None
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert "a secret detail" not in response.text
    if status == 503:
        assert int(response.headers["Retry-After"]) >= 1


def test_a_batch_has_a_row_per_clip_and_a_bad_clip_spoils_only_its_own(bench, taught):
    bad = person(layout="nothing")
    ragged = person()
    ragged["keypoints"][3] = ragged["keypoints"][3][:5]
    response = bench.ask("POST", "/predict/batch", taught[1], json={"clips": [person(), bad, ragged, person(), 7]})
    assert response.status_code == 200, response.text
    rows = response.json()["results"]
    assert [row.get("code", row.get("label")) for row in rows] == [
        "squat", "unknown_layout", "invalid_clip", "squat", "invalid_clip",
    ]  # fmt: skip
    assert rows[2]["errors"][0]["loc"].startswith("clips[2].keypoints[3]")
    assert response.headers["X-Prompt-Version"] == "1"


def test_a_flood_is_turned_away_before_its_clips_are_read_but_only_from_callers_who_are_known(bench, monkeypatch):
    key = bench.tenant("flood")
    bench.teach("flood")
    monkeypatch.setattr(bench.engine, "full", True)
    asked = len(bench.engine.questions)
    assert bench.ask("POST", "/predict", key, json=person()).status_code == 200, "nobody knows yet who calls"
    refused = bench.ask("POST", "/predict", key, content=b"{not read", headers={"Content-Type": "application/json"})
    assert refused.status_code == 503
    assert refused.json()["code"] == "overloaded"
    assert refused.headers["Retry-After"] == "1"
    assert len(bench.engine.questions) == asked + 1
    rows = bench.ask("POST", "/predict/batch", key, json={"clips": [person()]}).json()["results"]
    assert rows[0]["label"] == "squat", "a batch waits instead"
    assert bench.ask("POST", "/predict", "sp_unknown_" + "x" * 40, json=person()).status_code == 401


def test_a_clip_of_a_batch_waits_for_an_engine_that_is_full(bench, taught, monkeypatch):
    monkeypatch.setattr(prediction, "QUEUE_FULL_RETRY_S", 0.01)
    answers = bench.engine.predict
    refusals = iter([True, True, False, True])

    async def busy(question):
        if next(refusals, False):
            raise errors.Overloaded("full", retry_after=1.0)
        return await answers(question)

    monkeypatch.setattr(bench.engine, "predict", busy)
    body = {"clips": [person(), person(seed=1)]}
    rows = bench.ask("POST", "/predict/batch", taught[1], json=body).json()["results"]
    assert [row["label"] for row in rows] == ["squat", "squat"]
    assert next(refusals, "none left") == "none left"


def test_a_clip_of_a_batch_does_not_wait_for_ever(tmp_path):
    with gateway(tmp_path, predict_deadline_seconds=0.3) as impatient:
        key = impatient.tenant("acme")
        impatient.teach("acme")
        impatient.engine.error = errors.Overloaded("full", retry_after=1.0)
        (row,) = impatient.ask("POST", "/predict/batch", key, json={"clips": [person()]}).json()["results"]
        assert row["code"] == "overloaded"
        assert 1 < len(impatient.engine.questions) < 10


def test_a_batch_without_clips_or_with_too_many_is_refused(bench, taught):
    for body, code in (
        ({}, "invalid_request"),
        ({"clips": []}, "invalid_request"),
        ({"clips": [1] * 257}, "too_large"),
    ):
        assert bench.ask("POST", "/predict/batch", taught[1], json=body).json()["code"] == code


def test_a_timeline_joins_what_agrees(bench, taught):
    response = bench.ask("POST", "/predict/segments", taught[1], json=person(frames=240, window=2, stride=1))
    assert response.status_code == 200, response.text
    [segment] = response.json()["segments"]
    assert (segment["label"], segment["start"], segment["end"]) == ("squat", 0.0, 8.0)
    assert bench.ask("POST", "/predict/segments", taught[1], json=person(window=0.1)).status_code == 422


def test_a_prediction_nobody_waits_for_any_more_is_given_up(bench, taught):
    async def hang_up():
        bench.engine.hold = asyncio.Event()
        before = len(bench.engine.questions)
        body = orjson.dumps(person())
        messages = [{"type": "http.request", "body": body, "more_body": False}]
        left = asyncio.Event()

        async def receive():
            if messages:
                return messages.pop()
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(message):
            pass

        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
            "path": "/predict", "raw_path": b"/predict", "query_string": b"", "root_path": "", "server": ("test", 80),
            "client": ("test", 1), "headers": [(b"authorization", f"Bearer {taught[1]}".encode())],
        }  # fmt: skip
        task = asyncio.create_task(bench.app(scope, receive, send))
        while len(bench.engine.questions) == before:
            await asyncio.sleep(0.001)
        left.set()
        await asyncio.wait_for(task, 10)

    try:
        bench.wait(hang_up())
    finally:
        bench.engine.hold = None
