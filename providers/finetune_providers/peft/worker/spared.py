# pyright: basic
"""Packages that transformers and peft load wherever they find them, and that most jobs never use."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

UNUSED = ("datasets", "scipy", "sklearn")
"""Rows are read and scored without them."""
_OF_TORCH = ("adamw_torch", "adamw_torch_fused", "sgd")
"""Optimizers that need no bitsandbytes."""


@contextmanager
def imports(request: dict[str, Any]) -> Iterator[None]:
    """While it lasts they count as not installed, and transformers and peft remember that.

    Does nothing in a process that has transformers already, which may have been told otherwise.
    """
    if "transformers" in sys.modules:
        yield
        return
    with without(*(UNUSED if _may_quantise(request) else (*UNUSED, "bitsandbytes"))) as hidden:
        yield
        if "bitsandbytes" in hidden and "peft" in sys.modules:
            _remember()


@contextmanager
def without(*names: str) -> Iterator[list[str]]:
    """While it lasts they count as not installed, except those that are loaded already; yields the others."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None: Python's own way of saying so
    try:
        yield hidden
    finally:
        for name in hidden:
            del sys.modules[name]  # a tracker, or the code of a model, may want it later


def _remember() -> None:
    """Let peft ask now what it would ask when it attaches an adapter, which is after the packages are back."""
    asked: Any = importlib.import_module("peft.import_utils")
    asked.is_bnb_available()  # it keeps its first answer
    asked.is_bnb_4bit_available()


def _may_quantise(request: dict[str, Any]) -> bool:
    """False only where that is certain: also a model may have been saved in four bits."""
    if request["adapter"].get("quantize", "none") != "none" or request["training"]["optimizer"] not in _OF_TORCH:
        return True
    if request["model"].startswith("builtin/"):
        return False
    try:
        config = json.loads((Path(request["model"]) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # on the Hub, an adapter, or nothing: that is for later to say
        return True
    return not isinstance(config, dict) or "quantization_config" in config
