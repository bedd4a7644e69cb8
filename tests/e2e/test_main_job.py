"""The main job over HTTP against the real service: teach a few clips, get right predictions for new ones."""

import gzip

import httpx
import msgpack
import numpy as np
import orjson
import pytest

from skeleton_prompt.client import Client, Conflict, Forbidden, InvalidRequest, NotFound, Unauthenticated
from skeleton_prompt.client.requests import clip_body
from skeleton_prompt.synthetic import make_clip

pytestmark = pytest.mark.services

TAUGHT = ("wave", "squat", "fall", "jumping_jack")


def lessons(seed: int, shots: int = 4, actions: tuple[str, ...] = TAUGHT) -> list[dict]:
    rng = np.random.default_rng(seed)
    return [make_clip(action, rng, group=f"{action}-{n}") for action in actions for n in range(shots)]


def unlabelled(clip: dict) -> dict:
    return {name: value for name, value in clip.items() if name != "label"}


@pytest.fixture(scope="module")
def taught(server):
    """A tenant with an active version."""
    tenant, client = server.tenant()
    with client:
        job = client.tune(tenant, lessons(1), seed=0).wait(timeout=240)
        assert job.activated, job
        yield tenant, client, job


def test_a_taught_tenant_names_clips_it_never_saw(taught):
    tenant, client, job = taught
    unseen = [clip for seed in (101, 102) for clip in lessons(seed, shots=2)]
    answers = [client.predict(unlabelled(clip)) for clip in unseen]
    best = [answer.predictions[0]["label"] == clip["label"] for answer, clip in zip(answers, unseen, strict=True)]
    assert np.mean(best) >= 0.8
    named = [answer.label == clip["label"] for answer, clip in zip(answers, unseen, strict=True) if answer.known]
    assert np.mean(named) >= 0.8
    assert {(answer.tenant, answer.version) for answer in answers} == {(tenant, job.version)}
    assert all(abs(sum(answer.probabilities.values()) - 1) < 1e-3 for answer in answers), "four labels, top five"


def test_the_answer_is_the_same_in_every_form_of_the_request(taught):
    _, client, _ = taught
    clip = unlabelled(lessons(7, shots=1)[0])
    lists = clip | {"keypoints": clip["keypoints"].tolist()}
    packed = clip_body(clip) | {"keypoints": clip["keypoints"].astype("<f4").tobytes()}
    plain = orjson.dumps(lists)
    forms = [
        (plain, {"Content-Type": "application/json"}),
        (gzip.compress(plain), {"Content-Type": "application/json", "Content-Encoding": "gzip"}),
        (orjson.dumps(clip_body(clip)), {"Content-Type": "application/json"}),
        (msgpack.packb(packed), {"Content-Type": "application/msgpack"}),
    ]
    answers = []
    for body, headers in forms:
        response = client._http.post("/predict", content=body, headers=headers)
        assert response.status_code == 200, response.text
        answers.append(response.json())
        assert response.headers["X-Prompt-Sha256"] == answers[-1]["sha256"]
        assert "forward" in response.headers["Server-Timing"]
    for answer in answers[1:]:
        assert answer["label"] == answers[0]["label"]
        assert answer["confidence"] == pytest.approx(answers[0]["confidence"], abs=1e-4)


def test_the_report_says_what_was_measured(taught):
    tenant, client, job = taught
    report = client.report(tenant, job.version)
    assert set(TAUGHT) <= set(client.prompt(tenant, job.version).labels)
    assert "accuracy" in orjson.dumps(report).decode()
    events = client.job_events(tenant, job.job)
    assert [event["id"] for event in events] == sorted({event["id"] for event in events})
    assert events[-1]["state"] == "succeeded"


def test_a_batch_gives_a_row_per_clip_and_a_bad_clip_spoils_only_its_own(taught):
    _, client, _ = taught
    good = unlabelled(lessons(8, shots=1)[1])
    bad = good | {"keypoints": good["keypoints"][:, :5]}
    first, second, third = client.predict_batch([good, bad, good])
    assert first.label == third.label
    assert second["code"] == "invalid_clip"


def test_a_second_version_can_be_rolled_back(server):
    tenant, client = server.tenant()
    with client:
        client.tune(tenant, lessons(2, shots=2)).wait(timeout=240)
        first = next(prompt.version for prompt in client.prompts(tenant) if prompt.active)
        more = lessons(3, shots=2, actions=(*TAUGHT, "bow"))
        second = client.tune(tenant, more).wait(timeout=240)
        assert second.activated, "the set of labels changed"
        clip = unlabelled(more[0])
        assert client.predict(clip).version == second.version
        client.rollback(tenant)
        assert client.predict(clip).version == first
        assert client.predict(clip, version=second.version).version == second.version
        client.activate(tenant, second.version)
        assert client.predict(clip).version == second.version


def test_what_can_go_wrong_is_said_in_the_documented_words(server):
    tenant, client = server.tenant()
    clip = lessons(4, shots=1)[0]
    with client:
        with pytest.raises(Conflict) as caught:
            client.predict(unlabelled(clip))
        assert caught.value.code == "no_active_prompt"
        with pytest.raises(InvalidRequest) as caught:
            client.tune(tenant, lessons(4, actions=("wave",)))
        assert caught.value.code == "too_few_labels"
        with pytest.raises(InvalidRequest) as caught:
            client.tune(tenant, [clip | {"keypoints": clip["keypoints"][:, :9]}, *lessons(4)])
        assert caught.value.code == "invalid_clips"
        assert caught.value.errors[0]["loc"].startswith("clips[0]")
        with pytest.raises(NotFound):
            client.jobs("somebody-else")
        with pytest.raises((Forbidden, NotFound)):
            client.create_tenant("mine")
    with Client(server.url, "no-such-key-at-all", attempts=1) as stranger, pytest.raises(Unauthenticated):
        stranger.predict(unlabelled(clip))


def test_readiness_needs_no_key_and_follows_a_real_forward_pass(server):
    assert httpx.get(f"{server.url}/livez").status_code == 200
    assert httpx.get(f"{server.url}/readyz").status_code == 200


def test_an_erased_tenant_is_gone(server):
    tenant, client = server.tenant()
    with client, server.client() as admin:
        client.add_clips(tenant, lessons(5, shots=1))
        assert len(client.clips(tenant)) == len(TAUGHT)
        assert admin.delete_tenant(tenant)
        with pytest.raises(NotFound):
            admin.tenant(tenant)
        with pytest.raises(Unauthenticated):
            client.clips(tenant)
