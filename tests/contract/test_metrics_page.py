"""docs/metrics.md lists every metric, and no page names one that does not exist."""

import ast
import re
from pathlib import Path

import pytest

from tools import metrics_page

ROOT = Path(__file__).parents[2]
PAGES = [path for path in sorted((ROOT / "docs").glob("*.md")) if path.name != "metrics.md"]
LISTED = set(re.findall(r"^\| `(skeleton_prompt_[a-z_]+)`", metrics_page.PAGE.read_text(), re.M))
KINDS = ("Counter", "Gauge", "Histogram", "CounterMetricFamily", "GaugeMetricFamily", "HistogramMetricFamily")


def made_in(path: Path) -> set[str]:
    """The names, or what follows a prefix in them, of the metrics that a module makes."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in KINDS and node.args:
            name = node.args[0].right if isinstance(node.args[0], ast.BinOp) else node.args[0]
            if isinstance(name, ast.Constant):
                names.add(str(name.value))
    return names


def test_the_page_is_that_of_the_code():
    assert metrics_page.PAGE.read_text() == metrics_page.page(), "write it again: python tools/metrics_page.py"


def test_no_metric_that_the_code_makes_is_missing():
    made = {
        name for package in ("service", "training") for path in (ROOT / package).rglob("*.py") for name in made_in(path)
    }
    assert len(made) > 20
    endings = tuple(name.removesuffix("_total") for name in LISTED)
    assert [name for name in sorted(made) if not any(ending.endswith(name) for ending in endings)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_a_metric_that_a_page_names_exists(page):
    known = LISTED | {name + ending for name in LISTED for ending in ("_bucket", "_sum", "_count")}
    assert set(re.findall(r"`(skeleton_prompt_[a-z_]+)[`{]", page.read_text())) <= known
