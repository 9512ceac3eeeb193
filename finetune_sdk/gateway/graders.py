"""`/fine_tuning/alpha/graders`: a grader is checked, or run once on one answer, in a process of its own.

The grading itself is the local backends': what a grader says here is what it says in training.
"""

from __future__ import annotations

import math
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import anyio.to_thread
import msgspec
from pydantic import Field, TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from finetune_sdk._document import is_mapping
from finetune_sdk.errors import RegistryError
from finetune_sdk.gateway.bodies import RunGrader, ValidateGrader, parse, read_json
from finetune_sdk.gateway.errors import ApiError
from finetune_sdk.gateway.mapping import grader_of
from finetune_sdk.gateway.service import Service, json_response, service
from finetune_sdk.graders import Grader
from finetune_sdk.registry import names, provider_class

_SCRIPT = Path(__file__).with_name("_grade.py")
_START_S = 30.0
_ANSWER_BYTES = 1 << 20
_SOURCE_BYTES = 256 << 10
_ERRORS = (
    "formula_parse_error", "sample_parse_error", "truncated_observation_error", "unresponsive_reward_error",
    "invalid_variable_error", "other_error", "python_grader_server_error", "python_grader_runtime_error",
    "model_grader_server_error", "model_grader_refusal_error", "model_grader_parse_error",
)  # fmt: skip
_DETAILS = (
    "python_grader_server_error_type",
    "python_grader_runtime_error_details",
    "model_grader_server_error_details",
)
_REQUIRED = {
    "string_check": ("name", "input", "reference", "operation"),
    "text_similarity": ("name", "input", "reference", "evaluation_metric"),
    "python": ("name", "source"),
    "score_model": ("name", "input", "model"),
    "multi": ("name", "graders", "calculate_output"),
}
"""What the published contract asks for; our own specs may leave some of it out."""
_adapter: TypeAdapter[Any] = TypeAdapter(Annotated[Grader, Field()])


async def validate(request: Request) -> Response:
    """`POST .../validate`."""
    gateway = service(request)
    body = parse(ValidateGrader, await read_json(request, gateway.config.json_bytes))
    grader = _read(gateway, body.grader)
    told = await anyio.to_thread.run_sync(_graded, {"check": grader}, gateway.config.grader_seconds)
    if told["error"] is not None:
        raise ApiError(400, f"Invalid grader: {told['error']}", param="grader", code="invalid_grader")
    return json_response({"grader": body.grader})


async def run(request: Request) -> Response:
    """`POST .../run`."""
    gateway = service(request)
    body = parse(RunGrader, await read_json(request, gateway.config.json_bytes))
    grader = _read(gateway, body.grader)
    start = time.monotonic()
    order = {"run": grader, "sample": body.model_sample, "item": body.item}
    told = await anyio.to_thread.run_sync(_graded, order, gateway.config.grader_seconds)
    errors: dict[str, Any] = {**dict.fromkeys(_ERRORS, False), **dict.fromkeys(_DETAILS, None)}
    if told["error"] is not None:
        errors[told["flag"]] = True
        if told["flag"] == "python_grader_runtime_error":
            errors["python_grader_runtime_error_details"] = told["error"]
    metadata = {
        "name": str(body.grader.get("name") or "grader"),
        "type": str(body.grader.get("type")),
        "errors": errors,
        "execution_time": time.monotonic() - start,
        "scores": told["scores"],
        "token_usage": None,
        "sampled_model_name": None,
    }
    answer = {"reward": told["reward"], "metadata": metadata, "sub_rewards": told["scores"]}
    return json_response({**answer, "model_grader_token_usage_per_model": {}})


def _read(gateway: Service, given: dict[str, Any]) -> dict[str, Any]:
    """The grader as our spec has it. Raises for what is no grader, or may not run here."""
    _whole(given, "grader")
    try:
        grader = _adapter.validate_python(grader_of(given))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ApiError(
            400, f"Invalid grader: {place}: {first['msg']}.", param="grader", code="invalid_grader"
        ) from None
    plain: dict[str, Any] = grader.model_dump(mode="json")
    parts: list[dict[str, Any]] = [plain, *plain.get("graders", {}).values()]
    for part in parts:
        if part["type"] == "score_model":
            text = "Graders of type 'score_model' need a hosted backend."
            raise ApiError(400, text, param="grader", code="unsupported")
        if part["type"] == "python":
            _allow_python(gateway, part)
    return plain


def _whole(given: Mapping[str, object], place: str) -> None:
    """Refuse a grader that lacks a key the published contract asks for, in any of its parts."""
    missing = [name for name in _REQUIRED.get(str(given.get("type")), ()) if name not in given]
    if missing:
        text = f"Invalid {place}: it lacks {', '.join(missing)}."
        raise ApiError(400, text, param=place, code="invalid_grader")
    parts: object = given.get("graders")
    if is_mapping(parts):
        one = "type" in parts and isinstance(parts["type"], str)
        for name, part in ({"": parts} if one else parts).items():
            if is_mapping(part):
                _whole(part, f"{place}.graders.{name}".rstrip("."))


def _allow_python(gateway: Service, part: dict[str, Any]) -> None:
    if not gateway.config.python_graders:
        text = "Python graders are turned off here; the gateway's owner may set `python_graders: true`."
        raise ApiError(400, text, param="grader", code="python_graders_disabled")
    if part.get("source") is None:
        raise ApiError(400, "A python grader needs its `source`.", param="grader", code="invalid_grader")
    if len(part["source"].encode()) > _SOURCE_BYTES:
        raise ApiError(400, f"The source is larger than {_SOURCE_BYTES} bytes.", param="grader", code="invalid_grader")


def _grading() -> Path:
    """The package that knows how to grade: that of the first installed backend that has one."""
    for name in names():
        try:
            found = provider_class(name).grading
        except RegistryError:
            continue
        if found is not None:
            return found
    raise ApiError(400, "No installed backend grades on this machine.", code="unsupported")


def _graded(order: dict[str, Any], seconds: int) -> dict[str, Any]:
    """What the restricted process answers; its death is an answer too."""
    command = [sys.executable, "-I", str(_SCRIPT), str(_grading())]
    try:
        done = subprocess.run(
            command,
            input=msgspec.json.encode({**order, "seconds": seconds}),
            capture_output=True,
            timeout=seconds * 2 + _START_S,
            check=False,
            env={},
        )
    except subprocess.TimeoutExpired:
        return _broken(f"the grader took longer than {seconds} s")
    try:
        told: dict[str, Any] = msgspec.json.decode(done.stdout[:_ANSWER_BYTES])
    except msgspec.DecodeError:
        return _broken("the grader's process was ended: it used more time or memory than it may")
    reward = told.get("reward")
    told["reward"] = float(reward) if isinstance(reward, int | float) and math.isfinite(reward) else 0.0
    return told


def _broken(text: str) -> dict[str, Any]:
    return {"reward": 0.0, "scores": {}, "error": text, "flag": "python_grader_runtime_error"}
