"""What the README tells people to type exists and does what it says."""

import ast
import importlib
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from service.cli import main

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.M | re.S)
SHELL = {"bash", "sh", "shell", "console"}


def blocks(languages: set[str]) -> list[tuple[str, str]]:
    found = [(page.name, match) for page in PAGES if page.exists() for match in BLOCK.findall(page.read_text())]
    return [(name, code) for name, (language, code) in found if language in languages]


def commands(program: str) -> list[list[str]]:
    """The distinct command lines of a program in all shell blocks, without comments, prompts and redirections."""
    lines = [line for _, code in blocks(SHELL) for line in code.replace("\\\n", " ").splitlines()]
    words = [shlex.split(line.lstrip("$ "), comments=True) for line in lines if line.lstrip("$ ").startswith(program)]
    return [list(line) for line in sorted({tuple(line) for line in words})]


def test_the_readme_shows_how_to_run_and_how_to_test():
    shown = {tuple(line[:2]) for line in commands("make ")}
    assert {("make", "run"), ("make", "test")} <= shown


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize("command", commands("make "), ids=" ".join)
def test_every_make_command_has_its_target(command):
    result = subprocess.run([*command, "--dry-run"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("command", commands("skeleton-prompt "), ids=" ".join)
def test_every_command_line_uses_commands_and_options_that_exist(command, capsys, monkeypatch):
    # Wide enough that the help wraps no option.
    monkeypatch.setenv("COLUMNS", "400")
    words = [word for word in command[1:] if not word.startswith("-")]
    options = [word.split("=")[0] for word in command[1:] if word.startswith("--")]
    helps = []
    for depth in (1, 2):
        with pytest.raises(SystemExit) as caught:
            main([*words[:depth], "--help"])
        helps.append((caught.value.code, capsys.readouterr().out))
    assert helps[0][0] in (0, None), f"no such command: {words[0]}"
    text = "".join(out for _, out in helps)
    for option in options:
        assert option in text, f"{' '.join(words[:2])} has no {option}"


@pytest.mark.parametrize(("page", "code"), blocks({"python"}), ids=lambda value: value.split("\n")[0][:40])
def test_every_python_example_parses_and_imports_what_exists(page, code):
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and node.module:
            module = importlib.import_module(node.module)
            for alias in node.names:
                assert hasattr(module, alias.name), f"{page}: {node.module} has no {alias.name}"
