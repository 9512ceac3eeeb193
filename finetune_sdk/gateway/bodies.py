"""Request bodies: what the published contract allows, read strictly. Keys it does not know are left alone."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

import msgspec
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, StrictFloat, StrictInt, ValidationError
from starlette.requests import Request

from finetune_sdk.gateway.errors import ApiError

T = TypeVar("T", bound="Body")


def _no_truth(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("must be a number")  # noqa: TRY004 - pydantic wants a ValueError
    return int(value) if isinstance(value, float) and value.is_integer() else value


Auto = Literal["auto"]
Whole = Annotated[StrictInt, BeforeValidator(_no_truth)]
Number = Annotated[StrictInt | StrictFloat, BeforeValidator(_no_truth)]


class Body(BaseModel):
    """Frozen; clients send keys of other services (`trainingType`), so unknown ones are no error."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class Strict(Body):
    """For the operations whose contract closes the list of keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Hyperparameters(Body):
    """Those of every method."""

    batch_size: Annotated[Whole, Field(ge=1, le=256)] | Auto = "auto"
    learning_rate_multiplier: Annotated[Number, Field(gt=0)] | Auto = "auto"
    n_epochs: Annotated[Whole, Field(ge=1, le=50)] | Auto = "auto"


class DpoHyperparameters(Hyperparameters):
    beta: Annotated[Number, Field(gt=0, le=2)] | Auto = "auto"


class ReinforcementHyperparameters(Hyperparameters):
    reasoning_effort: Literal["default", "low", "medium", "high"] = "default"
    compute_multiplier: Annotated[Number, Field(gt=1e-5, le=10)] | Auto = "auto"
    eval_interval: Annotated[Whole, Field(ge=1)] | Auto = "auto"
    eval_samples: Annotated[Whole, Field(ge=1)] | Auto = "auto"


class Supervised(Body):
    hyperparameters: Hyperparameters = Hyperparameters()


class Dpo(Body):
    hyperparameters: DpoHyperparameters = DpoHyperparameters()


class Reinforcement(Body):
    grader: dict[str, JsonValue]
    hyperparameters: ReinforcementHyperparameters = ReinforcementHyperparameters()
    response_format: dict[str, JsonValue] | None = None


class Method(Body):
    type: Literal["supervised", "dpo", "reinforcement"]
    supervised: Supervised = Supervised()
    dpo: Dpo = Dpo()
    reinforcement: Reinforcement | None = None


class Wandb(Body):
    project: str
    name: str | None = None
    entity: str | None = None
    tags: tuple[str, ...] = ()


class Integration(Body):
    type: Literal["wandb"]
    wandb: Wandb


Metadata = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]], Field(max_length=16)
]


class CreateJob(Body):
    """`POST /fine_tuning/jobs`."""

    model: Annotated[str, Field(min_length=1, max_length=512)]
    training_file: Annotated[str, Field(min_length=1)]
    validation_file: Annotated[str, Field(min_length=1)] | None = None
    suffix: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    seed: Annotated[Whole, Field(ge=0, le=2**31 - 1)] | None = None
    method: Method = Method(type="supervised")
    hyperparameters: Hyperparameters | None = None
    """The form before `method`."""
    integrations: Annotated[tuple[Integration, ...], Field(max_length=1)] | None = None
    metadata: Metadata | None = None
    trainingType: str | int | None = None  # noqa: N815 - Azure's name
    """Azure's tier, as its clients write it: a name or a number. Local backends have no tiers."""


class ExpiresAfter(Strict):
    anchor: Literal["created_at"]
    seconds: Annotated[Whole, Field(ge=3600, le=2_592_000)]


class CreateUpload(Strict):
    """`POST /uploads`."""

    filename: Annotated[str, Field(min_length=1, max_length=1024)]
    purpose: Literal["assistants", "batch", "fine-tune", "vision"]
    bytes: Annotated[Whole, Field(ge=1)]
    mime_type: str
    expires_after: ExpiresAfter | None = None


class CompleteUpload(Strict):
    """`POST /uploads/{id}/complete`."""

    part_ids: Annotated[list[str], Field(min_length=1)]
    md5: str | None = None


class ValidateGrader(Body):
    grader: dict[str, JsonValue]


class RunGrader(Body):
    grader: dict[str, JsonValue]
    item: dict[str, JsonValue] = Field(default_factory=dict)
    model_sample: str


def parse(kind: type[T], value: object) -> T:
    """The body as its class. Raises `ApiError` that names the first thing that is wrong."""
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ApiError(400, f"Invalid {place or 'request'}: {first['msg']}.", param=place or None) from None


async def raw(request: Request, most: int) -> bytes:
    """The body's bytes; one above `most` is refused as soon as that shows."""
    declared = request.headers.get("content-length", "")
    parts, size = list[bytes](), 0
    if declared.isdigit() and int(declared) > most:
        raise _too_large(most)
    async for part in request.stream():
        parts.append(part)
        size += len(part)
        if size > most:
            raise _too_large(most)
    return b"".join(parts)


async def read_json(request: Request, most: int) -> Any:
    """The body as JSON."""
    body = await raw(request, most)
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise ApiError(415, f"Expected application/json, not {kind!r}.", code="unsupported_media_type")
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ApiError(400, f"The body is not JSON: {error}.", code="invalid_json") from None


def _too_large(most: int) -> ApiError:
    return ApiError(413, f"The request is larger than {most} bytes.", code="request_too_large")


def whole(request: Request, name: str, default: int, most: int) -> int:
    """A number in the query, from 1 to `most`."""
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= most):
        raise ApiError(400, f"Invalid {name}: a whole number from 1 to {most} is expected.", param=name)
    return int(text)
