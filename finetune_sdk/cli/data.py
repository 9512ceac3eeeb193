"""`finetune data`: look at datasets, convert them, and make them fit."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from finetune_sdk.cli import _out
from finetune_sdk.cli._app import settings
from finetune_sdk.cli._data_progress import shown

if TYPE_CHECKING:
    from finetune_sdk.data import Dataset
    from finetune_sdk.data.convert import Outcome
    from finetune_sdk.data.tools.tokens import Counter

F = TypeVar("F", bound=Callable[..., Any])
_BAD_DATA = 3
_REST = 0.999
"""The share of a part that has all there is beside counted ones: below 1, where counts begin."""
_CLOSE = 1e-9
_SIZE = re.compile(r"[0-9]*\.?[0-9]+")
_COLUMN_HELP = "Map a column, or a template of columns such as 'text=Q: {question}\\nA: {answer}'; repeatable."


def sources(command: F) -> F:
    """Files to read and how to read them; the command gets a `Dataset` from `opened`."""
    for decorate in (
        click.option("--column", "columns", multiple=True, metavar="OURS=YOURS", help=_COLUMN_HELP),
        click.option("--as", "named", metavar="FORMAT", help="Read as this format instead of the detected one."),
        click.argument("files", nargs=-1, required=True, metavar="FILE..."),
    ):
        command = decorate(command)
    return command


out_option = click.option(
    "--out", required=True, type=click.Path(path_type=Path), metavar="FILE", help="Where to; its suffix says how."
)
loss_option = click.option(
    "--allow-loss", "allow_loss", multiple=True, metavar="RULE", help='Accept losing this; "all" for everything.'
)
allow_option = click.option(
    "--allow",
    "allow",
    multiple=True,
    type=click.Choice(["secret", "personal-data"]),
    help="Let these leave the machine: hosted targets refuse them otherwise. Repeatable.",
)
model_option = click.option("--model", metavar="ID", help="Judge by the rules for this model of the target.")
tokenizer_option = click.option(
    "--tokenizer",
    metavar="PATH|NAME",
    help="Count tokens exactly: a tokenizer.json, its folder, o200k_base, or a model of OpenAI's.",
)


def opened(files: tuple[str, ...], named: str | None, columns: tuple[str, ...]) -> Dataset:
    """The dataset a command was told to read."""
    from finetune_sdk.data import Dataset  # noqa: PLC0415 - not for `--help`

    mapping: dict[str, str] = {}
    for pair in columns:
        ours, sign, yours = pair.partition("=")
        if not sign or not ours or not yours:
            raise click.BadParameter(f"{pair!r} is not OURS=YOURS, such as prompt=question.", param_hint="--column")
        if ours in mapping:
            what = f"{ours!r} is mapped to {mapping[ours]!r} and to {yours!r}"
            raise click.BadParameter(f"{what}; join them: '{ours}={{a}} {{b}}'.", param_hint="--column")
        mapping[ours] = _unescaped(yours) if "{" in yours else yours
    click.get_current_context().with_resource(shown())
    return Dataset.open(files, format=named, columns=mapping)


def _unescaped(template: str) -> str:
    """A template as a shell hands it over: `\\n` and `\\t` are a line break and a tab there too, as in Olive's CLI."""
    return re.sub(r"\\([nt\\])", lambda match: {"n": "\n", "t": "\t", "\\": "\\"}[match[1]], template)


def _counter(name: str | None, model: str | None = None) -> Counter:
    from finetune_sdk.data.tools import tokens  # noqa: PLC0415

    return tokens.for_model(model) if name is None else tokens.counter(name)


def _names(given: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in given.split(",") if name.strip()))
    if not names:
        raise click.BadParameter("no target is named, such as openai,peft", param_hint="--for")
    return names


@click.group("data")
@settings
def group() -> None:
    """Check, convert, split, sample, dedupe, merge, fix and show datasets. FILE may be a folder or a quoted glob."""


@group.command("check")
@sources
@click.option(
    "--for", "targets", metavar="TARGET,...", help="Judge by these targets' rules only, and fail on a refusal."
)
@click.option("--method", metavar="METHOD", help="Judge by the rules for this method only, such as sft or dpo.")
@model_option
@tokenizer_option
@allow_option
@click.option("--html", "html", type=click.Path(dir_okay=False, path_type=Path), help="Write the report there, too.")
@settings
def check(
    files: tuple[str, ...],
    named: str | None,
    columns: tuple[str, ...],
    targets: str | None,
    method: str | None,
    model: str | None,
    tokenizer: str | None,
    allow: tuple[str, ...],
    html: Path | None,
) -> None:
    """Say in one pass what is in the files, what is wrong with them, and which targets take them.

    Exit code 3 when something forbids training, or when a target named with --for refuses the data.
    """
    from finetune_sdk.cli._data_html import report_html  # noqa: PLC0415
    from finetune_sdk.cli._data_text import check_text  # noqa: PLC0415
    from finetune_sdk.data.targets import TARGETS  # noqa: PLC0415
    from finetune_sdk.data.tools.check import check as judge  # noqa: PLC0415

    asked = TARGETS if targets is None else _names(targets)
    dataset = opened(files, named, columns)
    if html is not None and any(path.exists() and html.exists() and path.samefile(html) for path in dataset.files):
        raise click.BadParameter(f"{html} is the data itself", param_hint="--html")
    found = judge(dataset, asked, method=method, model=model, counter=_counter(tokenizer, model), allow=allow)
    if html is not None:
        from finetune_sdk.data.writing import AtomicFile  # noqa: PLC0415

        html.parent.mkdir(parents=True, exist_ok=True)
        with AtomicFile(html) as file:
            file.write(report_html(found).encode())
            file.commit()
        _out.say(f"report: {html}")
    _out.data({**vars_of(found), "ok": found.ok}, lambda: check_text(found, all_targets=targets is None))
    if found.errors or (targets is not None and not found.ok):
        click.get_current_context().exit(_BAD_DATA)


def vars_of(record: Any) -> dict[str, Any]:
    """A record's fields, for JSON."""
    import dataclasses  # noqa: PLC0415

    return {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}


@group.command("stats")
@sources
@tokenizer_option
@settings
def stats(files: tuple[str, ...], named: str | None, columns: tuple[str, ...], tokenizer: str | None) -> None:
    """Count rows, roles, turns, labels, lengths and tokens."""
    from finetune_sdk.cli._data_text import stats_text  # noqa: PLC0415
    from finetune_sdk.data.tools.check import check as judge  # noqa: PLC0415

    found = judge(opened(files, named, columns), (), counter=_counter(tokenizer), search=False)
    counts = {key: value for key, value in vars_of(found).items() if key not in ("findings", "targets")}
    _out.data(counts, lambda: stats_text(found))
    if found.errors:
        rows = "row" if found.errors == 1 else "rows"
        _out.say(f"{found.errors:,} {rows} with errors: {_out.hint('data', 'check', *files)}")
        click.get_current_context().exit(_BAD_DATA)


@group.command("tokens")
@sources
@tokenizer_option
@click.option("--sample", type=click.IntRange(min=2), help="Tokenise this many rows only and bound the error.")
@settings
def tokens(
    files: tuple[str, ...], named: str | None, columns: tuple[str, ...], tokenizer: str | None, sample: int | None
) -> None:
    """Count tokens: exactly with --tokenizer, else by a rule of thumb with assumed bounds."""
    from finetune_sdk.data.tools.tokens import count_tokens  # noqa: PLC0415

    if sample is not None and tokenizer is None:
        raise click.UsageError("--sample draws rows for a --tokenizer; without one all rows are measured")
    found = count_tokens(opened(files, named, columns), _counter(tokenizer), sample=sample)
    bounds = "" if found.exact else f", between {found.low:,} and {found.high:,}"
    _out.data(found, lambda: f"{found.total:,} tokens in {found.rows:,} rows{bounds} ({found.basis})")


@group.command("show")
@sources
@click.option("-n", "--rows", default=3, show_default=True, type=click.IntRange(min=1), help="How many rows.")
@click.option("--skip", default=0, type=click.IntRange(min=0), help="Leave out this many rows first.")
@settings
def show(files: tuple[str, ...], named: str | None, columns: tuple[str, ...], rows: int, skip: int) -> None:
    """Print rows as they are understood, and say which ones on the way are not."""
    from itertools import islice  # noqa: PLC0415

    from finetune_sdk.cli._data_rows import example_text  # noqa: PLC0415
    from finetune_sdk.data.report import Report  # noqa: PLC0415

    dataset, report = opened(files, named, columns), Report()
    examples = list(islice(dataset.scan(report), skip, skip + rows))
    for detection in dataset.known_detection:
        _out.say(str(detection))
    if examples or _out.speaks_json():
        _out.data(examples, lambda: "\n\n".join(example_text(example) for example in examples))
    elif skip and not report.errors:
        _out.say(f"no row is left after the first {skip:,}")
    for finding in report.findings():
        if finding.severity == "error":
            _out.say(_out.visible(f"error: {finding}"))
    if report.errors:
        click.get_current_context().exit(_BAD_DATA)


@group.command("convert")
@sources
@click.option("--to", "to", required=True, metavar="FORMAT|TARGET", help="A format of `data formats`, or a target.")
@out_option
@loss_option
@allow_option
@model_option
@click.option("--fix", "repair", is_flag=True, help="Apply the safe repairs of `data fix` on the way.")
@settings
def convert(
    files: tuple[str, ...],
    named: str | None,
    columns: tuple[str, ...],
    to: str,
    out: Path,
    allow_loss: tuple[str, ...],
    allow: tuple[str, ...],
    model: str | None,
    repair: bool,
) -> None:
    """Write the rows in another format, or as a target takes them. Nothing is written when a row would lose meaning."""
    from finetune_sdk.data.targets import TARGETS  # noqa: PLC0415
    from finetune_sdk.data.tools import files as operations  # noqa: PLC0415
    from finetune_sdk.data.tools.repairs import chosen  # noqa: PLC0415

    dataset = opened(files, named, columns)
    repairs = chosen() if repair else ()
    if to in TARGETS:
        _answer(
            operations.convert_for(dataset, out, to, allow_loss=allow_loss, allow=allow, model=model, repairs=repairs)
        )
        return
    _answer(operations.convert_to(dataset, out, to, allow_loss=allow_loss, repairs=repairs))


@group.command("merge")
@sources
@click.option("--to", "to", metavar="FORMAT|TARGET", help="Format of the result; default: the first file's.")
@out_option
@loss_option
@allow_option
@settings
def merge(
    files: tuple[str, ...],
    named: str | None,
    columns: tuple[str, ...],
    to: str | None,
    out: Path,
    allow_loss: tuple[str, ...],
    allow: tuple[str, ...],
) -> None:
    """Write several files as one, in the order given. For a target it is what `convert` makes of them."""
    from finetune_sdk.data import convert as writing  # noqa: PLC0415
    from finetune_sdk.data.targets import TARGETS  # noqa: PLC0415
    from finetune_sdk.data.tools import files as operations  # noqa: PLC0415

    dataset = opened(files, named, columns)
    if to in TARGETS:
        _answer(operations.convert_for(dataset, out, to, allow_loss=allow_loss, allow=allow))
        return
    _answer(writing.merge(dataset, out, to=to, allow=allow_loss))


@group.command("split")
@sources
@click.option("--part", "parts", multiple=True, metavar="NAME=SIZE", help="A share below 1 or a number of rows.")
@click.option("--validation", type=float, help="Short for --part validation=SIZE beside train.")
@click.option("--test", type=float, help="Short for --part test=SIZE beside train.")
@click.option("--seed", default=42, show_default=True)
@click.option("--group-by", metavar="KEY", help="Keep rows with equal values of this key together.")
@click.option("--stratify-by", metavar="KEY", help="Keep the shares within each value. Default for labels: the label.")
@click.option("--stable", is_flag=True, help="Shares in probability only: adding rows moves no other row.")
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), metavar="DIR")
@settings
def split(
    files: tuple[str, ...],
    named: str | None,
    columns: tuple[str, ...],
    parts: tuple[str, ...],
    validation: float | None,
    test: float | None,
    seed: int,
    group_by: str | None,
    stratify_by: str | None,
    stable: bool,
    out: Path,
) -> None:
    """Write one file per part. Content decides, not row order; rows that ask the same stay together."""
    from finetune_sdk.data.tools import files as operations  # noqa: PLC0415
    from finetune_sdk.data.tools.splits import Units  # noqa: PLC0415

    sizes = _sizes(parts, validation, test)
    units = Units(seed=seed, group_by=group_by, stratify_by=stratify_by)
    outs = {name: out / f"{name}.jsonl" for name in sizes}
    _answer(operations.split(opened(files, named, columns), outs, sizes, units, exact=not stable))


def _sizes(parts: tuple[str, ...], validation: float | None, test: float | None) -> dict[str, float]:
    """Parts with their sizes; `train` is what the others leave."""
    sizes: dict[str, float] = {}
    short = [(name, size) for name, size in (("validation", validation), ("test", test)) if size is not None]
    for name, size in (*map(_part, parts), *short):
        if name in sizes:
            raise click.BadParameter(f"{name!r} is given twice", param_hint="--part")
        sizes[name] = size
    if not sizes:
        raise click.UsageError("give --validation, --test or --part")
    total = sum(sizes.values())
    whole = len(sizes) > 1 and abs(total - 1) < _CLOSE
    if whole or (any(size >= 1 for size in sizes.values()) and "train" in sizes):
        return sizes
    if "train" in sizes and len(sizes) > 1:
        rest = f"the shares add up to {total:g}, not to 1; without `train` it takes what the others leave"
        raise click.BadParameter(rest, param_hint="--part")
    share = 1 - sum(size for size in sizes.values() if size < 1)
    if share <= 0:
        raise click.BadParameter("the parts take everything and leave nothing for train", param_hint="--part")
    return sizes if "train" in sizes else {"train": min(share, _REST), **sizes}


def _part(pair: str) -> tuple[str, float]:
    name, sign, size = pair.partition("=")
    if not sign or not name.isidentifier() or not _SIZE.fullmatch(size):
        raise click.BadParameter(f"{pair!r} is not NAME=SIZE, such as validation=0.1", param_hint="--part")
    return name, float(size)


@group.command("sample")
@sources
@click.option("-n", "--rows", required=True, type=click.IntRange(min=1), help="How many rows to keep.")
@click.option("--seed", default=42, show_default=True)
@out_option
@settings
def sample(
    files: tuple[str, ...], named: str | None, columns: tuple[str, ...], rows: int, seed: int, out: Path
) -> None:
    """Write a random part of the rows: the same part every time, and part of every larger one."""
    from finetune_sdk.data.tools import files as operations  # noqa: PLC0415

    _answer(operations.sample(opened(files, named, columns), out, rows=rows, seed=seed))


@group.command("dedupe")
@sources
@click.option("--by", type=click.Choice(["content", "prompt"]), default="content", show_default=True)
@click.option("--near", type=click.FloatRange(0.3, 1), help="Texts that overlap this much count as equal, such as 0.8.")
@out_option
@settings
def dedupe(
    files: tuple[str, ...], named: str | None, columns: tuple[str, ...], by: str, near: float | None, out: Path
) -> None:
    """Write the rows without repetitions; the first one stays."""
    from finetune_sdk.data.tools import files as operations  # noqa: PLC0415

    _answer(operations.dedupe(opened(files, named, columns), out, near=near, by_prompt=by == "prompt"))


@group.command("leaks")
@click.argument("train", metavar="TRAIN")
@click.argument("held_out", metavar="HELD_OUT")
@click.option("--near", type=click.FloatRange(0.3, 1), help="Report texts that overlap this much, such as 0.8.")
@settings
def leaks(train: str, held_out: str, near: float | None) -> None:
    """List training rows that the held-out file knows already. Exit code 3 when there are any."""
    from finetune_sdk.cli._data_text import leaks_text  # noqa: PLC0415
    from finetune_sdk.data import Dataset  # noqa: PLC0415
    from finetune_sdk.data.tools.dedupe import leaks as find  # noqa: PLC0415

    with shown():
        found = list(find(Dataset.open(train), Dataset.open(held_out), near))
    _out.data([leak._asdict() for leak in found], lambda: leaks_text(found))
    if found:
        click.get_current_context().exit(_BAD_DATA)


@group.command("fix")
@sources
@click.option("--with", "extra", multiple=True, metavar="REPAIR", help="Another repair beside the safe ones.")
@click.option("--without", "without", multiple=True, metavar="REPAIR", help="Leave out one of the safe repairs.")
@click.option("--drop", is_flag=True, help="Leave out rows that cannot be trained on even so, and count them.")
@click.option("--to", "to", metavar="FORMAT", help="Format of the result; default: that of the source.")
@out_option
@settings
def fix(
    files: tuple[str, ...],
    named: str | None,
    columns: tuple[str, ...],
    extra: tuple[str, ...],
    without: tuple[str, ...],
    drop: bool,
    to: str | None,
    out: Path,
) -> None:
    """Write the rows repaired, and say what changed. `finetune data repairs` lists the repairs."""
    from finetune_sdk.data.tools import files as operations  # noqa: PLC0415
    from finetune_sdk.data.tools.repairs import chosen  # noqa: PLC0415

    _answer(operations.fix(opened(files, named, columns), out, chosen(extra, without), to=to, drop=drop))


@group.command("repairs")
@settings
def repairs() -> None:
    """List the repairs of `fix`."""
    from finetune_sdk.data.tools.repairs import REPAIRS  # noqa: PLC0415

    rows = [{"name": one.name, "default": one.default, "what": one.what} for one in REPAIRS]
    table = [(one.name, "yes" if one.default else "--with", one.what) for one in REPAIRS]
    _out.data(rows, lambda: _out.columns(table, header=("REPAIR", "DONE", "WHAT")))


@group.command("scan")
@sources
@settings
def scan(files: tuple[str, ...], named: str | None, columns: tuple[str, ...]) -> None:
    """List secrets and personal data, masked. Exit code 3 when there are any but made-up ones."""
    from finetune_sdk.cli._data_text import hits_text  # noqa: PLC0415
    from finetune_sdk.data.tools import scan as search  # noqa: PLC0415

    if not search.thorough():
        _out.say("Looking for our own shapes only; for more: pip install 'finetune-sdk[scan]'")
    found = list(search.scan(opened(files, named, columns)))
    _out.data(found, lambda: hits_text(found))
    if any(one.severity != "info" for one in found):
        click.get_current_context().exit(_BAD_DATA)


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


@group.command("targets")
@click.argument("name", required=False, metavar="[TARGET]")
@settings
def targets(name: str | None) -> None:
    """List the targets, or one target's rules, each with where it was read."""
    from finetune_sdk.cli._data_text import profiles_text, targets_text  # noqa: PLC0415
    from finetune_sdk.data.targets import PROFILES, profiles, rules_json  # noqa: PLC0415

    found = PROFILES if name is None else profiles(name)
    _out.data(rules_json(found), lambda: targets_text(found) if name is None else profiles_text(found))


def _answer(outcome: Outcome) -> None:
    from finetune_sdk.cli._data_text import outcome_text  # noqa: PLC0415

    _out.data(outcome, lambda: outcome_text(outcome))
    if not outcome.written:
        click.get_current_context().exit(_BAD_DATA)
