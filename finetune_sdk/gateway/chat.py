"""`/chat/completions` and `/completions`: the model's name leads to a deployment, which answers.

Answers pass through as they come, line by line, with the name that the client used in place of the deployment's.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import Any, TypeGuard

import httpx
import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from finetune_sdk.gateway.bodies import read_json
from finetune_sdk.gateway.errors import ApiError
from finetune_sdk.gateway.service import json_response, service
from finetune_sdk.gateway.targets import Target, chats, target_of

_ROLES = ("system", "developer", "user", "assistant", "tool", "function")
_PASSED_ON = ("retry-after", "retry-after-ms", "x-should-retry")


async def chat(request: Request) -> Response:
    """`POST /chat/completions`."""
    return await _forward(request, "chat/completions", "messages")


async def completion(request: Request) -> Response:
    """`POST /completions`."""
    return await _forward(request, "completions", "prompt")


async def _forward(request: Request, path: str, needed: str) -> Response:
    body = await read_json(request, service(request).config.json_bytes)
    if not _is_object(body):
        raise ApiError(400, "The body is no JSON object.", code="invalid_json")
    asked = body
    name = asked.get("model") or request.path_params.get("deployment")
    if not isinstance(name, str) or not name:
        raise ApiError(400, "You must provide a model parameter.", param="model", code="missing_required_parameter")
    _check(asked, needed)
    target = await target_of(request, name)
    answer = await _asked(request, target, path, asked)
    if answer is None:  # it may have been stopped, or have crashed: deploy it again, once
        chats(request).targets.pop(name, None)
        target = await target_of(request, name)
        answer = await _asked(request, target, path, asked)
    if answer is None:
        raise ApiError(503, f"The deployment of {name!r} does not answer.", code="model_not_ready")
    return await _passed_on(answer, name, target.model)


def _is_object(value: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)


def _is_list(value: Any) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def _check(asked: dict[str, Any], needed: str) -> None:
    if needed == "messages":
        messages: Any = asked.get("messages")
        if not _is_list(messages) or not messages:
            raise ApiError(400, "Invalid messages: a list of at least one message is expected.", param="messages")
        for index, message in enumerate(messages):
            if not _is_object(message) or message.get("role") not in _ROLES:
                raise ApiError(400, f"Invalid messages[{index}]: a message has a role.", param=f"messages[{index}]")
    elif not isinstance(asked.get("prompt"), str | list):
        raise ApiError(400, "Invalid prompt: a text is expected.", param="prompt")
    if not isinstance(asked.get("stream", False), bool | None):
        raise ApiError(400, "Invalid stream: true or false is expected.", param="stream")


async def _asked(request: Request, target: Target, path: str, asked: dict[str, Any]) -> httpx.Response | None:
    """The deployment's answer, its body not read yet; None = nobody is there."""
    headers = {"content-type": "application/json"}
    if target.api_key_env is not None:
        key = os.environ.get(target.api_key_env)
        if not key:
            raise ApiError(502, f"The gateway lacks the variable {target.api_key_env}.", code="backend_auth")
        headers |= {"authorization": f"Bearer {key}", "api-key": key}  # OpenAI's way, and Azure's
    client = chats(request).client
    content = msgspec.json.encode({**asked, "model": target.model})
    outgoing = client.build_request("POST", f"{target.base_url}/{path}", content=content, headers=headers)
    try:
        return await client.send(outgoing, stream=True)
    except httpx.ConnectError:
        return None
    except httpx.HTTPError as error:
        raise ApiError(502, f"The deployment broke off: {type(error).__name__}.", code="backend_error") from error


async def _passed_on(answer: httpx.Response, name: str, upstream: str) -> Response:
    headers = {key: answer.headers[key] for key in _PASSED_ON if key in answer.headers}
    if answer.headers.get("content-type", "").startswith("text/event-stream"):
        lines = _lines(answer, name if name != upstream else None)
        headers["cache-control"] = "no-cache"
        return StreamingResponse(lines, answer.status_code, headers, "text/event-stream")
    try:
        content = await answer.aread()
    except httpx.HTTPError as error:
        raise ApiError(502, f"The deployment broke off: {type(error).__name__}.", code="backend_error") from error
    finally:
        await answer.aclose()
    try:
        value: Any = msgspec.json.decode(content)
    except msgspec.DecodeError:
        raise ApiError(502, "The deployment's answer is not JSON.", code="backend_error") from None
    if answer.status_code >= 400:
        return _refusal(answer.status_code, value, headers)
    return json_response({**value, "model": name} if isinstance(value, dict) else value, answer.status_code)


def _refusal(status: int, value: Any, headers: dict[str, str]) -> Response:
    """A deployment's refusal; one that is not in OpenAI's shape is put into it."""
    told: Any = value.get("error") if _is_object(value) else None
    if _is_object(told) and isinstance(told.get("message"), str):
        whole: dict[str, Any] = {"type": "invalid_request_error", "param": None, "code": None, **told}
        whole["code"] = None if whole["code"] is None else str(whole["code"])
        answer = json_response({"error": whole}, status)
        answer.headers.update(headers)
        return answer
    raise ApiError(status, f"The deployment answered: {str(value)[:500]}", code="backend_error", headers=headers)


async def _lines(answer: httpx.Response, name: str | None) -> AsyncIterator[bytes]:
    """The event stream as it comes; `name` replaces the model's in each event."""
    try:
        if name is None:
            async for chunk in answer.aiter_raw():
                yield chunk
            return
        left = b""
        async for chunk in answer.aiter_raw():
            *whole, left = (left + chunk).split(b"\n")
            if whole:
                yield b"".join(_renamed(line, name) for line in whole)
        if left:
            yield _renamed(left, name)
    except httpx.HTTPError as error:
        told = {"message": f"The deployment broke off: {type(error).__name__}.", "type": "server_error"}
        yield b"data: " + msgspec.json.encode({"error": {**told, "param": None, "code": "backend_error"}}) + b"\n\n"
    finally:
        await answer.aclose()


def _renamed(line: bytes, name: str) -> bytes:
    if line.startswith(b"data: {"):
        try:
            event: dict[str, Any] = msgspec.json.decode(line[6:])
        except msgspec.DecodeError:
            return line + b"\n"
        if "model" in event:
            event["model"] = name
            return b"data: " + msgspec.json.encode(event) + b"\n"
    return line + b"\n"
