"""The main job on PostgreSQL: gateway, worker, tuning, prediction, erasure, and what the doctor says."""

import json
import subprocess
import sys

import numpy as np
import psycopg
import pytest

from skeleton_prompt.synthetic import make_clip
from tests.support.service_process import environment, serving

pytestmark = pytest.mark.services

MARKER = "marker-of-the-erased"


@pytest.fixture(scope="module")
def url(postgres):
    postgres.ask("CREATE ROLE app LOGIN PASSWORD 'pa55word-of-the-app'")
    postgres.ask("CREATE DATABASE app OWNER app")
    return postgres.url("app", user="app:pa55word-of-the-app")


@pytest.fixture(scope="module")
def running(tmp_path_factory, url):
    with serving(tmp_path_factory.mktemp("e2e") / "data", database_url=url) as server:
        yield server


def lessons(seed, shots=3):
    rng = np.random.default_rng(seed)
    return [make_clip(action, rng, group=f"{MARKER}-{n}") for action in ("wave", "squat") for n in range(shots)]


def test_a_tenant_is_taught_by_a_worker_predicted_for_and_erased_without_a_trace(running, url, postgres):
    tenant, client = running.tenant()
    with client:
        job = client.tune(tenant, lessons(1), seed=0).wait(timeout=240)
        assert job.activated, job
        unseen = lessons(2)
        answers = [client.predict({n: v for n, v in clip.items() if n != "label"}) for clip in unseen]
        right = [answer.predictions[0]["label"] == clip["label"] for answer, clip in zip(answers, unseen, strict=True)]
        assert np.mean(right) >= 0.8
    assert not list(running.data_dir.glob("*.db*")), "nothing went to SQLite"
    assert MARKER in dump(postgres)
    with running.client() as admin:
        admin.delete_tenant(tenant)
    left = dump(postgres)
    assert MARKER not in left
    assert tenant not in left
    assert "pa55word" not in running.log.read_text()


def test_the_doctor_names_the_database_and_its_migration_and_not_its_password(running, url):
    done = subprocess.run(
        [sys.executable, "-m", "service.cli", "doctor", "--json"],
        env=environment(running.data_dir, database_url=url), capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = next(one for one in json.loads(done.stdout) if one["what"] == "database")
    assert found["ok"] is True
    assert "PostgreSQL" in found["found"]
    assert "/app, migration 0" in found["found"]
    assert "pa55word" not in done.stdout + done.stderr


def dump(postgres):
    """All rows of all tables, as text."""
    with psycopg.connect(postgres.url("app")) as connection:
        names = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        return "\n".join(str(row) for (name,) in names for row in connection.execute(f"TABLE {name}"))
