"""`/models`: the base models that are mapped or were tuned, and the tuned ones."""

from __future__ import annotations

from typing import Any

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response

from finetune_sdk.deploy.handle import Deployed
from finetune_sdk.gateway.errors import ApiError
from finetune_sdk.gateway.jobs import unknown_model
from finetune_sdk.gateway.records import Job
from finetune_sdk.gateway.service import Service, json_response, service
from finetune_sdk.gateway.targets import chats, find_tuned


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
        raise unknown_model(gateway, name)
    return json_response(_model(name, found[0].finished_at or found[0].created_at, found[0].provider))


async def delete_model(request: Request) -> Response:
    """`DELETE /models/{model}`, tuned ones only. Its job and the job's files stay until `finetune jobs rm`."""
    gateway, name = service(request), request.path_params["model"]
    if any(one["id"] == name for one in _bases(gateway)):
        raise ApiError(403, f"{name!r} is a base model: only tuned models can be deleted.", code="model_not_deletable")
    found = find_tuned(gateway, name)
    if found is None or found[1] is not None:
        raise unknown_model(gateway, name)
    await anyio.to_thread.run_sync(_delete, gateway, found[0])
    chats(request).targets.pop(name, None)
    return json_response({"id": name, "object": "model", "deleted": True})


def _delete(gateway: Service, job: Job) -> None:
    """Forget the model's name, and end the deployments that were made for it; a vendor keeps the model itself."""
    gateway.state.change("UPDATE job SET deleted = 1 WHERE id = ?", job.id)
    for one in gateway.store.deployments():
        if one.model == job.id or one.model.startswith(f"{job.id}-step-"):
            Deployed.of(one, gateway.home).delete()
