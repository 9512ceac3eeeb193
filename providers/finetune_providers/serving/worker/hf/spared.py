"""Packages that transformers and peft load wherever they find them, and that serving never uses."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager

UNUSED = ("datasets", "scipy", "sklearn")
"""Nothing is trained or scored here."""


@contextmanager
def without(*names: str) -> Generator[None]:
    """While it lasts they count as not installed, except those that are loaded already; libraries remember that."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None: Python's own way of saying so
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]  # the code of a model may want it
