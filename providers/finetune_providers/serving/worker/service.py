"""What every engine does: take requests from the line, let the engine step, send what each step gave.

To the engine (one JSON object per line):
  {"op": "load", "models": {name: folder}, "base": folder | null, ...}    first, once
  {"op": "generate", "id", "model", "messages" | "prompt", "stream"?, "every"?, ...}   answered by "out" until "end"
  {"op": "cancel", "id"}                                                  nobody waits for it any more
  {"op": "render", "id", "model", ...}                                    answered by the prompt's tokens
From it:
  {"event": "ready", ...facts} or {"event": "failed", "error"}            after load
  {"out": [{"id", "i", "text", "tokens", "logprobs"?, "echo"?, "end"?, "ids"?}, ...]}   a row's with each step if it is
        to "stream", or with its first text and then "every" so many tokens, else once; "echo" with its first,
        "logprobs" of each token in a list
  {"id", "prompt_tokens"} · {"id", "error": {"message", "param", "code"}} · {"id", "rendered": {...}}
"""

from __future__ import annotations

import gc
import importlib
import socket
import sys
import traceback
from collections import deque
from typing import Any, Protocol

from .rows import Failed, Refused, Row, Tongue, rows
from .wire import Gone, Line

ENGINES = {
    "transformers": ".hf.engine",
    "onnxruntime-genai": ".ort.engine",
    "llama.cpp": ".llama.engine",
    "vllm": ".vllm.engine",
}
MAX_ROWS = 64


class Engine(Protocol):
    """What can generate for many rows at once."""

    facts: dict[str, Any]
    tongues: dict[str, Tongue]
    """By served name."""

    patience: int
    """Steps for which a free place waits for company while more requests wait than there are places: where reading
    prompts costs a pass through the model, several are read in one."""

    @property
    def rows(self) -> int:
        """How many are being generated."""
        ...

    def join(self, row: Row) -> None:
        """Take a row in with the next step."""
        ...

    def leave(self, row: Row) -> None:
        """Forget a row."""
        ...

    def step(self) -> list[tuple[Row, int | Exception, dict[str, Any] | None]]:
        """One more token for every row (some engines give several), or what went wrong with it."""
        ...


class Service:
    """The loop around one engine."""

    def __init__(self, engine: Engine, line: Line, *, max_rows: int) -> None:
        self._engine = engine
        self._line = line
        self._max_rows = max_rows
        self._waiting: deque[Row] = deque()
        self._running: dict[tuple[str, int], Row] = {}
        self._tell_ids: set[str] = set()
        self._held = 0

    def serve(self) -> None:
        """Until the other side closes."""
        while True:
            for message in self._line.receive(wait=not self._running and not self._waiting):
                self._take(message)
            self._admit()
            if self._running:
                told = [self._told(*result) for result in self._engine.step()]
                if out := [one for one in told if one is not None]:
                    self._line.send({"out": out})

    def _admit(self) -> None:
        """Fill the free places, if they are enough or have waited long enough."""
        free = self._max_rows - len(self._running)
        if self._running and 0 < free < len(self._waiting) and self._held < self._engine.patience:
            self._held += 1
            return
        self._held = 0
        while self._waiting and len(self._running) < self._max_rows:
            row = self._waiting.popleft()
            self._running[row.id, row.index] = row
            self._engine.join(row)

    def _take(self, message: dict[str, Any]) -> None:
        try:
            getattr(self, f"_op_{message['op']}")(message)
        except Refused as exc:
            error = {"message": str(exc), "param": exc.param, "code": exc.code}
            self._line.send({"id": message["id"], "error": error})

    def _op_generate(self, message: dict[str, Any]) -> None:
        made = rows(message, self._tongue(message))
        self._line.send({"id": message["id"], "prompt_tokens": len(made[0].prompt)})
        if message.get("tell_ids"):
            self._tell_ids.add(message["id"])
        self._waiting.extend(made)

    def _op_cancel(self, message: dict[str, Any]) -> None:
        unwanted = message["id"]
        self._waiting = deque(row for row in self._waiting if row.id != unwanted)
        for row in [row for row in self._running.values() if row.id == unwanted]:
            self._forget(row)

    def _op_render(self, message: dict[str, Any]) -> None:
        tongue = self._tongue(message)
        rendered = {"ids": tongue.render(message), "ends": sorted(tongue.ends)}
        self._line.send({"id": message["id"], "rendered": rendered})

    def _tongue(self, message: dict[str, Any]) -> Tongue:
        return self._engine.tongues[message["model"]]

    def _forget(self, row: Row) -> None:
        del self._running[row.id, row.index]
        self._engine.leave(row)

    def _told(self, row: Row, result: int | Exception, logprobs: dict[str, Any] | None = None) -> dict[str, Any] | None:
        """What one step gave; None = nothing is to be said yet, or nothing any more: the row ended in this step."""
        if (row.id, row.index) not in self._running:
            return None
        told: dict[str, Any] = {"id": row.id, "i": row.index}
        if isinstance(result, Exception):
            self._forget(row)
            return told | {"text": "", "end": "error", "error": f"{type(result).__name__}: {result}"}
        if row.echo and not row.made:
            told["echo"] = self._echoed(row)
        text, end = row.take(result)
        told |= {"text": text, "tokens": len(row.made)}
        if logprobs is not None and row.made and result not in row.ends:
            told["logprobs"] = [self._named(row, result, logprobs)]
        if end is not None:
            told["end"] = end
            if row.id in self._tell_ids:
                told["ids"] = row.made
            self._forget(row)
        row.untold = told if row.untold is None else _joined(row.untold, told)
        if end is None and not row.due:
            return None
        told, row.untold, row.told = row.untold, None, len(row.made)
        return told

    def _echoed(self, row: Row) -> dict[str, Any]:
        """The prompt as text, and its tokens with their logprobs if asked for; nothing precedes the first one."""
        tongue = self._engine.tongues[row.model]
        text = tongue.spell(row.prompt) if row.given is None else row.given
        if not row.listens:
            return {"text": text}
        name, raw = tongue.token(row.prompt[0])
        first = {"token": name, "bytes": raw, "logprob": None, "top_logprobs": None}
        rest = [self._named(row, token, told) for token, told in zip(row.prompt[1:], row.heard, strict=True)]
        return {"text": text, "logprobs": [first, *rest]}

    def _named(self, row: Row, token: int, told: dict[str, Any]) -> dict[str, Any]:
        name = self._engine.tongues[row.model].token
        tops = [(*name(one), logprob) for one, logprob in told["top"]]
        text, raw = name(token)
        return {
            "token": text,
            "bytes": raw,
            "logprob": told["logprob"],
            "top_logprobs": [{"token": one, "bytes": raw, "logprob": logprob} for one, raw, logprob in tops],
        }


def _joined(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    both = before | now | {"text": before["text"] + now["text"]}
    if "logprobs" in before:
        both["logprobs"] = before["logprobs"]
        both["logprobs"] += now.get("logprobs", ())  # in place: it is as long as the answer
    return both


def run(name: str, fd: int) -> None:
    """Load what the first message says, then serve."""
    line = Line(socket.socket(fileno=fd))
    try:
        first = line.receive(wait=True)[0]
        engine = _load(name, first, line)
        if engine is not None:
            gc.collect()
            gc.freeze()  # what was loaded stays: the collector need not look through it again and again
            Service(engine, line, max_rows=first.get("max_rows", MAX_ROWS)).serve()
    except Gone:
        return


def _load(name: str, message: dict[str, Any], line: Line) -> Engine | None:
    try:
        engine: Engine = _module(name).load(message)
    except Failed as exc:
        line.send({"event": "failed", "error": str(exc)})
        return None
    except Exception as exc:  # noqa: BLE001 - whatever a library raises is the reason; the log has the rest
        traceback.print_exc(file=sys.stderr)
        line.send({"event": "failed", "error": f"{type(exc).__name__}: {' '.join(str(exc).split())[:600]}"})
        return None
    line.send({"event": "ready", **engine.facts})
    return engine


def _module(name: str) -> Any:
    """The engine's code. While its libraries load no garbage is looked for: there is none among a million objects."""
    gc.disable()
    try:
        return importlib.import_module(ENGINES[name], __package__)
    finally:
        gc.freeze()
        gc.enable()
