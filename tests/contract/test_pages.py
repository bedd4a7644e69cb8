"""Pages hold together: links lead somewhere, every page can be reached, generated pages are those of the code."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tools import cli_page, formats_page
from tools.docs_site import OUTSIDE, pages, site_links

ROOT = Path(__file__).parents[2]
SOURCES = sorted({*pages().values(), "docs/decisions/README.md"})
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCED = re.compile(r"^```.*?^```", re.M | re.S)


def links(source: str) -> list[str]:
    return [link for link in LINK.findall(FENCED.sub("", (ROOT / source).read_text())) if ":" not in link]


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as repositories make them."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", path.read_text()), re.M)
    texts = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower() for heading in headings]
    return {re.sub(r"[^\w\- ]", "", text).strip().replace(" ", "-") for text in texts}


@pytest.mark.parametrize("source", SOURCES)
def test_every_relative_link_leads_to_a_file_and_a_heading(source):
    broken = []
    for link in links(source):
        path, _, anchor = link.partition("#")
        target = (ROOT / source).parent / path if path else ROOT / source
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_every_page_is_in_the_navigation_of_the_site():
    def leaves(entry: object) -> list[str]:
        if isinstance(entry, str):
            return [entry]
        children = entry.values() if isinstance(entry, dict) else entry
        return [leaf for child in children for leaf in leaves(child)]

    nav = leaves(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])
    assert sorted(nav) == sorted(pages())


def test_every_decision_is_in_the_index_and_has_a_number_of_its_own():
    folder = ROOT / "docs" / "decisions"
    names = sorted(path.name for path in folder.glob("[0-9]*.md"))
    listed = re.findall(r"\((\d{4}-[a-z0-9-]+\.md)\)", (folder / "README.md").read_text())
    assert listed == names
    assert len({name[:4] for name in names}) == len(names)


def test_the_page_of_the_command_line_is_that_of_the_program():
    assert cli_page.PAGE.read_text() == cli_page.page(), "write it again: python tools/cli_page.py"


def test_the_page_of_formats_is_that_of_the_registry():
    assert formats_page.PAGE.read_text() == formats_page.page(), "write it again: python tools/formats_page.py"


def test_the_glossary_is_short_sorted_and_defines_each_word_once():
    words = re.findall(r"^\| \*\*(.+?)\*\* \|", (ROOT / "docs" / "glossary.md").read_text(), re.M)
    assert words == sorted(set(words))
    assert len(words) <= 10


def test_links_between_pages_follow_them_into_the_site():
    assert site_links("[a](docs/api.md#x) [b](Makefile)", "index.md", "README.md") == "[a](api.md#x) b"
    card = next(source for source in OUTSIDE if source.startswith("model_store"))
    text = site_links(f"[card](../../{card}) [gone](gone.md)", "decisions/0006-plda.md", "docs/decisions/0006-plda.md")
    assert text == f"[card](../{OUTSIDE[card]}) [gone](gone.md)"


@pytest.mark.parametrize("word", ["/work/", "/opt/pypi", "../shared/data"])
def test_no_tracked_file_names_a_folder_of_some_machine(word):
    here = Path(__file__).relative_to(ROOT).as_posix()
    found = subprocess.run(
        ["git", "grep", "-lF", word, "--", ".", f":!{here}"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert found.stdout.split() == []


def test_every_path_in_the_architecture_page_exists():
    text = FENCED.sub("", (ROOT / "docs" / "architecture.md").read_text())
    paths = re.findall(r"`((?:[a-z_]+/)*[a-z_]+(?:\.py|/))`|`((?:[a-z_]+/)+[a-z_]+)`", text)
    tracked = {path for path in ROOT.rglob("*") if not {".venv", ".git"} & set(path.relative_to(ROOT).parts[:1])}
    names = [path.as_posix() for path in tracked]
    missing = [
        wanted for wanted in ("".join(pair).rstrip("/") for pair in paths)
        if not any(name.endswith(f"/{wanted}") for name in names)
    ]  # fmt: skip
    assert len(paths) > 30
    assert missing == []


@pytest.mark.parametrize("package", ["skeleton_prompt", "service", "training"])
def test_every_package_has_a_row_in_the_architecture_page(package):
    text = (ROOT / "docs" / "architecture.md").read_text()
    folders = [path.parent.name for path in (ROOT / package).glob("*/__init__.py")]
    assert len(folders) >= 3
    assert [name for name in folders if f"`{package}/{name}`" not in text] == []


def test_every_test_that_contributing_names_exists():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    defined = {
        name for path in (ROOT / "tests").rglob("test_*.py") for name in re.findall(r"def (test_\w+)", path.read_text())
    }
    named = set(re.findall(r"`(test_\w+)`", text))
    assert len(named) > 10
    assert named <= defined


def test_every_path_that_contributing_names_exists():
    text = FENCED.sub("", (ROOT / "CONTRIBUTING.md").read_text())
    paths = re.findall(r"`((?:[a-z_.]+/)*[A-Za-z_.-]+\.(?:py|md|toml|yml|txt)|(?:[a-z_]+/)+[a-z_]*)`", text)
    assert len(paths) > 20
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_a_decision_has_the_title_that_the_index_gives():
    folder = ROOT / "docs" / "decisions"
    rows = re.findall(r"\[(.+)\]\((\d{4}-[a-z0-9-]+\.md)\)", (folder / "README.md").read_text())
    assert {name: title for title, name in rows} == {
        name: (folder / name).read_text().splitlines()[0].removeprefix("# ") for _, name in rows
    }


@pytest.mark.parametrize("source", [source for source in SOURCES if source != "CHANGELOG.md"])  # names what was
def test_a_module_that_a_page_names_exists(source):
    named = set(re.findall(r"`((?:[\w-]+/)*[\w-]+\.py)`", (ROOT / source).read_text()))
    folders = ("skeleton_prompt", "service", "training", "tests", "docker", "tools", "benchmarks")
    known = [path.as_posix() for folder in folders for path in (ROOT / folder).rglob("*.py")]
    assert [name for name in sorted(named) if not any(path.endswith(f"/{name}") for path in known)] == []
