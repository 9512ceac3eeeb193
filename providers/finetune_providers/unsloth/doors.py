"""Which of Unsloth's classes loads a model, and what it takes: settled while planning, from the model's config.json.

A model on the hub is not looked at here; Unsloth's FastLanguageModel then finds out by itself. Read in the sources of
unsloth 2026.10.9 on 2026-11-21.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from finetune_providers.unsloth.options import ModelClass, UnslothOptions
from finetune_sdk.errors import Unsupported
from finetune_sdk.spec import JobSpec, LoRA
from finetune_sdk.worker import locks

NAME = "unsloth"
_AUDIO = ("audio_config", "audio_encoder_config", "codec_config", "depth_decoder_config", "num_mel_bins")
"""Keys of the configurations of models that hear or speak through a codec of their own (CSM, Whisper, Gemma-3n)."""
_ENCODERS = ("ForMaskedLM", "ForPreTraining")
_AUDIO_REMEDY = (
    "A speech model whose sounds are tokens of its vocabulary (Orpheus, Llasa, OuteTTS, Spark) learns from texts: "
    "write the tokens into the answers. Others need Unsloth's own notebooks."
)


def model_class(model: str, options: UnslothOptions) -> ModelClass:
    """The class that loads it; "auto" looks whether the model sees."""
    if options.model_class != "auto":
        return options.model_class
    return "vision" if "vision_config" in _config(model) else "language"


def check(spec: JobSpec, model: str, options: UnslothOptions) -> None:
    """Raise `Unsupported` for a model that does not go through the door it would have to take."""
    config = _config(model)
    if not config.keys().isdisjoint(_AUDIO) and "vision_config" not in config:
        raise Unsupported(NAME, f"{model} as a model that learns from sound: rows here are texts", _AUDIO_REMEDY)
    if (Path(model) / "modules.json").is_file():
        what = f"{model} as a sentence-embedding model: FastSentenceTransformer is not behind this door yet"
        raise Unsupported(NAME, what, "Use provider: autotrain with options.autotrain.task: st:pair.")
    classifies = spec.method.kind == "classification"
    if not classifies and str(_architecture(config)).endswith(_ENCODERS):
        what = f"`method.{spec.method.kind}` with {_architecture(config)}: an encoder writes no text"
        raise Unsupported(NAME, what, "Use method: classification, or a language model.")
    if spec.compute.kind != "local" or (spec.compute.device != "cpu" and locks.gpu_seen()):
        return
    if classifies:
        what = "`method.classification` without a GPU: Unsloth's CPU backend loads language models only"
        raise Unsupported(NAME, what, "Run it where an NVIDIA GPU is, or use provider: peft.")
    if isinstance(spec.adapter, LoRA) and spec.adapter.quantize == "4bit":
        what = "`adapter.quantize: 4bit` without a GPU: Unsloth's CPU backend mixes two precisions there and fails"
        raise Unsupported(NAME, what, "Run it where an NVIDIA GPU is, or use provider: peft.")
    if model_class(model, options) == "vision":
        what = "`options.unsloth.model_class: vision` without a GPU: Unsloth's CPU backend loads text models only"
        raise Unsupported(NAME, what, "Run it where an NVIDIA GPU is, or use a model without vision.")


def _architecture(config: Mapping[str, Any]) -> str | None:
    found: list[str] = config.get("architectures") or []
    return found[0] if found else None


def _config(model: str) -> Mapping[str, Any]:
    try:
        found = json.loads((Path(model).expanduser() / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return cast("Mapping[str, Any]", found) if isinstance(found, dict) else {}
