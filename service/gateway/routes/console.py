"""``GET /``: the console, a page that talks to this API and nothing else."""

from __future__ import annotations

from importlib.resources import files

from fastapi import APIRouter
from starlette.responses import Response

from service import errors
from service.gateway.http.openapi import describe_route

router = APIRouter(tags=["operate"])

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
MEDIA_TYPES = {"console.css": "text/css", "console.js": "text/javascript"}
HEADERS = {"Content-Security-Policy": CSP, "Referrer-Policy": "no-referrer", "Cache-Control": "no-cache"}


def _file(name: str) -> bytes:
    return files("service.gateway").joinpath("console", name).read_bytes()


@router.get(
    "/",
    summary="The console",
    **describe_route(key=False, content={"text/html": {"schema": {"type": "string"}}}),
)
async def page() -> Response:
    """One page, without anything from elsewhere."""
    return Response(_file("index.html"), headers=HEADERS, media_type="text/html")


@router.get("/console/{name}", include_in_schema=False)
async def asset(name: str) -> Response:
    """Its script and its style."""
    if name not in MEDIA_TYPES:
        raise errors.NotFound("There is nothing at this address.")
    return Response(_file(name), headers=HEADERS, media_type=MEDIA_TYPES[name])
