# pyright: basic
"""Drawing tokens, and telling what else was likely, against the plain arithmetic."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from finetune_providers.serving.worker.choosing import Taste
from finetune_providers.serving.worker.speech import Speech

_LOGITS = np.random.default_rng(7).standard_normal(5_000).astype(np.float32) * 3


def _weights(temperature: float) -> np.ndarray:
    scaled = _LOGITS.astype(np.float64) / temperature
    weights = np.exp(scaled - scaled.max())
    return weights / weights.sum()


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.0])
def test_a_drawn_token_is_the_one_at_its_share_of_the_distribution(temperature: float) -> None:
    shares = np.random.default_rng(11).random(200)
    wanted = np.searchsorted(np.cumsum(_weights(temperature)), shares, side="right")
    taste = Taste(temperature=temperature, seed=11)
    drawn = [taste.choose(_LOGITS)[0] for _ in shares]

    assert sum(one == other for one, other in zip(drawn, wanted, strict=True)) >= 198  # the rest: rounding at an edge


@pytest.mark.parametrize("top_p", [0.05, 0.5, 0.95])
def test_only_the_likeliest_that_reach_top_p_are_drawn(top_p: float) -> None:
    weights = _weights(1.0)
    order = np.argsort(-weights)
    allowed = set(order[: int(np.searchsorted(np.cumsum(weights[order]), top_p)) + 1].tolist())
    taste = Taste(top_p=top_p, seed=3)
    drawn = {taste.choose(_LOGITS)[0] for _ in range(500)}

    assert drawn <= allowed
    assert len(drawn) > len(allowed) / 50


def test_a_temperature_near_zero_is_greedy() -> None:
    assert Taste(temperature=1e-300, seed=1).choose(_LOGITS)[0] == int(_LOGITS.argmax())


def test_the_likeliest_are_told_with_their_logprobs() -> None:
    expected = np.log(_weights(1.0))
    _, told = Taste(temperature=0, logprobs=20).choose(_LOGITS)

    assert told is not None
    assert [token for token, _ in told["top"]] == np.argsort(-expected)[:20].tolist()
    assert [logprob for _, logprob in told["top"]] == pytest.approx(np.sort(expected)[::-1][:20].tolist(), abs=1e-5)


def test_of_equally_likely_tokens_the_first_is_told_first() -> None:
    _, told = Taste(temperature=0, logprobs=3).choose(np.zeros(2_000, np.float32))

    assert told is not None
    assert [token for token, _ in told["top"]] == [0, 1, 2]


def test_what_is_forbidden_is_never_drawn() -> None:
    logits = np.full(3_000, -np.inf, np.float32)
    logits[[5, 2_900]] = 0.0
    taste = Taste(temperature=2.0, seed=5)

    assert {taste.choose(logits)[0] for _ in range(50)} == {5, 2_900}


def _text_of(ids: Sequence[int]) -> str:
    return bytes(ids).decode("utf-8", "replace")


@pytest.mark.parametrize("stops", [(), ("D é",)], ids=["no stop", "a stop"])
def test_an_answer_is_the_same_text_however_often_it_is_told(stops: Sequence[str]) -> None:
    spoken = "ä long enough answer, ENÉ END é and more é".encode()
    told = []
    for every in (1, 3, 0):
        speech = Speech(_text_of, stops, every=every)
        told.append("".join([speech.add(byte) for byte in spoken if not speech.stopped]) + speech.finish())

    assert told == 3 * ["ä long enough answer, ENÉ EN" if stops else spoken.decode()]


def test_an_answer_that_nobody_follows_is_decoded_once() -> None:
    decoded: list[int] = []

    def decode(ids: Sequence[int]) -> str:
        decoded.append(len(ids))
        return _text_of(ids)

    speech = Speech(decode, every=0)
    said = [speech.add(byte) for byte in b"twenty letters of it"]

    assert "".join(said) == ""
    assert speech.finish() == "twenty letters of it"
    assert decoded == [20]
