# pyright: basic
"""Loading what a peft job left behind, as anybody would, and asking it. Imports torch when first used."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def tensors(file: Path) -> dict[str, Any]:
    """The tensors of a safetensors file."""
    from safetensors.torch import load_file  # noqa: PLC0415 - loads torch

    return load_file(file)


def adapter(folder: Path) -> Any:
    """The adapter on the base model it names."""
    from peft import AutoPeftModelForCausalLM  # noqa: PLC0415 - slow to load

    return AutoPeftModelForCausalLM.from_pretrained(folder, dtype="float32")


def merged(folder: Path) -> Any:
    """A whole model."""
    from transformers import AutoModelForCausalLM  # noqa: PLC0415 - slow to load

    return AutoModelForCausalLM.from_pretrained(folder, dtype="float32")


def answers(model: Any, tokenizer_folder: Path, lines: list[dict[str, Any]]) -> list[str]:
    """Greedy answers of four tokens, asked one by one with the saved tokenizer and its template."""
    import torch  # noqa: PLC0415 - slow to load
    from transformers import AutoTokenizer  # noqa: PLC0415

    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    found: list[str] = []
    model.eval()
    for line in lines:
        inputs: Any = tokenizer.apply_chat_template(
            line["prompt"], add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        with torch.inference_mode():
            out = model.generate(**inputs, max_new_tokens=4, do_sample=False, pad_token_id=tokenizer.pad_token_id)
        found.append(tokenizer.decode(out[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True).strip())
    return found
