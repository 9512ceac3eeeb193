"""What can be known about a base model without loading it: is it there, has it a tokenizer and a chat template."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import cast

from finetune_providers.peft.worker import wholeness
from finetune_sdk.data.tools.tokens import ROUGH, Counter, counter
from finetune_sdk.errors import SpecError

TINY = "builtin/tiny"
TINY_CONTEXT = 2048
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
    if (damaged := wholeness.fault(folder)) is not None:
        raise SpecError(f"model: {damaged}")


def context(model: str) -> int | None:
    """Tokens the model can read at once, None where that is not known here."""
    if model == TINY:
        return TINY_CONTEXT
    config = _object(Path(model) / "config.json")
    text = config.get("text_config")
    found = (cast("dict[str, object]", text) if isinstance(text, dict) else config).get("max_position_embeddings")
    return found if isinstance(found, int) and found > 0 else None


def vocabulary(model: str) -> tuple[Counter, tuple[str, ...]]:
    """The most exact counter of tokens at hand without torch, and a note where it is only an estimate."""
    file = Path(model) / "tokenizer.json"
    if model == TINY or not file.is_file():
        return ROUGH, ()
    try:
        return counter(str(file)), ()
    except Exception as exc:  # noqa: BLE001 - the library raises nothing more particular; the worker's may be newer
        return ROUGH, (f"lengths are estimated at {ROUGH.name}: {file} cannot be used here ({exc})",)


def _object(file: Path) -> dict[str, object]:
    """The JSON object in a file, empty where there is none."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return cast("dict[str, object]", found) if isinstance(found, dict) else {}


def lacks_chat_template(model: str) -> bool:
    """True for a local folder whose tokenizer has no chat template; a hub model is looked at by the worker."""
    folder = Path(model)
    if model == TINY or not folder.is_dir():
        return False
    if any((folder / name).is_file() for name in _TEMPLATES) or (folder / "additional_chat_templates").is_dir():
        return False
    return not _object(folder / "tokenizer_config.json").get("chat_template")
