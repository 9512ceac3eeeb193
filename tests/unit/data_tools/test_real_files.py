"""Real datasets check cleanly, with the matrix one would expect by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from finetune_sdk.data import Dataset
from finetune_sdk.data.tools.check import check

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"the real datasets are not there: {DATA}")

_CHAT = frozenset(("openai", "azure", "peft", "autotrain", "unsloth", "onnx", "together", "fireworks", "mistral"))
_CHAT_ALL = _CHAT | {"bedrock", "vertex", "anthropic", "cohere"}
_TOOLS = frozenset(("openai", "azure", "peft", "unsloth", "onnx", "together", "fireworks", "mistral", "vertex"))
_PAIRS = frozenset(("openai", "azure", "peft", "autotrain", "unsloth", "together", "vertex"))

ROWS_AND_TARGETS: dict[str, tuple[int, frozenset[str]]] = {
    "sft_openai_gsm8k_train.jsonl": (449, _CHAT_ALL),
    "sft_openai_gsm8k_validation.jsonl": (50, _CHAT_ALL),
    "sft_bedrock_nova.jsonl": (120, _CHAT_ALL),
    "sft_sharegpt_one.json": (1, _CHAT_ALL - {"openai", "azure", "fireworks"}),
    "summarize_dialogsum.csv": (5, _CHAT_ALL - {"openai", "azure"}),
    "translate_en_de.csv": (5, _CHAT_ALL - {"openai", "azure"}),
    "tools_openai_stock_train.jsonl": (86, _TOOLS),
    "tools_openai_stock_validation.jsonl": (10, _TOOLS),
    "tools_sharegpt_glaive_en.json": (300, _TOOLS),
    "vision_openai_chartqa.jsonl": (
        100,
        _TOOLS - {"onnx", "peft", "unsloth"},
    ),  # https: nothing is fetched for training
    "dpo_openai_orca.jsonl": (284, _PAIRS),
    "dpo_sharegpt_en.json": (300, _PAIRS),
    "kto_en.json": (300, frozenset(("peft",))),
    "rft_openai_countdown_train.jsonl": (100, frozenset(("openai", "azure", "peft", "bedrock"))),
    "rft_openai_countdown_validation.jsonl": (50, frozenset(("openai", "azure", "peft"))),
    "classify_symptoms.csv": (1200, frozenset(("peft", "autotrain"))),
    "text_c4.jsonl": (300, frozenset(("peft", "autotrain", "unsloth", "onnx"))),
    "sft_alpaca_en.json": (999, _CHAT_ALL),
}


@pytest.mark.parametrize("name", ROWS_AND_TARGETS)
def test_a_real_file_checks_cleanly_and_fits_the_targets_it_should(name: str) -> None:
    found = check(Dataset.open(DATA / name))

    assert (found.rows, found.errors) == (ROWS_AND_TARGETS[name][0], 0)
    assert {verdict.target for verdict in found.targets if verdict.accepted} == ROWS_AND_TARGETS[name][1]


def test_texts_with_addresses_in_them_are_not_sent_away() -> None:
    found = check(Dataset.open(DATA / "text_c4.jsonl"), ("together",))

    assert [reason.rule for reason in found.targets[0].reasons] == ["personal-data"]


def test_pictures_beside_the_conversation_keep_services_that_would_ignore_them_from_the_data() -> None:
    found = check(Dataset.open(DATA / "vision_sharegpt.json"), ("openai", "mistral", "together", "cohere"))

    assert not any(verdict.accepted for verdict in found.targets)


def test_a_table_without_its_targets_is_named_row_by_row() -> None:
    found = check(Dataset.open(DATA / "summarize_dialogsum_empty_targets.csv"), ("peft",))

    assert [(group.rule, group.count) for group in found.findings] == [("csv-ragged-row", 5)]
