"""Imports form no cycle, and none points from a lower layer to a higher one."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("skeleton_prompt", "service", "training")

# From the bottom to the top; a module may import its own layer and those below. The longest prefix counts.
LAYERS = (
    ("skeleton_prompt.clips",),
    ("skeleton_prompt.model",),
    ("skeleton_prompt",),
    ("service.errors", "service.error_codec", "service.logs", "service.metrics", "service.redis_client"),
    ("service.settings",),
    ("service.process",),
    ("service.storage",),
    ("service.backbone_loader", "service.jobs"),
    ("service.inference",),
    ("service.gateway",),
    ("service.embedded",),
    ("service.bench",),
    ("service.cli",),
    ("training",),
)


def modules() -> dict[str, Path]:
    found = {}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports(name: str, *, at_start: bool) -> Iterator[str]:
    """Modules of the project that a module imports: when it is imported itself, or also later in its functions."""
    for node in statements(ast.parse(MODULES[name].read_text()), in_functions=not at_start):
        if isinstance(node, ast.Import):
            wanted = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            wanted = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for full in wanted:
            module = full if full in MODULES else full.rpartition(".")[0]
            if module in MODULES and module != name:
                yield module


def statements(tree: ast.AST, *, in_functions: bool) -> Iterator[ast.AST]:
    """Statements that run: not those for type checkers alone, and those of functions only if asked for."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not in_functions:
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        yield node
        yield from statements(node, in_functions=in_functions)


def layer(name: str) -> int:
    """The index of the layer with the longest prefix of a module's name."""
    fitting = [
        (len(prefix), number)
        for number, prefixes in enumerate(LAYERS)
        for prefix in prefixes
        if name == prefix or name.startswith(prefix + ".")
    ]
    return max(fitting, default=(0, -1))[1]


@pytest.mark.parametrize("at_start", [True, False], ids=["at import", "also in functions"])
def test_no_modules_import_each_other_in_a_circle(at_start):
    graph = {name: sorted(set(imports(name, at_start=at_start))) for name in MODULES}
    done: set[str] = set()
    circles = []

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            circles.append(" -> ".join((*path[path.index(name) :], name)))
        elif name not in done:
            for other in graph[name]:
                visit(other, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())
    assert not circles


def test_no_import_points_to_a_higher_layer():
    upward = [
        f"{name} imports {other}"
        for name in MODULES
        for other in imports(name, at_start=True)
        if layer(name) < layer(other) and layer(name) >= 0
    ]
    assert not upward


def test_every_module_of_the_service_has_a_layer():
    unknown = [name for name in MODULES if layer(name) < 0]
    assert set(unknown) <= {"service"}
