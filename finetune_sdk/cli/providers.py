"""`finetune providers`: what is installed, and what it can do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from finetune_sdk.cli import _out
from finetune_sdk.cli._app import settings
from finetune_sdk.cli._spec import complete_provider

if TYPE_CHECKING:
    from finetune_sdk.provider import Capabilities

_COLOURS = {"full": "green", "partial": "yellow", "not implemented": "yellow", "unsupported": "red", "unknown": "red"}


@click.group("providers")
@settings
def group() -> None:
    """What each provider can do."""


@group.command("ls")
@settings
def ls() -> None:
    """List the installed providers. Imports none of them."""
    from finetune_sdk.registry import providers  # noqa: PLC0415 - not for `--help`

    found = providers()
    rows = [(one.name, f"{one.distribution} {one.version}", one.target) for one in found]
    _out.data(found, lambda: _out.columns(rows, header=("PROVIDER", "FROM", "CLASS")))


@group.command("show")
@click.argument("name", metavar="PROVIDER", shell_complete=complete_provider)
@settings
def show(name: str) -> None:
    """Show what a provider can do: every claim, its limits, and where that was read."""
    from finetune_sdk.registry import provider_class  # noqa: PLC0415

    capabilities = provider_class(name).capabilities
    _out.data(_plain(name, capabilities), lambda: _text(name, capabilities))


def _plain(name: str, capabilities: Capabilities) -> dict[str, Any]:
    return {
        "provider": name,
        "claims": dict(capabilities.claims),
        "limits": dict(capabilities.limits),
        "notes": list(capabilities.notes),
    }


def _text(name: str, capabilities: Capabilities) -> str:
    claims = [
        (key, click.style(str(claim.support), fg=_COLOURS[str(claim.support)]), claim.note)
        for key, claim in sorted(capabilities.claims.items())
    ]
    limits = [
        (key, f"{limit.value:g}", f"{limit.source} {limit.read_on}") for key, limit in capabilities.limits.items()
    ]
    parts = [click.style(name, bold=True), _out.columns(claims)]
    if limits:
        parts += ["", click.style("limits", bold=True), _out.columns(limits)]
    if capabilities.notes:
        parts += ["", *(_out.wrapped(note) for note in capabilities.notes)]
    parts += ["", "whatever is not listed is refused before anything is sent"]
    return "\n".join(parts)
