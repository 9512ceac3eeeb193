"""Training rows as the vendors take them, and what they refuse."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from finetune_providers.azure.map import AZURE_RULES
from finetune_providers.openai.provider import OpenAIProvider
from finetune_providers.openai.rows import check, render
from finetune_providers.openai.rules import OPENAI_RULES, Rules
from finetune_providers.openai.tokens import TokenCount, epochs_guess, token_count
from wire import contract
from wire.helpers import MODEL, chat_rows, job_spec, preference_rows, prompt_rows, write

from finetune_sdk.data.example import ChatExample, Message, PreferenceExample, PromptExample
from finetune_sdk.data.prepare import prepare
from finetune_sdk.spec import DataSpec, JobSpec

DATA = contract.SPECS.parent / "data"
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def user(content: Any = "q", **fields: Any) -> Message:
    return Message(role="user", content=content, **fields)


def answer(content: Any = "a", **fields: Any) -> Message:
    return Message(role="assistant", content=content, **fields)


def image(url: str) -> list[dict[str, Any]]:
    return [{"type": "image_url", "image_url": {"url": url}}]


def rules_broken(example: Any, method: str, rules: Rules = OPENAI_RULES) -> list[str]:
    return [finding.rule for finding in check(example, method, rules)]


def test_weights_tool_calls_and_names_arrive_as_they_were() -> None:
    rows = [
        {
            "messages": [
                {"role": "user", "content": "q", "name": "ann"},
                {
                    "role": "assistant",
                    "weight": 0,
                    "tool_calls": [
                        {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"x":  1}'}}
                    ],
                },
                {"role": "tool", "tool_call_id": "c1", "content": "3"},
                {"role": "assistant", "content": "three", "weight": 1},
            ],
            "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
            "parallel_tool_calls": False,
        }
    ]
    assert _through_a_file(rows, "sft") == rows


def test_null_for_a_turn_without_text_is_left_out_as_the_schema_has_none() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    said = [{"role": "user", "content": "q"}, {"role": "assistant", "content": None, "tool_calls": [call]}]
    arrived = [{"messages": [said[0], {"role": "assistant", "tool_calls": [call]}]}]
    assert _through_a_file([{"messages": said}], "sft") == arrived


@pytest.mark.parametrize(
    ("method", "rows"), [("sft", chat_rows(3)), ("dpo", preference_rows(3)), ("rft", prompt_rows(3))], ids=str
)
def test_the_vendors_own_shape_comes_out_as_it_went_in(method: str, rows: list[dict[str, Any]]) -> None:
    assert _through_a_file(rows, method) == rows


def _through_a_file(rows: list[dict[str, Any]], method: str) -> list[dict[str, Any] | None]:
    with tempfile.TemporaryDirectory() as folder:
        prepared = prepare(DataSpec(train=write(Path(folder) / "rows.jsonl", rows)), method=method)
        return [render(example, method) for _, example in prepared.examples()]


def test_training_on_the_last_answer_gives_the_others_weight_zero() -> None:
    row = render(ChatExample(messages=[user(), answer("1"), user(), answer("2")]), "sft", last_answer_only=True)
    assert row is not None
    assert [one.get("weight") for one in row["messages"]] == [None, 0, None, None]


@pytest.mark.parametrize(
    ("example", "method", "rule"),
    [
        (ChatExample(messages=[user()]), "sft", "nothing-to-learn"),
        (ChatExample(messages=[user(), answer(weight=0)]), "sft", "nothing-to-learn"),
        (ChatExample(messages=[user(weight=1), answer()]), "sft", "weights"),
        (ChatExample(messages=[user(), answer(weight=0.5)]), "sft", "weights"),
        (ChatExample(messages=[user(""), answer()]), "sft", "turn-empty"),
        (ChatExample(messages=[user(), answer(reasoning="hm")]), "sft", "reasoning"),
        (ChatExample(messages=[user(), answer()], extra={"id": 1}), "sft", "row-keys"),
        (ChatExample(messages=[user([{"type": "input_audio"}]), answer()]), "sft", "other-parts"),
        (ChatExample(messages=[user(), answer(image("https://x/y.png"))]), "sft", "images-limits"),
        (ChatExample(messages=[user(image("images/1.png")), answer()]), "sft", "images-limits"),
        (ChatExample(messages=[user(image(f"data:image/gif;base64,{PIXEL}")), answer()]), "sft", "images-limits"),
        (ChatExample(messages=[user(image("data:image/png;base64,???")), answer()]), "sft", "images-limits"),
        (ChatExample(messages=[user(image("https://x/y") * 11), answer()]), "sft", "images-limits"),
        (ChatExample(messages=[user(), answer()]), "dpo", "row-wrong-kind"),
        (PreferenceExample(prompt=[], chosen=[answer("1")], rejected=[answer("2")]), "dpo", "preference-pair"),
        (PreferenceExample(prompt=[user()], chosen=[answer("1")], rejected=[answer("1")]), "dpo", "preference-pair"),
        (PreferenceExample(prompt=[user()], chosen=[user("1")], rejected=[answer("2")]), "dpo", "preference-answer"),
        (PromptExample(prompt=[user(), answer()]), "rft", "last-turn"),
        (PromptExample(prompt=[Message(role="system", content="s"), user()]), "rft", "roles"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_row_the_vendor_would_refuse_is_found_before(example: Any, method: str, rule: str) -> None:
    assert rules_broken(example, method) == [rule]


def test_azure_takes_what_openai_does_not() -> None:
    two_turns = PreferenceExample(prompt=[user()], chosen=[answer("1"), answer("2")], rejected=[answer("3")])
    many_images = ChatExample(messages=[user(image("https://x/y") * 11), answer()])
    assert rules_broken(two_turns, "dpo", AZURE_RULES) + rules_broken(many_images, "sft", AZURE_RULES) == []


@pytest.mark.parametrize(("rows", "epochs"), [(0, 1), (10, 10), (3, 25), (50, 3), (1000, 3), (10_000, 2), (60_000, 1)])
def test_open_epochs_are_reckoned_as_the_cookbook_does(rows: int, epochs: int) -> None:
    assert epochs_guess(rows) == epochs


def test_tokens_are_counted_with_the_vendors_vocabulary() -> None:
    count = token_count()
    count.add(chat_rows(1)[0])
    # "Answer in one word." 5, "What follows 0?" 5 (o200k_base), "1" 1, and 3 for each message
    assert (count.total, count.exact) == (20, True)


def test_tools_make_the_count_an_estimate() -> None:
    count = token_count()
    count.add({**chat_rows(1)[0], "tools": [{"type": "function"}]})
    assert (count.exact, "20 %" in count.basis) == (False, True)


def test_without_the_vocabulary_the_count_says_that_it_is_an_estimate_and_how_to_get_better() -> None:
    count = TokenCount(lambda text: len(text) // 4, vocabulary=False)
    assert (count.exact, "pip install" in count.basis, "within about" in count.basis) == (False, True, True)


CASES = {
    "chat": ("sft_openai_gsm8k_train.jsonl", "sft", MODEL),
    "tools": ("tools_openai_stock_train.jsonl", "sft", MODEL),
    "vision": ("vision_openai_chartqa.jsonl", "sft", "gpt-4o-2024-08-06"),
    "preference": ("dpo_openai_orca.jsonl", "dpo", MODEL),
    "reinforcement": ("rft_openai_countdown_train.jsonl", "rft", "o4-mini-2025-04-16"),
}


@pytest.mark.skipif(not DATA.exists(), reason=f"the real data sets are not at {DATA}")
@pytest.mark.parametrize("case", CASES)
def test_real_data_of_every_kind_plan_without_errors(tmp_path: Path, case: str) -> None:
    name, kind, model = CASES[case]
    spec = _real(tmp_path, name, kind, model)
    assert OpenAIProvider(home=tmp_path).plan(spec).errors == ()


@pytest.mark.skipif(not DATA.exists(), reason=f"the real data sets are not at {DATA}")
def test_real_images_on_a_text_model_are_refused(tmp_path: Path) -> None:
    spec = _real(tmp_path, "vision_openai_chartqa.jsonl", "sft", MODEL)
    options = {"openai": {**spec.options["openai"], "server": "litellm"}}
    errors = OpenAIProvider(home=tmp_path).plan(spec.model_copy(update={"options": options})).errors
    assert "images-not-supported" in [error.rule for error in errors]


def _real(folder: Path, name: str, kind: str, model: str) -> JobSpec:
    base = job_spec(folder, "http://127.0.0.1:1", kind=kind)
    data: dict[str, Any] = {"train": str(DATA / name)}
    parts: dict[str, Any] = {"data": data, "model": model}
    if kind == "rft":
        data["validation"] = str(DATA / "rft_openai_countdown_validation.jsonl")
        parts["method"] = {"kind": "rft", "grader": {"type": "string_check", "reference": "{{item.target}}"}}
    return JobSpec.model_validate({**base.model_dump(mode="json"), **parts})
