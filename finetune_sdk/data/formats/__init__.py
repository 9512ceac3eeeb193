"""The table of formats. To add one: write a module with `FORMATS`, and name it here."""

from __future__ import annotations

import difflib

from finetune_sdk.data.formats import (
    alpaca,
    anthropic,
    bedrock,
    chat,
    dialogues,
    gemini,
    novapairs,
    pairs,
    published,
    sharegpt,
    tagged,
    templated,
    texts,
    trl,
)
from finetune_sdk.data.formats.base import Format
from finetune_sdk.errors import DataError

_MODULES = (
    chat,
    pairs,
    alpaca,
    sharegpt,
    texts,
    tagged,
    gemini,
    bedrock,
    novapairs,
    anthropic,
    templated,
    trl,
    published,
    dialogues,
)

FORMATS: tuple[Format, ...] = tuple(
    sorted(
        (entry for module in _MODULES for entry in module.FORMATS),
        key=lambda entry: -entry.rank,
    )
)
"""All formats, the most specific first."""

_BY_NAME = {name: entry for entry in FORMATS for name in (entry.name, *entry.aliases)}


def format_named(name: str) -> Format:
    """The format of that name or alias. Raises `DataError` with the nearest names."""
    found = _BY_NAME.get(name.lower().replace("_", "-"))
    if found is None:
        close = difflib.get_close_matches(name.lower(), _BY_NAME, n=1, cutoff=0.4)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise DataError(
            f"unknown data format {name!r}.{hint} Known: {', '.join(sorted(entry.name for entry in FORMATS))}."
        )
    return found


__all__ = ["FORMATS", "Format", "format_named"]
