"""Builders of every request of the clients; nothing is sent here.

Each function gives a `Request`: what to send, and how to read the answer. `client.py` turns them into methods.
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import quote

import numpy as np
import orjson

from skeleton_prompt.client.models import JobInfo, Json, Key, Page, Prediction, PromptInfo, Tenant

if TYPE_CHECKING:
    from skeleton_prompt.clips.clip import Clip

T = TypeVar("T")


@dataclass(frozen=True)
class Request(Generic[T]):
    """One request and the way to read its answer.

    Attributes:
        read: From the decoded JSON (or the raw bytes, where `raw`) to the value.
        repeatable: Whether sending it twice does no more than once; otherwise it is sent again only when it cannot
            have arrived.
    """

    method: str
    path: str
    read: Callable[[Any], T]
    body: bytes | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = True
    raw: bool = False


def clip_body(clip: Mapping[str, Any] | Clip) -> Json:
    """The JSON-ready document of a clip; an array of keypoints becomes base64 float32, NaN where nothing was seen.

    Args:
        clip: A document as the API describes it, whose `keypoints` may be an array of shape (T, J, C) or
            (T, P, J, C), or a `Clip`.
    """
    if not isinstance(clip, Mapping):
        from skeleton_prompt.clips.clip import clip_document

        clip = clip_document(clip)
    document = dict(clip)
    keypoints = document.get("keypoints")
    if isinstance(keypoints, np.ndarray):
        array = np.ascontiguousarray(keypoints, dtype="<f4")
        document["encoding"] = "f32"
        document["shape"] = list(array.shape)
        document["keypoints"] = base64.b64encode(array.tobytes()).decode("ascii")
    elif isinstance(keypoints, bytes):
        document["keypoints"] = base64.b64encode(keypoints).decode("ascii")
    return document


def _json(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)


def _given(**options: Any) -> Json:
    """Options without those that are None, which leave the server's default."""
    return {name: value for name, value in options.items() if value is not None}


def _path(*parts: str | int) -> str:
    return "/" + "/".join(quote(str(part), safe="") for part in parts)


def _post(
    path: str, value: Any, read: Callable[[Any], T], *, creates: bool = False, repeatable: bool = True
) -> Request[T]:
    headers = {"Content-Type": "application/json"}
    if creates:
        headers["Idempotency-Key"] = uuid.uuid4().hex
    body = None if value is None else _json(value)
    return Request("POST", path, read, body=body, headers=headers, repeatable=repeatable)


def _document(value: Any) -> Json:
    return dict(value)


def predict(
    clip: Mapping[str, Any] | Clip,
    *,
    top_k: int | None = None,
    version: int | None = None,
    threshold: float | None = None,
    refusal: float | None = None,
    coverage: float | None = None,
    tenant: str | None = None,
) -> Request[Prediction]:
    """Recognise the action in a clip (scope predict).

    Args:
        clip: A clip document (keypoints as lists or an array) or a `Clip`.
        top_k: How many labels to list, 1 to 50.
        version: A prompt version; the active one by default.
        threshold: Least probability that counts as known, 0 to 1; it moves every other limit with it, and 0 accepts
            every answer.
        refusal: Share of right answers that may be refused, 0 to 0.5; the version's by default.
        coverage: Nominal coverage of a prediction set to give, 0.5 to 0.99.
        tenant: Whose prompt to use, for the admin key only.
    """
    options = _given(
        top_k=top_k, version=version, threshold=threshold, refusal=refusal, coverage=coverage, tenant=tenant
    )
    return _post("/predict", clip_body(clip) | options, Prediction.read)


def predict_batch(
    clips: Iterable[Mapping[str, Any] | Clip],
    *,
    top_k: int | None = None,
    version: int | None = None,
    threshold: float | None = None,
    refusal: float | None = None,
    coverage: float | None = None,
    tenant: str | None = None,
) -> Request[list[Prediction | Json]]:
    """Recognise up to 256 clips at once: one row each, a `Prediction` or the problem with that clip."""
    options = _given(
        top_k=top_k, version=version, threshold=threshold, refusal=refusal, coverage=coverage, tenant=tenant
    )
    return _post("/predict/batch", {"clips": [clip_body(clip) for clip in clips]} | options, _rows)


def _rows(answer: Any) -> list[Prediction | Json]:
    return [dict(row) if "code" in row else Prediction.read(row) for row in answer["results"]]


def tune(
    tenant: str,
    clips: Iterable[Mapping[str, Any] | Clip] = (),
    *,
    stored: bool = False,
    activate: str | None = None,
    include_stored: bool | None = None,
    base_version: int | None = None,
    seed: int | None = None,
    max_seconds: float | None = None,
    refusal: float | None = None,
    webhook: str | None = None,
) -> Request[JobInfo]:
    """Teach a tenant from labelled clips (scope tune).

    Args:
        tenant: The tenant's id.
        clips: Labelled clips; `"label": None` teaches what must not be recognised.
        stored: Learn from the clips stored so far instead of sent ones.
        activate: `if_better` (the default), `always` or `never`.
        include_stored: Learn from the stored clips as well as from the sent ones.
        base_version: The version to learn on from: its clips are taken along.
        seed: Makes the result repeatable.
        max_seconds: Bound of the tuning time.
        refusal: Share of right answers that the version may refuse, 0 to 0.5.
        webhook: Where to report the end of the job.
    """
    options = _given(
        activate=activate,
        base_version=base_version,
        seed=seed,
        max_seconds=max_seconds,
        refusal=refusal,
        webhook=webhook,
    )
    body: Json = {"stored": True} if stored else {"clips": [clip_body(clip) for clip in clips]}
    body |= _given(include_stored=include_stored) | ({"options": options} if options else {})
    return _post(_path("tenants", tenant, "tune"), body, JobInfo.read, creates=True)


def check(tenant: str, clips: Iterable[Mapping[str, Any] | Clip]) -> Request[Json]:
    """Validate clips as `tune` would, without storing or learning anything."""
    body = {"clips": [clip_body(clip) for clip in clips], "options": {"dry_run": True}}
    return _post(_path("tenants", tenant, "tune"), body, _document)


def jobs(tenant: str, *, limit: int | None = None, after: str | None = None) -> Request[Page[JobInfo]]:
    """The tenant's jobs, newest first."""
    return _list(_path("tenants", tenant, "jobs"), JobInfo.read, limit, after)


def job(tenant: str, job: str) -> Request[JobInfo]:
    """One job."""
    return Request("GET", _path("tenants", tenant, "jobs", job), JobInfo.read)


def cancel_job(tenant: str, job: str) -> Request[JobInfo]:
    """Ask a job to stop."""
    return _post(_path("tenants", tenant, "jobs", job, "cancel"), None, JobInfo.read)


def job_events(tenant: str, job: str, *, after: int = 0) -> Request[list[Json]]:
    """Events of a job after the event with the id `after`."""
    path = _path("tenants", tenant, "jobs", job, "events")
    return Request("GET", path, lambda answer: list(answer["items"]), params={"after": after})


def prompts(tenant: str, *, limit: int | None = None, after: str | None = None) -> Request[Page[PromptInfo]]:
    """The tenant's prompt versions, newest first."""
    return _list(_path("tenants", tenant, "prompts"), PromptInfo.read, limit, after)


def prompt(tenant: str, version: int) -> Request[PromptInfo]:
    """One prompt version."""
    return Request("GET", _path("tenants", tenant, "prompts", version), PromptInfo.read)


def report(tenant: str, version: int) -> Request[Json]:
    """Tuning report of a version."""
    path = _path("tenants", tenant, "prompts", version, "report")
    return Request("GET", path, _document, headers={"Accept": "application/json"})


def activate(tenant: str, version: int) -> Request[PromptInfo]:
    """Activate a version (scope manage)."""
    return _post(_path("tenants", tenant, "prompts", version, "activate"), None, PromptInfo.read)


def rollback(tenant: str) -> Request[PromptInfo]:
    """Activate the previously active version (scope manage)."""
    return _post(_path("tenants", tenant, "prompts", "rollback"), None, PromptInfo.read, repeatable=False)


def delete_prompt(tenant: str, version: int) -> Request[None]:
    """Delete a version that is not active (scope manage)."""
    return _delete(_path("tenants", tenant, "prompts", version), _nothing)


def download_prompt(
    tenant: str, version: int, *, format: str = "safetensors", layout: str | None = None, coords: str | None = None
) -> Request[bytes]:
    """The file of a version.

    Args:
        tenant: The tenant's id.
        version: The version's number.
        format: ``safetensors``, or ``onnx`` for the whole model with its preprocessing.
        layout: For onnx, the layout of the keypoints that the model takes; the tenant's own when left out.
        coords: For onnx, ``xyc`` or ``xyzc``; the tenant's own when left out.
    """
    options = {"format": format, "layout": layout, "coords": coords}
    given = {name: value for name, value in options.items() if value is not None}
    return Request("GET", _path("tenants", tenant, "prompts", version, "download"), bytes, params=given, raw=True)


def create_tenant(id: str, *, name: str | None = None) -> Request[Tenant]:
    """Create a tenant (admin key); the secret of its first key is only in this response."""
    return _post("/tenants", _given(id=id, name=name), Tenant.read, creates=True)


def tenants(*, limit: int | None = None, after: str | None = None) -> Request[Page[Tenant]]:
    """All tenants (admin key)."""
    return _list("/tenants", Tenant.read, limit, after)


def tenant(id: str) -> Request[Tenant]:
    """One tenant."""
    return Request("GET", _path("tenants", id), Tenant.read)


def delete_tenant(id: str) -> Request[Json]:
    """Erase a tenant with all its data; returns the erasure receipt."""
    return _delete(_path("tenants", id), _document)


def create_key(tenant: str, scopes: Sequence[str] = ("predict", "tune", "manage")) -> Request[Key]:
    """Create a key (scope manage); its secret is only in this response."""
    return _post(_path("tenants", tenant, "keys"), {"scopes": list(scopes)}, Key.read, creates=True)


def keys(tenant: str, *, limit: int | None = None, after: str | None = None) -> Request[Page[Key]]:
    """The tenant's keys, without secrets."""
    return _list(_path("tenants", tenant, "keys"), Key.read, limit, after)


def delete_key(tenant: str, key: str) -> Request[None]:
    """Revoke a key (scope manage)."""
    return _delete(_path("tenants", tenant, "keys", key), _nothing)


def add_clips(tenant: str, clips: Iterable[Mapping[str, Any] | Clip]) -> Request[Json]:
    """Store labelled clips for a later tuning (scope tune)."""
    body = {"clips": [clip_body(clip) for clip in clips]}
    return _post(_path("tenants", tenant, "clips"), body, _document, creates=True)


def clips(tenant: str, *, limit: int | None = None, after: str | None = None) -> Request[Page[Json]]:
    """The stored clips."""
    return _list(_path("tenants", tenant, "clips"), _document, limit, after)


def clip(tenant: str, clip: str) -> Request[Json]:
    """One stored clip."""
    return Request("GET", _path("tenants", tenant, "clips", clip), _document)


def delete_clip(tenant: str, clip: str) -> Request[None]:
    """Delete a stored clip."""
    return _delete(_path("tenants", tenant, "clips", clip), _nothing)


def usage(tenant: str) -> Request[Json]:
    """Predictions, tuning seconds and stored bytes per day."""
    return Request("GET", _path("tenants", tenant, "usage"), _document)


def layouts() -> Request[list[Json]]:
    """The keypoint layouts that the server knows by name."""
    return Request("GET", "/layouts", lambda answer: [dict(row) for row in answer["items"]])


def ready() -> Request[Json]:
    """Whether the service can predict right now; raises `Unavailable` otherwise."""
    return Request("GET", "/readyz", _document)


def _list(path: str, item: Callable[[Any], T], limit: int | None, after: str | None) -> Request[Page[T]]:
    return Request("GET", path, Page.reader(item), params=_given(limit=limit, after=after))


def _delete(path: str, read: Callable[[Any], T]) -> Request[T]:
    # A deletion whose answer was lost would answer 404 the second time, as if it had failed.
    return Request("DELETE", path, read, repeatable=False)


def _nothing(_answer: Any) -> None:
    return None
