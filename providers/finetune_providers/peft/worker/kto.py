# pyright: basic
"""KTO: learning from single answers marked good or bad.

The KL term compares each prompt with an answer to another prompt. Partners are drawn once, so that the base model's
judgement of them is computed once too; the mean over a batch is the estimate, as in TRL.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
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

METRICS = ("kl", "reward_good", "reward_bad", "reward_accuracy")


class Judged(Dataset):
    """Answer i: sample 2i, its prompt with another row's answer as sample 2i + 1, and whether it is good."""

    def __init__(self, folder: Path) -> None:
        self.samples = store.Samples(folder)
        self.good = np.load(folder / "good.npy")
        self.lengths = self.samples.lengths.reshape(-1, 2).max(1)
        self.reference = np.zeros(len(self.samples), np.float32)

    def __len__(self) -> int:
        return len(self.good)

    def __getitem__(self, index: int) -> dict[str, Any]:
        two = (2 * index, 2 * index + 1)
        return {
            "samples": [self.samples[i] for i in two],
            "reference": [float(self.reference[i]) for i in two],
            "good": bool(self.good[index]),
        }

    @property
    def tokens(self) -> int:
        """Tokens in one pass, partners included."""
        return self.samples.tokens


class JudgedCollator:
    """The answers, and under `partner_` the mismatched ones."""

    def __init__(self, pad_id: int) -> None:
        self._collate = Collator(pad_id)

    def __call__(self, items: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        batch = self._collate([item["samples"][0] for item in items])
        other = self._collate([item["samples"][1] for item in items])
        batch |= {f"partner_{name}": tensor for name, tensor in other.items()}
        batch["reference"] = torch.tensor([item["reference"][0] for item in items])
        batch["partner_reference"] = torch.tensor([item["reference"][1] for item in items])
        batch["good"] = torch.tensor([item["good"] for item in items])
        return batch


def prepare(job: Any) -> None:
    """Encode the answers to disk (rank 0) and open them in every process."""
    ctx = job.ctx
    roles = [role for role in ("train", "validation") if (ctx.dir / "data" / f"{role}.jsonl").exists()]
    if ctx.rank == 0:
        findings = Findings()
        for role in roles:
            good: list[bool] = []
            store.write(job.cache / role, _samples(job, role, findings, good))
            np.save(job.cache / role / "good.npy", np.asarray(good, bool))
        findings.report(ctx)
    job.barrier()
    found = {role: Judged(job.cache / role) for role in roles}
    job.train, job.validation = found["train"], found.get("validation")
    for role, judged in found.items():
        if len(judged) == 0:
            raise ctx.Failed(f"no {role} answer carries loss; see the warnings before")
    _balance(job)


def _balance(job: Any) -> None:
    good, total = int(job.train.good.sum()), len(job.train)
    if good in (0, total):
        raise job.ctx.Failed(f"all {total} answers are {'good' if good else 'bad'}; kto needs both kinds")
    job.ctx.event(
        f"data: {total} answers ({good} good, {total - good} bad), {job.train.tokens:,} tokens",
        samples=float(total),
        tokens=float(job.train.tokens),
    )
    method = job.request["method"]
    share = method["desirable_weight"] * good / (method["undesirable_weight"] * (total - good))
    if not 1 / 4 <= share <= 4:
        job.ctx.event(
            f"good and bad answers weigh {share:.2g} : 1; set method.desirable_weight and undesirable_weight so that "
            "the ratio comes near 1",
            level="warning",
        )


def _samples(job: Any, role: str, findings: Findings, good: list[bool]) -> Iterator[Sample]:
    answers, path = Answers(job, findings), job.ctx.dir / "data" / f"{role}.jsonl"
    partner = next(islice(read(path), _last(path), None))
    for number, row in enumerate(read(path)):
        if number % 1000 == 0 and job.ctx.stop:
            raise job.Stopped(job.ctx.stop)
        own = answers.encode(row, row["completion"])
        other = None if own is None else answers.encode(row, partner["completion"])
        partner = row
        if own is not None and other is not None:
            good.append(bool(row["label"]))
            yield from (own, other)


def _last(path: Path) -> int:
    return max(0, sum(1 for _ in read(path)) - 1)


def before_training(job: Any, base: Any) -> None:
    """The base model's judgement of all answers and partners."""
    for role, judged in (("train", job.train), ("validation", job.validation)):
        if judged is not None:
            judged.reference = reference.precompute(job, base, role, judged.samples)


class KtoTrainer(MeteredTrainer):
    """Good answers up, bad ones down, measured from the running KL."""

    zero_loss_is_fine = True

    def __init__(self, *args: Any, method: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._method = method
        self._head = CompactHead(self.accelerator.unwrap_model(self.model))

    def measure(self, model: Any, batch: dict[str, Any]) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
        """The KTO loss, and the rewards it implies."""
        self.count_tokens(batch)
        kl = self._kl(batch)
        ratio = log_probs(model, self._head, batch)[0] - batch["reference"]
        good, beta = batch["good"], self._method["beta"]
        weight = torch.where(good, self._method["desirable_weight"], self._method["undesirable_weight"])
        loss = (weight * losses.kto(ratio, good, kl, beta=beta)).mean()
        reward = beta * ratio
        shown = {"kl": kl.reshape(1), "reward_good": reward[good], "reward_bad": reward[~good]}
        return loss, {**shown, "reward_accuracy": (good == (ratio > kl)).float()}

    def _kl(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        partner = {name[8:]: value for name, value in batch.items() if name.startswith("partner_")}
        with torch.no_grad():
            ratio = log_probs(self.accelerator.unwrap_model(self.model), self._head, partner)[0] - partner["reference"]
        mean: Any = self.accelerator.reduce(ratio.mean(), "mean")
        return mean.clamp(min=0)


def trainer(job: Any, model: Any, arguments: dict[str, Any]) -> KtoTrainer:
    """The trainer over the prepared answers."""
    return KtoTrainer(
        model=model,
        args=TrainingArguments(**arguments),
        train_dataset=job.train,
        eval_dataset=job.validation,
        data_collator=JudgedCollator(job.tokenizer.pad_token_id),
        method=job.request["method"],
    )
