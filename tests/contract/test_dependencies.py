"""Every dependency is used: imported by the code, or listed here with the reason why it is not."""

import ast
import sys
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement

if sys.version_info < (3, 11):
    pytest.skip("tomllib", allow_module_level=True)
import tomllib

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SHIPPED = ["model", "server", "postgres", "s3", "torchserve", "onnx", "formats", "pretrain"]
IMPORT_NAMES = {
    "prometheus-client": "prometheus_client", "pydantic-settings": "pydantic_settings", "pysimdjson": "simdjson",
    "scikit-learn": "sklearn", "sse-starlette": "sse_starlette",
}  # fmt: skip
NOT_IMPORTED = {
    "httptools": "uvicorn's parser, chosen by uvicorn itself",
    "uvloop": "uvicorn's event loop, chosen by uvicorn itself",
    "psycopg": "SQLAlchemy's driver, named in the database's address",
    "pyyaml": "TorchServe's worker imports it without declaring it",
    "tensorboard": "imported by torch.utils.tensorboard",
    "torch-model-archiver": "TorchServe refuses to start without it",
    "torchserve": "started as a Java program with its own Python worker",
}

PLANNED = {"standardwebhooks"}  # signatures of webhooks


@cache
def imported() -> set[str]:
    """Top-level modules that the packages import, by whatever form of import, or look up by name."""
    names = set()
    for package in ("skeleton_prompt", "service", "training"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    names |= {alias.name.partition(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    names.add(node.module.partition(".")[0])
                elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("find_spec", "import_module"):
                    names |= {str(a.value).partition(".")[0] for a in node.args if isinstance(a, ast.Constant)}
    return names


def dependencies() -> list[str]:
    texts = [*PROJECT["dependencies"], *(text for extra in SHIPPED for text in PROJECT["optional-dependencies"][extra])]
    return sorted({Requirement(text).name for text in texts} - {PROJECT["name"]} - PLANNED)


@pytest.mark.parametrize("name", dependencies())
def test_a_dependency_is_imported_or_has_a_reason_not_to_be(name):
    used = IMPORT_NAMES.get(name, name.replace("-", "_")) in imported()
    assert used != (name in NOT_IMPORTED), "unused: remove it" if not used else "imported: needs no reason"
