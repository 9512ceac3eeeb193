"""Asking a server many questions: a few at a time, patiently, each answer on the disk as soon as it is there.

A server that throttles is left in peace by all who ask. What was answered is not asked again, by nobody: it was paid.
"""

from __future__ import annotations

import json
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finetune_sdk.errors import ProviderError, Throttled, Unreachable

from .questions import Question

log = logging.getLogger(__name__)

AT_ONCE = 8
"""Requests under way at the same time."""
TRIES = 8
_LONGEST_WAIT_S = 60.0

Ask = Callable[[str, Question], "str | None"]
"""One request: the answer of a model; None = the service refuses to answer this one."""
Key = tuple[int, str]
"""Number of the question, and who is asked: "base" or "tuned"."""


class Answers:
    """The answers so far, in a file that survives a kill; a torn last line is left out."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.known: dict[Key, str | None] = dict(_read(path))
        self._lock = threading.Lock()

    def add(self, key: Key, answer: str | None) -> None:
        """Keep an answer. From any thread."""
        with self._lock, self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"row": key[0], "who": key[1], "answer": answer}, ensure_ascii=False) + "\n")
            self.known[key] = answer


def _read(path: Path) -> Iterator[tuple[Key, str | None]]:
    if not path.exists():
        return
    with path.open("rb") as lines:
        for line in lines:
            try:
                found: Mapping[str, Any] = json.loads(line)
                yield (int(found["row"]), str(found["who"])), found["answer"]
            except (ValueError, KeyError, TypeError):  # torn by a kill: that question is asked again
                continue


@dataclass(slots=True)
class Gate:
    """Shut for everybody while the server wants to be left alone."""

    open_at: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def wait(self) -> None:
        """Block until it is open."""
        while (left_s := self.open_at - time.monotonic()) > 0:
            time.sleep(left_s)

    def shut(self, seconds: float) -> None:
        """Shut it for so long, unless it is shut for longer."""
        with self.lock:
            self.open_at = max(self.open_at, time.monotonic() + min(seconds, _LONGEST_WAIT_S))


def ask_all(
    questions: Sequence[Question], models: Mapping[str, str], ask: Ask, answers: Answers, *, first_wait_s: float = 1.0
) -> None:
    """Ask every model (by who it is) every question that has no answer yet. Raises what waiting does not mend."""
    left = [(number, who) for who in models for number in range(len(questions)) if (number, who) not in answers.known]
    log.info("evaluation: %d questions to %d model(s), %d answered before", len(questions), len(models),
             len(answers.known))  # fmt: skip
    gate, stop = Gate(), threading.Event()

    def one(key: Key) -> None:
        if stop.is_set():
            return
        try:
            answers.add(key, _patiently(lambda: ask(models[key[1]], questions[key[0]]), gate, first_wait_s))
        except BaseException:
            stop.set()  # what the others are asking is paid already, the rest is not begun
            raise

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for done in [pool.submit(one, key) for key in left]:
            done.result()


def _patiently(ask: Callable[[], str | None], gate: Gate, first_wait_s: float) -> str | None:
    wait_s = first_wait_s
    for left in range(TRIES - 1, -1, -1):
        gate.wait()
        try:
            return ask()
        except (Throttled, Unreachable) as exc:
            if not left:
                raise
            asked_s = exc.retry_after_s if isinstance(exc, Throttled) else None
            pause_s = wait_s * random.uniform(0.8, 1.2) if asked_s is None else asked_s  # noqa: S311 - no secret
            if isinstance(exc, Throttled):
                gate.shut(pause_s)
            else:
                time.sleep(pause_s)
            wait_s = min(wait_s * 2, _LONGEST_WAIT_S)
    raise ProviderError("asked without a try")
