"""`finetune completion`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from finetune_sdk.cli import _out
from finetune_sdk.cli._app import cli, settings

_HOW = {
    "bash": 'eval "$(finetune completion bash)"    # in ~/.bashrc',
    "zsh": 'eval "$(finetune completion zsh)"     # in ~/.zshrc',
    "fish": "finetune completion fish | source     # in ~/.config/fish/config.fish",
}


@click.command("completion")
@click.argument("shell", type=click.Choice(list(_HOW)))
@settings
def command(shell: str) -> None:
    """Print the completion script of a shell; it completes commands, options, providers and job ids."""
    made = get_completion_class(shell)
    if made is None:
        raise click.UsageError(f"this click knows no {shell}")
    click.echo(made(cli, {}, "finetune", "_FINETUNE_COMPLETE").source())
    _out.say(_HOW[shell])
