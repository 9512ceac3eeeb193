"""`/models`, `/chat/completions`, `/completions`: the model's name leads to a deployment, which answers.

A tuned model is deployed on first use, by `job.deploy`, under its job's id. Answers pass through as they come, line by
line, with the name that the client used in place of the deployment's.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, TypeGuard

import anyio
import anyio.to_thread
import httpx
import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from finetune_sdk.deploy.handle import Deployed
from finetune_sdk.deploy.local import BASE
from finetune_sdk.gateway.bodies import read_json
from finetune_sdk.gateway.errors import ApiError, not_found
from finetune_sdk.gateway.jobs import unknown_model
from finetune_sdk.gateway.records import Job, job_of
from finetune_sdk.gateway.service import Service, json_response, service
from finetune_sdk.job import AsyncFineTuneJob
from finetune_sdk.types import Deployment

log = logging.getLogger(__name__)

_CHECKPOINT = re.compile(r"(.+):ckpt-step-(\d+)")
_TIMEOUT = httpx.Timeout(600.0, connect=5.0)
_ROLES = ("system", "developer", "user", "assistant", "tool", "function")
_TUNED_ON = (
    "SELECT * FROM job WHERE model = ? AND local = 1 AND status = 'succeeded' AND deleted = 0 ORDER BY seq DESC LIMIT 1"
)
_PASSED_ON = ("retry-after", "retry-after-ms", "x-should-retry")


@dataclass(frozen=True, slots=True)
class Target:
    """Who answers, under which name there, with which key."""

    base_url: str
    model: str
    api_key_env: str | None = None
    base: str | None = None
    """The name of the base model there; None = it does not answer beside."""


@dataclass(slots=True)
class Chats:
    """The deployments that this server knows to be up, and the connections to them."""

    client: httpx.AsyncClient
    targets: dict[str, Target] = field(default_factory=dict[str, Target])
    locks: dict[str, anyio.Lock] = field(default_factory=dict[str, anyio.Lock])


def _chats(request: Request) -> Chats:
    found = request.app.state.chats
    assert isinstance(found, Chats), "set by `app.build`"  # noqa: S101
    return found


# --- whose answer ---------------------------------------------------------------------------------------------------


async def _target(request: Request, model: str) -> Target:
    gateway, chats = service(request), _chats(request)
    upstream = gateway.config.chat.get(model)
    if upstream is not None:
        return Target(upstream.base_url.rstrip("/"), upstream.model or model, upstream.api_key_env)
    async with chats.locks.setdefault(model, anyio.Lock()):
        if model not in chats.targets:
            chats.targets[model] = await _deployed(gateway, request, model)
        return chats.targets[model]


async def _deployed(gateway: Service, request: Request, model: str) -> Target:
    found = find_tuned(gateway, model)
    if found is not None:
        job, step = found
        return await _served(gateway, job, step, model)
    owner = str(request.scope["owner"])
    provider = gateway.config.backend_for(model, owner)
    base = gateway.config.base_model(model, provider, local=gateway.is_local(provider))
    if base is None or model.startswith("ft:"):
        raise unknown_model(gateway, model)
    for row in gateway.state.read(_TUNED_ON, model):
        target = await _served(gateway, job_of(row), None, model)
        if target.base is not None:
            return Target(target.base_url, target.base, target.api_key_env)
    text = (
        f"Nothing serves the base model {model[:200]!r}: tune an adapter on it, which is served beside it, or name a "
        "server under `chat:` in the configuration."
    )
    raise ApiError(404, text, param="model", code="model_not_served")


async def _served(gateway: Service, job: Job, step: int | None, model: str) -> Target:
    """The deployment of a job's model or checkpoint. An adapter is served beside its base, which answers too."""
    assert job.job_id is not None, "it has succeeded, or has checkpoints"  # noqa: S101
    handle = AsyncFineTuneJob(job.job_id, gateway.home)
    if step is not None:
        return _usable(await handle.deploy(name=f"{job.id}-step-{step}", checkpoint=step), model)
    adapter = job.local and any(one.kind == "adapter" for one in await handle.artifacts())
    deployment = await handle.deploy(name=job.id, kind="adapter" if adapter else None)
    return _usable(deployment, model, base=BASE if adapter else None)


def _usable(deployment: Deployment, model: str, *, base: str | None = None) -> Target:
    if deployment.status in ("failed", "stopped"):
        text = f"The deployment of {model!r} is {deployment.status}: {deployment.error or 'no reason is known'}."
        raise ApiError(503, text, code="model_not_ready", headers={"retry-after": "5"})
    return Target(deployment.base_url.rstrip("/"), deployment.model, deployment.api_key_env, base)


def find_tuned(gateway: Service, model: str) -> tuple[Job, int | None] | None:
    """The job behind a tuned model's name, with the step where it names a checkpoint; None = there is none."""
    step: int | None = None
    if checkpoint := _CHECKPOINT.fullmatch(model):
        model, step = checkpoint[1], int(checkpoint[2])
    rows = gateway.state.read("SELECT * FROM job WHERE tuned = ? AND deleted = 0 AND job_id IS NOT NULL", model)
    if not rows:
        return None
    job = job_of(rows[0])
    return (job, step) if job.status == "succeeded" or step is not None else None


# --- answering ------------------------------------------------------------------------------------------------------


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
    target = await _target(request, name)
    answer = await _asked(request, target, path, asked)
    if answer is None:  # it may have been stopped, or have crashed: deploy it again, once
        _chats(request).targets.pop(name, None)
        target = await _target(request, name)
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
    client = _chats(request).client
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


# --- models ---------------------------------------------------------------------------------------------------------


def _model(name: str, created: int, owner: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": created, "owned_by": owner}


def _tuned(gateway: Service) -> list[dict[str, Any]]:
    query = "SELECT tuned, finished_at, provider FROM job WHERE status = 'succeeded' AND deleted = 0 ORDER BY seq DESC"
    return [_model(row["tuned"], row["finished_at"] or 0, row["provider"]) for row in gateway.state.read(query)]


def _bases(gateway: Service) -> list[dict[str, Any]]:
    tuned_on = gateway.state.read("SELECT DISTINCT model FROM job WHERE status = 'succeeded' AND deleted = 0")
    names = dict.fromkeys([*gateway.config.models, *gateway.config.chat, *(row["model"] for row in tuned_on)])
    return [_model(name, 0, "system") for name in names]


async def list_models(request: Request) -> Response:
    """`GET /models`: the mapped base models and the tuned ones."""
    gateway = service(request)
    return json_response({"object": "list", "data": [*_bases(gateway), *_tuned(gateway)]})


async def list_deployments(request: Request) -> Response:
    """`GET /deployments`, for the page: which tuned models a server is up for, by the names that clients use."""
    gateway = service(request)
    known = {one.model: one for one in await anyio.to_thread.run_sync(gateway.store.deployments)}
    rows = gateway.state.read("SELECT id, tuned FROM job WHERE status = 'succeeded' AND deleted = 0")
    data = [{"model": row["tuned"], "status": known[row["id"]].status} for row in rows if row["id"] in known]
    return json_response({"object": "list", "data": data})


async def retrieve_model(request: Request) -> Response:
    """`GET /models/{model}`."""
    gateway, name = service(request), request.path_params["model"]
    for one in _bases(gateway):
        if one["id"] == name:
            return json_response(one)
    found = find_tuned(gateway, name)
    if found is None:
        raise not_found("model", name)
    return json_response(_model(name, found[0].finished_at or found[0].created_at, found[0].provider))


async def delete_model(request: Request) -> Response:
    """`DELETE /models/{model}`, tuned ones only. Its job and the job's files stay until `finetune jobs rm`."""
    gateway, name = service(request), request.path_params["model"]
    if any(one["id"] == name for one in _bases(gateway)):
        raise ApiError(403, f"{name!r} is a base model: only tuned models can be deleted.", code="model_not_deletable")
    found = find_tuned(gateway, name)
    if found is None or found[1] is not None:
        raise not_found("model", name)
    await anyio.to_thread.run_sync(_delete, gateway, found[0])
    _chats(request).targets.pop(name, None)
    return json_response({"id": name, "object": "model", "deleted": True})


def _delete(gateway: Service, job: Job) -> None:
    """Forget the model's name, and end the deployments that were made for it; a vendor keeps the model itself."""
    gateway.state.change("UPDATE job SET deleted = 1 WHERE id = ?", job.id)
    for one in gateway.store.deployments():
        if one.model == job.id or one.model.startswith(f"{job.id}-step-"):
            Deployed.of(one, gateway.home).delete()
