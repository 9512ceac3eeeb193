"""Conversations under other names, steps with marks, and what is said where rows need a mapping."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from finetune_sdk.data import Dataset
from finetune_sdk.data.convert import convert
from finetune_sdk.data.detect import detect
from finetune_sdk.data.example import ChatExample, Example, PreferenceExample, PromptExample, StepwiseExample
from finetune_sdk.data.jsonvalue import Object
from finetune_sdk.data.report import Report
from finetune_sdk.data.tools.check import check
from finetune_sdk.data.tools.files import fix
from finetune_sdk.data.tools.repairs import chosen
from finetune_sdk.errors import DataError

PNG = bytes.fromhex("89504e470d0a1a0a0000000d49484452")
ASKED = [("user", "hi"), ("assistant", "yo")]


def _opened(folder: Path, *rows: Object, columns: dict[str, str] | None = None) -> Dataset:
    (folder / "rows.jsonl").write_text("".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows))
    return Dataset.open(folder / "rows.jsonl", columns=columns)


def _said(example: Example) -> list[tuple[str, object]]:
    assert isinstance(example, ChatExample)
    return [(message.role, message.content) for message in example.messages]


@pytest.mark.parametrize(
    ("key", "who", "said"),
    [
        ("conversations", "role", "text"),
        ("messages", "role", "message"),
        ("messages", "from", "content"),
        ("dialog", "speaker", "utterance"),
        ("dialogue", "role", "content"),
        ("chat", "from", "value"),
        ("messages", "role", "utterance"),
        ("thread", "author", "body"),
    ],
)
def test_turns_under_other_names_are_turns(tmp_path: Path, key: str, who: str, said: str) -> None:
    row: Object = {key: [{who: "user", said: "hi", "at": 3}, {who: "Bot", said: "yo", "weight": 0}], "id": 1}
    dataset = _opened(tmp_path, row)
    example = next(iter(dataset))
    assert dataset.detection[0].format == "named-turns"
    assert isinstance(example, ChatExample)
    assert _said(example) == ASKED
    assert (example.messages[0].extra, example.messages[1].weight, example.extra) == ({"at": 3}, 0, {"id": 1})


def test_who_speaks_may_be_said_by_true_and_false(tmp_path: Path) -> None:
    turns = [{"message": "hi", "is_human": True}, {"message": "yo", "is_human": False}]
    assert _said(next(iter(_opened(tmp_path, {"conversation": turns, "bot_name": "Bob"})))) == ASKED


def test_coheres_history_goes_before_its_message_and_answer(tmp_path: Path) -> None:
    history = [{"role": "USER", "message": "a"}, {"role": "CHATBOT", "message": "b"}]
    row: Object = {"preamble": "p", "chat_history": history, "message": "hi", "response": "yo"}
    said = [("system", "p"), ("user", "a"), ("assistant", "b"), *ASKED]
    assert _said(next(iter(_opened(tmp_path, row)))) == said


def test_coheres_roles_with_a_message_are_read_as_with_a_content(tmp_path: Path) -> None:
    turns = [{"role": "User", "message": "hi"}, {"role": "Chatbot", "message": "yo"}]
    assert _said(next(iter(_opened(tmp_path, {"messages": turns})))) == ASKED


def test_an_answer_beside_turns_that_end_without_one_is_theirs(tmp_path: Path) -> None:
    row: Object = {"context": [{"role": "user", "content": "hi"}], "response": "yo", "id": 1}
    example = next(iter(_opened(tmp_path, row)))
    assert (_said(example), example.extra) == (ASKED, {"id": 1})


def test_turns_before_answers_that_are_compared_are_no_conversation(tmp_path: Path) -> None:
    context = [{"role": "user", "content": "hi"}]
    row: Object = {"context": context, "response1": "a", "response2": "b", "overall_preference": -2}
    with pytest.raises(DataError, match="which one is better, other columns say"):
        list(_opened(tmp_path, row))


@pytest.mark.parametrize(
    ("turn", "rule", "path"),
    [
        ({"speaker": "narrator", "text": "x"}, "role-unknown", "dialog[1].speaker"),
        ({"speaker": "bot", "text": None}, "content-type", "dialog[1].text"),
        ({"speaker": "bot"}, "messages-type", None),
    ],
)
def test_a_turn_that_says_not_who_or_what_is_an_error_of_its_row(
    tmp_path: Path, turn: Object, rule: str, path: str | None
) -> None:
    good = [{"speaker": "user", "text": "x"}, {"speaker": "bot", "text": "y"}]
    report = Report()
    assert len(list(_opened(tmp_path, *[{"dialog": good}] * 4, {"dialog": [good[0], turn]}).scan(report))) == 4
    assert [(found.rule, found.line, found.path) for found in report.findings()] == [(rule, 5, path)]


@pytest.mark.parametrize(
    "row",
    [
        {"chosen": [{"role": "user", "text": "x"}], "rejected": [{"role": "user", "text": "y"}]},
        {"prompt": [{"role": "user", "text": "x"}]},
    ],
)
def test_a_part_of_a_row_is_no_conversation(tmp_path: Path, row: Object) -> None:
    with pytest.raises(DataError, match="no known format"):
        _ = _opened(tmp_path, row).detection


def test_a_conversation_of_the_usual_kind_beside_them_is_what_is_read(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}]
    old = [{"speaker": "user", "text": "x"}, {"speaker": "bot", "text": "y"}]
    dataset = _opened(tmp_path, {"dialog": old, "messages": messages})
    assert dataset.detection[0].format == "chat"


def test_pictures_beside_questions_and_answers_go_before_the_first_question(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    texts = [{"user": "What?", "assistant": "A cat.", "source": "vqa"}, {"user": "Where?", "assistant": "Home."}]
    dataset = _opened(tmp_path, {"images": ["a.png"], "texts": texts})
    found = check(dataset, ()).findings
    assert [(group.rule, group.severity) for group in found] == [("image-marks", "warning")]
    assert "images-inline" in found[0].fix
    fix(dataset, tmp_path / "out.jsonl", chosen(("images-inline",)), to="chat")
    messages = json.loads((tmp_path / "out.jsonl").read_text())["messages"]
    assert [part["type"] for part in messages[0]["content"]] == ["image_url", "text"]
    assert messages[1] == {"role": "assistant", "content": "A cat.", "source": "vqa"}


STEPS = ("It lays 16. Step 1: 3+4=7 {}\nStep 2: 16-7=9 {}", {"task": "GSM8K"})


def test_steps_that_end_in_marks_are_right_or_wrong(tmp_path: Path) -> None:
    text, beside = STEPS
    row = {"input": text.format("ки", "ки"), "label": text.format("+", "-"), **beside}
    example = next(iter(_opened(tmp_path, row)))
    assert isinstance(example, StepwiseExample)
    assert example.prompt == "It lays 16."
    assert (example.completions, example.labels) == (["Step 1: 3+4=7", "Step 2: 16-7=9"], [True, False])
    assert example.extra == beside


@pytest.mark.parametrize(
    ("given", "marked"), [(("ки", "ки"), ("+", "?")), (("ки", "ки"), ("+", "")), (("ки", "."), ("+", "."))]
)
def test_steps_without_their_marks_are_an_error_of_the_row(
    tmp_path: Path, given: tuple[str, str], marked: tuple[str, str]
) -> None:
    report = Report()
    row: Object = {"input": STEPS[0].format(*given), "label": STEPS[0].format(*marked)}
    assert not list(_opened(tmp_path, row).scan(report))
    assert [found.rule for found in report.findings()] == ["stepwise-lengths"]


@pytest.mark.parametrize(
    "history", [[["a", "b"]], [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]]
)
def test_earlier_turns_beside_a_question_come_before_it(tmp_path: Path, history: object) -> None:
    row: Object = {"prompt": "hi", "response": "yo", "history": history}
    dataset = _opened(tmp_path, row)
    assert _said(next(iter(dataset))) == [("user", "a"), ("assistant", "b"), *ASKED]
    convert(dataset, tmp_path / "out.jsonl", to="prompt-completion")
    assert json.loads((tmp_path / "out.jsonl").read_text()) == row


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (
            {"custom_id": "1", "body": {"model": "m", "messages": [{"role": "user", "content": "q"}]}},
            r"'body' holds .*messages: body\.messages",
        ),
        (
            {
                "request": {"messages": [{"role": "user", "content": "q"}]},
                "response": {"choices": [{"message": {"role": "assistant", "content": "a"}}]},
            },
            r"\{prompt: request\.messages, completion: response\.choices\.0\.message\}",
        ),
        (
            {"query": "q", "answers": ["a", "b"], "passages": {"is_selected": [1]}},
            r"'answers' lists its answers.*\{prompt: query, completion: answers\.0\}",
        ),
        ({"conversation": 1, "role": "user", "content": "hi"}, "each row is one message"),
        ({"question": "q", "answer": ["a", "b"]}, r"list of 2 texts.*answer\.0"),
        (
            {"dialog": [{"speaker": "A", "text": "x"}, {"speaker": "B", "text": "y"}]},
            r"said by 'A', 'B'\. Write user or assistant",
        ),
        ({"meta_instruction": "s", "num_turns": 1, "chat": {"turn_1": {}}}, "MOSS"),
        ({"meta_instruction": "s", "num_turns": 1, "plain_text": "[Human]: hi"}, "MOSS"),
        ({"labeler": "x", "question": {"problem": "p"}, "label": {"steps": []}}, "PRM800K.*`completions`"),
    ],
    ids=["batch", "stored", "ms-marco", "messages", "nq-open", "dailydialog", "moss-3", "moss-2", "prm800k"],
)
def test_rows_that_need_another_step_name_it(tmp_path: Path, row: Object, said: str) -> None:
    with pytest.raises(DataError, match=said):
        list(_opened(tmp_path, row))


def test_what_lies_one_level_down_is_read_by_the_mapping_that_is_named(tmp_path: Path) -> None:
    row: Object = {"body": {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}]}}
    assert _said(next(iter(_opened(tmp_path, row, columns={"messages": "body.messages"})))) == ASKED


def test_a_request_and_its_response_are_read_by_the_mapping_that_is_named(tmp_path: Path) -> None:
    row: Object = {
        "request": {"messages": [{"role": "user", "content": "hi"}]},
        "response": {"choices": [{"message": {"role": "assistant", "content": "yo"}}]},
    }
    columns = {"prompt": "request.messages", "completion": "response.choices.0.message"}
    assert _said(next(iter(_opened(tmp_path, row, columns=columns)))) == ASKED


def test_a_target_is_a_label_unless_the_method_learns_from_answers(tmp_path: Path) -> None:
    dataset = _opened(tmp_path, *[{"text": f"t{n}", "target": f"a{n % 2}"} for n in range(12)])
    path = dataset.files[0]
    assert detect(path).format == "labelled"
    assert "`--as seq2seq` would read conversations" in str(detect(path))
    assert detect(path, prefer=("chat",)).format == "seq2seq"
    assert _said(next(iter(Dataset.open(path, format="seq2seq")))) == [("user", "t0"), ("assistant", "a0")]


SIDES: dict[str, tuple[Any, Any]] = {
    "turns": ({"from": "gpt", "value": "a"}, {"from": "gpt", "value": "b"}),
    "lists": ([{"from": "gpt", "value": "a"}], [{"from": "gpt", "value": "b"}]),
    "texts": ("a", "b"),
}


@pytest.mark.parametrize("name", [*SIDES, "inside"])
def test_answers_beside_turns_are_a_preference_however_they_are_written(tmp_path: Path, name: str) -> None:
    asked = {"from": "human", "value": "q"}
    if name == "inside":
        row: Object = {"chosen": [asked, *SIDES["lists"][0]], "rejected": [asked, *SIDES["lists"][1]]}
    else:
        row = {"conversations": [asked], "chosen": SIDES[name][0], "rejected": SIDES[name][1]}
    example = next(iter(_opened(tmp_path, row)))
    assert isinstance(example, PreferenceExample)
    sides = (example.prompt, example.chosen, example.rejected)
    assert [[message.content for message in side] for side in sides] == [["q"], ["a"], ["b"]]


def test_a_system_text_beside_a_prompt_is_asked_with_it(tmp_path: Path) -> None:
    example = next(iter(_opened(tmp_path, {"system": "s", "prompt": "q", "answer": "3"})))
    assert isinstance(example, PromptExample)
    assert [(message.role, message.content) for message in example.prompt] == [("system", "s"), ("user", "q")]
    assert example.extra == {"answer": "3"}
