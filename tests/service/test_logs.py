"""One form for all lines, and no line that could not be written ever costs more than itself."""

import errno
import io
import json
import logging
import sys

import pytest
import structlog

from service.logs import configure_logging


class FullDisk(io.StringIO):
    """Takes nothing."""

    def write(self, text: str = "") -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    flush = write  # type: ignore[assignment]


@pytest.fixture(autouse=True)
def as_before():
    root, before = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.configure(**before)


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_our_events_and_those_of_libraries_have_one_form(capsys):
    configure_logging("info", as_json=True)
    structlog.get_logger("service.test").warning("ours", tenant="acme")
    logging.getLogger("library").warning("theirs %s", 1)
    ours, theirs = map(json.loads, lines(capsys))
    assert (ours["event"], ours["tenant"], ours["level"]) == ("ours", "acme", "warning")
    assert (theirs["event"], theirs["level"]) == ("theirs 1", "warning")
    assert ours["timestamp"][:13] == theirs["timestamp"][:13]


@pytest.mark.parametrize("as_json", [False, True])
def test_what_is_below_the_level_is_not_written(capsys, as_json):
    configure_logging("warning", as_json=as_json)
    structlog.get_logger("service.test").info("quiet")
    logging.getLogger("library").info("quiet")
    structlog.get_logger("service.test").error("loud")
    assert [("loud" in line, "quiet" in line) for line in lines(capsys)] == [(True, False)]


@pytest.mark.parametrize("as_json", [False, True])
def test_a_traceback_tells_no_local_variables(capsys, as_json):
    configure_logging("info", as_json=as_json)
    hidden = "rose" + "bud"
    try:
        raise RuntimeError(f"of {len(hidden)}")
    except RuntimeError:
        structlog.get_logger("service.test").error("failed", exc_info=True)
    text = capsys.readouterr().err
    assert "RuntimeError: of 7" in text
    assert "rosebud" not in text


@pytest.mark.parametrize("as_json", [False, True])
def test_odd_text_is_written_too(capsys, as_json):
    configure_logging("info", as_json=as_json)
    structlog.get_logger("service.test").info("odd", value="line\nbreak", number=float("nan"), thing=object())
    assert len(lines(capsys)) == 1


def test_a_full_disk_costs_the_line_and_nothing_else(monkeypatch):
    monkeypatch.setattr(sys, "stderr", FullDisk())
    configure_logging("info")
    structlog.get_logger("service.test").info("lost")


def test_a_stream_that_was_closed_costs_the_line_and_nothing_else(monkeypatch):
    closed = io.StringIO()
    monkeypatch.setattr(sys, "stderr", closed)
    configure_logging("info")
    closed.close()
    structlog.get_logger("service.test").info("lost")
