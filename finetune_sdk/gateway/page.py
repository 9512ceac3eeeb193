"""The page at `/`: static files of this package, nothing from anywhere else."""

from __future__ import annotations

from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from finetune_sdk.gateway.errors import ApiError

_FOLDER = Path(__file__).parent / "static"
_TYPES = {"index.html": "text/html", "page.js": "text/javascript", "page.css": "text/css"}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def _file(name: str) -> Response:
    headers = {"content-security-policy": _POLICY, "cache-control": "no-cache", "referrer-policy": "no-referrer"}
    return FileResponse(_FOLDER / name, media_type=_TYPES[name], headers=headers)


async def _index(_request: Request) -> Response:
    return _file("index.html")


async def _static(request: Request) -> Response:
    name: str = request.path_params["name"]
    if name not in _TYPES:
        raise ApiError(404, "Unknown path.", code="not_found")
    return _file(name)


ROUTES = (Route("/", _index), Route("/static/{name}", _static))
