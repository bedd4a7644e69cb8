"""The main job with the engine in TorchServe, and nothing left behind when the service is killed."""

import numpy as np
import pytest

from skeleton_prompt.synthetic import make_clip
from tests.support.polling import alive, children, eventually
from tests.support.service_process import serving

pytestmark = pytest.mark.services

TAUGHT = ("wave", "squat", "jumping_jack")


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with serving(
        tmp_path_factory.mktemp("torchserve") / "data", engine="torchserve", temporal_tuning_seconds="0"
    ) as running:
        yield running


def lessons(seed, shots=3):
    rng = np.random.default_rng(seed)
    return [make_clip(action, rng, group=f"{action}-{n}") for action in TAUGHT for n in range(shots)]


def test_a_tenant_teaches_and_predicts_on_torchserve(service):
    assert service.ready()
    tenant, client = service.tenant()
    with client:
        job = client.tune(tenant, lessons(1), seed=0).wait(timeout=240)
        assert job.activated, job
        unseen = lessons(101)
        answers = [client.predict({k: v for k, v in clip.items() if k != "label"}) for clip in unseen]
    best = [answer.predictions[0]["label"] == clip["label"] for answer, clip in zip(answers, unseen, strict=True)]
    assert np.mean(best) >= 0.8
    assert service.child("org.pytorch.serve.ModelServer")


def test_a_killed_service_leaves_no_java_and_no_worker_behind(service):
    java = service.child("org.pytorch.serve.ModelServer")
    workers = list(children(java))
    assert workers
    service.process.kill()
    service.process.wait()
    eventually(lambda: not any(map(alive, [java, *workers])), "Java and its workers are gone")
