"""What an evaluation leaves in its folder: ``results.json``, ``results.md`` and plots."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training.evaluation.plots import draw_plots
from training.evaluation.tables import TABLES, cell_value
from training.evaluation.targets import targets, targets_table


def write_results(results: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """Write everything.

    Args:
        results: From ``run.evaluate``.
        out: The folder.

    Returns:
        What ``results.json`` says.
    """
    out.mkdir(parents=True, exist_ok=True)
    document = {**results, "gates": targets(results["cells"])}
    (out / "results.json").write_text(json.dumps(document, indent=1))
    (out / "results.md").write_text(markdown(document))
    draw_plots(document, out)
    return document


def markdown(document: Mapping[str, Any]) -> str:
    """The tables of all protocols; mean ± standard deviation over the draws."""
    parts = ["# Evaluation", ""]
    sets = ", ".join(
        f"{entry['set']} ({entry['classes']} classes, {entry['test']} test clips)" for entry in document["sets"]
    )
    parts += [
        f"Backbone {document['backbone']} ({document['backbone_sha256'][:12]}), {document['date']}, "
        f"{document['machine']}. Sets: {sets}. Mean ± standard deviation over the draws.",
        "",
    ]
    parts += ["## gates", "", *targets_table(document["gates"]), ""]
    for protocol, (title, rows) in TABLES.items():
        if cell_value(document["cells"], protocol):
            parts += [f"## {protocol}", "", f"{title}.", "", *rows(document["cells"]), ""]
    if document["failed"]:
        parts += ["## failed", "", *(f"- {one['task']}: {one['error']}" for one in document["failed"]), ""]
    return "\n".join(parts)
