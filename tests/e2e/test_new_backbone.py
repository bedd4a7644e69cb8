"""An upgrade that brings another backbone, over the real service: nobody is stranded, and nobody has to do anything."""

from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch

from service.settings import Settings
from service.storage.store import Storage
from skeleton_prompt.client import Client
from skeleton_prompt.model.backbone import Backbone, BackboneConfig, backbone_bytes, parse_backbone
from skeleton_prompt.model.engine import Engine
from skeleton_prompt.model.prompt_file import digest
from tests.support.polling import eventually
from tests.support.recordings import clips, document
from tests.support.service_process import Server, serving
from training.jobs.context import WorkerContext
from training.jobs.run import run_job

pytestmark = pytest.mark.services


def backbone(seed: int) -> bytes:
    torch.manual_seed(seed)
    return backbone_bytes(Backbone(BackboneConfig("tiny", width=16, blocks=4, heads=2)))


def taught(data_dir: Path, data: bytes) -> None:
    """Leave a data folder behind as a service on that backbone does, with one tenant and their version 1."""
    storage = Storage.open(Settings(data_dir=data_dir))
    storage.migrate()
    storage.admin.create_tenant("acme")
    tenant = storage.tenant("acme")
    job = tenant.create_job(tenant.add_clips(clips(), source="tune"), {})
    keep = partial(storage.backbones.store, data)
    engine = Engine(parse_backbone(data, "old"))
    assert (
        run_job(WorkerContext(storage, engine, "worker", temporal_seconds=0.0, keep_backbone=keep), "acme", job.id)
        == "succeeded"
    )
    storage.close()


def retune(client: Client, tenant: str) -> dict[str, Any] | None:
    return next((job.document for job in client.jobs(tenant).items if job.document["kind"] == "new_backbone"), None)


def metrics(server: Server) -> str:
    return httpx.get(f"{server.url}/metrics", headers={"Authorization": f"Bearer {server.admin_key}"}).text


def test_after_an_upgrade_predictions_go_on_and_the_version_moves_by_itself(tmp_path: Path) -> None:
    old, new = backbone(1), backbone(2)
    taught(tmp_path / "data", old)
    path = tmp_path / "edge.safetensors"  # what the package brings
    path.write_bytes(new)
    with serving(tmp_path / "data", backbone=str(path)) as server, server.client() as client:
        assert client.predict(document(None, 500), tenant="acme", version=1).version == 1
        job = eventually(lambda: retune(client, "acme"), "a job that nobody asked for")
        assert (job["clips"], job["options"]["backbone_sha256"]) == (len(clips()), digest(new))
        done = client.job("acme", job["job"]).wait(timeout=240).document
        assert (done["state"], done["version"]) == ("succeeded", 2), done
        active = next(prompt for prompt in client.prompts("acme").items if prompt.active)
        expected = (2, digest(new)) if done["activated"] else (1, digest(old))
        assert (active.version, active.backbone_sha256) == expected
        for version in (1, 2):
            assert client.predict(document(None, 500), tenant="acme", version=version).version == version
        assert client.predict(document(None, 500), tenant="acme").version == active.version
        assert len(client.jobs("acme").items) == 2
        page = metrics(server)
        assert "skeleton_prompt_backbone_upgrade_jobs_created_total 1.0" in page
        assert "skeleton_prompt_old_backbones_loaded 1.0" in page
