"""Real TorchServe instances on a small random backbone, with prompts of several tenants in a store."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from service.embedded.local_torchserve import LocalTorchServe, local_torchserve
from service.embedded.private_redis import PrivateDir
from service.process.supervisor import Supervisor
from service.storage.blobs.filesystem import BlobStore
from service.storage.blobs.paths import prompt_blob
from skeleton_prompt.model.backbone import backbone_bytes
from skeleton_prompt.model.engine import Engine
from skeleton_prompt.model.prompt_file import Prompt, PromptRef, digest, save_prompt
from tests.support.engine_rows import small_engine
from tests.support.polling import children, eventually


def backbone_file(folder: Path, seed: int = 0) -> Path:
    """A small backbone as a file."""
    path = folder / f"tiny-{seed}.safetensors"
    path.write_bytes(backbone_bytes(small_engine(seed).backbone))
    return path


@dataclass
class TorchServeRoom:
    """A data folder, the backbone that is current in it, and its embedded engine to compare with."""

    folder: Path

    def __post_init__(self) -> None:
        self.backbone = backbone_file(self.folder)
        self.engine = Engine.load(self.backbone)
        self.blobs = BlobStore(str(self.folder / "blobs"))

    def publish(self, prompt: Prompt) -> PromptRef:
        data = save_prompt(prompt)
        ref = PromptRef(prompt.tenant, prompt.version, digest(data))
        self.blobs.write(prompt_blob(ref), data)
        return ref

    @contextlib.contextmanager
    def serving(self, count: int = 1) -> Iterator[list[LocalTorchServe]]:
        """Instances of TorchServe, each with its own folder, supervised."""
        env = {name: value for name, value in os.environ.items() if not name.startswith("SKELETON_PROMPT_")}
        env |= {"SKELETON_PROMPT_DATA_DIR": str(self.folder), "SKELETON_PROMPT_BLOB_URL": str(self.folder / "blobs")}
        with contextlib.ExitStack() as stack:
            folders = [stack.enter_context(PrivateDir()) for _ in range(count)]
            supervisor = Supervisor()
            supervisor.start()
            stack.callback(supervisor.stop)
            sizes = {"batch_size": 8, "queue_size": 64}
            local = [local_torchserve(folder, env, backbone=str(self.backbone), **sizes) for folder in folders]
            for each in local:
                supervisor.add(each.child)
            yield local


def worker_of(server: LocalTorchServe) -> int:
    """The process id of an instance's worker; waits until there is one."""
    return eventually(
        lambda: next((pid for pid, command in children(server.child.pid or 0).items() if "python" in command), None),
        "a worker of TorchServe",
    )
