"""The HTML report."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import pytest

from finetune_sdk.evaluate import Change, Evaluated, Flips, Label, LabelScore, Metric, Sample, Score
from finetune_sdk.evaluate.chart import loss_curve, ticks
from finetune_sdk.evaluate.report import Report, render
from finetune_sdk.provider import Plan
from finetune_sdk.spec import DataSpec, JobSpec
from finetune_sdk.types import Artifact, DataFile, Estimate, Event, Finding, JobStatus, Usage

NOW = datetime(2026, 11, 21, tzinfo=UTC)
_VOID = {"meta", "line", "circle", "path", "br"}


class Page(HTMLParser):
    """Collects what a test asks about, and fails on tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "action", "srcset")]
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def metric(low: float, high: float) -> Metric:
    return Metric(
        name="exact_match",
        base=Score(value=0.25, low=0.2, high=0.3, rows=200),
        tuned=Score(value=0.75, low=0.7, high=0.8, rows=200),
        change=Change(value=0.5, low=low, high=high, p_value=0.0001),
    )


EVALUATED = Evaluated(
    rows=200,
    metrics=(metric(0.4, 0.6),),
    flips=Flips(won=110, lost=10, kept=40, missed=40),
    labels=(Label(label="joy", rows=3, base=None, tuned=LabelScore(precision=1.0, recall=0.5, f1=0.667)),),
    confusion={"joy": {"joy": 2, "": 1}, "fear": {"fear": 3}},
    majority_share=0.4,
    samples=(Sample(row=1, outcome="won", prompt="<b>hi</b> & bye", expected="joy", base="", tuned="joy"),),
    notes=("hold out more rows",),
)


def report(**changes: Any) -> Report:
    parts: dict[str, Any] = {
        "job_id": "ft-test",
        "status": JobStatus.SUCCEEDED,
        "spec": JobSpec(provider="peft", model="org/model", data=DataSpec(train="/rows.jsonl")),
        "spec_text": "provider: peft\n",
        "plan": Plan(
            provider="peft",
            request={"model": "org/model"},
            data=(DataFile(role="train", source="/rows.jsonl", format="chat", rows=90, sha256="a" * 64),),
            findings=(Finding(rule="dup", severity="warning", message="the same row twice", fix="Remove one."),),
            cost=Estimate(usd=1.5, basis="list price"),
            notes=("precision: fp32, because the CPU has no bf16",),
        ),
        "events": [
            Event(
                cursor=str(step),
                at=NOW + timedelta(seconds=step),
                level="info",
                message="",
                step=step,
                metrics={"loss": 3.0 / step} | ({"eval_loss": 2.0 / step} if step % 10 == 0 else {}),
            )
            for step in range(1, 51)
        ],
        "evaluated": EVALUATED,
        "artifacts": (Artifact(kind="adapter", uri="/jobs/ft-test/adapter", sha256="b" * 64),),
        "receipt": {"seed": 7},
        "usage": Usage(train_s=75.0, trained_tokens=12345),
        "created_at": NOW,
    }
    return Report(**{**parts, **changes})


def test_a_report_is_whole_html_with_everything_in_it() -> None:
    text = Page(render(report())).text
    for words in (
        "org/model",
        "Exact match improved from 0.250 to 0.750 on 200 held-out rows (p",
        "110 won, 10 lost",
        "most frequent answer would score 0.400",
        "hold out more rows",
        "1 min 15 s",
        "12,345",
        "the same row twice",
        "precision: fp32, because the CPU has no bf16",
        '"seed": 7',
        "1.50 USD (list price)",
        "/jobs/ft-test/adapter",
    ):
        assert words in text.replace(" ,", ","), words


def test_a_report_asks_nobody_for_anything_and_runs_nothing() -> None:
    page = Page(render(report()))
    assert page.addresses == []
    assert "script" not in page.tags
    assert "@import" not in render(report())
    assert "default-src 'none'" in render(report())


def test_answers_are_text_never_markup() -> None:
    assert "<b>hi</b> & bye" in Page(render(report())).text
    assert "&lt;b&gt;hi&lt;/b&gt; &amp; bye" in render(report())


def test_an_empty_answer_is_said_to_be_empty() -> None:
    assert "base empty" in Page(render(report())).text


def test_a_secret_in_an_answer_is_taken_out() -> None:
    sample = Sample(row=0, outcome="free", prompt="p", expected=None, base=None, tuned="sk-abcdefghijklmnopqrstuvwx")
    html = render(report(evaluated=Evaluated(rows=0, metrics=(), samples=(sample,))))
    assert "sk-abc" not in html
    assert "***" in html


def test_a_change_that_may_be_chance_is_called_that() -> None:
    undecided = Evaluated(rows=200, metrics=(metric(-0.1, 1.0),))
    assert "too little to tell it from chance" in Page(render(report(evaluated=undecided))).text


def test_without_a_baseline_no_improvement_is_claimed() -> None:
    alone = Metric(name="accuracy", base=None, tuned=Score(value=0.9, low=0.8, high=0.95, rows=50), change=None)
    text = Page(render(report(evaluated=Evaluated(rows=50, metrics=(alone,))))).text
    assert "Without a baseline nobody knows" in text
    assert "improved" not in text


def test_a_failed_job_has_a_report_with_its_reason() -> None:
    page = Page(
        render(report(status=JobStatus.FAILED, error="out of <memory>", evaluated=None, artifacts=(), receipt=None))
    )
    assert "failed" in page.text
    assert "out of <memory>" in page.text


def test_a_report_of_nothing_yet_is_still_a_page() -> None:
    empty = report(
        status=JobStatus.PREPARING,
        plan=Plan(provider="peft", request={}),
        events=(),
        evaluated=None,
        artifacts=(),
        receipt=None,
        usage=None,
    )
    assert "preparing" in Page(render(empty)).text


def test_the_curve_is_described_for_those_who_do_not_see_it() -> None:
    curve = loss_curve([(1.0, 4.0), (2.0, 1.0)], [(2.0, 1.5)])
    label = re.search(r'role="img" aria-label="([^"]*)"', curve)
    assert label is not None
    assert label[1] == "Loss curve: training loss from 4 to 1 over 2 steps; held-out loss from 1.5 to 1.5"


def test_a_long_run_is_drawn_with_few_points() -> None:
    curve = loss_curve([(float(step), 1.0 / step) for step in range(1, 20_001)], [])
    assert len(curve) < 20_000


def test_one_point_is_no_curve() -> None:
    assert loss_curve([(1.0, 1.0)], []) == ""


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 4.98, [0, 1, 2, 3, 4, 5]), (0, 0.03, [0, 0.01, 0.02, 0.03]), (1, 1, [1, 1.2, 1.4, 1.6, 1.8, 2])],
)
def test_ticks_are_round_numbers_that_cover_the_range(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high, 5) == expected
