"""What a judge is shown, and what is made of its words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tones import Serve, bench, right
from toy_chat import Chat

from finetune_sdk.compare import Comparison
from finetune_sdk.compare.judging import verdict


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("Verdict: A", "a"),
        ("so\n**Verdict: B**", "b"),
        ("Verdict: tie", "tie"),
        ("Verdict: a tie", "tie"),
        ("**Verdict: a tie** between A and B", "tie"),
        ("Verdict: A. B is worse.", "a"),
        ("Verdict: A\nB was too short", "a"),
        ("**Verdict: A** (B misses one)", "a"),
        ("Verdict: B > A", "b"),
        ("Verdict: A. No, wait. Verdict: B", "b"),
        ("A is better", None),
        (None, None),
    ],
)
def test_a_verdict_is_read_as_it_was_meant(said: str | None, meant: str | None) -> None:
    assert verdict(said) == meant


def test_a_judge_is_shown_the_conversation_before_the_last_question(tmp_path: Path, rows: Path, serve: Serve) -> None:
    turns = [("user", "Speak French."), ("assistant", "Oui."), ("user", "Say no."), ("assistant", "Non.")]
    test = tmp_path / "test.jsonl"
    test.write_text(json.dumps({"messages": [{"role": role, "content": text} for role, text in turns]}) + "\n")
    judge = serve(lambda _body: "Verdict: tie")
    described = bench(rows, {"one": serve(right), "two": serve(right)})
    described["data"] = {"train": str(rows), "test": str(test)}
    described["judge"] = {"at": {"base_url": judge.base_url, "model": "judge"}}
    Comparison(described, home=tmp_path / "home").run()
    shown = Chat.question(judge.asked[0])
    assert "[user] Speak French.\n\n[assistant] Oui.\n\n[user] Say no.\n\nReference answer:\nNon." in shown
