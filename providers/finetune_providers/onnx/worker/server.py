"""A process that has loaded torch, transformers and peft once, and forks a child for every task that needs them.

Loading takes seconds, and a job has several such tasks. Not used where a GPU is seen: a CUDA context survives no fork.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from .context import Stopped

CHILD = Path(__file__).with_name("child.py")
_LOOK_S = 0.2
_DEVICES = Path("/dev/nvidiactl")


class Forked:
    """A child of the server, as far as `subprocess.Popen` is used of it here."""

    def __init__(self, pid: int, answers: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._answers = answers

    def poll(self) -> int | None:
        """Its exit code once it has ended (negative: the signal), None before."""
        if self.returncode is None and select.select([self._answers], [], [], 0)[0]:
            told = _line(self._answers)
            self.returncode = int(told["code"]) if told is not None else -9  # the server itself was killed
        return self.returncode

    def kill(self) -> None:
        """SIGKILL."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, 9)


class Server:
    """Started at the first task; ends with this process."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._orders = self._answers = self._events = -1

    @staticmethod
    def possible() -> bool:
        """Whether forking is safe here."""
        return not _DEVICES.exists()

    @contextmanager
    def task(
        self, orders: Path, answer: Path, folder: Path, stop: Callable[[], object]
    ) -> Generator[tuple[Forked, int]]:
        """The forked child, and the end of the pipe that its events come from. Gives up loading when `stop` says so."""
        if self._process is None or self._process.poll() is not None:
            self._start(folder)
        os.write(self._orders, (json.dumps({"orders": str(orders), "answer": str(answer)}) + "\n").encode())
        while not select.select([self._answers], [], [], _LOOK_S)[0]:
            if (wish := stop()) is not None:
                self._kill()
                raise Stopped(str(wish))
        told = _line(self._answers)
        if told is None:
            raise OSError("the process that loads the libraries ended; see worker.log")
        yield Forked(int(told["pid"]), self._answers), self._events

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _start(self, folder: Path) -> None:
        orders, self._orders = os.pipe()
        self._answers, answers = os.pipe()
        self._events, events = os.pipe()
        ends = (orders, answers, events)
        command = [sys.executable, "-I", str(CHILD), "--serve", *map(str, ends)]
        self._process = subprocess.Popen(command, pass_fds=ends, stdin=subprocess.DEVNULL, cwd=folder)
        for end in ends:
            os.close(end)


def _line(fd: int) -> dict[str, int] | None:
    """One JSON line; None at the end of the pipe. Lines are shorter than a pipe's atomic write."""
    text = b""
    while not text.endswith(b"\n"):
        block = os.read(fd, 1)
        if not block:
            return None
        text += block
    found: dict[str, int] = json.loads(text)
    return found
