# pyright: basic
"""Validation rows of language models: AutoTrain drops them silently, so they are evaluated here, after training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from .asking import inference

Columns = Mapping[str, Any]


def evaluate(task: str, model: Any, tokenizer: Any, rows: Sequence[Columns], length: int) -> dict[str, float]:
    """`eval_loss`, and for preference pairs `eval_accuracy`: how often the better answer is the likelier one."""
    with inference(model):
        if task == "llm-reward":
            return _rewards(model, tokenizer, rows, length)
        if task in ("llm-dpo", "llm-orpo"):
            return _preferences(model, tokenizer, rows, length)
        return _texts(model, tokenizer, rows, length)


def _texts(model: Any, tokenizer: Any, rows: Sequence[Columns], length: int) -> dict[str, float]:
    loss, tokens = 0.0, 0
    for row in rows:
        one, count = _nll(model, tokenizer, "", row["text"], length)
        loss, tokens = loss + one, tokens + count
    return {"eval_loss": loss / tokens} if tokens else {}


def _preferences(model: Any, tokenizer: Any, rows: Sequence[Columns], length: int) -> dict[str, float]:
    loss, tokens, right = 0.0, 0, 0
    for row in rows:
        good, count = _nll(model, tokenizer, row["prompt"], row["chosen"], length)
        bad, _ = _nll(model, tokenizer, row["prompt"], row["rejected"], length)
        loss, tokens, right = loss + good, tokens + count, right + (good < bad)
    return {"eval_loss": loss / tokens, "eval_accuracy": right / len(rows)} if tokens else {}


def _rewards(model: Any, tokenizer: Any, rows: Sequence[Columns], length: int) -> dict[str, float]:
    differences = [
        _score(model, tokenizer, row["chosen"], length) - _score(model, tokenizer, row["rejected"], length)
        for row in rows
    ]
    loss = sum(math.log1p(math.exp(-abs(one))) + max(-one, 0.0) for one in differences) / len(rows)
    return {"eval_loss": loss, "eval_accuracy": sum(one > 0 for one in differences) / len(rows)}


def _score(model: Any, tokenizer: Any, text: str, length: int) -> float:
    inputs = tokenizer(text, return_tensors="pt", truncation=True, max_length=length).to(model.device)
    inputs = {key: value for key, value in inputs.items() if key in ("input_ids", "attention_mask")}
    return float(model(**inputs).logits[0, 0])


def _nll(model: Any, tokenizer: Any, prompt: str, answer: str, length: int) -> tuple[float, int]:
    ids = tokenizer(prompt + answer, truncation=True, max_length=length)["input_ids"]
    labels = torch.tensor([ids], device=model.device)
    before = len(tokenizer(prompt)["input_ids"]) if prompt else 0
    labels[:, :before] = -100
    count = int((labels[:, 1:] != -100).sum())
    if not count:
        return 0.0, 0
    return float(model(input_ids=torch.tensor([ids], device=model.device), labels=labels).loss) * count, count
