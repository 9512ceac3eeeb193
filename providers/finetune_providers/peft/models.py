"""What can be known about a base model without loading it: is it there, has it a tokenizer and a chat template."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import cast

from finetune_sdk.errors import SpecError

TINY = "builtin/tiny"
_HUB_ID = re.compile(r"[\w.-]+(?:/[\w.-]+)?")
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "tekken.json")
_TEMPLATES = ("chat_template.jinja", "chat_template.json")


def resolve(name: str) -> str:
    """The model as the worker gets it: `builtin/tiny`, an absolute folder, or a hub id. Raises `SpecError`."""
    if name.startswith("builtin/"):
        if name != TINY:
            raise SpecError(f"model: there is no {name!r}; the built-in model is {TINY!r}")
        return name
    folder = Path(name).expanduser()
    if folder.is_dir():
        _check(folder.absolute())
        return str(folder.absolute())
    if name.startswith(("/", ".", "~")) or not _HUB_ID.fullmatch(name):
        raise SpecError(
            f"model: there is no folder {name!r}; give a folder, a hub id such as Qwen/Qwen3-0.6B, or {TINY}"
        )
    return name


def _check(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        if (folder / "adapter_config.json").is_file():
            raise SpecError(f"model: {folder} holds an adapter, not a model; name its merged model or its base model")
        raise SpecError(f"model: {folder} has no config.json, so it is no model; save one with `save_pretrained`")
    if not any((folder / name).is_file() for name in _TOKENIZERS):
        raise SpecError(
            f"model: {folder} has no tokenizer (none of {', '.join(_TOKENIZERS)}); "
            "save it there: AutoTokenizer.from_pretrained(...).save_pretrained(folder)"
        )
    if not any(folder.glob("*.safetensors")):
        raise SpecError(
            f"model: {folder} has no weights in safetensors format; other formats can hold code and are refused"
        )


def lacks_chat_template(model: str) -> bool:
    """True for a local folder whose tokenizer has no chat template; a hub model is looked at by the worker."""
    folder = Path(model)
    if model == TINY or not folder.is_dir():
        return False
    if any((folder / name).is_file() for name in _TEMPLATES) or (folder / "additional_chat_templates").is_dir():
        return False
    try:
        config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return True
    return not (isinstance(config, dict) and cast("dict[str, object]", config).get("chat_template"))
