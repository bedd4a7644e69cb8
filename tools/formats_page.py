"""Writes the tables of docs/formats.md out of the registry of file formats.

    python tools/formats_page.py

A test fails when the page and the registry disagree.
"""

from __future__ import annotations

from pathlib import Path

from skeleton_prompt.clips.formats import FORMATS
from skeleton_prompt.clips.formats.registry import ELSEWHERE

PAGE = Path(__file__).parents[1] / "docs" / "formats.md"
BEGIN, END = "<!-- Made by tools/formats_page.py: -->\n", "<!-- end -->\n"


def tables() -> str:
    """The formats that are read, and those that are not."""
    lines = ["| Format | Name | Files | Layout | Frames per second | Options |", "|---|---|---|---|---|---|"]
    for form in FORMATS:
        options = ", ".join(f"`{option}`" for option in form.options)
        lines.append(f"| {form.title} | `{form.name}` | {form.files} | {form.layout} | {form.fps} | {options} |")
    lines += ["", "| Not read | Instead |", "|---|---|"]
    lines += [f"| `{suffix}` | {advice} |" for suffix, advice in ELSEWHERE.items()]
    return "\n".join(lines) + "\n"


def page() -> str:
    """The whole page, its tables written anew."""
    head, rest = PAGE.read_text().split(BEGIN)
    return head + BEGIN + tables() + END + rest.split(END)[1]


if __name__ == "__main__":
    PAGE.write_text(page())
