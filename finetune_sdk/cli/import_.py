"""`finetune import`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from finetune_sdk.cli import _out
from finetune_sdk.cli._app import settings

if TYPE_CHECKING:
    from finetune_sdk.imports import Imported


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@click.option(
    "-o", "--out", type=click.Path(dir_okay=False, path_type=Path), metavar="OUT", help="Write the spec there."
)
@settings
def command(file: Path, out: Path | None) -> None:
    """Turn another tool's job description into a spec: AutoTrain's YAML, and what else an importer knows.

    Every key is mapped, or there is a finding that says why not. Without -o the spec goes to stdout.
    """
    from finetune_sdk import imports  # noqa: PLC0415 - not for `--help`

    found = imports.read(file)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(found.yaml, encoding="utf-8")
    _tell(found)
    if out is None or _out.speaks_json():
        _out.data({"spec": found.document, "mapped": found.mapped, "findings": found.findings}, lambda: found.yaml)
    if out is not None:
        _out.say(f"wrote {out}; see what it would do: {_out.hint('plan', str(out))}")


def _tell(found: Imported) -> None:
    if _out.speaks_json():
        return
    _out.say(_out.columns([(one.key, one.to) for one in found.mapped], header=(found.importer, "here")))
    for finding in found.findings:
        _out.say(f"{finding.severity}: {finding}")
    _out.say()
