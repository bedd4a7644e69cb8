"""Blob store on S3 and compatible services (MinIO, Ceph, Garage).

What the folder promises holds here, too. A blob is one PUT, which S3 shows whole or not at all; its hash travels with
it and is checked on reading. Deleting takes all versions of an object, because in a versioned bucket a plain DELETE
only hides it, and what belonged to an erased tenant must be gone. Listings are never cached.

All calls run on fsspec's own event loop in a thread of its own; the caller's thread waits, with a deadline.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from fsspec.asyn import sync

from service.errors import StorageFull, StorageUnavailable
from service.settings import Settings
from service.storage.blobs.filesystem import BlobStore

T = TypeVar("T")

SCHEMES = ("s3://", "s3a://")
RETRY_AFTER_S = 5.0
ATTEMPTS = 3  # of each call, with the back-off of botocore's standard mode
READS = 2  # of a whole blob whose bytes did not arrive as they were written
BYTES_PER_S = 2**20  # a connection slower than this on a large blob counts as broken
MOST_PER_DELETE = 1000  # the protocol's own limit
HASH = "sha256"  # the name of the metadata field

FULL = {"XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "QuotaExceeded", "StorageFull", "InsufficientStorage"}
NO_RIGHTS = {"AccessDenied", "403", "Forbidden", "AllAccessDisabled", "AccountProblem"}
BAD_KEYS = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "TokenRefreshRequired"}
WRONG_REGION = {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "301"}
NOT_MADE = {"NotImplemented", "MethodNotAllowed", "501", "405"}  # a call that some servers of the protocol lack


@dataclass(frozen=True)
class S3Options:
    """Connection options of S3; region and credentials come from AWS_* variables, files or roles.

    Args:
        endpoint_url: URL of an S3 server other than AWS.
        timeout_s: Timeout in seconds of one call, retries included.
    """

    endpoint_url: str | None = None
    timeout_s: float = 15.0

    @classmethod
    def of(cls, settings: Settings) -> S3Options:
        """The options in the settings."""
        return cls(settings.s3_endpoint_url, settings.s3_timeout_seconds)


class _Absent(Exception):
    """The object does not exist. Not a FileNotFoundError, which s3fs also raises for a missing bucket."""


class _Damaged(Exception):
    """The bytes read differ from those written."""


@dataclass
class _Found:
    """Objects below a prefix: names that can be read, and each version to delete."""

    names: list[str] = field(default_factory=list)
    versions: list[dict[str, str]] = field(default_factory=list)


class S3BlobStore(BlobStore):
    """Bytes by name below a prefix of a bucket.

    Args:
        url: ``s3://bucket/prefix``.
        options: How it is reached.

    Raises:
        ValueError: The address names no bucket, or the extra is not installed.
    """

    def __init__(self, url: str, options: S3Options | None = None) -> None:
        try:
            from s3fs import S3FileSystem
        except ImportError as error:
            raise ValueError(f"{url}: blobs in S3 need the extra s3: pip install 'skeleton-prompt[s3]'") from error
        self.options = options or S3Options()
        self.bucket, _, prefix = url.split("://", 1)[1].strip("/").partition("/")
        if not self.bucket:
            raise ValueError(f"{url}: the address of a bucket is s3://bucket or s3://bucket/prefix")
        self.root = f"{self.bucket}/{prefix}" if prefix else self.bucket
        self.local = False
        self._prefix = f"{prefix}/" if prefix else ""
        self.fs = S3FileSystem(
            skip_instance_cache=True,  # another store of the same address may have other credentials by now
            use_listings_cache=False,
            endpoint_url=self.options.endpoint_url,
            client_kwargs=_region(),
            config_kwargs={
                "connect_timeout": min(5.0, self.options.timeout_s),
                "read_timeout": self.options.timeout_s,
                "retries": {"total_max_attempts": ATTEMPTS, "mode": "standard"},
                # The newer checksums arrive as trailers that many servers do not read; Content-MD5 all of them check.
                "request_checksum_calculation": "when_required",
                "response_checksum_validation": "when_required",
            },
        )
        self.fs.retries = 1  # botocore has tried again already

    def write(self, name: str, data: bytes) -> None:
        """Write a blob with one PUT, which is atomic."""
        key = self._key(name)
        checks = {
            "ContentMD5": base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode(),
            "Metadata": {HASH: hashlib.sha256(data).hexdigest()},
        }
        seconds = self.options.timeout_s + len(data) / BYTES_PER_S
        self._wait(lambda: self._call("put_object", seconds, Key=key, Body=data, **checks))

    def read(self, name: str) -> bytes:
        """Read a blob and verify its hash."""
        key = self._key(name)
        for _ in range(READS):
            try:
                return self._wait(lambda: self._get(key))
            except _Absent:  # noqa: PERF203  # asked twice at most
                raise FileNotFoundError(name) from None
            except _Damaged as error:
                damage = error
        raise StorageUnavailable(f"The blob store gave a damaged file ({damage}).", retry_after=RETRY_AFTER_S)

    def delete(self, name: str) -> bool:
        """Delete a blob with all its versions; returns whether it existed."""
        key = self._key(name)

        async def remove() -> bool:
            found = await self._find(key, lambda other: other == key)
            await self._remove(found.versions)
            return bool(found.names)

        return self._wait(remove)

    def names(self, prefix: str) -> list[str]:
        """Names of all blobs below a prefix, over all pages of the listing."""
        folder = self._key(prefix) + "/"

        async def names() -> list[str]:
            pages = self._pages("list_objects_v2", "ContinuationToken", "NextContinuationToken", Prefix=folder)
            return [row["Key"] async for page in pages for row in page.get("Contents", ())]

        return sorted(key[len(self._prefix) :] for key in self._wait(names))

    def delete_below(self, prefix: str) -> int:
        """Delete everything below a prefix: objects, older versions and incomplete multipart uploads."""
        folder = self._key(prefix) + "/"

        async def remove() -> int:
            await self._abort_uploads(folder)
            found = await self._find(folder, lambda _: True)
            await self._remove(found.versions)
            return len(found.names)

        return self._wait(remove)

    def check(self) -> str:
        """Write, read, list and delete a small blob; returns a description of the store.

        Raises:
            StorageFull, StorageUnavailable: One of these does not work; the message says why.
        """
        super().check()
        endpoint = (
            self.options.endpoint_url or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        )
        return f"s3://{self.root}" + (f" at {endpoint}" if endpoint else "")

    def _key(self, name: str) -> str:
        return self._path(name)[len(self.bucket) + 1 :]

    def _wait(self, function: Callable[[], Awaitable[T]]) -> T:
        """Run on fsspec's event loop; translate errors."""
        try:
            answer: T = sync(self.fs.loop, function)
        except (StorageFull, StorageUnavailable, _Absent, _Damaged):
            raise
        except Exception as error:
            raise self._explained(error) from error
        return answer

    async def _call(self, method: str, seconds: float | None = None, **arguments: Any) -> Any:
        """One S3 call. The deadline covers all attempts together."""
        call = self.fs._call_s3(method, Bucket=self.bucket, **arguments)
        return await asyncio.wait_for(call, seconds or self.options.timeout_s)

    async def _get(self, key: str) -> bytes:
        try:
            answer = await self._call("get_object", Key=key)
            async with answer["Body"] as body:
                seconds = self.options.timeout_s + answer["ContentLength"] / BYTES_PER_S
                data: bytes = await asyncio.wait_for(body.read(), seconds)
        except Exception as error:
            if _code(error) in ("NoSuchKey", "404"):
                raise _Absent(key) from error
            if _is_cut(error):
                raise _Damaged("it ended early") from error
            raise
        if len(data) != answer["ContentLength"]:
            raise _Damaged(f"{len(data)} of {answer['ContentLength']} bytes")
        # Without a hash where another tool copied it here; prompts and backbones carry theirs in the name as well.
        told = answer.get("Metadata", {}).get(HASH)
        if told is not None and told != hashlib.sha256(data).hexdigest():
            raise _Damaged("its hash is another")
        return data

    async def _pages(self, method: str, ask: str, told: str, **arguments: Any) -> AsyncIterator[Any]:
        """All pages of a listing."""
        page = await self._call(method, **arguments)
        yield page
        while page.get("IsTruncated"):
            page = await self._call(method, **arguments, **{ask: page[told]})
            yield page

    async def _find(self, prefix: str, wanted: Callable[[str], bool]) -> _Found:
        """Every version of every object below a prefix; where a server keeps no versions, the objects."""
        found = _Found()
        try:
            async for page in self._version_pages(prefix):
                rows = [row for row in page.get("Versions", ()) if wanted(row["Key"])]
                found.names += [row["Key"] for row in rows if row["IsLatest"]]
                rows += [row for row in page.get("DeleteMarkers", ()) if wanted(row["Key"])]
                found.versions += [{"Key": row["Key"], "VersionId": row["VersionId"]} for row in rows]
        except Exception as error:
            if _code(error) not in NOT_MADE:
                raise
            pages = self._pages("list_objects_v2", "ContinuationToken", "NextContinuationToken", Prefix=prefix)
            found.names = [row["Key"] async for page in pages for row in page.get("Contents", ()) if wanted(row["Key"])]
            found.versions = [{"Key": key} for key in found.names]
        return found

    async def _version_pages(self, prefix: str) -> AsyncIterator[Any]:
        marker: dict[str, Any] = {}
        while True:
            page = await self._call("list_object_versions", Prefix=prefix, **marker)
            yield page
            if not page.get("IsTruncated"):
                return
            marker = {"KeyMarker": page["NextKeyMarker"]}
            if page.get("NextVersionIdMarker"):
                marker["VersionIdMarker"] = page["NextVersionIdMarker"]

    async def _remove(self, versions: list[dict[str, str]]) -> None:
        for start in range(0, len(versions), MOST_PER_DELETE):
            batch = versions[start : start + MOST_PER_DELETE]
            answer = await self._call("delete_objects", Delete={"Objects": batch, "Quiet": True})
            if answer.get("Errors"):
                first = answer["Errors"][0]
                left = f"{len(answer['Errors'])} of {len(batch)} files were not deleted"
                raise StorageUnavailable(f"{left} ({first.get('Code')}).", retry_after=RETRY_AFTER_S)

    async def _abort_uploads(self, prefix: str) -> None:
        """Abort incomplete multipart uploads, whose parts occupy storage."""
        marker: dict[str, Any] = {}
        while True:
            try:
                page = await self._call("list_multipart_uploads", Prefix=prefix, **marker)
            except Exception as error:
                if _code(error) in NOT_MADE:
                    return
                raise
            for row in page.get("Uploads", ()):
                await self._call("abort_multipart_upload", Key=row["Key"], UploadId=row["UploadId"])
            if not page.get("IsTruncated"):
                return
            marker = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}

    def _explained(self, error: Exception) -> StorageFull | StorageUnavailable:
        """The error with a remedy for the operator; contains no credential."""
        code, status = _code(error), _status(error)
        if code in FULL or status == 507:
            return StorageFull("There is no room left to store this; nothing was changed.")
        if isinstance(error, TimeoutError | asyncio.TimeoutError):
            why = f"no answer within {self.options.timeout_s:g} s"
        elif code == "NoSuchBucket":
            why = f"there is no bucket {self.bucket}"
        elif code in BAD_KEYS:
            why = f"the credentials are not accepted: {code}"
        elif code in WRONG_REGION:
            why = f"bucket {self.bucket} is in another region: set AWS_REGION"
        elif code in NO_RIGHTS or status == 403:
            why = f"no rights to {_operation(error) or 'do this'} in bucket {self.bucket}"
        else:
            why = code or type(error.__cause__ or error).__name__
        return StorageUnavailable(f"The blob store does not answer ({why}).", retry_after=RETRY_AFTER_S)


def blobs_of(settings: Settings) -> BlobStore:
    """The store named by the settings.

    Raises:
        ValueError: See ``open_blobs``.
    """
    return open_blobs(str(settings.resolved().blob_url), S3Options.of(settings))


def open_blobs(url: str, options: S3Options | None = None) -> BlobStore:
    """The store named by a URL.

    Args:
        url: A folder, ``s3://bucket/prefix``, or another address that fsspec knows.
        options: How S3 is reached.

    Raises:
        ValueError: The URL is invalid, or names S3 and the extra `s3` is not installed.
    """
    return S3BlobStore(url, options) if url.startswith(SCHEMES) else BlobStore(url)


def _region() -> dict[str, str]:
    """AWS_REGION, which newer tools read and botocore does not; AWS_DEFAULT_REGION it knows itself."""
    region = os.environ.get("AWS_REGION")
    return {"region_name": region} if region else {}


def _response(error: BaseException) -> dict[str, Any]:
    """What the server answered; s3fs keeps that as the cause of an error of its own."""
    for candidate in (error, error.__cause__, error.__context__):
        response = getattr(candidate, "response", None)
        if isinstance(response, dict):
            return response
    return {}


def _code(error: BaseException) -> str:
    return str(_response(error).get("Error", {}).get("Code", ""))


def _status(error: BaseException) -> int:
    return int(_response(error).get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _operation(error: BaseException) -> str:
    for candidate in (error, error.__cause__, error.__context__):
        name = getattr(candidate, "operation_name", None)
        if name:
            return str(name)
    return ""


def _is_cut(error: BaseException) -> bool:
    """Whether a body ended before its length."""
    from aiohttp import ClientPayloadError
    from botocore.exceptions import IncompleteReadError, ResponseStreamingError

    return isinstance(error, ClientPayloadError | IncompleteReadError | ResponseStreamingError)
