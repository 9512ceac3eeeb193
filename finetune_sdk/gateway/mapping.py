"""From OpenAI's request to our job description, and from our job's status to OpenAI's words. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from pydantic import ValidationError

from finetune_sdk._records import JobRecord
from finetune_sdk.gateway.bodies import CreateJob, Hyperparameters, Method
from finetune_sdk.gateway.config import Backend
from finetune_sdk.gateway.errors import ApiError
from finetune_sdk.gateway.records import Json
from finetune_sdk.provider import Capabilities
from finetune_sdk.spec import JobSpec
from finetune_sdk.types import JobStatus

METHODS = {"supervised": "sft", "dpo": "dpo", "reinforcement": "rft"}
_KNOBS = {"n_epochs": "epochs", "batch_size": "batch_size", "learning_rate_multiplier": "learning_rate_multiplier"}
_OWN = {"beta", "compute_multiplier", "eval_interval", "eval_samples"}

WORDS: Mapping[JobStatus, str] = {
    JobStatus.PREPARING: "queued",
    JobStatus.VALIDATING: "validating_files",
    JobStatus.QUEUED: "queued",
    JobStatus.RUNNING: "running",
    JobStatus.PAUSED: "paused",
    JobStatus.CANCELLING: "running",  # OpenAI has no word for it: it runs until it has stopped
    JobStatus.SUCCEEDED: "succeeded",
    JobStatus.FAILED: "failed",
    JobStatus.CANCELLED: "cancelled",
}


def status_word(record: JobRecord) -> str:
    """OpenAI's word for where a job stands."""
    if record.status is JobStatus.RUNNING and (record.held or record.intent == "pause"):  # asked for, not there yet
        return "pausing"
    return WORDS[record.status]


def spec_of(
    body: CreateJob,
    *,
    provider: str,
    base: str,
    train: str,
    validation: str | None,
    seed: int,
    defaults: Backend,
    capabilities: Capabilities,
    local: bool,
) -> JobSpec:
    """The job description behind a request. Raises `ApiError` for what cannot be said to this backend."""
    spec: Json = {
        "provider": provider,
        "model": base,
        "data": {"train": train},
        "method": _method(body, defaults, local=local),
    }
    if validation is not None:
        spec["data"]["validation"] = validation
    spec["hyperparameters"] = {**defaults.hyperparameters, **_hyperparameters(body)}
    if "learning_rate_multiplier" in _hyperparameters(body):
        spec["hyperparameters"].pop("learning_rate", None)  # what the client says wins over the default
    options = _options(body, defaults, local=local)
    optional: Json = {
        "adapter": defaults.adapter,
        "compute": dict(defaults.compute),
        "budget": dict(defaults.budget),
        "options": {provider: options} if options else {},
        "report_to": ["wandb"] if body.integrations else [],
        "suffix": body.suffix if capabilities.claim("suffix").support else None,
        "metadata": body.metadata if capabilities.claim("metadata").support else None,
        "seed": seed if capabilities.claim("seed").support else None,
    }
    spec |= {name: value for name, value in optional.items() if value}
    if spec.get("seed") is None and optional["seed"] == 0:
        spec["seed"] = 0
    try:
        return JobSpec.model_validate(spec)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ApiError(400, f"Invalid {place}: {first['msg']}.", param=place) from None


def _hyperparameters(body: CreateJob) -> Json:
    given = _part(body.method).model_dump()
    if body.hyperparameters is not None and "method" not in body.model_fields_set:
        given = body.hyperparameters.model_dump()
    return {ours: given[theirs] for theirs, ours in _KNOBS.items() if given[theirs] != "auto"}


def _part(method: Method) -> Hyperparameters:
    if method.type == "supervised":
        return method.supervised.hyperparameters
    if method.type == "dpo":
        return method.dpo.hyperparameters
    if method.reinforcement is None:
        raise ApiError(400, "method.reinforcement is missing.", param="method.reinforcement")
    return method.reinforcement.hyperparameters


def _method(body: CreateJob, defaults: Backend, *, local: bool) -> Json:
    kind = METHODS[body.method.type]
    given = _part(body.method).model_dump()
    method: Json = {"kind": kind, **defaults.method.get(kind, {})}
    method |= {name: given[name] for name in _OWN & set(given) if given[name] != "auto"}
    if given.get("reasoning_effort", "default") != "default":
        method["reasoning_effort"] = given["reasoning_effort"]
    if body.method.type == "reinforcement" and body.method.reinforcement is not None:
        method["grader"] = grader_of(body.method.reinforcement.grader, confined=local)
    return method


def grader_of(given: Mapping[str, Any], *, confined: bool = False) -> Json:
    """A grader as our spec has it: without the vendor's image names; parts of a multi grader by name.

    Clients give code as text, never as a path of this machine; `confined` = it is to run behind a lock.
    """
    grader: Json = {key: value for key, value in given.items() if key not in ("image_tag", "confined")}
    if grader.get("type") == "python":
        if not isinstance(grader.get("source"), str) or "file" in grader:
            text = "Invalid grader: a python grader has its `source` as text, and no `file`."
            raise ApiError(400, text, param="grader", code="invalid_grader")
        return {**grader, "confined": True} if confined else grader
    if grader.get("type") != "multi" or not isinstance(grader.get("graders"), dict):
        return grader
    parts: Json = grader["graders"]
    named: Json = {str(parts["name"]): parts} if isinstance(parts.get("type"), str) and "name" in parts else parts
    grader["graders"] = {
        name: grader_of(cast("Json", one), confined=confined) if isinstance(one, dict) else one
        for name, one in named.items()
    }
    return grader


def _options(body: CreateJob, defaults: Backend, *, local: bool) -> Json:
    options: Json = dict(defaults.options)
    if body.integrations and not local:  # a hosted backend reports by itself; a local one is told by `report_to`
        options["wandb"] = body.integrations[0].wandb.model_dump(exclude_none=True)
    if body.trainingType is not None and not local and isinstance(body.trainingType, str):
        options["training_type"] = body.trainingType
    if body.method.reinforcement is not None and body.method.reinforcement.response_format is not None:
        options["response_format"] = body.method.reinforcement.response_format
    return options
