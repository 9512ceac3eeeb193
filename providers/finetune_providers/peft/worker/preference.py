# pyright: basic
"""Learning from pairs: DPO against the base model's own judgement, ORPO without any reference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import TrainingArguments

from . import losses, reference, store
from .collate import Collator
from .completions import Answers, log_probs
from .findings import Findings
from .loss import CompactHead
from .metered import MeteredTrainer
from .rows import Sample, read

METRICS = ("reward_accuracy", "reward_margin", "reward_chosen", "reward_rejected")


class Pairs(Dataset):
    """Pair i: samples 2i (chosen) and 2i + 1 (rejected), their reference log-probabilities, the wanted margin."""

    def __init__(self, folder: Path) -> None:
        self.samples = store.Samples(folder)
        self.margins = np.load(folder / "margins.npy")
        self.lengths = self.samples.lengths.reshape(-1, 2).max(1)
        self.reference = np.zeros(len(self.samples), np.float32)

    def __len__(self) -> int:
        return len(self.margins)

    def __getitem__(self, index: int) -> dict[str, Any]:
        two = (2 * index, 2 * index + 1)
        return {
            "samples": [self.samples[i] for i in two],
            "reference": [float(self.reference[i]) for i in two],
            "margin": float(self.margins[index]),
        }

    @property
    def tokens(self) -> int:
        """Tokens in one pass, both answers."""
        return self.samples.tokens


class PairCollator:
    """All chosen answers first, then all rejected ones."""

    def __init__(self, pad_id: int) -> None:
        self._collate = Collator(pad_id)

    def __call__(self, pairs: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        batch = self._collate([pair["samples"][side] for side in (0, 1) for pair in pairs])
        batch["reference"] = torch.tensor([pair["reference"][side] for side in (0, 1) for pair in pairs])
        batch["margin"] = torch.tensor([pair["margin"] for pair in pairs])
        return batch


def prepare(job: Any) -> None:
    """Encode the pairs to disk (rank 0) and open them in every process."""
    ctx = job.ctx
    roles = [role for role in ("train", "validation") if (ctx.dir / "data" / f"{role}.jsonl").exists()]
    if ctx.rank == 0:
        findings = Findings()
        for role in roles:
            _encode(job, role, findings)
        findings.report(ctx)
    job.barrier()
    found = {role: Pairs(job.cache / role) for role in roles}
    job.train, job.validation = found["train"], found.get("validation")
    for role, pairs in found.items():
        if len(pairs) == 0:
            raise ctx.Failed(f"no {role} pair carries loss on both answers; see the warnings before")
    tokens, learned = job.train.tokens, job.train.samples.supervised
    ctx.event(
        f"data: {len(job.train)} pairs, {tokens:,} tokens, {learned:,} of them carry loss",
        samples=float(len(job.train)),
        tokens=float(job.train.tokens),
    )


def _encode(job: Any, role: str, findings: Findings) -> None:
    margins: list[float] = []
    store.write(job.cache / role, _samples(job, role, findings, margins))
    np.save(job.cache / role / "margins.npy", np.asarray(margins, np.float32))


def _samples(job: Any, role: str, findings: Findings, margins: list[float]) -> Iterator[Sample]:
    answers = Answers(job, findings)
    for number, row in enumerate(read(job.ctx.dir / "data" / f"{role}.jsonl")):
        if number % 1000 == 0 and job.ctx.stop:
            raise job.Stopped(job.ctx.stop)
        chosen, rejected = (answers.encode(row, row[side]) for side in ("chosen", "rejected"))
        if chosen is None or rejected is None:
            continue
        if list(chosen.ids) == list(rejected.ids):
            message = "chosen and rejected are the same after rendering and truncation"
            fix = "It is left out; make them differ inside max_seq_length."
            findings.add("row-equal-answers", "warning", message, fix=fix, source=row.get("source"))
            continue
        margins.append(float(row.get("margin") or 0.0))
        yield from (chosen, rejected)


def before_training(job: Any, base: Any) -> None:
    """DPO needs the base model's judgement; ORPO does not."""
    if job.request["method"]["kind"] != "dpo":
        return
    for role, pairs in (("train", job.train), ("validation", job.validation)):
        if pairs is not None:
            pairs.reference = reference.precompute(job, base, role, pairs.samples)


class PairTrainer(MeteredTrainer):
    """Both answers of every pair in one forward pass."""

    zero_loss_is_fine = True  # pairs told apart beyond doubt: the hinge is zero, a sigmoid underflows

    def __init__(self, *args: Any, method: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._method = method
        self._head = CompactHead(self.accelerator.unwrap_model(self.model))

    def measure(self, model: Any, batch: dict[str, Any]) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
        """The method's loss, and the rewards it implies."""
        self.count_tokens(batch)
        sums, counts = log_probs(model, self._head, batch)
        beta = self._method["beta"]
        if self._method["kind"] == "orpo":
            means = (sums / counts).chunk(2)
            tokens = counts.chunk(2)[0].sum()
            loss = -sums.chunk(2)[0].sum() / tokens + beta * losses.odds_ratio(*means).mean()
            return loss, _shown(beta * means[0], beta * means[1])
        ratios = losses.Ratios(*(sums - batch["reference"]).chunk(2), *counts.chunk(2))
        each = losses.dpo(self._method["loss"], ratios, beta=beta, smoothing=self._method["label_smoothing"])
        return each.mean(), _shown(beta * ratios.chosen, beta * ratios.rejected)


def _shown(chosen: torch.Tensor, rejected: torch.Tensor) -> dict[str, torch.Tensor]:
    return {
        "reward_accuracy": (chosen > rejected).float(),
        "reward_margin": chosen - rejected,
        "reward_chosen": chosen,
        "reward_rejected": rejected,
    }


def trainer(job: Any, model: Any, arguments: dict[str, Any]) -> PairTrainer:
    """The trainer over the prepared pairs."""
    return PairTrainer(
        model=model,
        args=TrainingArguments(**arguments),
        train_dataset=job.train,
        eval_dataset=job.validation,
        data_collator=PairCollator(job.tokenizer.pad_token_id),
        method=job.request["method"],
    )
