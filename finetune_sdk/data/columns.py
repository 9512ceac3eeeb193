"""Column mapping: our names to theirs (`translation.de` reaches inside), or to a template such as `"{a}\\n{b}"`."""

from __future__ import annotations

import difflib
import string
from collections.abc import Iterable, Mapping
from typing import Any

from finetune_sdk.data.jsonvalue import Object, as_list, as_object, type_name
from finetune_sdk.data.report import Fault


def renamed(row: Object, columns: Mapping[str, str]) -> Object:
    """The row under our column names; what a template uses stays. Raises `Fault` when a mapped column is not there."""
    templates = {ours: theirs for ours, theirs in columns.items() if "{" in theirs}
    inside = {
        ours: theirs
        for ours, theirs in columns.items()
        if "." in theirs and theirs not in row and ours not in templates
    }
    names = {ours: theirs for ours, theirs in columns.items() if ours not in templates and ours not in inside}
    used = {ours: fields_of(template) for ours, template in templates.items()}
    _all_there([*names.values(), *(name for fields in used.values() for name in fields)], row)
    back = {theirs: ours for ours, theirs in names.items()}
    found = {back[key]: row[key] for key in row if key in back}
    found |= {ours: _reached(path, row) for ours, path in inside.items()}
    for ours, template in templates.items():
        found[ours] = _filled(template, row, used[ours])
    return {**found, **{key: value for key, value in row.items() if key not in back and key not in columns}}


def _reached(path: str, row: Object) -> Any:
    """What lies at a dotted path, such as `translation.de` or `answers.text.0`."""
    value: Any = row
    for step in path.split("."):
        items, found = as_list(value), as_object(value)
        if items is not None and step.isdecimal() and int(step) < len(items):
            value = items[int(step)]
        elif found is not None and step in found:
            value = found[step]
        else:
            what = f"the mapped column {path!r} is not in the row: there is no {step!r}"
            has = f" in {', '.join(map(repr, found))}" if found else ""
            raise Fault("column-missing", path, f"{what}{has}", f"The row has: {', '.join(map(repr, row))}.")
    return value


def fields_of(template: str) -> list[str]:
    """The columns a template names. Only plain names: `{a.b}` and `{a[0]}` would reach into objects."""
    try:
        fields = [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]
    except ValueError as error:
        raise Fault("column-template", None, f"bad template {template!r}: {error}", "Write braces as {{ }}.") from None
    bad = next((name for name in fields if not name.isidentifier()), None)
    if bad is not None:
        raise Fault(
            "column-template",
            None,
            f"{{{bad}}} in {template!r} is no column name",
            "Name columns only, such as {title}.",
        )
    return fields


def _filled(template: str, row: Object, fields: list[str]) -> str:
    values = {name: row[name] for name in fields}
    wrong = next((name for name, value in values.items() if not isinstance(value, str | int | float)), None)
    if wrong is not None:
        raise Fault(
            "field-type", wrong, f"{wrong!r} must be text, this is {type_name(values[wrong])}", "Write it as text."
        )
    return template.format_map(values)


def _all_there(names: Iterable[str], row: Object) -> None:
    missing = next((name for name in names if name not in row), None)
    if missing is not None:
        close = difflib.get_close_matches(missing, list(row), n=1)
        hint = f"Did you mean {close[0]!r}? " if close else ""
        raise Fault(
            "column-missing",
            missing,
            f"the mapped column {missing!r} is not in the row",
            f"{hint}It has: {', '.join(map(repr, row))}.",
        )
