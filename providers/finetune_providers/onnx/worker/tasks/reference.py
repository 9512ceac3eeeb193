# pyright: basic
"""What the unquantised PyTorch model answers on the held-out rows, and how fast: what packages are compared with."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from . import common, loading

FILE = "reference.npz"
QUESTIONS = "questions.json"


def run(child: Any, orders: dict[str, Any]) -> dict[str, Any]:
    """Writes the questions with their token ids, the first-token logits and the greedy answers; answers the figures."""
    torch.set_num_threads(orders["threads"])
    out = Path(orders["out"])
    began = time.perf_counter()
    model = loading.model(child, orders["model"], orders)
    load_s = time.perf_counter() - began
    tokenizer = loading.tokenizer(child, orders, orders["model"])
    orders = _fitted(model, orders)
    asked = _questions(child, orders, tokenizer)
    if not asked:
        raise child.Failed("no held-out row can be asked: none has an answer of the assistant to compare with")
    with torch.inference_mode():
        speed = _speed(model, orders)
        logits = np.stack([_first(model, question["ids"]) for question in asked])
        answers = [_greedy(model, tokenizer, question["ids"], orders["new_tokens"]) for question in asked]
        losses = [_loss(model, question) for question in asked]
    texts = [common.answer_text(tokenizer.decode(ids, skip_special_tokens=True)) for ids in answers]
    for question, ids, text in zip(asked, answers, texts, strict=True):
        question |= {"greedy": ids, "reference": text}
    np.savez(out / FILE, logits=logits.astype(np.float32))
    (out / QUESTIONS).write_text(json.dumps(asked), encoding="utf-8")
    return {
        "rows": len(asked),
        "chat_template": bool(tokenizer.chat_template),
        **{name: orders[name] for name in ("bench_prompt", "bench_new", "vocabulary")},
        "load_s": load_s,
        "bytes": sum(path.stat().st_size for path in Path(orders["model"]).glob("*.safetensors")),
        **speed,
        **_quality(child, orders, asked, texts, losses),
    }


def _fitted(model: Any, orders: dict[str, Any]) -> dict[str, Any]:
    """The orders, cut to the model's context."""
    config = model.config.get_text_config()
    context = getattr(config, "max_position_embeddings", None) or orders["max_length"]
    room = max(1, context - orders["new_tokens"])
    new = min(orders["bench_new"], max(2, context // 2))
    return {
        **orders,
        "vocabulary": config.vocab_size,
        "max_length": min(orders["max_length"], room),
        "bench_new": new,
        "bench_prompt": max(1, min(orders["bench_prompt"], context - new)),
    }


def _quality(child: Any, orders: dict[str, Any], asked: list[Any], texts: list[str], losses: list[Any]) -> Any:
    expected = [question["expected"] for question in asked]
    total = sum(loss for loss, _ in losses)
    tokens = sum(count for _, count in losses)
    rows = [
        {"prompt": q["prompt"], "expected": q["expected"], "answer": text} for q, text in zip(asked, texts, strict=True)
    ]
    return {
        "exact_match": common.exact_match(texts, expected),
        "perplexity": float(np.exp(total / tokens)) if tokens else None,
        "metrics": common.user_metrics(child, orders["custom"], rows),
    }


def _questions(child: Any, orders: dict[str, Any], tokenizer: Any) -> list[dict[str, Any]]:
    """As the peft worker asks them: same template, same cut, same expected answer."""
    predict = common.peft_worker(orders["peft_worker"], "predict")
    request = {
        "evaluation": {"max_rows": orders["rows"], "prompts": orders["prompts"]},
        "training": {"max_seq_length": orders["max_length"]},
    }
    ctx = SimpleNamespace(dir=Path(orders["rows_dir"]), request=request, event=child.event, Failed=child.Failed)
    found = predict.questions(ctx, tokenizer)
    plain = tokenizer.chat_template is None
    made = []
    for question in found:
        sample = question.answer_sample
        if question.text is None and sample is None:
            continue
        ids = tokenizer(question.text, add_special_tokens=plain)["input_ids"] if question.text else []
        if not ids:  # a plain text: its first half is the question
            ids = list(sample.ids[: max(1, len(sample.ids) // 2)])
        made.append(
            {
                "prompt": question.prompt,
                "text": question.text,
                "expected": question.expected if question.text is not None else None,
                "ids": [int(i) for i in ids[-orders["max_length"] :]],
                "answer_ids": None if sample is None else [int(i) for i in sample.ids],
                "answer_weights": None if sample is None else [float(w) for w in sample.weights],
            }
        )
    return made


def _first(model: Any, ids: list[int]) -> Any:
    return model(input_ids=torch.tensor([ids])).logits[0, -1].float().numpy()


def _greedy(model: Any, tokenizer: Any, ids: list[int], new_tokens: int) -> list[int]:
    stop = model.generation_config.eos_token_id
    ends = {*(stop if isinstance(stop, list) else [stop]), tokenizer.eos_token_id} - {None}
    inputs = torch.tensor([ids])
    out = model.generate(
        input_ids=inputs,
        attention_mask=torch.ones_like(inputs),
        max_new_tokens=new_tokens,
        do_sample=False,
        temperature=None,
        top_p=None,
        top_k=None,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=sorted(ends) or None,
    )
    new = out[0, len(ids) :].tolist()
    return new[: next((i for i, token in enumerate(new) if token in ends), len(new))]


def _loss(model: Any, question: dict[str, Any]) -> tuple[float, int]:
    """Summed loss of the expected answer and its number of tokens."""
    if question["answer_ids"] is None:
        return 0.0, 0
    ids = torch.tensor([question["answer_ids"]])
    marked = torch.tensor(question["answer_weights"][1:]) != 0
    losses = torch.nn.functional.cross_entropy(
        model(input_ids=ids).logits[0, :-1].float(), ids[0, 1:], reduction="none"
    )
    return losses[marked].sum().item(), int(marked.sum())


def _speed(model: Any, orders: dict[str, Any]) -> dict[str, float]:
    """Eager, greedy, with its cache; `bench_prompt` tokens in, `bench_new` out; and the peak memory of either size."""
    size = model.config.get_text_config().vocab_size
    found: dict[str, float] = {}
    for batch, memory in ((1, "peak_memory_bytes"), (8, "peak_memory_bytes_8")):
        drawn = torch.Generator().manual_seed(batch)
        ids = torch.randint(0, size, (1, orders["bench_prompt"]), generator=drawn).repeat(batch, 1)
        timings = [_decode(model, ids, orders["bench_new"]) for _ in range(2)]
        found[memory] = common.peak_memory_bytes()
        found[f"first_token_s_{batch}"] = min(first for first, _ in timings)
        found[f"tokens_per_s_{batch}"] = batch * (orders["bench_new"] - 1) / min(rest for _, rest in timings)
    return found


def _decode(model: Any, ids: Any, new_tokens: int) -> tuple[float, float]:
    """Seconds for the first token, and for all others."""
    began = time.perf_counter()
    out = model(input_ids=ids, use_cache=True)
    cache, token = out.past_key_values, out.logits[:, -1:].argmax(-1)
    first = time.perf_counter()
    for _ in range(new_tokens - 1):
        out = model(input_ids=token, past_key_values=cache, use_cache=True)
        token = out.logits[:, -1:].argmax(-1)
    return first - began, time.perf_counter() - first
