"""Where a job lives: one server, how to reach it, and the reference string that says so.

A reference must lead another process to the job with nothing else at hand, so it carries the server unless that is
the vendor's own: `ftjob-abc`, or `https://gateway.example/v1?wire=compatible#ftjob-abc`. It never holds a key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

_SETTING = "set."


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """One server and the account used there. Keys stay in the environment; only the variable's name is kept."""

    url: str
    """Base URL: OpenAI's ends in `/v1`, Azure's is the resource's endpoint."""
    wire: str
    """Row of the provider's wire table."""
    api_key_env: str
    organization: str | None = None
    project: str | None = None
    settings: tuple[tuple[str, str], ...] = ()
    """What else leads there (Azure: where it deploys, how it authenticates), sorted by name; never a secret."""

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Connection:
        """The connection that `asdict` and JSON took apart."""
        settings = tuple((str(name), str(value)) for name, value in values.get("settings", ()))
        fields: dict[str, Any] = {**values, "settings": settings}
        return cls(**fields)

    def setting(self, name: str) -> str | None:
        """A setting's value; None where it is not stated."""
        return dict(self.settings).get(name)

    def reference(self, name: str, *, default: Connection) -> str:
        """The string that leads back to `name` (a job, a model) on this server; bare where it is the default server."""
        if self == default:
            return name
        query = {
            field: value
            for field in ("wire", "api_key_env", "organization", "project")
            if (value := getattr(self, field)) is not None and value != getattr(default, field)
        }
        query |= {f"{_SETTING}{field}": value for field, value in self.settings}
        parts = urlsplit(self.url)
        return urlunsplit((parts.scheme, parts.netloc, parts.path, urlencode(query), name))


def dereference(text: str, *, default: Connection) -> tuple[Connection, str]:
    """The server and the name behind a reference."""
    if not text.startswith(("http://", "https://")):
        return default, text
    parts = urlsplit(text)
    fields = dict(parse_qsl(parts.query))
    url = urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))
    found = Connection(
        url=url,
        wire=fields.get("wire", default.wire),
        api_key_env=fields.get("api_key_env", default.api_key_env),
        organization=fields.get("organization", default.organization),
        project=fields.get("project", default.project),
        settings=tuple(
            sorted((name.removeprefix(_SETTING), value) for name, value in fields.items() if name.startswith(_SETTING))
        ),
    )
    return found, parts.fragment
