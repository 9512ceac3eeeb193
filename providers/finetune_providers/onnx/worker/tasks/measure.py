# pyright: basic, reportMissingImports=false
"""A package as its user meets it: loaded by onnxruntime-genai alone, asked, timed. Neither torch nor transformers.

Success means that it loads and generates a token; what the builder said about itself is not believed.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime_genai as og

from . import common

Package = tuple[Any, Any, Any]
"""Model, tokenizer, and the adapters that are loaded (None = none)."""


def run(child: Any, orders: dict[str, Any]) -> dict[str, Any]:
    """The figures of one package, or of one adapter in it."""
    before = common.peak_memory_bytes()
    package, load_s = _load(child, orders)
    speed = _speed(package, orders)
    asked = json.loads(Path(orders["questions"]).read_text(encoding="utf-8"))
    answered = [_answer(package, orders, question) for question in asked]
    reference = np.load(orders["reference"])["logits"]
    return {
        "bytes": common.folder_bytes(Path(orders["package"])),
        "load_s": load_s,
        "idle_memory_bytes": before,
        **speed,
        **_agreement(asked, answered, reference),
        **_quality(child, package, orders, asked, answered),
    }


def _load(child: Any, orders: dict[str, Any]) -> tuple[Package, float]:
    began = time.perf_counter()
    try:
        config = og.Config(orders["package"])
        threads = {"intra_op_num_threads": orders["threads"], "inter_op_num_threads": 1}
        config.overlay(json.dumps({"model": {"decoder": {"session_options": threads}}}))
        model = og.Model(config)
        tokenizer = og.Tokenizer(model)
        adapters = None
        if orders.get("adapter") is not None:
            adapters = og.Adapters(model)
            adapters.load(orders["adapter"]["file"], orders["adapter"]["name"])
    except Exception as exc:  # the library raises its own and RuntimeError, without a common root
        raise child.Failed(f"{orders['name']}: onnxruntime-genai cannot load the package: {_line(exc)}") from exc
    return (model, tokenizer, adapters), time.perf_counter() - began


def _line(exc: BaseException) -> str:
    return " ".join(str(exc).split())[:400]


def _generator(package: Package, orders: dict[str, Any], rows: int, length: int, *, least: int = 0) -> Any:
    params = og.GeneratorParams(package[0])
    params.set_search_options(max_length=length, min_length=least, do_sample=False, batch_size=rows)
    generator = og.Generator(package[0], params)
    if package[2] is not None:
        generator.set_active_adapter(package[2], orders["adapter"]["name"])
    return generator


def _answer(package: Package, orders: dict[str, Any], question: dict[str, Any]) -> dict[str, Any]:
    ids = question["ids"]
    generator = _generator(package, orders, 1, len(ids) + orders["new_tokens"])
    generator.append_tokens(np.asarray(ids, np.int32))
    logits = np.array(generator.get_logits(), np.float32).reshape(-1)
    while not generator.is_done():
        generator.generate_next_token()
    new = [int(token) for token in generator.get_sequence(0)[len(ids) :]]
    ends = {int(token) for token in package[1].eos_token_ids}
    new = new[: next((i for i, token in enumerate(new) if token in ends), len(new))]
    text = package[1].decode(np.asarray(new, np.int32)) if new else ""  # genai 0.14.1 dies of decoding nothing
    return {"logits": logits, "greedy": new, "text": common.answer_text(text)}


def _agreement(asked: list[Any], answered: list[Any], reference: Any) -> dict[str, Any]:
    """Against the PyTorch model: logits of the first token, and how long greedy answers stay the same."""
    logits = np.stack([answer["logits"] for answer in answered])[:, : reference.shape[1]]
    same, total, rows = 0, 0, 0
    for question, answer in zip(asked, answered, strict=True):
        ours, theirs = answer["greedy"], question["greedy"]
        both = next(
            (i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs))
        )
        same += both
        total += max(len(ours), len(theirs))
        rows += ours == theirs
    return {
        "logits_max_diff": float(np.abs(logits - reference).max()),
        "logits_mean_diff": float(np.abs(logits - reference).mean()),
        "kl": float(common.kl(reference, logits).mean()),
        "first_token_agreement": float((logits.argmax(-1) == reference.argmax(-1)).mean()),
        "greedy_agreement": same / total if total else 1.0,
        "greedy_rows_same": rows / len(asked),
        "finite": bool(np.isfinite(logits).all()),
        "rows": len(asked),
    }


def _quality(child: Any, package: Package, orders: Any, asked: list[Any], answered: list[Any]) -> dict[str, Any]:
    texts = [answer["text"] for answer in answered]
    rows = [
        {"prompt": q["prompt"], "expected": q["expected"], "answer": text} for q, text in zip(asked, texts, strict=True)
    ]
    losses = [_loss(package, orders, question) for question in asked]
    tokens = sum(count for _, count in losses)
    encoded = [question for question in asked if question["text"] is not None]
    return {
        "exact_match": common.exact_match(texts, [question["expected"] for question in asked]),
        "perplexity": float(np.exp(sum(loss for loss, _ in losses) / tokens)) if tokens else None,
        "metrics": common.user_metrics(child, orders["custom"], rows),
        "tokenizer_agrees": all(_encodes(package[1], question) for question in encoded),
        "answers": texts,
        "generated": sum(len(answer["greedy"]) for answer in answered),
    }


def _encodes(tokenizer: Any, question: dict[str, Any]) -> bool:
    """Whether the package's tokenizer makes the same ids of the same text; a mark at the start is the engine's."""
    ids = [int(token) for token in tokenizer.encode(question["text"])]
    return ids[-len(question["ids"]) :] == question["ids"]


def _loss(package: Package, orders: dict[str, Any], question: dict[str, Any]) -> tuple[float, int]:
    if question["answer_ids"] is None:
        return 0.0, 0
    ids = np.asarray(question["answer_ids"], np.int32)
    marked = np.asarray(question["answer_weights"][1:]) != 0
    generator = _generator(package, orders, 1, len(ids) + 1)
    generator.append_tokens(ids)
    logits = np.array(generator.get_output("logits"), np.float32)[0, :-1]
    losses = -common.log_softmax(logits)[np.arange(len(ids) - 1), ids[1:]]
    return float(losses[marked].sum()), int(marked.sum())


def _speed(package: Package, orders: dict[str, Any]) -> dict[str, float]:
    """`bench_prompt` tokens in, `bench_new` out, one row at a time, then eight; and the peak memory of either."""
    found: dict[str, float] = {}
    for rows, memory in ((1, "peak_memory_bytes"), (8, "peak_memory_bytes_8")):
        timings = [_timing(package, orders, rows) for _ in range(2)]
        found[memory] = common.peak_memory_bytes()
        found[f"first_token_s_{rows}"] = min(first for first, _ in timings)
        found[f"tokens_per_s_{rows}"] = rows * (orders["bench_new"] - 1) / min(rest for _, rest in timings)
    return found


def _timing(package: Package, orders: dict[str, Any], rows: int) -> tuple[float, float]:
    new = orders["bench_new"]
    ids = np.random.default_rng(rows).integers(0, orders["vocabulary"], orders["bench_prompt"])
    length = len(ids) + new
    generator = _generator(package, orders, rows, length, least=length)
    began = time.perf_counter()
    generator.append_tokens(np.tile(ids.astype(np.int32), (rows, 1)) if rows > 1 else ids.astype(np.int32))
    generator.generate_next_token()
    first = time.perf_counter() - began
    for _ in range(new - 1):
        generator.generate_next_token()
    return first, time.perf_counter() - began - first
