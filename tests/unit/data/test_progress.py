"""Whoever watches hears how far reading has got, and that it ended."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from finetune_sdk.data import Dataset
from finetune_sdk.data.progress import Reading, watched

PATIENCE_S = 240.0
ROW = '{"prompt": "question %d", "completion": "answer"}\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "train.jsonl"
    path.write_text("".join(ROW % number for number in range(100)))
    return path


def test_a_watcher_hears_the_file_its_bytes_and_its_end(file: Path) -> None:
    heard: list[Reading | None] = []
    size = file.stat().st_size
    give_up_s = time.monotonic() + PATIENCE_S
    with watched(heard.append, every_s=0.001):
        for _ in Dataset.open(file):
            while Reading(str(file), size, size) not in heard and time.monotonic() < give_up_s:
                time.sleep(0.001)
    assert Reading(str(file), size, size) in heard
    assert heard[-1] is None


def test_a_watcher_hears_nothing_after_its_block(file: Path) -> None:
    heard: list[Reading | None] = []
    with watched(heard.append):
        pass
    list(Dataset.open(file))
    assert heard == []


def _stats(path: Path, screen: int) -> str:
    """What `finetune data stats` answers, its talk going to `screen`."""
    command = [Path(sys.executable).with_name("finetune"), "data", "stats", path]
    environment = {**os.environ, "TERM": "xterm"}
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=screen, check=True, env=environment, timeout=PATIENCE_S
    )
    return done.stdout.decode()


def _long_file(folder: Path) -> Path:
    path = folder / "train.jsonl"
    path.write_text("".join(ROW % number for number in range(40_000)))
    return path


def test_a_bar_is_drawn_in_a_terminal_and_not_in_the_answer(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    drawn = bytearray()

    def drain() -> None:
        with suppress(OSError):  # a terminal whose other end is closed
            while data := os.read(ours, 4096):
                drawn.extend(data)

    reader = threading.Thread(target=drain)
    reader.start()
    answer = _stats(_long_file(tmp_path), theirs)
    os.close(theirs)
    reader.join(PATIENCE_S)
    os.close(ours)
    assert (b"train.jsonl" in drawn, "40,000" in answer, "\x1b" in answer) == (True, True, False)


def test_no_bar_is_drawn_into_a_file(tmp_path: Path) -> None:
    with (tmp_path / "talk").open("wb") as talk:
        _stats(_long_file(tmp_path), talk.fileno())
    assert (tmp_path / "talk").read_bytes() == b""
