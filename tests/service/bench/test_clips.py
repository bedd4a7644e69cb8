"""The clips that are sent are the same to everybody, and are clips."""

import numpy as np
import orjson
import pytest

from service.bench.clips import CLIPS, CONTENT_TYPES, FORMS, FRAMES, body, documents
from service.bench.servers import BenchmarkError, Server
from service.gateway.http.request_body import decode
from skeleton_prompt.clips.clip import parse_clip
from skeleton_prompt.clips.normalise import prepare
from skeleton_prompt.model.engine import Engine


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_clip_gives_the_same_people(form):
    document = documents(1)[0]
    given = parse_clip(decode(body(document, form), CONTENT_TYPES[form], 16))
    plain = parse_clip(orjson.loads(body(document, "json")))
    for mine, reference in zip(prepare(given)[0], prepare(plain)[0], strict=True):
        np.testing.assert_allclose(mine.pose, reference.pose, atol=1e-4)


def test_a_clip_as_json_has_the_size_that_the_aims_speak_of():
    sizes = [len(body(document, "json")) for document in documents()]
    assert min(sizes) > 30_000
    assert max(sizes) < 36_000
    assert {len(document["keypoints"]) for document in documents()} == {FRAMES}


def test_tenants_take_turns_and_do_not_always_send_the_same_clip():
    server = Server("ours", "http://127.0.0.1:1/predict", keys=[f"key-{n}" for n in range(CLIPS)])
    requests = server.requests("json", CLIPS)
    heads = [request.headers["Authorization"] for request in requests]
    assert heads[:CLIPS] == [f"Bearer key-{n}" for n in range(CLIPS)]
    first = {request.body for request in requests if request.headers["Authorization"] == "Bearer key-0"}
    assert len(first) == CLIPS


def test_more_tenants_than_there_are_cannot_be_measured():
    with pytest.raises(BenchmarkError, match="2 tenants of the 3"):
        Server("ours", "http://127.0.0.1:1/predict", keys=["a", "b"]).requests("json", 3)


def test_a_made_up_prompt_is_a_sound_one():
    from service.bench.seed_tenants import random_prompt
    from skeleton_prompt.model.prompt_file import load_prompt, save_prompt

    engine = Engine.load("edge", threads=1)
    prompt = load_prompt(save_prompt(random_prompt(engine, "bench", 1, 0)), backbone_sha256=engine.backbone_sha256)
    person = prepare(parse_clip(orjson.loads(body(documents(1)[0], "json"))))[0][0]
    (logits,) = engine.forward([(person, prompt)])
    assert logits.shape == (len(prompt.labels),)
    assert prompt.has_temporal
