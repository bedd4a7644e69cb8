"""The versions that the images are built with are those that pyproject.toml allows."""

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


def lock(name: str) -> dict[str, str]:
    lines = [line for line in (ROOT / "docker" / name).read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9._-]+==[a-z0-9.]+", line) for line in lines)
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}


def wanted(*extras: str) -> list[Requirement]:
    """What the extras ask for, those that they are made of included."""
    found = [Requirement(text) for text in PROJECT["dependencies"]]
    for extra in extras:
        for text in EXTRAS[extra]:
            requirement = Requirement(text)
            found += wanted(*requirement.extras) if requirement.name == PROJECT["name"] else [requirement]
    return found


def locked_extras() -> list[str]:
    source = (ROOT / "docker" / "lock.py").read_text()
    match = re.search(r'^EVERYWHERE = "(.+)"$', source, re.MULTILINE)
    assert match
    return match[1].split(",")


def test_the_gateways_and_workers_versions_are_allowed_and_complete():
    versions = lock("requirements.txt")
    for requirement in [*wanted(*locked_extras()), Requirement("onnx")]:
        assert versions.get(canonicalize_name(requirement.name), "") in requirement.specifier, requirement


def test_the_engine_adds_torchserve_and_changes_nothing():
    everywhere, engine = lock("requirements.txt"), lock("requirements-engine.txt")
    assert not set(everywhere) & set(engine)
    both = everywhere | engine
    for requirement in wanted("torchserve"):
        assert both.get(canonicalize_name(requirement.name), "") in requirement.specifier, requirement
