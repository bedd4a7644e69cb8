"""Teaching: clips in, a job out, and nothing stored unless all of it is good."""

import asyncio
import gzip

import msgpack
import orjson
import pytest

from service.storage.records import JobState
from tests.support.gateway_app import ADMIN, gateway, lessons, person, publish


def ndjson(clips):
    return b"\n".join(orjson.dumps(clip) for clip in clips)


def blind(**fields):
    clip = person(**fields)
    clip["keypoints"] = [None] * 10
    return clip


def stored(bench, tenant):
    return bench.ask("GET", f"/tenants/{tenant}/clips").json()["items"]


def jobs(bench, tenant):
    return bench.ask("GET", f"/tenants/{tenant}/jobs").json()["items"]


def test_clips_are_stored_and_a_job_is_made(bench, acme):
    tenant, key = acme
    response = bench.ask("POST", f"/tenants/{tenant}/tune", key, json={"clips": lessons(), "options": {"seed": 3}})
    assert response.status_code == 202, response.text
    job = response.json()
    assert (job["state"], job["clips"], job["options"]) == ("queued", 4, {"activate": "if_better", "seed": 3})
    location = response.headers["Location"]
    assert bench.ask("GET", location, key).json()["job"] == job["job"]
    assert {clip["label"] for clip in stored(bench, tenant)} == {"squat", "wave"}
    assert bench.storage.tenant(tenant).job_clips(job["job"]) == [clip["id"] for clip in stored(bench, tenant)]


@pytest.mark.parametrize("form", ["json-gzip", "ndjson", "ndjson-gzip", "msgpack"])
def test_every_form_of_a_body_teaches_the_same(bench, acme, form):
    tenant, key = acme
    clips = lessons()
    content, headers = {
        "json-gzip": (gzip.compress(orjson.dumps({"clips": clips})), {"Content-Encoding": "gzip"}),
        "ndjson": (ndjson(clips), {"Content-Type": "application/x-ndjson"}),
        "ndjson-gzip": (
            gzip.compress(ndjson(clips)),
            {"Content-Type": "application/x-ndjson", "Content-Encoding": "gzip"},
        ),
        "msgpack": (msgpack.packb({"clips": clips}), {"Content-Type": "application/msgpack"}),
    }[form]
    response = bench.ask("POST", f"/tenants/{tenant}/tune", key, content=content, headers=headers)
    assert response.status_code == 202, response.text
    assert response.json()["clips"] == 4


def test_lines_take_their_options_from_the_query(bench, acme):
    tenant, key = acme
    path = f"/tenants/{tenant}/tune?activate=never&seed=7&max_seconds=60"
    headers = {"Content-Type": "application/x-ndjson"}
    job = bench.ask("POST", path, key, content=ndjson(lessons()), headers=headers).json()
    assert job["options"] == {"activate": "never", "seed": 7, "max_seconds": 60.0}
    response = bench.ask("POST", f"/tenants/{tenant}/tune?seed=x", key, content=ndjson(lessons()), headers=headers)
    assert response.json()["errors"][0]["loc"] == "options.seed"


def test_every_problem_of_every_clip_is_listed_and_nothing_is_stored(bench, acme):
    tenant, key = acme
    clips = lessons()
    clips[1]["keypoints"][4][2][0] = "1.5"
    clips[2]["fps"] = -1
    clips[3]["layout"] = "none"
    for content, headers in (
        (orjson.dumps({"clips": clips}), {}),
        (ndjson(clips), {"Content-Type": "application/x-ndjson"}),
    ):
        response = bench.ask("POST", f"/tenants/{tenant}/tune", key, content=content, headers=headers)
        assert (response.status_code, response.json()["code"]) == (422, "invalid_clips")
        places = [row["loc"] for row in response.json()["errors"]]
        assert places[0].startswith("clips[1].keypoints[4][2]")
        assert [place.split(".")[0] for place in places] == ["clips[1]", "clips[2]", "clips[3]"]
        assert response.json()["errors_total"] == 3
    assert stored(bench, tenant) == jobs(bench, tenant) == []


def test_a_line_that_is_no_json_is_a_problem_of_its_own(bench, acme):
    tenant, key = acme
    body = ndjson(lessons()[:2]) + b"\n{oops\n" + ndjson(lessons()[2:])
    response = bench.ask(
        "POST", f"/tenants/{tenant}/tune", key, content=body, headers={"Content-Type": "application/x-ndjson"}
    )
    assert [(row["loc"], row["rule"]) for row in response.json()["errors"]] == [("clips[2]", "malformed_line")]


def test_one_label_is_too_few(bench, acme):
    tenant, key = acme
    clips = [*lessons(labels=("squat",)), person(label=None)]
    response = bench.ask("POST", f"/tenants/{tenant}/tune", key, json={"clips": clips})
    assert (response.status_code, response.json()["code"]) == (422, "too_few_labels")
    assert stored(bench, tenant) == []


def test_a_clip_in_which_nothing_is_visible_is_skipped_and_reported(bench, acme):
    tenant, key = acme
    clips = [*lessons(), blind(label="squat", id="dark"), blind(label="wave")]
    job = bench.ask("POST", f"/tenants/{tenant}/tune", key, json={"clips": clips}).json()
    skipped = [{"clip": "dark", "reason": "nothing_visible"}, {"clip": "clips[5]", "reason": "nothing_visible"}]
    assert job["skipped"] == skipped
    assert job["clips"] == 4
    assert bench.ask("GET", f"/tenants/{tenant}/jobs/{job['job']}", key).json()["skipped"] == skipped


def test_a_dry_run_reports_and_stores_nothing(bench, acme):
    tenant, key = acme
    clips = [*lessons(), person(label=None), blind(label="wave")]
    response = bench.ask("POST", f"/tenants/{tenant}/tune", key, json={"clips": clips, "options": {"dry_run": True}})
    assert response.status_code == 200
    report = response.json()
    assert (report["valid"], report["labels"], report["background"]) == (True, {"squat": 2, "wave": 2}, 1)
    assert len(report["skipped"]) == 1
    clips[0]["fps"] = "fast"
    report = bench.ask(
        "POST", f"/tenants/{tenant}/tune", key, json={"clips": clips, "options": {"dry_run": True}}
    ).json()
    assert (report["valid"], report["errors"][0]["loc"]) == (False, "clips[0].fps")
    assert stored(bench, tenant) == jobs(bench, tenant) == []


def test_a_dry_run_warns_of_labels_spelt_alike_of_one_clip_twice_and_of_2d_beside_3d(bench, acme):
    tenant, key = acme
    clips = [*lessons(), person(label="SQUAT"), person(label="squat ")]
    clips[0]["keypoints"] = clips[2]["keypoints"]
    body = {"clips": clips, "options": {"dry_run": True}}
    report = bench.ask("POST", f"/tenants/{tenant}/tune", key, json=body).json()
    warnings = {row["code"]: row for row in report["warnings"]}
    assert "'squat' (2), 'SQUAT' (1), 'squat ' (1)" in warnings["labels_alike"]["message"]
    twice = [row["clips"] for row in report["warnings"] if row["code"] == "same_clip_several_labels"]
    assert any({"clips[0]", "clips[2]"} <= set(places) for places in twice)
    assert "mixed_dimensions" not in warnings
    solid = person(label="wave")
    solid["coords"] = "xyz"
    solid["keypoints"] = [[[x, -y, 0.1 * x] for x, y, *_ in frame] for frame in solid["keypoints"]]
    body["clips"] = [*lessons(), solid]
    report = bench.ask("POST", f"/tenants/{tenant}/tune", key, json=body).json()
    rows = [row for row in report["warnings"] if row["code"] == "mixed_dimensions"]
    assert [row["clips"] for row in rows] == [["clips[4]"]]


def test_a_long_recording_teaches_by_its_segments(bench, acme):
    tenant, key = acme
    segments = [{"label": "squat", "start": 0, "end": 1}, {"label": "wave", "start": 1, "end": 2}]
    response = bench.ask("POST", f"/tenants/{tenant}/tune", key, json={"clips": [person(frames=60, segments=segments)]})
    assert response.status_code == 202, response.text
    again = bench.ask("POST", f"/tenants/{tenant}/tune", key, json={"stored": True})
    assert again.status_code == 202, again.text


def test_stored_clips_teach_alone_or_beside_the_sent_ones(bench, acme):
    tenant, key = acme
    assert bench.ask("POST", f"/tenants/{tenant}/tune", key, json={"stored": True}).json()["code"] == "too_few_labels"
    bench.ask("POST", f"/tenants/{tenant}/clips", key, json={"clips": lessons(labels=("squat",))})
    more = {"clips": lessons(labels=("wave",)), "include_stored": True}
    assert bench.ask("POST", f"/tenants/{tenant}/tune", key, json=more).json()["clips"] == 4
    assert bench.ask("POST", f"/tenants/{tenant}/tune", key, json={"stored": True}).json()["clips"] == 4


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({}, "clips"),
        ({"clips": {}}, "clips"),
        ({"clips": []}, "clips"),
        ({"clips": [], "stored": "yes"}, "stored"),
        ({"clips": [1], "stored": True}, "stored"),
        ({"stored": True, "options": []}, "options"),
        ({"stored": True, "options": {"activat": "never"}}, "options.activat"),
        ({"stored": True, "options": {"activate": "maybe"}}, "options.activate"),
        ({"stored": True, "options": {"seed": -1}}, "options.seed"),
        ({"stored": True, "options": {"max_seconds": 0}}, "options.max_seconds"),
        ({"stored": True, "options": {"dry_run": 1}}, "options.dry_run"),
        ({"stored": True, "options": {"webhook": "http://127.0.0.1/"}}, "options.webhook"),
    ],
)
def test_a_wrong_request_is_named(bench, acme, body, place):
    response = bench.ask("POST", f"/tenants/{acme[0]}/tune", acme[1], json=body)
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")
    assert response.json()["errors"][0]["loc"] == place


def test_a_base_version_must_exist(bench, taught):
    tenant, key = taught
    body = {"clips": lessons(), "options": {"base_version": 9}}
    assert bench.ask("POST", f"/tenants/{tenant}/tune", key, json=body).json()["code"] == "version_not_found"
    body["options"]["base_version"] = 1
    assert bench.ask("POST", f"/tenants/{tenant}/tune", key, json=body).status_code == 202


def version_of(bench, tenant, key, clips):
    """Teach clips without learning anything; gives the ids that they are stored under."""
    repository = bench.storage.tenant(tenant)
    job = bench.ask("POST", f"/tenants/{tenant}/tune", key, json={"clips": clips}).json()["job"]
    token = repository.claim_job(job, "test").token
    publish(repository, job, token, repository.next_version(job, token), b"prompt")
    repository.finish_job(job, token, JobState.SUCCEEDED)
    return repository.job_clips(job)


def test_a_tuning_learns_on_from_a_base_version_with_its_clips(bench, acme):
    tenant, key = acme
    before = version_of(bench, tenant, key, lessons())
    bench.ask("POST", f"/tenants/{tenant}/clips", key, json={"clips": [person(seed=70, label="squat")]})
    body = {"clips": [person(seed=80, label="jump")], "options": {"base_version": 1}}
    dry = bench.ask(
        "POST", f"/tenants/{tenant}/tune", key, json=body | {"options": {"base_version": 1, "dry_run": True}}
    )
    assert (dry.json()["valid"], dry.json()["labels"]) == (True, {"jump": 1, "squat": 2, "wave": 2})
    response = bench.ask("POST", f"/tenants/{tenant}/tune", key, json=body)
    assert response.status_code == 202, response.text
    learnt = bench.storage.tenant(tenant).job_clips(response.json()["job"])
    assert (learnt[:-1], len(learnt)) == (before, 5), "no clip that was only stored"


def test_what_is_sent_counts_in_place_of_the_same_clip_of_a_base_version(bench, acme):
    tenant, key = acme
    clips = [person(seed=n, label=("squat", "wave")[n % 2], id=f"clip-{n}") for n in range(4)]
    before = version_of(bench, tenant, key, clips)
    by_id = clips[0] | {"label": "jump", "keypoints": person(seed=90)["keypoints"]}
    by_sight = {name: value for name, value in clips[1].items() if name != "id"} | {"label": "jump"}
    body = {"clips": [by_id, by_sight], "options": {"base_version": 1}}
    job = bench.ask("POST", f"/tenants/{tenant}/tune", key, json=body).json()
    assert bench.storage.tenant(tenant).job_clips(job["job"])[:-2] == before[2:]


def test_many_equal_requests_with_one_idempotency_key_make_one_job(bench, acme):
    tenant, key = acme
    body = orjson.dumps({"clips": lessons(shots=1)})
    headers = {"Idempotency-Key": "the-same"}

    async def all_at_once():
        ask = [bench.asking("POST", f"/tenants/{tenant}/tune", key, content=body, headers=headers) for _ in range(30)]
        return await asyncio.gather(*ask)

    answers = bench.wait(all_at_once())
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.content for answer in answers}) == 1
    assert len({answer.headers["Location"] for answer in answers}) == 1
    assert len(jobs(bench, tenant)) == 1
    assert len(stored(bench, tenant)) == 2
    other = bench.ask("POST", f"/tenants/{tenant}/tune", key, json={"stored": True}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")


def test_lines_are_idempotent_too(bench, acme):
    tenant, key = acme
    headers = {"Idempotency-Key": "lines", "Content-Type": "application/x-ndjson"}
    first, second = (
        bench.ask("POST", f"/tenants/{tenant}/tune", key, content=ndjson(lessons()), headers=headers) for _ in range(2)
    )
    assert first.json()["job"] == second.json()["job"]
    assert second.headers["Idempotent-Replayed"] == "true"


def test_teaching_needs_the_scope(bench, acme):
    tenant, _ = acme
    key = bench.key(tenant, "predict", "manage")
    assert bench.ask("POST", f"/tenants/{tenant}/tune", key, json={}).json()["code"] == "forbidden"
    assert bench.ask("POST", f"/tenants/{tenant}/tune", ADMIN, json={"clips": lessons()}).status_code == 202


def test_a_tenant_with_as_many_queued_jobs_as_it_may_have_is_refused_and_nothing_is_stored(tmp_path):
    with gateway(tmp_path, max_queued_jobs=1) as bench:
        key = bench.tenant("greedy")
        path = "/tenants/greedy/tune"
        first = bench.ask("POST", path, key, json={"clips": lessons()}).json()
        assert first["queue_position"] == 0
        assert first["eta_seconds"] > 0
        assert first["first_version"] is None
        refused = bench.ask("POST", path, key, json={"clips": lessons()})
        assert (refused.status_code, refused.json()["code"]) == (429, "quota_exceeded")
        assert "1 queued jobs and may have 1" in refused.json()["detail"]
        assert refused.headers["Retry-After"]
        assert len(stored(bench, "greedy")) == len(lessons())
        bench.ask("POST", f"/tenants/greedy/jobs/{first['job']}/cancel", key)
        assert bench.ask("POST", path, key, json={"clips": lessons()}).status_code == 202
