"""Exceptions as documents, so that they cross process boundaries and TorchServe with their class.

Every ``ServiceError`` is known by its code and every exception of ``skeleton_prompt.model.prompt_file`` by its name;
both are found by looking at the classes, so a new one needs no entry here. Any other exception arrives as a
``RuntimeError`` with its ``repr``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from service.errors import ServiceError
from skeleton_prompt.model import prompt_file


def service_errors(root: type[ServiceError] = ServiceError) -> Iterator[type[ServiceError]]:
    """A class of service errors and all classes derived from it."""
    yield root
    for kind in root.__subclasses__():
        yield from service_errors(kind)


def model_errors() -> dict[str, type[Exception]]:
    """The exceptions that the model library defines for prompts, by name."""
    return {
        kind.__name__: kind
        for kind in vars(prompt_file).values()
        if isinstance(kind, type) and issubclass(kind, Exception) and kind.__module__ == prompt_file.__name__
    }


def encode_error(error: Exception) -> dict[str, Any]:
    """An exception as a document of msgpack types."""
    if isinstance(error, ServiceError):
        document: dict[str, Any] = {"code": error.code, "detail": error.detail, "retry_after": error.retry_after}
        return document | {"errors": error.errors, "errors_total": error.errors_total}
    name = type(error).__name__
    known = name in model_errors()
    return {"error": name if known else "", "detail": str(error) if known else repr(error)}


def decode_error(document: Mapping[str, Any]) -> Exception:
    """The exception of a document; one of an unknown code or name is a ``ServiceError`` or a ``RuntimeError``.

    Raises:
        KeyError, TypeError: It is no such document.
    """
    detail = str(document["detail"])
    if "code" not in document:
        return model_errors().get(document["error"], RuntimeError)(detail)
    code = document["code"]
    # Internal shares its code with the base class and comes later.
    kind = {found.code: found for found in service_errors()}.get(code, ServiceError)
    problems, total = document.get("errors", ()), document.get("errors_total")
    return kind(detail, errors=problems, errors_total=total, retry_after=document["retry_after"])
