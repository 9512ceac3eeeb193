# pyright: basic
# ruff: noqa: ARG002 - signatures are transformers'
"""What the trainer tells the job while it runs, and what the job tells it: pause, cancel, time is up."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch
from transformers import TrainerCallback

from .context import Context

_LOGGED = ("loss", "learning_rate", "grad_norm", "epoch", "eval_loss")


class Reporter(TrainerCallback):
    """Log lines as events with speed and time left."""

    def __init__(self, ctx: Context, count_tokens: Any, *, shown: Sequence[str] = ()) -> None:
        self._ctx = ctx
        self._count_tokens = count_tokens
        self._logged = {*_LOGGED, *shown, *(f"eval_{name}" for name in shown)}
        self._since = time.monotonic()
        self._step = 0
        self._tokens = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the clock; a resumed run starts at its checkpoint's step."""
        self._since, self._step, self._tokens = time.monotonic(), state.global_step, self._count_tokens()
        self._ctx.event(
            f"training: {state.max_steps} steps", step=state.global_step, total_steps=float(state.max_steps)
        )

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """One event per log line; `eval_loss` lines say so."""
        told: dict[str, Any] = {name: float(value) for name, value in (logs or {}).items() if name in self._logged}
        if "eval_loss" in told:
            self._ctx.event(f"validation loss {told['eval_loss']:.4f}", step=state.global_step, **told)
        elif "loss" in told:
            speed = self._speed(state)
            self._ctx.event(f"step {state.global_step} of {state.max_steps}", step=state.global_step, **told, **speed)

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Validation time is not training time."""
        self._since, self._step, self._tokens = time.monotonic(), state.global_step, self._count_tokens()

    def _speed(self, state: Any) -> dict[str, Any]:
        now, tokens = time.monotonic(), self._count_tokens()
        seconds, steps = now - self._since, state.global_step - self._step
        read = tokens - self._tokens
        self._since, self._step, self._tokens = now, state.global_step, tokens
        if seconds <= 0 or steps <= 0:
            return {"total_steps": float(state.max_steps)}
        left = (state.max_steps - state.global_step) * seconds / steps
        return {"tokens_per_s": read / seconds, "eta_s": left, "total_steps": float(state.max_steps)}


class Obedience(TrainerCallback):
    """Stops after the current step, with a checkpoint, when the job is told to pause or cancel or its time is up."""

    def __init__(self, ctx: Context, *, deadline: float | None) -> None:
        self._ctx = ctx
        self._deadline = deadline
        self.reason: str | None = None
        """"pause", "cancel" or "time" once the run was cut short."""

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """All processes must stop at the same step: they agree on the strongest wish."""
        wish = self._agreed(args)
        if wish:
            self.reason = wish
            control.should_save = True
            control.should_training_stop = True
        return control

    def _agreed(self, args: Any) -> str | None:
        late = self._deadline is not None and time.monotonic() > self._deadline
        wish = self._ctx.stop or ("time" if late else None)
        if args.world_size == 1:
            return wish
        level = torch.tensor([_WISHES.index(wish)], device=args.device)
        torch.distributed.all_reduce(level, op=torch.distributed.ReduceOp.MAX)
        return _WISHES[int(level.item())]


_WISHES = [None, "time", "pause", "cancel"]
