"""`options.unsloth` of a job description: what only this provider understands."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import JsonValue

from finetune_providers.peft.options import PeftOptions, parse_as
from finetune_sdk.errors import SpecError

Quantization = Literal["f32", "f16", "bf16", "q8_0", "q6_k", "q5_k_m", "q5_k_s", "q4_k_m", "q4_k_s", "q3_k_m", "q2_k"]
"""GGUF types that llama.cpp writes without an importance matrix."""

ModelClass = Literal["auto", "language", "general", "vision", "sentence", "whisper"]


class UnslothOptions(PeftOptions):
    """Settings of the unsloth provider beyond the common ones. `chat_template` may also be a name that Unsloth knows,
    such as `chatml`, `llama-3.1` or `qwen3`."""

    model_class: ModelClass = "auto"
    """Unsloth's class that loads the model: FastLanguageModel, FastModel, FastVisionModel (on a GPU only),
    FastSentenceTransformer, FastModel for Whisper (on a GPU only); "auto" = by the model's folder: does it see or hear,
    is it one of sentence-transformers."""
    codec: Literal["snac"] | None = None
    """Rows whose answers are sounds: they become tokens as Orpheus has them. None = rows of texts."""
    codec_model: str = "hubertsiuzdak/snac_24khz"
    """The codec, by its name on the hub or as a folder here."""
    language: str = "English"
    """Of the recordings, for Whisper, in English words."""
    gguf: tuple[Quantization, ...] = ()
    """Also write the model as GGUF of these types, after everything else is saved; needs `llama_cpp`."""
    llama_cpp: str | None = None
    """Folder of a built llama.cpp with its converter. Nothing is ever installed or built for you."""


def parse(given: Mapping[str, JsonValue]) -> UnslothOptions:
    """The validated options. Raises `SpecError` that names the key."""
    options = parse_as(UnslothOptions, given, provider="unsloth")
    if options.gguf and options.llama_cpp is None:
        raise SpecError(
            "options.unsloth.gguf needs options.unsloth.llama_cpp: the folder of a built llama.cpp. Unsloth would "
            "install one as root without asking, and that is switched off"
        )
    if options.llama_cpp is not None and not Path(options.llama_cpp).is_dir():
        raise SpecError(f"options.unsloth.llama_cpp: there is no folder {options.llama_cpp!r}")
    return options
