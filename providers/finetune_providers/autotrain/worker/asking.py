# pyright: basic
"""Answers on held-out rows before and after training, by the model AutoTrain holds: predictions.jsonl."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from . import chat
from .context import Context
from .rows import read

FILE = "predictions.jsonl"
_BATCH = 16
HEADS = ("text-classification", "text-regression", "token-classification")
CHATS = ("llm-sft", "llm-generic", "llm-dpo", "llm-orpo", "seq2seq")


@dataclass
class Question:
    """One thing to ask, and the answer the data give (None for a free prompt)."""

    prompt: Any
    text: str
    expected: str | None
    source: Mapping[str, Any] | None = None
    answer: str | None = None
    """The expected answer as it follows the text, for perplexity."""
    answers: dict[str, str] = field(default_factory=dict)
    nll: dict[str, float] = field(default_factory=dict)
    tokens: int | None = None


def questions(ctx: Context, tokenizer: Any) -> list[Question]:
    """The held-out rows (test, else validation) and the free prompts of the request's evaluation section."""
    wanted, task = ctx.request["evaluation"], ctx.request["task"]
    rows = read(ctx.dir / "data" / "test.jsonl") or read(ctx.dir / "data" / "validation.jsonl")
    make = _headed if task in HEADS else _seq2seq if task == "seq2seq" else _spoken
    found = [question for row in islice(rows, wanted["max_rows"]) for question in make(tokenizer, row)]
    if task in (*HEADS, "seq2seq"):
        return [*found, *(Question(prompt, prompt, None) for prompt in wanted["prompts"])]
    asked = [[{"role": "user", "content": prompt}] for prompt in wanted["prompts"]]
    return [*found, *(Question(one, chat.render(tokenizer, one, prompt=True), None) for one in asked)]


def _spoken(tokenizer: Any, row: Mapping[str, Any]) -> Iterator[Question]:
    if row["kind"] == "text":
        yield Question("", "", row["text"], row.get("source"), row["text"])
        return
    messages = [*row["prompt"], *row["chosen"]] if row["kind"] == "preference" else row["messages"]
    last = max((i for i, message in enumerate(messages) if message["role"] == "assistant"), default=None)
    if last is None:
        return
    asked, answer = chat.split(tokenizer, messages[:last], messages[last : last + 1])
    yield Question(messages[:last], asked, chat.text_of(messages[last]), row.get("source"), answer)


def _seq2seq(_tokenizer: Any, row: Mapping[str, Any]) -> Iterator[Question]:
    *before, last = row["messages"]
    yield Question(
        before, "\n".join(chat.text_of(message) for message in before), chat.text_of(last), row.get("source")
    )


def _headed(_tokenizer: Any, row: Mapping[str, Any]) -> Iterator[Question]:
    label = row["label"]
    expected = " ".join(map(str, label)) if isinstance(label, list) else str(label)
    yield Question(row["text"], row["text"], expected, row.get("source"))


def ask(ctx: Context, model: Any, tokenizer: Any, asked: Sequence[Question], name: str) -> None:
    """Fill in the answers of the model called `name` ("base" or "tuned")."""
    wanted, task = ctx.request["evaluation"], ctx.request["task"]
    size = _BATCH if wanted["batch_size"] == "auto" else wanted["batch_size"]
    with inference(model):
        if task in HEADS:
            for question in asked:
                question.answers[name] = _label(ctx, model, tokenizer, question.text)
            return
        speak = sorted((question for question in asked if question.text), key=lambda question: len(question.text))
        for start in range(0, len(speak), size):
            some = speak[start : start + size]
            texts = _generate(model, tokenizer, [question.text for question in some], wanted["max_new_tokens"], task)
            for question, text in zip(some, texts, strict=True):
                question.answers[name] = text
        if "perplexity" in wanted["metrics"] and task != "seq2seq":
            for question in asked:
                _loss(model, tokenizer, question, name)


def _loss(model: Any, tokenizer: Any, question: Question, name: str) -> None:
    if question.answer is None:
        return
    asked = tokenizer(question.text)["input_ids"] if question.text else []
    ids = torch.tensor([tokenizer(question.text + question.answer)["input_ids"]], device=model.device)
    labels = ids.clone()
    labels[:, : len(asked)] = -100
    question.tokens = int((labels[:, 1:] != -100).sum())
    if question.tokens:
        question.nll[name] = float(model(input_ids=ids, labels=labels).loss) * question.tokens


def _generate(model: Any, tokenizer: Any, texts: list[str], most: int, task: str) -> list[str]:
    side, tokenizer.padding_side = tokenizer.padding_side, "left"
    try:
        inputs = tokenizer(texts, return_tensors="pt", padding=True)
    finally:
        tokenizer.padding_side = side
    inputs = {key: value.to(model.device) for key, value in inputs.items() if key in ("input_ids", "attention_mask")}
    out = model.generate(
        **inputs,
        max_new_tokens=most,
        do_sample=False,
        temperature=None,
        top_p=None,
        top_k=None,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    start = 0 if task == "seq2seq" else inputs["input_ids"].shape[1]
    return [text.strip() for text in tokenizer.batch_decode(out[:, start:], skip_special_tokens=True)]


def _label(ctx: Context, model: Any, tokenizer: Any, text: str) -> str:
    length = ctx.request["parameters"].get("max_seq_length", 128)
    if ctx.request["task"] == "token-classification":
        return _tags(model, tokenizer, text.split(" "), length)
    inputs = tokenizer(text, return_tensors="pt", truncation=True, max_length=length).to(model.device)
    scores = model(**inputs).logits[0]
    if ctx.request["task"] == "text-regression":
        return f"{float(scores[0]):.6g}"
    return str(model.config.id2label[int(scores.argmax())])


def _tags(model: Any, tokenizer: Any, words: list[str], length: int) -> str:
    inputs = tokenizer(words, is_split_into_words=True, return_tensors="pt", truncation=True, max_length=length)
    best = model(**inputs.to(model.device)).logits[0].argmax(-1).tolist()
    found: dict[int, str] = {}
    for word, number in zip(inputs.word_ids(0), best, strict=True):
        if word is not None:
            found.setdefault(word, str(model.config.id2label[number]))
    return " ".join(found.get(i, "O") for i in range(len(words)))


@contextmanager
def inference(model: Any) -> Iterator[None]:
    """Evaluation mode with a KV cache; the model is as before afterwards."""
    training, cache = model.training, getattr(model.config, "use_cache", None)
    model.eval()
    if cache is not None:
        model.config.use_cache = True
    try:
        with torch.inference_mode():
            yield
    finally:
        if cache is not None:
            model.config.use_cache = cache
        model.train(training)


def save(folder: Path, asked: Sequence[Question]) -> None:
    """Write predictions.jsonl, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{FILE}.part"
    with part.open("w", encoding="utf-8") as lines:
        for number, question in enumerate(asked):
            line = {
                "row": number,
                "source": question.source,
                "prompt": question.prompt,
                "expected": question.expected,
                "base": question.answers.get("base"),
                "tuned": question.answers.get("tuned"),
                "base_nll": question.nll.get("base"),
                "tuned_nll": question.nll.get("tuned"),
                "tokens": question.tokens,
            }
            lines.write(json.dumps(line, ensure_ascii=False) + "\n")
    part.replace(folder / FILE)
