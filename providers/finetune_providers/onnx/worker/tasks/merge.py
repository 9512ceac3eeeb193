# pyright: basic
"""An adapter into its base model, exactly: in fp32, checked for broken weights and against the unmerged model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModel, get_peft_model_state_dict
from safetensors import safe_open

from . import loading

_MARGIN = 1e-3
"""How far a logit may move, relative to the largest: rounding of sums in fp32 stays a hundred times below."""
_UNMERGEABLE = ("PROMPT_TUNING", "PREFIX_TUNING", "P_TUNING", "MULTITASK_PROMPT_TUNING", "CPT", "ADAPTION_PROMPT")


def run(child: Any, orders: dict[str, Any]) -> dict[str, Any]:
    """Writes the merged model to `out`; answers what was merged."""
    adapter, base, out = orders["adapter"], orders["base"], Path(orders["out"])
    config = PeftConfig.from_pretrained(adapter)
    kind = str(getattr(config.peft_type, "value", config.peft_type))
    if kind in _UNMERGEABLE:
        raise child.Failed(f"the adapter in {adapter} is a {kind}: it changes no weight and cannot be merged")
    model = loading.model(child, base, orders)
    tuned = attach(child, model, adapter, base)
    ids = _probe(model.config)
    with torch.inference_mode():
        before = tuned(input_ids=ids).logits
    try:
        merged = tuned.merge_and_unload(safe_merge=True)
    except (ValueError, NotImplementedError) as exc:
        raise child.Failed(_refusal(adapter, " ".join(str(exc).split())[:300])) from exc
    with torch.inference_mode():
        moved = (merged(input_ids=ids).logits - before).abs().max().item()
    allowed = _MARGIN * max(1.0, before.abs().max().item())
    if not moved <= allowed:
        raise child.Failed(_refusal(adapter, f"its answers move by {moved:.2g} where rounding moves {allowed:.2g}"))
    merged.save_pretrained(out)
    loading.tokenizer(child, orders, adapter, base).save_pretrained(out)
    return {"peft_type": kind, "moved": moved}


def _refusal(adapter: str, reason: str) -> str:
    return (
        f"the adapter in {adapter} cannot be merged exactly: {reason}. "
        "Train one that can (lora without a bias of its own, dora, ia3), or keep it apart: options.onnx.merge: false"
    )


def attach(child: Any, model: Any, adapter: str, base: str) -> Any:
    """The adapter on its base. Fails when its tensors do not fit one another, one for one."""
    try:
        tuned = PeftModel.from_pretrained(model, adapter)
    except (RuntimeError, ValueError) as exc:
        reason = " ".join(str(exc).split())[:300]
        raise child.Failed(_stranger(adapter, base, reason)) from exc
    has = {_plain(name) for name in get_peft_model_state_dict(tuned, save_embedding_layers=False)}
    brings = {_plain(name) for name in _tensors(Path(adapter))}
    if has != brings:
        raise child.Failed(
            _stranger(
                adapter,
                base,
                f"{len(brings - has)} of its tensors have no place there, {len(has - brings)} are missing",
            )
        )
    return tuned.eval()


def _stranger(adapter: str, base: str, reason: str) -> str:
    return f"the adapter in {adapter} was made for another base model than {base!r}: {reason}. Name its own as `model`."


def _plain(name: str) -> str:
    return name.removeprefix("base_model.model.").removeprefix("model.")


def _tensors(folder: Path) -> set[str]:
    with safe_open(folder / "adapter_model.safetensors", framework="pt") as file:
        return set(file.keys())


def _probe(config: Any) -> Any:
    """A text of chance, the same every time."""
    size = config.get_text_config().vocab_size
    return torch.randint(0, size, (1, 24), generator=torch.Generator().manual_seed(0))
