"""`finetune plan`: the dry run."""

from __future__ import annotations

from pathlib import Path

import click

from finetune_sdk.cli import _out, _spec
from finetune_sdk.cli._app import current, settings
from finetune_sdk.cli._data_progress import shown


@click.command("plan")
@_spec.spec_arguments
@settings
def command(spec: Path, provider: str | None, changes: tuple[str, ...]) -> None:
    """Show what a job would do: the exact request, findings in the data, cost. Sends and writes nothing.

    Ends with the exit code that `finetune run` would refuse with: 3 for bad data, 5 when over budget.
    """
    from finetune_sdk._procedures import refuse  # noqa: PLC0415 - not for `--help`
    from finetune_sdk.cli._show import plan_text  # noqa: PLC0415
    from finetune_sdk.job import FineTuneJob  # noqa: PLC0415

    wanted = _spec.read(spec, provider, changes)
    with shown():
        planned = FineTuneJob.plan(wanted, home=current().home)
    _out.data(planned, lambda: plan_text(wanted, planned, request=True))
    refuse(wanted, planned)
