"""The engine as the front sees it: a child process that answers over a socket, started again when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import socket
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

Json = dict[str, Any]
Status = Literal["starting", "ready", "failed", "stopped"]
_log = logging.getLogger("finetune_sdk.deploy")
_LINE_BYTES = 64 * 1024 * 1024  # a prompt's tokens come back in one line
_DEATHS = 5
_DEATHS_WITHIN_S = 300.0
_PAUSE_S = (0.1, 1.0, 3.0, 10.0, 30.0)
_PR_SET_PDEATHSIG = 1


class EngineError(Exception):
    """The engine cannot answer: `status` 400 for what is wrong with the request, 500 and 503 for its own troubles."""

    def __init__(self, status: int, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code


class Engine:
    """Keeps one engine process alive while `run` runs. `tell` gets every change of status, facts, pid and restarts."""

    def __init__(self, command: list[str], load: Mapping[str, Any], *, log: Path, tell: Callable[[Json], None]) -> None:
        self._command = command
        self._load = {"op": "load", **load}
        self._log = log
        self._tell = tell
        self._waiting: dict[str, asyncio.Queue[Json]] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._deaths: list[float] = []
        self._restarts = 0
        self._pid: int | None = None
        self.status: Status = "starting"
        self.error: str | None = None
        self.facts: Json = {}

    @property
    def busy(self) -> int:
        """Requests being answered or waiting."""
        return len(self._waiting)

    async def run(self) -> None:
        """Start it, and again whenever it dies; ends when it says that it cannot, or has died too often."""
        while True:
            how = await self._live()
            if self.error is not None:
                return
            self._deaths = [at for at in self._deaths if at > time.monotonic() - _DEATHS_WITHIN_S]
            if len(self._deaths) >= _DEATHS:
                self._change("failed", f"the engine died {_DEATHS} times within minutes, last: {how}; see {self._log}")
                return
            _log.warning("the engine died (%s); starting it again", how)
            await asyncio.sleep(_PAUSE_S[min(len(self._deaths), len(_PAUSE_S) - 1)])
            self._deaths.append(time.monotonic())
            self._restarts += 1

    def _change(self, status: Status, error: str | None = None) -> None:
        self.status, self.error = status, error
        told = {"status": status, "error": error, "facts": self.facts}
        self._tell(told | {"engine_pid": self._pid, "restarts": self._restarts})

    async def _live(self) -> str:
        """One life of the process; how it ended."""
        ours, theirs = socket.socketpair()
        with theirs, self._log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                str(theirs.fileno()),
                pass_fds=[theirs.fileno()],
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=_die_with_parent,
            )
        self._pid = process.pid
        self._change("starting")
        try:
            await self._talk(ours)
        finally:
            self._writer = None
            for queue in self._waiting.values():
                queue.put_nowait({"gone": True})
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            code = await process.wait()
        return f"exit code {code}" if code >= 0 else signal.Signals(-code).name

    async def _talk(self, ours: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=ours, limit=_LINE_BYTES)
        try:
            writer.write(msgspec.json.encode(self._load) + b"\n")
            while line := await reader.readline():
                self._hear(msgspec.json.decode(line), writer)
        except ConnectionError:
            return  # it died while it was being told something
        finally:
            writer.close()

    def _hear(self, message: Json, writer: asyncio.StreamWriter) -> None:
        if "out" in message:
            for item in message["out"]:
                if (queue := self._waiting.get(item["id"])) is not None:
                    queue.put_nowait(item)
        elif "id" in message:
            if (queue := self._waiting.get(message["id"])) is not None:
                queue.put_nowait(message)
        elif message["event"] == "ready":
            self.facts = {name: value for name, value in message.items() if name != "event"}
            self._writer = writer
            self._change("ready")
        else:
            self._change("failed", message["error"])

    def refusal(self) -> EngineError | None:
        """Why nothing can be asked now; None when it can."""
        if self.status == "failed":
            return EngineError(503, f"the model cannot be served: {self.error}", code="engine_failed")
        if self._writer is None:
            return EngineError(503, "the model is still loading; try again in a moment", code="model_loading")
        return None

    async def ask(self, request: Json) -> AsyncGenerator[Json]:
        """What the engine answers, until the last row has ended. Closing it early cancels. Raises `EngineError`."""
        refusal, writer = self.refusal(), self._writer
        if refusal is not None or writer is None:
            raise refusal or EngineError(503, "the model is still loading")
        queue = self._waiting[request["id"]] = asyncio.Queue()
        left = request.get("n", 1)
        try:
            writer.write(msgspec.json.encode(request) + b"\n")
            while left:
                item = await queue.get()
                _raise_told(item)
                left -= "end" in item or "rendered" in item
                yield item
        finally:
            del self._waiting[request["id"]]
            if left and self._writer is writer:
                writer.write(msgspec.json.encode({"op": "cancel", "id": request["id"]}) + b"\n")


def _raise_told(item: Json) -> None:
    if "gone" in item:
        raise EngineError(500, "the engine died while it was answering; it is being started again", code="engine_died")
    error: Json | str | None = item.get("error")
    if isinstance(error, dict):
        raise EngineError(400, error["message"], param=error.get("param"), code=error.get("code"))
    if error is not None:
        raise EngineError(500, f"the engine failed: {error}", code="engine_error")


def _die_with_parent() -> None:
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.setpgid(0, 0)  # Ctrl-C in a terminal is for whoever started us
