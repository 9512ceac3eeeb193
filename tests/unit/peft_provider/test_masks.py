"""Which tokens carry loss: our reading of chat templates without marks against the ones TRL marked by hand."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from peft_worker import module

_ENDLESS = ("glm4moe",)  # ends turns with the next speaker, which no rendering of the turn alone contains
USER = {"role": "user", "content": "Hi you"}
ANSWER = {"role": "assistant", "content": "Hello there."}
TALK = [USER, ANSWER, {"role": "user", "content": "And now?"}, {"role": "assistant", "content": "Bye."}]


def _trl_templates() -> Path:
    import trl  # noqa: PLC0415 - lazy itself, and only its folder is wanted

    return Path(str(trl.__file__)).parent / "chat_templates"


def _unmarked() -> list[str]:
    folder = _trl_templates()
    marked = sorted(folder.glob("*_training.jinja"))
    names = [path.name.replace("_training.jinja", "") for path in marked]
    return [name for name in names if (folder / f"{name}.jinja").exists() and name not in _ENDLESS]


@cache
def _tokenizer() -> Any:
    tokenizer = module("builtin")._tokenizer(["Hi you. Hello there. And now? Bye. Be brief."])
    tokenizer.bos_token = "<s>"
    return tokenizer


def _spans(template: str, messages: list[dict[str, Any]]) -> list[str]:
    tokenizer = _tokenizer()
    tokenizer.chat_template = template
    turns = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
    samples = module("template").ChatTemplate(tokenizer).samples(messages, turns)
    return [sample.text[span.start : span.end] for sample in samples for span in sample.spans]


@pytest.mark.parametrize("name", _unmarked())
def test_an_unmarked_template_trains_what_the_model_has_to_write_after_the_prompt(name: str) -> None:
    """TRL's marks agree, except that some include the end of the prompt, which the model never writes itself."""
    folder = _trl_templates()
    [ours] = _spans((folder / f"{name}.jinja").read_text(), [USER, ANSWER])
    [theirs] = _spans((folder / f"{name}_training.jinja").read_text(), [USER, ANSWER])

    assert "Hello there." in ours
    assert theirs.rstrip().endswith(ours.rstrip())


def test_a_template_that_drops_old_reasoning_makes_one_sample_per_turn() -> None:
    messages = [{**message, "reasoning": "think"} if message["role"] == "assistant" else message for message in TALK]

    spans = _spans((_trl_templates() / "qwen3.jinja").read_text(), messages)

    assert spans == [f"<think>\nthink\n</think>\n\n{text}<|im_end|>\n" for text in ("Hello there.", "Bye.")]


def _encoded(row: Mapping[str, Any], *, train_on: str = "assistant", max_length: int = 512) -> Any:
    rows, findings = module("rows"), module("findings").Findings()
    tokenizer = _tokenizer()
    tokenizer.chat_template = module("builtin").CHAT_TEMPLATE
    encoder = rows.Encoder(tokenizer, train_on=train_on, max_length=max_length, findings=findings)
    samples = encoder.encode({"kind": "chat", "source": {"file": "a.jsonl", "line": 3}, **row})
    return samples, findings


def _trained(sample: Any) -> str:
    return _tokenizer().decode([i for i, w in zip(sample.ids, sample.weights, strict=True) if w])


@pytest.mark.parametrize(
    ("train_on", "expected"),
    [
        ("assistant", "Hello there.<|im_end|>Bye.<|im_end|>"),
        ("last_assistant", "Bye.<|im_end|>"),
    ],
)
def test_loss_falls_on_the_assistants_turns(train_on: str, expected: str) -> None:
    [sample], _ = _encoded({"messages": TALK}, train_on=train_on)

    assert _trained(sample) == expected


def test_train_on_all_trains_everything_but_the_first_token() -> None:
    [sample], _ = _encoded({"messages": TALK}, train_on="all")

    assert sample.weights == [0.0] + [1.0] * (len(sample.ids) - 1)


@pytest.mark.parametrize("weight", [0.5, -1.0, 2.0])
def test_a_messages_weight_reaches_its_tokens(weight: float) -> None:
    [sample], _ = _encoded({"messages": [USER, {**ANSWER, "weight": weight}]})

    assert set(sample.weights) == {0.0, weight}


def test_a_message_of_weight_zero_is_not_trained_on() -> None:
    [sample], _ = _encoded({"messages": [USER, {**ANSWER, "weight": 0}, *TALK[2:]]})

    assert _trained(sample) == "Bye.<|im_end|>"


def test_a_row_without_loss_is_left_out_and_reported() -> None:
    samples, findings = _encoded({"messages": [USER, {**ANSWER, "weight": 0}]})

    assert (samples, findings.count("row-no-loss")) == ([], 1)


def test_a_row_that_is_cut_is_reported() -> None:
    [sample], findings = _encoded(
        {"messages": [USER, {"role": "assistant", "content": "Hello there. " * 50}]}, max_length=40
    )

    assert (len(sample.ids), findings.count("row-truncated")) == (40, 1)


def test_special_tokens_inside_a_users_text_are_reported() -> None:
    _, findings = _encoded({"messages": [{"role": "user", "content": "ignore <|im_end|> this"}, ANSWER]})

    assert findings.count("special-token-in-text") == 1


def test_a_finding_names_file_line_and_count() -> None:
    told: list[str] = []

    class Ctx:
        Failed = RuntimeError

        def event(self, message: str, **_: object) -> None:
            told.append(message)

    _, findings = _encoded({"messages": [USER, {**ANSWER, "weight": 0}]})
    findings.report(Ctx())

    assert told[0].startswith("row-no-loss: a.jsonl:3: the row would contribute no loss (1 row: a.jsonl:3)")


def test_tools_reach_the_template() -> None:
    tool: dict[str, Any] = {"type": "function", "function": {"name": "weather", "parameters": {}}}
    [sample], _ = _encoded({"messages": [USER, ANSWER], "tools": [tool]})

    assert "weather" in _tokenizer().decode(sample.ids)


def test_a_model_without_template_trains_the_completion_of_a_text_pair() -> None:
    tokenizer = _tokenizer()
    tokenizer.chat_template = None
    encoder = module("rows").Encoder(
        tokenizer, train_on="assistant", max_length=99, findings=module("findings").Findings()
    )
    [sample] = encoder.encode({"kind": "chat", "shape": "prompt_completion", "messages": [USER, ANSWER]})

    assert _trained(sample) == "Hello there.<|im_end|>"


def test_packed_samples_start_counting_anew() -> None:
    sample = module("rows").Sample([7, 8, 9], [0.0, 1.0, 1.0])
    [packed] = module("packing").pack([sample, sample], 8)

    assert packed.positions == [0, 1, 2, 0, 1, 2]
