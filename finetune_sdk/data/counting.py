"""How often a byte stands in others, as fast as this machine can tell."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cache
from typing import Any


def colons_in(data: bytes) -> int:
    """How many colons the bytes hold."""
    return _count()(data)


@cache
def _count() -> Callable[[bytes], int]:
    """By numpy where it is installed: it compares many bytes at a time."""
    try:
        numpy: Any = importlib.import_module("numpy")
    except ImportError:
        return _one_by_one
    view, same, uint8 = numpy.frombuffer, numpy.count_nonzero, numpy.uint8

    def count(data: bytes) -> int:
        return int(same(view(data, uint8) == 58))

    return count


def _one_by_one(data: bytes) -> int:
    return data.count(b":")
