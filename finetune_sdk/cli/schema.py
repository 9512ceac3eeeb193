"""`finetune schema`."""

from __future__ import annotations

from pathlib import Path

import click

from finetune_sdk.cli import _out
from finetune_sdk.cli._app import settings


@click.command("schema")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write it there instead.")
@settings
def command(out: Path | None) -> None:
    """Print the JSON Schema of a job description.

    An editor with YAML support completes and checks a spec whose first line is
    `# yaml-language-server: $schema=finetune.schema.json`.
    """
    from finetune_sdk import config  # noqa: PLC0415 - not for `--help`

    text = _out.json_text(config.schema())
    if out is None:
        click.echo(text)
        return
    out.write_text(text + "\n", encoding="utf-8")
    _out.say(f"wrote {out}; first line of a spec:  # yaml-language-server: $schema={out}")
