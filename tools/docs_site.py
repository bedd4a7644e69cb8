"""Collects the pages of the documentation site in ``build/docs``, from which the site builder makes ``site/``.

    python tools/docs_site.py

Pages are written for reading in the repository: links are relative to the file. In the site a link to a page outside
``docs/`` becomes a link to its copy, and a link to any other file of the repository becomes plain text, as the site has
no source to point at. A link to a file that does not exist stays, so that the builder reports it.
"""

from __future__ import annotations

import os.path
import re
import shutil
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parents[1]
OUT = ROOT / "build" / "docs"
CARDS = sorted((ROOT / "model_store" / "backbone").glob("*.md"))
OUTSIDE = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
} | {f"model_store/backbone/{card.name}": f"model-card-{card.name}" for card in CARDS}
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")


def pages() -> dict[str, str]:
    """Every page of the site with its file in the repository, by its path in the site."""
    inside = {
        str(path.relative_to(ROOT / "docs")): str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")
    }
    return inside | {page: source for source, page in OUTSIDE.items()}


def site_links(markdown: str, page: str, source: str) -> str:
    """A page's text with its relative links as the site needs them.

    Args:
        markdown: The text as in the repository.
        page: Path of the page in the site, such as ``decisions/0006-plda.md``.
        source: Path of its file in the repository.
    """

    def replace(match: re.Match[str]) -> str:
        image, text, target = match.groups()
        path, mark, anchor = target.partition("#")
        if not path or ":" in path or path.startswith("/"):
            return match[0]
        wanted = os.path.normpath(PurePosixPath(source).parent / path)
        if wanted in OUTSIDE or wanted.startswith("docs/"):
            inside = OUTSIDE.get(wanted, wanted.removeprefix("docs/"))
            return f"{image}[{text}]({os.path.relpath(inside, PurePosixPath(page).parent)}{mark}{anchor})"
        return text if (ROOT / wanted).exists() else match[0]

    return LINK.sub(replace, markdown)


def collect(out: Path = OUT) -> None:
    """Write all pages and copy all pictures."""
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(ROOT / "docs", out, ignore=shutil.ignore_patterns("*.md"))
    for page, source in pages().items():
        path = out / page
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(site_links((ROOT / source).read_text(), page, source))


if __name__ == "__main__":
    collect()
