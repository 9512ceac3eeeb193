# pyright: basic
"""Our hands on AutoTrain's trainers: all are transformers' `Trainer` below, so two of its methods are wrapped once.

AutoTrain has no parameter for the seed (it reads `seed` for seq2seq only), for a number of steps, or for stopping.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from transformers import Trainer, TrainerCallback

from .context import Context

_KNOWN = {
    "loss": "loss",
    "learning_rate": "learning_rate",
    "grad_norm": "grad_norm",
    "epoch": "epoch",
    "eval_loss": "eval_loss",
}
_SPEED = ("_runtime", "_per_second")


class Hooks:
    """What happens around the one training of this process; `trainer` is set once AutoTrain has made it."""

    def __init__(self, ctx: Context) -> None:
        self.ctx = ctx
        self.trainer: Any = None
        self.stopped: str | None = None
        self.train_s = 0.0
        self.metrics: dict[str, float] = {}
        self.before: Callable[[Any], None] = lambda _trainer: None
        self.after: Callable[[Any], None] = lambda _trainer: None
        """Called with the trainer around training; after it also when it was stopped."""

    def install(self) -> None:
        """Wrap. The process trains once and ends."""
        kind: Any = Trainer
        make, train, hooks = kind.__init__, kind.train, self

        def made(trainer: Any, *args: Any, **kwargs: Any) -> None:
            hooks.settle(kwargs.get("args") or args[1])
            make(trainer, *args, **kwargs)
            trainer.add_callback(Reporter(hooks))
            hooks.trainer = trainer

        def trained(trainer: Any, *args: Any, **kwargs: Any) -> Any:
            hooks.before(trainer)
            began = time.monotonic()
            out = train(trainer, *args, **kwargs)
            hooks.train_s = time.monotonic() - began
            hooks.metrics |= {"train_loss": float(out.training_loss)}
            if not math.isfinite(out.training_loss):
                raise hooks.ctx.Failed("the loss is not finite; lower hyperparameters.learning_rate")
            hooks.after(trainer)
            return out

        kind.__init__, kind.train = made, trained

    def settle(self, args: Any) -> None:
        """What the request asks for and AutoTrain has no parameter for."""
        training = self.ctx.request["training"]
        args.seed = self.ctx.request["seed"]
        args.data_seed = self.ctx.request["seed"]
        args.dataloader_pin_memory = False
        if training["max_steps"] is not None:
            args.max_steps = training["max_steps"]


class Reporter(TrainerCallback):
    """Steps and losses become events; a wish to stop reaches the trainer."""

    def __init__(self, hooks: Hooks) -> None:
        self._hooks = hooks
        self._began = time.monotonic()

    def on_train_begin(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
        self._began = time.monotonic()
        self._hooks.ctx.event(f"training for {state.max_steps} steps", step=0, total_steps=state.max_steps)

    def on_step_end(self, _args: Any, state: Any, control: Any, **_: Any) -> None:
        wish = self._hooks.ctx.stop or self._out_of_time()
        if wish:
            self._hooks.stopped = wish
            self._hooks.ctx.event(f"stopping at step {state.global_step} ({wish})", step=state.global_step)
            control.should_training_stop = True

    def _out_of_time(self) -> str | None:
        hours = self._hooks.ctx.request["max_hours"]
        return "time" if hours and time.monotonic() - self._began > hours * 3600 else None

    def on_log(self, _args: Any, state: Any, _control: Any, logs: Any = None, **_: Any) -> None:
        found = {ours: float(logs[theirs]) for theirs, ours in _KNOWN.items() if _is_number(logs.get(theirs))}
        found |= {
            name: float(value)
            for name, value in logs.items()
            if name.startswith("eval_") and not name.endswith(_SPEED) and _is_number(value)
        }
        if not {"loss", "eval_loss"} & found.keys():
            return
        self._hooks.metrics |= {
            {"loss": "final_loss"}.get(name, name): value
            for name, value in found.items()
            if name in ("loss", "eval_loss") or name.startswith("eval_")
        }
        left = state.max_steps - state.global_step
        spent = time.monotonic() - self._began
        if state.global_step and "loss" in found:
            found["eta_s"] = spent / state.global_step * left
        numbers: dict[str, Any] = {**found, "total_steps": state.max_steps}
        self._hooks.ctx.event("step", step=state.global_step, **numbers)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
