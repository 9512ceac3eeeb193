"""The name beside a tool's result: said twice where its call has it too, even when neither has an id."""

from __future__ import annotations

import pytest

from finetune_sdk.data.features import features
from finetune_sdk.data.formats import format_named
from finetune_sdk.data.jsonvalue import Object


def _ignore(rule: str, path: str, message: str, fix: str) -> None:
    """Repairs are not what this test is about."""


def _rows(results: list[str]) -> Object:
    calls: list[Object] = [
        {"type": "function", "function": {"name": name, "arguments": {}}} for name in ("first", "second")
    ]
    answers: list[Object] = [{"role": "tool", "name": name, "content": "x"} for name in results]
    said: list[Object] = [{"role": "user", "content": "q"}, {"role": "assistant", "tool_calls": calls}, *answers]
    return {"messages": [*said, {"role": "assistant", "content": "a"}]}


@pytest.mark.parametrize(
    ("results", "feature"),
    [
        (["first", "second"], "result-name"),
        (["second", "first"], "name"),
        (["first", "second", "third"], "name"),
    ],
    ids=["in order", "in another order", "of no call"],
)
def test_a_name_without_ids_is_implied_where_results_follow_their_calls(results: list[str], feature: str) -> None:
    example = format_named("trl-chat").parse(_rows(results), _ignore)
    assert {name for name, _ in features(example) if name in ("name", "result-name")} >= {feature}
    assert (feature == "result-name") == ("name" not in {name for name, _ in features(example)})
