# pyright: basic
"""Model and adapter through Unsloth's own door; what it does not say about them is looked up in `effective`."""

from __future__ import annotations

import difflib
import importlib
from typing import Any

from huggingface_hub.errors import HfHubHTTPError
from safetensors import SafetensorError

from . import vendor
from .local import part

LOADING = (
    OSError,
    ValueError,
    ImportError,
    KeyError,
    RuntimeError,
    SafetensorError,
    HfHubHTTPError,
)


def tokenizer(job: Any) -> Any:
    """The tokenizer with the chat template of the options: Jinja, a file of it, or one of Unsloth's names."""
    wanted, ctx = job.request["options"]["chat_template"], job.ctx
    if wanted is None or "{" in wanted or wanted.endswith((".jinja", ".jinja2", ".txt")) or "/" in wanted:
        return part("model").tokenizer(ctx, job.source)
    chat_templates = importlib.import_module("unsloth.chat_templates")
    names = sorted(chat_templates.CHAT_TEMPLATES)
    if wanted not in names:
        near = difflib.get_close_matches(wanted, names, n=3)
        raise ctx.Failed(
            f"options.unsloth.chat_template: Unsloth has no {wanted!r}; "
            f"{'near are: ' + ', '.join(near) if near else 'it has: ' + ', '.join(names)}"
        )
    job.request["options"]["chat_template"] = None  # else the name would be taken for a template
    loaded = chat_templates.get_chat_template(part("model").tokenizer(ctx, job.source), chat_template=wanted)
    ctx.event(f"chat template: {wanted}, as Unsloth has it")
    return loaded


def base(job: Any) -> Any:
    """The base model; what Unsloth refuses fails the job with its words."""
    return load(job, vendor.fast(job.request), arguments(job))


def load(job: Any, fast: Any, given: dict[str, Any]) -> Any:
    """What a class of Unsloth's loads from these arguments."""
    try:
        with vendor.tolerated():
            model, job.processor = fast.from_pretrained(job.source, **given)
    except LOADING as exc:
        reason = " ".join(str(exc).split())[:400]
        raise job.ctx.Failed(f"Unsloth cannot load {job.source!r}: {reason}") from exc
    return model


def arguments(job: Any) -> dict[str, Any]:
    """The request in the words of Unsloth's `from_pretrained`."""
    quantize = job.request["adapter"].get("quantize", "none")
    given = {
        **part("model").common(job.ctx),
        "max_seq_length": job.max_length,
        "dtype": job.choices.weights,
        "load_in_4bit": quantize == "4bit",
        "load_in_8bit": quantize == "8bit",
        "full_finetuning": job.request["adapter"]["kind"] == "full",
        "use_gradient_checkpointing": _checkpointing(job),
        "random_state": job.request["seed"],
    }
    if (attention := job.request["options"]["attn_implementation"]) != "auto":
        given["attn_implementation"] = attention
    return given


def _checkpointing(job: Any) -> Any:
    return ("unsloth" if vendor.on_gpu() else True) if job.gradient_checkpointing else False


def adapted(job: Any, model: Any, **more: Any) -> Any:
    """The model with its LoRA adapter (`more`: arguments for it); in full training every weight is trained."""
    adapter, ctx = job.request["adapter"], job.ctx
    full = adapter["kind"] == "full"
    tuned = model if full else with_lora(ctx, vendor.fast(job.request), model, {**lora(job), **more})
    count = sum(parameter.numel() for parameter in tuned.parameters() if parameter.requires_grad)
    total = sum(parameter.numel() for parameter in tuned.parameters())
    if count == 0:
        raise ctx.Failed("the adapter leaves no trainable parameters; check adapter.target_modules")
    ctx.event(f"training {count:,} of {total:,} parameters ({adapter['kind']})", trainable_parameters=float(count))
    return tuned


def with_lora(ctx: Any, fast: Any, model: Any, given: dict[str, Any]) -> Any:
    """What a class of Unsloth's puts on the model from these arguments."""
    try:
        return fast.get_peft_model(model, **given)
    except (ValueError, TypeError, NotImplementedError, RuntimeError) as exc:
        reason = " ".join(str(exc).split())[:400]
        targets = given["target_modules"]
        raise ctx.Failed(f"the adapter does not fit the model (target_modules: {targets}): {reason}") from exc


def lora(job: Any) -> dict[str, Any]:
    """The adapter in the words of Unsloth's `get_peft_model`."""
    adapter = job.request["adapter"]
    targets = adapter["target_modules"]
    return {
        "r": adapter["r"],
        "lora_alpha": _whole(adapter["alpha"]),
        "lora_dropout": adapter["dropout"],
        "target_modules": targets if isinstance(targets, str) else list(targets),
        "modules_to_save": list(adapter["modules_to_save"]) or None,
        "use_rslora": adapter["rslora"],
        "init_lora_weights": True if adapter["init"] == "default" else adapter["init"],
        "use_gradient_checkpointing": _checkpointing(job),
        "random_state": job.request["seed"],
        "max_seq_length": job.max_length,
        **({"use_dora": True} if adapter["dora"] else {}),
    }


def _whole(number: float) -> float:
    return int(number) if number == int(number) else number
