"""The data shipped with the examples are what their scripts write."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
SHIPPED = {"02_preferences": "replies.jsonl", "03_classification": "tickets.csv", "04_rewards": "songs.jsonl"}


@pytest.mark.parametrize("example", SHIPPED)
def test_the_shipped_data_are_what_the_script_writes(
    example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["make_data.py", "--out", str(tmp_path / "made")])
    runpy.run_path(str(EXAMPLES / example / "make_data.py"), run_name="__main__")

    assert (tmp_path / "made").read_bytes() == (EXAMPLES / example / SHIPPED[example]).read_bytes()
