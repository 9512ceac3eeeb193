"""`finetune data`: look at datasets, convert them, and make them fit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from finetune_sdk.cli import _out
from finetune_sdk.cli._app import settings

if TYPE_CHECKING:
    from finetune_sdk.data import Dataset
    from finetune_sdk.data.convert import Outcome

F = TypeVar("F", bound=Callable[..., Any])
_BAD_DATA = 3


def sources(command: F) -> F:
    """Files to read, how to read them."""
    for decorate in (
        click.option("--column", "columns", multiple=True, metavar="OURS=YOURS", help="Map a column; repeat for more."),
        click.option("--as", "named", metavar="FORMAT", help="Read as this format instead of the detected one."),
        click.argument("files", nargs=-1, required=True, metavar="FILE..."),
    ):
        command = decorate(command)
    return command


out_option = click.option(
    "--out", required=True, type=click.Path(path_type=Path), metavar="FILE", help="Where to; its suffix says how."
)
allow_option = click.option(
    "--allow-loss", "allow", multiple=True, metavar="RULE", help='Accept losing this; "all" for everything.'
)


def _open(files: tuple[str, ...], named: str | None, columns: tuple[str, ...]) -> Dataset:
    from finetune_sdk.data import Dataset  # noqa: PLC0415 - not for `--help`

    mapping: dict[str, str] = {}
    for pair in columns:
        ours, sign, yours = pair.partition("=")
        if not sign or not ours or not yours:
            raise click.BadParameter(f"{pair!r} is not OURS=YOURS, such as prompt=question", param_hint="--column")
        mapping[ours] = yours
    return Dataset.open(files, format=named, columns=mapping)


@click.group("data")
@settings
def group() -> None:
    """Check, convert, split, sample, dedupe, merge and show datasets. FILE may be a folder or a quoted glob."""


@group.command("check")
@sources
@settings
def check(files: tuple[str, ...], named: str | None, columns: tuple[str, ...]) -> None:
    """Say in one pass what is in the files and what is wrong with them. Exit code 3 when something forbids training."""
    from finetune_sdk.cli._data_text import survey_text  # noqa: PLC0415
    from finetune_sdk.data.survey import survey  # noqa: PLC0415

    found = survey(_open(files, named, columns))
    _out.data(found, lambda: survey_text(found))
    if found.errors:
        click.get_current_context().exit(_BAD_DATA)


@group.command("stats")
@sources
@settings
def stats(files: tuple[str, ...], named: str | None, columns: tuple[str, ...]) -> None:
    """Count rows, roles, turns, labels and lengths."""
    from finetune_sdk.cli._data_text import stats_text  # noqa: PLC0415
    from finetune_sdk.data.survey import survey  # noqa: PLC0415

    found = survey(_open(files, named, columns))
    _out.data(found, lambda: stats_text(found))


@group.command("show")
@sources
@click.option("-n", "--rows", default=3, show_default=True, help="How many rows.")
@settings
def show(files: tuple[str, ...], named: str | None, columns: tuple[str, ...], rows: int) -> None:
    """Print the first rows as they are understood."""
    from itertools import islice  # noqa: PLC0415

    from finetune_sdk.cli._data_text import example_text  # noqa: PLC0415

    dataset = _open(files, named, columns)
    examples = list(islice(dataset, rows))
    for detection in dataset.known_detection:
        _out.say(str(detection))
    _out.data(examples, lambda: "\n\n".join(example_text(example) for example in examples))


@group.command("convert")
@sources
@click.option("--to", "to", required=True, metavar="FORMAT", help="`finetune data formats` lists them.")
@out_option
@allow_option
@settings
def convert(
    files: tuple[str, ...], named: str | None, columns: tuple[str, ...], to: str, out: Path, allow: tuple[str, ...]
) -> None:
    """Write the rows in another format. Nothing is written when a row would lose what matters."""
    from finetune_sdk.data import convert as operations  # noqa: PLC0415

    _answer(operations.convert(_open(files, named, columns), out, to=to, allow=allow))


@group.command("merge")
@sources
@click.option("--to", "to", metavar="FORMAT", help="Format of the result; default: the first file's.")
@out_option
@allow_option
@settings
def merge(
    files: tuple[str, ...],
    named: str | None,
    columns: tuple[str, ...],
    to: str | None,
    out: Path,
    allow: tuple[str, ...],
) -> None:
    """Write several files as one."""
    from finetune_sdk.data import convert as operations  # noqa: PLC0415

    _answer(operations.merge(_open(files, named, columns), out, to=to, allow=allow))


@group.command("split")
@sources
@click.option("--validation", type=click.FloatRange(0, 1, min_open=True, max_open=True), help="Share held out.")
@click.option("--test", type=click.FloatRange(0, 1, min_open=True, max_open=True), help="Share held out for tests.")
@click.option("--seed", default=0, show_default=True)
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), metavar="DIR")
@settings
def split(
    files: tuple[str, ...],
    named: str | None,
    columns: tuple[str, ...],
    validation: float | None,
    test: float | None,
    seed: int,
    out: Path,
) -> None:
    """Write train, validation and test files. Content decides, not row order; equal prompts stay together."""
    from finetune_sdk.data import convert as operations  # noqa: PLC0415

    shares = {name: share for name, share in (("validation", validation), ("test", test)) if share is not None}
    if not shares:
        raise click.UsageError("give --validation, --test or both")
    outs = {name: out / f"{name}.jsonl" for name in ("train", *shares)}
    _answer(operations.split(_open(files, named, columns), outs, shares=shares, seed=seed))


@group.command("sample")
@sources
@click.option("-n", "--rows", required=True, type=click.IntRange(min=1), help="How many rows to keep.")
@click.option("--seed", default=0, show_default=True)
@out_option
@settings
def sample(
    files: tuple[str, ...], named: str | None, columns: tuple[str, ...], rows: int, seed: int, out: Path
) -> None:
    """Write a random part of the rows, the same part every time."""
    from finetune_sdk.data import convert as operations  # noqa: PLC0415

    _answer(operations.sample(_open(files, named, columns), out, rows=rows, seed=seed))


@group.command("dedupe")
@sources
@click.option("--by", type=click.Choice(["content", "prompt"]), default="content", show_default=True)
@out_option
@settings
def dedupe(files: tuple[str, ...], named: str | None, columns: tuple[str, ...], by: str, out: Path) -> None:
    """Write the rows without repetitions; the first one stays."""
    from finetune_sdk.data import convert as operations  # noqa: PLC0415

    _answer(operations.dedupe(_open(files, named, columns), out, by=by))


@group.command("fix")
@sources
@out_option
@settings
def fix(files: tuple[str, ...], named: str | None, columns: tuple[str, ...], out: Path) -> None:
    """Write the rows that can be trained on; say which were left out and why."""
    from finetune_sdk.data import convert as operations  # noqa: PLC0415

    _answer(operations.fix(_open(files, named, columns), out))


@group.command("formats")
@settings
def formats() -> None:
    """List the formats that can be read and written."""
    from finetune_sdk.data.formats import FORMATS  # noqa: PLC0415

    rows = [
        {
            "name": entry.name,
            "kind": entry.kind,
            "writes": entry.render is not None,
            "aliases": list(entry.aliases),
            "summary": entry.summary,
            "source": entry.source,
        }
        for entry in sorted(FORMATS, key=lambda entry: (entry.kind, entry.name))
    ]
    table = [
        (str(row["name"]), str(row["kind"]), "yes" if row["writes"] else "no", str(row["summary"])) for row in rows
    ]
    _out.data(rows, lambda: _out.columns(table, header=("FORMAT", "KIND", "WRITTEN", "WHAT")))


def _answer(outcome: Outcome) -> None:
    from finetune_sdk.cli._data_text import outcome_text  # noqa: PLC0415

    _out.data(outcome, lambda: outcome_text(outcome))
    if not outcome.written:
        click.get_current_context().exit(_BAD_DATA)
