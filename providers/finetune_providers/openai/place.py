"""Where a provider's server is, and how a reference leads to it. The first layer of `OpenAIProvider`."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING, ClassVar

from finetune_sdk.errors import JobNotFound, MissingExtra
from finetune_sdk.provider import Provider

from .connection import Connection, dereference
from .options import JobOptions, OpenAIOptions
from .wire import WIRES, Wire

if TYPE_CHECKING:
    from .server import Server

VENDOR_URL = "https://api.openai.com/v1"


class Place(Provider):
    """The connection behind options, references and the environment. Nothing here sends anything."""

    wires: ClassVar[Mapping[str, Wire]] = WIRES
    options_type: ClassVar[type[JobOptions]] = OpenAIOptions

    @property
    def home_connection(self) -> Connection:
        """The vendor's own server: jobs there have bare references."""
        return Connection(url=VENDOR_URL, wire="openai", api_key_env="OPENAI_API_KEY")

    def connection(self, options: JobOptions) -> Connection:
        """The server a job goes to, from its options and the environment."""
        assert isinstance(options, OpenAIOptions), "options are read as `options_type`"
        url = (options.base_url or os.environ.get("OPENAI_BASE_URL") or VENDOR_URL).rstrip("/")
        wire = options.server or ("openai" if url == VENDOR_URL else "compatible")
        return Connection(
            url=url,
            wire=wire,
            api_key_env=options.api_key_env,
            organization=options.organization,
            project=options.project,
        )

    def server(self, connection: Connection, *, timeout_s: float | None = None) -> Server:
        """The server behind a connection. Raises `MissingExtra`, `AuthFailed`; sends nothing."""
        with self.extra():
            from .client import TIMEOUT_S, client, key_of
            from .server import Server
        wire = self.wires[connection.wire]
        key = key_of(connection, self.name, needed=wire.vendor_dates)
        return Server(client(connection, key, timeout_s=timeout_s or TIMEOUT_S), wire, self.name)

    @contextlib.contextmanager
    def extra(self) -> Generator[None, None, None]:
        """Turns a missing vendor SDK into the error that says how to install it."""
        try:
            yield
        except ModuleNotFoundError as exc:
            raise MissingExtra(
                f"provider {self.name!r} needs {exc.name or exc!s}, which is not installed. "
                f'Run: pip install "finetune-sdk[{self.name}]"'
            ) from exc

    def at(self, ref: str) -> tuple[Server, str]:
        """The server and the name a reference leads to."""
        connection, name = dereference(ref, default=self.home_connection)
        if connection.wire not in self.wires:
            raise JobNotFound(
                f"[{self.name}] {ref!r} names a server of an unknown kind: {connection.wire!r}", sent=False
            )
        return self.server(connection), name

    def reference(self, server_ref: str, name: str) -> str:
        """A reference to `name` on the server that another reference names."""
        connection, _ = dereference(server_ref, default=self.home_connection)
        return connection.reference(name, default=self.home_connection)
