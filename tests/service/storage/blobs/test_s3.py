"""Blobs in S3 are deleted for good, checked on reading, and every fault is told apart from an absent blob."""

import contextlib
import hashlib
import sys
import threading

import pytest

from service.errors import StorageFull, StorageUnavailable
from service.settings import Settings
from service.storage.blobs import s3 as module
from service.storage.blobs.filesystem import BlobStore
from service.storage.blobs.s3 import S3BlobStore, S3Options, open_blobs
from service.storage.store import Storage
from tests.support.s3_server import CREDENTIALS, Answer, line_to, s3_server
from tests.support.storage_fixtures import storing, teach, tenant_of

TIMEOUT_S = 5.0


@pytest.fixture
def bucket(s3, tmp_path):
    name = f"t-{hashlib.sha256(str(tmp_path).encode()).hexdigest()[:20]}"
    s3.make_bucket(name, versioned=True)
    return name


@pytest.fixture
def line(s3):
    with line_to(s3) as opened:
        yield opened


@pytest.fixture
def blobs(line, bucket, monkeypatch):
    """A store behind a line that may fail; it does not wait between attempts."""
    monkeypatch.setattr(module, "ATTEMPTS", 1)
    return S3BlobStore(f"s3://{bucket}/blobs", S3Options(line.url, TIMEOUT_S))


def everything(store: S3BlobStore) -> list[str]:
    """Keys of all versions, delete markers and unfinished uploads in the bucket."""
    versions = store.fs.call_s3("list_object_versions", Bucket=store.bucket)
    uploads = store.fs.call_s3("list_multipart_uploads", Bucket=store.bucket)
    rows = [*versions.get("Versions", ()), *versions.get("DeleteMarkers", ()), *uploads.get("Uploads", ())]
    return sorted(row["Key"] for row in rows)


def refused(act) -> str:
    with pytest.raises(StorageUnavailable) as error:
        act()
    assert (error.value.status, error.value.retry_after) == (503, module.RETRY_AFTER_S)
    return str(error.value)


# Addresses


def test_an_address_says_which_kind_of_store_it_is(s3, tmp_path):
    assert type(open_blobs(str(tmp_path))) is BlobStore
    store = open_blobs("s3://bucket/a/b/", S3Options(s3.url))
    assert (store.bucket, store.root) == ("bucket", "bucket/a/b")
    assert open_blobs("s3://bucket", S3Options(s3.url)).root == "bucket"


def test_an_address_without_a_bucket_is_refused():
    with pytest.raises(ValueError, match="s3://bucket"):
        open_blobs("s3://")


def test_without_the_extra_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(ValueError, match=r"skeleton-prompt\[s3\]"):
        open_blobs("s3://bucket")


def test_a_store_at_the_root_of_a_bucket_works_as_one_below_a_prefix(s3, bucket):
    store = open_blobs(f"s3://{bucket}", S3Options(s3.url))
    store.write("tenants/a/x", b"1")
    assert store.names("tenants") == ["tenants/a/x"]
    assert store.delete_below("tenants/a") == 1
    assert everything(store) == []


def test_region_and_endpoint_are_read_from_the_variables_that_s3_users_know(s3, bucket, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3.url)
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    store = open_blobs(f"s3://{bucket}")
    store.write("x", b"1")
    assert store.read("x") == b"1"
    assert store.fs.s3.meta.region_name == "eu-central-1"
    assert s3.url in store.check()


def test_settings_open_the_store(s3, bucket, tmp_path):
    settings = Settings(data_dir=tmp_path, blob_url=f"s3://{bucket}/x", s3_endpoint_url=s3.url, s3_timeout_seconds=7)
    storage = Storage.open(settings)
    try:
        assert isinstance(storage.blobs, S3BlobStore)
        assert storage.blobs.options == S3Options(s3.url, 7)
    finally:
        storage.close()


# Deleting


def test_a_deleted_blob_leaves_no_version_in_a_versioned_bucket(blobs):
    for data in (b"one", b"two"):
        blobs.write("a/x", data)
    blobs.write("a/x.y", b"kept")
    assert len(everything(blobs)) == 3
    assert blobs.delete("a/x")
    assert everything(blobs) == ["blobs/a/x.y"]
    assert not blobs.delete("a/x")


def test_what_somebody_only_hid_by_a_delete_marker_is_erased_as_well(blobs):
    blobs.write("a/x", b"one")
    blobs.fs.call_s3("delete_object", Bucket=blobs.bucket, Key="blobs/a/x")
    with pytest.raises(FileNotFoundError):
        blobs.read("a/x")
    assert len(everything(blobs)) == 2
    assert blobs.delete_below("a") == 0, "nobody could read it any more"
    assert everything(blobs) == []


def test_an_erased_tenant_leaves_nothing_of_many_pages_of_files_versions_and_unfinished_uploads(
    s3, blobs, line, bucket, tmp_path, monkeypatch
):
    # Pages of seven: moto, like S3 itself, takes a thousand by default.
    plain = blobs._call

    async def small_pages(method, seconds=None, **arguments):
        if method.startswith("list_"):
            arguments["MaxUploads" if "uploads" in method else "MaxKeys"] = 7
        return await plain(method, seconds, **arguments)

    monkeypatch.setattr(blobs, "_call", small_pages)
    monkeypatch.setattr(module, "MOST_PER_DELETE", 5)
    for n in range(16):
        blobs.write(f"tenants/acme/clips/{n:02d}", b"first")
        blobs.write(f"tenants/acme/clips/{n:02d}", b"second")
    for n in range(9):
        blobs.fs.call_s3("create_multipart_upload", Bucket=bucket, Key=f"blobs/tenants/acme/prompts/{n}")
    blobs.write("tenants/acme-2/clips/00", b"another tenant's")
    assert len(blobs.names("tenants/acme")) == 16
    assert blobs.delete_below("tenants/acme") == 16
    assert everything(blobs) == ["blobs/tenants/acme-2/clips/00"]


def test_files_that_cannot_be_deleted_are_an_error_and_the_tenant_stays_to_be_erased_again(s3, line, bucket, tmp_path):
    with storing(tmp_path, blob_url=f"s3://{bucket}", s3_endpoint_url=line.url) as storage:
        mine = tenant_of(storage)
        teach(mine)
        line.fault = lambda method, path: Answer(403, "AccessDenied") if path.endswith("?delete") else None
        assert "no rights to DeleteObjects" in refused(lambda: storage.admin.delete_tenant(mine.tenant))
        assert storage.admin.get_tenant(mine.tenant).id == mine.tenant
        line.fault = lambda _method, _path: None
        assert storage.admin.delete_tenant(mine.tenant)["erased"]["files"] == 1
        assert everything(storage.blobs) == []


def test_a_server_that_keeps_no_versions_and_no_uploads_is_deleted_from_all_the_same(blobs, line, monkeypatch):
    blobs.write("a/x", b"1")
    line.fault = lambda _method, path: (
        Answer(501, "NotImplemented") if "?versions" in path or "uploads" in path else None
    )
    assert blobs.delete_below("a") == 1
    assert blobs.names("a") == []
    blobs.write("a/y", b"1")
    assert blobs.delete("a/y")


# Reading


@pytest.mark.parametrize("spoil", [lambda data: data[:-3], lambda data: data[:-1] + b"?", lambda data: b""])
def test_a_truncated_or_changed_body_is_asked_for_again_and_never_given_out(blobs, line, spoil):
    blobs.write("a/x", b"the whole of it")
    line.spoil = spoil
    assert "damaged" in refused(lambda: blobs.read("a/x"))
    times = [0]

    def once(data: bytes) -> bytes:
        times[0] += 1
        return spoil(data) if times[0] == 1 else data

    line.spoil = once
    assert blobs.read("a/x") == b"the whole of it"


def test_an_object_that_another_tool_copied_there_is_read_without_a_hash_of_ours(blobs):
    blobs.fs.call_s3("put_object", Bucket=blobs.bucket, Key="blobs/a/x", Body=b"copied")
    assert blobs.read("a/x") == b"copied"


# Faults


@pytest.mark.parametrize(
    ("status", "code", "says"),
    [
        (403, "AccessDenied", "no rights to PutObject in bucket"),
        (403, "InvalidAccessKeyId", "the credentials are not accepted: InvalidAccessKeyId"),
        (403, "SignatureDoesNotMatch", "the credentials are not accepted"),
        (400, "AuthorizationHeaderMalformed", "in another region: set AWS_REGION"),
        (404, "NoSuchBucket", "there is no bucket"),
        (503, "SlowDown", "SlowDown"),
        (500, "InternalError", "InternalError"),
    ],
)
def test_a_refusal_is_a_503_that_says_why_and_names_no_key(blobs, line, status, code, says):
    line.fault = lambda _method, _path: Answer(status, code)
    said = refused(lambda: blobs.write("a/x", b"1"))
    assert says in said
    assert not any(secret in said for secret in CREDENTIALS.values())
    for act in (blobs.read, blobs.names, blobs.delete, blobs.delete_below):
        refused(lambda act=act: act("a"))
    line.fault = lambda _method, _path: None
    assert everything(blobs) == []


@pytest.mark.parametrize(("status", "code"), [(507, "XMinioStorageFull"), (400, "QuotaExceeded")])
def test_a_full_store_is_a_507(blobs, line, status, code):
    line.fault = lambda _method, _path: Answer(status, code)
    with pytest.raises(StorageFull):
        blobs.write("a/x", b"1")


def test_a_bucket_that_is_not_there_is_no_missing_blob(s3):
    store = open_blobs("s3://there-is-none", S3Options(s3.url, TIMEOUT_S))
    for act in (store.read, store.names, store.delete, lambda name: store.write(name, b"1"), store.delete_below):
        assert "there is no bucket there-is-none" in refused(lambda act=act: act("a"))


def test_a_hiccup_is_tried_again_without_anybody_noticing(line, bucket):
    store = open_blobs(f"s3://{bucket}", S3Options(line.url, 30))
    left = [2]

    def hiccup(_method: str, _path: str) -> Answer | None:
        left[0] -= 1
        return Answer(503, "SlowDown") if left[0] >= 0 else None

    line.fault = hiccup
    store.write("a/x", b"1")
    assert len(line.asked) == 3
    assert store.read("a/x") == b"1"


def test_an_answer_that_does_not_come_is_given_up_and_half_a_version_is_not_left(line, bucket, tmp_path):
    settings = {"blob_url": f"s3://{bucket}", "s3_endpoint_url": line.url, "s3_timeout_seconds": 0.3}
    with storing(tmp_path, **settings) as storage:
        mine = tenant_of(storage)
        line.fault = line.hang
        with pytest.raises(StorageUnavailable, match=r"no answer within 0\.3 s"):
            teach(mine)
        line.fault = lambda _method, _path: None
        assert mine.list_prompts().items == []
        assert mine.active_prompt() is None
        line.released.set()


@pytest.mark.services
def test_a_killed_server_is_a_503_and_the_one_that_comes_back_is_used(tmp_path):
    with s3_server(tmp_path / "log") as server:
        server.make_bucket("mine")
        blobs = open_blobs("s3://mine", S3Options(server.url, TIMEOUT_S))
        blobs.write("a/x", b"1")
        server.kill()
        refused(lambda: blobs.read("a/x"))
        refused(lambda: blobs.write("a/y", b"2"))
        server.start()
        assert "there is no bucket" in refused(lambda: blobs.write("a/y", b"2")), "it forgot everything"
        server.make_bucket("mine")
        blobs.write("a/y", b"2")
        assert blobs.names("a") == ["a/y"]


def test_no_other_thread_waits_for_a_store_that_hangs(line, blobs, s3):
    healthy = S3BlobStore(f"s3://{blobs.bucket}/blobs", S3Options(s3.url, TIMEOUT_S))
    line.fault = line.hang
    waiting = threading.Thread(target=lambda: contextlib.suppress(StorageUnavailable).__enter__() and blobs.read("a"))
    stuck = threading.Event()

    def ask() -> None:
        with contextlib.suppress(StorageUnavailable, FileNotFoundError):
            blobs.read("a/x")
        stuck.set()

    waiting = threading.Thread(target=ask)
    waiting.start()
    healthy.write("a/x", b"1")
    assert healthy.read("a/x") == b"1"
    assert not stuck.is_set()
    line.released.set()
    waiting.join(30)
    assert stuck.is_set()
