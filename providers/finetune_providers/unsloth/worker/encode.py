# pyright: basic
"""Canonical rows -> the token columns that TRL's trainers read, so that no trainer renders or truncates on its own.

Rendering, the question which tokens the model wrote, and truncation are the shared encoder's. TRL knows no weights
between tokens: a message counts or it does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import datasets

from .local import part

IGNORED = -100


def columns(job: Any) -> tuple[datasets.Dataset, datasets.Dataset | None]:
    """(train, validation) as token columns; fails the job when nothing can be learned."""
    ctx, findings = job.ctx, part("findings").Findings()
    make = _MAKERS[job.request["method"]["kind"]]
    made = {
        role: datasets.Dataset.from_list(list(make(job, role, findings)))
        for role in ("train", "validation")
        if (ctx.dir / "data" / f"{role}.jsonl").exists()
    }
    findings.report(ctx)
    for role, rows in made.items():
        if len(rows) == 0:
            raise ctx.Failed(f"no {role} row carries loss; see the warnings before")
    train = made["train"]
    tokens, learned = _counted(train)
    told = f", {tokens:,} tokens, {learned:,} of them carry loss" if tokens else ""
    ctx.event(f"data: {len(train)} rows{told}", samples=float(len(train)), tokens=float(tokens))
    return train, made.get("validation")


def longest(rows: datasets.Dataset) -> int:
    """Tokens of the longest row."""
    names = [name for name in rows.column_names if name.endswith("ids")]
    return max((sum(map(len, together)) for together in zip(*(rows[name] for name in names), strict=True)), default=1)


def _counted(rows: datasets.Dataset) -> tuple[int, int]:
    if "labels" not in rows.column_names:
        answers = [name for name in ("chosen_ids", "rejected_ids", "completion_ids") if name in rows.column_names]
        learned = sum(len(ids) for name in answers for ids in rows[name])
        prompts = rows["prompt_ids"] if "prompt_ids" in rows.column_names else ()
        return learned + len(answers) * sum(map(len, prompts)), learned
    labels = [label for row in rows["labels"] for label in row]
    return len(labels), sum(label != IGNORED for label in labels)


def _rows(job: Any, role: str) -> Iterator[Mapping[str, Any]]:
    for number, row in enumerate(part("rows").read(job.ctx.dir / "data" / f"{role}.jsonl")):
        if number % 1000 == 0 and job.ctx.stop:
            raise job.Stopped(job.ctx.stop)
        yield row


def _plain(job: Any, role: str, findings: Any) -> Iterator[dict[str, Any]]:
    method = job.request["method"]
    train_on = "all" if method["kind"] == "pretraining" else method["train_on"]
    encoder = part("rows").Encoder(job.tokenizer, train_on=train_on, max_length=job.max_length, findings=findings)
    for row in _rows(job, role):
        for sample in encoder.encode(row):
            if any(weight not in (0.0, 1.0) for weight in sample.weights):
                message = "message weights other than 0 and 1: Unsloth's loss counts a token or it does not"
                findings.add("row-weights", "error", message, fix="Use 0 or 1.", source=row.get("source"))
                break
            labels = [token if weight else IGNORED for token, weight in zip(sample.ids, sample.weights, strict=True)]
            yield {"input_ids": list(sample.ids), "labels": labels}


def _answer(answers: Any, row: Mapping[str, Any], messages: Any) -> tuple[list[int], list[int]] | None:
    """(tokens of the prompt, tokens of the answer)."""
    sample = answers.encode(row, messages)
    if sample is None:
        return None
    start = next(i for i, weight in enumerate(sample.weights) if weight)
    return list(sample.ids[:start]), list(sample.ids[start:])


def _pairs(job: Any, role: str, findings: Any) -> Iterator[dict[str, Any]]:
    answers = part("completions").Answers(job, findings)
    for row in _rows(job, role):
        chosen, rejected = (_answer(answers, row, row[side]) for side in ("chosen", "rejected"))
        if chosen is None or rejected is None:
            continue
        if chosen == rejected:
            message = "chosen and rejected are the same after rendering and truncation"
            fix = "It is left out; make them differ inside max_seq_length."
            findings.add("row-equal-answers", "warning", message, fix=fix, source=row.get("source"))
            continue
        shared = min(len(chosen[0]), len(rejected[0]))  # tokens may merge across the border in one of them
        first, second = (
            {"prompt": [*both[0], *both[1]][:shared], "answer": [*both[0], *both[1]][shared:]}
            for both in (chosen, rejected)
        )
        yield {"prompt_ids": first["prompt"], "chosen_ids": first["answer"], "rejected_ids": second["answer"]}


def _judged(job: Any, role: str, findings: Any) -> Iterator[dict[str, Any]]:
    answers, rows, kinds = part("completions").Answers(job, findings), [], set[bool]()
    for row in _rows(job, role):
        both = _answer(answers, row, row["completion"])
        if both is not None:
            kinds.add(bool(row["label"]))
            rows.append({"prompt_ids": both[0], "completion_ids": both[1], "label": bool(row["label"])})
    if role == "train" and len(kinds) == 1:
        raise job.ctx.Failed(f"all {len(rows)} answers are {'good' if kinds.pop() else 'bad'}; kto needs both kinds")
    size = job.request["training"]["batch_size"]
    for start in range(0, len(rows), size):  # each prompt with the answer of its neighbour in the batch, as TRL has it
        batch = rows[start : start + size]
        for i, row in enumerate(batch):
            yield {**row, "KL_completion_ids": batch[i - 1]["completion_ids"]}


def _prompts(job: Any, role: str, findings: Any) -> Iterator[dict[str, Any]]:
    template = part("template").ChatTemplate(job.tokenizer) if job.tokenizer.chat_template else None
    room = job.max_length - job.request["method"]["max_completion_tokens"]
    for number, row in enumerate(_rows(job, role)):
        if template is None:
            text = part("template").text_of(row["prompt"][-1].get("content"))
        else:
            text = template.render(row["prompt"], prompt=True, **part("rows").template_extra(row))
        count = len(job.tokenizer(text, add_special_tokens=False)["input_ids"])
        if count > room:
            message = f"{count} tokens, {room} fit beside max_completion_tokens"
            fix = "It is left out; shorten it or raise max_seq_length."
            findings.add("prompt-too-long", "warning", message, fix=fix, source=row.get("source"))
            continue
        job.items[role, number] = row.get("extra") or {}
        yield {"prompt": text, "row": number, "role": role}


_MAKERS = {
    "sft": _plain,
    "pretraining": _plain,
    "dpo": _pairs,
    "orpo": _pairs,
    "kto": _judged,
    "rft": _prompts,
}
