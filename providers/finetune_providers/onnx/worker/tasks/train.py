# pyright: basic
"""Fine-tuning by the peft provider's worker, unchanged: same request, same checkpoints, same artifacts."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from . import common


class TrainingContext:
    """The runner's context as the peft worker knows it, spoken through the child's pipe."""

    rank = 0
    world_size = 1

    def __init__(self, child: Any, orders: dict[str, Any]) -> None:
        self.dir = child.dir
        self.request: dict[str, Any] = orders["request"]
        self.job_id: str = orders["job_id"]
        self.attempt: int = orders["attempt"]
        self.Failed = child.Failed
        self.event = child.event
        self._child = child

    @property
    def stop(self) -> str | None:
        """As the markers in the job's folder say."""
        return self._child.stop

    def leaving_when_told(self) -> AbstractContextManager[None]:
        """Only what every import has here: the child is asked, and killed if it does not answer."""
        return self._child.loading()


def run(child: Any, orders: dict[str, Any]) -> dict[str, Any]:
    """The training worker's own result."""
    worker = common.peft_worker(orders["worker"], "")
    ctx = TrainingContext(child, orders)
    if orders["custom"] is not None:
        _use_loss(child, orders)
    return {"status": "succeeded", **worker.main(ctx)}


def _use_loss(child: Any, orders: dict[str, Any]) -> None:
    """Put the user's `loss(logits, labels)` in the place of the cross entropy, while training only."""
    common.peft_worker(orders["worker"], "quiet").settle_environment(TrainingContext(child, orders))
    chosen = getattr(common.user_module(child, orders["custom"]), "loss", None)
    if chosen is None:
        return
    import torch  # noqa: PLC0415 - only now, after its environment variables are set

    module = common.peft_worker(orders["worker"], "loss")
    usual = module.token_losses

    def token_losses(logits: Any, labels: Any) -> Any:
        if not torch.is_grad_enabled():  # validation and perplexity stay comparable
            return usual(logits, labels)
        found = chosen(logits, labels)
        if tuple(found.shape) != tuple(labels.shape):
            shapes = f"{tuple(labels.shape)}, not {tuple(found.shape)}"
            raise child.Failed(f"{orders['custom']}: loss(logits, labels) must answer one loss per label: {shapes}")
        return found

    module.token_losses = token_losses
    child.event(f"training with the loss in {orders['custom']}; validation losses stay the cross entropy")
