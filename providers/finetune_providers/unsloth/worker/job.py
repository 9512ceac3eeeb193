# pyright: basic
"""The order of things: settle, encode, load, ask the base model, train, compare, ask the tuned one, save, sign."""

from __future__ import annotations

import errno
import time
from pathlib import Path
from typing import Any

import torch
from transformers import set_seed

from . import effective, encode, loading, saving, trainers, vendor
from .local import part

_arguments, _artifacts, _callbacks, _checkpoints, _choices, _early, _model, _predict, _receipt, _resolved = (
    part(name)
    for name in (
        "arguments", "artifacts", "callbacks", "checkpoints", "choices", "early", "model", "predict", "receipt",
        "resolved",
    )
)  # fmt: skip
_STATUS = {"pause": "paused", "cancel": "cancelled", "time": "cancelled"}


class Stopped(Exception):
    """The job was told to stop outside training, where there is nothing to save."""

    def __init__(self, wish: str) -> None:
        super().__init__(wish)
        self.wish = wish


class Ours:
    """The runner's context; shared code speaks of `options.peft`, and this job's user has written `options.unsloth`."""

    def __init__(self, ctx: Any) -> None:
        self._ctx = ctx

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ctx, name)

    def event(self, message: str, **more: Any) -> None:
        """As the runner's."""
        self._ctx.event(message.replace("options.peft", "options.unsloth"), **more)


class Job:
    """What the stages share."""

    Stopped = Stopped

    def __init__(self, ctx: Any) -> None:
        self.ctx = Ours(ctx)
        self.request: dict[str, Any] = ctx.request
        self.cache: Path = ctx.dir / "cache"
        self.packing: bool = ctx.request["training"]["packing"]
        self.metrics = trainers.METRICS[ctx.request["method"]["kind"]]
        self.items: dict[tuple[str, int], dict[str, Any]] = {}
        """What a grader knows about each prompt."""
        self.base_digest: dict[Any, float] = {}
        self.optimizer = ""
        self.processor: Any = None
        """What Unsloth loaded beside the model: a tokenizer, or what also takes pictures or sounds."""
        self.began = time.monotonic()

    def load(self) -> None:
        """Everything but the weights, so that bad data costs no loading."""
        self.source = _model.locate(self.ctx)
        self.tokenizer = loading.tokenizer(self)
        self.config = _model.config(self.ctx, self.source)
        self.choices = _choices.choose(self.ctx, self.config)
        self.max_length = self._max_length()
        set_seed(self.request["seed"])
        self.train, self.validation = self.columns()
        self.gradient_checkpointing = _choices.gradient_checkpointing(
            self.ctx, self.choices, self.config, longest=self.longest(), parameters=0
        )

    def columns(self) -> tuple[Any, Any]:
        """(train, validation) as the trainer reads them."""
        return encode.columns(self)

    def longest(self) -> int:
        """Tokens of the longest row, about."""
        return encode.longest(self.train)

    def base(self) -> Any:
        """The base model."""
        return loading.base(self)

    def adapted(self, base: Any) -> Any:
        """The model that is trained."""
        return loading.adapted(self, base)

    def inside(self, model: Any) -> Any:
        """The transformers model in what is trained: the one that has the adapter."""
        return model

    def make(self, tuned: Any, common: dict[str, Any]) -> Any:
        """The trainer."""
        return trainers.MAKERS[self.request["method"]["kind"]](self, tuned, common)

    def write(self, model: Any, folder: Path) -> list[str]:
        """Save what was trained under `folder`; the names of what there is now."""
        return saving.write(self, model, folder)

    def _max_length(self) -> int:
        wanted = self.request["training"]["max_seq_length"]
        context = getattr(self.config.get_text_config(), "max_position_embeddings", None)
        if context and context < wanted:
            self.ctx.event(f"max_seq_length: {context} instead of {wanted} (the model's context)")
            return int(context)
        return int(wanted)


def run(ctx: Any, kind: type[Job] = Job) -> dict[str, Any]:
    """The whole job; the result without `status` when it succeeded."""
    try:
        return _run(kind(ctx))
    except Stopped as stop:
        return {"status": _STATUS[stop.wish], "error": None}
    except ctx.Failed as exc:
        raise ctx.Failed(str(exc).replace("options.peft", "options.unsloth")) from exc
    except OSError as exc:
        if exc.errno != errno.ENOSPC:
            raise
        kept = _checkpoints.kept(ctx.dir / "checkpoints")
        raise ctx.Failed(f"the disk of {ctx.dir} is full; {kept}. Free some space, then resume the job.") from exc


def _run(job: Job) -> dict[str, Any]:
    job.load()
    base = job.base()
    job.base_digest = saving.digest(job.inside(base))
    asked = _ask_base(job, base)
    if job.ctx.stop:
        raise Stopped(job.ctx.stop)
    tuned = job.adapted(base)
    trainer, obedience = _trainer(job, tuned)
    changed = effective.compare(job, job.inside(tuned), trainer)
    metrics, seconds = _train(job, trainer)
    metrics["settings_changed"] = float(len(changed))
    usage = {"trained_tokens": int(trainer.tokens_seen), "train_s": seconds, "peak_memory_bytes": _peak_memory(job)}
    if obedience.reason:
        return _cut_short(job, trainer, obedience.reason, metrics)
    if not part("adapters").finite(tuned):
        raise job.ctx.Failed("the trained weights are not finite; lower hyperparameters.learning_rate")
    listed = _finish(job, trainer, asked, metrics, usage, changed=changed)
    main = next(item for kind in ("merged", "model", "adapter") for item in listed if item["kind"] == kind)
    return {"model": str(job.ctx.dir / main["path"]), "metrics": metrics, "usage": usage, "artifacts": listed}


def _ask_base(job: Job, base: Any) -> list[Any]:
    wanted = job.request["evaluation"]
    if wanted is None:
        return []
    asked: list[Any] = _predict.questions(job.ctx, job.tokenizer)
    if wanted["baseline"] and not _predict.restore(job.cache / _predict.FILE, asked):
        job.ctx.event(f"evaluating the base model on {len(asked)} held-out rows and prompts")
        with vendor.answering(job, base):
            _predict.answer(job.ctx, base, job.tokenizer, asked, "base")
        _predict.save(job.cache, asked)
    return asked


def _trainer(job: Job, tuned: Any) -> tuple[Any, Any]:
    ctx, training = job.ctx, job.request["training"]
    common = _arguments.common(ctx, job.choices, samples=len(job.train), validation=job.validation is not None)
    common |= {"gradient_checkpointing": job.gradient_checkpointing}
    job.optimizer = common["optim"]
    with vendor.tolerated():
        trainer = job.make(tuned, common)
    trainer.ctx = ctx
    trainer.keep_checkpoints = job.request["options"]["keep_checkpoints"]
    hours = job.request["max_hours"]
    obedience = _callbacks.Obedience(ctx, deadline=job.began + hours * 3600 if hours else None)
    trainer.add_callback(_callbacks.Reporter(ctx, lambda: trainer.tokens_seen, shown=job.metrics))
    trainer.add_callback(obedience)
    if training["early_stopping"]:
        trainer.add_callback(_early.stopping(ctx, training["early_stopping"]))
    return trainer, obedience


def _train(job: Job, trainer: Any) -> tuple[dict[str, float], float]:
    newest = _checkpoints.newest_whole(job.ctx, job.ctx.dir / "checkpoints")
    if newest is not None:
        job.ctx.event(f"resuming from {newest.name}")
    began = time.monotonic()
    with vendor.tolerated():
        out = trainer.train(resume_from_checkpoint=str(newest) if newest else None)
    seconds = time.monotonic() - began
    history = trainer.state.log_history
    metrics = {"train_loss": float(out.training_loss), **_last(history, "loss", "final_loss")}
    for name in ("eval_loss", *job.metrics, *(f"eval_{name}" for name in job.metrics)):
        metrics |= _last(history, name, name.replace("/", "_"))
    return metrics, seconds


def _last(history: list[dict[str, Any]], name: str, as_name: str) -> dict[str, float]:
    values = [float(entry[name]) for entry in history if name in entry]
    return {as_name: values[-1]} if values else {}


def _cut_short(job: Job, trainer: Any, reason: str, metrics: dict[str, float]) -> dict[str, Any]:
    error = None
    if reason == "time":
        error = f"stopped after budget.max_hours = {job.request['max_hours']}; its checkpoints stay, it can be resumed"
    job.ctx.event(f"stopped at step {trainer.state.global_step} ({reason})", step=trainer.state.global_step)
    return {"status": _STATUS[reason], "error": error, "metrics": metrics}


def _finish(
    job: Job, trainer: Any, asked: list[Any], metrics: dict[str, float], usage: dict[str, Any], *, changed: Any
) -> list[dict[str, Any]]:
    ctx = job.ctx
    tuned = trainer.accelerator.unwrap_model(trainer.model)
    if asked:
        ctx.event(f"evaluating the tuned model on {len(asked)} held-out rows and prompts")
        with vendor.answering(job, tuned):
            _predict.answer(ctx, tuned, job.tokenizer, asked, "tuned")
    settled = _resolved.settings(job, trainer) | {"packing": bool(getattr(trainer.args, "packing", False))}
    listed = saving.save(job, tuned, metrics=metrics, settled=settled)
    if asked:
        _predict.save(ctx.dir / "artifacts", asked)
        listed.append(_artifacts.describe(ctx, "predictions", source=job.source, path=f"artifacts/{_predict.FILE}"))
    settled["requested_but_changed"] = changed
    _receipt.write(
        ctx, source=job.source, metrics=metrics, usage=usage, settings=settled, evaluation=_resolved.evaluation(asked)
    )
    listed.append(_artifacts.describe(ctx, "receipt", source=job.source, path="artifacts/receipt.json"))
    return listed


def _peak_memory(job: Job) -> int:
    if job.choices.device == "cuda":
        return int(torch.cuda.max_memory_allocated())
    import resource  # noqa: PLC0415 - only here

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB
