# pyright: basic, reportMissingImports=false
"""Models as onnxruntime-genai's builder reads them, where transformers 5 describes them differently than it expects.

Each of these was seen to end in an error, or in a graph that answers differently than PyTorch (builder 0.18.0,
transformers 5.23, small models of random weights, 2026-11-21). What cannot be put right is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

WHOLE_CACHE = {"windowed_kv_cache": "false"}
"""Layers with a sliding window get a cache of full length, too: with one of the window's length onnxruntime refuses
every request whose `max_length` is shorter than the window, which is 4096 tokens in Gemma 2."""
_ALL_WINDOWED = ("MistralForCausalLM", "Phi3ForCausalLM")
"""Their configurations have no `layer_types`: a `sliding_window` is every layer's. The builder leaves it out."""
_YARN = "make_inv_freq_rescaled_with_ntk"
"""The builder's method for YaRN. transformers rounds where the stretching begins and ends, it does not."""


@contextmanager
def adapted() -> Iterator[None]:
    """While it lasts, the builder sees configurations that it understands."""
    from onnxruntime_genai.models import builder  # noqa: PLC0415 - seconds

    usual = {name: getattr(builder, name) for name in ("AutoConfig", "Gemma3Model", "SmolLM3Model")}
    whole = next(kind for kind in builder.LlamaModel.__mro__ if _YARN in vars(kind))
    yarn = getattr(whole, _YARN)
    found: dict[str, Any] = {}

    def load(*given: Any, **named: Any) -> Any:
        return _settled(usual["AutoConfig"].from_pretrained(*given, **named), found)

    builder.AutoConfig = SimpleNamespace(from_pretrained=load)
    builder.Gemma3Model = _two_rotations(usual["Gemma3Model"])
    builder.SmolLM3Model = _unrotated_layers(usual["SmolLM3Model"])
    setattr(whole, _YARN, lambda *_given: found["yarn"])
    try:
        yield
    finally:
        setattr(whole, _YARN, yarn)
        for name, value in usual.items():
            setattr(builder, name, value)


def _settled(config: Any, found: dict[str, Any]) -> Any:
    """The configuration, changed; `found` gets the frequencies of a rotation that the builder reckons otherwise."""
    architecture = (config.architectures or [""])[0]
    text = config.get_text_config()
    rope = dict(getattr(text, "rope_parameters", None) or {})
    if architecture.startswith("Gemma3") and "full_attention" in rope:
        config.rope_local_base_freq = rope["sliding_attention"]["rope_theta"]
        text.rope_parameters = config.rope_parameters = dict(rope["full_attention"])
    elif rope.get("rope_type") == "longrope":
        config.rope_parameters = {"type": "longrope", **rope}
    elif rope.get("rope_type") == "yarn":
        found["yarn"], _ = ROPE_INIT_FUNCTIONS["yarn"](text, "cpu")
    if architecture in _ALL_WINDOWED and text.sliding_window is not None:
        config.layer_types = ["sliding_attention"] * text.num_hidden_layers
    if architecture == "GraniteMoeHybridForCausalLM" and config.position_embedding_type != "rope":
        raise NotImplementedError("it rotates the positions of a Granite hybrid model that has none.")
    return config


def _two_rotations(usual: Any) -> Any:
    """Layers with a window rotate by another base, and are not stretched where the others are."""

    class Gemma3(usual):
        def make_rotary_embedding_caches_from_scratch(self) -> Any:
            if self.rope_attrs["theta"] == self.rope_local_theta:
                self.rope_attrs["rescale_factors"] = 1
            return super().make_rotary_embedding_caches_from_scratch()

    return Gemma3


def _unrotated_layers(usual: Any) -> Any:
    """Layers without positions are not rotated, neither in attention nor before it."""

    class SmolLM3(usual):
        def make_attention(self, layer_id: int, attention: Any, root_input: Any, **named: Any) -> None:
            rotates = self.attention_attrs["rope"]
            self.attention_attrs["rope"] = rotates and bool(self.no_rope_layers[layer_id])
            try:
                super().make_attention(layer_id, attention, root_input, **named)
            finally:
                self.attention_attrs["rope"] = rotates

    return SmolLM3
