"""A `dataset_info.json` beside a file says how to read it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from finetune_sdk.data import Dataset
from finetune_sdk.data.example import ChatExample, Example, PreferenceExample, TextExample
from finetune_sdk.data.report import Report
from finetune_sdk.errors import DataError


def read(folder: Path, row: dict[str, Any], entry: dict[str, Any]) -> Example:
    (folder / "d.json").write_text(json.dumps([row]))
    (folder / "dataset_info.json").write_text(json.dumps({"mine": {"file_name": "d.json", **entry}}))
    (example,) = Dataset.open(folder / "d.json")
    return example


def test_declared_columns_are_read_as_alpaca(tmp_path: Path) -> None:
    example = read(
        tmp_path,
        {"q": "ask", "a": "answer", "s": "be kind"},
        {"columns": {"prompt": "q", "response": "a", "system": "s"}},
    )
    assert isinstance(example, ChatExample)
    assert [(message.role, message.text) for message in example.messages] == [
        ("system", "be kind"),
        ("user", "ask"),
        ("assistant", "answer"),
    ]


def test_declared_tags_are_read_as_sharegpt_preferences(tmp_path: Path) -> None:
    example = read(
        tmp_path,
        {
            "talk": [{"who": "U", "says": "ask"}],
            "better": {"who": "A", "says": "good"},
            "worse": {"who": "A", "says": "bad"},
        },
        {
            "formatting": "sharegpt",
            "ranking": True,
            "columns": {"messages": "talk", "chosen": "better", "rejected": "worse"},
            "tags": {"role_tag": "who", "content_tag": "says", "user_tag": "U", "assistant_tag": "A"},
        },
    )
    assert isinstance(example, PreferenceExample)
    assert [turn.text for turn in (*example.prompt, *example.chosen, *example.rejected)] == ["ask", "good", "bad"]


OPENAI_TAGS = {"role_tag": "who", "content_tag": "says", "user_tag": "U", "assistant_tag": "A", "function_tag": "F"}


def test_declared_tags_are_read_as_openai_messages(tmp_path: Path) -> None:
    call = {"who": "F", "says": '{"name": "f", "arguments": {"a": 1}}'}
    turns = [{"who": "U", "says": "ask"}, call, {"who": "tool", "says": "7"}, {"who": "A", "says": "seven"}]
    example = read(
        tmp_path,
        {"talk": turns, "start": "be kind"},
        {"formatting": "openai", "columns": {"messages": "talk", "system": "start"}, "tags": OPENAI_TAGS},
    )
    assert isinstance(example, ChatExample)
    assert [message.role for message in example.messages] == ["system", "user", "assistant", "tool", "assistant"]
    assert (example.messages[2].tool_calls or [])[0].function.name == "f"


def test_a_prompt_without_a_response_is_a_text_to_go_on_from(tmp_path: Path) -> None:
    example = read(tmp_path, {"body": "once upon", "id": 1}, {"columns": {"prompt": "body"}})
    assert example == TextExample(text="once upon", extra={"id": 1}, source=example.source)


def test_columns_that_are_not_listed_are_not_read_and_named(tmp_path: Path) -> None:
    row = {"instruction": "ask", "input": "more", "output": "answer", "system": "be kind"}
    example = read(tmp_path, row, {"columns": {"prompt": "instruction", "response": "output"}})
    assert isinstance(example, ChatExample)
    assert [message.text for message in example.messages] == ["ask", "answer"]
    assert "'input', 'system': not read" in "".join(found(tmp_path / "d.json"))


def found(path: Path) -> list[str]:
    report = Report()
    for _ in Dataset.open(path).scan(report):
        pass
    return [str(finding) for finding in report.findings()]


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"format": "sharegpt"}, "mine.format means nothing; did you mean 'formatting'?"),
        ({"columns": {"prompt": "q", "answer": "a"}}, "mine.columns.answer means nothing"),
        ({"formatting": "sharegpt", "tags": {"role": "who"}}, "mine.tags.role means nothing; did you mean 'role_tag'?"),
        ({"num_samples": 5}, "num_samples = 5 is not followed: the whole file is read. `finetune data sample -n 5`"),
        ({"formatting": "chatml"}, "the formatting 'chatml'. Known are alpaca, sharegpt, openai"),
        ({"columns": {"prompt": "qq", "response": "a"}}, "column 'qq', which the row lacks; did you mean 'q'?"),
    ],
)
def test_what_a_declaration_gets_wrong_is_said(tmp_path: Path, entry: dict[str, Any], said: str) -> None:
    (tmp_path / "d.json").write_text('[{"q": "ask", "a": "answer"}]')
    (tmp_path / "dataset_info.json").write_text(json.dumps({"mine": {"file_name": "d.json", **entry}}))
    assert said in "".join(found(tmp_path / "d.json"))


def test_a_declaration_that_is_no_json_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text('{"prompt": "ask", "completion": "answer"}\n')
    (tmp_path / "dataset_info.json").write_text("{'mine': }")
    with pytest.raises(DataError, match=r"dataset_info\.json beside it is not JSON"):
        list(Dataset.open(tmp_path / "d.jsonl"))


@pytest.mark.parametrize(("named", "at"), [("part", "part/d.json"), ("part/d.json", "part/d.json")])
def test_a_declaration_above_names_a_folder_or_a_file_in_it(tmp_path: Path, named: str, at: str) -> None:
    (tmp_path / "part").mkdir()
    (tmp_path / at).write_text('[{"q": "ask", "a": "answer"}]')
    entry = {"file_name": named, "columns": {"prompt": "q", "response": "a"}}
    (tmp_path / "dataset_info.json").write_text(json.dumps({"mine": entry}))
    assert Dataset.open(tmp_path / at).detection[0].format == "alpaca"


def test_other_declarations_of_one_file_are_named(tmp_path: Path) -> None:
    (tmp_path / "d.json").write_text('[{"q": "ask", "a": "answer"}]')
    entry = {"file_name": "d.json", "columns": {"prompt": "q", "response": "a"}}
    other = {"file_name": "d.json", "columns": {"prompt": "a", "response": "q"}}
    (tmp_path / "dataset_info.json").write_text(json.dumps({"mine": entry, "back": other}))
    assert "also as 'back'" in Dataset.open(tmp_path / "d.json").detection[0].evidence


def test_the_declaration_is_the_evidence(tmp_path: Path) -> None:
    read(tmp_path, {"q": "ask", "a": "answer"}, {"columns": {"prompt": "q", "response": "a"}})
    assert "declares it as 'mine'" in Dataset.open(tmp_path / "d.json").detection[0].evidence


def test_the_users_own_columns_go_first(tmp_path: Path) -> None:
    read(tmp_path, {"q": "ask", "a": "answer"}, {"columns": {"prompt": "q", "response": "a"}})
    (example,) = Dataset.open(tmp_path / "d.json", columns={"prompt": "a", "completion": "q"})
    assert isinstance(example, ChatExample)
    assert example.messages[0].text == "answer"
