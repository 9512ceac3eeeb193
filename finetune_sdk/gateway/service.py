"""What the routes share: the home, the configuration, the gateway's memory, the job store."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import anyio
import msgspec
from starlette.requests import Request
from starlette.responses import Response

from finetune_sdk.gateway.config import GatewayConfig
from finetune_sdk.gateway.state import State
from finetune_sdk.registry import load
from finetune_sdk.store import JobStore

_encode = msgspec.json.Encoder().encode


@dataclass
class Service:
    """One gateway over one home."""

    home: Path
    config: GatewayConfig
    state: State
    locals: dict[str, bool] = field(default_factory=dict[str, bool])
    estimates: dict[str, int] = field(default_factory=dict[str, int])
    """When running jobs will probably have ended, where this server runs the queue; others do not know."""
    stopping: anyio.Event = field(default_factory=anyio.Event)
    """Set when the server is about to leave: streams end."""
    wake: anyio.Event = field(default_factory=anyio.Event)
    """Set when there is something new to do for the queue."""

    @cached_property
    def store(self) -> JobStore:
        """The job store of the same home."""
        return JobStore(self.home)

    def is_local(self, provider: str) -> bool:
        """True for a backend whose jobs train on this machine."""
        if provider not in self.locals:
            self.locals[provider] = load(provider, home=self.home).environment is not None
        return self.locals[provider]


def service(request: Request) -> Service:
    """The gateway behind a request."""
    found = request.app.state.service
    assert isinstance(found, Service), "set by `app.build`"  # noqa: S101
    return found


def json_response(value: Any, status: int = 200) -> Response:
    """JSON, quickly."""
    return Response(_encode(value), status, media_type="application/json")
