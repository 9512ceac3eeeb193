"""The fuzzer's corpus, read without the fuzzer: seeds, and inputs that once broke a reader."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

FUZZ = Path(__file__).parents[2] / "fuzz"
CORPUS = sorted((FUZZ / "corpus").iterdir())


def _readers() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fuzz_readers", FUZZ / "readers.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


READERS = _readers()


@pytest.mark.parametrize("path", CORPUS, ids=[path.name for path in CORPUS])
def test_reading_ends_with_rows_or_with_our_own_error(path: Path) -> None:
    READERS.read(path.read_bytes())
