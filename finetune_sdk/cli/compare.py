"""`finetune compare`: which provider, model and method is best on these rows, and is tuning worth it at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from finetune_sdk.cli import _out
from finetune_sdk.cli._app import current, settings

if TYPE_CHECKING:
    from finetune_sdk.compare import Comparison, PlannedCandidate, Results
    from finetune_sdk.compare.results import CandidateResult
    from finetune_sdk.compare.split import Frozen

_SHORTEST = 16  # letters of a candidate's name that are shown, however narrow the terminal is


def _metrics(context: click.Context, _option: click.Parameter, asked: bool) -> None:
    """What `--metrics` prints; no BENCH is needed for it."""
    if not asked or context.resilient_parsing:
        return
    from finetune_sdk.compare.metrics import METRICS  # noqa: PLC0415 - not for `--help`

    rows = [(name, one.title, ", ".join(sorted(one.options))) for name, one in METRICS.items()]
    click.echo(_out.columns(rows, header=("METRIC", "SHOWN AS", "OPTIONS")))
    context.exit()


@click.command("compare")
@click.argument("bench", type=click.Path(dir_okay=False))
@click.option("--plan", "only_plan", is_flag=True, help="Show the split, the candidates and the costs; send nothing.")
@click.option("--report", "only_report", is_flag=True, help="Write the report of what is there; ask nobody.")
@click.option("--fork", metavar="NAME", help="Begin a comparison of this name, whatever stands under the old one.")
@click.option(
    "--metrics", is_flag=True, is_eager=True, expose_value=False, callback=_metrics, help="List the metrics, and end."
)
@click.option("--yes", is_flag=True, help="Run without asking, also when it costs money.")
@settings
def command(bench: str, only_plan: bool, only_report: bool, fork: str | None, yes: bool) -> None:
    """Train and ask every candidate of BENCH (a YAML file) the same questions, and say which is best.

    Each candidate is an ordinary job, and every answer is kept: a comparison that was interrupted goes on where it
    stopped when it is run again. Ends with the path of the report.
    """
    from finetune_sdk.compare import Comparison  # noqa: PLC0415 - not for `--help`
    from finetune_sdk.compare.bench import load, renamed  # noqa: PLC0415

    read = load(bench)
    comparison = Comparison(read if fork is None else renamed(read, fork), home=current().home)
    if only_report:
        _show(comparison, comparison.results())
        return
    frozen, planned = comparison.plan()
    _out.say(_plan_text(frozen, planned))
    if only_plan:
        _out.data({"split": frozen, "candidates": planned}, lambda: "nothing was sent")
        return
    _agreed(planned, yes=yes)
    _out.say()
    try:
        with _display(comparison) as tell:
            results = comparison.run(tell)
    except KeyboardInterrupt:
        _out.say("Stopped. What was answered is kept, and jobs that train go on by themselves. To go on, run:")
        _out.say(f"  {_out.hint('compare', bench)}")
        raise SystemExit(130) from None
    _out.say()
    _show(comparison, results)


def _agreed(planned: Sequence[PlannedCandidate], *, yes: bool) -> None:
    going = [one for one in planned if one.error is None]
    costs = [one.cost_usd for one in going if one.tuned] + [one.asking_usd for one in going]
    if yes or not any(cost is None or cost > 0 for cost in costs) or not _out.interactive():
        return
    known = sum(cost or 0.0 for cost in costs)
    about = f"at least {known:.2f} USD, some of it unknown" if None in costs else f"about {known:.2f} USD"
    click.confirm(f"Training and asking cost {about}. Go on?", abort=True, err=True)


def _display(comparison: Comparison):  # type: ignore[no-untyped-def]
    from finetune_sdk.cli._comparing import Lines, Live  # noqa: PLC0415

    return Live(comparison) if _out.interactive() and os.environ.get("TERM", "dumb") != "dumb" else Lines()


def _plan_text(frozen: Frozen, planned: Sequence[PlannedCandidate]) -> str:
    rows = ", ".join(f"{count:,} {name}" for name, count in frozen.rows.items() if count)
    leaks = sum(frozen.leaks.values())
    head = f"rows: {rows}" + (f"; {leaks} training rows left out, the test rows know them" if leaks else "")
    table = _fitted([_planned(one) for one in planned], ("CANDIDATE", "PROVIDER", "TRAINING", "ASKING"))
    why = [_out.wrapped(f"{one.name}: {one.error or one.basis}") for one in planned if one.tuned]
    notes = [_out.wrapped(note, first="note: ") for note in frozen.notes]
    return "\n".join([head, *notes, "", table, "", *why])


def _fitted(rows: Sequence[Sequence[str]], header: Sequence[str]) -> str:
    """A table whose first column is cut to what the terminal leaves it; columns that say nothing are left out."""
    kept = [i for i in range(len(header)) if any(row[i] for row in rows)]
    shown = [[row[i] for i in kept] for row in rows]
    others = sum(2 + max(len(row[i]) for row in [header, *rows]) for i in kept[1:])
    most = max(_SHORTEST, shutil.get_terminal_size((200, 24)).columns - others)
    cut = [[row[0] if len(row[0]) <= most else row[0][: most - 1] + "…", *row[1:]] for row in shown]
    return _out.columns(cut, header=[header[i] for i in kept])


def _planned(one: PlannedCandidate) -> tuple[str, str, str, str]:
    training = "not tuned" if not one.tuned else "refused" if one.error else _usd(one.cost_usd)
    return one.name, one.provider, training, _usd(one.asking_usd)


def _usd(amount: float | None) -> str:
    return "unknown" if amount is None else f"{amount:.2f} USD"


def _score(results: Results, metric: str, one: CandidateResult) -> str:
    """With its interval for the metric that decides; the report has those of the others."""
    from finetune_sdk.compare.report import words  # noqa: PLC0415

    found = one.scores.get(metric)
    if found is None or metric == results.metric:
        return words.score(results, metric, found)
    return words.number(results, metric, found.value)


def _show(comparison: Comparison, results: Results) -> None:
    from finetune_sdk.compare.report import words  # noqa: PLC0415

    paths = comparison.write(results)
    rows = [
        (
            one.name,
            *(_score(results, metric, one) for metric in results.titles),
            words.seconds(one.speed.p50_s),
            "" if one.costs.per_1k_requests is None else words.usd(one.costs.per_1k_requests),
            "" if one.stage == "done" else one.stage,
        )
        for one in results.candidates
    ]
    header = ("CANDIDATE", *(title.upper() for title in results.titles.values()), "P50", "PER 1,000", "")
    text = [
        click.style(_out.wrapped(results.summary, indent="", first=""), bold=True),
        *(_out.wrapped(line) for line in results.findings),
        "",
        _fitted(rows, header),
        "",
        f"report: {_out.short_path(paths['html'])}",
    ]
    import msgspec  # noqa: PLC0415

    answer = {"results": msgspec.to_builtins(results), "reports": {kind: str(path) for kind, path in paths.items()}}
    _out.data(answer, lambda: "\n".join(text))
