"""The table of a running comparison: in a real terminal, at widths people have, and without one."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import struct
import sys
import termios
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from toy_chat import Chat, chat

from finetune_sdk.cli._comparing import Live
from finetune_sdk.compare import Comparison
from finetune_sdk.compare.state import Standing

LONG = "a-candidate-with-a-name-that-no-column-of-a-table-was-made-for"
CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def described(folder: Path, server: str, *names: str) -> Path:
    rows = [
        {"prompt": f"{index} {chr(97 + index % 26) * 9} {index * 7919 % 997}", "completion": "joy"}
        for index in range(60)
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    bench = {
        "name": "tones", "data": {"train": "rows.jsonl", "test": 0.4, "near": None},
        "metrics": ["accuracy", "exact_match", "contains", "token_f1"], "limits": {"attempts": 1},
        "candidates": [{"name": name, "at": {"base_url": server, "model": name}} for name in names],
    }  # fmt: skip
    (folder / "bench.json").write_text(json.dumps(bench))
    return folder / "bench.json"


@pytest.mark.parametrize("width", [60, 80, 120])
def test_every_candidate_is_one_line_with_its_stage_and_no_line_is_too_long(tmp_path: Path, width: int) -> None:
    live = Live(Comparison(described(tmp_path, "http://x/v1", LONG, "plain"), home=tmp_path / "home"))
    tell = live._told  # pyright: ignore[reportPrivateUsage]
    tell(LONG, Standing(stage="asking"), 1_234, 10_000)
    tell("plain", Standing(stage="failed", error="nobody answers\nat all, " * 20), 0, 0)
    tell("plain.t00.0.2", Standing(stage="training"), 0, 0)
    tell("plain.t01.0.2", Standing(stage="done"), 0, 0)
    console = Console(width=width, record=True, file=StringIO())
    console.print(live._table())  # pyright: ignore[reportPrivateUsage]
    lines = console.export_text().rstrip().splitlines()
    assert max(map(len, lines)) <= width
    assert [re.findall(r"asking|failed|training|done", line) for line in lines[1:-1]] == [
        ["asking"],
        ["failed"],
        ["training"],
    ]
    assert "1234/10000" in lines[1]


def seen(command: list[str], width: int, terminal: str) -> str:
    """What a terminal of this width is sent until the command ends."""
    pid, screen = pty.fork()
    if pid == 0:
        os.environ.update(TERM=terminal)
        for name in ("COLUMNS", "LINES", "NO_COLOR"):
            os.environ.pop(name, None)
        os.execv(command[0], command)
    fcntl.ioctl(screen, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    text = b""
    while select.select([screen], [], [], 120)[0]:
        try:
            part = os.read(screen, 65536)
        except OSError:  # its other end is closed
            break
        text += part
    os.waitpid(pid, 0)
    return text.decode()


@pytest.mark.parametrize(("width", "terminal"), [(80, "xterm-256color"), (80, "dumb")])
def test_a_real_terminal_shows_a_table_that_ends_and_a_dumb_one_gets_lines(
    tmp_path: Path, width: int, terminal: str
) -> None:
    with chat(lambda body: "joy" if Chat.question(body) > "3" else "fear") as server:
        bench = described(tmp_path, server.base_url, LONG, "plain")
        finetune = str(Path(sys.executable).with_name("finetune"))
        text = seen([finetune, "compare", str(bench), "--home", str(tmp_path / "home"), "--yes"], width, terminal)
    plain = CODES.sub("", re.sub(r"\x1b\[[0-9]*[AG]", "\n", text)).replace("\r", "\n")
    assert max(map(len, plain.splitlines())) <= max(width, len(str(tmp_path)) + 60)  # the report's path is never broken
    assert "score the same on every item" in " ".join(plain.split())
    assert ("\x1b[" in text and "so far" in plain) == (terminal != "dumb")
    assert ("plain: done" in plain) == (terminal == "dumb")
