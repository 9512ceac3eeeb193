"""`finetune compare`: which provider, model and method is best on these rows, and is tuning worth it at all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from finetune_sdk.cli import _out
from finetune_sdk.cli._app import current, settings

if TYPE_CHECKING:
    from finetune_sdk.compare import Comparison, PlannedCandidate, Results
    from finetune_sdk.compare.split import Frozen


@click.command("compare")
@click.argument("bench", type=click.Path(dir_okay=False))
@click.option("--plan", "only_plan", is_flag=True, help="Show the split, the candidates and the costs; send nothing.")
@click.option("--report", "only_report", is_flag=True, help="Write the report of what is there; ask nobody.")
@click.option("--fork", metavar="NAME", help="Begin a comparison of this name, whatever stands under the old one.")
@click.option("--yes", is_flag=True, help="Run without asking, also when it costs money.")
@settings
def command(bench: str, only_plan: bool, only_report: bool, fork: str | None, yes: bool) -> None:
    """Train and ask every candidate of BENCH (a YAML file) the same questions, and say which is best.

    Each candidate is an ordinary job, and every answer is kept: a comparison that was interrupted goes on where it
    stopped when it is run again. Ends with the path of the report.
    """
    from finetune_sdk.compare import Comparison  # noqa: PLC0415 - not for `--help`
    from finetune_sdk.compare.bench import load  # noqa: PLC0415

    read = load(bench)
    comparison = Comparison(read.model_copy(update={"name": fork}) if fork else read, home=current().home)
    if only_report:
        _show(comparison, comparison.results())
        return
    frozen, planned = comparison.plan()
    _out.say(_plan_text(frozen, planned))
    if only_plan:
        _out.data({"split": frozen, "candidates": planned}, lambda: "nothing was sent")
        return
    _agreed(planned, yes=yes)
    with _display(comparison) as tell:
        results = comparison.run(tell)
    _show(comparison, results)


def _agreed(planned: Sequence[PlannedCandidate], *, yes: bool) -> None:
    costs = [one.cost_usd for one in planned if one.tuned and one.error is None]
    if yes or not any(cost is None or cost > 0 for cost in costs) or not _out.interactive():
        return
    known = sum(cost or 0.0 for cost in costs)
    about = f"at least {known:.2f} USD, some of it unknown" if None in costs else f"about {known:.2f} USD"
    click.confirm(f"Training costs {about}. Go on?", abort=True, err=True)


def _display(comparison: Comparison):  # type: ignore[no-untyped-def]
    from finetune_sdk.cli._comparing import Lines, Live  # noqa: PLC0415

    return Live(comparison) if _out.interactive() else Lines()


def _plan_text(frozen: Frozen, planned: Sequence[PlannedCandidate]) -> str:
    rows = ", ".join(f"{count:,} {name}" for name, count in frozen.rows.items() if count)
    leaks = sum(frozen.leaks.values())
    head = f"rows: {rows}" + (f"; {leaks} training rows left out, the test rows know them" if leaks else "")
    table = _out.columns([_planned(one) for one in planned], header=("CANDIDATE", "PROVIDER", "TRAINING", ""))
    return "\n".join([head, *(f"note: {note}" for note in frozen.notes), "", table])


def _planned(one: PlannedCandidate) -> tuple[str, str, str, str]:
    if not one.tuned:
        return one.name, one.provider, "not tuned", ""
    cost = "cost unknown" if one.cost_usd is None else f"{one.cost_usd:.2f} USD"
    return one.name, one.provider, "refused" if one.error else cost, one.error or one.basis


def _show(comparison: Comparison, results: Results) -> None:
    from finetune_sdk.compare.report import words  # noqa: PLC0415

    paths = comparison.write(results)
    rows = [
        (
            one.name,
            *(words.score(results, metric, one.scores.get(metric)) for metric in results.titles),
            words.seconds(one.speed.p50_s),
            words.usd(one.costs.per_1k_requests),
            one.stage if one.stage == "done" else f"{one.stage}: {one.error or ''}",
        )
        for one in results.candidates
    ]
    header = ("CANDIDATE", *(title.upper() for title in results.titles.values()), "P50", "PER 1,000", "")
    text = [
        click.style(results.summary, bold=True),
        *(f"  {line}" for line in results.findings),
        "",
        _out.columns(rows, header=header),
        "",
        f"report: {_out.short_path(paths['html'])}",
    ]
    import msgspec  # noqa: PLC0415

    answer = {"results": msgspec.to_builtins(results), "reports": {kind: str(path) for kind, path in paths.items()}}
    _out.data(answer, lambda: "\n".join(text))
