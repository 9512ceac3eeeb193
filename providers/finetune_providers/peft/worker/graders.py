"""Graders: a sample's answer and its row in, a number out. Standard library only: the provider checks specs with it.

A Python grader is the user's own code; it runs in the worker, with the worker's rights, and nowhere else. One that is
`confined` came from somebody with fewer rights: a process that is locked in runs it.
"""

from __future__ import annotations

import ast
import json
import math
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any, cast

from . import confined, similarity

Grade = Callable[[Mapping[str, Any], Mapping[str, Any]], float]
"""`grade(sample, item)`: `sample["output_text"]` is the answer, `item` holds the row's own fields."""
_SLOT = re.compile(r"\{\{\s*(sample|item)((?:\.\w+|\[\d+\])+)\s*\}\}")
_STEP = re.compile(r"\.(\w+)|\[(\d+)\]")


class GraderError(ValueError):
    """The grader cannot be built, or failed on a sample; the text says where."""


def build(spec: Mapping[str, Any]) -> Grade:
    """The grader behind a description (`GraderStringCheck` and its like, in OpenAI's shape). Raises `GraderError`."""
    kind = spec["type"]
    if kind not in _BUILDERS:
        raise GraderError(f"grader type {kind!r} needs a hosted provider; use {', '.join(_BUILDERS)} here")
    return _BUILDERS[kind](spec)


def check(spec: Mapping[str, Any]) -> None:
    """Raise `GraderError` for what `build` would refuse; a Python grader is read, not run."""
    if spec["type"] == "python":
        check_source(spec["source"], spec.get("file") or "grader.py")
    elif spec["type"] == "multi":
        for part in spec["graders"].values():
            check(part)
        _parsed(spec["calculate_output"], spec["graders"])
    else:
        build(spec)


def sample_of(text: str) -> dict[str, Any]:
    """An answer in the shape OpenAI hands to graders."""
    try:
        parsed: Any = json.loads(text)
    except ValueError:
        parsed = None
    message = {"role": "assistant", "content": text}
    return {"output_text": text, "output_json": parsed, "output_tools": [], "choices": [{"message": message}]}


# --- string_check, text_similarity ----------------------------------------------------------------------------------

_CHECKS: Mapping[str, Callable[[str, str], bool]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "like": lambda text, reference: reference in text,
    "ilike": lambda text, reference: reference.lower() in text.lower(),
}


def _string_check(spec: Mapping[str, Any]) -> Grade:
    holds = _CHECKS[spec["operation"]]
    return lambda sample, item: float(holds(*_filled(spec, sample, item)))


def _text_similarity(spec: Mapping[str, Any]) -> Grade:
    name = spec["evaluation_metric"]
    if name in similarity.REFUSED:
        raise GraderError(
            f"evaluation_metric {name!r} does not run here: {similarity.REFUSED[name]}. "
            f"It has: {', '.join(similarity.METRICS)}"
        )
    score = similarity.METRICS[name]
    return lambda sample, item: score(*_filled(spec, sample, item))


def _filled(spec: Mapping[str, Any], sample: Mapping[str, Any], item: Mapping[str, Any]) -> tuple[str, str]:
    roots = {"sample": sample, "item": item}
    return fill(spec["input"], roots), fill(spec["reference"], roots)


def fill(template: str, roots: Mapping[str, Any]) -> str:
    """`{{item.answer}}` and `{{sample.output_text}}` replaced by what they name; a missing field is an error."""

    def value(match: re.Match[str]) -> str:
        found: Any = roots[match.group(1)]
        for name, index in _STEP.findall(match.group(2)):
            try:
                found = found[name] if name else found[int(index)]
            except (KeyError, IndexError, TypeError):
                raise GraderError(f"{match.group(0)}: the row has no such field{_has(found)}") from None
        return found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)

    return _SLOT.sub(value, template)


def _has(found: Any) -> str:
    names = ", ".join(cast("dict[str, Any]", found)) if isinstance(found, dict) else ""
    return f" (it has: {names})" if names else ""


# --- python ---------------------------------------------------------------------------------------------------------


def _python(spec: Mapping[str, Any]) -> Grade:
    source, name = spec["source"], spec.get("file") or "grader.py"
    check_source(source, name)
    if spec.get("confined"):
        return _confined(source, name)
    space: dict[str, Any] = {"__name__": "finetune_grader", "__file__": name}
    try:
        exec(compile(source, name, "exec"), space)  # noqa: S102 - the user's own code, in the user's own process
    except Exception as exc:
        raise GraderError(f"{name}: {type(exc).__name__}: {exc}") from exc
    grade = space["grade"]

    def graded(sample: Mapping[str, Any], item: Mapping[str, Any]) -> float:
        try:
            value = float(grade(dict(sample), dict(item)))
        except Exception as exc:
            line = _line_in(exc, name)
            raise GraderError(f"{name}{line}: grade() raised {type(exc).__name__}: {exc}") from exc
        if not math.isfinite(value):
            raise GraderError(f"{name}: grade() answered {value}; a reward is a finite number")
        return value

    return graded


def _confined(source: str, name: str) -> Grade:
    grading = confined.Grading(source, name)

    def graded(sample: Mapping[str, Any], item: Mapping[str, Any]) -> float:
        try:
            return grading(sample, item)
        except confined.Broken as exc:
            raise GraderError(str(exc)) from exc

    return graded


def check_source(source: str, name: str) -> None:
    """Raise `GraderError` unless the text is Python with a top-level function `grade(sample, item)`. Runs nothing."""
    try:
        tree = ast.parse(source, name)
    except (SyntaxError, ValueError) as exc:
        place = f"{name}:{exc.lineno}" if isinstance(exc, SyntaxError) else name
        raise GraderError(f"{place}: not Python: {exc.args[0]}") from exc
    defined = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "grade"]
    if not defined:
        raise GraderError(f"{name}: no function `grade(sample, item)` at top level")
    if len(defined[-1].args.posonlyargs + defined[-1].args.args) != 2 and defined[-1].args.vararg is None:
        raise GraderError(f"{name}:{defined[-1].lineno}: `grade` takes two arguments: sample, item")


def _line_in(exc: BaseException, name: str) -> str:
    line, trace = "", exc.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == name:
            line = f":{trace.tb_lineno}"
        trace = trace.tb_next
    return line


# --- multi ----------------------------------------------------------------------------------------------------------

_BINARY: Mapping[type[ast.AST], Callable[[float, float], float]] = {
    ast.Add: lambda one, other: one + other,
    ast.Sub: lambda one, other: one - other,
    ast.Mult: lambda one, other: one * other,
    ast.Div: lambda one, other: one / other,
    ast.Pow: lambda one, other: one**other,
}
_UNARY: Mapping[type[ast.AST], Callable[[float], float]] = {ast.USub: lambda one: -one, ast.UAdd: lambda one: +one}
_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "min": min,
    "max": max,
    "abs": abs,
    "floor": math.floor,
    "ceil": math.ceil,
    "exp": math.exp,
    "sqrt": math.sqrt,
    "log": math.log,
}


def _multi(spec: Mapping[str, Any]) -> Grade:
    parts = {name: build(part) for name, part in spec["graders"].items()}
    formula = spec["calculate_output"]
    tree = _parsed(formula, parts)

    def graded(sample: Mapping[str, Any], item: Mapping[str, Any]) -> float:
        values = {name: part(sample, item) for name, part in parts.items()}
        try:
            value = float(_value(tree, values))
        except (ArithmeticError, ValueError, TypeError) as exc:
            raise GraderError(f"calculate_output {formula!r} with {values}: {exc}") from exc
        if not math.isfinite(value):
            raise GraderError(f"calculate_output {formula!r} with {values} is {value}")
        return value

    return graded


def _parsed(formula: str, parts: Mapping[str, Any]) -> ast.expr:
    try:
        tree = ast.parse(formula, mode="eval").body
    except SyntaxError as exc:
        raise GraderError(f"calculate_output {formula!r}: {exc.msg}") from exc
    for node in ast.walk(tree):
        if not isinstance(node, (*_KNOWN, *_BINARY, *_UNARY)):
            raise GraderError(f"calculate_output {formula!r}: only arithmetic over grader names is understood")
        if isinstance(node, ast.Name) and node.id not in parts and node.id not in _FUNCTIONS:
            raise GraderError(f"calculate_output names {node.id!r}; the graders are {', '.join(parts)}")
        if isinstance(node, ast.Constant) and type(node.value) not in (int, float):
            raise GraderError(f"calculate_output {formula!r}: {node.value!r} is no number")
        if isinstance(node, ast.Call) and (node.keywords or getattr(node.func, "id", None) not in _FUNCTIONS):
            raise GraderError(f"calculate_output {formula!r}: functions are {', '.join(_FUNCTIONS)}")
    return tree


_KNOWN = (ast.BinOp, ast.UnaryOp, ast.Constant, ast.Name, ast.Load, ast.Call)


def _value(node: Any, values: Mapping[str, float]) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name):
        return values[node.id]
    if isinstance(node, ast.BinOp):
        return _BINARY[type(node.op)](_value(node.left, values), _value(node.right, values))
    if isinstance(node, ast.UnaryOp):
        return _UNARY[type(node.op)](_value(node.operand, values))
    return _FUNCTIONS[node.func.id](*(_value(argument, values) for argument in node.args))


_BUILDERS: Mapping[str, Callable[[Mapping[str, Any]], Grade]] = {
    "string_check": _string_check,
    "text_similarity": _text_similarity,
    "python": _python,
    "multi": _multi,
}
