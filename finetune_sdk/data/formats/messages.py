"""Messages in OpenAI's shape, as nearly every chat format uses them: read strictly, with faults that say where."""

from __future__ import annotations

import ast
import difflib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import UNSET

from finetune_sdk.data.example import ROLES, Content, FunctionCall, Message, Part, Role, Span, Texts, Tool, ToolCall
from finetune_sdk.data.jsonvalue import Object, as_list, as_object, type_name
from finetune_sdk.data.report import Fault, Note
from finetune_sdk.data.strict import diagnose

ROLE_WORDS: dict[str, Role] = {
    **{role: role for role in ROLES},
    "function": "tool",
    "human": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "chatbot": "assistant",
    "observation": "tool",
    "tool_response": "tool",
    "function_response": "tool",
    "ipython": "tool",
    "tool_result": "tool",
    "function_result": "tool",
    "ai": "assistant",
    "prompter": "user",
}
_PLAIN_ROLES = frozenset(ROLES)
NO_TOOLS: tuple[Role, ...] = ("system", "developer", "user", "assistant")
REASONING_KEYS = ("reasoning", "reasoning_content", "thinking")
USUAL_REASONING = "reasoning_content"
"""As most chat templates and hosted trainers read it."""


def messages(value: object, path: str, note: Note) -> list[Message]:
    """A non-empty list of messages. Raises `Fault`."""
    if isinstance(value, str):
        value = parsed_text(value, path)
    items = as_list(value)
    if items is None:
        raise Fault(
            "messages-type", path, f"must be a list of messages, this is {type_name(value)}", "Write a list of objects."
        )
    if not items:
        raise Fault("messages-empty", path, "the list of messages is empty", "Remove the row, or fill it.")
    return [message(item, f"{path}[{index}]", note) for index, item in enumerate(items)]


class Speakers:
    """Makes turns of words for who speaks and of texts, where there is nothing else: nearly always."""

    def __init__(self, words: Mapping[str, Role]) -> None:
        self._words = words
        self._roles: dict[tuple[str, ...], tuple[Role, ...]] = {}

    def texts(self, words: Sequence[str], texts: Sequence[Any]) -> Texts | None:
        """The turns; None where a word is not known, or something is no text or blank."""
        words = tuple(words)
        roles = self._roles.get(words) or self._read(words)
        if roles is None or set(map(type, texts)) != _TEXT or not all(texts) or any(map(str.isspace, texts)):
            return None
        return Texts(roles, [Message(role=role, content=text) for role, text in zip(roles, texts, strict=True)])

    def _read(self, words: tuple[str, ...]) -> tuple[Role, ...] | None:
        roles: tuple[Role, ...] = tuple([self._words[word] for word in words if word in self._words])
        if len(roles) != len(words):
            return None
        if len(self._roles) < _MANY and len(words) < _MANY:
            self._roles[words] = roles
        return roles


_TEXT = {str}
_MANY = 1000
"""Orders of speakers that are remembered."""


def parsed_text(text: str, path: str) -> object:
    """Messages that a table holds as JSON text, or as Python writes them. Raises `Fault`."""
    try:
        return diagnose(text.encode())
    except Fault as fault:
        if fault.rule == "duplicate-key":
            raise Fault(fault.rule, path, fault.message, fault.fix) from None
    except UnicodeEncodeError:
        pass
    try:
        tree = ast.parse(text.strip(), mode="eval")
        _verify_keys(tree, path)
        return ast.literal_eval(tree)  # AutoTrain's own reading of its text column
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise Fault(
            "messages-type", path, "must be a list of messages, this is text", "Write a list of objects."
        ) from None


def _verify_keys(tree: ast.AST, path: str) -> None:
    for node in ast.walk(tree):
        keys = [key.value for key in node.keys if isinstance(key, ast.Constant)] if isinstance(node, ast.Dict) else []
        twice = next((key for index, key in enumerate(keys) if key in keys[:index]), None)
        if twice is not None:
            what = f"key {twice!r} appears twice in one object; its first value would be lost"
            raise Fault("duplicate-key", path, what, "Keep one of them.")


def message(value: object, path: str, note: Note) -> Message:
    """One message."""
    found = as_object(value)
    if found is None:
        raise Fault(
            "message-not-object",
            path,
            f"a message must be an object, this is {type_name(value)}",
            'Write {"role": ..., "content": ...}.',
        )
    role, content = found.get("role"), found.get("content")
    if (
        len(found) == 2 and type(role) is str and role in _PLAIN_ROLES and type(content) is str
    ):  # nearly all messages there are
        return Message(role=role, content=content)
    return _full_message(found, path, note)


def _full_message(found: Object, path: str, note: Note) -> Message:
    if "role" not in found:
        raise Fault("role-missing", path, f"no 'role'; it has {_keys(found)}", "Add the role.")
    role, source_role = role_of(found["role"], f"{path}.role", note)
    calls = _tool_calls(found, path, note)
    reasoning_key = next((key for key in REASONING_KEYS if isinstance(found.get(key), str)), None)
    fields: dict[str, Any] = {"role": role, "content": _content(found, role, calls, path)}
    if source_role is not None:
        fields["source_role"] = source_role
    if calls is not None:
        fields["tool_calls"] = calls
    spelling: dict[str, str] = {}
    if reasoning_key is not None:
        fields["reasoning"] = found[reasoning_key]
        if reasoning_key != USUAL_REASONING:
            spelling["reasoning"] = reasoning_key
    for key in ("name", "tool_call_id", "refusal"):
        if found.get(key) is not None:
            fields[key] = _text(found, key, path)
    if found.get("weight") is not None:
        fields["weight"] = weight(found["weight"], f"{path}.weight")
    trained = next((key for key in ("training", "train") if found.get(key) is not None), None)
    if trained is not None and "weight" not in fields:
        fields["weight"] = _trained(found[trained], f"{path}.{trained}")
        spelling["weight"] = trained
    if spelling:
        fields["spelling"] = spelling
    if found.get("train_detail") is not None:
        fields["spans"] = _spans(found["train_detail"], f"{path}.train_detail")
    known = {*_KNOWN, reasoning_key}
    extra = {key: item for key, item in found.items() if key not in known}
    if extra:
        fields["extra"] = extra
    return Message(**fields)


_KNOWN = frozenset(
    (
        *("role", "content", "name", "tool_calls", "tool_call_id", "refusal"),
        *("weight", "function_call", "training", "train", "train_detail"),
    )
)


def _keys(found: Object) -> str:
    return ", ".join(repr(key) for key in list(found)[:6]) or "no keys"


def role_of(value: object, path: str, note: Note) -> tuple[Role, str | None]:
    """The canonical role, and the source's word where it is another one."""
    if not isinstance(value, str):
        raise Fault("role-unknown", path, f"the role must be text, this is {type_name(value)}", "Write it as text.")
    if value in _PLAIN_ROLES:
        return ROLE_WORDS[value], None
    role = ROLE_WORDS.get(value.strip().lower())
    if role is None:
        close = difflib.get_close_matches(value.lower(), ROLE_WORDS, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(ROLES)}"
        raise Fault("role-unknown", path, f"unknown role {value!r}; {hint}", "Rename the role.")
    note("role-renamed", path, f"role {value!r} is read as {role!r}", "")
    return role, value


def _text(found: Object, key: str, path: str) -> str:
    value = found[key]
    if not isinstance(value, str):
        raise Fault(
            "field-type", f"{path}.{key}", f"{key!r} must be text, this is {type_name(value)}", "Write it as text."
        )
    return value


def weight(value: object, path: str) -> int | float:
    """A weight as a number; zero and negative ones are meant."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise Fault("weight-type", path, f"a weight is a number, this is {type_name(value)}", "Write 0 or 1.")
    return value


def _trained(value: object, path: str) -> int:
    if not isinstance(value, bool):
        raise Fault("weight-type", path, f"must be true or false, this is {type_name(value)}", "Fix it.")
    return int(value)


def _spans(value: object, path: str) -> list[Span]:
    items = as_list(value)
    if items is None:
        raise Fault("span-type", path, f"must be a list of spans, this is {type_name(value)}", "Write a list.")
    spans: list[Span] = []
    for index, item in enumerate(items):
        found = as_object(item) or {}
        begin, end = found.get("begin_offset"), found.get("end_offset")
        if not isinstance(begin, int) or not isinstance(end, int) or not isinstance(found.get("train"), bool):
            raise Fault(
                "span-type",
                f"{path}[{index}]",
                "a span has begin_offset, end_offset (whole numbers) and train (true or false)",
                "Fix the span.",
            )
        unknown = next((key for key in found if key not in _SPAN_KEYS), None)
        if unknown is not None:
            fix = f"Remove it: a span has {', '.join(_SPAN_KEYS)}."
            raise Fault("span-type", f"{path}[{index}].{unknown}", f"a span has no {unknown!r}", fix)
        spans.append(Span(begin=begin, end=end + 1, train=found["train"]))  # the source's end is the last character
    return spans


_SPAN_KEYS = ("begin_offset", "end_offset", "train")


def _content(found: Object, role: Role, calls: list[ToolCall] | None, path: str) -> Content:
    optional = role == "assistant" and (calls is not None or found.get("refusal") is not None)
    if "content" not in found:
        if not optional:
            raise Fault("content-missing", path, f"no 'content'; it has {_keys(found)}", "Add the content.")
        return UNSET
    value = found["content"]
    if isinstance(value, str):
        return value
    if value is None:
        if role != "assistant":
            raise Fault("content-type", f"{path}.content", f"null in a turn of the {role}", "Write a text.")
        return None
    items = as_list(value)
    if items is None:
        raise Fault(
            "content-type",
            f"{path}.content",
            f"expected text or a list of parts, this is {type_name(value)}",
            "Write it as text.",
        )
    return content_parts(items, path)


def content_parts(items: list[Any], path: str) -> list[Part]:
    """The parts of a content."""
    return [_part(item, f"{path}.content[{index}]") for index, item in enumerate(items)]


def _part(value: object, path: str) -> Part:
    found = as_object(value)
    if found is None or not isinstance(found.get("type"), str):
        raise Fault("part-type", path, "a part is an object with a 'type'", 'Write {"type": "text", "text": ...}.')
    if found["type"] == "text" and not isinstance(found.get("text"), str):
        raise Fault("part-type", f"{path}.text", "a text part needs 'text'", "Add the text.")
    if found["type"] == "image_url":
        return _image(found, path)
    return found


def _image(found: Object, path: str) -> Part:
    inner = as_object(found.get("image_url"))
    if inner is None and isinstance(found.get("image_url"), str):
        return {**found, "image_url": {"url": found["image_url"]}}
    if inner is None or not isinstance(inner.get("url"), str):
        raise Fault("part-type", f"{path}.image_url", "an image part needs a 'url'", 'Write {"url": ...}.')
    for key in ("mime_type", "bucketOwner"):  # other formats have a place for them
        if inner.get(key) is not None:
            _text(inner, key, f"{path}.image_url")
    return found


def _tool_calls(found: Object, path: str, note: Note) -> list[ToolCall] | None:
    value = found.get("tool_calls")
    given = found.get("function_call")
    old = as_object(given)
    if old is None and given not in (None, ""):
        what = f"must be an object, this is {type_name(given)}"
        raise Fault("tool-call-type", f"{path}.function_call", what, 'Write {"name", "arguments"}.')
    if old is not None:
        note("deprecated-functions", f"{path}.function_call", "`function_call` is read as a tool call", "")
        call = tool_call({"type": "function", "function": old}, f"{path}.function_call", note)
        return [*(_calls(value, path, note) or []), call]
    return _calls(value, path, note)


def _calls(value: object, path: str, note: Note) -> list[ToolCall] | None:
    if value is None:
        return None
    items = as_list(value)
    if items is None:
        raise Fault("tool-calls-type", f"{path}.tool_calls", f"must be a list, this is {type_name(value)}", "Fix it.")
    return [tool_call(item, f"{path}.tool_calls[{index}]", note) for index, item in enumerate(items)]


def tool_call(value: object, path: str, note: Note) -> ToolCall:
    """One call: OpenAI's shape, or a bare name with arguments."""
    found = as_object(value) or {}
    function = as_object(found.get("function"))
    if found.get("function") is None and isinstance(found.get("name"), str):
        note("tool-call-bare", path, "a bare function call is read as a tool call", "")
        function = {key: found[key] for key in ("name", "arguments") if key in found}
        found = {key: item for key, item in found.items() if key not in function}
    if function is None or not isinstance(function.get("name"), str):
        raise Fault(
            "tool-call-type",
            path,
            "a tool call needs a function with a name",
            'Write {"id", "type": "function", "function": {"name", "arguments"}}.',
        )
    text, was_object = arguments(function.get("arguments"), f"{path}.function.arguments")
    call_id = found.get("id", UNSET)
    if call_id is not UNSET and call_id is not None and not isinstance(call_id, str):
        raise Fault("tool-call-type", f"{path}.id", f"the id must be text, this is {type_name(call_id)}", "Fix it.")
    kind = found.get("type")
    if kind is not None and not isinstance(kind, str):
        raise Fault("tool-call-type", f"{path}.type", f"the type must be text, this is {type_name(kind)}", "Fix it.")
    extra = {key: item for key, item in found.items() if key not in ("id", "type", "function")}
    inner = {key: item for key, item in function.items() if key not in ("name", "arguments")}
    return ToolCall(
        id=call_id,
        type="function" if kind is None else kind,
        function=FunctionCall(name=function["name"], arguments=text),
        arguments_object=was_object,
        extra={**extra, "function": inner} if inner else extra,
    )


def arguments(value: object, path: str) -> tuple[str, bool]:
    """The arguments as JSON text, and whether the source held an object."""
    if isinstance(value, str):
        return value, False
    if value is None:
        return "{}", True
    if as_object(value) is None:
        raise Fault(
            "tool-arguments", path, f"arguments must be text or an object, this is {type_name(value)}", "Fix it."
        )
    return msgspec.json.encode(value).decode(), True


def tools(value: object, path: str) -> list[Tool] | None:
    """Tool definitions from a list or its JSON text; bare functions are wrapped."""
    if value is None or value == "":
        return None
    if isinstance(value, str):
        try:
            value = diagnose(value.encode())
        except (Fault, UnicodeEncodeError):
            raise Fault("tools-type", path, "the tools are text that is not JSON", "Write a list of tools.") from None
    items = as_list(value)
    if items is None:
        raise Fault("tools-type", path, f"must be a list of tools, this is {type_name(value)}", "Write a list.")
    return [_tool(item, f"{path}[{index}]") for index, item in enumerate(items)]


def _tool(value: object, path: str) -> Tool:
    found = as_object(_json_object(value) if isinstance(value, str) else value)
    if found is None:
        raise Fault("tools-type", path, f"a tool is an object, this is {type_name(value)}", "Fix the tool.")
    inner = as_object(found.get("function"))
    for function in (found, *([inner] if inner is not None else [])):
        if isinstance(function.get("parameters"), str) and (schema := _json_object(function["parameters"])) is not None:
            changed = {**function, "parameters": schema}
            found = changed if function is found else {**found, "function": changed}
    if found.get("type") == "function" and "function" not in found and "name" in found:  # the Responses API's shape
        return {"type": "function", "function": {key: item for key, item in found.items() if key != "type"}}
    if "function" in found or "type" in found:
        return found
    return {"type": "function", "function": found}


def _json_object(text: str) -> Object | None:
    """An object that a table holds as JSON text: Arrow would fill it with the keys of the column's others."""
    try:
        return as_object(diagnose(text.encode()))
    except (Fault, UnicodeEncodeError):
        return None


def extras_of_chat(row: Object, note: Note, path: str = "") -> dict[str, Any]:
    """Tools and their switches, as keyword arguments of an example."""
    fields: dict[str, Any] = {}
    prefix = f"{path}." if path else ""
    found = tools(row.get("tools"), f"{prefix}tools")
    old = tools(row.get("functions"), f"{prefix}functions")
    if old is not None:
        note("deprecated-functions", f"{prefix}functions", "`functions` is read as `tools`", "")
        found = [*(found or []), *(tool for tool in old if tool not in (found or []))]
    if found is not None:
        fields["tools"] = found
    for key, read in (("parallel_tool_calls", _boolean), ("chat_template_kwargs", _object)):
        if row.get(key) is not None and (value := read(row[key], f"{prefix}{key}")) is not None:
            fields[key] = value
    return fields


def _boolean(value: object, path: str) -> bool | None:
    """True or false, which tables may hold as text; None where there is nothing."""
    value = _BOOLEANS.get(value.strip().lower(), value) if isinstance(value, str) else value
    if value is not None and not isinstance(value, bool):
        raise Fault("field-type", path, f"must be true or false, this is {type_name(value)}", "Write a boolean.")
    return value


_BOOLEANS = {"true": True, "false": False, "": None}


def _object(value: object, path: str) -> Object | None:
    """An object, which tables may hold as text; None where there is nothing."""
    found = _json_object(value) if isinstance(value, str) and value.strip() else as_object(value)
    if found is None and value not in (None, ""):
        raise Fault("field-type", path, f"must be an object, this is {type_name(value)}", "Write an object.")
    return found


def system_of(row: Object) -> str:
    """The text of the row's `system` column, "" where it has none. Raises `Fault`."""
    system = row.get("system")
    if system is not None and not isinstance(system, str):
        what = f"'system' must be text, this is {type_name(system)}"
        raise Fault("field-type", "system", what, "Write it as text.")
    return system or ""


CHAT_KEYS = ("tools", "functions", "parallel_tool_calls", "chat_template_kwargs")


def turn(role: Role, content: str) -> Message:
    """A plain message."""
    return Message(role=role, content=content)
