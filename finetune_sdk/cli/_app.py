"""The tree of commands. Only names and one-line texts here: a command's module is imported when it is called."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])
Format = Literal["text", "json"]


class Terminated(KeyboardInterrupt):
    """SIGTERM: an interruption by somebody who cannot be asked a question."""


@dataclass(slots=True)
class Settings:
    """What every command may be told. The last place wins: `finetune --home A jobs ls --home B` is B."""

    home: str | None = None
    """As typed; None = not given."""
    format: Format = "text"

    @property
    def json(self) -> bool:
        return self.format == "json"


class LazyGroup(click.Group):
    """A group that knows its commands as `name -> (target, help)` and imports a target when it is called."""

    def __init__(self, *args: Any, lazy: Mapping[str, tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        return list(self.lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in self.lazy:
            return None
        module, _, name = self.lazy[cmd_name][0].partition(":")
        command: object = getattr(importlib.import_module(module), name)
        if not isinstance(command, click.Command):
            raise TypeError(f"{module}:{name} is no command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.lazy and not args[0].startswith("-"):
            from finetune_sdk._words import did_you_mean  # noqa: PLC0415 - only for a typing error

            meant = did_you_mean(args[0], self.lazy)
            ctx.fail(f"no command {args[0]!r}{meant}" + ("" if meant else "."))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self.lazy.items()])


def settings(command: F) -> F:
    """Give a command `--home` and `--format`; they end up in `current()`."""
    home = click.option(
        "--home",
        type=click.Path(file_okay=False),
        metavar="DIR",
        expose_value=False,
        callback=_set("home"),
        help="Folder of jobs and environments. Default: $FINETUNE_HOME, else the user's data folder.",
    )
    form = click.option(
        "--format",
        type=click.Choice(["text", "json"]),
        expose_value=False,
        callback=_set("format"),
        help="text (default) for people, json for programs; on stdout, while talk goes to stderr.",
    )
    return home(form(command))


def _set(name: str) -> Callable[[click.Context, click.Parameter, str | None], None]:
    def store(ctx: click.Context, _parameter: click.Parameter, value: str | None) -> None:
        if value is not None:
            setattr(ctx.ensure_object(Settings), name, value)

    return store


def current() -> Settings:
    """The settings of the running command."""
    return click.get_current_context().ensure_object(Settings)


def _version(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from finetune_sdk import __version__  # noqa: PLC0415

        click.echo(f"finetune {__version__}")
        ctx.exit()


_HOME = "finetune_sdk.cli"
COMMANDS: Mapping[str, tuple[str, str]] = {
    "plan": (f"{_HOME}.plan:command", "Show what a job would do: requests, data findings, cost. Sends nothing."),
    "run": (f"{_HOME}.run:command", "Fine-tune: submit a job, follow it, show that it helped."),
    "jobs": (f"{_HOME}.jobs:group", "List, follow, cancel, pause, resume and remove jobs."),
    "deploy": (f"{_HOME}.deploy:command", "Let a tuned model, or a checkpoint, answer OpenAI's chat API."),
    "deployments": (f"{_HOME}.deployments:group", "List, show, end and restart what answers."),
    "export": (f"{_HOME}.export:command", "Export a tuned model: merged, GGUF, vLLM, the Hub, ONNX."),
    "chat": (f"{_HOME}.chat:command", "Talk to a deployment, or to a job's model."),
    "serve": (f"{_HOME}.serve:command", "Answer OpenAI's fine-tuning and chat API, in front of any backend."),
    "compare": (f"{_HOME}.compare:command", "Train and ask every candidate the same questions: which one is best?"),
    "report": (f"{_HOME}.report:command", "Write a job's HTML report."),
    "data": (f"{_HOME}.data:group", "Check datasets and list their formats."),
    "providers": (f"{_HOME}.providers:group", "What each provider can do."),
    "envs": (f"{_HOME}.envs:group", "List, build and remove the environments that workers run in."),
    "import": (
        f"{_HOME}.import_:command",
        "Turn another tool's job description, such as AutoTrain's YAML, into a spec.",
    ),
    "schema": (f"{_HOME}.schema:command", "Print the JSON Schema of a job description."),
    "doctor": (f"{_HOME}.doctor:command", "What works on this machine, what is missing, and what fixes it."),
    "completion": (f"{_HOME}.completion:command", "Print the completion script of a shell."),
}


@click.group(cls=LazyGroup, lazy=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
@settings
def cli() -> None:
    """Fine-tune language models anywhere: one job description, one command.

    \b
    finetune plan job.yaml      what would happen, and what it costs
    finetune run job.yaml       do it, watch it, see that it helped
    finetune jobs ls            everything that runs or ran

    Exit codes: 0 ok, 1 job failed, 2 bad spec or usage, 3 bad data, 4 provider refused or unreachable, 5 over budget,
    130 interrupted.
    """
