"""The sections of the report that are tables or lists. Each is empty when there is nothing to show."""

from __future__ import annotations

import json
from html import escape

import msgspec

from finetune_sdk.compare.report import figures, words
from finetune_sdk.compare.report.figures import COLOURS
from finetune_sdk.compare.report.tables import row, table
from finetune_sdk.compare.results import CandidateResult, Results, TaskScore

_MOST_LABELS = 14  # a larger confusion table cannot be read


def pairs(results: Results) -> str:
    pairs = [one for one in results.pairs if one.metric == results.metric]
    if not pairs:
        return ""
    head = row(
        ["second against first", "difference", "95 %", "p", "p (Holm)", "won", "lost", "verdict"],
        head=True,
        numbers=True,
    )
    body = ""
    for one in pairs:
        bounds = words.NONE
        if one.low is not None and one.high is not None:
            bounds = f"{words.number(results, one.metric, one.low)} to {words.number(results, one.metric, one.high)}"
        more = "no difference" if one.more_items is None else f"open; {one.more_items:,} more rows"
        body += row(
            [
                f"{one.second} against {one.first}",
                ("+" if one.difference >= 0 else "") + words.number(results, one.metric, one.difference),
                bounds,
                f"{one.p_value:.2g}",
                f"{one.p_adjusted:.2g}",
                f"{one.won:,}",
                f"{one.lost:,}",
                "decided" if one.decided else more,
            ],
            numbers=True,
        )
    return (
        f"<section><h2>Pairs</h2><details{' open' if len(pairs) <= 10 else ''}>"
        f"<summary>{len(pairs)} pairs on the same rows</summary>{table(head, body)}"
        '<p class="soft">p: exact McNemar test for right-or-wrong metrics, else approximate randomisation. Holm: '
        "corrected for the number of pairs; below 0.05 is decided. The interval is of the pair alone (paired "
        "bootstrap, BCa).</p>"
        "</details></section>"
    )


def slices(results: Results) -> str:
    keys = dict.fromkeys(slice_.key for one in results.candidates for slice_ in one.slices)
    found = ""
    for key in keys:
        scored = [one for one in results.candidates if one.slices]
        values = dict.fromkeys((part.value, part.items) for one in scored for part in one.slices if part.key == key)
        head = row([key, "rows", *(one.name for one in scored)], head=True, numbers=True)
        body = ""
        for value, count in values:
            cells = [
                next((part.score for part in one.slices if (part.key, part.value) == (key, value)), None)
                for one in scored
            ]
            body += row(
                [value, f"{count:,}", *(words.score(results, results.metric, cell) for cell in cells)], numbers=True
            )
        found += f"{table(head, body)}"
    return f"<section><h2>By slice</h2>{found}</section>" if found else ""


def confusions(results: Results) -> str:
    found = "".join(_confusion(one) for one in results.candidates if one.confusion)
    return f"<section><h2>Which label for which</h2>{found}</section>" if found else ""


def _confusion(one: CandidateResult) -> str:
    found = one.confusion or {}
    names = list(found)
    if not 2 <= len(names) <= _MOST_LABELS:
        worst = sorted(
            (
                (count, name, given)
                for name, given_to in found.items()
                for given, count in given_to.items()
                if given != name
            ),
            reverse=True,
        )
        lines = "".join(
            f"<li>{escape(name)} taken for {escape(given) or 'no label'}: {count}</li>"
            for count, name, given in worst[:12]
        )
        listed = lines or "<li>no mistake</li>"
        return f'<details><summary>{escape(one.name)}</summary><ul class="plain">{listed}</ul></details>'
    columns = [*names, *([""] if any("" in given_to for given_to in found.values()) else [])]
    head = "".join(f'<th scope="col">{escape(name) or "no label"}</th>' for name in columns)
    body = ""
    for name, given_to in found.items():
        total = sum(given_to.values())
        cells = ""
        for column in columns:
            count = given_to.get(column, 0)
            shade = round(70 * count / total) if total else 0
            tint = f' style="background: color-mix(in srgb, var(--tuned) {shade}%, transparent)"' if shade else ""
            cells += f"<td{tint}>{count:,}</td>"
        body += f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>'
    told = f"<summary>{escape(one.name)}: expected in rows, answered in columns</summary>"
    return f"<details>{told}{table(f'<tr><td></td>{head}</tr>', body, 'heat')}</details>"


def losses(results: Results) -> str:
    series = [(one.name, place, one.losses) for place, one in enumerate(results.candidates)]
    picture = figures.losses(series)
    if not picture:
        return ""
    legend = "".join(
        f'<span><i class="c{place % COLOURS}"></i>{escape(name)}</span>'
        for name, place, line in series
        if len(line) > 1
    )
    return (
        f'<section><h2>Training loss</h2><div class="card"><div class="legend">{legend}</div>{picture}</div></section>'
    )


def curve(results: Results) -> str:
    if results.curve is None:
        return ""
    picture = figures.curve(results.curve, results.units[results.metric], results.titles[results.metric])
    return (
        f"<section><h2>Would more data help?</h2><p>{escape(results.curve.sentence)}</p>"
        f'<div class="card">{picture}</div><p class="soft">{escape(results.curve.candidate)} on growing shares of the '
        "training rows, asked the same test rows.</p></section>"
    )


def judged(results: Results) -> str:
    if not results.judged:
        return ""
    head = row(
        ["", "against", "won", "lost", "tied", "changed its mind", "nonsense", "failed", "p"], head=True, numbers=True
    )
    body = "".join(
        row(
            [
                one.candidate,
                one.against,
                *(f"{count:,}" for count in (one.won, one.lost, one.tied, one.inconsistent, one.nonsense, one.failed)),
                words.NONE if one.p_value is None else f"{one.p_value:.2g}",
            ],
            numbers=True,
            note=one.error or "",
        )
        for one in results.judged
    )
    return (
        f"<section><h2>What a judge says</h2>{table(head, body)}"
        '<p class="soft">Each pair is judged twice, the answers changing places; a judge that changes its mind with '
        "the order has not decided, which counts as tied.</p></section>"
    )


def drift(results: Results) -> str:
    found = [one for one in results.candidates if one.drift is not None]
    if not found:
        return ""
    head = row(
        ["", "loss before", "loss after", "answers alike (chrF)", "refusals before", "after"], head=True, numbers=True
    )
    body = ""
    for one in found:
        drift = one.drift
        if drift is not None:
            losses = [words.NONE if loss is None else f"{loss:.3f}" for loss in (drift.loss_before, drift.loss_after)]
            body += row(
                [one.name, *losses, f"{drift.agreement:.1f}", str(drift.refusals_before), str(drift.refusals_after)],
                numbers=True,
                note=" · ".join(drift.notes),
            )
    return (
        f"<section><h2>What was forgotten</h2>{table(head, body)}"
        '<p class="soft">On a neutral sample that has nothing to do with the task: its loss per token, and how much '
        "the answers still look like those of the base model.</p></section>"
    )


def tasks(results: Results) -> str:
    found = [one for one in results.candidates if one.tasks]
    if not found:
        return ""
    kinds = dict.fromkeys((task.task, task.metric) for one in found for task in one.tasks)
    head = row(["", *(f"{task}: {metric}" for task, metric in kinds)], head=True, numbers=True)
    body = ""
    for one in found:
        known = {(task.task, task.metric): task for task in one.tasks}
        body += row([one.name, *(_task(known.get(kind)) for kind in kinds)], numbers=True)
    return (
        f"<section><h2>Tasks of the lm-evaluation-harness</h2>{table(head, body)}"
        '<p class="soft">Measured by the harness itself; below a value its standard error.</p></section>'
    )


def _task(found: TaskScore | None) -> str:
    if found is None:
        return words.NONE
    return f"{found.value:.3g}" + ("" if found.stderr is None else f" (± {found.stderr:.2g})")


def costs(results: Results) -> str:
    month = f"a month at {results.requests_per_month:,} requests" if results.requests_per_month else "a month"
    head = row(
        ["", "training", "per 1,000 requests", "hosting a month", month, "tokens in", "tokens out"],
        head=True,
        numbers=True,
    )
    body = "".join(
        row(
            [
                one.name,
                words.usd(one.costs.training),
                words.usd(one.costs.per_1k_requests),
                words.usd(one.costs.hosting_per_month),
                words.usd(one.costs.per_month) if results.requests_per_month else words.NONE,
                words.NONE if one.prompt_tokens is None else f"{one.prompt_tokens:,.0f}",
                words.NONE if one.completion_tokens is None else f"{one.completion_tokens:,.0f}",
            ],
            numbers=True,
            note=f"price unknown: {', '.join(one.costs.unknown)}" if one.costs.unknown else "",
        )
        for one in results.candidates
    )
    return f"<section><h2>Costs</h2>{table(head, body)}</section>"


def speed(results: Results) -> str:
    head = row(
        ["", "p50", "p95", "p99", "answers/s", "memory, training", "memory, serving", "energy per 1,000"],
        head=True,
        numbers=True,
    )
    body = "".join(
        row(
            [
                one.name,
                words.seconds(one.speed.p50_s),
                words.seconds(one.speed.p95_s),
                words.seconds(one.speed.p99_s),
                words.NONE if one.speed.answers_per_s is None else f"{one.speed.answers_per_s:.1f}",
                words.memory(one.peak_memory_bytes),
                words.memory(one.serving_memory_bytes),
                words.energy(one.joules_per_1k),
            ],
            numbers=True,
        )
        for one in results.candidates
    )
    return (
        f"<section><h2>Speed, memory, energy</h2>{table(head, body)}"
        f'<p class="soft">{words.NONE}: not measured. Memory is the most that was held, on this machine; energy is '
        "what its processors took meanwhile (RAPL), where the system lets us read it.</p></section>"
    )


def receipt(results: Results) -> str:
    rows = "".join(
        row([one.name, one.job_id or words.NONE, one.receipt or words.NONE, one.prompt]) for one in results.candidates
    )
    head = row(["", "job", "receipt sha256", "asked"], head=True)
    split = json.dumps(msgspec.to_builtins(results.split), indent=1, ensure_ascii=False)
    return (
        f"<section><h2>How to repeat it</h2><details><summary>jobs, hashes, versions</summary>"
        f"{table(head, rows)}<pre>{escape(split)}</pre></details></section>"
        f"<footer>finetune-sdk {escape(results.sdk)} · bench {results.bench_sha256[:12]}</footer>"
    )
