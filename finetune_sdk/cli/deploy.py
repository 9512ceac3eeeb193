"""`finetune deploy`: a tuned model or a checkpoint answers from now on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from finetune_sdk.cli import _out
from finetune_sdk.cli._app import settings
from finetune_sdk.cli.deployments import home
from finetune_sdk.cli.jobs import attach, complete_jobs

if TYPE_CHECKING:
    from finetune_sdk.deploy.asked import Serving
    from finetune_sdk.job import FineTuneJob
    from finetune_sdk.types import Deployment


def _kind(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    from finetune_sdk.types import ArtifactKind  # noqa: PLC0415 - not for `--help`

    if value is None or value in get_args(ArtifactKind):
        return value
    raise click.BadParameter(f"there are: {', '.join(get_args(ArtifactKind))}")


@click.command("deploy")
@click.argument("source", metavar="JOB|FOLDER|OWNER/NAME", shell_complete=complete_jobs)
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
@click.option("--to", metavar="HOST", help="A host instead, such as hf-endpoint (Hugging Face Inference Endpoints).")
@click.option("--machine", metavar="ID", help="There: the machine. Without it: the list, with prices.")
@click.option("--repo", metavar="OWNER/NAME", help="There: where the model is pushed. Default: the account's, by name.")
@click.option("--public", is_flag=True, help="There: let everybody see what is pushed.")
@click.option("--namespace", metavar="NAME", help="There: who pays. Default: the token's account.")
@click.option("--idle", "idle_min", type=click.IntRange(min=0), help="There: minutes until it sleeps; 0 = never; 15.")
@click.option("--base", metavar="MODEL", help="There: an adapter's base model. Default: the one it names.")
@settings
def command(
    source: str,
    name: str | None,
    checkpoint: str | None,
    kind: str | None,
    yes: bool,
    beside: tuple[str, ...],
    to: str | None,
    **rest: Any,
) -> None:
    """Let a tuned model answer OpenAI's chat API under a name, and wait until it does.

    Hosted models answer at their vendor: what that costs from then on is said first, and asked about; where nobody can
    be asked, --yes is needed. Models on this disk get a server here, which outlives this command, or with --to one at a
    host. A model can also be named by its folder, or as on the Hugging Face Hub, from where it is fetched. The same
    name again changes nothing. With --beside several adapters share a server and a base, each under its job's id.
    """
    there = {key: rest.pop(key) for key in _THERE}
    _one_place(to, rest, beside, there)
    job = _job(source)
    if beside and kind is None and checkpoint is None:
        kind = "adapter"
    if to is not None:
        deployment = _hosted(job, source, to, name, {"kind": kind, "checkpoint": checkpoint}, there, yes=yes)
    elif job is None:
        deployment = _named(source, name, _serving(rest, beside))
    else:
        chosen: dict[str, Any] = {"kind": kind, "checkpoint": checkpoint}
        _agree(job.deploy_terms(**chosen), yes=yes)
        deployment = job.deploy(name=name, **chosen, serving=_serving(rest, beside))
    _out.say(f"talk to it:  {_out.hint('chat', deployment.id)}")
    _out.data(deployment, lambda: f"{deployment.model} is {deployment.status} at {deployment.base_url}")


_THERE = ("machine", "repo", "public", "namespace", "idle_min", "base")


def _one_place(to: str | None, here: dict[str, Any], beside: tuple[str, ...], there: dict[str, Any]) -> None:
    """Options of the one place say nothing about the other."""
    given = [key for key, value in here.items() if value is not None] + ["beside"] * bool(beside)
    if to is not None and given:
        raise click.UsageError(f"--{given[0].replace('_', '-')} is for a server on this machine, not for --to {to}")
    other = [key for key, value in there.items() if value not in (None, False)]
    if to is None and other:
        raise click.UsageError(f"--{other[0].removesuffix('_min')} is for a host: say --to hf-endpoint")


def _agree(terms: str, *, yes: bool) -> None:
    """Say what it costs, and ask."""
    if not terms:
        return
    _out.say(_out.wrapped(terms, indent=""))
    if not yes and not _out.interactive():
        raise click.UsageError("deploying this costs money from then on: say --yes to agree")
    if not yes:
        click.confirm("Deploy it?", abort=True, err=True)


def _job(source: str) -> FineTuneJob | None:
    """The job of that name; None where the name leads to a model without a job."""
    from finetune_sdk.deploy.fetching import is_hub_name  # noqa: PLC0415 - not for `--help`
    from finetune_sdk.errors import JobNotFound  # noqa: PLC0415

    try:
        return attach(source)
    except JobNotFound:
        if is_hub_name(source) or Path(source).exists():
            return None
        raise


def _named(source: str, name: str | None, serving: Serving | None) -> Deployment:
    """A server here for a folder or a model of the Hub."""
    from finetune_sdk.deploy import fetching, local  # noqa: PLC0415 - not for `--help`

    artifact = fetching.named(source)
    return local.deploy(home(), artifact, name=name or _short(source), serving=serving, say=_out.say)


def _hosted(
    job: FineTuneJob | None,
    source: str,
    to: str,
    name: str | None,
    chosen: dict[str, Any],
    there: dict[str, Any],
    *,
    yes: bool,
) -> Deployment:
    """At a host, whose price is said first."""
    from finetune_sdk.deploy import fetching, hosts  # noqa: PLC0415 - not for `--help`
    from finetune_sdk.store import JobStore  # noqa: PLC0415

    minutes = 15 if there["idle_min"] is None else there["idle_min"] or None
    given: dict[str, Any] = {**there, "idle_min": minutes}
    hosting = hosts.Hosting(**given)
    host = hosts.load(to, home=home())
    artifact = fetching.named(source if job is None else str(job.exportable()))
    called = name or (_short(source).lower() if job is None else job.id)
    _agree(host.terms(artifact, name=called, hosting=hosting), yes=yes)
    if job is not None:
        return job.deploy(name=called, **chosen, to=to, hosting=hosting)
    made = host.deploy(artifact, name=called, hosting=hosting, say=_out.say)
    JobStore(home()).save_deployment(None, made)
    return made


def _short(source: str) -> str:
    """What a model without a job is called: its own name, without owner and revision."""
    return source.rstrip("/").rpartition("/")[2].partition("@")[0].removesuffix(".gguf")


def _serving(here: dict[str, Any], beside: tuple[str, ...]) -> Serving | None:
    """How to serve on this machine; None = nothing was said about it."""
    from finetune_sdk.deploy.asked import Serving  # noqa: PLC0415 - not for `--help`

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
