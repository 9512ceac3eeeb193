"""`finetune deploy`: a tuned model or a checkpoint answers from now on."""

from __future__ import annotations

from typing import Any, get_args

import click

from finetune_sdk.cli import _out
from finetune_sdk.cli._app import settings
from finetune_sdk.cli.jobs import attach, job_argument


def _kind(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    from finetune_sdk.types import ArtifactKind  # noqa: PLC0415 - not for `--help`

    if value is None or value in get_args(ArtifactKind):
        return value
    raise click.BadParameter(f"there are: {', '.join(get_args(ArtifactKind))}")


@click.command("deploy")
@job_argument
@click.option("--name", metavar="NAME", help="The model name to answer under. Default: the job's id.")
@click.option("--checkpoint", metavar="STEP", help="Deploy the checkpoint of this step (or reference) instead.")
@click.option("--kind", metavar="KIND", callback=_kind, help="Which artifact, such as merged or adapter.")
@click.option("--yes", is_flag=True, help="Deploy without asking, also when it costs money from then on.")
@settings
def command(job_id: str, name: str | None, checkpoint: str | None, kind: str | None, yes: bool) -> None:
    """Let a tuned model answer OpenAI's chat API under a name, and wait until it does.

    What it costs from then on is said first, and asked about; where nobody can be asked, --yes is needed. The same
    name again changes nothing.
    """
    job = attach(job_id)
    chosen: dict[str, Any] = {"kind": kind, "checkpoint": checkpoint}
    if terms := job.deploy_terms(**chosen):
        _out.say(_out.wrapped(terms, indent=""))
        if not yes and not _out.interactive():
            raise click.UsageError("deploying this costs money from then on: say --yes to agree")
        if not yes:
            click.confirm("Deploy it?", abort=True, err=True)
    deployment = job.deploy(name=name, **chosen)
    _out.data(deployment, lambda: f"{deployment.model} is {deployment.status} at {deployment.base_url}")
