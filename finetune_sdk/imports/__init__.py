"""Job descriptions of other tools, turned into ours: every key is mapped, or there is a finding about it.

`read` takes a file. An importer is a row of `IMPORTERS`: a name, a look at a document, and a pure conversion.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from finetune_sdk import config
from finetune_sdk._document import is_mapping, parse
from finetune_sdk.errors import SpecError
from finetune_sdk.imports import autotrain, olive, olive_commands
from finetune_sdk.imports._found import Imported, Mapped

__all__ = ["IMPORTERS", "Imported", "Importer", "Mapped", "read"]


class Importer(NamedTuple):
    """One foreign tool. `recognises` must not raise; `convert` raises `SpecError` where nothing of ours can do it."""

    name: str
    recognises: Callable[[Mapping[str, Any]], bool]
    convert: Callable[[Mapping[str, Any], Path], Imported]


IMPORTERS: tuple[Importer, ...] = (
    Importer("autotrain", autotrain.recognises, autotrain.convert),
    Importer("olive", olive.recognises, olive.convert),
)
"""In the order in which they look at a document."""


def read(file: Path) -> Imported:
    """The job description in a file of another tool: YAML, JSON, or a shell file with its commands.

    Raises `SpecError`; sends and writes nothing.

    Variables such as `${HF_TOKEN}` are not expanded: what is secret must not end up in a spec.
    """
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SpecError(f"{file}: not UTF-8 text (byte {error.start}); save the file as UTF-8") from None
    except OSError as error:
        raise SpecError(f"cannot read {str(file)!r}: {error.strerror or error}") from error
    if olive_commands.recognises(text):
        made = olive_commands.convert(text, file)
        config.load(made.document)
        return made
    document = parse(text.replace("${", "$${"), name=str(file), environ={})
    if document.problems:
        problem = document.problems[0]
        raise SpecError(f"{problem.mark or document.mark(problem.path)}: {problem.text}")
    known = ", ".join(importer.name for importer in IMPORTERS)
    if not is_mapping(document.value):
        raise SpecError(f"{file}: a job description is a mapping of keys, not this. Importers: {known}.")
    for importer in IMPORTERS:
        if importer.recognises(document.value):
            found = importer.convert(document.value, file)
            config.load(found.document)
            return found
    keys = ", ".join(str(key) for key in list(document.value)[:8]) or "nothing"
    raise SpecError(f"{file}: no importer knows this document (its keys: {keys}). Importers: {known}.")
