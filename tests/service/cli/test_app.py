"""The program as a whole: what it lists, how it fails, what it does not import."""

import json
import subprocess
import sys

import pytest

from service.cli import main
from service.cli.output import UsageError

COMMANDS = (
    "serve", "worker", "predict", "tune", "jobs", "prompts", "tenants", "layouts", "convert", "render", "pretrain",
    "evaluate", "archive", "doctor", "demo", "settings",
)  # fmt: skip


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    return caught.value.code or 0


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command, capsys):
    assert run(command, "--help") == 0
    assert "Usage" in capsys.readouterr().out


def test_the_help_imports_nothing_heavy():
    heavy = ("torch", "fastapi", "sqlalchemy", "pydantic", "httpx", "numpy", "sklearn", "dramatiq")
    code = (
        "import sys\nfrom service.cli import main\n"
        f"try: main(['--help'])\nfinally: sys.stderr.write(' '.join(m for m in {heavy} if m in sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stderr.strip() == ""


def test_an_unknown_command_and_a_missing_file_exit_with_two(capsys, tmp_path, monkeypatch):
    assert run("no-such-command") == 2
    monkeypatch.setenv("SKELETON_PROMPT_KEY", "k")
    assert run("predict", str(tmp_path / "none.json")) == 2
    assert "No such file" in capsys.readouterr().err


@pytest.mark.slow
def test_machines_get_errors_as_json(capsys, monkeypatch):
    monkeypatch.setenv("SKELETON_PROMPT_KEY", "k")
    assert run("tenants", "list", "--json", "--url", "http://127.0.0.1:9") == 1
    problem = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert problem["type"] == "ConnectionFailed"
    assert "does not answer" in problem["error"]


def test_the_version_is_the_package_version(capsys):
    from skeleton_prompt import __version__

    assert run("--version") == 0
    assert __version__ in capsys.readouterr().out


def test_variables_of_the_tests_are_no_misspelt_settings(monkeypatch):
    from service.cli.serve import read_settings

    for name in ("CASES", "REQUIRE_DATA", "SHARED"):
        monkeypatch.setenv(f"SKELETON_PROMPT_{name}", "1")
    read_settings()
    monkeypatch.setenv("SKELETON_PROMPT_CASE", "1")
    with pytest.raises(UsageError, match="SKELETON_PROMPT_CASE"):
        read_settings()
