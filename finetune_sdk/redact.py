"""Secrets never reach a log, a repr, the store, an event or an error: `redact` is the one place that takes them out."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import JsonValue  # the command line redacts its errors, and must not wait for pydantic

_SECRET_NAME = re.compile(
    r"(?:^|_)(?:API_?KEYS?|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?|ACCESS_KEY|PRIVATE_KEY)(?:_|$|\d)", re.IGNORECASE
)
_SECRET_SHAPE = re.compile(
    r"\b(?:sk-[A-Za-z0-9_-]{16,}|hf_[A-Za-z0-9]{16,}|gh[pousr]_[A-Za-z0-9]{20,}|AKIA[0-9A-Z]{16}"
    r"|xox[abpr]-[A-Za-z0-9-]{10,}|AIza[0-9A-Za-z_-]{30,}|eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,})"
    r"|(?<=Bearer )[A-Za-z0-9._~+/-]{8,}=*"
)
SHORTEST = 8
"""Characters: a shorter value would redact ordinary words."""
_named: set[str] = set()


def remember(name: str) -> None:
    """Take the value of this environment variable for a secret from now on: somebody says that it holds a key."""
    _named.add(name)


def secret_name(name: str) -> bool:
    """True when an environment variable or key of this name holds a secret, judging by its words."""
    return bool(_SECRET_NAME.search(name))


def secret_shape(text: str) -> bool:
    """True when the text holds something shaped like a key or token of a well-known vendor."""
    return bool(_SECRET_SHAPE.search(text))


def redact(text: str) -> str:
    """The text with `***` for every secret: values of variables that are named as, or look like, keys; known shapes."""
    values = (
        value for name, value in os.environ.items() if len(value) >= SHORTEST and (name in _named or secret_name(name))
    )
    for value in sorted(values, key=len, reverse=True):
        text = text.replace(value, "***")
    return _SECRET_SHAPE.sub("***", text)


def redact_tree(value: JsonValue) -> JsonValue:
    """The same JSON value with every string in it redacted, keys included."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, list):
        return [redact_tree(item) for item in value]
    if isinstance(value, dict):
        return {redact(key): redact_tree(item) for key, item in value.items()}
    return value
