"""Exports of a tiny adapter, compared with the trained model by transformers and by llama.cpp."""

from __future__ import annotations

from pathlib import Path

import pytest
import served_models

from finetune_sdk.deploy.export import ExportFailed, export
from finetune_sdk.errors import SpecError


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return served_models.once(tmp_path_factory.getbasetemp())


def test_a_gguf_answers_as_the_trained_adapter_and_comes_with_a_modelfile(models: Path, tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp")
    pytest.importorskip("gguf")
    done = export(tmp_path, models / "loud", to="gguf", out=tmp_path / "out", quantizations=["f16"])

    assert [one["form"] for one in done.verdicts] == ["merged", "f16 GGUF"]
    assert all(one["equal_prompts"] == one["conversations"] == 6 for one in done.verdicts)
    assert done.files == ("Modelfile-f16", "out-f16.gguf")
    assert 'PARAMETER stop "<|im_end|>"' in (tmp_path / "out" / "Modelfile-f16").read_text()


def test_a_folder_for_vllm_holds_safetensors_and_the_command(models: Path, tmp_path: Path) -> None:
    done = export(tmp_path, models / "quiet", to="vllm", out=tmp_path / "out")

    assert {"model.safetensors", "tokenizer.json", "serve.sh"} <= set(done.files)
    assert done.verdicts[0]["equal_tokens"] == done.verdicts[0]["tokens"] > 0


def test_a_base_that_is_not_the_adapters_is_told(models: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportFailed, match="cannot load"):
        export(tmp_path, models / "loud", to="merged", base=str(tmp_path / "nowhere"), out=tmp_path / "out")

    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_there_is_not_overwritten(models: Path, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="is there already"):
        export(tmp_path, models / "loud", to="merged", out=tmp_path)
