# pyright: basic
"""The table of methods: which module learns what, and where it departs from plain language modelling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from peft import TaskType

from . import classify, grpo, kto, model, predict, preference, quantize, reward, sft


def _language_model(job: Any, *, quantized: bool = True) -> Any:
    more = quantize.loading(job) if quantized else {}
    return model.weights(job.ctx, job.source, job.choices, **more)


def _nothing(_job: Any, _base: Any) -> None:
    """Most methods need nothing of the untouched base model."""


def _questions(job: Any) -> list[predict.Question]:
    return predict.questions(job.ctx, job.tokenizer)


def _answer(job: Any, asked_model: Any, asked: Sequence[predict.Question], name: str) -> None:
    predict.answer(job.ctx, asked_model, job.tokenizer, asked, name)


@dataclass(frozen=True)
class Method:
    """What `job` calls, in this order."""

    prepare: Callable[[Any], None]
    """Sets `job.train` and `job.validation`; raises `ctx.Failed` when nothing can be learned."""
    trainer: Callable[[Any, Any, dict[str, Any]], Any]
    load: Callable[..., Any] = _language_model
    """The base model; `quantized=False` loads it in full precision whatever the adapter says."""
    questions: Callable[[Any], list[predict.Question]] = _questions
    answer: Callable[[Any, Any, Sequence[predict.Question], str], None] = _answer
    """Fills in the answers of the model called "base" or "tuned"."""
    before_training: Callable[[Any, Any], None] = _nothing
    """Sees the base model while it is still untouched."""
    task: str = TaskType.CAUSAL_LM
    metrics: tuple[str, ...] = ()
    """Numbers of its own in the log; the last of each, and of its `eval_` twin, reach the result."""


METHODS = {
    "sft": Method(prepare=sft.prepare, trainer=sft.trainer),
    "pretraining": Method(prepare=sft.prepare, trainer=sft.trainer),
    **{
        kind: Method(
            prepare=preference.prepare,
            trainer=preference.trainer,
            before_training=preference.before_training,
            metrics=preference.METRICS,
        )
        for kind in ("dpo", "orpo")
    },
    "kto": Method(prepare=kto.prepare, trainer=kto.trainer, before_training=kto.before_training, metrics=kto.METRICS),
    "reward": Method(
        prepare=reward.prepare,
        trainer=reward.trainer,
        load=reward.load,
        questions=reward.questions,
        task=TaskType.SEQ_CLS,
        metrics=reward.METRICS,
    ),
    "classification": Method(
        prepare=classify.prepare,
        trainer=classify.trainer,
        load=classify.load,
        questions=classify.questions,
        answer=classify.answer,
        task=TaskType.SEQ_CLS,
        metrics=classify.METRICS,
    ),
    "rft": Method(
        prepare=grpo.prepare, trainer=grpo.trainer, before_training=grpo.before_training, metrics=grpo.METRICS
    ),
}
"""By the `kind` of the job description."""
