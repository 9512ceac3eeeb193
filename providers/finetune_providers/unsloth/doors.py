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
from finetune_sdk.errors import SpecError, Unsupported
from finetune_sdk.spec import JobSpec, LoRA
from finetune_sdk.worker import locks

NAME = "unsloth"
_AUDIO = ("audio_config", "audio_encoder_config", "codec_config", "depth_decoder_config", "num_mel_bins")
"""Keys of the configurations of models that hear or speak through a codec of their own (CSM, Whisper, Gemma-3n)."""
_SENTENCE_ENCODERS = ("mpnet", "bert", "distilbert", "modernbert", "roberta", "xlm-roberta", "albert", "electra")
"""`model_type`s of FastSentenceTransformer's own path, which also computes without a GPU."""
_ENCODERS = ("ForMaskedLM", "ForPreTraining")
_AUDIO_REMEDY = (
    "Orpheus learns with options.unsloth.codec: snac, and Whisper by itself. Other models whose sounds are tokens of "
    "their vocabulary (Llasa, OuteTTS, Spark) learn from texts: write the tokens into the answers. CSM needs a patched "
    "forward pass: see Unsloth's own notebooks."
)


def model_class(model: str, options: UnslothOptions) -> ModelClass:
    """The class that loads it; "auto" looks whether the model sees, or is one of sentence-transformers."""
    if options.model_class != "auto":
        return options.model_class
    if (Path(model).expanduser() / "modules.json").is_file():
        return "sentence"
    config = _config(model)
    if config.get("model_type") == "whisper":
        return "whisper"
    return "vision" if "vision_config" in config else "language"


def check(spec: JobSpec, model: str, options: UnslothOptions) -> None:
    """Raise `Unsupported` for a model that does not go through the door it would have to take."""
    config = _config(model)
    kind = model_class(model, options)
    if kind != "whisper" and not config.keys().isdisjoint(_AUDIO) and "vision_config" not in config:
        what = f"{model} as a model that learns from sound through a codec of its own"
        raise Unsupported(NAME, what, _AUDIO_REMEDY)
    if options.codec is not None or kind == "whisper":
        _check_sounds(spec, kind, options)
        return
    if kind == "sentence":
        _check_sentences(spec, model, config)
        return
    classifies = spec.method.kind == "classification"
    if not classifies and str(_architecture(config)).endswith(_ENCODERS):
        what = f"`method.{spec.method.kind}` with {_architecture(config)}: an encoder writes no text"
        raise Unsupported(NAME, what, "Use method: classification, or a language model.")
    if not without_gpu(spec):
        return
    if classifies:
        what = "`method.classification` without a GPU: Unsloth's CPU backend loads language models only"
        raise Unsupported(NAME, what, "Run it where an NVIDIA GPU is, or use provider: peft.")
    _check_quantize(spec)
    if model_class(model, options) == "vision":
        what = "`options.unsloth.model_class: vision` without a GPU: Unsloth's CPU backend loads text models only"
        raise Unsupported(NAME, what, "Run it where an NVIDIA GPU is, or use a model without vision.")


def _check_sentences(spec: JobSpec, model: str, config: Mapping[str, Any]) -> None:
    """A model of sentence embeddings: what has no meaning for it, and what needs a GPU."""
    if spec.method.kind != "sft":
        what = f"`method.{spec.method.kind}` with {model}, a model of sentence embeddings"
        raise Unsupported(NAME, what, "Leave `method` out: it learns from pairs and triplets of texts.")
    if spec.evaluation is not None:
        what = f"`evaluation` of {model}: sentence embeddings write no answers"
        raise Unsupported(NAME, what, "Set data.validation instead: the result then has eval_loss.")
    if spec.hyperparameters.packing is True:
        raise SpecError("hyperparameters.packing: texts that are compared with one another are not packed")
    if spec.hyperparameters.batch_size == 1:
        raise SpecError("hyperparameters.batch_size: a pair learns from the other rows of its batch; use 2 or more")
    if without_gpu(spec):
        kind = config.get("model_type")
        if config and kind not in _SENTENCE_ENCODERS:
            what = f"{model} ({kind}) without a GPU: FastSentenceTransformer computes encoders only there"
            raise Unsupported(NAME, what, f"Run it where an NVIDIA GPU is, or take one of {_SENTENCE_ENCODERS}.")
        _check_quantize(spec)


def _check_sounds(spec: JobSpec, kind: ModelClass, options: UnslothOptions) -> None:
    """A model that speaks or hears: what has no meaning for it, and what needs a GPU."""
    if spec.method.kind != "sft":
        raise Unsupported(NAME, f"`method.{spec.method.kind}` with sounds", "Leave `method` out.")
    if spec.evaluation is not None:
        what = "`evaluation` of a model that speaks or hears"
        raise Unsupported(NAME, what, "Set data.validation instead: the result then has eval_loss.")
    if spec.hyperparameters.packing is True:
        raise SpecError("hyperparameters.packing: recordings are not packed")
    if options.codec is not None and kind not in ("language", "general"):
        raise SpecError(f"options.unsloth.codec: a language model learns sounds as tokens, not one of class {kind}")
    if kind == "whisper" and without_gpu(spec):
        what = "Whisper without a GPU: Unsloth's CPU backend loads language models only"
        raise Unsupported(NAME, what, "Run it where an NVIDIA GPU is.")
    if without_gpu(spec):
        _check_quantize(spec)


def without_gpu(spec: JobSpec) -> bool:
    """Whether this machine will train it, and has no GPU that it may use."""
    return spec.compute.kind == "local" and (spec.compute.device == "cpu" or not locks.gpu_seen())


def _check_quantize(spec: JobSpec) -> None:
    if isinstance(spec.adapter, LoRA) and spec.adapter.quantize == "4bit":
        what = "`adapter.quantize: 4bit` without a GPU: Unsloth's CPU backend mixes two precisions there and fails"
        raise Unsupported(NAME, what, "Run it where an NVIDIA GPU is, or use provider: peft.")


def _architecture(config: Mapping[str, Any]) -> str | None:
    found: list[str] = config.get("architectures") or []
    return found[0] if found else None


def _config(model: str) -> Mapping[str, Any]:
    try:
        found = json.loads((Path(model).expanduser() / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return cast("Mapping[str, Any]", found) if isinstance(found, dict) else {}
