"""`gateway.yaml`: the one that the page shows is valid, and mistakes are named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from finetune_sdk.errors import SpecError
from finetune_sdk.gateway.config import load

PAGE = Path(__file__).parents[2] / "docs" / "gateway.md"


def test_the_configuration_in_the_page_is_valid(tmp_path: Path) -> None:
    block = re.findall(r"```yml\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)[0]
    file = tmp_path / "gateway.yaml"
    file.write_text(block)
    config = load(file)

    assert config.backend_for("gpt-4o-mini", "anyone") == "openai"
    assert config.backend_for("gpt-4.1-mini", "team-a") == "azure"
    assert config.base_model("gpt-4.1-mini", "peft", local=True) == "Qwen/Qwen3-0.6B"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("providr: peft", "providr"),
        ("concurrent_jobs: 0", "concurrent_jobs"),
        ("webhooks: [{url: 'ftp://x', secret_env: A}]", r"webhooks\[0\].url"),
        ("[1]", "mapping"),
        ("concurent_jobs: 2", "did you mean `concurrent_jobs`"),
        ("provider: pefft", "did you mean 'peft'"),
        ("routes: [{model: x, provider: azzure}]", r"routes\[0\].provider: no backend 'azzure'"),
        ("models: {m: {petf: a/b}}", "models.m.petf: no backend"),
        ("backends: {petf: {}}", "backends.petf: no backend"),
        ("backends: {peft: {hyperparameters: {epoch: 3}}}", "gateway.yaml:1:37: .*did you mean `epochs`"),
        ("backends: {peft: {adapter: {kind: lora, rank: 3}}}", "it is called `r`"),
        ("provider: ${NOT_SET_ANYWHERE}", "NOT_SET_ANYWHERE is not set"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(text)

    with pytest.raises(SpecError, match=why):
        load(file)


@pytest.mark.parametrize("name", ["/etc", "../x", "x", "a/b/c", ".hidden/x", "ft:other"])
def test_a_client_names_no_path(name: str) -> None:
    assert load(None).base_model(name, "peft", local=True) is None


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no such file"):
        load(tmp_path / "none.yaml")
