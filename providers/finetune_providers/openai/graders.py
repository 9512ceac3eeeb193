"""Graders as the vendor takes them, and which fields of a row they ask for."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from finetune_sdk.errors import SpecError
from finetune_sdk.graders import Grader, MultiGrader, PythonGrader, ScoreModel

_ITEM = re.compile(r"\{\{\s*item\.([A-Za-z_]\w*)")

GraderJson = dict[str, Any]


def grader_json(grader: Grader, *, source_bytes_max: int, provider: str) -> GraderJson:
    """The grader as JSON for the wire; a python grader's file is read here. Raises `SpecError`."""
    if isinstance(grader, MultiGrader):
        parts = {
            name: {**grader_json(one, source_bytes_max=source_bytes_max, provider=provider), "name": name}
            for name, one in grader.graders.items()
        }
        # a map by name: every guide shows it so, although the published schema says one grader
        return {
            "type": "multi",
            "name": grader.name,
            "graders": parts,
            "calculate_output": grader.calculate_output,
        }
    if isinstance(grader, PythonGrader):
        source = _source(grader, source_bytes_max, provider)
        return {"type": "python", "name": grader.name, "source": source}
    fields: GraderJson = grader.model_dump(mode="json")
    if isinstance(grader, ScoreModel) and not grader.sampling_params:
        del fields["sampling_params"]
    return fields


def _source(grader: PythonGrader, bytes_max: int, provider: str) -> str:
    try:
        source = grader.source if grader.file is None else Path(grader.file).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise SpecError(f"[{provider}] method.grader.file: {grader.file!r} cannot be read: {exc}") from exc
    assert source is not None, "a python grader has a source or a file"
    if len(source.encode()) > bytes_max:
        raise SpecError(
            f"[{provider}] method.grader: the source has {len(source.encode())} bytes, at most {bytes_max} are taken"
        )
    if not re.search(r"^def grade\(", source, re.MULTILINE):
        raise SpecError(f"[{provider}] method.grader: the source defines no `def grade(sample, item)`")
    return source


def item_fields(grader: Mapping[str, Any]) -> frozenset[str]:
    """The row keys the grader's templates ask for. What a python grader reads is not looked into."""
    return frozenset(_ITEM.findall(json.dumps(grader)))
