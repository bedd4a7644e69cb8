"""Builds the `.mar` that TorchServe serves: the handler and one backbone or several, no tenant's prompt."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from skeleton_prompt.model.backbone_files import backbone_path
from skeleton_prompt.model.prompt_file import digest

MODEL = "skeleton_prompt"
HANDLER = Path(__file__).with_name("handler.py")


class ArchiveError(RuntimeError):
    """The archive cannot be built; the message says why."""


def model_store_path(name: str) -> Path:
    """A file of the package's or the checkout's ``model_store``.

    Raises:
        FileNotFoundError: It is in neither.
    """
    import skeleton_prompt

    package = Path(skeleton_prompt.__file__).parent
    for store in (package, package.parent):
        path = store / "model_store" / name
        if path.is_file():
            return path
    raise FileNotFoundError(f"model_store/{name} is neither in the package nor in the checkout")


def build_archive(
    out_dir: Path, backbone: str, others: Sequence[str] = (), *, batch_size: int = 16, queue_size: int = 256
) -> Path:
    """Write ``skeleton_prompt.mar`` into a folder.

    Args:
        out_dir: Where to; an archive that is there is replaced.
        backbone: The backbone that new prompts are made on, a name or a path.
        others: Older backbones that shall be there without the store, names or paths.
        batch_size: Most rows of one forward pass.
        queue_size: Most rows that wait in TorchServe.

    Raises:
        ArchiveError: The archiver is not installed or fails; two backbones have the same file name.
        FileNotFoundError: A backbone is not there.
    """
    try:
        import yaml
    except ImportError as error:
        raise ArchiveError(f"{error}: pip install 'skeleton-prompt[torchserve]'") from error
    paths = [backbone_path(name) for name in (backbone, *others)]
    if len({path.name for path in paths}) < len(paths):
        raise ArchiveError(f"Two backbones have one file name: {', '.join(path.name for path in paths)}.")
    out_dir.mkdir(parents=True, exist_ok=True)
    config = yaml.safe_load(model_store_path("model-config.yaml").read_text())
    config |= {"batchSize": batch_size, "jobQueueSize": queue_size}
    # In the folder it goes to, so that moving it into place is one step and no server ever sees half an archive.
    with tempfile.TemporaryDirectory(dir=out_dir, prefix=".archive-") as work:
        config_file = Path(work) / "model-config.yaml"
        config_file.write_text(yaml.safe_dump(config))
        options = {
            "model-name": MODEL,
            "version": "1.0",
            "serialized-file": str(paths[0]),
            "handler": str(HANDLER),
            "config-file": str(config_file),
            "export-path": work,
        }
        if others:
            options["extra-files"] = ",".join(map(str, paths[1:]))
        command = [sys.executable, "-m", "model_archiver.model_packaging"]
        for name, value in options.items():
            command += [f"--{name}", value]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # no shell
        made = Path(work) / f"{MODEL}.mar"
        if done.returncode or not made.is_file():
            raise ArchiveError(f"torch-model-archiver failed: {done.stderr.strip()[-400:]}")
        return made.replace(out_dir / made.name)


def archived_backbone(archive: Path) -> str:
    """The SHA-256 of the backbone that an archive serves new prompts on.

    Raises:
        ArchiveError: It is no archive of ours.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            manifest = json.loads(opened.read("MAR-INF/MANIFEST.json"))
            return digest(opened.read(manifest["model"]["serializedFile"]))
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise ArchiveError(f"{archive} is no archive of skeleton-prompt: {error}") from error
