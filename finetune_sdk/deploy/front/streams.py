"""Answers as they come: server-sent events, one piece for all that is ready together.

A client may prefer fewer pieces (`Prefer: stream-interval=N`): the first text at once, then N tokens at a time.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from finetune_sdk.deploy.front import answers, asking
from finetune_sdk.deploy.front.answers import Heading, Spoken, Tally
from finetune_sdk.deploy.front.engine import EngineError
from finetune_sdk.deploy.front.errors import APIError

Json = dict[str, Any]
Items = AsyncGenerator[tuple[int, Json]]
"""What the engine says, with the number of the request it belongs to."""
_DONE = b"data: [DONE]\n\n"
_INTERVAL = re.compile(r"(?:^|[,;\s])stream-interval=([1-9]\d{0,3})(?!\d)")
"""Of the header `Prefer` (RFC 7240: whoever does not know a preference ignores it)."""


def paced(request: Request, asked: Sequence[Json]) -> dict[str, str]:
    """Tell the engine which pieces the client prefers; the headers that say so."""
    found = _INTERVAL.search(request.headers.get("prefer", ""))
    if found is None:
        return {}
    for one in asked:
        one["every"] = int(found[1])
    return {"preference-applied": f"stream-interval={found[1]}"}


async def streamed(pieces: AsyncGenerator[bytes], headers: dict[str, str]) -> Response:
    """The first piece is waited for, so that a refusal is still an ordinary error."""
    first = await anext(pieces)

    async def events() -> AsyncGenerator[bytes]:
        async with aclosing(pieces):
            yield first
            try:
                async for piece in pieces:
                    yield piece
            except EngineError as exc:
                yield _events([told(exc).body()])

    headers = {"cache-control": "no-cache", "x-accel-buffering": "no", **headers}
    return StreamingResponse(events(), headers=headers, media_type="text/event-stream")


async def chat(body: asking.ChatBody, items: Items) -> AsyncGenerator[bytes]:
    """A chat completion, piece by piece."""
    heading, tally, left = Heading.chat(body.model), Tally(), body.n or 1
    extra: Json = {"usage": None} if body.with_usage else {}
    held: dict[int, Spoken] = {}
    async with aclosing(items):
        async for _, item in items:
            if "prompt_tokens" in item:
                opening: Json = {"role": "assistant", "content": ""}
                choices = [answers.chat_delta(index, opening) for index in range(left)]
            elif body.tools:  # whether it is a call shows at the end
                choices = _held_choices(held.setdefault(item["i"], Spoken()), item)
            else:
                choices = _chat_choices(item)
            ready = [heading.chunk(choices=[choice], **extra) for choice in choices]
            left -= tally.add(item)
            if not left and body.with_usage:
                ready.append(heading.chunk(choices=[], usage=tally.usage()))
            if ready:
                yield _events(ready, done=not left)


async def text(body: asking.CompletionBody, items: Items, left: int) -> AsyncGenerator[bytes]:
    """Text completions, piece by piece; `left`: how many answers there will be."""
    heading, tally, each = Heading.completion(body.model), Tally(), body.n or 1
    extra: Json = {"usage": None} if body.with_usage else {}
    sent: dict[int, int] = {}
    async with aclosing(items):
        async for number, item in items:
            ready: list[Json] = []
            if "prompt_tokens" not in item:
                index, step = number * each + item["i"], Spoken()
                step.add(item)
                if step.text or step.end or step.logprobs or step.echo:
                    choice = answers.text_choice(
                        index, step, logprobs=body.logprobs is not None, offset=sent.get(index, 0)
                    )
                    ready.append(heading.chunk(choices=[choice], **extra))
                sent[index] = sent.get(index, 0) + len(step.text) + len((step.echo or {"text": ""})["text"])
            left -= tally.add(item)
            if not left and body.with_usage:
                ready.append(heading.chunk(choices=[], usage=tally.usage()))
            if ready:
                yield _events(ready, done=not left)


def told(exc: EngineError) -> APIError:
    """An engine's error as the client is told."""
    later = 1 if exc.status == 503 else None
    return APIError(exc.status, exc.message, param=exc.param, code=exc.code, retry_after_s=later)


def _chat_choices(item: Json) -> list[Json]:
    logprobs = item.get("logprobs")
    found: list[Json] = []
    if item["text"] or logprobs:
        found.append(answers.chat_delta(item["i"], {"content": item["text"]}, logprobs=logprobs))
    if "end" in item:
        found.append(answers.chat_delta(item["i"], {}, end=item["end"]))
    return found


def _held_choices(spoken: Spoken, item: Json) -> list[Json]:
    spoken.add(item)
    if "end" not in item:
        return []
    rest, calls = answers.tool_calls(spoken.text)
    delta: Json = {"content": rest} if rest else {}
    if calls:
        delta["tool_calls"] = [{"index": number, **call} for number, call in enumerate(calls)]
    return [answers.chat_delta(item["i"], delta, end="tool_calls" if calls else spoken.end)]


def _events(values: Sequence[Json], *, done: bool = False) -> bytes:
    said = b"".join(b"data: " + msgspec.json.encode(value) + b"\n\n" for value in values)
    return said + _DONE if done else said
