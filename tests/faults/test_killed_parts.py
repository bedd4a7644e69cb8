"""Parts are killed while they work: nothing is lost, nothing is done twice, nobody is left behind."""

import os
import signal
import threading
from pathlib import Path

import numpy as np
import pytest

from skeleton_prompt.client import Unavailable
from skeleton_prompt.synthetic import make_clip
from tests.support.polling import alive, children, eventually
from tests.support.service_process import launch, serving

pytestmark = pytest.mark.services

ACTIONS = ("wave", "squat", "fall", "bow", "kick", "walk")


def lessons(shots: int) -> list[dict]:
    rng = np.random.default_rng(0)
    return [make_clip(action, rng, group=f"{action}-{n}") for action in ACTIONS for n in range(shots)]


def question() -> dict:
    clip = make_clip("wave", np.random.default_rng(9))
    return {name: value for name, value in clip.items() if name != "label"}


@pytest.fixture(scope="module")
def breakable(tmp_path_factory):
    """A service of our own, to break."""
    with serving(tmp_path_factory.mktemp("breakable") / "data") as running:
        yield running


def test_a_job_whose_worker_was_killed_is_finished_by_the_next_one_and_gives_one_version(breakable):
    tenant, client = breakable.tenant()
    with client:
        worker = breakable.child("training.jobs.worker")
        job = client.tune(tenant, lessons(6))
        eventually(lambda: job.refresh().state == "running", "the job runs")
        os.kill(worker, signal.SIGKILL)
        done = job.wait(timeout=120)
        assert done.attempt == 2
        assert [prompt.version for prompt in client.prompts(tenant)] == [done.version]
        assert client.predict(question()).version == done.version
        assert breakable.child("training.jobs.worker") != worker


def test_a_worker_that_hangs_is_replaced_and_its_job_finished(breakable):
    tenant, client = breakable.tenant()
    with client:
        worker = breakable.child("training.jobs.worker")
        job = client.tune(tenant, lessons(6))
        eventually(lambda: job.refresh().state == "running", "the job runs")
        os.kill(worker, signal.SIGSTOP)
        try:
            assert job.wait(timeout=180).attempt == 2
        finally:
            if alive(worker):
                os.kill(worker, signal.SIGKILL)
        assert breakable.child("training.jobs.worker") != worker
        assert client.predict(question()).version == job.info.version


def test_predictions_go_on_without_redis_and_a_job_sent_meanwhile_is_not_lost(breakable):
    tenant, client = breakable.tenant()
    with client:
        first = client.tune(tenant, lessons(2)).wait(timeout=120)
        redis = breakable.child("redis-server")
        os.kill(redis, signal.SIGKILL)
        answers = [client.predict(question()) for _ in range(10)]
        assert {answer.version for answer in answers} == {first.version}
        job = client.tune(tenant, lessons(2), activate="always")
        assert breakable.child("redis-server") != redis
        assert job.wait(timeout=120).version == first.version + 1


def test_an_engine_process_killed_under_load_costs_at_most_503_with_retry_after_and_no_wrong_answer(breakable):
    tenant, client = breakable.tenant()
    with client:
        client.tune(tenant, lessons(2)).wait(timeout=120)
        expected = client.predict(question())
        first = breakable.child("local.worker_main")
        key = client.create_key(tenant, ["predict"]).secret
        impatient = breakable.client(key, attempts=1)
        answers, stop = [], threading.Event()

        def outcome() -> object:
            try:
                return impatient.predict(question())
            except Exception as error:
                return error

        def ask() -> None:
            while not stop.is_set():
                answers.append(outcome())

        askers = [threading.Thread(target=ask) for _ in range(3)]
        for thread in askers:
            thread.start()
        eventually(lambda: len(answers) > 5, "predictions are under way")
        os.kill(first, signal.SIGKILL)
        eventually(lambda: not alive(first), "the process is dead")
        second = breakable.child("local.worker_main")
        count = len(answers)
        eventually(lambda: len(answers) > count + 20, "predictions go on")
        stop.set()
        for thread in askers:
            thread.join()
        impatient.close()
    good = [answer for answer in answers if not isinstance(answer, Exception)]
    bad = [answer for answer in answers if isinstance(answer, Exception)]
    assert second != first
    assert all(isinstance(error, Unavailable) and error.retry_after for error in bad), bad
    assert {answer.label for answer in good} == {expected.label}
    assert max(abs(answer.confidence - expected.confidence) for answer in good) < 1e-3
    assert breakable.ready()


def test_the_gateway_itself_never_loads_torch(breakable):
    tenant, client = breakable.tenant()
    with client:
        client.tune(tenant, lessons(2)).wait(timeout=120)
        client.predict(question())
    assert "libtorch" not in Path(f"/proc/{breakable.process.pid}/maps").read_text()
    assert "libtorch" in Path(f"/proc/{breakable.child('local.worker_main')}/maps").read_text()


def test_a_killed_parent_leaves_no_child_behind(tmp_path):
    with serving(tmp_path / "data") as server:
        left = [server.child(program) for program in ("training.jobs.worker", "redis-server", "local.worker_main")]
        server.process.kill()
        server.process.wait()
        eventually(lambda: not any(alive(pid) for pid in left), "the children end with their parent")
        # And nothing it left stands in the way of the next one.
        with serving(tmp_path / "data") as successor:
            assert successor.ready()


def test_a_second_serve_on_the_same_data_folder_is_refused_and_told_why(breakable):
    process, log = launch(breakable.data_dir)
    assert process.wait(30) == 1
    said = " ".join(log.read_text().split())
    assert f"in use by process {breakable.process.pid}" in said
    assert "SKELETON_PROMPT_DATA_DIR" in said
    assert breakable.ready()


def test_a_taken_port_is_refused_before_anything_is_started(breakable, tmp_path):
    port = breakable.url.rsplit(":", 1)[1]
    process, log = launch(tmp_path / "data", port=port)
    assert process.wait(30) == 1
    said = " ".join(log.read_text().split())
    assert f"Port {port} on 127.0.0.1 is in use" in said
    assert not any((tmp_path / "data").glob("*.db"))


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"backbone": "huge"}, "error no backbone named 'huge'; there are: edge (SKELETON_PROMPT_BACKBONE)"),
        ({"device": "cuda:99"}, "error device cuda:99 is asked for"),
    ],
)
def test_an_engine_that_cannot_start_ends_the_service_with_a_line_that_says_why(tmp_path, setting, said):
    process, log = launch(tmp_path / "data", **setting)
    assert process.wait(60) == 1
    last = log.read_text().strip().splitlines()
    assert said in " ".join(" ".join(last[-4:]).split())


def test_sigterm_under_load_finishes_the_requests_in_flight(tmp_path):
    with serving(tmp_path / "data") as server:
        tenant, client = server.tenant()
        client.tune(tenant, lessons(2)).wait(timeout=120)
        batch = [question()] * 24
        outcomes: list[object] = []

        def ask() -> None:
            try:
                outcomes.append(len(client.predict_batch(batch)))
            except Exception as error:
                outcomes.append(error)

        clients = [threading.Thread(target=ask) for _ in range(4)]
        for thread in clients:
            thread.start()
        # When the first is answered the others, which began with it, are being worked on.
        eventually(lambda: outcomes, "the first answer")
        family = [server.process.pid, *children(server.process.pid)]
        assert server.stop() == 0
        for thread in clients:
            thread.join()
        client.close()
    assert outcomes == [24] * 4
    assert not any(alive(pid) for pid in family)
