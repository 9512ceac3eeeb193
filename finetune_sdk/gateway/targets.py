"""Which deployment answers for a model's name.

A tuned model is deployed on first use, by `job.deploy`, under its job's id. A base model answers beside an adapter that
was tuned on it, or from a server of its own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import anyio
import anyio.to_thread
import httpx
from starlette.requests import Request

from finetune_sdk.deploy import fetching, local
from finetune_sdk.deploy.asked import BASE
from finetune_sdk.errors import SpecError
from finetune_sdk.gateway.errors import ApiError
from finetune_sdk.gateway.jobs import unknown_model
from finetune_sdk.gateway.records import Job, job_of
from finetune_sdk.gateway.service import Service, service
from finetune_sdk.job import AsyncFineTuneJob
from finetune_sdk.types import Deployment

_CHECKPOINT = re.compile(r"(.+):ckpt-step-(\d+)")
_ALONE = "base:"
"""What the name of a base model's own server starts with."""
_TUNED_ON = (
    "SELECT * FROM job WHERE model = ? AND local = 1 AND status = 'succeeded' AND deleted = 0 ORDER BY seq DESC LIMIT 1"
)


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
    starting: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(1))
    """Base models are fetched and started one after the other: waiting for that takes none of the other threads."""


def chats(request: Request) -> Chats:
    found = request.app.state.chats
    assert isinstance(found, Chats), "set by `app.build`"  # noqa: S101
    return found


async def target_of(request: Request, model: str) -> Target:
    """Who answers for the model; deployed first where that has not been done. Raises 404 for a name without one."""
    gateway, known = service(request), chats(request)
    upstream = gateway.config.chat.get(model)
    if upstream is not None:
        return Target(upstream.base_url.rstrip("/"), upstream.model or model, upstream.api_key_env)
    lock = known.locks.setdefault(model, anyio.Lock())
    try:
        async with lock:
            if model not in known.targets:
                known.targets[model] = await _deployed(gateway, request, model)
            return known.targets[model]
    finally:
        if not lock.statistics().tasks_waiting:  # names come from clients: none is kept for nothing
            known.locks.pop(model, None)


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
    if not gateway.is_local(provider):
        text = f"{provider} trains {model[:200]!r}; name who answers for it under `chat:` in the configuration."
        raise ApiError(404, text, param="model", code="model_not_served")
    return await anyio.to_thread.run_sync(_alone, gateway, model, base, limiter=chats(request).starting)


def _alone(gateway: Service, model: str, base: str) -> Target:
    """A base model's own server: it is fetched from the Hub where need be, which blocks for as long as that takes."""
    with gateway.state.lock("bases"):
        known = {one.model for one in local.deployments(gateway.home) if one.model.startswith(_ALONE)}
        name = f"{_ALONE}{base}"
        if name not in known and len(known) >= gateway.config.base_servers:
            text = (
                f"Nothing serves the base model {model[:200]!r}, and {len(known)} others have a server of their own, "
                "which is all that `base_servers` allows. Tune an adapter on it: it is served beside that; or end one "
                "of those servers (finetune deployments rm)."
            )
            raise ApiError(404, text, param="model", code="model_not_served")
        try:
            deployment = local.deploy(gateway.home, fetching.named(base), name=name)
        except SpecError as error:
            text = f"The base model {model[:200]!r} cannot be served: {error}"
            raise ApiError(404, text, param="model", code="model_not_found") from error
    return _usable(deployment, model)


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
