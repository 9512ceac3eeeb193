# pyright: basic
"""The order of things: settle choices, load, encode, ask the base model, train, ask the tuned one, save, sign."""

from __future__ import annotations

import errno
import os
import resource
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from transformers import set_seed

from . import (
    adapters,
    arguments,
    artifacts,
    callbacks,
    checkpoints,
    choices,
    early,
    merging,
    model,
    predict,
    receipt,
    resolved,
)
from .context import Context
from .methods import METHODS


class Stopped(Exception):
    """The job was told to stop outside training, where there is nothing to save."""

    def __init__(self, wish: str) -> None:
        super().__init__(wish)
        self.wish = wish


class Job:
    """What the stages share; `method` says what the request's method does at each."""

    Stopped = Stopped

    def __init__(self, ctx: Context) -> None:
        self.ctx = ctx
        self.request: dict[str, Any] = ctx.request
        self.method = METHODS[ctx.request["method"]["kind"]]
        self.cache: Path = ctx.dir / "cache"
        self.packing: bool = ctx.request["training"]["packing"]
        self.train: Any = None
        self.validation: Any = None
        self.gradient_checkpointing = False
        self.began = time.monotonic()

    def load(self) -> None:
        """Base model's place, tokenizer, configuration and the choices that follow from them."""
        self.source = model.locate(self.ctx)
        self.barrier()
        self.tokenizer = model.tokenizer(self.ctx, self.source)
        self.config = model.config(self.ctx, self.source)
        self.choices = choices.choose(self.ctx, self.config)
        self.max_length = self._max_length()
        set_seed(self.request["seed"])

    def _max_length(self) -> int:
        wanted = self.request["training"]["max_seq_length"]
        context = getattr(self.config.get_text_config(), "max_position_embeddings", None)
        if context and context < wanted:
            self.ctx.event(f"max_seq_length: {context} instead of {wanted} (the model's context)")
            return context
        return wanted

    def barrier(self) -> None:
        """Wait for all processes."""
        if self.ctx.world_size > 1:
            torch.distributed.barrier()


def run(ctx: Context) -> dict[str, Any]:
    """The whole job; the result without `status` when it succeeded."""
    _join_processes(ctx)
    job = Job(ctx)
    try:
        return _run(job)
    except Stopped as stop:
        return {"status": _STATUS[stop.wish], "error": None}
    except OSError as exc:
        if exc.errno != errno.ENOSPC:
            raise
        kept = [folder.name for folder in checkpoints.listed(ctx.dir / "checkpoints")]
        text = f"the disk of {ctx.dir} is full; checkpoints kept: {', '.join(kept) or 'none'}"
        raise ctx.Failed(f"{text}. Free some space, then resume the job.") from exc


def _join_processes(ctx: Context) -> None:
    """Make sure that as many processes run as were asked for: some launchers start one and say nothing."""
    asked = ctx.request["compute"]["processes"]
    if ctx.world_size != asked:
        raise ctx.Failed(f"compute.processes is {asked}, but {ctx.world_size} process(es) run")
    if asked > 1 and not torch.distributed.is_initialized():
        gpu = torch.cuda.is_available() and ctx.request["compute"]["device"] != "cpu"
        if gpu:
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        # rank 0 evaluates alone while the others wait; one that dies takes the rest along by other means
        torch.distributed.init_process_group("nccl" if gpu else "gloo", timeout=timedelta(hours=24))


def _run(job: Job) -> dict[str, Any]:
    ctx = job.ctx
    job.load()
    job.method.prepare(job)
    base = job.method.load(job)
    asked = _ask_base(job, base)
    job.method.before_training(job, base)
    _stop_if_told(ctx)
    tuned = adapters.attach(ctx, base, task=job.method.task, source=job.source)
    merging.keep_initial(job, tuned)
    _checkpointing(job, tuned)
    trainer, obedience = _trainer(job, tuned)
    metrics, seconds = _train(job, trainer)
    if obedience.reason:
        return _cut_short(job, trainer, obedience.reason, metrics)
    if not adapters.finite(tuned):
        raise ctx.Failed("the trained weights are not finite; lower hyperparameters.learning_rate")
    return _finish(job, trainer, asked, metrics, seconds)


def _stop_if_told(ctx: Context) -> None:
    if ctx.stop:
        raise Stopped(ctx.stop)


def _ask_base(job: Job, base: Any) -> list[predict.Question]:
    wanted, ctx = job.request["evaluation"], job.ctx
    if wanted is None or ctx.rank != 0:
        return []
    asked = job.method.questions(job)
    saved = job.cache / predict.FILE
    if wanted["baseline"] and not predict.restore(saved, asked):
        ctx.event(f"evaluating the base model on {len(asked)} held-out rows and prompts")
        job.method.answer(job, base, asked, "base")
        predict.save(job.cache, asked)
    return asked


def _checkpointing(job: Job, tuned: Any) -> None:
    lengths = job.train.lengths
    trained = sum(p.numel() for p in tuned.parameters() if p.requires_grad)
    job.gradient_checkpointing = choices.gradient_checkpointing(
        job.ctx, job.choices, job.config, longest=int(lengths.max()), parameters=trained
    )
    if job.gradient_checkpointing:
        tuned.gradient_checkpointing_enable()
        tuned.enable_input_require_grads()


def _trainer(job: Job, tuned: Any) -> tuple[Any, callbacks.Obedience]:
    ctx, training = job.ctx, job.request["training"]
    common = arguments.common(ctx, job.choices, samples=len(job.train), validation=job.validation is not None)
    trainer = job.method.trainer(job, tuned, common)
    trainer.ctx = ctx
    trainer.keep_checkpoints = job.request["options"]["keep_checkpoints"]
    hours = job.request["max_hours"]
    obedience = callbacks.Obedience(ctx, deadline=job.began + hours * 3600 if hours else None)
    trainer.add_callback(callbacks.Reporter(ctx, lambda: _tokens(job, trainer), shown=job.method.metrics))
    trainer.add_callback(obedience)
    if training["early_stopping"]:
        trainer.add_callback(early.stopping(ctx, training["early_stopping"]))
    return trainer, obedience


def _train(job: Job, trainer: Any) -> tuple[dict[str, float], float]:
    newest = checkpoints.newest_whole(job.ctx, job.ctx.dir / "checkpoints")
    if newest is not None:
        job.ctx.event(f"resuming from {newest.name}")
    began = time.monotonic()
    out = trainer.train(resume_from_checkpoint=str(newest) if newest else None)
    seconds = time.monotonic() - began
    metrics = {"train_loss": out.training_loss, **_last(trainer.state.log_history, "loss", "final_loss")}
    for name in ("eval_loss", *job.method.metrics, *(f"eval_{name}" for name in job.method.metrics)):
        metrics |= _last(trainer.state.log_history, name, name)
    return metrics, seconds


def _tokens(job: Job, trainer: Any) -> int:
    """Tokens trained on so far; every process counts its own, and they get equal shares."""
    return int(trainer.tokens_seen) * job.ctx.world_size


def _last(history: list[dict[str, Any]], name: str, as_name: str) -> dict[str, float]:
    values = [float(entry[name]) for entry in history if name in entry]
    return {as_name: values[-1]} if values else {}


def _cut_short(job: Job, trainer: Any, reason: str, metrics: dict[str, float]) -> dict[str, Any]:
    error = None
    if reason == "time":
        error = f"stopped after budget.max_hours = {job.request['max_hours']}; its checkpoints stay, it can be resumed"
    job.ctx.event(f"stopped at step {trainer.state.global_step} ({reason})", step=trainer.state.global_step)
    return {"status": _STATUS[reason], "error": error, "metrics": metrics}


_STATUS = {"pause": "paused", "cancel": "cancelled", "time": "cancelled"}


def _finish(
    job: Job, trainer: Any, asked: list[predict.Question], metrics: dict[str, float], seconds: float
) -> dict[str, Any]:
    ctx = job.ctx
    usage = {
        "trained_tokens": _tokens(job, trainer),
        "train_s": seconds,
        "peak_memory_bytes": _peak_memory(job.choices.device),
    }
    if ctx.rank != 0:
        return {}
    tuned = trainer.accelerator.unwrap_model(trainer.model)
    if asked:
        ctx.event(f"evaluating the tuned model on {len(asked)} held-out rows and prompts")
        job.method.answer(job, tuned, asked, "tuned")
    settled = resolved.settings(job, trainer)
    listed = artifacts.save(job, tuned, metrics=metrics, settled=settled)
    if asked:
        predict.save(ctx.dir / "artifacts", asked)
        listed.append(artifacts.describe(ctx, "predictions", source=job.source, path=f"artifacts/{predict.FILE}"))
    evaluation = resolved.evaluation(asked)
    receipt.write(ctx, source=job.source, metrics=metrics, usage=usage, settings=settled, evaluation=evaluation)
    listed.append(artifacts.describe(ctx, "receipt", source=job.source, path="artifacts/receipt.json"))
    main = next(item for kind in ("merged", "model", "adapter") for item in listed if item["kind"] == kind)
    return {"model": str(ctx.dir / main["path"]), "metrics": metrics, "usage": usage, "artifacts": listed}


def _peak_memory(device: str) -> int:
    if device == "cuda":
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB
