"""JSON lines over a socket: how an engine and the HTTP front talk. The words are listed in `service`."""

from __future__ import annotations

import json
import queue
import socket
import threading
from collections.abc import Mapping
from typing import Any


class Gone(Exception):
    """The other side has closed: nobody is left to answer to."""


class Line:
    """The engine's end. A thread of its own reads, so that a busy engine still learns of new and cancelled requests."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._inbox: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._closed = False
        threading.Thread(target=self._read, name="wire", daemon=True).start()

    def _read(self) -> None:
        with self._sock.makefile("rb") as lines:
            for line in lines:
                self._inbox.put(json.loads(line))
        self._inbox.put(None)

    def receive(self, *, wait: bool) -> list[dict[str, Any]]:
        """What has come since; with `wait`, at least one message. Raises `Gone`."""
        found: list[dict[str, Any]] = []
        while not self._closed:
            try:
                message = self._inbox.get(block=wait and not found)
            except queue.Empty:
                return found
            if message is None:
                self._closed = True
            else:
                found.append(message)
        if found:
            return found
        raise Gone

    def send(self, message: Mapping[str, Any]) -> None:
        """One message. Raises `Gone`."""
        try:
            self._sock.sendall(json.dumps(message, ensure_ascii=False).encode() + b"\n")
        except OSError as exc:
            raise Gone from exc
