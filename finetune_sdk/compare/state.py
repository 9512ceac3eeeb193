"""A comparison's folder: what was asked for, the split, each candidate's state and answers. Everything to go on from.

<home>/comparisons/<name>/
    bench.json            the bench this folder belongs to
    split/                see `split`
    candidates/<name>/    state.json, answers.jsonl (appended, a torn last line is not read)
    report.html, .md, .json
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import msgspec

from finetune_sdk.compare.bench import Bench
from finetune_sdk.compare.items import Answer
from finetune_sdk.errors import SpecError, WrongStatus

_HARMLESS = re.compile(r"(limits|requests_per_month|tracking|((candidates\[\d+\]|judge)\.)?prices)(\.|$)")
"""Keys of a bench that change nothing that was measured."""
_READING = re.compile(r"(metrics|reference)(\[|\.|$)")
"""Keys that change how answers are read, not what was asked."""

Stage = Literal["waiting", "training", "serving", "asking", "done", "failed", "over budget"]


class Standing(msgspec.Struct, kw_only=True):
    """How far a candidate has come."""

    stage: Stage = "waiting"
    job_id: str | None = None
    error: str | None = None
    train_cost_usd: float | None = None
    """What the plan said; None = unknown."""
    train_s: float | None = None
    ready_s: float | None = None
    """From the start of its deployment until it answered."""
    asking_s: float | None = None
    asking_j: float | None = None
    """Joules of this machine's processors meanwhile; None = not measured."""
    peak_memory_bytes: int | None = None
    """Of training."""
    serving_memory_bytes: int | None = None
    base_url: str | None = None
    model: str | None = None
    notes: list[str] = []


class Folder:
    """The files of one comparison. Several processes may read; `claimed` keeps a second writer out."""

    def __init__(self, home: Path, name: str) -> None:
        self.path = home / "comparisons" / name

    @property
    def split(self) -> Path:
        return self.path / "split"

    def candidate(self, name: str) -> Path:
        return self.path / "candidates" / name

    def names(self) -> list[str]:
        """Everybody who has begun: candidates, pilots."""
        return sorted(path.parent.name for path in (self.path / "candidates").glob("*/state.json"))

    @contextmanager
    def claimed(self) -> Generator[None]:
        """Keep other processes from running the same comparison. Raises `WrongStatus` while one does."""
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / "lock").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise WrongStatus(
                    f"the comparison in {self.path} is at work in another process; wait for it, or end it first "
                    "(`finetune compare BENCH --report` shows how far it is)"
                ) from None
            yield

    def open(self, bench: Bench) -> None:
        """Make the folder, or find it; one that was only planned begins anew with another bench.

        Raises `SpecError` when it belongs to another bench, with the difference.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        record = self.path / "bench.json"
        wanted = bench.model_dump(mode="json")
        if not record.exists() or not (self.split / "split.json").exists():  # nothing rests on it yet
            _replace(record, json.dumps(wanted, indent=1, ensure_ascii=False).encode())
            return
        changes = self._changes(bench)
        real = [text for key, text in changes if not _HARMLESS.match(key)]
        if real and not self._begun():
            (self.split / "split.json").unlink()  # first: without it nothing else of a split counts
            shutil.rmtree(self.split)
        elif real:
            raise self._other(bench, real)
        if changes:
            _replace(record, json.dumps(wanted, indent=1, ensure_ascii=False).encode())

    def check(self, bench: Bench) -> None:
        """Raise `SpecError` when the answers here were given to another bench; other metrics can read them, too."""
        real = [text for key, text in self._changes(bench) if not _HARMLESS.match(key) and not _READING.match(key)]
        if real and self._begun():
            raise self._other(bench, real)

    def _changes(self, bench: Bench) -> list[tuple[str, str]]:
        """What differs from the bench that this folder belongs to: (key, "key: old -> new")."""
        old = json.loads((self.path / "bench.json").read_text(encoding="utf-8"))
        return list(_differences(old, bench.model_dump(mode="json")))

    def _other(self, bench: Bench, changes: Sequence[str]) -> SpecError:
        shown = "\n  ".join(changes[:12]) + (f"\n  and {len(changes) - 12} more" if len(changes) > 12 else "")
        return SpecError(
            f"the comparison {bench.name!r} in {self.path} was begun with another bench:\n  {shown}\n"
            "Go back to that one, or start a new comparison: `--fork NAME` keeps the old one as it is."
        )

    def _begun(self) -> bool:
        """Whether anything was trained, asked or set aside; a plan does nothing of the kind."""
        return any((self.path / name).exists() for name in ("candidates", "searches", "spent.json"))

    def standing(self, name: str) -> Standing:
        try:
            return msgspec.json.decode((self.candidate(name) / "state.json").read_bytes(), type=Standing)
        except FileNotFoundError:
            return Standing()

    def save(self, name: str, standing: Standing) -> None:
        folder = self.candidate(name)
        folder.mkdir(parents=True, exist_ok=True)
        _replace(folder / "state.json", msgspec.json.format(msgspec.json.encode(standing), indent=1))

    def answers(self, name: str) -> dict[str, Answer]:
        """By item; of an item asked again, the last answer."""
        return answers_in(self.candidate(name) / "answers.jsonl")

    def journal(self, name: str) -> Journal:
        folder = self.candidate(name)
        folder.mkdir(parents=True, exist_ok=True)
        return Journal(folder / "answers.jsonl")


def answers_in(path: Path) -> dict[str, Answer]:
    """The answers of a journal by item; of an item asked again, the last one. Empty without the file."""
    found: dict[str, Answer] = {}
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return found
    decoder = msgspec.json.Decoder(Answer)
    for line in lines:
        try:
            answer = decoder.decode(line)
        except msgspec.DecodeError:
            continue  # torn by a kill: the item is asked again
        found[answer.item] = answer
    return found


class Journal:
    """Answers appended one by one, each a line of its own even after a torn one."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab")
        self._encoder = msgspec.json.Encoder()
        if self._file.tell() and not _ends_whole(path):
            self._file.write(b"\n")

    def add(self, answer: Answer) -> None:
        self._file.write(self._encoder.encode(answer) + b"\n")
        self._file.flush()

    def close(self) -> None:
        os.fsync(self._file.fileno())
        self._file.close()


def _ends_whole(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def _replace(path: Path, content: bytes) -> None:
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def _differences(old: Any, new: Any, at: str = "") -> Iterator[tuple[str, str]]:
    """(key, "key: old -> new") for everything that differs."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys([*old, *new]):  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
            yield from _differences(old.get(key), new.get(key), f"{at}.{key}" if at else str(key))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):  # pyright: ignore[reportUnknownArgumentType]
        for index, (one, two) in enumerate(zip(old, new, strict=True)):  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
            yield from _differences(one, two, f"{at}[{index}]")
    elif old != new:
        yield at, f"{at}: {_short(old)} -> {_short(new)}"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."
