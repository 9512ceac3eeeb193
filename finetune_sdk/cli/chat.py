"""`finetune chat`: talk to a deployment in the terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from finetune_sdk.cli import _out
from finetune_sdk.cli._app import settings
from finetune_sdk.cli.deployments import home

if TYPE_CHECKING:
    from finetune_sdk.deploy.handle import Deployed


@click.command("chat")
@click.argument("target", metavar="DEPLOYMENT|JOB")
@click.option("-m", "--message", metavar="TEXT", help="Ask this, print the answer, and leave. - reads it from stdin.")
@click.option("--model", metavar="NAME", help="Another model of the same server, such as base.")
@click.option("--system", metavar="TEXT", help="A system message to begin with.")
@click.option("--max-tokens", type=click.IntRange(min=1), help="Tokens an answer may have.")
@click.option("--temperature", type=click.FloatRange(0, 2), help="0 = always the likeliest token.")
@settings
def command(
    target: str,
    message: str | None,
    model: str | None,
    system: str | None,
    max_tokens: int | None,
    temperature: float | None,
) -> None:
    """Talk to a deployment, or to a job's model (deployed for it if need be).

    Answers come as they are written. /new begins again, /exit or Ctrl-D leaves.
    """
    deployed = _deployed(target)
    given = {"model": model, "max_tokens": max_tokens, "temperature": temperature}
    options = {name: value for name, value in given.items() if value is not None}
    opening = [{"role": "system", "content": system}] if system else []
    if message is not None:
        text = sys.stdin.read() if message == "-" else message
        _once(deployed, [*opening, {"role": "user", "content": text}], options)
    else:
        _conversation(deployed, opening, options)


def _deployed(target: str) -> Deployed:
    from finetune_sdk.deploy import hub  # noqa: PLC0415 - not for `--help`
    from finetune_sdk.deploy.handle import Deployed  # noqa: PLC0415
    from finetune_sdk.errors import JobNotFound  # noqa: PLC0415

    try:
        found = Deployed.of(hub.find(home(), target), home()).refresh()
    except JobNotFound as missing:
        return _of_job(target, missing)
    if found.status in ("stopped", "failed") and hub.is_local(home(), found):
        raise click.UsageError(
            f"{found.id} is {found.status}{f': {found.error}' if found.error else ''}. "
            f"Start it again: {_out.hint('deployments', 'restart', found.id)}"
        )
    return found


def _of_job(target: str, missing: Exception) -> Deployed:
    """Deploys a job's model where that costs nothing. Raises `missing` when there is no such job either."""
    from finetune_sdk.errors import JobNotFound  # noqa: PLC0415
    from finetune_sdk.job import FineTuneJob  # noqa: PLC0415

    try:
        job = FineTuneJob.attach(target, home=home())
    except JobNotFound:
        raise missing from None
    if job.deploy_terms():
        raise click.UsageError(f"deploying this job costs money: {_out.hint('deploy', job.id)}")
    _out.say(f"deploying {job.id}; it stays until: {_out.hint('deployments', 'rm', job.id)}")
    return job.deploy()


def _once(deployed: Deployed, messages: list[dict[str, Any]], options: dict[str, Any]) -> None:
    if _out.speaks_json():
        answer = deployed.chat(messages, **options)
        return _out.data({"model": options.get("model", deployed.model), "answer": answer}, lambda: answer)
    _spoken(deployed, messages, options)
    return None


def _spoken(deployed: Deployed, messages: list[dict[str, Any]], options: dict[str, Any]) -> str:
    pieces: list[str] = []
    for piece in deployed.stream(messages, **options):
        pieces.append(piece)
        click.echo(piece, nl=False)
        sys.stdout.flush()
    click.echo()
    return "".join(pieces)


def _conversation(deployed: Deployed, opening: list[dict[str, Any]], options: dict[str, Any]) -> None:
    from finetune_sdk.errors import ProviderError  # noqa: PLC0415

    _out.say(f"talking to {options.get('model', deployed.model)}; /new begins again, /exit leaves")
    messages = list(opening)
    while (text := _asked()) is not None:
        if text == "/new":
            messages = list(opening)
            continue
        turn = {"role": "user", "content": text}
        try:
            answer = _spoken(deployed, [*messages, turn], options)
        except ProviderError as exc:
            _out.say(f"error: {exc}")
            continue
        messages += [turn, {"role": "assistant", "content": answer}]


def _asked() -> str | None:
    """The next thing a person says; None = they leave."""
    while True:
        try:
            text = input("> " if sys.stdin.isatty() else "").strip()
        except EOFError:
            return None
        if text in ("/exit", "/quit"):
            return None
        if text:
            return text
