"""`check` promises what `convert` does: a target takes a file exactly when the rows can be written for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from finetune_sdk.data import Dataset
from finetune_sdk.data.jsonvalue import Object
from finetune_sdk.data.tools import files
from finetune_sdk.data.tools.check import check

AUDIO = {"fileData": {"mimeType": "audio/mp3", "fileUri": "gs://bucket/a.mp3"}}
ROWS: dict[str, Object] = {
    "plain": {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
    "a developer": {
        "messages": [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "b"},
        ]
    },
    "parallel calls": {
        "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
        "parallel_tool_calls": False,
    },
    "a sound": {
        "contents": [
            {"role": "user", "parts": [AUDIO, {"text": "What is said?"}]},
            {"role": "model", "parts": [{"text": "Nothing."}]},
        ]
    },
}
TARGETS = ("openai", "vertex", "anthropic", "cohere", "mistral", "unsloth")


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", ROWS)
def test_a_target_takes_a_file_exactly_when_it_can_be_written_for_it(tmp_path: Path, name: str, target: str) -> None:
    source = tmp_path / "rows.jsonl"
    source.write_text("".join(json.dumps({**ROWS[name], "id": number}) + "\n" for number in range(12)))
    (verdict,) = check(Dataset.open(source), (target,)).targets
    outcome = files.convert_for(Dataset.open(source), tmp_path / "out.jsonl", target)
    assert verdict.accepted == bool(outcome.written), verdict.reasons


def test_gemini_takes_sounds_videos_and_documents(tmp_path: Path) -> None:
    source = tmp_path / "rows.jsonl"
    source.write_text((json.dumps(ROWS["a sound"]) + "\n") * 12)
    (verdict,) = check(Dataset.open(source), ("vertex",)).targets
    assert verdict.accepted


def test_a_refused_loss_names_the_option_that_allows_it(tmp_path: Path) -> None:
    source = tmp_path / "rows.jsonl"
    source.write_text((json.dumps(ROWS["a developer"]) + "\n") * 12)
    (verdict,) = check(Dataset.open(source), ("vertex",)).targets
    assert [reason.fix for reason in verdict.reasons] == [
        "Allow it with `--allow-loss developer`, or choose another format."
    ]


@pytest.mark.parametrize(
    ("turn", "rule"),
    [
        ({"content": "b", "reasoning_content": "because"}, "reasoning"),
        ({"content": "b", "signature": "x"}, "message-keys"),
        ({"content": "b", "name": "Ann"}, "name"),
    ],
)
def test_mistral_refuses_keys_that_its_validator_forbids(tmp_path: Path, turn: Object, rule: str) -> None:
    source = tmp_path / "rows.jsonl"
    row = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", **turn}]}
    source.write_text(json.dumps(row) + "\n")
    (verdict,) = check(Dataset.open(source), ("mistral",)).targets
    assert rule in [reason.rule for reason in verdict.reasons if reason.severity == "error"]


@pytest.mark.parametrize(("call_id", "told"), [("call_1", True), ("TX92Jm8Zi", False)])
def test_mistral_says_where_ids_of_calls_fit_the_newer_tokenizers_only(
    tmp_path: Path, call_id: str, *, told: bool
) -> None:
    call = {"id": call_id, "type": "function", "function": {"name": "add", "arguments": "{}"}}
    row = {
        "messages": [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": call_id, "content": "3"},
            {"role": "assistant", "content": "3"},
        ]
    }
    source = tmp_path / "rows.jsonl"
    source.write_text(json.dumps(row) + "\n")
    (verdict,) = check(Dataset.open(source), ("mistral",)).targets
    assert verdict.accepted
    assert ("tool-call-id-shape" in [reason.rule for reason in verdict.reasons]) is told
