"""From arguments to an exit code: the one place that catches errors and says them."""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from types import FrameType

import click

from finetune_sdk.cli._app import Terminated, cli
from finetune_sdk.cli._out import visible
from finetune_sdk.errors import FineTuneError, SpecError
from finetune_sdk.redact import redact

INTERRUPTED = 130
_COMPLETE = "_FINETUNE_COMPLETE"  # set by the shell that asks for completions
_BROKEN_PIPE = 141  # what a shell reports for a process that SIGPIPE ended


def answer(args: Sequence[str]) -> int:
    """Run one command and return its exit code; errors are told on stderr, as JSON when the command speaks JSON."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        code = _run(list(args))
        sys.stdout.flush()
    except BrokenPipeError:
        _swallow_output()
        return _BROKEN_PIPE
    except (KeyboardInterrupt, click.Abort):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # we are leaving; one more must not tear the farewell
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 2
    except Exception as error:  # noqa: BLE001 - told by its type; a fault of ours is told as one
        text, code = _explained(error)
        return _tell(error, text, code, args)
    return code


def _run(args: list[str]) -> int:
    """What click's own `main` does, without its handling of pipes and exits."""
    if _COMPLETE in os.environ:
        cli.main(args, prog_name="finetune")
    try:
        with cli.make_context("finetune", args, color=_colour()) as context:
            cli.invoke(context)
    except click.exceptions.Exit as end:
        return end.exit_code
    return 0


def _explained(error: Exception) -> tuple[str, int]:
    """The sentence and the exit code of an error."""
    match error:
        case click.ClickException():
            return error.format_message() + _usage_hint(error), 2
        case FineTuneError():
            return str(error), error.exit_code
        case OSError():
            return (f"{error.filename}: " if error.filename else "") + (error.strerror or str(error)), 1
        case _:
            return f"internal error: {type(error).__name__}: {error}. Set FINETUNE_DEBUG=1 to see where.", 1


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """SIGTERM ends a command as Ctrl-C does: what runs elsewhere goes on."""
    raise Terminated


def _tell(error: Exception, text: str, code: int, args: Sequence[str]) -> int:
    if os.environ.get("FINETUNE_DEBUG"):
        traceback.print_exception(error)
    text = redact(text)
    if _speaks_json(args):
        facts: dict[str, object] = {"type": type(error).__name__, "message": text, "exit_code": code}
        if isinstance(error, SpecError) and error.problems:
            facts["problems"] = error.problems
        if isinstance(error, FineTuneError):
            facts |= {"sent": error.sent, "charged": error.charged}
        text = json.dumps({"error": facts}, ensure_ascii=False)
    else:
        text = click.style("error: ", fg="red", bold=True) + visible(text) + _nothing_sent(error, text)
    click.echo(text, err=True, color=_colour())
    return code


def _colour() -> bool | None:
    """False where the user wants none (https://no-color.org); else click's own choice, which is by the terminal."""
    return False if os.environ.get("NO_COLOR") else None


def _nothing_sent(error: Exception, text: str) -> str:
    """Said wherever it is certain and the text does not say it yet."""
    certain = isinstance(error, FineTuneError) and error.sent is False and error.charged is False
    return "\n(nothing was sent, nothing was charged)" if certain and "nothing was sent" not in text else ""


def _speaks_json(args: Sequence[str]) -> bool:
    """Read from the arguments themselves: they may be what is wrong."""
    pairs = zip(args, [*args[1:], ""], strict=True)
    return any(one == "--format=json" or (one == "--format" and two == "json") for one, two in pairs)


def _usage_hint(error: click.ClickException) -> str:
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f" See `{context.command_path} --help`." if context is not None else ""


def _swallow_output() -> None:
    """The reader of our output is gone; Python would complain once more when it flushes at exit."""
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, sys.stdout.fileno())
