# pyright: basic
"""What the unquantised classifier answers on the held-out texts in PyTorch, and how fast."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from . import common, loading

_ROWS = 8


def run(child: Any, orders: dict[str, Any]) -> dict[str, Any]:
    """Writes the texts with their token ids and the scores; answers the figures."""
    torch.set_num_threads(orders["threads"])
    out = Path(orders["out"])
    began = time.perf_counter()
    model = loading.model(child, orders["model"], orders)
    load_s = time.perf_counter() - began
    tokenizer = loading.tokenizer(child, orders, orders["model"])
    labels = [str(model.config.id2label[number]) for number in range(model.config.num_labels)]
    length = min(orders["max_length"], getattr(model.config, "max_position_embeddings", None) or orders["max_length"])
    asked = _texts(orders, tokenizer, length)
    if not asked:
        raise child.Failed("there is no held-out text to compare with; set data.test, such as 0.1")
    with torch.inference_mode():
        speed = _speed(model, asked)
        peak = common.peak_memory_bytes()
        logits = np.stack([_scores(model, [question])[0] for question in asked])
    answers = [labels[number] for number in logits.argmax(-1)]
    for question, answer in zip(asked, answers, strict=True):
        question["reference"] = answer
    np.savez(out / "reference.npz", logits=logits)
    (out / "questions.json").write_text(json.dumps(asked), encoding="utf-8")
    rows = [
        {"prompt": q["prompt"], "expected": q["expected"], "answer": a} for q, a in zip(asked, answers, strict=True)
    ]
    return {
        "rows": len(asked),
        "labels": labels,
        "chat_template": False,
        "bench_prompt": max(len(question["ids"]) for question in asked),
        "bench_new": 0,
        "vocabulary": model.config.get_text_config().vocab_size,
        "max_length": length,
        "load_s": load_s,
        "peak_memory_bytes": peak,
        "bytes": sum(path.stat().st_size for path in Path(orders["model"]).glob("*.safetensors")),
        **speed,
        "exact_match": common.exact_match(answers, [question["expected"] for question in asked]),
        "perplexity": None,
        "metrics": common.user_metrics(child, orders["custom"], rows),
    }


def _texts(orders: dict[str, Any], tokenizer: Any, length: int) -> list[dict[str, Any]]:
    lines = (Path(orders["rows_dir"]) / "data" / "test.jsonl").read_text(encoding="utf-8").splitlines()
    made = []
    for row in map(json.loads, lines):
        pair = row.get("text_pair")
        both = (row["text"], pair) if pair is not None and tokenizer.sep_token is not None else (row["text"],)
        if pair is not None and tokenizer.sep_token is None:  # a language model knows no pairs: a line each
            both = (f"{row['text']}\n{pair}",)
        encoded = tokenizer(*both, truncation=True, max_length=length)
        label = row["label"][0] if isinstance(row["label"], list) else row["label"]
        made.append(
            {
                "prompt": "\n".join(both),
                "texts": list(both),
                "expected": str(int(label)) if isinstance(label, float) and label.is_integer() else str(label),
                "ids": encoded["input_ids"],
                "types": encoded.get("token_type_ids"),
                "pad": tokenizer.pad_token_id or 0,
            }
        )
    return made


def _scores(model: Any, asked: list[dict[str, Any]]) -> Any:
    longest = max(len(question["ids"]) for question in asked)
    pad = [longest - len(question["ids"]) for question in asked]
    ids = torch.tensor([q["ids"] + [q["pad"]] * n for q, n in zip(asked, pad, strict=True)])
    mask = torch.tensor([[1] * len(q["ids"]) + [0] * n for q, n in zip(asked, pad, strict=True)])
    inputs = {"input_ids": ids, "attention_mask": mask}
    if asked[0]["types"] is not None:
        inputs["token_type_ids"] = torch.tensor([q["types"] + [0] * n for q, n in zip(asked, pad, strict=True)])
    return model(**inputs).logits.float().numpy()


def _speed(model: Any, asked: list[dict[str, Any]]) -> dict[str, float]:
    """One text and eight at a time: seconds to the answer, and tokens read per second."""
    found: dict[str, float] = {}
    for count in (1, _ROWS):
        some = [max(asked, key=lambda question: len(question["ids"]))] * count
        best = min(_timed(model, some) for _ in range(3))
        found[f"first_token_s_{count}"] = best
        found[f"tokens_per_s_{count}"] = sum(len(question["ids"]) for question in some) / best
    return found


def _timed(model: Any, some: list[dict[str, Any]]) -> float:
    began = time.perf_counter()
    _scores(model, some)
    return time.perf_counter() - began
