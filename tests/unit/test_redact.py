"""Secrets are taken out of texts and trees."""

from __future__ import annotations

import pytest
from pydantic import JsonValue

from finetune_sdk.redact import redact, redact_tree, secret_name


@pytest.mark.parametrize(
    "secret",
    [
        "sk-abcdefghijklmnop1234",
        "hf_abcdefghijklmnopqrst",
        "ghp_abcdefghijklmnopqrstuvwx",
        "AKIAABCDEFGHIJKLMNOP",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abcdefghijklmnop",
    ],
)
def test_a_known_shape_is_taken_out(secret: str) -> None:
    assert redact(f"key {secret} was refused") == "key *** was refused"


def test_the_value_of_a_secret_variable_is_taken_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VENDOR_API_KEY", "plain-looking-value")

    assert redact("got plain-looking-value") == "got ***"


def test_a_short_value_does_not_redact_ordinary_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VENDOR_TOKEN", "loss")

    assert redact("loss 0.1") == "loss 0.1"


def test_a_value_that_contains_another_is_taken_out_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_TOKEN", "secret-value")
    monkeypatch.setenv("B_TOKEN", "secret-value-longer")

    assert redact("secret-value-longer") == "***"


def test_a_tree_is_redacted_to_its_leaves_and_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_TOKEN", 'quo"ted-secret')
    tree: dict[str, JsonValue] = {"a": ['quo"ted-secret', 1, None, True], 'quo"ted-secret': {"b": "plain"}}

    assert redact_tree(tree) == {"a": ["***", 1, None, True], "***": {"b": "plain"}}


@pytest.mark.parametrize(
    ("name", "secret"),
    [("OPENAI_API_KEY", True), ("HF_TOKEN", True), ("TOKENIZERS_PARALLELISM", False), ("KEYBOARD", False)],
)
def test_a_name_is_judged_by_its_words(name: str, secret: bool) -> None:
    assert secret_name(name) is secret
