"""Writes the exact versions that the images are built with; run it when the dependencies in pyproject.toml change.

    python docker/lock.py

Asks pip what it would install for Linux and this Python (3.11, as in the images), and installs nothing.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
EVERYWHERE = "server,postgres,onnx"
ENGINE = "torchserve"
BUILD = ("hatchling",)  # builds the wheel inside the image, and is removed again
HEAD = "# Made by docker/lock.py; a test holds it against pyproject.toml.\n"


def resolve(extras: str, *more: str, constraints: Path | None = None) -> dict[str, str]:
    """Names and versions of all that these extras need, without the project itself."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--report", "-"]
    command += ["--constraint", str(constraints)] if constraints else []
    command += [f"{FOLDER.parent}[{extras}]", *more]
    done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603  # no shell
    report = json.loads(done.stdout)
    found = {row["metadata"]["name"].lower(): row["metadata"]["version"] for row in report["install"]}
    # torch 2.13.0+cpu is the CPU's build of 2.13.0; which build it is the image's build argument says.
    return {name: version.partition("+")[0] for name, version in sorted(found.items()) if name != "skeleton-prompt"}


def write(name: str, versions: dict[str, str]) -> Path:
    """One line for each."""
    path = FOLDER / name
    path.write_text(HEAD + "".join(f"{name}=={version}\n" for name, version in versions.items()))
    return path


def main() -> None:
    """Write both files; the engine's has only what comes on top."""
    everywhere = resolve(EVERYWHERE, *BUILD)
    path = write("requirements.txt", everywhere)
    engine = resolve(ENGINE, constraints=path)
    write("requirements-engine.txt", {name: engine[name] for name in engine if name not in everywhere})


if __name__ == "__main__":
    main()
