# pyright: basic
"""Supervised fine-tuning and continued pre-training: rows to samples, samples to a trainer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainingArguments

from . import packing, store
from .collate import Collator
from .findings import Findings
from .rows import Encoder, Sample, read
from .trainer import CompactTrainer

if TYPE_CHECKING:
    from .job import Job


def prepare(job: Job) -> None:
    """Encode train and validation rows to disk (rank 0), tell what is wrong with them, open them in every process."""
    ctx = job.ctx
    if ctx.rank == 0:
        findings = Findings()
        for role in ("train", "validation"):
            if (path := ctx.dir / "data" / f"{role}.jsonl").exists():
                _encode(job, role, path, findings)
        findings.report(ctx)
    job.barrier()
    job.train = store.Samples(job.cache / "train")
    job.validation = store.Samples(job.cache / "validation") if (job.cache / "validation").exists() else None
    if job.validation is not None and len(job.validation) == 0:
        raise ctx.Failed("no validation row carries loss; see the warnings before")
    if len(job.train) == 0 or job.train.supervised == 0:
        raise ctx.Failed("no training row carries loss; see the warnings before")
    ctx.event(
        f"data: {len(job.train)} samples, {job.train.tokens:,} tokens, {job.train.supervised:,} of them carry loss",
        samples=float(len(job.train)),
        tokens=float(job.train.tokens),
    )


def _encode(job: Job, role: str, path: Path, findings: Findings) -> None:
    method = job.ctx.request["method"]
    train_on = "all" if method["kind"] == "pretraining" else method["train_on"]
    encoder = Encoder(job.tokenizer, train_on=train_on, max_length=job.max_length, findings=findings)
    samples = _samples(job, encoder, path)
    if job.packing:
        samples = packing.pack(samples, job.max_length)
    store.write(job.cache / role, samples)
    if encoder.rewrites_history:
        job.ctx.event(
            f"{role}: the chat template rewrites history (it drops old reasoning, for instance), so each "
            "assistant turn became a sample of its own, rendered as the model will see it",
            level="warning",
        )


def _samples(job: Job, encoder: Encoder, path: Path) -> Iterator[Sample]:
    for number, row in enumerate(read(path)):
        if number % 1000 == 0 and job.ctx.stop:
            raise job.Stopped(job.ctx.stop)
        yield from encoder.encode(row)


def trainer(job: Job, model: Any, arguments: dict[str, Any]) -> CompactTrainer:
    """The trainer over the prepared samples."""
    collator = Collator(job.tokenizer.pad_token_id, multiple=8 if job.choices.device == "cuda" else 1)
    return CompactTrainer(
        model=model,
        args=TrainingArguments(**arguments),
        train_dataset=job.train,
        eval_dataset=job.validation,
        data_collator=collator,
        grouped=not job.packing,
    )
