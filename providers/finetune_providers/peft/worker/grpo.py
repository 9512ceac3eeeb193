# pyright: basic
"""Reinforcement fine-tuning by GRPO: sample several answers to a prompt, grade them, push towards the better ones.

Rewards are normalised within the group of one prompt's answers; the loss is the mean over all sampled tokens (DAPO's
normalisation), strictly on-policy: every answer is used for one step. No value model, and a KL term only with `beta`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import TrainingArguments

from . import graders
from .collate import Collator
from .findings import Findings, place
from .loss import CompactHead, weighted_loss
from .metered import MeteredTrainer
from .rows import read, template_extra
from .template import ChatTemplate, TemplateRefused, text_of

METRICS = ("reward", "reward_std", "completion_tokens", "cut_share", "kl")
_EPSILON = 1e-4  # TRL's: a group of nearly equal rewards is not blown up
_HOPELESS = 50


class Prompts(Dataset):
    """Prompts as token ids, with the rows they came from (a grader's `item`)."""

    def __init__(self, ids: list[list[int]], rows: list[dict[str, Any]]) -> None:
        self._ids = ids
        self.rows = rows
        self.lengths = np.asarray([len(one) for one in ids], np.int64)

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"ids": self._ids[index], "row": index}


class PromptCollator:
    """Padded on the left, as generation needs it."""

    def __init__(self, pad_id: int) -> None:
        self._pad_id = pad_id

    def __call__(self, items: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        width = max(len(item["ids"]) for item in items)
        ids = torch.full((len(items), width), self._pad_id)
        mask = torch.zeros((len(items), width), dtype=torch.long)
        for row, item in enumerate(items):
            ids[row, width - len(item["ids"]) :] = torch.tensor(item["ids"])
            mask[row, width - len(item["ids"]) :] = 1
        return {"input_ids": ids, "attention_mask": mask, "row": torch.tensor([item["row"] for item in items])}


def prepare(job: Any) -> None:
    """Render the prompts, build the grader: what is wrong with either is said before the first step."""
    ctx, findings = job.ctx, Findings()
    try:
        job.grade = graders.build(job.request["method"]["grader"])
    except graders.GraderError as exc:
        raise ctx.Failed(f"method.grader: {exc}") from exc
    found = {}
    for role in ("train", "validation"):
        if (path := ctx.dir / "data" / f"{role}.jsonl").exists():
            found[role] = _prompts(job, path, findings)
            if len(found[role]) == 0:
                findings.report(ctx)
                raise ctx.Failed(f"no {role} prompt is left; see the warnings before")
    findings.report(ctx)
    job.train, job.validation = found["train"], found.get("validation")
    ctx.event(f"data: {len(job.train)} prompts", samples=float(len(job.train)))


def _prompts(job: Any, path: Any, findings: Findings) -> Prompts:
    template = ChatTemplate(job.tokenizer) if job.tokenizer.chat_template else None
    room = job.max_length - job.request["method"]["max_completion_tokens"]
    if room < 1:
        raise job.ctx.Failed(
            f"method.max_completion_tokens leaves no room for a prompt within max_seq_length {job.max_length}"
        )
    ids, rows = [], []
    for row in read(path):
        try:
            tokens = _tokens(job.tokenizer, template, row)
        except TemplateRefused as exc:
            findings.add("row-template", "error", str(exc), fix="Change the row.", source=row.get("source"))
            continue
        if len(tokens) > room:
            message = f"{len(tokens)} tokens, {room} fit beside max_completion_tokens"
            fix = "It is left out; shorten it or raise max_seq_length."
            findings.add("prompt-too-long", "warning", message, fix=fix, source=row.get("source"))
            continue
        ids.append(tokens)
        rows.append({"item": row.get("extra") or {}, "source": row.get("source")})
    return Prompts(ids, rows)


def _tokens(tokenizer: Any, template: ChatTemplate | None, row: Mapping[str, Any]) -> list[int]:
    if template is None:
        if row.get("shape") != "prompt_completion":
            raise TemplateRefused("the model's tokenizer has no chat template, and the prompt is a conversation")
        return tokenizer(text_of(row["prompt"][-1].get("content")))["input_ids"]
    text = template.render(row["prompt"], prompt=True, **template_extra(row))
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def before_training(job: Any, base: Any) -> None:
    """Keep a copy of the base model for the KL term where the trained model cannot play it."""
    adapter = job.request["adapter"]
    own_copy = adapter["kind"] == "full" or adapter.get("init") in ("pissa", "olora")
    needed = job.request["method"]["beta"] > 0 and own_copy
    job.reference = copy.deepcopy(base).eval().requires_grad_(requires_grad=False) if needed else None


class GrpoTrainer(MeteredTrainer):
    """One batch is some prompts; what is trained on is sampled from the model itself."""

    zero_loss_is_fine = True  # advantages of a group sum to zero, and so does the loss; its gradient does not

    def __init__(self, *args: Any, job: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._job = job
        self._method = job.request["method"]
        self._head = CompactHead(self.accelerator.unwrap_model(self.model))
        self._reference_head = CompactHead(job.reference) if job.reference is not None else self._head
        self._collate = Collator(job.tokenizer.pad_token_id)
        self._place = (-1, 0)
        self._without_spread: int | None = 0

    def measure(self, model: Any, batch: dict[str, Any]) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
        """Sample, grade, and the policy-gradient loss; in validation one greedy answer each, its reward as the loss."""
        if not self.model.training:
            rewards = self._graded(batch, self._sampled(batch, 1), self.eval_dataset)
            return -rewards.mean(), {"reward": rewards}
        group = self._method["samples_per_prompt"]
        answers = self._sampled(batch, group)
        rewards = self._graded(batch, answers, self.train_dataset)
        spread = rewards.view(-1, group).std(1)
        self._mind_the_spread(spread)
        centred = rewards.view(-1, group) - rewards.view(-1, group).mean(1, keepdim=True)
        advantages = (centred / (spread[:, None] + _EPSILON)).flatten()
        loss, kl = self._loss(model, batch, answers, advantages, group)
        lengths = torch.tensor([float(len(answer)) for answer in answers])
        limit = self._method["max_completion_tokens"]
        ends = torch.tensor([float(len(a) >= limit and a[-1] not in self._ends()) for a in answers])
        shown = {"reward": rewards, "reward_std": spread, "completion_tokens": lengths, "cut_share": ends}
        return loss, shown if kl is None else {**shown, "kl": kl}

    def _loss(
        self, model: Any, batch: Any, answers: list[list[int]], advantages: torch.Tensor, group: int
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        prompts = [
            ids[mask.bool()].tolist() for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)
        ]
        rows = [prompts[i // group] + answer for i, answer in enumerate(answers)]
        weights = [[0.0] * len(prompts[i // group]) + [1.0] * len(answer) for i, answer in enumerate(answers)]
        collated = self._collate(
            [{"ids": ids, "weights": np.asarray(w, np.float32)} for ids, w in zip(rows, weights, strict=True)]
        )
        inputs = {name: value.to(self.args.device) for name, value in collated.items()}
        self.count_tokens(inputs)
        logs = -weighted_loss(model, self._head, inputs)[0]
        owner = torch.repeat_interleave(torch.tensor([len(answer) for answer in answers]).to(logs.device))
        ratio = torch.exp(logs - logs.detach())  # one, with the gradient of the log-probability
        loss, kl = -(ratio * advantages[owner]), None
        if self._method["beta"]:
            apart = self._reference_logs(inputs) - logs
            kl = torch.exp(apart) - apart - 1  # Schulman's k3: unbiased, never negative
            loss = loss + self._method["beta"] * kl
        return loss.mean(), kl

    def _reference_logs(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        policy = self.accelerator.unwrap_model(self.model)
        with torch.no_grad():
            if self._job.reference is not None:
                return -weighted_loss(self._job.reference.to(self.args.device), self._reference_head, inputs)[0]
            with policy.disable_adapter():
                return -weighted_loss(policy, self._head, inputs)[0]

    def _sampled(self, batch: Mapping[str, torch.Tensor], group: int) -> list[list[int]]:
        policy, greedy = self.accelerator.unwrap_model(self.model), not self.model.training
        how: dict[str, Any] = {"do_sample": False, "temperature": None}
        if not greedy:
            how = {"do_sample": True, "temperature": self._method["temperature"], "num_return_sequences": group}
        with _speaking(policy), torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(self._draw())
            out = policy.generate(
                input_ids=batch["input_ids"],
                attention_mask=batch["attention_mask"],
                max_new_tokens=self._method["max_completion_tokens"],
                top_k=None if greedy else 0,
                top_p=None if greedy else 1.0,
                pad_token_id=self._job.tokenizer.pad_token_id,
                eos_token_id=sorted(self._ends()) or None,
                **how,
            )
        return [self._up_to_end(row) for row in out[:, batch["input_ids"].shape[1] :].tolist()]

    def _draw(self) -> int:
        """A seed per batch and process that a resumed run draws again."""
        step, part = self._place
        self._place = (step, part + 1) if step == self.state.global_step else (self.state.global_step, 0)
        words = (self.args.seed, *self._place, self.args.process_index)
        return int(np.random.default_rng(words).integers(2**63 - 1))

    def _ends(self) -> set[int]:
        stop = self.accelerator.unwrap_model(self.model).generation_config.eos_token_id
        return {*(stop if isinstance(stop, list) else [stop]), self._job.tokenizer.eos_token_id} - {None}

    def _up_to_end(self, ids: list[int]) -> list[int]:
        end = next((i for i, token in enumerate(ids) if token in self._ends()), len(ids) - 1)
        return ids[: end + 1]

    def _graded(self, batch: Mapping[str, Any], answers: list[list[int]], prompts: Prompts) -> torch.Tensor:
        texts = self._job.tokenizer.batch_decode(answers, skip_special_tokens=True)
        group, rewards = len(answers) // len(batch["row"]), []
        for i, text in enumerate(texts):
            row = prompts.rows[int(batch["row"][i // group])]
            try:
                rewards.append(self._job.grade(graders.sample_of(text), row["item"]))
            except graders.GraderError as exc:
                raise self._job.ctx.Failed(
                    f"grader, on {place(row['source'])}: {exc}; the answer was {text[:200]!r}"
                ) from exc
        return torch.tensor(rewards, dtype=torch.float32, device=self.args.device)

    def _mind_the_spread(self, spread: torch.Tensor) -> None:
        """A grader that never tells answers apart teaches nothing, however long it runs."""
        if self._without_spread is None:
            return
        told_apart: Any = self.accelerator.reduce((spread > 0).sum().float(), "sum")
        self._without_spread = None if told_apart.item() > 0 else self._without_spread + 1
        if self._without_spread == _HOPELESS:
            raise self._job.ctx.Failed(
                f"in {_HOPELESS} batches the grader never told two answers to one prompt apart: there is nothing to "
                "learn from. Grade in finer steps, raise method.temperature or samples_per_prompt, or start from a "
                "model that sometimes gets it right"
            )


@contextmanager
def _speaking(policy: Any) -> Iterator[None]:
    training, cache = policy.training, policy.config.use_cache
    policy.eval()
    policy.config.use_cache = True
    try:
        yield
    finally:
        policy.config.use_cache = cache
        policy.train(training)


def trainer(job: Any, model: Any, arguments: dict[str, Any]) -> GrpoTrainer:
    """The trainer over the prepared prompts; the untrained model is graded first where there are validation prompts."""
    return GrpoTrainer(
        model=model,
        args=TrainingArguments(**arguments, eval_on_start=job.validation is not None),
        train_dataset=job.train,
        eval_dataset=job.validation,
        data_collator=PromptCollator(job.tokenizer.pad_token_id),
        job=job,
    )
