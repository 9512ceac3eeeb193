"""How commands speak: `data` to stdout, `say` to stderr, `hint` with the user's own arguments."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from finetune_sdk.cli._app import current


def data(value: Any, text: Callable[[], str]) -> None:
    """The command's answer: `value` as JSON, or `text()` for people."""
    click.echo(json_text(value) if current().json else text())


def json_text(value: Any, *, indent: int | None = 2) -> str:
    """Any of our records as JSON."""
    import msgspec  # noqa: PLC0415 - not for `--help`

    return json.dumps(msgspec.to_builtins(value), indent=indent, ensure_ascii=False)


def say(text: str = "") -> None:
    """Talk: what happens, what to do next."""
    click.echo(text, err=True)


def hint(*args: str) -> str:
    """A command to run next, with the `--home` this one was given."""
    home = current().home
    return shlex.join(["finetune", *args, *(["--home", home] if home is not None else [])])


def speaks_json() -> bool:
    """True when the reader of stdout is a program."""
    return current().json


def interactive() -> bool:
    """True when a person sits in front: both what we say and what they type go through a terminal."""
    return sys.stdin.isatty() and sys.stderr.isatty() and not current().json


def visible(text: str) -> str:
    """Text of somebody else's for a terminal: marks that steer it, or that nobody sees, stand there as escapes."""
    return _STEERING.sub(lambda mark: f"\\u{ord(mark[0]):04x}", text)


_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]")


def columns(rows: Sequence[Sequence[str]], *, header: Sequence[str] = ()) -> str:
    """Rows aligned in columns; styled cells keep their width."""
    table = [*([[click.style(cell, dim=True) for cell in header]] if header else []), *rows]
    if not table:
        return ""
    widths = [max(len(click.unstyle(row[i])) for row in table) for i in range(len(table[0]))]
    return "\n".join("  ".join(map(_padded, row, widths)).rstrip() for row in table)


def _padded(cell: str, width: int) -> str:
    return cell + " " * (width - len(click.unstyle(cell)))


def wrapped(text: str, *, indent: str = "  ", first: str | None = None) -> str:
    """Text in lines that fit the terminal (or 100 columns), each indented; `first` starts the first one."""
    width = terminal_width()
    lines = [indent if first is None else first]
    for word in _WORD.findall(text):
        size = len(click.unstyle(lines[-1])) + 1 + len(click.unstyle(word))
        if lines[-1].strip() and size > width:
            lines.append(indent)
        lines[-1] += f" {word}" if lines[-1].strip() and not lines[-1].endswith(" ") else word
    return "\n".join(lines)


_WORD = re.compile(r"(?:[^\s`]|`[^`\n]*`|`)+")
"""A word; a command in backticks is one, to be copied whole."""


def terminal_width() -> int:
    """Columns of the terminal, 100 where there is none."""
    return max(40, shutil.get_terminal_size((100, 24)).columns)


def short_path(path: str | Path) -> str:
    """A path as a person would type it from here."""
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except ValueError:
        return str(path)
