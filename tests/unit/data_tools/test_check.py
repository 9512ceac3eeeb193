"""One pass over a dataset: counts, findings by rule, and the matrix of targets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from finetune_sdk.data import Dataset
from finetune_sdk.data.tools.check import CheckReport, check
from finetune_sdk.errors import DataError

Row = dict[str, Any]


def chat(question: str = "hi", answer: str = "hello", **answer_keys: Any) -> Row:
    said = {"role": "assistant", "content": answer, **answer_keys}
    return {"messages": [{"role": "user", "content": question}, said]}


def written(folder: Path, *rows: Row | str) -> Dataset:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path = folder / "rows.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return Dataset.open(path)


def checked(folder: Path, *rows: Row | str, **options: Any) -> CheckReport:
    return check(written(folder, *rows), **options)


TEN = [chat(f"question {number}") for number in range(10)]


def reasons(report: CheckReport, target: str) -> dict[str, str]:
    return {
        reason.rule: reason.severity
        for verdict in report.targets
        if verdict.target == target
        for reason in verdict.reasons
    }


def test_rows_roles_and_turns_are_counted(tmp_path: Path) -> None:
    found = checked(tmp_path, *TEN)

    assert (found.rows, dict(found.roles), found.turns["p50"]) == (10, {"user": 10, "assistant": 10}, 2)


def test_good_rows_are_taken_by_every_target_named(tmp_path: Path) -> None:
    assert checked(tmp_path, *TEN, targets=("openai", "azure", "peft")).ok


def test_findings_are_grouped_by_rule_with_their_first_places(tmp_path: Path) -> None:
    found = checked(tmp_path, *TEN, *[chat("x", "") for _ in range(7)], targets=())

    group = next(group for group in found.findings if group.rule == "empty-target")
    assert group.count == 7
    assert [place.split("rows.jsonl")[1] for place in group.places] == [
        f":{line}: messages[1].content" for line in range(11, 16)
    ]


def test_an_error_in_a_row_keeps_every_target_from_taking_the_data(tmp_path: Path) -> None:
    found = checked(tmp_path, *TEN, chat("x", ""))

    assert not any(verdict.accepted for verdict in found.targets)


def test_a_row_that_cannot_be_read_is_an_error_and_the_others_are_counted(tmp_path: Path) -> None:
    found = checked(tmp_path, *TEN, '{"messages": [', targets=("peft",))

    assert (found.rows, found.errors, found.ok) == (10, 1, False)


def test_too_few_rows_are_the_reason_of_the_one_who_asks_for_more(tmp_path: Path) -> None:
    found = checked(tmp_path, *TEN[:3], targets=("openai", "fireworks"))

    assert reasons(found, "openai") == {"rows-too-few": "error"}
    assert reasons(found, "fireworks") == {}


def test_a_target_says_which_kinds_of_data_it_takes_instead(tmp_path: Path) -> None:
    found = checked(tmp_path, {"text": "good", "label": "a"}, {"text": "bad", "label": "b"}, targets=("openai",))

    assert "the dataset holds labelled texts" in found.targets[0].reasons[0].message


def test_reasons_of_a_target_say_where_the_rule_was_read(tmp_path: Path) -> None:
    found = checked(tmp_path, *TEN, chat("x", weight=0.5), targets=("openai",))

    assert "openai-openapi" in str(found.targets[0].reasons[0].source)


def test_a_secret_keeps_hosted_targets_from_the_data_and_not_local_ones(tmp_path: Path) -> None:
    found = checked(tmp_path, *TEN, chat(f"my key is hf_{'a1' * 17}"), targets=("openai", "peft"))

    assert reasons(found, "openai") == {"secret": "error"}
    assert reasons(found, "peft") == {}


def test_personal_data_may_be_allowed_to_leave(tmp_path: Path) -> None:
    found = checked(tmp_path, *TEN, chat("write to joan@corp.org"), targets=("openai",), allow=("personal-data",))

    assert found.ok


def test_secrets_are_masked_in_the_report(tmp_path: Path) -> None:
    key = f"hf_{'a1' * 17}"

    assert key not in repr(checked(tmp_path, *TEN, chat(key)))


def test_a_method_narrows_the_matrix(tmp_path: Path) -> None:
    row = {
        "input": {"messages": [{"role": "user", "content": "q"}]},
        "preferred_output": [{"role": "assistant", "content": "a"}],
        "non_preferred_output": [{"role": "assistant", "content": "b"}],
    }
    both = checked(tmp_path, row, targets=("peft",))
    one = checked(tmp_path, row, targets=("peft",), method="kto")

    assert [verdict.methods for verdict in both.targets] == [("dpo", "orpo", "reward"), ("kto",)]
    assert [verdict.methods for verdict in one.targets] == [("kto",)]


def test_marks_without_pictures_are_an_error(tmp_path: Path) -> None:
    found = checked(tmp_path, {**chat("what is <image> and <image>?"), "images": ["a.png"]}, targets=())

    assert [group.message for group in found.findings if group.severity == "error"] == ["2 `<image>` marks but 1 image"]


def test_an_unknown_target_is_refused_before_reading(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="unknown target 'open-ai'"):
        checked(tmp_path, *TEN, targets=("open-ai",))


def test_tool_calls_without_ids_are_fine_where_writing_the_format_gives_them(tmp_path: Path) -> None:
    row = {
        "conversations": [
            {"from": "human", "value": "how warm is it?"},
            {"from": "function_call", "value": '{"name": "warm", "arguments": {}}'},
            {"from": "observation", "value": "20"},
            {"from": "gpt", "value": "20 degrees"},
        ]
    }
    assert checked(tmp_path, *[row] * 10, targets=("openai",)).ok
