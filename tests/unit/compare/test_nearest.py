"""Which training rows are nearest to a question: in any language, and where there is nothing to go by."""

from __future__ import annotations

from pathlib import Path

import pytest
from tones import bench

from finetune_sdk.compare.bench import Candidate, FewShot, Prompt, load
from finetune_sdk.compare.items import Item
from finetune_sdk.compare.prompts import asking
from finetune_sdk.compare.run import Run


def asked(text: str) -> Item:
    return Item(id=text, messages=[{"role": "user", "content": text}], reference="yes")


@pytest.mark.parametrize(
    ("question", "nearest"),
    [("or not to be", "to be"), ("我是谁", "我是学生"), ("苹果", "你有苹果吗"), ("A CAT", "the cat sat"), ("!?", None)],
)
def test_the_nearest_example_shares_words_or_signs_also_where_all_are_common(
    question: str, nearest: str | None
) -> None:
    rows = [asked(text) for text in ("我是学生", "你有苹果吗", "the cat sat", "to be", "?")]
    ask = asking(Prompt(few_shot=FewShot(k=1, choose="nearest")), lambda: rows, seed=0)
    shown = ask(asked(question))[0]["content"]
    assert nearest in (None, shown)


def test_rows_without_a_word_are_examples_all_the_same() -> None:
    ask = asking(Prompt(few_shot=FewShot(k=1, choose="nearest")), lambda: [asked("?"), asked("!")], seed=0)
    assert [one["content"] for one in ask(asked("why"))] == ["?", "yes", "why"]


def test_a_fault_in_a_providers_code_is_its_candidates_alone(
    tmp_path: Path, rows: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("THEIR_API_KEY", "corridor-7788-velvet")
    work = Run(load(bench(rows, {}, candidates=[{"name": "a", "model": "m"}])), tmp_path).work

    def broken(_candidate: Candidate) -> None:
        raise ZeroDivisionError("somebody else's corridor-7788-velvet")

    work.guarded(work.candidates[0], broken)
    standing = work.standing(work.candidates[0])
    assert (standing.stage, standing.error) == ("failed", "internal error: ZeroDivisionError: somebody else's ***")
    assert "in broken" in caplog.text
    assert "corridor" not in caplog.text
