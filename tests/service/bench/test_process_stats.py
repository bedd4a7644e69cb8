"""What a process tree spends, told by one whose spending is known."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from service.bench import process_stats
from tests.support.polling import eventually

PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {child!r}], start_new_session={session})
print(child.pid, flush=True)
sys.stdin.read()
child.kill()
"""
BUSY = "while True: pass"
SPENT = "import time\nwhile time.process_time() < 0.2: pass"


@pytest.fixture(params=[False, True], ids=["same session", "own session"])
def family(request) -> Iterator[tuple[int, int]]:
    """A process that waits and its child that computes."""
    code = PARENT.format(child=BUSY, session=request.param)
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        yield parent.pid, int(parent.stdout.readline())
        parent.stdin.close()


def test_a_child_belongs_to_the_tree_and_its_time_counts(family):
    parent, child = family
    assert set(process_stats.tree(parent)) == {parent, child}
    before = process_stats.cpu_seconds(parent)
    eventually(lambda: process_stats.cpu_seconds(parent) > before + 0.05 or None, "the child's time is counted")
    alone = process_stats.cpu_seconds(child)
    assert process_stats.cpu_seconds(parent) >= alone


def test_the_time_of_a_child_that_has_ended_still_counts():
    code = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {SPENT!r}])\nprint(flush=True)"
    code += "\nsys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        parent.stdout.readline()
        assert process_stats.tree(parent.pid) == [parent.pid]
        assert process_stats.cpu_seconds(parent.pid) >= 0.2
        parent.stdin.close()


def test_memory_threads_and_files_of_this_process():
    found = process_stats.resource_usage(os.getpid())
    assert found.peak >= found.memory > 2**20
    assert found.threads >= 1
    assert found.files >= 3


def test_a_tree_that_is_gone_is_an_error_and_not_nothing():
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        pass
    with pytest.raises(ProcessLookupError):
        process_stats.resource_usage(gone.pid)
