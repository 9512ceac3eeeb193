# pyright: basic
"""Loading models and tokenizers for the tasks that need torch; what transformers raises becomes one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

KINDS = {"causal": AutoModelForCausalLM, "classifier": AutoModelForSequenceClassification}
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "tekken.json")


def common(orders: dict[str, Any]) -> dict[str, Any]:
    """Arguments that every `from_pretrained` gets."""
    return {
        "trust_remote_code": orders["trust_remote_code"],
        "revision": orders["revision"] or "main",
        "local_files_only": orders["local_files_only"],
    }


def model(child: Any, source: str, orders: dict[str, Any]) -> Any:
    """The model in fp32 on the CPU, ready to be asked."""
    with translated(child, source, "weights"):
        loaded = KINDS[orders["kind"]].from_pretrained(
            source, dtype=torch.float32, use_safetensors=True, **common(orders)
        )
    return loaded.eval()


def tokenizer(child: Any, orders: dict[str, Any], *sources: str) -> Any:
    """The tokenizer of the first source that has one, with the chat template that the options name."""
    source = next((name for name in sources if _has_tokenizer(name)), sources[-1])
    with translated(child, source, "tokenizer"):
        loaded = AutoTokenizer.from_pretrained(source, **common(orders))
    if template := orders["chat_template"]:
        path = Path(template) if "{" not in template else None
        loaded.chat_template = path.read_text(encoding="utf-8") if path is not None and path.is_file() else template
    if loaded.pad_token is None:
        loaded.pad_token = loaded.eos_token or loaded.unk_token
    return loaded


def _has_tokenizer(source: str) -> bool:
    folder = Path(source)
    return not folder.is_dir() or any((folder / name).is_file() for name in _TOKENIZERS)


@contextmanager
def translated(child: Any, source: str, what: str) -> Iterator[None]:
    """One sentence instead of pages."""
    try:
        yield
    except (OSError, ValueError, ImportError, KeyError, SafetensorError) as exc:
        reason = " ".join(str(exc).split())[:400]
        if "trust_remote_code" in reason:
            reason = "it contains its own Python code; read it, then set options.onnx.trust_remote_code: true"
        raise child.Failed(f"cannot load the {what} of {source!r}: {reason}") from exc
