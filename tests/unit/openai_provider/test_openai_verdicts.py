"""What both vendors would say about real data of every kind, told before anything is sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from finetune_providers.azure.provider import AzureProvider
from finetune_providers.openai.provider import OpenAIProvider
from wire import contract

from finetune_sdk.data.targets import TARGETS
from finetune_sdk.provider import Provider
from finetune_sdk.spec import JobSpec

DATA = contract.SPECS.parent / "data"
MISMATCH, FEW = frozenset({"method-data-mismatch"}), frozenset({"rows-too-few"})
FINE = frozenset[str]()
VERDICTS = {
    ("sft_openai_gsm8k_train.jsonl", "sft"): FINE,
    ("sft_openai_gsm8k_validation.jsonl", "sft"): FINE,
    ("sft_alpaca_en.json", "sft"): FINE,
    ("sft_bedrock_nova.jsonl", "sft"): FINE,
    ("sft_sharegpt_one.json", "sft"): FEW,
    ("tools_openai_stock_train.jsonl", "sft"): FINE,
    ("tools_openai_stock_validation.jsonl", "sft"): FINE,
    ("tools_sharegpt_glaive_en.json", "sft"): FINE,
    ("vision_openai_chartqa.jsonl", "sft"): FINE,
    ("vision_sharegpt.json", "sft"): FEW | {"images-limits"},
    ("dpo_openai_orca.jsonl", "dpo"): FINE,
    ("dpo_openai_orca.jsonl", "sft"): MISMATCH,
    ("dpo_sharegpt_en.json", "dpo"): FINE,
    ("rft_openai_countdown_train.jsonl", "rft"): FINE,
    ("rft_openai_countdown_train.jsonl", "sft"): MISMATCH,
    ("kto_en.json", "sft"): MISMATCH,
    ("kto_en.json", "dpo"): MISMATCH,
    ("classify_symptoms.csv", "sft"): MISMATCH,
    ("text_c4.jsonl", "sft"): MISMATCH,
    ("summarize_dialogsum.csv", "sft"): FEW,
    ("summarize_dialogsum_empty_targets.csv", "sft"): frozenset({"csv-ragged-row"}),
    ("translate_en_de.csv", "sft"): FEW,
}
"""The errors a plan must have, by file and method."""
OPTIONS: dict[type[Provider], dict[str, Any]] = {
    OpenAIProvider: {"base_url": "http://127.0.0.1:1/v1"},
    AzureProvider: {"endpoint": "http://127.0.0.1:1", "auth": "key"},
}
pytestmark = pytest.mark.skipif(not DATA.exists(), reason=f"the real data sets are not at {DATA}")


@pytest.mark.parametrize("provider", OPTIONS, ids=lambda provider: str(provider.name))
@pytest.mark.parametrize(("file", "method"), VERDICTS, ids=str)
def test_the_verdict_on_real_data_is_right(tmp_path: Path, provider: type[Provider], file: str, method: str) -> None:
    grader = {"type": "string_check", "reference": "{{item.target}}"}
    spec = {
        "provider": provider.name,
        "model": "a-model",
        "data": {"train": str(DATA / file), **({"validation": 0.2} if method == "rft" else {})},
        "method": {"kind": method, **({"grader": grader} if method == "rft" else {})},
        "options": {provider.name: OPTIONS[provider]},
    }
    plan = provider(home=tmp_path).plan(JobSpec.model_validate(spec))
    assert {error.rule for error in plan.errors} == VERDICTS[file, method]


def test_every_real_file_has_a_verdict() -> None:
    files = {path.name for path in DATA.iterdir() if path.suffix != ".md"}
    assert files - {file for file, _ in VERDICTS} == {"rft_openai_countdown_validation.jsonl"}


def test_the_rules_are_those_of_the_table_of_targets() -> None:
    assert {OpenAIProvider.rules.target, AzureProvider.rules.target} <= set(TARGETS)
