# pyright: basic, reportMissingImports=false
"""Runs in the onnx environment: `python onnx_families.py WORKER FOLDER` builds a small model of each family in fp32.

Writes, as JSON, how far each package's logits and greedy tokens are from PyTorch's.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime_genai as og
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers

VOCABULARY = 400
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 512,
    "bos_token_id": None,
    "eos_token_id": 0,
    "pad_token_id": 0,
}
HEAD = {"head_dim": 32}
GEMMA = {**HEAD, "query_pre_attn_scalar": 32, "sliding_window": 16}
LONG = {"rope_type": "longrope", "rope_theta": 10000.0, "original_max_position_embeddings": 256}
FACTORS = {"short_factor": [1.0 + 0.1 * i for i in range(16)], "long_factor": [2.0 + i for i in range(16)]}
YARN = {"rope_type": "yarn", "factor": 4.0, "rope_theta": 1e6, "original_max_position_embeddings": 1024}
BOTH = {
    "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
    "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "gemma2": ("Gemma2Config", {**GEMMA, "sliding_window": 256}),
    "gemma3": ("Gemma3TextConfig", {**GEMMA, "num_hidden_layers": 6, "rope_parameters": BOTH}),
    "mistral": ("MistralConfig", {"sliding_window": 8}),
    "phi4": ("Phi3Config", {"original_max_position_embeddings": 256, "rope_parameters": {**LONG, **FACTORS}}),
    "qwen3": ("Qwen3Config", {**HEAD, "max_position_embeddings": 4096, "rope_parameters": YARN}),
    "smollm3": ("SmolLM3Config", {"num_hidden_layers": 4, "no_rope_layer_interval": 4}),
}
"""What transformers 5 and the builder do not describe alike: windows, two rotations, stretched ones, none."""
PROMPT = [7, 80, 9, 200, 41, 33, 100, 2, 90, 12] * 3
NEW = 4


def main(worker: Path, folder: Path) -> dict[str, Any]:
    """Every family in turn."""
    sys.path.insert(0, str(worker))
    child = importlib.import_module("child")
    sys.path.remove(str(worker))
    child.load(worker / "tasks", "finetune_onnx_tasks")
    build = importlib.import_module("finetune_onnx_tasks.build")
    return {name: _compared(name, build, child.Child(folder, 1), folder / name) for name in FAMILIES}


def _compared(name: str, build: Any, child: Any, place: Path) -> dict[str, Any]:
    model = _made(*FAMILIES[name])
    model.save_pretrained(place)
    _tokenizer(place)
    out = place / "onnx"
    out.mkdir()
    orders = {"model": str(place), "out": str(out), "precision": "fp32", "device": "cpu", "name": name}
    with contextlib.redirect_stdout(io.StringIO()):
        build.run(child, {**orders, "cache": str(place), "extra": {}, "embeddings_block": None})
    logits, tokens = _answered(out)
    reference, expected = _reference(model)
    return {"difference": float(np.abs(logits - reference).max()), "tokens": tokens, "expected": expected}


def _made(kind: str, changes: dict[str, Any]) -> Any:
    torch.manual_seed(0)
    config = getattr(transformers, kind)(**{**SIZES, **changes})
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    for weights in model.parameters():  # large enough that a wrong graph is seen
        weights.data.mul_(3.0) if weights.dim() > 1 else weights.data.add_(torch.rand_like(weights) * 0.2)
    return model


def _tokenizer(place: Path) -> None:
    words = ["<|end|>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    words += [f"unused{number}" for number in range(VOCABULARY - len(words))]
    core = Tokenizer(models.BPE(vocab={word: number for number, word in enumerate(words)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<|end|>", pad_token="<|end|>")
    fast.save_pretrained(place)


def _answered(package: Path) -> tuple[Any, list[int]]:
    model = og.Model(str(package))
    params = og.GeneratorParams(model)
    length = len(PROMPT) + NEW
    params.set_search_options(max_length=length, min_length=length, do_sample=False)
    generator = og.Generator(model, params)
    generator.append_tokens(np.asarray(PROMPT, np.int32))
    logits = np.array(generator.get_logits(), np.float32).reshape(-1)
    while not generator.is_done():
        generator.generate_next_token()
    return logits, [int(token) for token in generator.get_sequence(0)[len(PROMPT) :]]


def _reference(model: Any) -> tuple[Any, list[int]]:
    """The logits after the prompt, and the greedy tokens, none of which may be the last one."""
    tokens: list[int] = []
    first = None
    with torch.inference_mode():
        for _ in range(NEW):
            logits = model(input_ids=torch.tensor([PROMPT + tokens])).logits[0, -1].clone()
            first = logits.numpy().copy() if first is None else first
            logits[0] = -torch.inf
            tokens.append(int(logits.argmax()))
    return first, tokens


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(Path(sys.argv[1]), Path(sys.argv[2]))))
