# pyright: basic
"""Tiny models that see, hear and speak, made on the spot, and rows with pictures and sounds for them."""

from __future__ import annotations

import base64
import importlib
import io
import json
import math
import struct
import wave
from pathlib import Path
from typing import Any

import autotrain_models

_SEEN = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<image>{% else %}{{ c['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_SOUND_TOKENS = 128_266 + 7 * 4096
_SIZE: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


def make(folder: Path) -> dict[str, str]:
    """A Llava, a Whisper, a Llama with Orpheus's vocabulary; their folders by name."""
    transformers: Any = importlib.import_module("transformers")  # slow to import
    transformers.set_seed(0)
    tokenizer = transformers.AutoTokenizer.from_pretrained(autotrain_models.make(folder)["causal"])
    _sees(transformers, folder / "sees", tokenizer)
    _hears(transformers, folder / "hears")
    _speaks(transformers, folder / "speaks", tokenizer)
    return {name: str(folder / name) for name in ("sees", "hears", "speaks")}


def _sees(transformers: Any, folder: Path, tokenizer: Any) -> None:
    clip: Any = importlib.import_module("transformers.models.clip.image_processing_pil_clip")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    tokenizer.chat_template = _SEEN
    place = tokenizer.convert_tokens_to_ids("<image>")
    eye = transformers.CLIPVisionConfig(**_SIZE, image_size=32, patch_size=8, projection_dim=16)
    mind = transformers.LlamaConfig(
        **_SIZE, vocab_size=len(tokenizer), num_key_value_heads=2, max_position_embeddings=512
    )
    transformers.LlavaForConditionalGeneration(
        transformers.LlavaConfig(vision_config=eye, text_config=mind, image_token_index=place, image_token_id=place)
    ).save_pretrained(folder)
    transformers.LlavaProcessor(
        image_processor=clip.CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}),
        tokenizer=tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        chat_template=_SEEN,
        image_token="<image>",
        num_additional_image_tokens=1,
    ).save_pretrained(folder)


def _hears(transformers: Any, folder: Path) -> None:
    folder.mkdir()
    words = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|transcribe|>", "<|notimestamps|>"]
    letters = [*"abcdefghijklmnopqrstuvwxyz0123456789", "Ġ", *words]
    (folder / "vocab.json").write_text(json.dumps({letter: i for i, letter in enumerate(letters)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = transformers.WhisperTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), additional_special_tokens=words[1:]
    )
    ids = {word: tokenizer.convert_tokens_to_ids(word) for word in words}
    config = transformers.WhisperConfig(
        vocab_size=len(tokenizer), d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, num_mel_bins=80, max_target_positions=64,
        pad_token_id=ids[words[0]], bos_token_id=ids[words[0]], eos_token_id=ids[words[0]],
        decoder_start_token_id=ids[words[1]], begin_suppress_tokens=None, suppress_tokens=None,
    )  # fmt: skip
    transformers.WhisperForConditionalGeneration(config).save_pretrained(folder)
    transformers.WhisperProcessor(transformers.WhisperFeatureExtractor(feature_size=80), tokenizer).save_pretrained(
        folder
    )


def _speaks(transformers: Any, folder: Path, tokenizer: Any) -> None:
    config = transformers.LlamaConfig(
        **_SIZE, vocab_size=_SOUND_TOKENS, num_key_value_heads=2, max_position_embeddings=2048
    )
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


CODEC: dict[str, Any] = {
    "sampling_rate": 24_000, "encoder_dim": 2, "encoder_rates": [2, 4, 8, 8], "decoder_dim": 16, "noise": False,
    "decoder_rates": [8, 8, 4, 2], "attn_window_size": None, "vq_strides": [4, 2, 1],
}  # fmt: skip
"""SNAC for 24 kHz, but tiny."""


def sound(hertz: float, *, rate: int = 8_000, seconds: float = 0.5) -> bytes:
    """A tone, as a WAV file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        tone = (int(20_000 * math.sin(2 * math.pi * hertz * i / rate)) for i in range(int(rate * seconds)))
        out.writeframes(b"".join(struct.pack("<h", one) for one in tone))
    return file.getvalue()


def picture(red: int) -> bytes:
    """A PNG of one colour."""
    from PIL import Image  # noqa: PLC0415

    file = io.BytesIO()
    Image.new("RGB", (40, 30), (red, 10, 10)).save(file, "PNG")
    return file.getvalue()


def data_url(kind: str, data: bytes) -> str:
    """The bytes as an address."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
