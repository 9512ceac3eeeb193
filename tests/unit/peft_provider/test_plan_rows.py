"""What planning says about single rows: those the worker cannot train on, and those that do not fit."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import peft_jobs
import pytest
from finetune_providers.peft.provider import PeftProvider

from finetune_sdk.provider import Plan
from finetune_sdk.types import Finding

PIXEL = "data:image/png;base64,iVBORw0KGgo="
ANSWER = {"role": "assistant", "content": "a cat"}
PICTURE = [{"type": "text", "text": "what?"}, {"type": "image_url", "image_url": {"url": PIXEL}}]
SOUND = [{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}]


def _planned(tmp_path: Path, rows: Sequence[Mapping[str, Any]], **parts: Any) -> Plan:
    train = peft_jobs.write(tmp_path / "train.jsonl", rows)
    return PeftProvider(home=tmp_path / "home").plan(peft_jobs.spec(train, **parts))


def _chat(question: Any, answer: str = "yes", **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}], **more}


def _only(plan: Plan, rule: str) -> Finding:
    (found,) = [finding for finding in plan.findings if finding.rule == rule]
    return found


@pytest.mark.parametrize(
    ("method", "row", "rule", "path"),
    [
        ("sft", _chat(PICTURE), "images", "messages[0].content[1]"),
        ("sft", _chat(SOUND), "other-parts", "messages[0].content[0]"),
        ("sft", {"conversations": [{"from": "human", "value": "<image> what?"}, {"from": "gpt", "value": "a cat"}],
                 "images": ["cat.png"]}, "images", "images"),
        ("dpo", {"prompt": [{"role": "user", "content": PICTURE}], "chosen": [ANSWER],
                 "rejected": [{"role": "assistant", "content": "a dog"}]}, "images", "prompt[0].content[1]"),
        ("rft", {"messages": [{"role": "user", "content": PICTURE}], "answer": "cat"}, "images",
         "messages[0].content[1]"),
    ],
    ids=["image_url", "audio", "sharegpt with images", "in a pair", "in a prompt"],
)  # fmt: skip
def test_what_is_no_text_is_an_error_at_planning_with_its_place(
    tmp_path: Path, method: str, row: dict[str, Any], rule: str, path: str
) -> None:
    wanted: dict[str, Any] = {"kind": method}
    if method == "rft":
        wanted["grader"] = {"type": "string_check", "input": "{{sample.output_text}}", "operation": "eq",
                            "reference": "{{item.answer}}"}  # fmt: skip
    plain = json.loads(json.dumps(row).replace(json.dumps(PICTURE), '"what?"').replace(json.dumps(SOUND), '"what?"'))
    plain.pop("images", None)

    plan = _planned(tmp_path, [plain, row], method=wanted)

    found = _only(plan, rule)
    assert (found.severity, found.line) == ("error", 2)
    assert found.file == str(tmp_path / "train.jsonl")
    assert found.path in (path, path.replace("messages", "prompt"))
    assert "text only" in found.message
    assert found in plan.errors


def test_loss_switched_inside_a_message_is_an_error_at_planning(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "Thinking.", "weight": 0}, {"type": "text", "text": "yes", "weight": 1}]
    row = {"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": parts}]}

    assert _only(_planned(tmp_path, [row]), "spans") in _planned(tmp_path, [row]).errors


def test_text_parts_are_fine(tmp_path: Path) -> None:
    rows = [_chat([{"type": "text", "text": "one"}, {"type": "text", "text": "two"}])]

    assert _planned(tmp_path, rows).errors == ()


def test_a_row_that_will_be_cut_is_a_warning_that_says_how_its_length_was_found(tmp_path: Path) -> None:
    rows = [*peft_jobs.rows(12), _chat("short", "long " * 3000), _chat("too", "long " * 4000)]

    found = _only(_planned(tmp_path, rows), "row-truncated")

    assert (found.severity, found.line, found.count) == ("warning", 13, 2)
    assert "about 3,7" in found.message
    assert "estimate" in found.message
    assert "max_seq_length 2,048" in found.message


def test_a_row_whose_answer_begins_after_the_cut_is_named_as_learning_nothing(tmp_path: Path) -> None:
    rows = [*peft_jobs.rows(12), _chat("long " * 3000)]

    found = _only(_planned(tmp_path, rows), "row-no-loss")

    assert (found.severity, found.line) == ("warning", 13)


def test_an_earlier_answer_that_fits_makes_it_a_cut_row_unless_only_the_last_is_learned(tmp_path: Path) -> None:
    row = {"messages": [*_chat("short")["messages"], *_chat("long " * 3000)["messages"]]}

    assert _only(_planned(tmp_path, [row]), "row-truncated")
    assert _only(_planned(tmp_path, [row], method={"kind": "sft", "train_on": "last_assistant"}), "row-no-loss")


def test_a_shorter_limit_is_heeded(tmp_path: Path) -> None:
    plan = _planned(tmp_path, peft_jobs.rows(12), hyperparameters={"max_seq_length": 16})

    assert "max_seq_length 16" in _only(plan, "row-truncated").message


def test_both_answers_of_a_pair_are_looked_at(tmp_path: Path) -> None:
    row = {"prompt": "?", "chosen": "good", "rejected": "bad " * 4000}

    found = _only(_planned(tmp_path, [row], method={"kind": "dpo"}), "row-truncated")

    assert (found.path, found.count) == ("rejected", 1)


def _model(folder: Path, *, context: int = 4096) -> Path:
    """A local model of which the vocabulary is real: a token per word."""
    tokenizers = pytest.importorskip("tokenizers")
    folder.mkdir()
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel({"w": 0, "?": 1, "u": 2}, unk_token="u"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text(json.dumps({"max_position_embeddings": context}))
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ messages }}"}))
    header = b"{}"
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    return folder


def test_a_local_model_s_own_vocabulary_is_asked(tmp_path: Path) -> None:
    rows = [_chat("?", "w " * 2000), _chat("?", "w " * 3011)]

    found = _only(_planned(tmp_path, rows, model=str(_model(tmp_path / "model"))), "row-truncated")

    assert (found.line, found.count) == (2, 1)
    assert found.message.startswith("3,012 tokens of text")


def test_the_context_of_a_local_model_is_a_limit_too(tmp_path: Path) -> None:
    model = _model(tmp_path / "model", context=512)

    found = _only(_planned(tmp_path, [_chat("?", "w " * 600)], model=str(model)), "row-truncated")

    assert "the model's context of 512" in found.message


def test_a_vocabulary_that_cannot_be_read_here_leaves_an_estimate_and_a_note(tmp_path: Path) -> None:
    model = _model(tmp_path / "model")
    (model / "tokenizer.json").write_text('{"model": "of a later version"}')

    plan = _planned(tmp_path, [_chat("?", "word " * 3000)], model=str(model))

    assert "estimate" in _only(plan, "row-truncated").message
    assert [note for note in plan.notes if "tokenizer.json cannot be used here" in note]


def test_the_estimate_says_that_max_steps_caps_it(tmp_path: Path) -> None:
    rows = [*peft_jobs.rows(29), _chat("?", "long " * 3000)]

    capped = _planned(tmp_path, rows, hyperparameters={"max_steps": 2, "batch_size": 4}).cost
    whole = _planned(tmp_path, rows, hyperparameters={"max_steps": None, "epochs": 2}).cost

    assert "max_steps 2 of 4 rows each, of 30 rows" in capped.basis
    assert "2 epoch(s) of 30 rows" in whole.basis
    assert whole.tokens is not None
    assert capped.tokens is not None
    assert whole.tokens > 2 * 2048 > capped.tokens


def test_accumulated_batches_and_processes_count_in_the_estimate(tmp_path: Path) -> None:
    one = _planned(tmp_path, peft_jobs.rows(30)).cost.tokens
    six = _planned(
        tmp_path, peft_jobs.rows(30), hyperparameters={"gradient_accumulation": 3}, compute={"processes": 2}
    ).cost.tokens

    assert one is not None
    assert six == pytest.approx(6 * one, abs=6)


def test_a_plan_reads_the_data_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from finetune_sdk.data.dataset import Dataset  # noqa: PLC0415

    scan, scans = Dataset.scan_looked, list[Dataset]()

    def counted(self: Dataset, *given: Any, **named: Any) -> Any:
        scans.append(self)
        return scan(self, *given, **named)

    monkeypatch.setattr(Dataset, "scan_looked", counted)
    _planned(tmp_path, peft_jobs.rows(30), data={"validation": 0.2})

    assert len(scans) == 1
