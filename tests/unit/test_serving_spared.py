"""Packages that a server does not load, though libraries would load them wherever they find them."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
from finetune_providers.serving.worker.hf import spared


def test_what_is_spared_is_not_there_and_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nobody_has_loaded_this.py").write_text("here = True\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with spared.without("nobody_has_loaded_this"), pytest.raises(ModuleNotFoundError, match="nobody_has_loaded_this"):
        importlib.import_module("nobody_has_loaded_this")
    assert importlib.import_module("nobody_has_loaded_this").here
    monkeypatch.delitem(sys.modules, "nobody_has_loaded_this")


def test_what_is_loaded_already_stays() -> None:
    with spared.without("sys"):
        assert importlib.import_module("sys") is sys
    assert sys.modules["sys"] is sys
