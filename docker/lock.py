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
EVERYWHERE = "server,postgres,s3"
EXPORT = ("onnx>=1.17",)  # writes ONNX files; of the extra "onnx" it is the part that a service needs
ENGINE = "torchserve"
BUILD = ("hatchling>=1.25",)
HEAD = "# Made by docker/lock.py; a test holds it against pyproject.toml.\n"


def resolve(*what: str, constraints: Path | None = None) -> dict[str, str]:
    """Names and versions of everything that these need, without the project itself."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--report", "-"]
    command += ["--constraint", str(constraints)] if constraints else []
    done = subprocess.run([*command, *what], check=True, capture_output=True, text=True)
    rows = [row["metadata"] for row in json.loads(done.stdout)["install"]]
    # torch 2.13.0+cpu is the CPU's build of 2.13.0; which build it is the image's build argument says.
    found = {row["name"].lower(): row["version"].partition("+")[0] for row in rows}
    return {name: found[name] for name in sorted(found) if name != "skeleton-prompt"}


def write(name: str, versions: dict[str, str]) -> Path:
    """One line for each."""
    path = FOLDER / name
    path.write_text(HEAD + "".join(f"{name}=={version}\n" for name, version in versions.items()))
    return path


def main() -> None:
    """Write the three files; the engine's has only what comes on top."""
    project = FOLDER.parent
    everywhere = resolve(f"{project}[{EVERYWHERE}]", *EXPORT)
    path = write("requirements.txt", everywhere)
    engine = resolve(f"{project}[{ENGINE}]", constraints=path)
    write("requirements-engine.txt", {name: engine[name] for name in engine if name not in everywhere})
    write("requirements-build.txt", resolve(*BUILD))


if __name__ == "__main__":
    main()
