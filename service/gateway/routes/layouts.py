"""``GET /layouts``: the keypoint sets known by name. No key needed."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from service import errors
from service.gateway import schemas
from service.gateway.http.openapi import describe_route
from service.gateway.http.pagination import After, Limit, page, page_of
from service.gateway.state.context import json_response
from skeleton_prompt.clips.layouts import Layout, UnknownLayout, get_layout, layout_names
from skeleton_prompt.layout_drawing import draw_layout

router = APIRouter(tags=["layouts"])


def _document(layout: Layout) -> dict[str, Any]:
    return {"name": layout.name, "joints": list(layout.joints), "edges": [list(edge) for edge in layout.edges]}


@router.get(
    "/layouts",
    summary="List layouts",
    **describe_route(schemas.page(schemas.LayoutSummary), fails=(errors.InvalidRequest,), key=False),
)
async def list_layouts(limit: Limit = 200, after: After = None) -> Response:
    """By name; all of them on one page by default."""
    layouts = [get_layout(name) for name in layout_names()]
    return page(page_of(layouts, lambda layout: layout.name, limit, after), _document)


@router.get(
    "/layouts/{name}",
    summary="Look at a layout",
    **describe_route(schemas.LayoutDetail, fails=(errors.NotFound,), key=False),
)
async def get_one(name: str) -> Response:
    """With its joints, edges and a drawing."""
    try:
        layout = get_layout(name)
    except UnknownLayout as error:
        raise errors.NotFound(str(error.args[0])) from None
    return json_response(_document(layout) | {"svg": draw_layout(layout)})
