"""`finetune run`: from a job description to a model, watched."""

from __future__ import annotations

from pathlib import Path

import click

from finetune_sdk.cli import _out, _spec
from finetune_sdk.cli._app import current, settings
from finetune_sdk.cli._data_progress import shown


@click.command("run")
@_spec.spec_arguments
@click.option("--detach", is_flag=True, help="Submit and return at once; the job goes on.")
@click.option("--yes", is_flag=True, help="Submit without asking, also when it costs money.")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="Stop watching then; the job goes on.",
)
@settings
def command(
    spec: Path, provider: str | None, changes: tuple[str, ...], detach: bool, yes: bool, timeout_s: float | None
) -> None:
    """Fine-tune: show the plan, submit the job, follow it, show what it brought.

    Ctrl-C asks: detach, cancel, or go on. Without a terminal it detaches: the job goes on, the exit code is 130.
    """
    from finetune_sdk.cli import _running  # noqa: PLC0415 - not for `--help`

    wanted = _spec.read(spec, provider, changes)
    with shown():
        job = _running.submit(wanted, home=current().home, ask=not yes and _out.interactive())
    if detach:
        _running.told_submitted(job)
        _running.told_detached(job)
        return
    _running.watch_to_the_end(job, timeout_s=timeout_s)
