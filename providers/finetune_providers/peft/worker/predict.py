# pyright: basic
"""Answers of the base and the tuned model on held-out rows, in batches: greedy, KV cache, padded on the left."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .collate import Collator
from .context import Context
from .findings import Findings
from .loss import CompactHead, weighted_loss
from .rows import Encoder, Sample, read, template_extra
from .template import ChatTemplate, text_of

_BATCH = 32
_THOUGHT = re.compile(r"^\s*<think>.*?</think>\s*", re.DOTALL)
FILE = "predictions.jsonl"


@dataclass
class Question:
    """One thing to ask: the text the model continues, and the answer the data gives (None for a free prompt)."""

    prompt: Any
    text: str | None
    expected: str | None
    source: Mapping[str, Any] | None = None
    answer_sample: Sample | None = None
    """Prompt and expected answer as tokens, loss on the answer: for perplexity."""
    answers: dict[str, str | None] = field(default_factory=dict)
    nll: dict[str, float | None] = field(default_factory=dict)


def questions(ctx: Context, tokenizer: Any) -> list[Question]:
    """The held-out rows (test, else validation) and the free prompts of the request's evaluation section."""
    wanted = ctx.request["evaluation"]
    template = ChatTemplate(tokenizer) if tokenizer.chat_template else None
    length = ctx.request["training"]["max_seq_length"]
    encoder = Encoder(tokenizer, train_on="last_assistant", max_length=length, findings=Findings())
    found = [_question(row, template, encoder) for row in islice(held_out(ctx), wanted["max_rows"])]
    free = [_free(prompt, template) for prompt in wanted["prompts"]]
    return [*(question for question in found if question is not None), *free]


def held_out(ctx: Context) -> Iterator[dict[str, Any]]:
    for role in ("test", "validation"):
        path = ctx.dir / "data" / f"{role}.jsonl"
        if path.exists():
            return read(path)
    return iter(())


def _question(row: Mapping[str, Any], template: ChatTemplate | None, encoder: Encoder) -> Question | None:
    if row["kind"] == "text":
        sample = next(iter(encoder.encode(row)), None)
        return Question(prompt="", text=None, expected=row["text"], source=row.get("source"), answer_sample=sample)
    messages = list(row.get("messages") or row.get("prompt") or ())
    if row["kind"] == "preference":
        messages += row["chosen"]
    last = max((i for i, message in enumerate(messages) if message["role"] == "assistant"), default=None)
    if last is None or row["kind"] == "unpaired":
        return None
    messages = messages[: last + 1]
    plain = [{key: value for key, value in message.items() if key != "weight"} for message in messages]
    chat = {**row, "kind": "chat", "messages": plain}
    sample = next(iter(encoder.encode(chat)), None)
    prompt: Any = messages[:last]
    if template is not None:
        text = template.render(prompt, prompt=True, **template_extra(row))
    else:
        prompt = text = text_of(messages[-2]["content"])
    expected = _expected(messages[last])
    return Question(prompt=prompt, text=text, expected=expected, source=row.get("source"), answer_sample=sample)


def _expected(message: Mapping[str, Any]) -> str:
    calls = message.get("tool_calls")
    return json.dumps(calls, ensure_ascii=False) if calls else text_of(message.get("content"))


def _free(prompt: str, template: ChatTemplate | None) -> Question:
    messages = [{"role": "user", "content": prompt}]
    if template is None:
        return Question(prompt=prompt, text=prompt, expected=None)
    return Question(prompt=messages, text=template.render(messages, prompt=True), expected=None)


def answer(ctx: Context, model: Any, tokenizer: Any, asked: Sequence[Question], name: str) -> None:
    """Fill in the answers of the model called `name` ("base" or "tuned"), and losses where perplexity is wanted."""
    wanted = ctx.request["evaluation"]
    size = _BATCH if wanted["batch_size"] == "auto" else wanted["batch_size"]
    with _inference(model):
        speak = [question for question in asked if question.text is not None]
        for batch in _batches(speak, size, key=lambda question: len(question.text or "")):
            texts = _generate(model, tokenizer, [question.text or "" for question in batch], wanted["max_new_tokens"])
            for question, text in zip(batch, texts, strict=True):
                question.answers[name] = text
        if "perplexity" in wanted["metrics"]:
            _losses(model, tokenizer, [question for question in asked if question.answer_sample], size, name)


def _generate(model: Any, tokenizer: Any, texts: list[str], max_new_tokens: int) -> list[str]:
    plain = tokenizer.chat_template is None
    inputs = tokenizer(texts, return_tensors="pt", padding=True, padding_side="left", add_special_tokens=plain)
    inputs = {key: value.to(model.device) for key, value in inputs.items() if key in ("input_ids", "attention_mask")}
    stop = model.generation_config.eos_token_id
    ends = {*(stop if isinstance(stop, list) else [stop]), tokenizer.eos_token_id} - {None}
    out = model.generate(
        **inputs,
        max_new_tokens=max_new_tokens,
        do_sample=False,
        temperature=None,
        top_p=None,
        top_k=None,
        use_cache=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=sorted(ends) or None,
    )
    answers = tokenizer.batch_decode(out[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return [_THOUGHT.sub("", text).strip() for text in answers]


def _losses(model: Any, tokenizer: Any, asked: Sequence[Question], size: int, name: str) -> None:
    collate, head = Collator(tokenizer.pad_token_id), CompactHead(model)
    try:
        for batch in _batches(asked, size, key=lambda question: len(question.answer_sample.ids)):
            rows = [{"ids": q.answer_sample.ids, "weights": _array(q.answer_sample.weights)} for q in batch]
            tensors = {key: value.to(model.device) for key, value in collate(rows).items()}
            losses, _ = weighted_loss(model, head, tensors)
            counts = [sum(1 for weight in q.answer_sample.weights if weight) for q in batch]
            for question, part in zip(batch, losses.split(counts), strict=True):
                question.nll[name] = part.sum().item()
    finally:
        head.remove()


def _array(values: Sequence[float]) -> Any:
    return np.asarray(values, np.float32)


def _batches(items: Sequence[Any], size: int, *, key: Any) -> Iterator[list[Any]]:
    ordered = sorted(items, key=key)
    for start in range(0, len(ordered), size):
        yield ordered[start : start + size]


@contextmanager
def _inference(model: Any) -> Iterator[None]:
    training, cache = model.training, model.config.use_cache
    model.eval()
    model.config.use_cache = True
    try:
        with torch.inference_mode():
            yield
    finally:
        model.config.use_cache = cache
        model.train(training)


def save(folder: Path, asked: Sequence[Question]) -> Path:
    """Write predictions.jsonl, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    part, final = folder / f"{FILE}.part", folder / FILE
    with part.open("w", encoding="utf-8") as lines:
        for number, question in enumerate(asked):
            lines.write(json.dumps(_line(number, question), ensure_ascii=False) + "\n")
    return part.replace(final)


def restore(path: Path, asked: Sequence[Question]) -> bool:
    """Take the base model's answers from an earlier attempt's file; False when it does not fit."""
    if not path.exists():
        return False
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    if len(lines) != len(asked):
        return False
    for line, question in zip(lines, asked, strict=True):
        question.answers["base"], question.nll["base"] = line["base"], line["base_nll"]
    return True


def _line(number: int, question: Question) -> dict[str, Any]:
    sample = question.answer_sample
    return {
        "row": number,
        "source": question.source,
        "prompt": question.prompt,
        "expected": question.expected,
        "base": question.answers.get("base"),
        "tuned": question.answers.get("tuned"),
        "base_nll": question.nll.get("base"),
        "tuned_nll": question.nll.get("tuned"),
        "tokens": sum(1 for weight in sample.weights if weight) if sample and question.nll else None,
    }
