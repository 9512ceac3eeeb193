"""`finetune doctor`: what works here, what is missing, what fixes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from finetune_sdk.cli import _out
from finetune_sdk.cli._app import current, settings
from finetune_sdk.cli._spec import complete_provider

if TYPE_CHECKING:
    from collections.abc import Sequence

    from finetune_sdk.cli._checks import Check

_MARKS = {"ok": ("✓", "green"), "note": ("·", "yellow"), "missing": ("✗", "red"), "broken": ("✗", "red")}


@click.command("doctor")
@click.argument("provider", metavar="[PROVIDER]", required=False, shell_complete=complete_provider)
@settings
def command(provider: str | None) -> None:
    """Say what works on this machine, what is missing, and the command that fixes it. Changes nothing.

    Exit code 1 when something is broken or no provider can be used; with PROVIDER, when that one cannot.
    """
    from finetune_sdk.cli import _checks  # noqa: PLC0415 - not for `--help`

    machine = list(_checks.machine(current().home))
    providers = list(_checks.providers(current().home, provider))
    healthy = not any(check.state == "broken" for check in machine) and any(
        check.state in ("ok", "note") for check in providers
    )
    _out.data(
        {"healthy": healthy, "machine": machine, "providers": providers},
        lambda: f"{_text('machine', machine)}\n\n{_text('providers', providers)}",
    )
    if not healthy:
        raise click.exceptions.Exit(1)


def _text(title: str, checks: Sequence[Check]) -> str:
    lines = [click.style(title, bold=True)]
    width = max((len(check.name) for check in checks), default=0)
    for check in checks:
        mark, shade = _MARKS[check.state]
        lines.append(f"  {click.style(mark, fg=shade)} {check.name:<{width}}  {check.text}")
        if check.fix:
            lines.append(f"    {'':<{width}}  {click.style('fix: ' + check.fix, fg='cyan')}")
    return "\n".join(lines)
