# pyright: basic
"""The losses of preference learning, as pure functions of log-probabilities or scores; the formulas are TRL's.

Every function takes one number per sequence in fp32 and answers one loss per pair (or per sequence). Sources: TRL 1.16,
`dpo_trainer.py`, `kto_trainer.py`, `reward_trainer.py`, `experimental/orpo`; agreement with TRL is tested.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn.functional import logsigmoid


@dataclass(frozen=True)
class Ratios:
    """log(policy / reference) of the chosen and the rejected answers, and how many tokens each answer has."""

    chosen: torch.Tensor
    rejected: torch.Tensor
    chosen_tokens: torch.Tensor
    rejected_tokens: torch.Tensor


def dpo(name: str, ratios: Ratios, *, beta: float, smoothing: float) -> torch.Tensor:
    """Loss per pair of the DPO variant `name`."""
    return _DPO[name](ratios, beta, smoothing)


def _sigmoid(ratios: Ratios, beta: float, smoothing: float) -> torch.Tensor:
    """The DPO paper's loss; with smoothing its conservative form (cDPO)."""
    margin = beta * (ratios.chosen - ratios.rejected)
    return -(1 - smoothing) * logsigmoid(margin) - smoothing * logsigmoid(-margin)


def _robust(ratios: Ratios, beta: float, smoothing: float) -> torch.Tensor:
    margin = beta * (ratios.chosen - ratios.rejected)
    return (-(1 - smoothing) * logsigmoid(margin) + smoothing * logsigmoid(-margin)) / (1 - 2 * smoothing)


def _hinge(ratios: Ratios, beta: float, _smoothing: float) -> torch.Tensor:
    return torch.relu(1 - beta * (ratios.chosen - ratios.rejected))


def _ipo(ratios: Ratios, beta: float, _smoothing: float) -> torch.Tensor:
    """Per token, as the authors confirmed to TRL."""
    margin = ratios.chosen / ratios.chosen_tokens - ratios.rejected / ratios.rejected_tokens
    return (margin - 1 / (2 * beta)) ** 2


def _apo_zero(ratios: Ratios, beta: float, _smoothing: float) -> torch.Tensor:
    return 1 - torch.sigmoid(beta * ratios.chosen) + torch.sigmoid(beta * ratios.rejected)


def _apo_down(ratios: Ratios, beta: float, _smoothing: float) -> torch.Tensor:
    return torch.sigmoid(beta * ratios.chosen) + 1 - torch.sigmoid(beta * (ratios.chosen - ratios.rejected))


_DPO = {
    "sigmoid": _sigmoid,
    "hinge": _hinge,
    "ipo": _ipo,
    "robust": _robust,
    "apo_zero": _apo_zero,
    "apo_down": _apo_down,
}


def odds_ratio(chosen: torch.Tensor, rejected: torch.Tensor) -> torch.Tensor:
    """ORPO's second term per pair, from mean log-probabilities per token."""
    chosen, rejected = chosen.clamp(max=-1e-6), rejected.clamp(max=-1e-6)  # an answer that is certain has no odds
    log_odds = (chosen - rejected) - (_log1mexp(chosen) - _log1mexp(rejected))
    return -logsigmoid(log_odds)


def _log1mexp(value: torch.Tensor) -> torch.Tensor:
    """log(1 - exp(value)) for value < 0, exact on both ends (Maechler 2012)."""
    near = value > -0.6931471805599453
    return torch.where(near, torch.log(-torch.expm1(value)), torch.log1p(-torch.exp(value)))


def kto(ratio: torch.Tensor, desirable: torch.Tensor, kl: torch.Tensor, *, beta: float) -> torch.Tensor:
    """KTO's loss per answer, before the weights of good and bad answers. `kl` is one number, without gradient."""
    gain = beta * (ratio - kl)
    return 1 - torch.sigmoid(torch.where(desirable, gain, -gain))


def preferred(chosen: torch.Tensor, rejected: torch.Tensor, margin: torch.Tensor, *, centre: float) -> torch.Tensor:
    """The reward model's loss per pair; `centre` pulls the mean score towards zero."""
    return -logsigmoid(chosen - rejected - margin) + centre * (chosen + rejected) ** 2
