"""What the children are told, and what happens when the port is not to be had."""

import socket

import pytest

from service.embedded.serve import CannotServe, child_environment, listen
from service.settings import Settings


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
