"""What can be known of a model or adapter without loading it: is it there, what is it, does the builder have it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from finetune_providers.peft import models as peft_models
from finetune_providers.peft.models import TINY
from finetune_sdk.errors import SpecError

Kind = Literal["causal", "classifier"]
ARCHITECTURES: frozenset[str] = frozenset(
    {
        "ChatGLMForConditionalGeneration", "ChatGLMModel", "Ernie4_5ForCausalLM", "GemmaForCausalLM",
        "Gemma2ForCausalLM", "Gemma3ForCausalLM", "Gemma3ForConditionalGeneration", "Gemma4ForConditionalGeneration",
        "Gemma4UnifiedForConditionalGeneration", "GptOssForCausalLM", "GraniteForCausalLM",
        "GraniteMoeHybridForCausalLM", "HunYuanDenseV1ForCausalLM", "InternLM2ForCausalLM", "Lfm2ForCausalLM",
        "Lfm2MoeForCausalLM", "LlamaForCausalLM", "MistralForCausalLM", "Mistral3ForConditionalGeneration",
        "NemotronForCausalLM", "PhiForCausalLM", "Phi3ForCausalLM", "PhiMoEForCausalLM",
        "Phi3SmallForCausalLM", "Phi3VForCausalLM", "Phi4MMForCausalLM", "Qwen2ForCausalLM",
        "Qwen2_5_VLForConditionalGeneration", "Qwen3ForCausalLM", "Qwen3VLForConditionalGeneration",
        "Qwen3_5ForConditionalGeneration", "Qwen3_5MoeForConditionalGeneration", "SmolLM3ForCausalLM",
    }
)  # fmt: skip
"""Language models `create_model` in onnxruntime_genai/models/builder.py knows (0.18.0, read 2026-11-21).
Not OLMo: it is built with another norm than it has, and answers differently (measured)."""
SCORED = "ForSequenceClassification"


@dataclass(frozen=True, slots=True)
class Source:
    """What an export starts from."""

    kind: Literal["adapter", "model"]
    path: str
    base: str | None
    """The adapter's base model; None for a whole model."""


def source(given: str, model: str) -> Source:
    """The folder `options.onnx.source` names. `model` is the spec's: for an adapter, the base it belongs on.

    Raises `SpecError` for a folder that is neither, and for an adapter that names another base than `model`.
    """
    folder = Path(given).expanduser().absolute()
    if not folder.is_dir():
        raise SpecError(f"options.onnx.source: there is no folder {given!r}; give that of an adapter or of a model")
    if (folder / "adapter_config.json").is_file():
        return adapter(folder, model)
    return Source(kind="model", path=_resolved(str(folder), "options.onnx.source"), base=None)


def adapter(folder: Path, model: str, *, place: str = "options.onnx.source") -> Source:
    """An adapter's folder, checked: its configuration, its weights, its base."""
    config = _object(folder / "adapter_config.json")
    if not config:
        raise SpecError(f"{place}: {folder} has no readable adapter_config.json, so it is no adapter")
    if not (folder / "adapter_model.safetensors").is_file():
        raise SpecError(f"{place}: {folder} has no adapter_model.safetensors; other formats can hold code")
    named = str(config.get("base_model_name_or_path") or "")
    base = named if model in ("", str(folder)) else model
    if not base:
        raise SpecError(f"{place}: the adapter in {folder} names no base model; set `model` to it")
    base = _resolved(base, f"{place}: the adapter's base model")
    _same_base(folder, named, base, place)
    return Source(kind="adapter", path=str(folder), base=base)


def _same_base(folder: Path, named: str, base: str, place: str) -> None:
    """Refuse what can be seen to differ: two bases that both lie here and describe different networks."""
    own, other = _shape(named), _shape(base)
    if own is not None and other is not None and own != other:
        differing = ", ".join(name for name in own if own[name] != other[name])
        raise SpecError(
            f"{place}: the adapter in {folder} was made for {named}, not for {base} (they differ in {differing}); "
            "set `model` to its own base"
        )


_SHAPE = ("model_type", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size")


def _shape(model: str) -> dict[str, Any] | None:
    config = _object(Path(model) / "config.json")
    return {name: config.get(name) for name in _SHAPE} if config else None


def _resolved(name: str, place: str) -> str:
    try:
        return peft_models.resolve(name)
    except SpecError as exc:
        raise SpecError(f"{place}: {str(exc).removeprefix('model: ')}") from None


def kind_of(model: str) -> Kind | None:
    """Whether a local folder holds a language model or a classifier; None where only the worker can see it."""
    found = architectures(model)
    if not found:
        return None
    return "classifier" if found[0].endswith(SCORED) else "causal"


def architectures(model: str) -> list[str]:
    """As the model's configuration names them; empty for hub models and the built-in one."""
    found = _object(Path(model) / "config.json").get("architectures")
    return [str(name) for name in found] if isinstance(found, list) else []  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]


def type_of(*folders: str) -> str | None:
    """The `model_type` of the first local folder that names one, such as bert."""
    found = (_object(Path(folder) / "config.json").get("model_type") for folder in folders)
    return next((str(name) for name in found if name), None)


def check_architecture(model: str) -> None:
    """Raise `SpecError` when the model builder lacks the language model in this folder."""
    if model == TINY:
        return
    found = architectures(model)
    if found and found[0] not in ARCHITECTURES:
        raise SpecError(
            f"model: onnxruntime-genai's model builder does not have {found[0]}; it has: "
            f"{', '.join(sorted(ARCHITECTURES))}. Train one of those, or serve this one with PyTorch (provider: peft)."
        )


def _object(file: Path) -> Mapping[str, Any]:
    try:
        found: Any = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}  # pyright: ignore[reportUnknownVariableType]
