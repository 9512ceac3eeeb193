# pyright: basic, reportMissingImports=false
"""The figures of a classifier's package, asked with onnxruntime alone."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from . import common
from .classifying import Classifier


def run(child: Any, orders: dict[str, Any]) -> dict[str, Any]:
    """Agreement with PyTorch, accuracy, speed, memory."""
    package = Path(orders["package"])
    before = common.peak_memory_bytes()
    began = time.perf_counter()
    try:
        classifier = Classifier(package, threads=orders["threads"])
    except Exception as exc:  # onnxruntime's and the tokenizers' errors have no common root
        reason = " ".join(str(exc).split())[:400]
        raise child.Failed(f"{orders['name']}: onnxruntime cannot load the package: {reason}") from exc
    load_s = time.perf_counter() - began
    asked = json.loads(Path(orders["questions"]).read_text(encoding="utf-8"))
    rows = [(question["ids"], question["types"] or [0] * len(question["ids"])) for question in asked]
    speed = _speed(classifier, rows)
    peak = common.peak_memory_bytes()
    logits = np.concatenate([classifier.scores([row]) for row in rows])
    reference = np.load(orders["reference"])["logits"]
    answers = [classifier.labels[number] for number in logits.argmax(-1)]
    shown = [
        {"prompt": q["prompt"], "expected": q["expected"], "answer": a} for q, a in zip(asked, answers, strict=True)
    ]
    agreement = float((logits.argmax(-1) == reference.argmax(-1)).mean())
    return {
        "bytes": common.folder_bytes(package),
        "load_s": load_s,
        "peak_memory_bytes": peak,
        "idle_memory_bytes": before,
        **speed,
        "logits_max_diff": float(np.abs(logits - reference).max()),
        "logits_mean_diff": float(np.abs(logits - reference).mean()),
        "kl": float(common.kl(reference, logits).mean()),
        "first_token_agreement": agreement,
        "greedy_agreement": agreement,
        "finite": bool(np.isfinite(logits).all()),
        "rows": len(asked),
        "exact_match": common.exact_match(answers, [question["expected"] for question in asked]),
        "perplexity": None,
        "metrics": common.user_metrics(child, orders["custom"], shown),
        "tokenizer_agrees": all(
            list(classifier.encode(q["texts"], orders["max_length"])[0]) == q["ids"] for q in asked
        ),
        "answers": answers,
        "generated": len(answers),
    }


def _speed(classifier: Classifier, rows: list[Any]) -> dict[str, float]:
    found: dict[str, float] = {}
    for count in (1, 8):
        some = [max(rows, key=lambda row: len(row[0]))] * count
        best = min(_timed(classifier, some) for _ in range(3))
        found[f"first_token_s_{count}"] = best
        found[f"tokens_per_s_{count}"] = sum(len(ids) for ids, _ in some) / best
    return found


def _timed(classifier: Classifier, some: list[Any]) -> float:
    began = time.perf_counter()
    classifier.scores(some)
    return time.perf_counter() - began
