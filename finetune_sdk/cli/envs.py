"""`finetune envs`: the environments that workers run in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from finetune_sdk.cli import _out
from finetune_sdk.cli._app import current, settings
from finetune_sdk.cli._spec import complete_provider

if TYPE_CHECKING:
    from finetune_sdk.worker.envs import Env, EnvStore
    from finetune_sdk.worker.locks import Variant


@click.group("envs")
@settings
def group() -> None:
    """List, build and remove the environments that workers run in."""


def _store() -> EnvStore:
    from finetune_sdk.home import home_folder  # noqa: PLC0415 - not for `--help`
    from finetune_sdk.worker.envs import EnvStore  # noqa: PLC0415

    return EnvStore(home_folder(current().home), on_progress=_out.say)


def _plain(env: Env) -> dict[str, Any]:
    import msgspec  # noqa: PLC0415

    plain: dict[str, Any] = msgspec.to_builtins(env, enc_hook=str)
    return {**plain, "python": str(env.python)}


@group.command("ls")
@settings
def ls() -> None:
    """List the environments of this home."""
    found = _store().list()
    rows = [
        (env.path.name, _health(env), env.variant, f"{env.size_bytes / 1e9:.2f} GB", _out.short_path(env.path))
        for env in found
    ]
    header = ("ENVIRONMENT", "STATE", "VARIANT", "SIZE", "PATH")
    _out.data(
        [_plain(env) for env in found],
        lambda: _out.columns(rows, header=header) if rows else "no environments; they are built when first needed",
    )


def _health(env: Env) -> str:
    if env.healthy:
        return click.style("ready", fg="green")
    return click.style("unfinished" if env.created is None else "broken", fg="red")


@group.command("create")
@click.argument("provider", metavar="PROVIDER", shell_complete=complete_provider)
@click.option(
    "--variant",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="For which machines; auto looks for an NVIDIA GPU, unless FINETUNE_VARIANT says which.",
)
@click.option("--python", "base", metavar="PATH", help="The interpreter to make it with. [default: this one]")
@settings
def create(provider: str, variant: Variant, base: str | None) -> None:
    """Build a provider's environment now instead of at its first job. Takes minutes; does nothing when it is there."""
    from finetune_sdk.registry import provider_class  # noqa: PLC0415

    needs = provider_class(provider).environment
    if needs is None:
        raise click.UsageError(f"{provider} runs no worker on this machine: it needs no environment")
    python = None if base is None else Path(base)
    env = _store().create(provider, needs.lock, smoke=needs.smoke, base=python, variant=variant)
    size = f"{env.size_bytes / 1e9:.1f} GB"
    _out.data(_plain(env), lambda: f"{env.path.name} is ready ({size}): {env.python}")


@group.command("rm")
@click.argument("name", metavar="ENVIRONMENT")
@click.option("--force", is_flag=True, help="Also while a process runs from it.")
@settings
def rm(name: str, force: bool) -> None:
    """Delete an environment, or all of a provider's. It is built again when next needed."""
    removed = _store().remove(name, force=force)
    _out.data([_plain(env) for env in removed], lambda: "\n".join(f"removed {env.path.name}" for env in removed))
