"""The report as one HTML file: no request to anywhere, light and dark, printable. One script: the flips browser."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib.resources import files

import msgspec

from finetune_sdk.compare.report import figures, sections, words
from finetune_sdk.compare.report.figures import Dot
from finetune_sdk.compare.report.tables import row
from finetune_sdk.compare.results import CandidateResult, Results
from finetune_sdk.redact import redact

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def html(results: Results) -> str:
    """The HTML text. Secrets are taken out, whatever text they came in with."""
    here = files("finetune_sdk.compare.report")
    style = (files("finetune_sdk.evaluate") / "report.css").read_text(encoding="utf-8")
    style += (here / "report.css").read_text(encoding="utf-8")
    script = (here / "flips.js").read_text(encoding="utf-8")
    parts = [
        _head(results),
        _ranking(results),
        _trade_offs(results),
        sections.pairs(results),
        _flips(results),
        sections.slices(results),
        sections.confusions(results),
        sections.losses(results),
        sections.curve(results),
        sections.judged(results),
        sections.drift(results),
        sections.tasks(results),
        sections.costs(results),
        sections.speed(results),
        sections.receipt(results),
    ]
    return redact(
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f"<title>{escape(results.name)}: comparison</title>\n<style>\n{style}</style></head>\n<body><main>\n"
        + "\n".join(part for part in parts if part)
        + f"\n</main>{_data(results)}\n<script>\n{script}</script></body></html>\n"
    )


def _head(results: Results) -> str:
    rows = results.split.rows
    scored = [one for one in results.candidates if one.scores]
    facts = [
        ("candidates", f"{len(results.candidates)}"),
        ("test rows", f"{rows['test']:,}"),
        ("training rows", f"{rows['train']:,}"),
        ("answers", f"{sum(one.items - one.failed for one in scored):,}"),
        ("not answered", f"{sum(one.failed for one in scored):,}"),
    ]
    tiles = "".join(f'<div class="tile"><b>{value}</b><span>{name}</span></div>' for name, value in facts)
    points = "".join(f"<li>{escape(text)}</li>" for text in (*results.findings, *results.split.notes))
    return (
        f'<header><div class="eyebrow"><span>comparison</span><span>{escape(results.created)}</span></div>'
        f"<h1>{escape(results.name)}</h1>"
        f'<p class="verdict">{escape(results.summary)}</p><ul class="plain findings">{points}</ul>'
        f'<div class="tiles">{tiles}</div></header>'
    )


def _ranking(results: Results) -> str:
    unit, title = results.units[results.metric], results.titles[results.metric]
    ranked = [one for one in results.candidates if results.metric in one.scores]
    plot = (
        figures.intervals([_dot(one, index, results, unit) for index, one in enumerate(ranked)], title=title)
        if ranked
        else ""
    )
    head = row(["", *results.titles.values(), "p50", "first token", "trained in"], head=True, numbers=True)
    body = "".join(
        row(
            [
                one.name,
                *(words.score(results, metric, one.scores.get(metric)) for metric in results.titles),
                words.seconds(one.speed.p50_s),
                words.seconds(one.speed.first_token_p50_s),
                words.seconds(one.train_s),
            ],
            numbers=True,
            note=f"{words.told(one)}{_state(one)}",
        )
        for one in results.candidates
    )
    return (
        f'<section><h2>Ranking</h2><div class="card">{plot}</div><div class="card"><table><thead>{head}</thead>'
        f'<tbody>{body}</tbody></table></div><p class="soft">Below a score: its 95 % bootstrap interval, of the '
        "candidate by itself. Whether two differ is said by the pairs below, which use that both answered the same "
        "rows.</p></section>"
    )


def _state(one: CandidateResult) -> str:
    said = [] if one.stage == "done" else [f"{one.stage}: {one.error}" if one.error else one.stage]
    said += [f"{one.failed} not answered"] if one.failed else []
    said += [f"{one.again} answered only when asked again"] if one.again else []
    said += [f"{one.cut} answers cut at max_tokens"] if one.cut else []
    said += [f"{metric}: {why}" for metric, why in one.unfit.items()]
    return "".join(f" · {text}" for text in (*said, *one.notes))


def _dot(one: CandidateResult, place: int, results: Results, unit: float) -> Dot:
    score = one.scores[results.metric]
    bounds = [None if bound is None else bound * unit for bound in (score.low, score.high)]
    return Dot(one.name, place, score.value * unit, 0.0, *bounds)


def _trade_offs(results: Results) -> str:
    unit, title = results.units[results.metric], results.titles[results.metric]
    ranked = [one for one in results.candidates if results.metric in one.scores]

    def dots(values: Sequence[float | None]) -> list[Dot]:
        found: list[Dot] = []
        for place, (one, x) in enumerate(zip(ranked, values, strict=True)):
            if x is not None:
                at = _dot(one, place, results, unit)
                found.append(Dot(one.name, place, x, at.x, at.low, at.high))
        return found

    cost = figures.scatter(
        dots([one.costs.per_1k_requests for one in ranked]), x_title="USD per 1,000 requests", y_title=title
    )
    speed = figures.scatter(
        dots([None if one.speed.p50_s is None else one.speed.p50_s * 1000 for one in ranked]),
        x_title="median latency, ms",
        y_title=title,
    )
    unpriced = [one.name for one in ranked if one.costs.per_1k_requests is None]
    missing = f'<p class="soft">Not shown, for want of a price: {escape(", ".join(unpriced))}.</p>' if unpriced else ""
    parts = [
        f"<h3>{escape(title)} against cost</h3>" + (f'<div class="card">{cost}</div>' if cost else "") + missing,
        f"<h3>{escape(title)} against latency</h3><div class='card'>{speed}</div>" if speed else "",
    ]
    return f"<section><h2>What quality costs</h2>{''.join(parts)}</section>" if cost or speed else ""


def _flips(results: Results) -> str:
    if not results.shown or len(results.shown[0].right) < 2:
        return ""
    names = [one.name for one in results.candidates if one.name in results.shown[0].right]
    options = "".join(f"<option>{escape(name)}</option>" for name in names)
    second = "".join(f"<option{' selected' if i == 1 else ''}>{escape(name)}</option>" for i, name in enumerate(names))
    return (
        '<section class="flips"><h2>Item by item</h2><form class="controls" aria-label="Which items are shown">'
        f'<label>this one <select id="flip-a">{options}</select></label>'
        f'<label>against <select id="flip-b">{second}</select></label>'
        '<label>show <select id="flip-kind"><option value="won">won</option><option value="lost">lost</option>'
        '<option value="both">both right</option><option value="none">both wrong</option>'
        '<option value="all">all</option></select></label>'
        '<label>find <input id="flip-find" type="search" placeholder="text in it"></label></form>'
        '<p class="soft" id="flip-count" aria-live="polite"></p><div id="flip-list"></div>'
        '<button id="flip-more" type="button">more</button></section>'
    )


def _data(results: Results) -> str:
    """The items for the script; `<` cannot end the element."""
    text = msgspec.json.encode(results.shown).decode().replace("<", "\\u003c").replace("\u2028", "\\u2028")
    return f'<script type="application/json" id="items">{text}</script>'
