"""Shapes of their own in which datasets are published: what becomes of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from msgspec import UNSET

from finetune_sdk.data import Dataset
from finetune_sdk.data.example import ChatExample, PreferenceExample
from finetune_sdk.data.jsonvalue import Object
from finetune_sdk.data.report import Report
from finetune_sdk.errors import DataError


def _read(folder: Path, row: Object, columns: dict[str, str] | None = None) -> ChatExample:
    (folder / "rows.jsonl").write_text(json.dumps(row) + "\n")
    example = next(iter(Dataset.open(folder / "rows.jsonl", columns=columns)))
    assert isinstance(example, ChatExample)
    return example


def _rules(folder: Path, row: Object) -> list[str]:
    (folder / "rows.jsonl").write_text(json.dumps(row) + "\n")
    report = Report()
    list(Dataset.open(folder / "rows.jsonl").scan(report))
    return [finding.rule for finding in report.findings() if finding.severity == "error"]


@pytest.mark.parametrize(
    "row",
    [
        {"conversations": ["a", "b", "c", "d"]},
        {"id": "0", "data": ["a", "b", "c", "d"]},
        {"conversation": [{"input": "a", "output": "b"}, {"input": "c", "output": "d"}]},
    ],
    ids=["lima", "ultrachat", "puffin"],
)
def test_texts_without_roles_are_the_users_and_the_assistants_in_turn(tmp_path: Path, row: Object) -> None:
    said = [(message.role, message.content) for message in _read(tmp_path, row).messages]
    assert said == [("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")]


OFFER = "SYSTEM: You are a helpful assistant with access to the following functions. Use them if required -\n"
DEFINED = '{"name": "rate", "parameters": {"type": "object"}}\n\n{"name": "date", "parameters": {"type": "object"}}\n'
CALL = """<functioncall> {"name": "rate", "arguments": '{"of": "USD", "who": "it\\'s me"}'} <|endoftext|>"""
SAID = ("USER: How much?", f"ASSISTANT: Let me see. {CALL}", "FUNCTION RESPONSE: 0.85", "ASSISTANT: 0.85 <|endoftext|>")
GLAIVE = "".join(f"{turn}\n\n\n" for turn in SAID)


def test_glaives_functions_calls_and_answers_are_tools_calls_and_results(tmp_path: Path) -> None:
    example = _read(tmp_path, {"system": OFFER + DEFINED, "chat": GLAIVE})
    assert [message.role for message in example.messages] == ["system", "user", "assistant", "tool", "assistant"]
    assert example.messages[0].content == "You are a helpful assistant."
    assert [tool["function"]["name"] for tool in example.tools or []] == ["rate", "date"]
    call = example.messages[2]
    assert call.content == "Let me see."
    assert call.tool_calls is not None
    assert call.tool_calls[0].function.arguments == '{"of": "USD", "who": "it\'s me"}'


def test_a_system_text_without_functions_stays_as_it_is(tmp_path: Path) -> None:
    row: Object = {"system": "SYSTEM: You write {curly} things.", "chat": "USER: q\n\n\nASSISTANT: a <|endoftext|>"}
    example = _read(tmp_path, row)
    assert example.messages[0].content == "You write {curly} things."
    assert example.tools is None


def test_a_call_of_glaives_that_is_no_json_is_an_error_of_its_row(tmp_path: Path) -> None:
    row: Object = {"system": "SYSTEM: s", "chat": "USER: q\n\n\nASSISTANT: <functioncall> {name: f}"}
    assert _rules(tmp_path, row) == ["tool-arguments"]


def test_calls_that_answer_a_query_are_its_target_and_pythons_types_a_schema(tmp_path: Path) -> None:
    parameters = {
        "kind": {"type": "str", "description": "d"},
        "ids": {"type": "List[int]"},
        "most": {"type": "int, optional", "default": 5},
    }
    row: Object = {
        "query": "find",
        "answers": json.dumps([{"name": "f", "arguments": {"kind": "a"}}, {"name": "f", "arguments": {"kind": "b"}}]),
        "tools": json.dumps([{"name": "f", "description": "d", "parameters": parameters}]),
    }
    example = _read(tmp_path, row)
    calls = example.messages[-1].tool_calls or []
    assert [(call.id, call.function.arguments) for call in calls] == [(UNSET, '{"kind":"a"}'), (UNSET, '{"kind":"b"}')]
    assert example.tools is not None
    assert example.tools[0]["function"]["parameters"] == {
        "type": "object",
        "properties": {
            "kind": {"type": "string", "description": "d"},
            "ids": {"type": "array"},
            "most": {"type": "integer", "default": 5},
        },
        "required": ["kind", "ids"],
    }


SQUAD: Object = {
    "context": "It rains.",
    "question": "What?",
    "answers": {"text": ["rain", "it"], "answer_start": [3, 0]},
}


def test_a_question_about_a_context_is_asked_with_it_and_its_first_answer_learned(tmp_path: Path) -> None:
    example = _read(tmp_path, SQUAD)
    assert [message.content for message in example.messages] == ["It rains.\n\nWhat?", "rain"]
    assert example.extra["answers"] == SQUAD["answers"]


def test_a_question_without_an_answer_is_an_error_of_its_row(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(
        json.dumps(SQUAD) + "\n" + json.dumps({**SQUAD, "answers": {"text": [], "answer_start": []}}) + "\n"
    )
    report = Report()
    assert len(list(Dataset.open(tmp_path / "rows.jsonl").scan(report))) == 1
    assert [(finding.rule, finding.line) for finding in report.findings()] == [("answer-missing", 2)]


def test_a_column_may_lie_inside_another(tmp_path: Path) -> None:
    row: Object = {"translation": {"de": "Hallo", "en": "Hello"}, "answers": {"text": ["x"]}}
    example = _read(tmp_path, row, {"prompt": "translation.de", "completion": "translation.en"})
    assert [message.content for message in example.messages] == ["Hallo", "Hello"]


def test_a_column_with_a_dot_in_its_name_is_that_column(tmp_path: Path) -> None:
    example = _read(tmp_path, {"a.q": "1", "a": {"q": "2"}, "b": "3"}, {"prompt": "a.q", "completion": "b"})
    assert [message.content for message in example.messages] == ["1", "3"]


def test_a_column_that_is_not_inside_another_says_what_is(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'translation\.fr' is not in the row: there is no 'fr' in 'de', 'en'"):
        _read(
            tmp_path,
            {"translation": {"de": "a", "en": "b"}},
            {"prompt": "translation.fr", "completion": "translation.en"},
        )


def test_texts_of_human_and_assistant_part_where_the_answers_do(tmp_path: Path) -> None:
    start = "\n\nHuman: q\n\nAssistant: a\n\nHuman: r\n\nAssistant:"
    row = {"chosen": f"{start} yes\n\nWell: so.", "rejected": f"{start} no\n\nHuman: why?\n\nAssistant: because"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    example = next(iter(Dataset.open(tmp_path / "rows.jsonl")))
    assert isinstance(example, PreferenceExample)
    assert [message.content for message in example.prompt] == ["q", "a", "r"]
    assert [message.content for message in example.chosen] == ["yes\n\nWell: so."]
    assert [message.content for message in example.rejected] == ["no", "why?", "because"]


def test_texts_whose_questions_differ_are_an_error_of_their_row(tmp_path: Path) -> None:
    row: Object = {"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "\n\nHuman: r\n\nAssistant: b"}
    assert _rules(tmp_path, row) == ["answer-role"]
