"""What is written about a local deployment: `<home>/deployments/<id>/deployment.json` and the files beside it."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from finetune_sdk.errors import JobNotFound, StoreError
from finetune_sdk.worker import wire

RECORD = "deployment.json"
STATE = "state.json"
"""How the engine stands, as the front last saw it."""
STOP = "stop"
"""Marker: the watchdog leaves, and starts nothing again."""
LOG = "server.log"
ENGINE_LOG = "engine.log"
_SAFE = re.compile(r"[a-z0-9][a-z0-9._-]{0,79}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A local deployment as it was asked for; enough to start it again."""

    id: str
    model: str
    """The name it answers under."""
    provider: str
    host: str
    port: int
    engine: str
    engine_command: tuple[str, ...]
    """The engine's process; the number of its socket is appended."""
    load: dict[str, Any]
    """What the engine is told first; `models` maps each served name to its folder."""
    created: datetime
    """UTC."""
    api_key_env: str | None = None
    key_salt: str | None = None
    key_sha256: str | None = None
    """Of salt and key: the key itself is never written."""

    @property
    def base_url(self) -> str:
        """Where clients go; the wildcard address is reached by the loopback one."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)  # noqa: S104 - compared, not bound
        return f"http://{f'[{host}]' if ':' in host and not host.startswith('[') else host}:{self.port}/v1"

    @property
    def loopback_only(self) -> bool:
        """True when only this machine can reach it."""
        return self.host in LOOPBACK


LOOPBACK = ("127.0.0.1", "localhost", "::1")


def root(home: Path) -> Path:
    """The folder of all local deployments."""
    return home / "deployments"


def id_of(name: str) -> str:
    """The folder's name of a deployment: its own where that is a safe one, else told apart by a hash."""
    if _SAFE.fullmatch(name):
        return name
    slug = re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-.")[:40]
    return f"{slug}-{hashlib.sha256(name.encode()).hexdigest()[:8]}".lstrip("-")


def folder_of(home: Path, id_: str) -> Path:
    """The folder of one deployment."""
    return root(home) / id_


def write(folder: Path, written: Record) -> None:
    """Whole or not at all; readable by this user only."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    wire.write_json(folder / RECORD, msgspec.to_builtins(written))


def read(folder: Path) -> Record:
    """Raises `JobNotFound` when there is none, `StoreError` when it is damaged."""
    path = folder / RECORD
    try:
        return msgspec.json.decode(path.read_bytes(), type=Record)
    except FileNotFoundError:
        raise JobNotFound(f"no local deployment {folder.name!r}", sent=False) from None
    except msgspec.MsgspecError as exc:
        raise StoreError(f"{path} is damaged: {exc}. Remove the folder, and deploy again.") from exc
