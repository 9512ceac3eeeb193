# pyright: basic
"""A merged model as a GGUF file for llama.cpp and Ollama, through ggml's own `gguf` package.

ggml publishes no installable converter, so the tables are here; an architecture or tokenizer that is not in them is
refused, and what is written is compared with the trained model by llama.cpp itself.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from safetensors import safe_open

from ..rows import Failed

ARCHITECTURES = {  # transformers' class -> (llama.cpp's name, whether its rotary halves are interleaved there)
    "LlamaForCausalLM": ("LLAMA", True),
    "MistralForCausalLM": ("LLAMA", True),
    "Qwen2ForCausalLM": ("QWEN2", False),
    "Qwen3ForCausalLM": ("QWEN3", False),
}
QUANTIZATIONS = ("f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0")
"""What the package can write; llama.cpp's own tool makes the K kinds out of f16."""
_QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_SPLITS: dict[str | None, str] = {  # a byte-level tokenizer's pattern -> llama.cpp's name (its llama-vocab.cpp)
    None: "gpt-2",
    _QWEN2: "qwen2",
    _QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,3}|"): "llama-bpe",
}


def write(model: Path, file: Path, *, quantization: str) -> None:
    """Write `file`. Raises `Failed` for what cannot be said in GGUF by these tables."""
    config = json.loads((model / "config.json").read_text())
    name = (config.get("architectures") or ["none"])[0]
    if name not in ARCHITECTURES:
        raise Failed(f"no GGUF for {name}: this converter knows {', '.join(ARCHITECTURES)}")
    kind, interleaved = ARCHITECTURES[name]
    arch = gguf.MODEL_ARCH[kind]
    writer = gguf.GGUFWriter(file, gguf.MODEL_ARCH_NAMES[arch])
    _facts(writer, config, quantization)
    _tokenizer(writer, model, config)
    _tensors(writer, model, config, arch, quantization, interleaved=interleaved)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _facts(writer: Any, config: dict[str, Any], quantization: str) -> None:
    heads = config["num_attention_heads"]
    writer.add_name(Path(config.get("_name_or_path") or "model").name)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.get("num_key_value_heads") or heads)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(_rope(config).get("rope_theta", 10000.0))
    writer.add_rope_dimension_count(_head_size(config))
    writer.add_key_length(_head_size(config))
    writer.add_value_length(_head_size(config))
    writer.add_vocab_size(config["vocab_size"])
    writer.add_file_type(gguf.LlamaFileType[_FILE_TYPES[quantization]])


_FILE_TYPES = {name: f"MOSTLY_{name.upper()}" for name in QUANTIZATIONS} | {"f32": "ALL_F32"}


def _rope(config: dict[str, Any]) -> dict[str, Any]:
    found = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    return {"rope_theta": config.get("rope_theta", 10000.0), **found}


def _head_size(config: dict[str, Any]) -> int:
    return config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]


def _tokenizer(writer: Any, model: Path, config: dict[str, Any]) -> None:
    from transformers import AutoTokenizer  # noqa: PLC0415 - slow to load

    core = json.loads((model / "tokenizer.json").read_text())
    tokenizer = AutoTokenizer.from_pretrained(model)
    if core["model"]["type"] != "BPE" or core["model"].get("byte_fallback"):
        raise Failed(f"no GGUF for a tokenizer of type {core['model']['type']}: this converter knows byte-level BPE")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(_split(core))
    names = {token: text for text, token in tokenizer.get_vocab().items()}
    special = {added["id"]: added["special"] for added in core["added_tokens"]}
    kinds = [_kind(token, names, special) for token in range(config["vocab_size"])]
    writer.add_token_list([names.get(token, f"[PAD{token}]") for token in range(config["vocab_size"])])
    writer.add_token_types(kinds)
    merges = core["model"]["merges"]
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    for role in ("bos", "eos", "unk", "pad"):
        if (token := getattr(tokenizer, f"{role}_token_id")) is not None:
            getattr(writer, f"add_{role}_token_id")(token)
    begins = tokenizer("x")["input_ids"][:1] == [tokenizer.bos_token_id]
    writer.add_add_bos_token(bool(begins and tokenizer.bos_token_id is not None))
    if tokenizer.chat_template:
        writer.add_chat_template(_plain(tokenizer.chat_template))


def _plain(template: str) -> str:
    """Without the marks that only training needs: other Jinja engines do not know them."""
    import re  # noqa: PLC0415

    return re.sub(r"\{%-?\s*(end)?generation\s*-?%\}", "", template)


def _split(core: dict[str, Any]) -> str:
    parts = core["pre_tokenizer"].get("pretokenizers") or [core["pre_tokenizer"]]
    patterns = [part["pattern"].get("Regex") for part in parts if part["type"] == "Split"]
    kinds = {part["type"] for part in parts}
    pattern = patterns[0] if patterns else None
    if kinds - {"Split", "ByteLevel"} or pattern not in _SPLITS or len(patterns) > 1:
        raise Failed("no GGUF for this tokenizer: llama.cpp must know how it splits text, and these tables do not")
    return _SPLITS[pattern]


def _kind(token: int, names: dict[int, str], special: dict[int, bool]) -> Any:
    if token not in names:
        return gguf.TokenType.UNUSED
    if token in special:
        return gguf.TokenType.CONTROL if special[token] else gguf.TokenType.USER_DEFINED
    return gguf.TokenType.NORMAL


def _tensors(
    writer: Any, model: Path, config: dict[str, Any], arch: Any, quantization: str, *, interleaved: bool
) -> None:
    names = gguf.get_tensor_name_map(arch, config["num_hidden_layers"])
    if (factors := _rope_factors(config)) is not None:
        writer.add_tensor("rope_freqs.weight", factors)
    for path in sorted(model.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118 - no mapping
                if name == "lm_head.weight" and config.get("tie_word_embeddings"):
                    continue
                mapped = names.get_name(name, try_suffixes=(".weight", ".bias"))
                if mapped is None:
                    raise Failed(f"no GGUF for the tensor {name}")
                values = file.get_tensor(name).float().numpy()
                if interleaved and ".q_proj." in name:
                    values = _interleaved(values, config["num_attention_heads"])
                if interleaved and ".k_proj." in name:
                    values = _interleaved(values, config.get("num_key_value_heads") or config["num_attention_heads"])
                _add(writer, mapped, values, quantization)


def _add(writer: Any, name: str, values: np.ndarray, quantization: str) -> None:
    kind = gguf.GGMLQuantizationType[quantization.upper()]
    if values.ndim == 1:
        kind = gguf.GGMLQuantizationType.F32
    elif name in ("token_embd.weight", "output.weight") and quantization[0] == "q":
        kind = gguf.GGMLQuantizationType.Q8_0  # the ends of the model suffer most
    block = gguf.GGML_QUANT_SIZES[kind][0]
    if values.shape[-1] % block:
        kind = gguf.GGMLQuantizationType.F16
    writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)


def _interleaved(values: np.ndarray, heads: int) -> np.ndarray:
    """transformers keeps the halves of a rotary pair apart, llama.cpp beside each other."""
    return (
        values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:]).swapaxes(1, 2).reshape(values.shape)
    )


def _rope_factors(config: dict[str, Any]) -> np.ndarray | None:
    """The factors of Llama 3's long contexts; None for plain rotary positions. Raises `Failed` for others."""
    rope = _rope(config)
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind == "default":
        return None
    if kind != "llama3":
        raise Failed(f"no GGUF for rotary positions of type {kind}")
    size, factor, old = _head_size(config), rope["factor"], rope["original_max_position_embeddings"]
    low, high = old / rope["low_freq_factor"], old / rope["high_freq_factor"]
    out = []
    for i in range(0, size, 2):
        wave = 2 * math.pi * rope["rope_theta"] ** (i / size)
        if wave < high:
            out.append(1.0)
        elif wave > low:
            out.append(factor)
        else:
            smooth = (old / wave - rope["low_freq_factor"]) / (rope["high_freq_factor"] - rope["low_freq_factor"])
            out.append(1 / ((1 - smooth) / factor + smooth))
    return np.array(out, np.float32)
