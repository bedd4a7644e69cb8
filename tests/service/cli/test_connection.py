"""Where commands look for a service and a key."""

import json

import pytest

from service.cli.connection import connect
from service.cli.output import UsageError


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    for name in ("URL", "KEY", "ADMIN_KEY"):
        monkeypatch.delenv(f"SKELETON_PROMPT_{name}", raising=False)
    monkeypatch.setenv("SKELETON_PROMPT_DATA_DIR", str(tmp_path))
    return tmp_path


def sent_key(client) -> str:
    with client:
        return client._http.headers["Authorization"]


def test_the_service_that_runs_on_this_machine_is_found_with_its_admin_key(folder):
    (folder / "server.json").write_text(json.dumps({"url": "http://127.0.0.1:1234", "pid": 1}))
    (folder / "admin_key").write_text("local-admin\n")
    client = connect(None, None)
    assert client.url == "http://127.0.0.1:1234"
    assert sent_key(client) == "Bearer local-admin"


@pytest.mark.parametrize("url", ["https://example.org", "http://127.0.0.1.example.org", "http://10.0.0.1:8000"])
def test_the_admin_key_of_this_machine_is_never_sent_elsewhere(folder, url):
    (folder / "admin_key").write_text("local-admin")
    with pytest.raises(UsageError, match="SKELETON_PROMPT_KEY"):
        connect(url, None)


@pytest.mark.parametrize("url", ["http://localhost:1", "http://127.0.0.2:1", "http://[::1]:1"])
def test_this_machine_is_known_by_its_loopback_names(folder, url):
    (folder / "admin_key").write_text("local-admin")
    assert sent_key(connect(url, None)) == "Bearer local-admin"


def test_a_given_key_comes_first(folder):
    (folder / "admin_key").write_text("local-admin")
    assert sent_key(connect("http://localhost:1", "mine")) == "Bearer mine"
