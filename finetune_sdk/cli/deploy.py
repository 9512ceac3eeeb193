"""`finetune deploy`: a tuned model or a checkpoint answers from now on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from finetune_sdk.cli import _out
from finetune_sdk.cli._app import settings
from finetune_sdk.cli.jobs import attach, job_argument

if TYPE_CHECKING:
    from finetune_sdk.deploy.local import Serving


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
@click.option("--host", metavar="ADDRESS", help="Here: where to listen. Default: this machine only.")
@click.option("--port", type=click.IntRange(0, 65535), help="Here: the port. Default: a free one, kept from then on.")
@click.option("--api-key-env", metavar="VARIABLE", help="Here: the environment variable that holds the clients' key.")
@click.option("--engine", metavar="NAME", help="Here: what runs the model. Default: what is installed.")
@click.option("--device", metavar="DEVICE", help="Here: cpu or cuda. Default: a GPU where there is one.")
@click.option("--threads", type=click.IntRange(min=1), help="Here: threads of the engine.")
@click.option("--beside", metavar="JOB", multiple=True, help="Here: a further job's adapter over the same base.")
@settings
def command(
    job_id: str,
    name: str | None,
    checkpoint: str | None,
    kind: str | None,
    yes: bool,
    beside: tuple[str, ...],
    **here: Any,
) -> None:
    """Let a tuned model answer OpenAI's chat API under a name, and wait until it does.

    Hosted models answer at their vendor: what that costs from then on is said first, and asked about; where nobody can
    be asked, --yes is needed. Models on this disk get a server here, which outlives this command. The same name again
    changes nothing. With --beside several adapters share a server and a base model, each under its job's id.
    """
    job = attach(job_id)
    if beside and kind is None and checkpoint is None:
        kind = "adapter"
    chosen: dict[str, Any] = {"kind": kind, "checkpoint": checkpoint}
    if terms := job.deploy_terms(**chosen):
        _out.say(_out.wrapped(terms, indent=""))
        if not yes and not _out.interactive():
            raise click.UsageError("deploying this costs money from then on: say --yes to agree")
        if not yes:
            click.confirm("Deploy it?", abort=True, err=True)
    deployment = job.deploy(name=name, **chosen, serving=_serving(here, beside))
    _out.say(f"talk to it:  {_out.hint('chat', deployment.id)}")
    _out.data(deployment, lambda: f"{deployment.model} is {deployment.status} at {deployment.base_url}")


def _serving(here: dict[str, Any], beside: tuple[str, ...]) -> Serving | None:
    """How to serve on this machine; None = nothing was said about it."""
    from finetune_sdk.deploy.local import Serving  # noqa: PLC0415 - not for `--help`

    given = {option: value for option, value in here.items() if value is not None}
    if beside:
        given["beside"] = dict(map(_adapter, beside))
    return Serving(**given) if given else None


def _adapter(job_id: str) -> tuple[str, Path]:
    job = attach(job_id)
    for artifact in job.artifacts():
        if artifact.kind == "adapter":
            return job.id, Path(artifact.uri)
    raise click.UsageError(f"job {job.id} left no adapter to serve beside another")
