"""`options.peft` of a job description: what only this provider understands."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import TypeVar

from pydantic import Field, JsonValue, ValidationError

from finetune_sdk.errors import SpecError
from finetune_sdk.spec import Model


class PeftOptions(Model):
    """Settings of the peft provider beyond the common ones."""

    trust_remote_code: bool = False
    """Run Python code that lies beside the model's weights. Read that code first."""
    revision: str | None = None
    """Branch, tag or commit of a model on the hub; None = its main branch."""
    local_files_only: bool = False
    """Never ask the hub: use what lies here or in its cache."""
    attn_implementation: str = "auto"
    """Attention kernel as transformers names it (`sdpa`, `eager`, `flash_attention_2`); "auto" = its own choice."""
    chat_template: str | None = None
    """A Jinja chat template, or the path of a file with one, instead of the tokenizer's."""
    merge: bool = True
    """Also write the merged model beside the adapter."""
    keep_checkpoints: int = Field(default=2, ge=1)
    """How many checkpoints stay on disk; the best one stays besides."""


Options = TypeVar("Options", bound=Model)


def parse(given: Mapping[str, JsonValue]) -> PeftOptions:
    """The validated options. Raises `SpecError` that names the key, with the nearest valid name for an unknown one."""
    return parse_as(PeftOptions, given, provider="peft")


def parse_as(kind: type[Options], given: Mapping[str, JsonValue], *, provider: str) -> Options:
    """The same for the options of another provider."""
    try:
        return kind.model_validate(dict(given))
    except ValidationError as exc:
        known = sorted(kind.model_fields)
        told = (_sentence(error["loc"], error["type"], error["msg"], provider, known) for error in exc.errors())
        raise SpecError("\n".join(told)) from None


def _sentence(place: tuple[int | str, ...], kind: str, message: str, provider: str, known: Sequence[str]) -> str:
    name = ".".join(str(part) for part in place)
    if kind != "extra_forbidden":
        return f"options.{provider}.{name}: {message}"
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    return f"options.{provider} has no {name!r}. {hint}It has: {', '.join(known)}."
