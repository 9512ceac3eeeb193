"""Libraries that are slow to import, for test files to name at their top: every process collects every file."""

from __future__ import annotations

import importlib
from typing import Any


class Later:
    """A module that is imported when something of it is first asked for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "_mock_name":  # pytest asks everything in a file what it is
            raise AttributeError(name)
        return getattr(importlib.import_module(self._name), name)
