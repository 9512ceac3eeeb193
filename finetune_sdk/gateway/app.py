"""The application: which path is whose, under OpenAI's prefix and under Azure's."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import httpx
from starlette.datastructures import State
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route, Router
from starlette.types import Receive, Scope, Send

from finetune_sdk.gateway import chat, events, files, graders, jobs, models, page, state, steering, targets, uploads
from finetune_sdk.gateway.config import GatewayConfig
from finetune_sdk.gateway.errors import ApiError
from finetune_sdk.gateway.guard import Guard
from finetune_sdk.gateway.keys import Keys
from finetune_sdk.gateway.outbox import secret_of
from finetune_sdk.gateway.queue import work
from finetune_sdk.gateway.service import Service, json_response
from finetune_sdk.home import open_home
from finetune_sdk.registry import load

Endpoint = Callable[[Request], Awaitable[Response]]

_API: tuple[tuple[str, str, Endpoint], ...] = (
    ("POST", "/files", files.create_file),
    ("GET", "/files", files.list_files),
    ("GET", "/files/{file_id}", files.retrieve_file),
    ("DELETE", "/files/{file_id}", files.delete_file),
    ("GET", "/files/{file_id}/content", files.file_content),
    ("POST", "/uploads", uploads.create_upload),
    ("POST", "/uploads/{upload_id}/parts", uploads.add_part),
    ("POST", "/uploads/{upload_id}/complete", uploads.complete_upload),
    ("POST", "/uploads/{upload_id}/cancel", uploads.cancel_upload),
    ("POST", "/fine_tuning/jobs", jobs.create_job),
    ("GET", "/fine_tuning/jobs", jobs.list_jobs),
    ("GET", "/fine_tuning/jobs/{job_id}", jobs.retrieve_job),
    ("GET", "/fine_tuning/jobs/{job_id}/events", events.list_events),
    ("GET", "/fine_tuning/jobs/{job_id}/checkpoints", events.list_checkpoints),
    ("POST", "/fine_tuning/jobs/{job_id}/cancel", steering.cancel_job),
    ("POST", "/fine_tuning/jobs/{job_id}/pause", steering.pause_job),
    ("POST", "/fine_tuning/jobs/{job_id}/resume", steering.resume_job),
    ("POST", "/fine_tuning/alpha/graders/validate", graders.validate),
    ("POST", "/fine_tuning/alpha/graders/run", graders.run),
    ("GET", "/models", models.list_models),
    ("GET", "/models/{model:path}", models.retrieve_model),
    ("DELETE", "/models/{model:path}", models.delete_model),
    ("POST", "/chat/completions", chat.chat),
    ("POST", "/completions", chat.completion),
    ("POST", "/deployments/{deployment}/chat/completions", chat.chat),
    ("POST", "/deployments/{deployment}/completions", chat.completion),
)
PREFIXES = ("/v1", "/openai/v1", "/openai")
"""OpenAI's, Azure's undated one, Azure's dated one (whose `api-version` is not looked at)."""


def build(home: str | Path | None, config: GatewayConfig, *, keys: Keys | None = None, loopback: bool = True) -> Guard:
    """The gateway as an ASGI application. `loopback` = it will listen on this machine's own address only.

    Raises `RegistryError` for a backend that is not installed, `SpecError` for a webhook without its secret.
    """
    for hook in config.webhooks:
        secret_of(hook)
    folder = open_home(home)
    for provider in config.providers:
        load(provider, home=folder)
    gateway = Service(home=folder, config=config, state=state.State(folder))
    routes = [
        *page.ROUTES,
        Route("/health", _health),
        Route("/ready", _ready),
        Route("/deployments", _Door({"GET": models.list_deployments})),
        *map(_mounted, PREFIXES),
    ]
    app = Application(gateway, Router(routes, lifespan=_lifespan))
    return Guard(app, service=gateway, keys=keys or Keys(), loopback=loopback)


class Application:
    """The routes and what they share: Starlette's application without its layers, which `Guard` stands in for."""

    def __init__(self, gateway: Service, router: Router) -> None:
        self.state = State({"service": gateway})
        self.router = router

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = self
        try:
            await self.router(scope, receive, send)
        except HTTPException as error:
            if error.status_code == 404:
                raise ApiError(404, "Unknown path.", code="not_found") from error
            raise ApiError(error.status_code, str(error.detail), headers=error.headers) from error


def _mounted(prefix: str) -> BaseRoute:
    by_path: dict[str, dict[str, Endpoint]] = {}
    for method, path, endpoint in _API:
        by_path.setdefault(path, {})[method] = endpoint
    return Mount(prefix, routes=[Route(path, _Door(found)) for path, found in by_path.items()])


class _Door:
    """The endpoints of one path, by method. Plain ASGI: Starlette's own dispatch costs a few wrappers more."""

    def __init__(self, endpoints: dict[str, Endpoint]) -> None:
        self.endpoints = endpoints
        self.allow = ", ".join(sorted(endpoints))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self.endpoints.get(scope["method"])
        if endpoint is None:
            text = f"{scope['method']} is not allowed here; {self.allow} is."
            raise ApiError(405, text, code="method_not_allowed", headers={"allow": self.allow})
        answer = await endpoint(Request(scope, receive, send))
        await answer(scope, receive, send)


@asynccontextmanager
async def _lifespan(app: Application) -> AsyncGenerator[None]:
    gateway: Service = app.state.service
    gateway.stopping = anyio.Event()
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
    async with httpx.AsyncClient(timeout=httpx.Timeout(600.0, connect=5.0), limits=limits) as client:
        app.state.chats = targets.Chats(client)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(work, gateway)
            yield
            gateway.stopping.set()
            tasks.cancel_scope.cancel()
    gateway.state.close()


async def _health(_request: Request) -> Response:
    """It answers: the process lives."""
    return json_response({"status": "ok"})


async def _ready(request: Request) -> Response:
    """It can do its work: its store can be read."""
    gateway: Service = request.app.state.service
    gateway.state.read("SELECT 1")
    return json_response({"status": "ready"})
