# pyright: basic
"""Loading for serving: a base or whole model, adapters over it, their tokenizers. Errors become one sentence."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from ..rows import Failed
from . import spared
from .tongue import HFTongue

_ADAPTER = "adapter_config.json"


@dataclass(eq=False, kw_only=True)
class Variant:
    """One served name: the base itself or an adapter over it."""

    adapter: str | None
    """peft's name of the adapter; None = the base."""
    prefix: Any = None
    """Embeddings of the virtual tokens of prompt tuning."""


class Loaded:
    """The model in memory, and which adapter is switched on."""

    def __init__(self, model: Any, peft: Any, variants: dict[str, Variant], tongues: dict[str, HFTongue]) -> None:
        self.model = model
        self.config = model.config.get_text_config()
        self.variants = variants
        self.tongues: dict[str, Any] = dict(tongues)
        self._peft = peft
        self._active: Variant | None = None

    def activate(self, variant: Variant) -> None:
        """Switch its adapter on and all others off."""
        if self._peft is None or variant is self._active or variant.prefix is not None:
            return
        tuner = self._peft.base_model
        if variant.adapter is None:
            tuner.disable_adapter_layers()
        else:
            tuner.enable_adapter_layers()
            self._peft.set_adapter(variant.adapter, inference_mode=True)
        self._active = variant


def load_models(message: dict[str, Any]) -> Loaded:
    """`models` maps each served name to a folder (or hub name) of a whole model, or of an adapter. Raises `Failed`."""
    logging.disable_progress_bar()
    torch.set_num_threads(message.get("threads") or max(1, len(os.sched_getaffinity(0)) // 2))
    places: dict[str, str] = message["models"]
    adapters = {name: place for name, place in places.items() if (Path(place) / _ADAPTER).is_file()}
    base = _base(places, adapters, message)
    model = _weights(base, message)
    peft, variants = _attached(model, adapters)
    variants |= {name: Variant(adapter=None) for name in places if name not in adapters}
    tongues = {name: _tongue(place, base, model, variants[name], message) for name, place in places.items()}
    return Loaded(model, peft, variants, tongues)


def _base(places: dict[str, str], adapters: dict[str, str], message: dict[str, Any]) -> str:
    """The one model below everything that is served."""
    bases = {place for name, place in places.items() if name not in adapters}
    for place in adapters.values():
        bases.add(json.loads((Path(place) / _ADAPTER).read_text())["base_model_name_or_path"])
    if message.get("base"):
        return message["base"]
    if len(bases) != 1:
        raise Failed(f"one server holds one base model, these have several: {', '.join(sorted(bases))}")
    return bases.pop()


def _weights(source: str, message: dict[str, Any]) -> Any:
    device = message.get("device") or ("cuda" if torch.cuda.is_available() else "cpu")
    with _translated(source):
        config = AutoConfig.from_pretrained(source, **_common(message))
        model = AutoModelForCausalLM.from_pretrained(
            source, dtype=_precision(source, config, device, message), use_safetensors=True, **_common(message)
        )
    placed: Any = model
    return placed.to(device).eval()


def _common(message: dict[str, Any]) -> dict[str, Any]:
    return {"trust_remote_code": message.get("trust_remote_code", False)}


def _precision(source: str, config: Any, device: str, message: dict[str, Any]) -> Any:
    """As saved on a GPU; on a CPU float32 where it fits in half of the free memory: exact, and mostly faster."""
    asked = message.get("precision", "auto")
    if asked != "auto":
        return getattr(torch, asked)
    saved = getattr(config, "dtype", None) or torch.float32
    if device != "cpu" or not Path(source).is_dir():
        return saved
    size = sum(file.stat().st_size for file in Path(source).glob("*.safetensors"))
    wide = size * 4 / torch.empty(0, dtype=saved).element_size()
    return torch.float32 if saved is torch.float16 or wide < free_memory() / 2 else saved


def free_memory(device: Any = None) -> int:
    """Bytes, of the machine or of its GPU."""
    if device is not None and device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))


def _attached(model: Any, adapters: dict[str, str]) -> tuple[Any, dict[str, Variant]]:
    if not adapters:
        return None, {}
    library = _library(model)
    peft: Any = None
    variants: dict[str, Variant] = {}
    kinds = {library.PeftConfig.from_pretrained(place).is_prompt_learning for place in adapters.values()}
    if len(kinds) > 1:
        raise Failed("prompt tuning and other adapters cannot share a server; deploy them one by one")
    for number, (name, place) in enumerate(adapters.items()):
        label = f"a{number}"
        with _translated(place):
            if peft is None:
                where = str(model.device)
                peft = library.PeftModel.from_pretrained(model, place, adapter_name=label, torch_device=where)
            else:
                peft.load_adapter(place, label, torch_device=str(model.device))
        variants[name] = Variant(adapter=label, prefix=_prefix(peft, label, prompts=True in kinds))
    peft.eval()
    return peft, variants


def _library(model: Any) -> Any:
    """peft, which a server without adapters does not load; bitsandbytes with it only for a model that is quantised."""
    quantised = getattr(model, "hf_quantizer", None) is not None
    with spared.without(*spared.UNUSED, *(() if quantised else ("bitsandbytes",))):
        import peft  # noqa: PLC0415
        from peft.import_utils import is_bnb_4bit_available, is_bnb_available  # noqa: PLC0415

        is_bnb_available()  # asked again where adapters are attached; the first answer is kept
        is_bnb_4bit_available()
    return peft


def _prefix(peft: Any, label: str, *, prompts: bool) -> Any:
    if not prompts:
        return None
    peft.set_adapter(label)
    with torch.inference_mode():
        return peft.get_prompt(batch_size=1)[0]


def _tongue(place: str, base: str, model: Any, variant: Variant, message: dict[str, Any]) -> HFTongue:
    own = (Path(place) / "tokenizer_config.json").is_file() or not (Path(place) / _ADAPTER).is_file()
    source = place if own else base
    with _translated(source):
        tokenizer = AutoTokenizer.from_pretrained(source, **_common(message))
    config = model.config.get_text_config()
    virtual = 0 if variant.prefix is None else len(variant.prefix)
    context = getattr(config, "max_position_embeddings", None) or 4096
    stop = model.generation_config.eos_token_id
    ends = {*(stop if isinstance(stop, list) else [stop]), tokenizer.eos_token_id} - {None}
    size = model.get_output_embeddings().weight.shape[0]
    return HFTongue(tokenizer, ends=frozenset(ends), context=context - virtual, vocabulary=size)


@contextmanager
def _translated(source: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, ImportError, KeyError, SafetensorError, RuntimeError) as exc:
        reason = " ".join(str(exc).split())[:500]
        raise Failed(f"cannot load {source!r}: {reason}") from exc
