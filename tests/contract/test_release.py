"""Version, licence and acknowledgements agree wherever they are stated."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from skeleton_prompt import __version__

ROOT = Path(__file__).parents[2]
CARDS = sorted((ROOT / "model_store" / "backbone").glob("*.md"))
KUBERNETES = sorted(f"docker/kubernetes/{path.name}" for path in (ROOT / "docker" / "kubernetes").glob("*.yaml"))
DEPLOYED = ["docker-compose.yml", "docker/Dockerfile", "docker/compose_e2e.py", "docs/production.md", *KUBERNETES]


def releases() -> list[str]:
    return re.findall(r"^## \[?([0-9.]+)", (ROOT / "CHANGELOG.md").read_text(), re.M)


def test_the_newest_section_of_the_changelog_is_that_of_this_version():
    found = releases()
    assert found[0] == __version__
    assert found == sorted(set(found), key=lambda text: [int(part) for part in text.split(".")], reverse=True)


@pytest.mark.parametrize("page", DEPLOYED)
def test_images_are_named_with_this_version(page):
    text = (ROOT / page).read_text()
    tags = re.findall(r"skeleton-prompt/(?:gateway|engine|worker|\{target\}):([0-9.]+)", text)
    tags += re.findall(r"newTag: ([0-9.]+)", text)
    assert set(tags) <= {__version__}


@pytest.mark.parametrize("card", CARDS, ids=lambda path: path.stem)
def test_every_source_of_the_weights_is_acknowledged(card):
    tables = re.findall(r"^\| Source \|.*\n\|[-| ]+\n((?:\|.*\n)+)", card.read_text(), re.M)
    notice = (ROOT / "NOTICE").read_text()
    sources = [line.split("|")[1].split("(")[0].strip() for table in tables for line in table.splitlines()]
    assert sources
    assert [source for source in sources if source not in notice] == []


def test_the_licence_is_the_whole_apache_licence():
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text.splitlines()[0]
    assert text.count("\n") > 190
    assert "APPENDIX" in text


@pytest.mark.slow
def test_the_wheel_carries_licence_notice_weights_migrations_and_console(tmp_path):
    pytest.importorskip("hatchling")
    build = "import hatchling.build, sys; hatchling.build.build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, str(tmp_path)], cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for wanted in (
        "licenses/LICENSE",
        "licenses/NOTICE",
        "edge.safetensors",
        "console/index.html",
        "0001_first_schema.py",
    ):
        assert any(name.endswith(wanted) for name in names), wanted
