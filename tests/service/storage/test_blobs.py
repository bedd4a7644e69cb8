import os
import threading

import pytest

from service.storage.blobs import BlobStore


@pytest.fixture
def blobs(tmp_path):
    return BlobStore(str(tmp_path / "blobs"))


@pytest.mark.parametrize(
    "name",
    ["", "/etc/passwd", "../x", "a/../../x", "a//b", "a/./b", "a/", "A", "a b", "a\n", "a/.hidden", "a\\b", "~/x", "é",
     "a/..", "a..b"],
)  # fmt: skip
def test_a_name_that_could_leave_the_root_is_refused(blobs, name):
    for act in (blobs.read, blobs.delete, blobs.names, blobs.delete_below, lambda n: blobs.write(n, b"x")):
        with pytest.raises(ValueError, match="not a blob name"):
            act(name)


def test_a_blob_is_read_as_written_replaced_and_deleted(blobs):
    blobs.write("a/b/c.bin", b"one")
    blobs.write("a/b/c.bin", b"two")
    assert blobs.read("a/b/c.bin") == b"two"
    assert blobs.delete("a/b/c.bin")
    assert not blobs.delete("a/b/c.bin")
    with pytest.raises(FileNotFoundError):
        blobs.read("a/b/c.bin")


def test_what_lies_below_a_prefix_is_not_what_lies_below_a_longer_name(blobs):
    blobs.write("tenants/a/x", b"1")
    blobs.write("tenants/a/y/z", b"2")
    blobs.write("tenants/a-b/x", b"3")
    assert blobs.names("tenants/a") == ["tenants/a/x", "tenants/a/y/z"]
    assert blobs.delete_below("tenants/a") == 2
    assert blobs.names("tenants") == ["tenants/a-b/x"]


def test_a_failed_write_leaves_the_old_blob_and_no_partial_file(blobs, tmp_path, monkeypatch):
    blobs.write("a/x", b"old")

    def fail(_descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(KeyboardInterrupt):
        blobs.write("a/x", b"new")
    monkeypatch.undo()
    assert blobs.read("a/x") == b"old"
    assert [path.name for path in (tmp_path / "blobs" / "a").iterdir()] == ["x"]


def test_a_reader_never_sees_half_a_blob(blobs):
    versions = [bytes([n]) * 200_000 for n in range(20)]
    blobs.write("a/x", versions[0])
    done = threading.Event()

    def write() -> None:
        for data in versions:
            blobs.write("a/x", data)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not done.is_set():
        data = blobs.read("a/x")
        assert len(data) == 200_000
        assert len(set(data)) == 1
    writer.join()


def test_any_fsspec_address_serves_as_a_store():
    blobs = BlobStore("memory://blobs-of-a-test")
    blobs.write("tenants/a/x", b"1")
    blobs.write("tenants/ab/x", b"2")
    assert blobs.read("tenants/a/x") == b"1"
    assert blobs.delete_below("tenants/a") == 1
    assert blobs.names("tenants") == ["tenants/ab/x"]
    with pytest.raises(FileNotFoundError):
        blobs.read("tenants/a/x")
