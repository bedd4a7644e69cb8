"""Lists come in pages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from fastapi import Query
from starlette.responses import Response

from service.gateway.state.context import json_response
from service.storage.records import Page

T = TypeVar("T")
Limit = Annotated[int, Query(ge=1, le=200, description="How many items.")]
After = Annotated[str | None, Query(max_length=256, description="The `next` of the page before.")]


def page(found: Page[T], document: Callable[[T], dict[str, Any]]) -> Response:
    """A page as JSON."""
    return json_response({"items": [document(item) for item in found.items], "next": found.next})
