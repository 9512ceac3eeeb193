"""The settings only this provider has: `options: {openai: {...}}` of a job description."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from finetune_sdk.errors import SpecError


class Options(BaseModel):
    """Frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Wandb(Options):
    """The Weights & Biases project the vendor reports to; its key is set in the vendor's settings, never here."""

    project: str
    name: str | None = None
    entity: str | None = None
    tags: tuple[str, ...] = ()


class JobOptions(Options):
    """What every server that speaks the format takes."""

    wandb: Wandb | None = None
    response_format: Mapping[str, JsonValue] | None = None
    """Reinforcement: the JSON schema that sampled answers must follow."""
    price_per_million_tokens: Annotated[float, Field(ge=0)] | None = None
    """Dollars per million trained tokens, if you know better than the table."""
    file_wait_s: Annotated[float, Field(ge=0)] = 600.0
    """How long to wait until an uploaded file can be used."""
    timeout_s: Annotated[float, Field(gt=0)] = 120.0
    """How long one request may stay without an answer."""
    reconcile_wait_s: Annotated[float, Field(ge=0)] = 60.0
    """After a doubtful answer: seconds before the job list is read again, twice, before anything is sent again."""


class OpenAIOptions(JobOptions):
    """`options.openai`."""

    base_url: str | None = None
    """Another server that speaks OpenAI's fine-tuning API; None = OPENAI_BASE_URL, else OpenAI itself."""
    server: str | None = None
    """Row of the table of quirks; None = "openai" for OpenAI itself, "compatible" for any other address."""
    api_key_env: str = "OPENAI_API_KEY"
    """Name of the environment variable that holds the key."""
    organization: str | None = None
    project: str | None = None


_T = TypeVar("_T", bound=Options)


def read_options(kind: type[_T], values: Mapping[str, JsonValue], provider: str) -> _T:
    """The validated settings. Raises `SpecError` that names every wrong key with the nearest right one."""
    try:
        return kind.model_validate(values)
    except ValidationError as exc:
        faults = "; ".join(_fault(kind, error) for error in exc.errors())
        raise SpecError(f"[{provider}] options.{provider}: {faults}") from exc


def _fault(kind: type[Options], error: Any) -> str:
    place = ".".join(str(part) for part in error["loc"])
    if error["type"] != "extra_forbidden":
        return f"`{place}`: {error['msg']}"
    known = _fields(kind, error["loc"][:-1])
    near = difflib.get_close_matches(str(error["loc"][-1]), known, n=1)
    return f"unknown key `{place}`" + (
        f"; did you mean `{near[0]}`?" if near else f"; it has: {', '.join(sorted(known))}"
    )


def _fields(kind: type[BaseModel], path: tuple[Any, ...]) -> list[str]:
    for name in path:
        annotation = kind.model_fields[name].annotation
        inner = [one for one in getattr(annotation, "__args__", (annotation,)) if isinstance(one, type)]
        kind = next((one for one in inner if issubclass(one, BaseModel)), kind)
    return list(kind.model_fields)
