import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from service.storage.blobs.filesystem import BlobStore
from service.storage.blobs.s3 import S3Options, open_blobs


@pytest.fixture
def folder(tmp_path):
    return BlobStore(str(tmp_path / "blobs"))


@pytest.fixture(params=["folder", "s3", "s3 with versions"])
def blobs(request, tmp_path):
    """A store of each kind."""
    if request.param == "folder":
        return request.getfixturevalue("folder")
    server = request.getfixturevalue("s3")
    bucket = f"b-{tmp_path.name.replace('_', '-').lower()[-40:].strip('-')}"
    server.make_bucket(bucket, versioned="versions" in request.param)
    return open_blobs(f"s3://{bucket}/a/prefix", S3Options(server.url))


@pytest.mark.parametrize(
    "name",
    ["", "/etc/passwd", "../x", "a/../../x", "a//b", "a/./b", "a/", "A", "a b", "a\n", "a/.hidden", "a\\b", "~/x", "é",
     "a/..", "a..b"],
)  # fmt: skip
def test_a_name_that_could_leave_the_root_is_refused(folder, unreachable, name):
    for blobs in (folder, unreachable):
        refuses(blobs, name)


@pytest.fixture(scope="module")
def unreachable():
    """A store in S3 that would fail if it were asked anything."""
    return open_blobs("s3://bucket/prefix", S3Options("http://127.0.0.1:9"))


def refuses(blobs, name):
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


def test_a_failed_write_leaves_the_old_blob_and_no_partial_file(folder, tmp_path, monkeypatch):
    blobs = folder
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
    versions = [bytes([n]) * 200_000 for n in range(10)]
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


def test_blobs_beside_the_prefix_and_names_that_only_begin_alike_are_never_touched(blobs):
    beside = type(blobs)(f"{blobs.root}-b" if blobs.local else f"s3://{blobs.root}-b", *options(blobs))
    beside.write("x", b"beside")
    blobs.write("a/x", b"1")
    blobs.write("a/x.y", b"2")
    assert blobs.delete("a/x")
    assert blobs.names("a") == ["a/x.y"]
    assert blobs.delete_below("a") == 1
    assert blobs.delete_below("a") == 0
    assert beside.read("x") == b"beside"


def options(blobs) -> list:
    return [] if blobs.local else [blobs.options]


def test_an_empty_blob_is_a_blob(blobs):
    blobs.write("a/x", b"")
    assert blobs.read("a/x") == b""
    assert blobs.names("a") == ["a/x"]


def test_many_threads_write_and_read_at_once(blobs):
    def work(n: int) -> bool:
        blobs.write(f"a/{n}", bytes([n]) * 1000)
        return blobs.read(f"a/{n}") == bytes([n]) * 1000

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(24)))
    assert len(blobs.names("a")) == 24


def test_the_check_of_a_sound_store_says_where_it_is_and_leaves_nothing(blobs):
    assert blobs.root in blobs.check()
    assert blobs.names("checks") == []


def test_any_fsspec_address_serves_as_a_store():
    blobs = BlobStore("memory://blobs-of-a-test")
    blobs.write("tenants/a/x", b"1")
    blobs.write("tenants/ab/x", b"2")
    assert blobs.read("tenants/a/x") == b"1"
    assert blobs.delete_below("tenants/a") == 1
    assert blobs.names("tenants") == ["tenants/ab/x"]
    with pytest.raises(FileNotFoundError):
        blobs.read("tenants/a/x")


def test_a_blob_is_readable_by_its_owner_alone(tmp_path):
    before = os.umask(0)
    try:
        BlobStore(str(tmp_path)).write("tenants/acme/clips/one", b"x")
    finally:
        os.umask(before)
    assert (tmp_path / "tenants/acme/clips/one").stat().st_mode & 0o777 == 0o600
