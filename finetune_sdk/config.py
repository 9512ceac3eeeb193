"""Job descriptions as files: YAML or JSON in, `JobSpec` out, with every mistake named by file, line and key.

`load` reads one, `dump` writes one, `schema` is the JSON Schema that editors use. Secrets have no place in a file:
they are refused, in plain sight or through a variable.
"""

from __future__ import annotations

import difflib
import glob
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel, JsonValue, ValidationError

from finetune_sdk._document import (
    MAX_BYTES,
    Document,
    KeyPath,
    Mark,
    Problem,
    from_mapping,
    is_list,
    is_mapping,
    parse,
    render,
    show_path,
)
from finetune_sdk._explain import explain
from finetune_sdk._words import did_you_mean
from finetune_sdk.errors import SpecError
from finetune_sdk.redact import redact, secret_shape
from finetune_sdk.spec import JobSpec

SCHEMA_ID = "https://json-schema.org/draft/2020-12/schema"
_DATA_ROLES = ("train", "validation", "test")
_SECRET_KEY = re.compile(r"(?:.*_)?(?:api_?key|password|passwd|secret|access_key|private_key)", re.IGNORECASE)


def load(
    source: str | os.PathLike[str] | Mapping[str, Any],
    *,
    provider: str | None = None,
    overrides: Iterable[str] = (),
    providers: Collection[str] | None = None,
) -> JobSpec:
    """The job description in a file (YAML, or JSON when it ends in .json), or in a mapping.

    `provider` replaces the file's provider. `overrides` are `key=value` texts such as `hyperparameters.epochs=3`, the
    value read as YAML. `providers`, when given, are the names that may stand under `provider`. Relative paths of data
    and grader files start at the file's folder (at the working directory in a mapping and in overrides) and come out
    absolute. `${NAME}` and `${NAME:-default}` are replaced from the environment. Raises one `SpecError` that holds
    every problem found (`.problems`).
    """
    document = read(source)
    folder = Path.cwd() if isinstance(source, Mapping) else Path(source).absolute().parent
    tree = _top(document)
    _resolve_paths(tree, folder)
    for text in overrides:
        _override(document, tree, text)
    if provider is not None:
        tree["provider"] = provider
        document.marks["provider",] = Mark(f"--provider {provider}")
    refuse_secrets(document, tree, ())
    _check_providers(document, tree, providers)
    return _validated(document, tree)


def dump(spec: JobSpec) -> str:
    """The spec as YAML without what equals its default; `load` gives back an equal spec."""
    return render(_plain(spec))


def schema() -> dict[str, JsonValue]:
    """The JSON Schema of a job description, with the short forms (`method: dpo`) that `load` takes."""
    made = JobSpec.model_json_schema()
    fields = made["properties"]
    for name in ("method", "adapter"):
        description = fields[name].pop("description", None)
        fields[name] = {"anyOf": [fields[name], {"enum": sorted(_kinds(fields[name]))}]}
        if description:
            fields[name]["description"] = description
    fields["provider"]["description"] = "Where the job runs, such as `peft`; `finetune providers ls` names them all."
    return {"$schema": SCHEMA_ID, **made, "title": "finetune-sdk job"}


# --- reading --------------------------------------------------------------------------------------------------------


def read(source: str | os.PathLike[str] | Mapping[str, Any]) -> Document:
    """A file or a mapping as plain values with their places. Raises `SpecError` when it cannot be read."""
    if isinstance(source, Mapping):
        return from_mapping(source, name="job description", environ=os.environ)
    path = Path(source)
    return parse(_text(path), name=str(source), environ=os.environ)


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise SpecError(f"no such file: {str(path)!r}{_nearby(path)}") from None
    except IsADirectoryError:
        raise SpecError(
            f"{str(path)!r} is a folder; name the YAML file in it{_nearby(path / 'finetune.yaml')}"
        ) from None
    except OSError as error:
        raise SpecError(f"cannot read {str(path)!r}: {error.strerror or error}") from error
    if len(raw) > MAX_BYTES or path.suffix in (".jsonl", ".parquet", ".csv", ".gz"):
        raise SpecError(f"{str(path)!r} looks like data, not like a job description; put its path under `data: train:`")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise SpecError(
            f"{path}:{line}: not UTF-8 text (byte {raw[error.start]:#04x}); save the file as UTF-8"
        ) from None


def _nearby(path: Path) -> str:
    try:
        names = sorted(item.name for item in path.parent.iterdir() if item.suffix in (".yaml", ".yml"))
    except OSError:
        return f"; the folder {str(path.parent)!r} cannot be read"
    if close := difflib.get_close_matches(path.name, names, 1, 0.75):
        return f"; did you mean {str(path.parent / close[0])!r}?"
    return f"; the folder has {', '.join(names[:5])}" if names else ""


def _top(document: Document) -> dict[str, Any]:
    """The document's mapping; anything else at the top is the end of reading."""
    value = document.value
    if is_mapping(value):
        return value
    if document.problems:
        raise refusal(document, document.problems)
    if value is None:
        raise SpecError(f"{document.name}: empty; a job description starts with `provider:`, `model:` and `data:`")
    raise SpecError(f"{document.mark(())}: a job description is a mapping of keys (`provider: ...`), not this")


# --- changing what was read -----------------------------------------------------------------------------------------


def _override(document: Document, tree: dict[str, Any], text: str) -> None:
    key, separator, value_text = text.partition("=")
    label = Mark(f"--set {redact(text)}")
    path = tuple(part.strip() for part in key.split("."))
    if not separator or not all(path):
        document.problems.append(Problem((), "is not `key=value`, such as hyperparameters.epochs=3", label))
        return
    parsed = parse(value_text, name=str(label), environ=os.environ)
    document.problems += [Problem(path, problem.text, label) for problem in parsed.problems]
    if parsed.problems:
        return
    here = tree
    for part in path[:-1]:
        inner: Any = here.get(part)
        if isinstance(inner, str) and part in ("method", "adapter"):
            inner = {"kind": inner}  # `adapter: lora` in the file, `adapter.r=8` on top
        here[part] = inner = dict(inner) if is_mapping(inner) else {}
        here = inner
    if parsed.value is None:  # `--set budget=null` goes back to the default
        here.pop(path[-1], None)
    else:
        here[path[-1]] = parsed.value
    document.marks = {known: mark for known, mark in document.marks.items() if known[: len(path)] != path}
    document.raw = {known: raw for known, raw in document.raw.items() if known[: len(path)] != path}
    document.marks[path] = label
    document.raw |= {(*path, *inner): raw for inner, raw in parsed.raw.items()}
    _resolve_paths(tree, Path.cwd())


def _resolve_paths(tree: dict[str, Any], folder: Path) -> None:
    """Relative paths made absolute, in place; whatever has the wrong shape is left for validation to refuse."""
    for holder, key, explicit in _path_places(tree):
        value = holder[key]
        if isinstance(value, str):
            holder[key] = absolute(value, folder, explicit=explicit)
        elif is_list(value):
            holder[key] = [absolute(v, folder, explicit=explicit) if isinstance(v, str) else v for v in value]


def _path_places(tree: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str, bool]]:
    """Where a spec holds paths: (mapping, key, whether only `./x`, `../x` and `~/x` are paths there)."""
    data, method, compute = (_mapping(tree.get(name)) for name in ("data", "method", "compute"))
    yield from ((data, role, False) for role in _DATA_ROLES if role in data)
    grader = _mapping(method.get("grader"))
    for one in (grader, *map(_mapping, _mapping(grader.get("graders")).values())):
        if "file" in one:
            yield one, "file", False
    if "environment" in compute:
        yield compute, "environment", True
    if isinstance(tree.get("model"), str):
        yield tree, "model", True
    yield from ((_mapping(tree.get("model")), name, True) for name in _mapping(tree.get("model")))


def _mapping(value: Any) -> dict[str, Any]:
    return value if is_mapping(value) else {}


def absolute(text: str, folder: Path, *, explicit: bool = False) -> str:
    """A path made absolute from `folder`; with `explicit` only what starts like a path is one."""
    if not text or "://" in text or (explicit and not text.startswith(("./", "../", "~/"))):
        return text
    path = Path(text).expanduser()
    if path.is_absolute():
        return str(path)
    if glob.has_magic(text) and not (folder / path).exists():
        return os.path.normpath(Path(glob.escape(str(folder))) / path)
    return os.path.normpath(folder / path)


# --- checking -------------------------------------------------------------------------------------------------------


def refuse_secrets(document: Document, value: Any, path: KeyPath) -> None:
    """Add a problem for each value that is, or is named like, a secret."""
    if is_mapping(value):
        for key, item in value.items():
            if isinstance(item, str) and item and _SECRET_KEY.fullmatch(str(key)):
                _secret(document, (*path, key))
            else:
                refuse_secrets(document, item, (*path, key))
    elif is_list(value):
        for index, item in enumerate(value):
            refuse_secrets(document, item, (*path, index))
    elif isinstance(value, str) and secret_shape(value):
        _secret(document, path)


def _secret(document: Document, path: KeyPath) -> None:
    text = "this is a secret; remove it (and replace it at the vendor if the file was shared): providers read theirs "
    document.problems.append(Problem(path, text + "from the environment"))


def _check_providers(document: Document, tree: dict[str, Any], known: Collection[str] | None) -> None:
    """The provider's name, and the keys of the maps by provider: there a typing error would be ignored silently."""
    if known is None:
        return
    chosen = tree.get("provider")
    if isinstance(chosen, str) and chosen not in known:
        text = f"unknown provider {chosen!r}{did_you_mean(chosen, known)} Installed: {', '.join(sorted(known))}"
        document.problems.append(Problem(("provider",), text))
    for name in ("model", "options"):
        for key in _mapping(tree.get(name)):
            if key not in known and key != chosen and (meant := did_you_mean(str(key), known)):
                document.problems.append(Problem((name, key), f"unknown provider {key!r}{meant}"))


def _validated(document: Document, tree: dict[str, Any]) -> JobSpec:
    problems = list(document.problems)
    spec = None
    try:
        spec = JobSpec.model_validate(tree)
    except ValidationError as error:
        told = {problem.path for problem in problems if problem.path}
        problems += [problem for problem in explain(error, tree, document.raw) if problem.path not in told]
    if problems or spec is None:
        raise refusal(document, problems)
    return spec


def refusal(document: Document, problems: list[Problem]) -> SpecError:
    """One error that tells every problem with its place, in the order of the text."""
    placed = [(problem.mark or document.mark(problem.path), problem) for problem in problems]
    placed.sort(key=lambda pair: (pair[0].line == 0, pair[0].line, pair[0].column))
    lines = [redact(_line(mark, problem)) for mark, problem in placed]
    head = f"{len(lines)} problems in {document.name}; nothing was sent\n" if len(lines) > 1 else ""
    error = SpecError(head + "\n".join(f"  {line}" if head else line for line in lines))
    error.problems = tuple(lines)
    return error


def _line(mark: Mark, problem: Problem) -> str:
    return ": ".join(part for part in (str(mark), show_path(problem.path), problem.text) if part)


# --- writing --------------------------------------------------------------------------------------------------------


def _plain(value: Any) -> Any:
    """A spec as plain values; fields that equal their default are left out, the kind of a part never."""
    if isinstance(value, BaseModel):
        return {name: _whole(_plain(getattr(value, name))) for name in _said(value)}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in cast(Mapping[str, Any], value).items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in cast(Sequence[Any], value)]
    return value


def _whole(value: Any) -> Any:
    """3.0 epochs as the 3 that was written; the field makes it 3.0 again."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 else value


def _said(part: BaseModel) -> Iterator[str]:
    for name, field in type(part).model_fields.items():
        default = field.get_default(call_default_factory=True)
        if name in ("kind", "method") or field.is_required() or getattr(part, name) != default:
            yield name


def _kinds(field: dict[str, Any]) -> Iterator[str]:
    """The kinds of a union in a JSON Schema, whether or not it may also be null."""
    for option in (field, *field.get("anyOf", ())):
        yield from option.get("discriminator", {}).get("mapping", ())
