"""The arguments that name a job description, and its reading."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from finetune_sdk.spec import JobSpec

F = TypeVar("F", bound=Callable[..., Any])


def complete_provider(_ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Provider names for the shell."""
    from finetune_sdk.registry import names  # noqa: PLC0415

    return [CompletionItem(name) for name in names() if name.startswith(incomplete)]


def spec_arguments(command: F) -> F:
    """`SPEC`, `--provider`, `--set`; the command gets them as `spec`, `provider`, `changes`."""
    spec = click.argument("spec", type=click.Path(path_type=Path), metavar="SPEC")
    provider = click.option(
        "--provider", metavar="NAME", shell_complete=complete_provider, help="Run it there instead: the one-word swap."
    )
    changes = click.option(
        "--set",
        "changes",
        multiple=True,
        metavar="KEY=VALUE",
        help="Change one key of the spec, such as hyperparameters.epochs=3. Repeatable.",
    )
    return spec(provider(changes(command)))


def read(spec: Path, provider: str | None, changes: Iterable[str]) -> JobSpec:
    """The job description with its overrides. Raises `SpecError`."""
    from finetune_sdk import config  # noqa: PLC0415 - not for `--help`
    from finetune_sdk.registry import names  # noqa: PLC0415

    return config.load(spec, provider=provider, overrides=changes, providers=names())
