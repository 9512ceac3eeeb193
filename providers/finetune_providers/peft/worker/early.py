# pyright: basic
"""Early stopping on the validation loss, said aloud."""

from __future__ import annotations

from typing import Any

from transformers import EarlyStoppingCallback

from .context import Context


def stopping(ctx: Context, wanted: dict[str, Any]) -> EarlyStoppingCallback:
    """Stops when the validation loss has not fallen for `patience` evaluations; the best weights are loaded."""

    class Announced(EarlyStoppingCallback):
        def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any, **kwargs: Any) -> None:
            super().on_evaluate(args, state, control, metrics, **kwargs)
            if control.should_training_stop:
                best = state.best_metric if state.best_metric is not None else float("nan")
                ctx.event(
                    f"early stop: no better validation loss than {best:.4f} for {wanted['patience']} evaluations",
                    step=state.global_step,
                )

    return Announced(early_stopping_patience=wanted["patience"], early_stopping_threshold=wanted["min_delta"])
