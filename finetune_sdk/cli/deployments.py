"""`finetune deployments`: everything that answers, here and at the vendors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from finetune_sdk.cli import _out
from finetune_sdk.cli._app import current, settings
from finetune_sdk.home import home_folder

if TYPE_CHECKING:
    from finetune_sdk.types import Deployment


def _complete(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from finetune_sdk.deploy import hub  # noqa: PLC0415

    found = hub.listed(home_folder(ctx.params.get("home")))
    return [CompletionItem(one.id, help=one.status) for one in found if one.id.startswith(incomplete)]


deployment_argument = click.argument("deployment_id", metavar="DEPLOYMENT", shell_complete=_complete)
"""A deployment by its id, or by the name it answers under."""


def home() -> Path:
    """The home of this command."""
    return home_folder(current().home)


def find(wanted: str) -> Deployment:
    """Raises `JobNotFound`."""
    from finetune_sdk.deploy import hub  # noqa: PLC0415 - not for `--help`

    return hub.find(home(), wanted)


@click.group("deployments")
@settings
def group() -> None:
    """List, show, end and restart deployments. DEPLOYMENT is an id, or the name it answers under."""


@group.command("ls")
@click.option("--refresh", is_flag=True, help="Ask the vendors first; without it hosted ones are as last seen.")
@click.option("--remote", multiple=True, metavar="PROVIDER", help="Also all that this provider's account serves.")
@settings
def ls(refresh: bool, remote: tuple[str, ...]) -> None:
    """List the servers on this machine and the hosted deployments made from here."""
    from finetune_sdk.deploy import hub  # noqa: PLC0415

    found = hub.listed(home(), refresh=refresh, remote=remote)
    rows = [(one.id, one.provider, one.status, one.base_url) for one in found]
    header = ("DEPLOYMENT", "PROVIDER", "STATUS", "ADDRESS")
    _out.data(found, lambda: _out.columns(rows, header=header) if rows else "no deployments yet: finetune deploy JOB")


@group.command("show")
@deployment_argument
@settings
def show(deployment_id: str) -> None:
    """Show one deployment as it stands now: address, models, engine, log files."""
    import msgspec  # noqa: PLC0415 - not for `--help`

    from finetune_sdk.deploy import hub, local  # noqa: PLC0415

    found = hub.refreshed(home(), find(deployment_id))
    facts = msgspec.to_builtins(found)
    if hub.is_local(home(), found):
        facts |= local.facts(home(), found.id)
    rows = [(name.replace("_", " "), _told(value)) for name, value in facts.items() if value not in (None, "", {})]
    _out.data(facts, lambda: _out.columns(rows))


def _told(value: Any) -> str:
    if isinstance(value, dict | list):
        shown: list[Any] = list(value)  # pyright: ignore[reportUnknownArgumentType] - JSON
        return ", ".join(map(str, shown))
    return str(value)


@group.command("rm")
@deployment_argument
@click.option("--yes", is_flag=True, help="Do not ask.")
@settings
def rm(deployment_id: str, yes: bool) -> None:
    """End a deployment: it answers no more and costs no more. What is lost by it is said first."""
    from finetune_sdk.deploy import hub  # noqa: PLC0415

    found = find(deployment_id)
    terms = hub.delete_terms(home(), found)
    if terms:
        _out.say(_out.wrapped(terms, indent=""))
        if not yes and not _out.interactive():
            raise click.UsageError("this cannot be undone: say --yes to agree")
    if not yes and _out.interactive():
        click.confirm(f"End {found.id}?", abort=True, err=True)
    hub.delete(home(), found)
    _out.data({"id": found.id, "removed": True}, lambda: f"removed {found.id}")


@group.command("stop")
@deployment_argument
@click.option("--until-asked", is_flag=True, help="At a host: scale it to zero; the next request wakes it.")
@settings
def stop(deployment_id: str, until_asked: bool) -> None:
    """Stop a server on this machine, or pause one at a host: it stays on the list and can be restarted."""
    from finetune_sdk.deploy import hub  # noqa: PLC0415

    found = hub.stop(home(), find(deployment_id), until_asked=until_asked)
    _out.data(found, lambda: f"{found.id} is {found.status}")


@group.command("restart")
@deployment_argument
@settings
def restart(deployment_id: str) -> None:
    """Start a server on this machine, or one at a host, again at the same address, and wait until it answers."""
    from finetune_sdk.deploy import hub  # noqa: PLC0415

    found = hub.restart(home(), find(deployment_id))
    _out.data(found, lambda: f"{found.id} is {found.status} at {found.base_url}")
