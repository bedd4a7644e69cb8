"""The whole production path at once: two gateways on one PostgreSQL, one S3, one Redis, predictions in TorchServe.

One gateway has the training worker and TorchServe, the other has neither worker nor data and computes by itself. What
a tenant does at one of them is true at the other in the same moment.
"""

import uuid

import numpy as np
import pytest

from service.storage.blobs.s3 import S3BlobStore, S3Options
from skeleton_prompt.client import ApiError
from skeleton_prompt.synthetic import make_clip
from tests.support.redis_server import redis_server
from tests.support.s3_server import aws_environment
from tests.support.service_process import serving

pytestmark = pytest.mark.services

TAUGHT = ("wave", "squat", "jumping_jack")
KEYS = {"admin_key": "admin-key-of-both-gateways", "secret": "secret-of-both-gateways-which-is-long"}


@pytest.fixture(scope="module")
def gateways(tmp_path_factory, postgres, s3):
    bucket = f"production-{uuid.uuid4().hex[:10]}"
    s3.make_bucket(bucket)
    folder = tmp_path_factory.mktemp("production")
    with aws_environment(), redis_server() as redis:
        shared = KEYS | {
            "database_url": postgres.database(),
            "blob_url": f"s3://{bucket}/blobs",
            "s3_endpoint_url": s3.url,
            "redis_url": redis.url,
        }
        store = S3BlobStore(f"s3://{bucket}/blobs", S3Options(s3.url))
        with (
            serving(folder / "first", engine="torchserve", **shared) as first,
            serving(folder / "second", workers="0", **shared) as second,
        ):
            yield first, second, store


def lessons(seed, shots=3):
    rng = np.random.default_rng(seed)
    return [make_clip(action, rng, group=f"{action}-{n}") for action in TAUGHT for n in range(shots)]


def test_what_is_taught_at_one_gateway_is_predicted_changed_and_erased_at_both(gateways):
    first, second, store = gateways
    with second.client(KEYS["admin_key"]) as admin:
        made = admin.create_tenant(f"t-{uuid.uuid4().hex[:8]}")
    with first.client(made.key.secret) as one, second.client(made.key.secret) as two:
        job = two.tune(made.id, lessons(1), seed=0).wait(timeout=240)  # by the worker of the other gateway
        assert job.activated, job
        unseen = lessons(101)
        clips = [{name: value for name, value in clip.items() if name != "label"} for clip in unseen]
        at_one, at_two = [one.predict(clip) for clip in clips], [two.predict(clip) for clip in clips]
        assert np.mean([a.predictions[0]["label"] == c["label"] for a, c in zip(at_one, unseen, strict=True)]) >= 0.8
        for a, b in zip(at_one, at_two, strict=True):
            assert (a.label, a.version, a.sha256) == (b.label, b.version, b.sha256)
            assert a.confidence == pytest.approx(b.confidence, abs=1e-5)

        later = one.tune(made.id, lessons(2), seed=1).wait(timeout=240)
        for client, other, version in ((two, one, later.version), (one, two, job.version), (two, one, later.version)):
            client.activate(made.id, version)
            assert other.predict(clips[0]).version == version

        assert store.names(f"tenants/{made.id}/clips")
        with first.client(KEYS["admin_key"]) as admin:
            admin.delete_tenant(made.id)
        for client in (one, two):
            with pytest.raises(ApiError) as caught:
                client.predict(clips[0])
            assert caught.value.status == 401
    assert store.names(f"tenants/{made.id}") == []


def test_neither_gateway_kept_anything_on_its_own_disk(gateways):
    for gateway in gateways[:2]:
        kept = [path.name for path in gateway.data_dir.rglob("*") if path.is_file()]
        assert not [name for name in kept if name.endswith((".db", ".npz", ".safetensors", ".wal"))], kept


def test_both_gateways_say_that_they_are_ready(gateways):
    for gateway in gateways[:2]:
        with gateway.client(KEYS["admin_key"], attempts=1) as client:
            assert client.ready()
