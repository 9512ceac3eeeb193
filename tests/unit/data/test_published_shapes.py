"""Shapes of their own in which datasets are published: what becomes of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from msgspec import UNSET

from finetune_sdk.data import Dataset, prepare
from finetune_sdk.data.example import ChatExample, PreferenceExample
from finetune_sdk.data.jsonvalue import Object
from finetune_sdk.data.report import Report
from finetune_sdk.errors import DataError
from finetune_sdk.spec import DataSpec


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
            "ids": {"type": "array", "items": {"type": "integer"}},
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


MESSAGES = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]
FROM_VALUE = [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]
CALLS: Object = {"query": "q", "tools": "[]", "answers": '[{"name": "f", "arguments": {}}]'}
HH: Object = {"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "\n\nHuman: q\n\nAssistant: b"}
TURNS: Object = {"turns": ["q", "a"]}
OLD_COLUMNS: dict[str, tuple[Object, str]] = {
    "squad-messages": ({**SQUAD, "messages": MESSAGES}, "chat"),
    "squad-conversations": ({**SQUAD, "conversations": FROM_VALUE}, "sharegpt"),
    "squad-alpaca": ({**SQUAD, "instruction": "Q", "output": "A"}, "alpaca"),
    "squad-pair": ({**SQUAD, "prompt": "Q", "completion": "A"}, "prompt-completion"),
    "squad-answer": ({**SQUAD, "answer": "A"}, "prompt-completion"),
    "squad-text": ({**SQUAD, "text": "t"}, "text"),
    "squad-turns": ({**SQUAD, **TURNS}, "extractive-qa"),
    "calls-messages": ({**CALLS, "id": 0, "messages": MESSAGES}, "chat"),
    "glaive-messages": ({"system": "s", "chat": GLAIVE, "messages": MESSAGES}, "anthropic"),
    "turns-messages": ({**TURNS, "messages": MESSAGES}, "chat"),
    "turns-pair": ({"data": ["q", "a"], "prompt": "Q", "completion": "A"}, "prompt-completion"),
    "turns-question": ({"dialog": ["q", "a"], "question": "Q", "answer": "A"}, "prompt-completion"),
    "turns-label": ({"utterances": ["q", "a"], "text": "t", "label": 1}, "labelled"),
    "turns-text": ({"data": ["q", "a"], "text": "t"}, "text"),
    "turns-alpaca": ({**TURNS, "instruction": "Q", "output": "A"}, "alpaca"),
    "turns-preference": ({**TURNS, "prompt": "Q", "chosen": "A", "rejected": "B"}, "preference"),
    "hh-alpaca": ({**HH, "instruction": "Q"}, "alpaca-preference"),
    "hh-text": ({**HH, "text": "t"}, "hh"),
}


@pytest.mark.parametrize("name", OLD_COLUMNS)
def test_old_columns_in_a_published_shape_are_not_what_is_learned(tmp_path: Path, name: str) -> None:
    row, wanted = OLD_COLUMNS[name]
    (tmp_path / "rows.jsonl").write_text(f"{json.dumps(row)}\n" * 3)
    assert Dataset.open(tmp_path / "rows.jsonl").detection[0].format == wanted


def test_a_few_rows_without_the_newer_conversation_do_not_bring_the_old_columns_back(tmp_path: Path) -> None:
    rows = [{**TURNS, "messages": MESSAGES}] * 8 + [{**TURNS, "messages": []}] * 2
    (tmp_path / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    assert Dataset.open(tmp_path / "rows.jsonl").detection[0].format == "chat"


def test_messages_beside_answers_of_human_and_assistant_are_ambiguous(tmp_path: Path) -> None:
    assert _rules(tmp_path, {**HH, "messages": MESSAGES}) == ["format-ambiguous"]


def _said(example: ChatExample) -> list[tuple[str, object]]:
    return [(message.role, message.content) for message in example.messages]


@pytest.mark.parametrize(
    "row",
    [
        {"conversation": [{"system": "S", "input": "a", "output": "b"}, {"input": "c", "output": "d"}]},
        {"conversation": [{"system": "S", "input": "a", "output": "b"}, {"system": "S", "input": "c", "output": "d"}]},
        {"system": "S", "conversation": [{"input": "a", "output": "b"}, {"input": "c", "output": "d", "system": ""}]},
        {"system": "S", "conversation": ["a", "b", "c", "d"]},
        {"system_prompt": "S", "system": "", "turns": ["a", "b", "c", "d"]},
    ],
    ids=["first", "repeated", "beside", "texts", "system_prompt"],
)
def test_a_system_text_of_exchanges_or_beside_turns_begins_the_conversation(tmp_path: Path, row: Object) -> None:
    example = _read(tmp_path, row)
    assert _said(example) == [("system", "S"), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")]
    assert example.extra == {}


def test_tools_beside_turns_are_the_conversations(tmp_path: Path) -> None:
    tool = {"type": "function", "function": {"name": "f"}}
    assert _read(tmp_path, {**TURNS, "tools": [tool]}).tools == [tool]


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        ({"conversation": [{"input": "a", "output": "b", "weight": 0}]}, "message-keys"),
        ({"conversations": [{"instruction": "Translate", "input": "a", "output": "b"}]}, "message-keys"),
        ({"conversation": [{"input": "a", "output": "b"}, {"system": "S", "input": "a", "output": "b"}]}, None),
        ({"system": "T", "conversation": [{"system": "S", "input": "a", "output": "b"}]}, None),
        ({"conversation": [{"system": ["S"], "input": "a", "output": "b"}]}, "field-type"),
        ({"system": 5, "turns": ["a", "b"]}, "field-type"),
    ],
)
def test_what_an_exchange_holds_besides_is_an_error_of_its_row(tmp_path: Path, row: Object, rule: str | None) -> None:
    assert _rules(tmp_path, row) == [rule or "messages-type"]


BENCH: Object = {"question_id": 81, "category": "writing", "turns": ["Compose a post", "Rewrite it"], "reference": []}


@pytest.mark.parametrize("left_out", ["question_id", "reference", None])
def test_a_benchmarks_questions_are_no_conversation(tmp_path: Path, left_out: str | None) -> None:
    row = {key: value for key, value in BENCH.items() if key != left_out}
    with pytest.raises(DataError, match="'turns' lists a benchmark's questions, not a user and an assistant in turn"):
        _read(tmp_path, row)
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(DataError, match="lists a benchmark's questions"):
        list(Dataset.open(tmp_path / "rows.jsonl", format="turns"))


@pytest.mark.parametrize(
    "speakers", [["Ann", "Bob", "Ann"], ["user", "assistant", "User"], [0, 1, 0], ["me", "ai", "me"]]
)
def test_speakers_that_take_turns_are_the_user_and_the_assistant(tmp_path: Path, speakers: list[object]) -> None:
    example = _read(tmp_path, {"dialogue": ["a", "b", "c"], "speakers": speakers})
    assert [message.role for message in example.messages] == ["user", "assistant", "user"]
    assert example.extra == {"speakers": speakers}


@pytest.mark.parametrize(
    ("speakers", "message"),
    [
        (["A", "A", "B"], "text 2 is said by 'A'"),
        (["A", "B", "B"], "text 3 is said by 'B'"),
        (["A", "B", "C"], "text 3 is said by 'C'"),
        (["A", "B"], "'speakers' names 2 speakers, but 'dialogue' lists 3 texts"),
        (["assistant", "user", "assistant"], "'assistant' and 'user' speak in turn, not a user and an assistant"),
        (["system", "user", "system"], "'system' and 'user' speak in turn, not a user and an assistant"),
    ],
)
def test_speakers_that_do_not_take_turns_are_an_error_of_the_row(
    tmp_path: Path, speakers: list[str], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        _read(tmp_path, {"dialogue": ["a", "b", "c"], "speakers": speakers})


def test_what_glaives_system_text_says_around_its_functions_stays(tmp_path: Path) -> None:
    one, two = DEFINED.split("\n\n")
    system = f"{OFFER}{one}\nThe next one is slow.\n{two}\n\nAlways answer in French."
    example = _read(tmp_path, {"system": system, "chat": GLAIVE})
    assert (
        example.messages[0].content
        == "You are a helpful assistant.\n\nThe next one is slow.\n\nAlways answer in French."
    )
    assert [tool["function"]["name"] for tool in example.tools or []] == ["rate", "date"]


@pytest.mark.parametrize("after", ["Answer as {x}.", '{"answer": "in French"}'])
def test_braces_in_glaives_system_text_that_are_no_function_are_an_error_of_the_row(tmp_path: Path, after: str) -> None:
    assert _rules(tmp_path, {"system": f"{OFFER}{DEFINED}{after}", "chat": GLAIVE}) == ["tools-type"]


TYPES: dict[str, tuple[object, Object, bool]] = {
    "capital": ("Optional[str]", {"type": "string"}, False),
    "nested": ("Optional[List[int]]", {"type": "array", "items": {"type": "integer"}}, False),
    "inside": ("List[Optional[int]]", {"type": "array", "description": "type: List[Optional[int]]"}, True),
    "suffix": ("Int, Optional", {"type": "integer"}, False),
    "json": ("string", {"type": "string"}, True),
    "listed": (["string", "null"], {"type": ["string", "null"]}, True),
    "listed-python": (["str", "None"], {"type": ["string", "null"]}, True),
    "null": ("null", {"type": "null"}, True),
    "any": ("Any", {}, True),
    "unknown": ("Literal['a']", {"description": "type: Literal['a']"}, True),
    "either": ("int | str", {"description": "type: int | str"}, True),
    "listed-unknown": (["string", "date"], {"description": 'type: ["string", "date"]'}, True),
    "more": ("str (ISO)", {"type": "string", "description": "type: str (ISO)"}, True),
}


@pytest.mark.parametrize("name", TYPES)
def test_no_type_of_a_parameter_vanishes(tmp_path: Path, name: str) -> None:
    given, wanted, required = TYPES[name]
    tools = json.dumps([{"name": "f", "parameters": {"x": {"type": given}}}])
    example = _read(tmp_path, {**CALLS, "tools": tools})
    schema = {"type": "object", "properties": {"x": wanted}, **({"required": ["x"]} if required else {})}
    assert [tool["function"]["parameters"] for tool in example.tools or []] == [schema]


def test_a_type_without_a_word_in_json_schema_follows_the_description(tmp_path: Path) -> None:
    tools = json.dumps([{"name": "f", "parameters": {"x": {"type": "datetime", "description": "When"}}}])
    found = (_read(tmp_path, {**CALLS, "tools": tools}).tools or [])[0]["function"]["parameters"]
    assert found["properties"] == {"x": {"description": "When (type: datetime)"}}


@pytest.mark.parametrize("row", [{"translation": {"x": "a", "y": "b"}}, {"id": 1, "pair": {"en": "a", "pt-BR": "b"}}])
def test_texts_under_languages_ask_which_one_asks(tmp_path: Path, row: Object) -> None:
    with pytest.raises(DataError, match="which one asks"):
        _read(tmp_path, row)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"input_text": "a", "target_text": "b", "meta": {"x": "1", "y": "2"}}, "no known format has the keys"),
        ({"promts": "a", "answr": "b", "names": {"en": "a", "de": "b"}}, "Nearest: 'promts' ~ 'prompt'"),
        ({"prompt;completion": "a;b", "meta": {"x": "1", "y": "2"}}, "no known format has the keys"),
    ],
)
def test_texts_one_level_down_hide_no_other_hint(tmp_path: Path, row: Object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        _read(tmp_path, row)


@pytest.mark.parametrize(
    ("row", "columns"),
    [
        (
            {"prompt": "q", "response_0": "a", "response_1": "b", "better_response_id": 0},
            "'response_0' and 'response_1'",
        ),
        ({"prompt": "q", "response_1": "a", "response_2": "b", "preference_strength": -2}, "'response_2'"),
        ({"history": "q", "human_ref_A": "a", "human_ref_B": "b", "labels": 1}, "'human_ref_A'"),
        ({"question": "q", "response_j": "a", "response_k": "b", "qid": 1}, "'response_j'"),
        (
            {"prompt": "q", "answers": [{"answer": "a", "rank": 1}, {"answer": "b", "rank": 2}]},
            "'answers' lists several",
        ),
    ],
    ids=["safe-rlhf", "helpsteer", "shp", "stack-exchange", "nectar"],
)
def test_answers_of_which_another_column_says_the_better_one_are_no_prompts(
    tmp_path: Path, row: Object, columns: str
) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(DataError, match="Write the better answer as `chosen`") as refused:
        _ = Dataset.open(tmp_path / "rows.jsonl").detection
    assert columns in str(refused.value)


def test_prompts_beside_compared_answers_are_read_where_that_is_asked_for(tmp_path: Path) -> None:
    row: Object = {"prompt": "q", "response_0": "a", "response_1": "b"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    assert [example.extra for example in Dataset.open(tmp_path / "rows.jsonl", format="prompt")] == [
        {"response_0": "a", "response_1": "b"}
    ]


def test_a_rejected_response_beside_messages_is_the_worse_answer(tmp_path: Path) -> None:
    said = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "good"}]
    (tmp_path / "rows.jsonl").write_text(json.dumps({"messages": said, "rejected_response": "bad"}) + "\n")
    (example,) = Dataset.open(tmp_path / "rows.jsonl")
    assert isinstance(example, PreferenceExample)
    assert [turns[0].content for turns in (example.prompt, example.chosen, example.rejected)] == ["q", "good", "bad"]


@pytest.mark.parametrize(("format_", "rules", "count"), [(None, {"method-data-mismatch"}, 0), ("chat", set[str](), 12)])
def test_pairs_are_read_as_conversations_only_where_that_is_asked_for(
    tmp_path: Path, format_: str | None, rules: set[str], count: int
) -> None:
    said = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "good"}]
    rows = [json.dumps({"messages": said, "rejected_response": "bad"})] * 12
    (tmp_path / "rows.jsonl").write_text("\n".join(rows) + "\n")
    prepared = prepare(DataSpec(train=str(tmp_path / "rows.jsonl"), format=format_), method="sft")
    errors = [found for found in prepared.findings if found.severity == "error"]
    assert {found.rule for found in errors} == rules
    assert all("`format: chat`" in found.fix for found in errors)
    assert prepared.rows.get("train", 0) == count


@pytest.mark.parametrize(
    ("kind", "schema"),
    [
        ("List[int]", {"type": "array", "items": {"type": "integer"}}),
        ("List[List[str]]", {"type": "array", "items": {"type": "array", "items": {"type": "string"}}}),
        ("Dict[str, float]", {"type": "object", "additionalProperties": {"type": "number"}}),
        ("List[Any]", {"type": "array"}),
        ("Tuple[int, str]", {"type": "array", "description": "type: Tuple[int, str]"}),
        ("Dict[int, str]", {"type": "object", "description": "type: Dict[int, str]"}),
    ],
)
def test_what_a_python_type_holds_stays_in_the_schema(tmp_path: Path, kind: str, schema: Object) -> None:
    tools = json.dumps([{"name": "f", "description": "d", "parameters": {"a": {"type": kind}}}])
    example = _read(tmp_path, {"query": "q", "tools": tools, "answers": '[{"name": "f", "arguments": {}}]'})
    assert (example.tools or [])[0]["function"]["parameters"]["properties"]["a"] == schema


def test_an_answer_that_is_no_message_says_which_keys_it_has(tmp_path: Path) -> None:
    row: Object = {"question": "q", "answer": {"value": "a", "aliases": ["b"]}}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    report = Report()
    list(Dataset.open(tmp_path / "rows.jsonl").scan(report))
    assert "an object with 'value', 'aliases'" in str(report.findings()[0])


TOOL: Object = {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {}}}


@pytest.mark.parametrize(
    "tools",
    [
        [json.dumps(TOOL)],
        json.dumps([json.dumps({"type": "function", "function": TOOL})]),
        [{**TOOL, "parameters": json.dumps(TOOL["parameters"])}],
        [{"type": "function", "function": {**TOOL, "parameters": json.dumps(TOOL["parameters"])}}],
    ],
    ids=["each-a-text", "texts-in-a-text", "bare-parameters", "parameters"],
)
def test_tools_that_a_table_holds_as_texts_are_tools(tmp_path: Path, tools: object) -> None:
    said = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    assert _read(tmp_path, {"messages": said, "tools": tools}).tools == [{"type": "function", "function": TOOL}]


def test_a_row_with_a_newer_conversation_beside_the_old_columns_is_not_read_as_the_old_one(tmp_path: Path) -> None:
    old = [{"conversation": [{"input": f"q{at}", "output": "a"}]} for at in range(5)]
    said = [{"role": "user", "content": "new"}, {"role": "assistant", "content": "new"}]
    (tmp_path / "rows.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in [*old, {**old[0], "messages": said}])
    )
    report = Report()

    assert len(list(Dataset.open(tmp_path / "rows.jsonl").scan(report))) == 5
    assert [(finding.rule, finding.line) for finding in report.findings()] == [("format-mixed", 6)]


@pytest.mark.parametrize("quote", ['"', "'"], ids=["json", "python"])
def test_a_key_that_comes_twice_in_messages_written_as_text_is_an_error(tmp_path: Path, quote: str) -> None:
    text = '[{"role": "user", "content": "a", "content": "b"}, {"role": "assistant", "content": "c"}]'
    (tmp_path / "rows.jsonl").write_text(json.dumps({"messages": text.replace('"', quote)}) + "\n")
    report = Report()
    list(Dataset.open(tmp_path / "rows.jsonl", format="chat").scan(report))
    assert [finding.rule for finding in report.findings()] == ["duplicate-key"]
