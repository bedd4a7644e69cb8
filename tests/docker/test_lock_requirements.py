"""The locked versions are those that pyproject.toml allows, complete, and checked by hash."""

import re
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info < (3, 11):
    pytest.skip("tomllib", allow_module_level=True)
import tomllib

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
HASHED = (
    "docker/requirements.txt",
    "docker/requirements-engine.txt",
    "docker/requirements-build.txt",
    "requirements-dev.txt",
)
TORCH = "docker/requirements-torch.txt"


def rows(path: str) -> list[str]:
    text = "".join(line for line in (ROOT / path).read_text().splitlines(keepends=True) if not line.startswith("#"))
    return re.split(r"\n(?=\S)", text.strip())


def lock(*paths: str) -> dict[str, set[str]]:
    """Every name with its versions; more than one where they depend on the version of Python."""
    found: dict[str, set[str]] = {}
    for row in (row for path in paths for row in rows(path)):
        match = re.match(r"([a-z0-9._-]+)==([^ ;\\]+)", row)
        assert match, row
        found.setdefault(canonicalize_name(match[1]), set()).add(match[2])
    return found


def wanted(*extras: str) -> list[Requirement]:
    """What the extras ask for, those that they are made of included."""
    found = [Requirement(text) for text in PROJECT["dependencies"]]
    for extra in extras:
        for text in EXTRAS[extra]:
            requirement = Requirement(text)
            found += wanted(*requirement.extras) if requirement.name == PROJECT["name"] else [requirement]
    return found


def missing(versions: dict[str, set[str]], requirements: list[Requirement]) -> list[str]:
    """Requirements that a lock does not meet."""
    return [
        str(requirement)
        for requirement in requirements
        if not versions.get(canonicalize_name(requirement.name))
        or any(version not in requirement.specifier for version in versions[canonicalize_name(requirement.name)])
    ]


def locked_extras() -> list[str]:
    source = (ROOT / "docker" / "lock_requirements.py").read_text()
    match = re.search(r'^EVERYWHERE = "(.+)"$', source, re.MULTILINE)
    assert match
    return match[1].split(",")


def test_the_gateways_and_workers_versions_are_allowed_and_complete():
    assert missing(lock("docker/requirements.txt", TORCH), [*wanted(*locked_extras()), Requirement("onnx")]) == []


def test_the_engine_adds_torchserve_and_changes_nothing():
    everywhere, engine = lock("docker/requirements.txt", TORCH), lock("docker/requirements-engine.txt")
    assert not set(everywhere) & set(engine)
    assert missing(everywhere | engine, wanted("torchserve")) == []


def test_the_lock_of_development_is_allowed_and_complete():
    assert missing(lock("requirements-dev.txt", TORCH), wanted("dev")) == []


@pytest.mark.parametrize("path", HASHED)
def test_every_locked_file_has_a_hash(path):
    assert [row for row in rows(path) if "--hash=sha256:" not in row] == []


def test_a_requirement_that_is_not_locked_would_be_found():
    assert missing(lock("docker/requirements.txt"), [Requirement("torch==2.13.0")]) == ["torch==2.13.0"]
    assert missing(lock("docker/requirements.txt"), [Requirement("numpy<1")]) == ["numpy<1"]


def test_images_install_nothing_but_torch_and_the_project_without_a_hash():
    text = (ROOT / "docker" / "Dockerfile").read_text().replace("\\\n", " ")
    commands = [part for line in text.splitlines() if line.startswith("RUN") for part in line.split("&&")]
    installs = [command for command in commands if re.search(r"\bpip\b.* install ", command)]
    unchecked = [command for command in installs if "--require-hashes" not in command]
    assert len(installs) == 5
    assert ["requirements-torch.txt" in command or "/wheels/*.whl" in command for command in unchecked] == [True, True]
