"""Are the files of a model folder whole? Read without loading them, by the provider and the worker; standard library.

A safetensors file is 8 bytes of header length, the header as JSON, and the tensors up to the largest offset it names.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

INDEX = "model.safetensors.index.json"
_SINGLE = "model.safetensors"
_JSON = ("config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json", INDEX)
_LONGEST_HEADER = 100_000_000  # the library's own limit
_POINTER = b"version https://git-lfs"
_AGAIN = "copy or download the model again"


def fault(folder: Path) -> str | None:
    """The first damaged file, what is wrong with it and what to do; None when all are whole."""
    for file, what, remedy in _faults(folder):
        return f"{file} is damaged: {what}; {remedy}"
    return None


def _faults(folder: Path) -> Iterator[tuple[Path, str, str]]:
    for name in _JSON:
        file = folder / name
        if file.exists() and (what := _why_no_object(file)) is not None:
            yield file, *what
    for file in _weights(folder):
        what = _why_no_tensors(file)
        if what is not None:
            yield file, *what


def _weights(folder: Path) -> list[Path]:
    """The files that loading would read."""
    if (folder / _SINGLE).exists():
        return [folder / _SINGLE]
    if (folder / INDEX).is_file():
        index: Any = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        return [folder / str(name) for name in sorted(set(index.get("weight_map", {}).values()))]
    return sorted(folder.glob("*.safetensors"))


def _why_no_object(file: Path) -> tuple[str, str] | None:
    try:
        found: Any = json.loads(file.read_bytes())
    except OSError as exc:
        return f"it cannot be read ({exc.strerror})", _AGAIN
    except ValueError as exc:
        return f"it is no JSON ({exc})", _AGAIN
    return None if isinstance(found, dict) else ("it holds no JSON object", _AGAIN)


def _why_no_tensors(file: Path) -> tuple[str, str] | None:
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            head = stream.read(8)
            if head + stream.read(len(_POINTER) - 8) == _POINTER:
                return "it is a Git LFS pointer, not the weights", "run `git lfs pull` in its repository"
            stream.seek(8)
            length = int.from_bytes(head, "little")
            header = stream.read(length) if length <= min(size, _LONGEST_HEADER) else b""
    except FileNotFoundError:
        return f"it is missing, but {INDEX} names it", _AGAIN
    except OSError as exc:
        return f"it cannot be read ({exc.strerror})", _AGAIN
    try:
        tensors: dict[str, Any] = json.loads(header)
        end = max((int(tensors[name]["data_offsets"][1]) for name in tensors if name != "__metadata__"), default=0)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        return f"its safetensors header is not whole ({size:,} bytes in all)", _AGAIN
    whole = 8 + length + end
    return None if size >= whole else (f"it is cut off, {size:,} of {whole:,} bytes are there", _AGAIN)
