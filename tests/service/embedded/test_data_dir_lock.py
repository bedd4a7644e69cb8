"""One serve per data folder."""

import os
import subprocess
import sys

import pytest

from service.embedded.data_dir_lock import DataDirBusy, DataDirLock, DataDirUnusable

HOLD = """
import sys
from pathlib import Path
from service.embedded.data_dir_lock import DataDirLock
DataDirLock(Path(sys.argv[1])).acquire()
print("held", flush=True)
sys.stdin.read()
"""


def test_the_second_taker_is_refused_and_told_who_holds_it(tmp_path):
    with DataDirLock(tmp_path / "data"), pytest.raises(DataDirBusy, match=f"process {os.getpid()}.*DATA_DIR"):
        DataDirLock(tmp_path / "data").acquire()


def test_a_killed_holder_leaves_nothing_to_clean_up(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(DataDirBusy) as caught:
            DataDirLock(tmp_path).acquire()
        assert caught.value.pid == str(holder.pid)
        holder.kill()
        holder.wait()
    with DataDirLock(tmp_path):
        pass


def test_a_released_folder_can_be_taken_again(tmp_path):
    lock = DataDirLock(tmp_path)
    for _ in range(2):
        lock.acquire()
        lock.release()
    lock.release()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataDirUnusable, match="file/data"):
        DataDirLock(tmp_path / "file" / "data").acquire()
