"""Every peer says what it is, has its pins, and its server is sound Python with the project's own model in it."""

import ast
import json
import os
import re
from pathlib import Path

import pytest

from service.bench.clips import FORMS
from service.cli.bench import folders
from service.cli.output import UsageError

PEERS = Path(__file__).parents[3] / "benchmarks" / "peers"
FOLDERS = folders(PEERS, [])


def test_the_four_peers_are_there():
    assert {folder.name for folder in FOLDERS} == {"bentoml", "litserve", "ray", "torchserve"}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_peer_is_whole(folder):
    about = json.loads((folder / "peer.json").read_text())
    assert set(about["forms"]) <= set(FORMS)
    assert "json" in about["forms"]
    assert about["path"].startswith("/")
    assert os.access(folder / "serve.sh", os.X_OK)
    first = (folder / "requirements.txt").read_text().splitlines()[0]
    assert re.fullmatch(r"[a-z]+(\[[a-z]+\])?==" + re.escape(about["version"]), first)
    imported = {
        alias.name
        for node in ast.walk(ast.parse((folder / "server.py").read_text()))
        if isinstance(node, ast.ImportFrom) and node.module == "common"
        for alias in node.names
    }
    assert {"Model", "person_of"} <= imported


def test_what_peers_share_answers_as_the_engine_does(monkeypatch):
    monkeypatch.syspath_prepend(str(PEERS))
    import common

    from service.bench.clips import CONTENT_TYPES, body, documents

    model = common.Model()
    document = documents(1)[0]
    people = [common.person_of(common.decode(body(document, form), CONTENT_TYPES[form])) for form in FORMS]
    answers = model.answers(people)
    assert len({answer["label"] for answer in answers}) == 1
    assert len(answers[0]["predictions"]) == 5


def test_a_peer_that_is_not_there_is_named():
    with pytest.raises(UsageError, match="no flask; there are: bentoml"):
        folders(PEERS, ["flask"])
