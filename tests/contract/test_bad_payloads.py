"""Bad payloads are refused with a documented 4xx that names the place; whoever comes next is served."""

import orjson
import pytest

from tests.contract.test_error_shape import check
from tests.support.bad_payloads import BODIES, GZIP
from tests.support.gateway_app import lessons, person


@pytest.fixture(scope="module")
def key(bench):
    secret = bench.tenant("badly-treated")
    bench.teach("badly-treated")
    return secret


def named(problem):
    return " ".join([problem["detail"], *(f"{row['loc']} {row['message']}" for row in problem["errors"])])


def test_there_are_enough_kinds_of_them():
    assert len({bad.name for bad in BODIES}) == len(BODIES) >= 60


@pytest.mark.parametrize("bad", BODIES, ids=lambda bad: bad.name)
def test_a_bad_payload_is_refused_by_its_place_and_harms_nobody(bench, key, bad):
    response = bench.ask("POST", "/predict", key, content=bad.body, headers=bad.headers)
    assert response.status_code == bad.status, response.text
    problem = check(response)
    assert bad.place in named(problem)
    assert len(response.content) < 50_000
    assert bench.ask("POST", "/predict", key, json=person()).status_code == 200


@pytest.mark.parametrize("bad", [bad for bad in BODIES if bad.headers in ({}, GZIP)], ids=lambda bad: bad.name)
def test_teaching_refuses_the_same_and_stores_nothing(bench, key, bad):
    """The clip as one of several; what is no JSON object stands alone."""
    try:
        clip = orjson.loads(bad.body)
    except orjson.JSONDecodeError:
        clip = None
    options = ("top_k", "threshold", "version", "max_json_depth")
    tells = isinstance(clip, dict) and not bad.headers and bad.place not in options
    if not tells:
        body, headers = bad.body, bad.headers
    else:
        body, headers = orjson.dumps({"clips": [*lessons(), clip | {"label": "wave"}]}), {}
    path = "/tenants/badly-treated/tune"
    response = bench.ask("POST", path, key, content=body, headers=headers)
    if tells and response.status_code == 202:  # nothing is visible: such a clip is skipped, and reported
        assert "nothing" in bad.name
        assert [row["clip"] for row in response.json()["skipped"]] == ["clips[4]"]
        bench.ask("POST", f"{path[:-5]}/jobs/{response.json()['job']}/cancel")
        return
    assert 400 <= response.status_code < 500
    problem = check(response)
    if tells and bad.status != 400:
        assert problem["code"] in ("invalid_clips", "too_large")
        assert all(row["loc"].startswith("clips[4]") for row in problem["errors"])


@pytest.mark.parametrize(
    ("document", "place"),
    [
        (person(label=5), "clips[0].label"),
        (person(label=""), "clips[0].label"),
        (person(label="x" * 129), "clips[0].label"),
        (person(label="a\0"), "clips[0].label"),
        (person(), "clips[0].label"),
        (person(segments=[]), "clips[0].segments"),
        (person(segments=[{"label": "a", "start": 1, "end": 0}]), "clips[0].segments[0]"),
        (person(segments=[{"label": "a", "start": 0, "end": 99}]), "clips[0].segments[0].end"),
        (person(segments=[{"label": 7, "start": 0, "end": 0.5}]), "clips[0].segments[0].label"),
        (person(segments=[{"label": "a", "start": "0", "end": 0.5}]), "clips[0].segments[0].start"),
        (person(segments=["a"]), "clips[0].segments[0]"),
        (person(segments=[{"label": "a", "start": 0, "end": 0.5}], label="b"), "clips[0].segments"),
        ([], "clips[0]"),
        (None, "clips[0]"),
        ("clip", "clips[0]"),
    ],
)
def test_a_bad_label_or_segment_is_named(bench, key, document, place):
    response = bench.ask("POST", "/tenants/badly-treated/tune", key, json={"clips": [document, *lessons()]})
    assert response.status_code == 422, response.text
    assert check(response)["errors"][0]["loc"] == place


def test_only_the_first_hundred_problems_are_listed_and_all_are_counted(bench, key):
    clip = person(frames=60)
    clip["keypoints"] = [[["x", 1.0, 0.9]] * 17] * 60
    problem = check(bench.ask("POST", "/predict", key, json=clip))
    assert len(problem["errors"]) == 100
    assert problem["errors_total"] == 60 * 17
    both = {"clips": [clip | {"label": "a"}, clip | {"label": "b"}]}
    problem = check(bench.ask("POST", "/tenants/badly-treated/tune", key, json=both))
    assert len(problem["errors"]) == 100
    assert problem["errors_total"] == 2 * 60 * 17
