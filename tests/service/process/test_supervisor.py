"""Children are started again when they die, stopped in order, and never outlive their parent."""

import itertools
import os
import signal
import subprocess
import sys

import pytest

from service.process import child as child_module
from service.process.child import Child
from service.process.heartbeat import HeartbeatMonitor
from service.process.supervisor import Supervisor
from tests.support.polling import alive, eventually

SLEEP = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)"]
STUBBORN = [sys.executable, "-I", "-S", "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"]
PARENT = f"""
import sys
from service.process.child import Child
from service.process.supervisor import Supervisor
supervisor = Supervisor()
supervisor.start()
child = Child("sleep", {SLEEP!r})
supervisor.add(child)
print(child.pid, file=sys.stderr, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def supervisor():
    made = Supervisor()
    made.start()
    yield made
    made.stop(grace_s=1.0)


def test_a_killed_child_is_started_again(supervisor):
    child = Child("sleep", SLEEP)
    supervisor.add(child)
    first = child.pid
    os.kill(first, signal.SIGKILL)
    second = eventually(lambda: child.pid not in (None, first) and child.pid, "a new process")
    assert alive(second)
    assert child.starts == 2


def test_a_child_that_dies_at_once_is_started_less_and_less_often(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(child_module.time, "monotonic", lambda: now[0])
    child = Child("false", ["/bin/false"])
    starts = []
    while now[0] < 60.0:
        child.watch()
        if child.process is not None:
            starts.append(now[0])
            child.process.wait()
        now[0] += 0.1
    pauses = [b - a for a, b in itertools.pairwise(starts)]
    assert pauses[0] < 0.5
    assert pauses[-1] > 9.0
    assert len(starts) < 15


def test_a_program_that_cannot_be_started_does_not_end_the_supervision_of_others(supervisor, monkeypatch):
    def refuse(*_args: object, **_options: object) -> None:
        raise OSError("no memory")

    healthy, broken = Child("sleep", SLEEP), Child("broken", SLEEP)
    supervisor.add(healthy)
    broken.start = refuse
    supervisor.add(broken, timeout_s=0.3)
    os.kill(healthy.pid, signal.SIGKILL)
    eventually(lambda: healthy.starts == 2, "the healthy child is started again")


def test_a_retired_child_is_asked_to_stop_and_not_started_again(supervisor):
    child = Child("sleep", SLEEP)
    supervisor.add(child)
    pid = child.pid
    supervisor.retire(child)
    eventually(lambda: not alive(pid), "the child ends")
    supervisor.stop(child)
    assert child.starts == 1


def test_a_child_that_does_not_stop_when_asked_is_killed():
    supervisor = Supervisor()
    supervisor.start()
    child = Child("stubborn", STUBBORN)
    supervisor.add(child)
    pid = child.pid
    supervisor.retire(child)
    supervisor.stop(child, grace_s=0.3)
    assert not alive(pid)


def test_a_killed_parent_leaves_no_child_behind():
    with subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stderr=subprocess.PIPE) as parent:
        child = int(parent.stderr.readline())
        assert alive(child)
        parent.kill()
        parent.wait()
        eventually(lambda: not alive(child), "the child ends with its parent")


def test_a_child_has_its_own_process_group(supervisor):
    child = Child("sleep", SLEEP)
    supervisor.add(child)
    assert os.getpgid(child.pid) == child.pid != os.getpgid(0)


def test_a_child_that_hangs_is_replaced(supervisor, tmp_path):
    beat = tmp_path / "beat"
    code = "import sys; from pathlib import Path; from service.process.heartbeat import Heartbeat\n"
    code += f"import time; Heartbeat(Path({str(beat)!r})).start(); time.sleep(600)"
    child = Child("beating", [sys.executable, "-c", code], heartbeat=HeartbeatMonitor(beat, 2.5))
    supervisor.add(child)
    eventually(beat.exists, "the first beat")
    first = child.pid
    os.kill(first, signal.SIGSTOP)
    second = eventually(lambda: child.pid not in (None, first) and child.pid, "a new process")
    assert not alive(first)
    eventually(beat.exists, "the first beat of its successor")
    assert child.pid == second
