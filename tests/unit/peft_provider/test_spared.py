"""What a job does not load: packages that it cannot need, and never one that it might."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from finetune_providers.peft.worker import spared

REQUEST: dict[str, Any] = {
    "model": "builtin/tiny",
    "adapter": {"kind": "lora", "quantize": "none"},
    "training": {"optimizer": "adamw_torch_fused"},
}


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """A process that has loaded nothing yet."""
    loaded: dict[str, object] = {}
    monkeypatch.setattr(spared, "sys", SimpleNamespace(modules=loaded))
    return loaded


def model(folder: Path, **config: object) -> str:
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


def test_a_plain_job_loads_neither_data_frames_nor_a_quantiser(modules: dict[str, object]) -> None:
    with spared.imports(REQUEST):
        assert modules == dict.fromkeys(["datasets", "scipy", "sklearn", "bitsandbytes"])
    assert modules == {}


def test_peft_is_asked_for_the_quantiser_while_it_is_away(
    modules: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    away: list[bool] = []

    def ask() -> None:
        away.append("bitsandbytes" in modules)

    asked = {"peft.import_utils": SimpleNamespace(is_bnb_available=ask, is_bnb_4bit_available=ask)}
    monkeypatch.setattr(spared, "importlib", SimpleNamespace(import_module=asked.__getitem__))
    with spared.imports(REQUEST):
        modules["peft"] = "loaded"
    assert away == [True, True]


def test_a_saved_model_in_full_precision_needs_no_quantiser(modules: dict[str, object], tmp_path: Path) -> None:
    with spared.imports({**REQUEST, "model": model(tmp_path, model_type="llama")}):
        assert "bitsandbytes" in modules


@pytest.mark.parametrize(
    "parts",
    [
        {"adapter": {"kind": "lora", "quantize": "4bit"}},
        {"training": {"optimizer": "adamw_bnb_8bit"}},
        {"training": {"optimizer": "paged_adamw_32bit"}},
        {"model": "some/model-on-the-hub"},
    ],
    ids=["four bits", "its optimizer", "its paged optimizer", "unknown before it is loaded"],
)
def test_what_may_need_the_quantiser_finds_it(modules: dict[str, object], parts: dict[str, Any]) -> None:
    with spared.imports({**REQUEST, **parts}):
        assert "bitsandbytes" not in modules


def test_a_model_saved_in_four_bits_finds_the_quantiser(modules: dict[str, object], tmp_path: Path) -> None:
    saved = model(tmp_path, quantization_config={"quant_method": "bitsandbytes"})
    with spared.imports({**REQUEST, "model": saved}):
        assert "bitsandbytes" not in modules


def test_what_is_loaded_stays(modules: dict[str, object]) -> None:
    modules["scipy"] = "loaded"
    with spared.imports(REQUEST):
        assert modules["scipy"] == "loaded"
    assert modules == {"scipy": "loaded"}


def test_a_process_that_has_transformers_is_left_alone(modules: dict[str, object]) -> None:
    modules["transformers"] = "loaded"
    with spared.imports(REQUEST):
        assert modules == {"transformers": "loaded"}


def test_what_is_loaded_already_stays(modules: dict[str, object]) -> None:
    modules["scipy"] = "loaded"
    with spared.without("scipy", "sklearn") as hidden:
        assert (hidden, modules) == (["sklearn"], {"scipy": "loaded", "sklearn": None})
    assert modules == {"scipy": "loaded"}
