"""The routes: chat completions, completions, models, health and readiness."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import anyio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from finetune_sdk.deploy.front import answers, asking, streams
from finetune_sdk.deploy.front.answers import Heading, Spoken, Tally
from finetune_sdk.deploy.front.engine import Engine, EngineError
from finetune_sdk.deploy.front.errors import APIError, json_response

Json = dict[str, Any]
MAX_BODY_BYTES = 32 * 1024 * 1024
BODY_TIMEOUT_S = 60.0
MAX_BUSY = 1024
"""Requests answered or waiting at once; one more is told to come back later."""
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]", "::1")


@dataclass(frozen=True, kw_only=True)
class Door:
    """Who may come in."""

    salt: str | None
    key_sha256: str | None
    """Of salt and key; None = no key is asked for."""
    loopback_only: bool
    """Then only requests addressed to this very machine: a web page that renames itself to 127.0.0.1 stays out."""

    def check(self, request: Request) -> None:
        """Raises `APIError`."""
        host = request.headers.get("host", "").rpartition(":")
        name = host[0] if host[1] and host[2].isdigit() else host[0] + host[1] + host[2]
        if self.loopback_only and name not in _LOOPBACK:
            raise APIError(403, f"this server answers to {_LOOPBACK[0]} only, not to {name!r}")
        if self.key_sha256 is None:
            return
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        given = given or request.headers.get("api-key", "")
        if not hmac.compare_digest(digest(self.salt or "", given), self.key_sha256):
            raise APIError(401, "Incorrect API key provided.", code="invalid_api_key")


def digest(salt: str, key: str) -> str:
    """What is kept of a key."""
    return hashlib.sha256(f"{salt}:{key}".encode()).hexdigest()


Handler = Callable[[Request], Awaitable[Response]]


class Front:
    """One engine's API."""

    def __init__(self, engine: Engine, *, door: Door, created: int) -> None:
        self._engine = engine
        self._door = door
        self._created = created

    def app(self) -> Starlette:
        """The ASGI application."""
        routes = [
            Route("/v1/chat/completions", self._entered(self._chat), methods=["POST"]),
            Route("/v1/completions", self._entered(self._complete), methods=["POST"]),
            Route("/tokenize", self._entered(self._tokenize), methods=["POST"]),
            Route("/v1/models", self._entered(self._models)),
            Route("/v1/models/{model:path}", self._entered(self._model)),
            Route("/health", self._health),
            Route("/ready", self._ready),
        ]
        return Starlette(routes=routes, exception_handlers={HTTPException: _http, Exception: _unexpected})

    def _entered(self, handler: Handler) -> Handler:
        async def enter(request: Request) -> Response:
            try:
                self._door.check(request)
                return await handler(request)
            except APIError as exc:
                return exc.response()
            except EngineError as exc:
                return streams.told(exc).response()
            except ClientDisconnect:
                return Response(status_code=499)  # nobody reads it

        return enter

    # --- models, health

    async def _health(self, _request: Request) -> Response:
        return json_response({"status": "ok", "engine": self._engine.status})

    async def _ready(self, _request: Request) -> Response:
        refusal = self._engine.refusal()
        if refusal is None:
            return json_response({"status": "ready", **self._engine.facts})
        return json_response({"status": self._engine.status, "error": self._engine.error}, status=503)

    def _listed(self, name: str) -> Json:
        facts = self._engine.facts["models"][name]
        return {"id": name, "object": "model", "created": self._created, "owned_by": "finetune-sdk", **facts}

    async def _models(self, _request: Request) -> Response:
        names = self._engine.facts.get("models", {})
        return json_response({"object": "list", "data": [self._listed(name) for name in names]})

    async def _model(self, request: Request) -> Response:
        name = request.path_params["model"]
        self._known(name)
        return json_response(self._listed(name))

    def _known(self, name: str) -> None:
        refusal = self._engine.refusal()
        if refusal is not None:
            raise refusal
        models = self._engine.facts["models"]
        if name not in models:
            text = f"The model {name!r} does not exist here; there are: {', '.join(models)}"
            raise APIError(404, text, param="model", code="model_not_found")
        if self._engine.busy >= MAX_BUSY:
            raise APIError(429, "too many requests are waiting already", code="overloaded", retry_after_s=1)

    def _able(self, asked: Mapping[str, Any]) -> None:
        facts = self._engine.facts
        for name, (param, ability) in _NEEDS.items():
            if name in asked and ability not in facts["abilities"]:
                raise APIError(
                    400,
                    f"{param} is not supported by the engine {facts['engine']!r} as it is installed here"
                    + (f": {facts['missing'][ability]}" if ability in facts.get("missing", {}) else ""),
                    param=param,
                    code="unsupported_parameter",
                )

    # --- tokens

    async def _tokenize(self, request: Request) -> Response:
        body = asking.read_tokens(await _body(request))
        self._known(body.model)
        asked = {"op": "render", "id": secrets.token_hex(8), **body.asked()}
        async with aclosing(self._engine.ask(asked)) as answer:
            ids = [item async for item in answer][-1]["rendered"]["ids"]
        context = self._engine.facts["models"][body.model]["context"]
        return json_response({"count": len(ids), "max_model_len": context, "tokens": ids})

    # --- chat completions

    async def _chat(self, request: Request) -> Response:
        body = asking.read_chat(await _body(request))
        self._known(body.model)
        asked = body.asked()
        self._able(asked)
        pace = streams.paced(request, [asked])
        items = self._items([asked])
        if body.stream:
            return await streams.streamed(streams.chat(body, items), pace)
        return await _unless_disconnected(request, self._chat_whole(body, items))

    async def _chat_whole(self, body: asking.ChatBody, items: AsyncGenerator[tuple[int, Json]]) -> Response:
        tally, spoken = await _gathered(items, body.n or 1)
        choices = [
            answers.chat_choice(index, one, logprobs=bool(body.logprobs), tools=bool(body.tools))
            for index, one in enumerate(spoken)
        ]
        return json_response(Heading.chat(body.model).object(choices=choices, usage=tally.usage()))

    # --- completions

    async def _complete(self, request: Request) -> Response:
        body = asking.read_completion(await _body(request))
        self._known(body.model)
        asked = body.asked()
        self._able(asked[0])
        pace, count = streams.paced(request, asked), len(asked) * (body.n or 1)
        items = self._items(asked)
        if body.stream:
            return await streams.streamed(streams.text(body, items, count), pace)
        return await _unless_disconnected(request, self._text_whole(body, items, count))

    async def _text_whole(
        self, body: asking.CompletionBody, items: AsyncGenerator[tuple[int, Json]], count: int
    ) -> Response:
        tally, spoken = await _gathered(items, count, per=body.n or 1)
        told = body.logprobs is not None
        choices = [answers.text_choice(index, one, logprobs=told) for index, one in enumerate(spoken)]
        return json_response(Heading.completion(body.model).object(choices=choices, usage=tally.usage()))

    async def _items(self, asked: list[Json]) -> AsyncGenerator[tuple[int, Json]]:
        """What the engine says to one or several requests, with the number of the request; all at once."""
        requests = [{"op": "generate", "id": secrets.token_hex(8), **one} for one in asked]
        if len(requests) == 1:
            async with aclosing(self._engine.ask(requests[0])) as answer:
                async for item in answer:
                    yield 0, item
            return
        said: asyncio.Queue[tuple[int, Json | EngineError | None]] = asyncio.Queue()

        async def one(number: int, request: Json) -> None:
            try:
                async with aclosing(self._engine.ask(request)) as answer:
                    async for item in answer:
                        said.put_nowait((number, item))
                said.put_nowait((number, None))
            except EngineError as exc:
                said.put_nowait((number, exc))

        # no task group: a generator may be begun in one task and closed in another
        tasks = [asyncio.create_task(one(number, request)) for number, request in enumerate(requests)]
        left = len(tasks)
        try:
            while left:
                number, told = await said.get()
                if isinstance(told, EngineError):
                    raise told
                if told is None:
                    left -= 1
                else:
                    yield number, told
        finally:
            for task in tasks:
                task.cancel()


_NEEDS = {
    "schema": ("response_format", "json_schema"),
    "logprobs": ("logprobs", "logprobs"),
    "logit_bias": ("logit_bias", "logit_bias"),
    "echo": ("echo", "prompt_logprobs"),
}


async def _gathered(
    items: AsyncGenerator[tuple[int, Json]], count: int, *, per: int | None = None
) -> tuple[Tally, list[Spoken]]:
    """All answers whole; `per`: answers per prompt."""
    tally = Tally()
    spoken: list[Spoken] = [Spoken() for _ in range(count)]
    async with aclosing(items):
        async for number, item in items:
            tally.add(item)
            if "prompt_tokens" not in item:
                at: int = number * (per or count) + item["i"]
                spoken[at].add(item)
    return tally, spoken


async def _body(request: Request) -> bytes:
    """The body, bounded in size and time. Raises `APIError`."""
    parts: list[bytes] = []
    size = 0
    try:
        with anyio.fail_after(BODY_TIMEOUT_S):
            async for part in request.stream():
                size += len(part)
                if size > MAX_BODY_BYTES:
                    raise APIError(413, f"the request is larger than {MAX_BODY_BYTES} bytes")
                parts.append(part)
    except TimeoutError:
        raise APIError(408, f"the request did not arrive within {BODY_TIMEOUT_S:g} s") from None
    return b"".join(parts)


async def _unless_disconnected(request: Request, answer: Awaitable[Response]) -> Response:
    """The answer; when the client hangs up before, the work is dropped."""
    found: Response | None = None

    async def watch() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch)
        try:
            found = await answer
        except (APIError, EngineError) as exc:  # here, because a task group would wrap it
            found = (exc if isinstance(exc, APIError) else streams.told(exc)).response()
        tasks.cancel_scope.cancel()
    if found is None:
        raise ClientDisconnect
    return found


async def _http(request: Request, exc: Exception) -> Response:
    status = exc.status_code if isinstance(exc, HTTPException) else 500
    what = "Unknown request URL" if status == 404 else "Not allowed"
    return APIError(status, f"{what}: {request.method} {request.url.path}", code="unknown_url").response()


async def _unexpected(_request: Request, _exc: Exception) -> Response:
    return APIError(500, "The server had an error while processing your request.").response()
