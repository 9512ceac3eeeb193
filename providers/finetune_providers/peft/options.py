"""`options.peft` of a job description: what only this provider understands."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

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


def parse(given: Mapping[str, JsonValue]) -> PeftOptions:
    """The validated options. Raises `SpecError` that names the key, with the nearest valid name for an unknown one."""
    try:
        return PeftOptions.model_validate(dict(given))
    except ValidationError as exc:
        raise SpecError(
            "\n".join(_sentence(error["loc"], error["type"], error["msg"]) for error in exc.errors())
        ) from None


def _sentence(place: tuple[int | str, ...], kind: str, message: str) -> str:
    name = ".".join(str(part) for part in place)
    if kind != "extra_forbidden":
        return f"options.peft.{name}: {message}"
    known = sorted(PeftOptions.model_fields)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    return f"options.peft has no {name!r}. {hint}It has: {', '.join(known)}."
