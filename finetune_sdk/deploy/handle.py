"""`Deployed`: a deployment with its verbs. What `job.deploy()` answers."""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from finetune_sdk.deploy import chatting, hub
from finetune_sdk.errors import AuthFailed, MissingExtra, WaitTimeout
from finetune_sdk.types import Deployment

_POLL_S = 0.5


class Deployed(Deployment):
    """A `Deployment` that knows its home, so that it can be refreshed, asked and deleted. Equal by its fields.

    The verbs block. It is a snapshot: `refresh` answers a new one.
    """

    __slots__ = ("_home",)
    _home: Path

    @classmethod
    def of(cls, deployment: Deployment, home: Path) -> Deployed:
        """The same deployment, with verbs."""
        made = cls(**{one.name: getattr(deployment, one.name) for one in fields(deployment)})
        object.__setattr__(made, "_home", home)
        return made

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Deployment):
            return NotImplemented
        return all(getattr(self, one.name) == getattr(other, one.name) for one in fields(Deployment))

    def __hash__(self) -> int:
        return hash((self.id, self.provider))

    def refresh(self) -> Deployed:
        """As it stands now; `stopped` when it is gone."""
        return self.of(hub.refreshed(self._home, self), self._home)

    def wait(self, *, timeout_s: float | None = None) -> Deployed:
        """Block while it is starting. Raises `WaitTimeout`; one that failed is answered, not raised."""
        give_up_s = None if timeout_s is None else time.monotonic() + timeout_s
        found = self.refresh()
        while found.status == "starting":
            if give_up_s is not None and time.monotonic() > give_up_s:
                raise WaitTimeout(self.id, timeout_s or 0)
            time.sleep(_POLL_S)
            found = self.refresh()
        return found

    def delete(self) -> None:
        """End it: it answers no more and costs no more. Idempotent."""
        hub.delete(self._home, self)

    @property
    def key(self) -> str | None:
        """The key clients give, read from the environment now; None = none is needed. Raises `AuthFailed`."""
        if self.api_key_env is None:
            return None
        if not (found := os.environ.get(self.api_key_env)):
            raise AuthFailed(f"the environment variable {self.api_key_env}, which is to hold the key, is not set")
        return found

    def client(self, **options: Any) -> Any:
        """An `openai.OpenAI` at this address. Raises `MissingExtra` without the package."""
        try:
            openai: Any = importlib.import_module("openai")  # an extra; the SDK itself never needs it
        except ImportError as exc:
            raise MissingExtra('a client needs openai. Run: pip install "finetune-sdk[openai]"') from exc
        return openai.OpenAI(**{"base_url": self.base_url, "api_key": self.key or "none", **options})

    def chat(self, message: str | Sequence[dict[str, Any]], **options: Any) -> str:
        """The answer to a message or a conversation; `options` as in the chat API (`temperature`, `max_tokens`)."""
        return "".join(self.stream(message, **options))

    def stream(self, message: str | Sequence[dict[str, Any]], **options: Any) -> Iterator[str]:
        """The answer, piece by piece."""
        messages = [{"role": "user", "content": message}] if isinstance(message, str) else list(message)
        return chatting.stream(self.base_url, {"model": self.model, "messages": messages, **options}, key=self.key)
