# pyright: basic
"""What every "auto" came to where the job ran: for the receipt and the model card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def settings(job: Any, trainer: Any) -> dict[str, Any]:
    """The request's training section with nothing left open, and where it ran."""
    args = trainer.args
    found = {
        **job.request["training"],
        "max_steps": trainer.state.max_steps,
        "max_seq_length": job.max_length,
        "optimizer": str(getattr(args.optim, "value", args.optim)),
        "eval_steps": args.eval_steps if job.validation is not None else None,
        "save_steps": args.save_steps,
        "log_steps": args.logging_steps,
        "gradient_checkpointing": job.gradient_checkpointing,
        "precision": job.choices.precision,
        "weights_held_in": str(job.choices.weights).removeprefix("torch."),
        "device": job.choices.device,
        "threads": job.choices.threads,
        "processes": job.ctx.world_size,
    }
    return {name: value for name, value in sorted(found.items()) if value is not None}


def evaluation(asked: Sequence[Any]) -> dict[str, Any] | None:
    """How often base and tuned model answered a held-out row as expected; None when nothing was asked.

    Texts are compared after trimming spaces at both ends; a model that was not asked counts None.
    """
    if not asked:
        return None
    rows = [question for question in asked if question.expected is not None and question.text is not None]
    return {
        "rows": len(rows),
        "prompts": len(asked) - sum(question.expected is not None for question in asked),
        "exact_match": {name: _exact(rows, name) for name in ("base", "tuned")},
        "nll": {name: _sum(asked, name) for name in ("base", "tuned")},
    }


def _exact(rows: Sequence[Any], name: str) -> int | None:
    answered: list[Mapping[str, Any]] = [question.answers for question in rows]
    if not any(answers.get(name) is not None for answers in answered):
        return None
    return sum((question.answers.get(name) or "").strip() == question.expected.strip() for question in rows)


def _sum(asked: Sequence[Any], name: str) -> float | None:
    known = [value for question in asked if (value := question.nll.get(name)) is not None]
    return sum(known) if known else None
