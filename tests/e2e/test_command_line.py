"""The command line against the real service."""

import json
import subprocess
import sys

import numpy as np
import pytest

from service.cli.clip_files import write_clips
from skeleton_prompt.client.requests import clip_body
from skeleton_prompt.synthetic import make_clip
from tests.skeleton_prompt.clips.formats.pose_files import image, openpose_folder
from tests.support.service_process import environment

pytestmark = pytest.mark.services

ACTIONS = ("squat", "fall", "raise_arms")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    rng = np.random.default_rng(3)
    lessons = [clip_body(make_clip(a, rng, group=f"{a}-{n}")) for a in ACTIONS for n in range(3)]
    write_clips(folder / "lessons.ndjson.gz", lessons)
    write_clips(folder / "unseen.json", [clip_body(make_clip(a, rng)) for a in ACTIONS])
    bad = clip_body(make_clip("squat", rng)) | {"layout": "coco71"}
    write_clips(folder / "bad.json", [bad])
    return folder


@pytest.fixture
def run(server):
    def call(*arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-m", "service.cli", *map(str, arguments)]
        done = subprocess.run(
            words, env=environment(server.data_dir), capture_output=True, text=True, check=False, timeout=240
        )
        assert done.returncode == code, done.stderr
        return done

    return call


def test_a_person_teaches_and_predicts_with_nothing_but_the_command_line(run, files):
    made = json.loads(run("tenants", "create", "cli", "--name", "By hand", "--json").stdout)
    assert made["key"]["secret"]
    checked = json.loads(run("tune", "cli", files / "lessons.ndjson.gz", "--dry-run", "--json").stdout)
    assert checked
    job = json.loads(run("tune", "cli", files / "lessons.ndjson.gz", "--seed", 1, "--json").stdout)
    assert job["state"] == "succeeded"
    rows = json.loads(run("predict", files / "unseen.json", "--tenant", "cli", "--json").stdout)
    assert [row["taught"] for row in rows] == list(ACTIONS)
    assert sum(row["predictions"][0]["label"] == row["taught"] for row in rows) >= 2
    shown = run("predict", files / "unseen.json", "--tenant", "cli").stdout
    assert "squat" in shown
    assert [row["version"] for row in json.loads(run("prompts", "list", "cli", "--json").stdout)] == [job["version"]]
    assert "succeeded" in run("jobs", "list", "cli").stdout
    assert json.loads(run("prompts", "report", "cli", job["version"]).stdout)
    assert "succeeded" in run("jobs", "show", "cli", job["job"]).stdout
    refused = json.loads(run("predict", files / "bad.json", "--tenant", "cli", "--json", code=1).stdout)
    assert refused[0]["code"] == "unknown_layout"
    receipt = json.loads(run("tenants", "delete", "cli", "--yes", "--json").stdout)
    assert receipt
    assert json.loads(run("tenants", "list", "--json").stdout) is not None


def test_files_of_a_pose_tool_in_a_folder_for_each_label_are_ready_to_teach(run, tmp_path):
    for label in ("squat", "wave"):
        for take in range(2):
            openpose_folder(tmp_path / "clips" / label / f"take{take}", image("openpose25", 20, seed=take))
    run("tenants", "create", "tools", "--json")
    done = run("tune", "tools", tmp_path / "clips", "--dry-run", "--json")
    report = json.loads(done.stdout)
    assert (report["valid"], report["labels"]) == (True, {"squat": 2, "wave": 2})
    shown = run("tune", "tools", tmp_path / "clips", "--dry-run", "--fps", 25)
    assert "squat (2), wave (2)" in " ".join(shown.stderr.split())


def test_the_doctor_finds_the_running_service_in_order(run):
    findings = {finding["what"]: finding for finding in json.loads(run("doctor", "--json").stdout)}
    assert findings["service"]["ok"] is True
    assert findings["torch"]["ok"] is True
    assert findings["key files"]["ok"] is True


def test_a_misspelt_setting_is_refused_by_name(run, server):
    env = environment(server.data_dir, max_framse="3")
    words = [sys.executable, "-m", "service.cli", "serve"]
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "SKELETON_PROMPT_MAX_FRAMSE" in done.stderr
