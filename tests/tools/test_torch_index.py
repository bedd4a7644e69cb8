"""Where `make` takes torch from: the CPU builds where nothing else is of use, and never at the price of a hang."""

import http.server
import socket
import threading
import time

import pytest

from tools.torch_index import reachable, torch_index


@pytest.fixture
def index(tmp_path):
    """A package index on loopback that has torch."""
    (tmp_path / "torch").mkdir()

    def handler(*arguments):
        return http.server.SimpleHTTPRequestHandler(*arguments, directory=str(tmp_path))

    handler_class = http.server.SimpleHTTPRequestHandler
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(handler_class, "log_message", lambda *_: None)
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield f"http://127.0.0.1:{server.server_port}"
            server.shutdown()


@pytest.fixture
def no_driver(tmp_path):
    return tmp_path / "none"


def test_linux_without_a_gpu_takes_the_cpu_builds(index, no_driver):
    assert torch_index("linux", no_driver, index) == index


def test_an_index_without_torch_or_that_is_not_there_means_the_configured_one(index, no_driver):
    assert torch_index("linux", no_driver, f"{index}/other") == ""
    assert torch_index("linux", no_driver, "http://127.0.0.1:9") == ""


def test_a_machine_with_an_nvidia_driver_and_other_systems_take_the_configured_one(index, no_driver, tmp_path):
    driver = tmp_path / "version"
    driver.write_text("NVRM version")
    assert torch_index("linux", driver, index) == ""
    assert torch_index("darwin", no_driver, index) == ""


def test_an_index_that_never_answers_is_given_up():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        begun = time.monotonic()
        assert not reachable(f"http://127.0.0.1:{silent.getsockname()[1]}/torch/", timeout=0.2)
    assert time.monotonic() - begun < 2
