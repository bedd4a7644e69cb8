"""Writes the pinned, hashed requirements of the images and of development; run it when pyproject.toml changes.

    make lock                  # keeps the versions that are locked and still allowed
    make lock ARGS=--upgrade   # takes the newest that are allowed

Resolves with uv and installs nothing. Every file of a release is listed by its hash, so that the lock holds on any
architecture. torch is pinned in a file of its own and without hashes: which build of a version is installed (CPU, a
release of CUDA) is the choice of the package index that it comes from, and so are the CUDA libraries that it needs.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

PROJECT = Path(__file__).parents[1]
IMAGES = ("--python-version", "3.11", "--python-platform", "linux")  # as in the Dockerfile
ANYWHERE = ("--universal", "--python-version", "3.10")
EVERYWHERE = "server,postgres,s3"
EXPORT = "onnx>=1.17"  # writes ONNX files; of the extra "onnx" it is the part that a service needs
BUILD = "hatchling>=1.27"
OF_TORCH = re.compile(r"torch==|triton==|nvidia-|cuda-")
HEAD = "# Made by docker/lock_requirements.py; tests/docker/test_lock_requirements.py holds it to pyproject.toml.\n"


def resolve(path: Path, *arguments: str, requirements: str = "", leave_out: frozenset[str] = frozenset()) -> list[str]:
    """What has to be installed, with hashes.

    Args:
        path: The lock file; versions that it names are kept where they are still allowed.
        arguments: Of ``uv pip compile``.
        requirements: Requirements beside those of the arguments.
        leave_out: Names that are locked elsewhere.

    Returns:
        One requirement a line; hashes follow in the same string.
    """
    with tempfile.TemporaryDirectory() as folder:
        out, extra = Path(folder) / "out.txt", Path(folder) / "extra.in"
        out.write_text(path.read_text() if path.exists() else "")
        extra.write_text(requirements)
        command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--generate-hashes", "--no-header"]
        command += ["--no-annotate", "--output-file", str(out), *arguments, str(extra)]
        subprocess.run(command, check=True, cwd=PROJECT, env=os.environ | {"UV_NO_CONFIG": "1"})
        found = re.split(r"\n(?=\S)", out.read_text().strip())
    return [row for row in found if not OF_TORCH.match(row) and row.partition("==")[0] not in leave_out]


def write(path: Path, rows: list[str]) -> frozenset[str]:
    """Write a lock file, and give the names in it."""
    path.write_text(HEAD + "".join(f"{row}\n" for row in rows))
    return frozenset(row.partition("==")[0] for row in rows)


def extras(names: str) -> list[str]:
    """The arguments for the project with some of its extras."""
    return ["pyproject.toml", *(f"--extra={name}" for name in names.split(","))]


def torch_pin() -> str:
    """The exact version of torch that pyproject.toml asks for."""
    found = re.search(r'"(torch==[0-9.]+)"', (PROJECT / "pyproject.toml").read_text())
    if not found:
        raise SystemExit("pyproject.toml pins no version of torch (torch==X.Y.Z)")
    return found[1]


def main(options: list[str]) -> None:
    """Write all files; the engine's has only what comes on top of what all images have."""
    docker = PROJECT / "docker"
    write(docker / "requirements-torch.txt", [torch_pin()])
    images = docker / "requirements.txt"
    names = write(images, resolve(images, *IMAGES, *extras(EVERYWHERE), *options, requirements=EXPORT))
    engine = docker / "requirements-engine.txt"
    constraint = f"--constraint={images}"
    write(engine, resolve(engine, *IMAGES, *extras("torchserve"), constraint, *options, leave_out=names))
    build = docker / "requirements-build.txt"
    write(build, resolve(build, *IMAGES, *options, requirements=BUILD))
    development = PROJECT / "requirements-dev.txt"
    write(development, resolve(development, *ANYWHERE, *extras("dev"), *options))


if __name__ == "__main__":
    main(sys.argv[1:])
