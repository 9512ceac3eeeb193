# pyright: basic
"""QLoRA: the frozen weights in 4 or 8 bits through bitsandbytes, which has kernels for CUDA and for x86-64 CPUs."""

from __future__ import annotations

import importlib.util
import logging
from typing import Any

import torch
from peft import prepare_model_for_kbit_training
from transformers import BitsAndBytesConfig


def wanted(job: Any) -> str:
    """ "none", "4bit" or "8bit"."""
    return job.request["adapter"].get("quantize", "none")


def loading(job: Any) -> dict[str, Any]:
    """What `from_pretrained` gets for quantised weights; nothing where none are wanted."""
    bits = wanted(job)
    if bits == "none":
        return {}
    if importlib.util.find_spec("bitsandbytes") is None:
        raise job.ctx.Failed(
            f"adapter.quantize: {bits} needs bitsandbytes, which this interpreter lacks: pip install bitsandbytes"
        )
    return {"quantization_config": _config(job, bits), "device_map": {"": _device(job)}}


def _config(job: Any, bits: str) -> BitsAndBytesConfig:
    if bits == "8bit":
        # its kernels compute in 16 bits and say so at every product
        logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=job.choices.weights,
    )


def _device(job: Any) -> Any:
    return torch.cuda.current_device() if job.choices.device == "cuda" else "cpu"


def prepare(model: Any) -> Any:
    """A quantised model ready for adapters: frozen, norms in fp32. Any other model is left alone."""
    if not getattr(model, "is_quantized", False):
        return model
    return prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
