# pyright: basic
"""Sequence classification: a head with one score per label on the base model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import Dataset
from transformers import TrainingArguments

from . import heads, predict, store
from .collate import Collator
from .findings import Findings
from .metered import MeteredTrainer
from .rows import Sample, read

METRICS = ("accuracy",)
_BATCH = 32


class Labelled(Dataset):
    """Texts with the number of their label."""

    def __init__(self, folder: Path) -> None:
        self.samples = store.Samples(folder)
        self.labels = np.load(folder / "labels.npy")
        self.lengths = self.samples.lengths

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {**self.samples[index], "label": int(self.labels[index])}


class LabelledCollator:
    """A padded batch and `label`."""

    def __init__(self, pad_id: int) -> None:
        self._collate = Collator(pad_id)

    def __call__(self, items: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        batch = self._collate([{"ids": item["ids"], "weights": item["weights"]} for item in items])
        return {**batch, "label": torch.tensor([item["label"] for item in items])}


def prepare(job: Any) -> None:
    """Settle the labels, encode the texts to disk (rank 0) and open them in every process."""
    ctx = job.ctx
    roles = [role for role in ("train", "validation") if (ctx.dir / "data" / f"{role}.jsonl").exists()]
    job.labels = _labels(job)
    if ctx.rank == 0:
        findings = Findings()
        for role in roles:
            numbers: list[int] = []
            store.write(job.cache / role, _samples(job, role, findings, numbers))
            np.save(job.cache / role / "labels.npy", np.asarray(numbers, np.int64))
        findings.report(ctx)
    job.barrier()
    found = {role: Labelled(job.cache / role) for role in roles}
    job.train, job.validation = found["train"], found.get("validation")
    for role, labelled in found.items():
        if len(labelled) == 0:
            raise ctx.Failed(f"no {role} row is left; see the warnings before")
    counts = np.bincount(job.train.labels, minlength=len(job.labels))
    told = ", ".join(f"{name} {count}" for name, count in zip(job.labels, counts, strict=True))
    ctx.event(f"data: {len(job.train)} texts, {len(job.labels)} labels: {told[:500]}", samples=float(len(job.train)))


def _labels(job: Any) -> list[str]:
    """As given, else all labels of the training rows, sorted: numbers by value, words by letters."""
    given = job.request["method"]["labels"]
    names = (_name(row["label"]) for row in read(job.ctx.dir / "data" / "train.jsonl"))
    seen = {name for name in names if name is not None}
    if given != "auto":
        unused = [name for name in given if name not in seen]
        if unused:
            job.ctx.event(f"method.labels: no training row has {', '.join(map(repr, unused))}", level="warning")
        return list(given)
    if len(seen) < 2:
        raise job.ctx.Failed(f"the training rows have {len(seen)} label(s); classification needs at least two")
    try:
        return sorted(seen, key=int)
    except ValueError:
        return sorted(seen)


def _name(label: Any) -> str | None:
    """The label as a word; None for what this method cannot learn (several labels at once, a measured number)."""
    if isinstance(label, list):
        return label[0] if len(label) == 1 else None
    if isinstance(label, float):
        return str(int(label)) if label.is_integer() else None
    return str(label)


def _samples(job: Any, role: str, findings: Findings, numbers: list[int]) -> Iterator[Sample]:
    known = {name: number for number, name in enumerate(job.labels)}
    for number, row in enumerate(read(job.ctx.dir / "data" / f"{role}.jsonl")):
        if number % 1000 == 0 and job.ctx.stop:
            raise job.Stopped(job.ctx.stop)
        name = _name(row["label"])
        if name is None:
            message = f"label {row['label']!r}: one label per text is learned, not several and no measured numbers"
            findings.add("label-kind", "error", message, fix="Give each text one label.", source=row.get("source"))
        elif name not in known:
            message = f"label {name!r} is not among {', '.join(job.labels)[:200]}"
            fix = "Correct it, or add it to method.labels and to the training rows."
            findings.add("label-unknown", "error", message, fix=fix, source=row.get("source"))
        else:
            ids, cut = encode(job, row)
            if cut:
                fix = "Raise hyperparameters.max_seq_length or shorten it."
                findings.add("row-truncated", "warning", f"cut by {cut} tokens", fix=fix, source=row.get("source"))
            numbers.append(known[name])
            yield Sample(ids, [1.0] * len(ids))


def encode(job: Any, row: Mapping[str, Any]) -> tuple[list[int], int]:
    """Token ids of the text (and its pair), and by how many they were cut to fit."""
    pair = row.get("text_pair")
    if pair is not None and job.tokenizer.sep_token is not None:
        ids = job.tokenizer(row["text"], pair)["input_ids"]
        kept = job.tokenizer(row["text"], pair, truncation="longest_first", max_length=job.max_length)["input_ids"]
    else:  # a language model knows no pairs: one text, a line each
        text = row["text"] if pair is None else f"{row['text']}\n{pair}"
        ids = job.tokenizer(text)["input_ids"]
        kept = job.tokenizer(text, truncation=True, max_length=job.max_length)["input_ids"]
    return kept or [job.tokenizer.pad_token_id], len(ids) - len(kept)


def load(job: Any, *, quantized: bool = True) -> Any:
    """The base model with a head for the labels."""
    return heads.load(job, labels=job.labels, quantized=quantized)


class LabelTrainer(MeteredTrainer):
    """Cross entropy over the labels."""

    zero_loss_is_fine = True

    def measure(self, model: Any, batch: dict[str, Any]) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
        """Mean loss, and how often the highest score is the right one."""
        self.count_tokens(batch)
        found = heads.scores(model, batch)
        return cross_entropy(found, batch["label"]), {"accuracy": (found.argmax(-1) == batch["label"]).float()}


def trainer(job: Any, model: Any, arguments: dict[str, Any]) -> LabelTrainer:
    """The trainer over the prepared texts."""
    return LabelTrainer(
        model=model,
        args=TrainingArguments(**arguments),
        train_dataset=job.train,
        eval_dataset=job.validation,
        data_collator=LabelledCollator(job.tokenizer.pad_token_id),
    )


def questions(job: Any) -> list[predict.Question]:
    """The held-out texts with their labels. Free prompts are classified too."""
    wanted = job.request["evaluation"]
    found = [_question(row) for row in islice(predict.held_out(job.ctx), wanted["max_rows"])]
    return [*found, *(_question({"text": text}) for text in wanted["prompts"])]


def _question(row: Mapping[str, Any]) -> predict.Question:
    pair = row.get("text_pair")
    prompt = row["text"] if pair is None else f"{row['text']}\n{pair}"
    expected = _name(row["label"]) if "label" in row else None
    return predict.Question(prompt=prompt, text=json.dumps(row), expected=expected, source=row.get("source"))


def answer(job: Any, model: Any, asked: Sequence[predict.Question], name: str) -> None:
    """The label with the highest score."""
    collate = Collator(job.tokenizer.pad_token_id)
    training = model.training
    model.eval()
    device = next(model.parameters()).device
    try:
        with torch.inference_mode():
            for start in range(0, len(asked), _BATCH):
                some = asked[start : start + _BATCH]
                ids = [encode(job, json.loads(question.text or "{}"))[0] for question in some]
                batch = collate([{"ids": one, "weights": np.ones(len(one))} for one in ids])
                best = heads.scores(model, {key: value.to(device) for key, value in batch.items()}).argmax(-1)
                for question, number in zip(some, best.tolist(), strict=True):
                    question.answers[name] = job.labels[number]
    finally:
        model.train(training)
