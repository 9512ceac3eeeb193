"""An exported form that is not the trained model is refused, and the difference is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from finetune_providers.serving.worker.export import parity
from finetune_providers.serving.worker.rows import Failed
from finetune_providers.serving.worker.speech import Speech

CONVERSATIONS = [[{"role": "user", "content": "billing"}], [{"role": "user", "content": "shipping"}]]


@dataclass
class Form:
    """Answers by a script."""

    name: str = "gguf"
    ends: frozenset[int] = frozenset({2})
    begins: tuple[int, ...] = ()
    said: list[int] = field(default_factory=lambda: [5, 6, 7, 8])

    def prompt(self, messages: Sequence[Mapping[str, Any]]) -> list[int]:
        return [*self.begins, *messages[0]["content"].encode()]

    def greedy(self, prompt: Sequence[int], count: int) -> list[int]:
        return self.said


def test_the_same_model_passes() -> None:
    verdict = parity.compare(Form(), Form(), CONVERSATIONS, tolerance=0)
    verdict.check()

    assert (verdict.equal_prompts, verdict.equal_answers, verdict.equal_tokens) == (2, 2, 8)


def test_a_bos_that_training_did_not_have_is_refused_and_shown() -> None:
    verdict = parity.compare(Form(), Form(begins=(1,)), CONVERSATIONS, tolerance=0.5)

    with pytest.raises(Failed, match=r"prompt tokens differ at 0: \[98, .* in training, \[1, 98"):
        verdict.check()


def test_other_stop_tokens_are_refused() -> None:
    verdict = parity.compare(Form(), Form(ends=frozenset({2, 3})), CONVERSATIONS, tolerance=0.5)

    with pytest.raises(Failed, match=r"stop tokens: \[2\] in training, \[2, 3\] here"):
        verdict.check()


def test_other_answers_are_refused_beyond_the_tolerance_only() -> None:
    other = Form(said=[5, 6, 9, 9])

    parity.compare(Form(), other, CONVERSATIONS, tolerance=0.5).check()
    with pytest.raises(Failed, match="greedy tokens"):
        parity.compare(Form(), other, CONVERSATIONS, tolerance=0.4).check()


def text_of(ids: Sequence[int]) -> str:
    return bytes(ids).decode("utf-8", "replace")


def test_half_a_character_is_held_back() -> None:
    speech = Speech(text_of)

    assert [speech.add(byte) for byte in "é!".encode()] == ["", "é", "!"]


def test_the_beginning_of_a_stop_sequence_is_held_back_and_let_go() -> None:
    speech = Speech(text_of, stops=["END"])

    assert [speech.add(byte) for byte in b"aENx"] == ["a", "", "", "ENx"]


def test_a_stop_sequence_is_not_said() -> None:
    speech = Speech(text_of, stops=["END"])
    said = "".join(speech.add(byte) for byte in b"aEEND")

    assert (said, speech.stopped, speech.finish()) == ("aE", True, "")


def test_what_was_held_back_is_said_at_the_end() -> None:
    speech = Speech(text_of, stops=["END"])
    for byte in b"aEN":
        speech.add(byte)

    assert speech.finish() == "EN"
