"""Cursor-paged lists."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

from fastapi import Query
from starlette.responses import Response

from service.errors import InvalidRequest
from service.gateway.state.context import json_response
from service.storage.records import Page

T = TypeVar("T")
Limit = Annotated[int, Query(ge=1, le=200, description="How many items.")]
After = Annotated[str | None, Query(max_length=256, description="The `next` of the page before.")]


def page(found: Page[T], document: Callable[[T], dict[str, Any]]) -> Response:
    """A page as JSON."""
    return json_response({"items": [document(item) for item in found.items], "next": found.next})


def page_of(items: Sequence[T], key: Callable[[T], str], limit: int, after: str | None) -> Page[T]:
    """A page of a list that is in memory.

    Args:
        items: All of them, in an order that does not change.
        key: The cursor of an item; unique.
        limit: Items of the page.
        after: Cursor of the last item of the page before.

    Raises:
        InvalidRequest: No item has this cursor.
    """
    start = 0
    if after is not None:
        start = next((n for n, item in enumerate(items, 1) if key(item) == after), 0)
        if not start:
            row = {"loc": "query.after", "rule": "bad_cursor", "message": "after must be the next of the page before"}
            raise InvalidRequest("The cursor is not valid.", errors=[row])
    found = list(items[start : start + limit])
    return Page(found, key(found[-1]) if found and start + limit < len(items) else None)
