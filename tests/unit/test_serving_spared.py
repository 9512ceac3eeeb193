"""Packages that a server does not load, though libraries would load them wherever they find them."""

from __future__ import annotations

import importlib
import sys

import pytest
from finetune_providers.serving.worker.hf import spared


def test_what_is_spared_is_not_there_and_comes_back() -> None:
    assert "sndhdr" not in sys.modules, "this test needs a module that nobody has loaded"
    with spared.without("sndhdr"), pytest.raises(ModuleNotFoundError, match="sndhdr"):
        importlib.import_module("sndhdr")
    assert "sndhdr" not in sys.modules


def test_what_is_loaded_already_stays() -> None:
    with spared.without("sys"):
        assert importlib.import_module("sys") is sys
    assert sys.modules["sys"] is sys
