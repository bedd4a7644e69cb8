"""What the children are told, and what happens when the port is not to be had."""

import socket

import pytest

from service.embedded.serve import CannotServe, child_environment, listen, worker_children
from service.settings import Settings, ensure_secrets


def test_a_taken_port_is_named_with_the_way_out():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(CannotServe, match=rf"Port {port} on 127\.0\.0\.1 is in use.*SKELETON_PROMPT_PORT"):
            listen("127.0.0.1", port)


def test_an_address_of_another_machine_is_refused():
    with pytest.raises(CannotServe, match=r"192\.0\.2\.1 is not an address of this machine"):
        listen("192.0.2.1", 0)


def test_a_child_reads_the_same_settings_out_of_its_environment(tmp_path, monkeypatch):
    settings = Settings(data_dir=tmp_path, redis_url="unix:///tmp/x.sock", max_frames=99, backbone="base").resolved()
    env = child_environment(settings)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert Settings().resolved().model_dump() == settings.model_dump()


def test_no_secret_is_put_into_a_childs_environment(tmp_path, monkeypatch):
    monkeypatch.delenv("SKELETON_PROMPT_ADMIN_KEY", raising=False)
    settings = Settings(data_dir=tmp_path, admin_key="a-secret-that-is-long-enough").resolved()
    assert "a-secret-that-is-long-enough" not in str(child_environment(settings))


def test_a_worker_is_given_no_key_and_makes_none_of_its_own(tmp_path, monkeypatch):
    keys = {"ADMIN_KEY": "the-key-of-the-admin", "SECRET": "a-secret-that-is-long", "METRICS_KEY": "key-of-prometheus"}
    for name, value in keys.items():
        monkeypatch.setenv(f"SKELETON_PROMPT_{name}", value)
    (worker,) = worker_children(Settings(data_dir=tmp_path / "data", workers=1).resolved(), tmp_path)
    assert not any(value in str(worker.env) for value in keys.values())
    for name in worker.env:
        monkeypatch.setenv(name, worker.env[name])
    ensure_secrets(Settings())
    assert not (tmp_path / "data").exists()


def test_a_worker_leaves_a_core_to_predictions_unless_the_environment_says_otherwise(tmp_path, monkeypatch):
    settings = Settings(data_dir=tmp_path, secret="s" * 32)
    monkeypatch.setattr("service.process.cores.usable_cores", lambda: 4)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert worker_children(settings, tmp_path)[0].env["OMP_NUM_THREADS"] == "3"
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert worker_children(settings, tmp_path)[0].env["OMP_NUM_THREADS"] == "2"
