"""The report as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from finetune_sdk.compare.report import words
from finetune_sdk.compare.results import Results
from finetune_sdk.redact import redact


def markdown(results: Results) -> str:
    """The Markdown text, secrets taken out."""
    return redact("\n".join(_lines(results)) + "\n")


def _lines(results: Results) -> Iterator[str]:
    yield f"# {_plain(results.name)}"
    yield ""
    yield f"**{_plain(results.summary)}**"
    yield ""
    yield from (f"- {_plain(text)}" for text in results.findings)
    yield ""
    rows = results.split.rows
    yield f"{rows['test']:,} test rows, {rows['train']:,} training rows. Intervals are 95 %."
    yield from _table(["", *results.titles.values(), "p50", "training", "per 1,000"], list(_ranking(results)))
    yield "\n## Pairs\n"
    pairs = [one for one in results.pairs if one.metric == results.metric]
    yield from _table(
        ["second against first", "difference", "95 %", "p", "p (Holm)", "won", "lost", "more rows needed"],
        [
            [
                f"{one.second} / {one.first}",
                words.number(results, one.metric, one.difference),
                words.NONE if one.low is None or one.high is None else
                f"{words.number(results, one.metric, one.low)} to {words.number(results, one.metric, one.high)}",
                f"{one.p_value:.3g}",
                f"{one.p_adjusted:.3g}",
                str(one.won),
                str(one.lost),
                "decided" if one.decided else words.NONE if one.more_items is None else f"{one.more_items:,}",
            ]
            for one in pairs
        ],
    )  # fmt: skip
    yield from _tasks(results)
    yield f"\nfinetune-sdk {results.sdk} · bench {results.bench_sha256[:12]} · {results.created}"


def _tasks(results: Results) -> Iterator[str]:
    rows = [
        [
            one.name,
            task.task,
            task.metric,
            f"{task.value:.4g}",
            words.NONE if task.stderr is None else f"{task.stderr:.2g}",
        ]
        for one in results.candidates
        for task in one.tasks
    ]
    if rows:
        yield "\n## Tasks of the lm-evaluation-harness\n"
        yield from _table(["", "task", "metric", "value", "standard error"], rows)


def _ranking(results: Results) -> Iterator[list[str]]:
    for one in results.candidates:
        scores = [words.score(results, metric, one.scores.get(metric)) for metric in results.titles]
        costs = [words.usd(one.costs.training), words.usd(one.costs.per_1k_requests)]
        yield [one.name, *scores, words.seconds(one.speed.p50_s), *costs]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield ""
    yield f"| {' | '.join(map(_cell, head))} |"
    yield f"|{'---|' * len(head)}"
    yield from (f"| {' | '.join(map(_cell, row))} |" for row in rows)


def _cell(text: str) -> str:
    return _plain(text).replace("|", "\\|")


def _plain(text: str) -> str:
    return " ".join(text.split()).replace("<", "&lt;")
