"""A job description as text: parsed into plain values, each with the place it was written at.

Plain scalars follow YAML 1.2's core schema, not PyYAML's YAML 1.1: `no` is text (a field of true/false still takes it),
`1e-4` is a number, `1:30` and `2024-01-01` are text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeGuard

import yaml

from finetune_sdk.redact import secret_name

KeyPath = tuple[str | int, ...]

MAX_BYTES = 1_000_000  # a spec is a page of text; anything larger is a data file given by mistake
_MAX_VALUES = 50_000  # aliases can blow up a short text
_TAG = "tag:yaml.org,2002:"
_INFINITE = {".inf": "inf", "+.inf": "inf", "-.inf": "-inf", ".nan": "nan"}
_VARIABLE = re.compile(r"\$\$\{|\$\{([^}]*)(\}?)")
_VARIABLE_BODY = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Mark:
    """Where something was written: `file:line:column`, or an option of the command line (line 0)."""

    label: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.label}:{self.line}:{self.column}" if self.line else self.label


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a document; `path` leads to it."""

    path: KeyPath
    text: str
    mark: Mark | None = None
    """None = look the path up in the document."""


@dataclass(slots=True)
class Document:
    """Plain values (`value`) and where each was written. `problems` are those that only the text shows."""

    name: str
    value: Any = None
    marks: dict[KeyPath, Mark] = field(default_factory=dict[KeyPath, Mark])
    raw: dict[KeyPath, str] = field(default_factory=dict[KeyPath, str])
    """The text of plain scalars, as written: `1.10` is the number 1.1, and a person may have meant the text."""
    problems: list[Problem] = field(default_factory=list[Problem])

    def mark(self, path: KeyPath) -> Mark:
        """The place of a path, or of the nearest thing around it."""
        for end in range(len(path), -1, -1):
            if (found := self.marks.get(path[:end])) is not None:
                return found
        return Mark(self.name)


def show_path(path: KeyPath) -> str:
    """`("data", "train", 0)` as `data.train[0]`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def is_mapping(value: object) -> TypeGuard[dict[str, Any]]:
    """True for a mapping as parsing makes them."""
    return isinstance(value, dict)


def is_list(value: object) -> TypeGuard[list[Any]]:
    """True for a list as parsing makes them."""
    return isinstance(value, list)


class _Loader(yaml.SafeLoader):
    """YAML 1.2's core schema."""


class _Dumper(yaml.SafeDumper):
    """Quotes whatever YAML 1.1 *or* 1.2 would read as something else than text."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002  # PyYAML's signature
        return True


_CORE_SCHEMA = (
    ("bool", r"(?:true|True|TRUE|false|False|FALSE)", "tTfF"),
    ("int", r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)", "-+0123456789"),
    (
        "float",
        r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))",
        "-+.0123456789",
    ),
    ("null", r"(?:~|null|Null|NULL|)", ["~", "n", "N", ""]),
    ("merge", r"<<", "<"),
)
_Loader.yaml_implicit_resolvers = {}
for _name, _pattern, _first in _CORE_SCHEMA:
    _Loader.add_implicit_resolver(_TAG + _name, re.compile(f"^{_pattern}$"), list(_first))  # pyright: ignore[reportUnknownMemberType]
    _Dumper.add_implicit_resolver(_TAG + _name, re.compile(f"^{_pattern}$"), list(_first))  # pyright: ignore[reportUnknownMemberType]


def parse(text: str, *, name: str, environ: Mapping[str, str]) -> Document:
    """Parse YAML (or JSON, when `name` ends in .json). Never raises on bad text: the problems are in the document."""
    document = Document(name)
    try:
        if name.endswith(".json"):
            json.loads(text)  # for its precise errors; what it accepts is YAML once tabs between values are spaces
            text = text.replace("\t", " ")
        node = yaml.compose(text, _Loader)
        if node is not None:
            document.value = _Builder(document, environ).build(node, ())
    except json.JSONDecodeError as error:
        document.problems.append(Problem((), f"not valid JSON: {error.msg}", Mark(name, error.lineno, error.colno)))
    except yaml.MarkedYAMLError as error:
        document.problems.append(_syntax_problem(error, name, text))
    except yaml.YAMLError as error:
        document.problems.append(Problem((), f"not valid YAML: {str(error).splitlines()[0]}"))
    except RecursionError:
        document.problems.append(Problem((), "nested too deeply for a job description"))
    return document


def from_mapping(value: Mapping[str, Any], *, name: str, environ: Mapping[str, str]) -> Document:
    """The same for values that are already parsed; only `${...}` is expanded."""
    document = Document(name)
    document.value = _Builder(document, environ).expand_all(dict(value), ())
    return document


def render(value: Any) -> str:
    """Plain values as YAML that `parse` reads back unchanged."""
    text: str = yaml.dump(_escape(value), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)  # pyright: ignore[reportUnknownMemberType]
    return text


def _escape(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("${", "$${")
    if is_mapping(value):
        return {key: _escape(item) for key, item in value.items()}
    if is_list(value):
        return [_escape(item) for item in value]
    return value


class _Builder:
    """Nodes to values. `${...}` is expanded here, where plain and quoted text can still be told apart."""

    def __init__(self, document: Document, environ: Mapping[str, str]) -> None:
        self._document = document
        self._environ = environ
        self._values = 0
        self._open: set[int] = set()

    def build(self, node: yaml.Node, path: KeyPath) -> Any:
        self._values += 1
        self._document.marks.setdefault(path, self._mark(node))
        if id(node) in self._open:
            self._problem(path, "an alias that contains itself")
            return None
        if self._values > _MAX_VALUES:
            if self._values == _MAX_VALUES + 1:
                self._problem(path, f"more than {_MAX_VALUES} values: not a job description")
            return None
        self._open.add(id(node))
        try:
            return self._build(node, path)
        finally:
            self._open.discard(id(node))

    def _build(self, node: yaml.Node, path: KeyPath) -> Any:
        match node:
            case yaml.MappingNode():
                return self._mapping(node, path)
            case yaml.SequenceNode():
                return [self.build(item, (*path, index)) for index, item in enumerate(node.value)]
            case _:
                return self._scalar(node, path)

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        values: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        seen: dict[str, Mark] = {}
        for key_node, value_node in node.value:
            if key_node.tag == _TAG + "merge":
                merged |= self._merge(value_node, path)
                continue
            key = self._key(key_node, path)
            if key is None:
                continue
            if key in seen:
                text = f"written twice; the first is in line {seen[key].line}. Keep one of them."
                self._problem((*path, key), text, self._mark(key_node))
                continue
            seen[key] = self._document.marks[(*path, key)] = self._mark(key_node)
            values[key] = self.build(value_node, (*path, key))
        return {**merged, **values}

    def _merge(self, node: yaml.Node, path: KeyPath) -> dict[str, Any]:
        parts = list(reversed(node.value)) if isinstance(node, yaml.SequenceNode) else [node]
        merged: dict[str, Any] = {}
        for part in parts:
            if not isinstance(part, yaml.MappingNode):
                self._problem(path, "`<<` takes an alias of a mapping", self._mark(part))
                continue
            merged |= self.build(part, path)
        return merged

    def _key(self, node: yaml.Node, path: KeyPath) -> str | None:
        if isinstance(node, yaml.ScalarNode):
            return str(node.value)
        text = "a list or mapping stands where a key belongs; a template such as {{item.answer}} needs quotes around it"
        self._problem(path, text, self._mark(node))
        return None

    def _scalar(self, node: yaml.Node, path: KeyPath) -> Any:
        text = str(node.value)
        plain = isinstance(node, yaml.ScalarNode) and node.style is None
        if plain:
            self._document.raw[path] = text
        if node.tag == _TAG + "str":
            expanded = self._expand(text, path)
            if expanded == text or not plain or not expanded:
                return expanded
            tag, text = _resolve(expanded), expanded  # `${SEED}` unquoted is the number it holds
        else:
            tag = node.tag
        return self._construct(tag.removeprefix(_TAG), text, path)

    def _construct(self, kind: str, text: str, path: KeyPath) -> Any:
        match kind:
            case "str":
                return text
            case "null":
                return None
            case "bool":
                return text.lower() == "true"
            case "int" | "float":
                return self._number(kind, text, path)
            case _:
                self._problem(path, f"the tag {kind!r} has no meaning in a job description; remove it")
                return None

    def _number(self, kind: str, text: str, path: KeyPath) -> int | float | None:
        try:
            if kind == "int":
                return int(text, {"0x": 16, "0o": 8}.get(text[:2], 10))
            return float(_INFINITE.get(text.lower(), text))
        except ValueError:
            self._problem(path, f"not a number that fits: {text[:30]}")
            return None

    def expand_all(self, value: Any, path: KeyPath) -> Any:
        """`${...}` in every text of a value that did not come from YAML; tuples come out as lists."""
        if isinstance(value, tuple):
            value = list(value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        if isinstance(value, str):
            return self._expand(value, path)
        if is_mapping(value):
            return {key: self.expand_all(item, (*path, str(key))) for key, item in value.items()}
        if is_list(value):
            return [self.expand_all(item, (*path, index)) for index, item in enumerate(value)]
        return value

    def _expand(self, text: str, path: KeyPath) -> str:
        return _VARIABLE.sub(lambda match: self._variable(match, path), text) if "${" in text else text

    def _variable(self, match: re.Match[str], path: KeyPath) -> str:
        if match[0] == "$${":
            return "${"
        body = _VARIABLE_BODY.fullmatch(match[1])
        if body is None or not match[2]:
            text = f"{match[0]!r} is not `${{NAME}}` or `${{NAME:-default}}`; write `$${{` for a literal `${{`"
            self._problem(path, text)
            return match[0]
        name, default = body[1], body[2]
        if secret_name(name):
            text = f"`${{{name}}}` would copy a secret into the job description; leave it in the environment, "
            self._problem(path, text + "where the provider reads it")
            return ""
        value = self._environ.get(name)
        if value is None and default is None:
            self._problem(path, f"the environment variable {name} is not set; set it, or write ${{{name}:-default}}")
            return match[0]
        return value or default or ""  # as in a shell, `:-` also replaces an empty value

    def _mark(self, node: yaml.Node) -> Mark:
        start = node.start_mark
        return Mark(self._document.name, start.line + 1, start.column + 1)

    def _problem(self, path: KeyPath, text: str, mark: Mark | None = None) -> None:
        self._document.problems.append(Problem(path, text, mark))


def _resolve(text: str) -> str:
    """The tag of a plain scalar."""
    for name, pattern, _ in _CORE_SCHEMA[:-1]:
        if re.fullmatch(pattern, text):
            return _TAG + name
    return _TAG + "str"


_ADVICE = (
    ("'\\t'", "there is a tab; YAML indents with spaces only"),
    ("mapping values are not allowed here", "text that holds `: ` needs quotes around it"),
    ("while scanning an alias", "text that starts with `*`, such as a glob, needs quotes around it"),
    ("undefined alias", "text that starts with `*`, such as a glob, needs quotes around it"),
    ("'@'", "text that starts with `@` needs quotes around it"),
    ("'`'", "text that starts with a backtick needs quotes around it"),
    ("'%'", "text that starts with `%` needs quotes around it"),
    ("but found another document", "one file holds one job; remove the `---`"),
    ("could not find expected ':'", "a key needs a colon and a space after it"),
    ("expected <block end>", "the indentation does not fit the lines above"),
)


def _syntax_problem(error: yaml.MarkedYAMLError, name: str, text: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    said = " ".join(part for part in (error.context, error.problem) if part)
    advice = next((advice for sign, advice in _ADVICE if sign in said), "")
    if mark is None:
        return Problem((), f"not valid YAML: {said}")
    line = text.splitlines()[mark.line] if mark.line < len(text.splitlines()) else ""
    if "${" in line and re.search(r"[\[{,]\s*\S*\$\{|:\s*\{.*\$\{", line):
        advice = 'inside [...] or {...} a variable needs quotes: "${NAME}"'
    where = Mark(name, mark.line + 1, mark.column + 1)
    return Problem((), f"not valid YAML: {advice or said}" + (f" ({said})" if advice else ""), where)
