"""`finetune serve`: OpenAI's fine-tuning and chat API in front of any backend."""

from __future__ import annotations

import ipaddress
import sys
from pathlib import Path

import click

from finetune_sdk.cli import _out
from finetune_sdk.cli._app import current, settings
from finetune_sdk.errors import MissingExtra, SpecError


@click.command("serve")
@click.option("--provider", metavar="NAME", help="The backend of jobs that no route sends elsewhere. Default: peft.")
@click.option(
    "--config", type=click.Path(dir_okay=False), metavar="FILE", help="Models, routes, limits (gateway.yaml)."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Beyond this machine only with --api-key-file.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="0 = any free one.")
@click.option("--api-key-file", type=click.Path(dir_okay=False), metavar="FILE", help="A key, or name:key, per line.")
@click.option("--log-level", default="warning", type=click.Choice(["debug", "info", "warning", "error"]), hidden=True)
@settings
def command(
    provider: str | None, config: str | None, host: str, port: int, api_key_file: str | None, log_level: str
) -> None:
    """Answer OpenAI's fine-tuning and chat API on this machine, in front of a backend.

    Point any client of OpenAI's at it by its base_url. Jobs are those of the home: `finetune jobs ls` lists them too,
    and they go on when the server ends.
    """
    try:
        from finetune_sdk.gateway import keys as key_files  # noqa: PLC0415 - an extra, and not for `--help`
        from finetune_sdk.gateway.app import build  # noqa: PLC0415
        from finetune_sdk.gateway.config import load  # noqa: PLC0415
        from finetune_sdk.gateway.server import listen, serve  # noqa: PLC0415
    except ImportError as error:
        text = f'`finetune serve` needs {error.name}, which is not installed. Run: pip install "finetune-sdk[serve]"'
        raise MissingExtra(text) from error
    read = load(None if config is None else Path(config), provider=provider)
    keys = key_files.Keys() if api_key_file is None else key_files.read(Path(api_key_file))
    if not _loopback(host) and not keys:
        raise SpecError(f"listening on {host} lets other machines in: give --api-key-file, or leave --host out")
    try:
        door = listen(host, port)
    except OSError as error:
        raise SpecError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
    with door:
        guard = build(current().home, read, keys=keys, loopback=_loopback(host))
        shown = f"http://{f'[{host}]' if ':' in host else host}:{door.getsockname()[1]}"
        facts = {"base_url": f"{shown}/v1", "page": f"{shown}/", "provider": read.provider}
        _out.data(facts, lambda: f"{shown}/v1 answers OpenAI's API with {read.provider}; {shown}/ is its page")
        sys.stdout.flush()  # whoever started us reads the port there
        _out.say("Ctrl-C ends the server; jobs go on without it")
        serve(guard, door, log_level=log_level)
    _out.say("the server has ended; jobs go on")


def _loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
