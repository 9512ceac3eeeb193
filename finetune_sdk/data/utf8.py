"""Whether bytes are UTF-8, as fast as this machine can tell."""

from __future__ import annotations

import importlib
import struct
from collections.abc import Callable
from functools import cache
from typing import Any


def is_utf8(data: bytes) -> bool:
    """Whether the bytes are valid UTF-8."""
    return data.isascii() or _check()(data)


@cache
def _check() -> Callable[[bytes], bool]:
    """pyarrow's check where it is installed: it looks without decoding, about five times faster."""
    try:
        arrow: Any = importlib.import_module("pyarrow")
    except ImportError:
        return _decodes

    def valid(data: bytes) -> bool:
        if len(data) >= 1 << 31:
            return _decodes(data)
        offsets = arrow.py_buffer(struct.pack("=ii", 0, len(data)))
        try:
            arrow.StringArray.from_buffers(1, offsets, arrow.py_buffer(data)).validate(full=True)
        except arrow.ArrowInvalid:
            return False
        return True

    return valid


def _decodes(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
