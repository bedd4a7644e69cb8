"""Pytest plugin: which tests can run here, which start other processes, and what a run left out.

Markers:

- ``data``: reads the labelled datasets in ``SKELETON_PROMPT_DATASETS``; implied by the fixture ``datasets``.
- ``cases``: reads recorded inputs in ``SKELETON_PROMPT_CASES``; implied by the fixture ``cases``.
- ``gpu``: needs a GPU and a torch built with CUDA.
- ``services``: starts a server or a worker process; implied by ``SERVICE_FIXTURES``. A test without the marker fails
  if it starts one.

A test whose requirement is not met is skipped. With ``SKELETON_PROMPT_REQUIRE_DATA=1`` a ``data`` or ``cases`` test
fails instead, whatever it is skipped for. For tests without the marker the variable is unset, so no test reads datasets
by accident.
"""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

FOLDERS = {"data": "SKELETON_PROMPT_DATASETS", "cases": "SKELETON_PROMPT_CASES"}
FOLDER_FIXTURES = {"datasets": "data", "cases": "cases"}
REQUIRE = "SKELETON_PROMPT_REQUIRE_DATA"
SERVICE_FIXTURES = frozenset({"server", "postgres", "s3"})
SERVICE_PARAMETERS = ("postgresql", "s3")  # how parameters begin that choose a database or a blob store
# Command lines of servers and workers. Short-lived interpreters (`python -c`) are not services.
SERVICE = re.compile(
    r"(^|/)(redis-server|postgres|initdb|java)( |$)|-m (moto\.server|(service|training)\.[a-z_.]+)( |$)|torchserve"
)
NEEDS = {
    "data": "the labelled datasets: set SKELETON_PROMPT_DATASETS to their folder",
    "cases": "the recorded inputs: set SKELETON_PROMPT_CASES to their folder",
    "gpu": "a GPU and a torch built with CUDA",
}


@dataclass
class _State:
    """What the hooks of one process know about the test that runs."""

    watching: bool = False
    started: list[str] = field(default_factory=list)


_state = _State()


def required() -> bool:
    """Whether ``data`` and ``cases`` tests must run."""
    return os.environ.get(REQUIRE, "") not in ("", "0")


def missing_folder(variable: str) -> str | None:
    """Why the folder that a variable names cannot be read, or None where it can."""
    value = os.environ.get(variable, "")
    if not value:
        return f"{variable} is not set"
    return None if Path(value).is_dir() else f"{variable} is not a folder: {value}"


def missing_gpu() -> str | None:
    """Why no GPU can be used, or None where one can."""
    import torch

    return None if torch.cuda.is_available() else "no GPU, or torch without CUDA"


def unmet(item: pytest.Item) -> str | None:
    """The first requirement of a test that is not met here, or None."""
    for marker, variable in FOLDERS.items():
        if item.get_closest_marker(marker) and (reason := missing_folder(variable)):
            return reason
    return missing_gpu() if item.get_closest_marker("gpu") else None


@pytest.fixture
def datasets() -> Path:
    """Folder of the labelled datasets."""
    return Path(os.environ[FOLDERS["data"]])


@pytest.fixture
def cases() -> Path:
    """Folder of recorded inputs, one folder a case."""
    return Path(os.environ[FOLDERS["cases"]])


def pytest_configure(config: pytest.Config) -> None:
    """Watch for started processes."""
    sys.addaudithook(_note_process)  # cannot be removed; it notes nothing unless an unmarked test runs


def _note_process(event: str, arguments: tuple[object, ...]) -> None:
    if event == "subprocess.Popen" and _state.watching:
        command = arguments[1]
        words = [str(word) for word in command] if isinstance(command, list | tuple) else [str(command)]
        line = " ".join(words[: words.index("-c")] if "-c" in words else words)
        if SERVICE.search(line):
            _state.started.append(line[:200])


@pytest.hookimpl(tryfirst=True)  # before -m selects by marker
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Add the markers that follow from a test's fixtures."""
    for item in items:
        names = set(getattr(item, "fixturenames", ()))
        for fixture, marker in FOLDER_FIXTURES.items():
            if fixture in names:
                item.add_marker(marker)
        parameters = getattr(getattr(item, "callspec", None), "params", {}).values()
        chosen = any(isinstance(value, str) and value.startswith(SERVICE_PARAMETERS) for value in parameters)
        if names & SERVICE_FIXTURES or chosen:
            item.add_marker("services")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Hide the folders from tests without the marker, and watch tests that must not start services."""
    hidden = {
        variable: os.environ.pop(variable)
        for marker, variable in FOLDERS.items()
        if variable in os.environ and not item.get_closest_marker(marker)
    }
    _state.started.clear()
    _state.watching = item.get_closest_marker("services") is None
    try:
        return (yield)
    finally:
        _state.watching = False
        os.environ.update(hidden)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose requirement is not met."""
    if reason := unmet(item):
        pytest.skip(reason)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a skipped test that has to run, and an unmarked test that started a service."""
    report = yield
    needs_folder = any(item.get_closest_marker(marker) for marker in FOLDERS)
    if report.skipped and needs_folder and required() and not item.get_closest_marker("gpu"):
        report.outcome, report.longrepr = "failed", f"{REQUIRE} is set, and the test was skipped: {call.excinfo}"
    if report.when == "teardown" and report.passed and _state.started:
        started = "; ".join(_state.started)
        report.outcome, report.longrepr = "failed", f"starts a process without the marker 'services': {started}"
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)  # outermost, so that its lines come after the list of skipped tests
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Generator[None, object, object]:
    """One line for each requirement that left tests out."""
    result = yield
    skipped = Counter(
        marker
        for report in terminalreporter.stats.get("skipped", [])
        for marker in NEEDS
        if marker in getattr(report, "keywords", {})
    )
    for marker, needs in NEEDS.items():
        if skipped[marker]:
            terminalreporter.write_line(f"left out: {skipped[marker]} tests that need {needs}")
    return result
