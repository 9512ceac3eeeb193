# pyright: basic
"""Models saved by transformers 5, read by AutoTrain's 4.48: several things moved, two of them would go wrong silently.

A tokenizer class has another name and its extra tokens another type (errors), the chat template has a file of its own
(AutoTrain would put its default in its place), and the base of the rotary positions has moved (10,000 would be taken).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import PretrainedConfig
from transformers.models.auto import tokenization_auto
from transformers.tokenization_utils_base import PreTrainedTokenizerBase
from transformers.utils.hub import cached_file

_NAMES = {"TokenizersBackend": "PreTrainedTokenizerFast", "TokenizersBackendFast": "PreTrainedTokenizerFast"}
_TEMPLATE = "chat_template.jinja"


def understand() -> None:
    """Wrap the loaders, once per process."""
    named = tokenization_auto.tokenizer_class_from_name
    tokenization_auto.tokenizer_class_from_name = lambda name: named(_NAMES.get(name, name))
    base: Any = PreTrainedTokenizerBase
    configs: Any = PretrainedConfig
    load, parts = base.from_pretrained.__func__, configs.get_config_dict.__func__

    def tokenizer(cls: Any, name: Any, *args: Any, **kwargs: Any) -> Any:
        found = load(cls, name, *args, **kwargs)
        if found.chat_template is None and (file := _template(name, kwargs)) is not None:
            found.chat_template = Path(file).read_text(encoding="utf-8")
        return found

    def config(cls: Any, name: Any, **kwargs: Any) -> Any:
        found, rest = parts(cls, name, **kwargs)
        return _with_rotary_base(found), rest

    special = base._set_model_specific_special_tokens

    def specials(self: Any, special_tokens: Any) -> None:
        if isinstance(special_tokens, list):  # a list since 5; its tokens stand in tokenizer.json as well
            self.extra_special_tokens = special_tokens = {}
        special(self, special_tokens=special_tokens)

    base._set_model_specific_special_tokens = specials
    base.from_pretrained = classmethod(tokenizer)
    configs.get_config_dict = classmethod(config)  # type: ignore[arg-type]


def _template(name: Any, kwargs: dict[str, Any]) -> str | None:
    return cached_file(
        name,
        _TEMPLATE,
        token=kwargs.get("token"),
        revision=kwargs.get("revision"),
        _raise_exceptions_for_gated_repo=False,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )


def _with_rotary_base(found: dict[str, Any]) -> dict[str, Any]:
    given = found.get("rope_parameters")
    if not isinstance(given, dict) or "rope_theta" not in given:
        return found
    made = {**found, "rope_theta": given["rope_theta"]}
    rest = {key: value for key, value in given.items() if key != "rope_theta"}
    if rest.get("rope_type", "default") != "default":
        made["rope_scaling"] = rest
    return made
