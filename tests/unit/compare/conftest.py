"""Rows and servers of the little task that most comparisons here are about."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tones import Serve, tone, words
from toy_chat import chat


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    texts = [words(index) for index in range(90)]
    path.write_text("".join(json.dumps({"prompt": text, "completion": tone(text)}) + "\n" for text in texts))
    return path


@pytest.fixture
def serve() -> Generator[Serve]:
    with ExitStack() as stack:
        yield lambda answer: stack.enter_context(chat(answer))
