"""The list of bad inputs: each case with its bytes, and what a person must be told of it. Read by `test_bad_list`.

The numbers are those of the project's list of bad inputs (82 cases); a letter tells variants of one case apart.
"""

from __future__ import annotations

import bz2
import gzip
import importlib
import io
import json
import lzma
import zipfile
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

Outcome = Literal["error", "warning", "info", "read"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A file and what checking it must say: rule, words, line, JSON path. `read` = nothing, it is read as it is."""

    name: str
    data: bytes
    rule: str = ""
    says: str = ""
    """Words of the message or of the remedy."""
    line: int | None = None
    path: str = ""
    outcome: Outcome = "error"
    rows: int = 12
    """Rows that are read all the same."""
    target: str = ""
    """Judged by this target's rules, not by the rows alone."""


def chat(question: str = "q", answer: str = "yes", **keys: Any) -> dict[str, Any]:
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"messages": turns, **keys}


def lines(*rows: Any) -> bytes:
    written = (row if isinstance(row, bytes) else json.dumps(row, ensure_ascii=False).encode() for row in rows)
    return b"\n".join(written) + b"\n"


GOOD = [chat(f"question {number}") for number in range(12)]
PLAIN = lines(*GOOD)


def second(row: Any, rows: list[dict[str, Any]] = GOOD) -> bytes:
    """The row in line 2, between good ones."""
    return lines(rows[0], row, *rows[1:])


def said(*turns: Any, **keys: Any) -> dict[str, Any]:
    return {"messages": list(turns), **keys}


SYSTEM = {"role": "system", "content": "s"}
USER = {"role": "user", "content": "u"}
ANSWER = {"role": "assistant", "content": "a"}
OTHER = {"role": "assistant", "content": "b"}


TYPED_BY_A_NUMBER = {"type": "image_url", "image_url": {"url": "gs://b/a", "mime_type": 1}}


def zipped(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, PLAIN)
    return buffer.getvalue()


def encrypted() -> bytes:
    data = bytearray(zipped("a.jsonl"))
    data[6] |= 1
    data[data.find(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


def zstd(data: bytes) -> bytes:
    packed: bytes = importlib.import_module("zstandard").ZstdCompressor().compress(data)
    return packed


def parquet(**columns: list[Any]) -> bytes:
    table = importlib.import_module("pyarrow").table(columns)
    buffer = io.BytesIO()
    importlib.import_module("pyarrow.parquet").write_table(table, buffer)
    return buffer.getvalue()


def arrow(**columns: list[Any]) -> bytes:
    table = importlib.import_module("pyarrow").table(columns)
    buffer = io.BytesIO()
    with importlib.import_module("pyarrow.ipc").new_stream(buffer, table.schema) as writer:
        writer.write_table(table)
    return buffer.getvalue()


def call(arguments: Any = "{}", name: str = "f", **keys: Any) -> dict[str, Any]:
    return {"id": "c1", "type": "function", "function": {"name": name, "arguments": arguments}, **keys}


RESULT = {"role": "tool", "tool_call_id": "c1", "content": "r"}
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {"name": "f", "parameters": {"type": "object", "properties": {}}},
}


def used(*calls: dict[str, Any], results: tuple[dict[str, Any], ...] = (RESULT,), **keys: Any) -> dict[str, Any]:
    asked = {"role": "assistant", "content": None, "tool_calls": list(calls)}
    return said(USER, asked, *results, ANSWER, **{"tools": [TOOL], **keys})


def shown(*urls: str, role: str = "user") -> dict[str, Any]:
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    turns: list[dict[str, Any]] = [{"role": role, "content": parts}]
    return said(*turns, ANSWER) if role == "user" else said(*(turns if role == "system" else []), USER, ANSWER, *turns)


PNG = "data:image/png;base64,iVBORw0KGgo="
PAIRS = [{"prompt": f"q{number}", "chosen": "a", "rejected": "b"} for number in range(12)]
MARKED = [{"prompt": f"q{number}", "completion": "a", "label": bool(number % 2)} for number in range(12)]
STEPS = [{"prompt": f"q{number}", "completions": ["a", "b"], "labels": [True, False]} for number in range(12)]
LABELLED = [{"text": f"t{number}", "label": "ab"[number % 2]} for number in range(12)]
GRADED = [{"messages": [{"role": "user", "content": f"q{number}"}], "target": number} for number in range(12)]
OPENAI_PAIRS = [
    {
        "input": {"messages": [{"role": "user", "content": f"q{number}"}]},
        "preferred_output": [ANSWER],
        "non_preferred_output": [OTHER],
    }
    for number in range(12)
]


def scored(*scores: Any, question: str = "q") -> dict[str, Any]:
    answers = [
        {"score": score, "completion": {"role": "model", "parts": [{"text": f"a{index}"}]}}
        for index, score in enumerate(scores)
    ]
    return {"contents": [{"role": "user", "parts": [{"text": question}]}], "completions": answers}


SCORED = [scored(1, 0, question=f"q{number}") for number in range(12)]


def nova(version: str = "bedrock-conversation-2024", question: str = "q") -> dict[str, Any]:
    turns = [{"role": "user", "content": [{"text": question}]}, {"role": "assistant", "content": [{"text": "a"}]}]
    return {"schemaVersion": version, "system": [{"text": "s"}], "messages": turns}


NOVA = [nova(question=f"q{number}") for number in range(12)]
DATE = datetime(2024, 1, 2, tzinfo=UTC)
CUT = "the file was cut short"

CASES: dict[str, Case] = {
    "1-empty-file": Case(name="t.jsonl", data=b"", rule="file-empty", says="0 bytes", line=1, rows=0),
    "2-blank-lines": Case(
        name="t.jsonl", data=b"\n" * 17, rule="file-empty", says="17 lines, all blank", line=1, rows=0
    ),
    "3-byte-order-mark": Case(
        name="t.jsonl", data=b"\xef\xbb\xbf" + PLAIN, rule="byte-order-mark", says="was removed", outcome="info"
    ),
    "4-utf16-with-mark": Case(
        name="t.jsonl",
        data=b"\xff\xfe" + PLAIN.decode().encode("utf-16-le"),
        rule="encoding",
        says="UTF-16-LE",
        outcome="info",
    ),
    "5-utf16-without-mark": Case(
        name="t.jsonl",
        data=PLAIN.decode().encode("utf-16-le"),
        rule="container-encoding",
        says="iconv -f utf-16le",
        rows=0,
    ),
    "5b-utf16-big-endian": Case(
        name="t.jsonl",
        data=PLAIN.decode().encode("utf-16-be"),
        rule="container-encoding",
        says="iconv -f utf-16be",
        rows=0,
    ),
    "6-latin1": Case(
        name="t.jsonl",
        data=second(b'{"messages": "caf\xe9"}'),
        rule="invalid-utf8",
        says="byte 0xE9 at byte 18 of the line is not valid UTF-8; it looks like cp1252",
        line=2,
    ),
    "7-cut-inside-a-character": Case(
        name="t.jsonl", data=PLAIN + b'{"messages": "caf\xc3', rule="invalid-utf8", says=CUT, line=13
    ),
    "8-surrogate-bytes": Case(
        name="t.jsonl", data=second(b'{"messages": "\xed\xa0\x80"}'), rule="invalid-utf8", says="ED A0 80", line=2
    ),
    "9-gzip-named-jsonl": Case(name="t.jsonl", data=gzip.compress(PLAIN), outcome="read"),
    "10-gzip-cut-short": Case(
        name="t.jsonl.gz", data=gzip.compress(PLAIN)[:-9], rule="container-truncated", says="ends early", rows=0
    ),
    "10b-bzip2-cut-short": Case(
        name="t.jsonl.bz2", data=bz2.compress(PLAIN)[:-9], rule="container-truncated", says="ends early", rows=0
    ),
    "10c-xz-cut-short": Case(
        name="t.jsonl.xz", data=lzma.compress(PLAIN)[:-30], rule="container-truncated", says="ends early", rows=0
    ),
    "11-zstd-cut-short": Case(
        name="t.jsonl.zst", data=zstd(PLAIN)[:-9], rule="container-truncated", says="the zstd stream ends early", rows=0
    ),
    "12-data-after-gzip": Case(
        name="t.jsonl.gz",
        data=gzip.compress(PLAIN) + b"junk",
        rule="container-damaged",
        says="followed by other data",
        rows=0,
    ),
    "13-zip-without-files": Case(name="t.zip", data=zipped(), rule="container-zip-members", says="0 files", rows=0),
    "13b-zip-with-two-files": Case(
        name="t.zip", data=zipped("a.jsonl", "b.jsonl"), rule="container-zip-members", says="a.jsonl, b.jsonl", rows=0
    ),
    "13c-zip-encrypted": Case(
        name="t.zip", data=encrypted(), rule="container-encrypted", says="the zip is encrypted", rows=0
    ),
    "13d-zip-that-climbs": Case(
        name="t.zip", data=zipped("../a.jsonl"), rule="container-zip-path", says="outside its folder", rows=0
    ),
    "14-decompression-bomb": Case(
        name="t.jsonl.zst",
        data=zstd((b" " * 1023 + b"\n") * (70 << 10)),
        rule="container-bomb",
        says="more than 200 times its size",
        rows=0,
    ),
    "15-html": Case(
        name="t.jsonl", data=b"<!DOCTYPE html><html>Log in</html>", rule="container-html", says="an HTML page", rows=0
    ),
    "16-git-lfs-pointer": Case(
        name="t.jsonl",
        data=b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 12\n",
        rule="container-lfs-pointer",
        says="git lfs pull",
        rows=0,
    ),
    "17-parquet-without-footer": Case(
        name="t.parquet", data=parquet(text=["a"])[:-20], rule="container-damaged", says="Parquet", rows=0
    ),
    "17b-arrow-cut-short": Case(
        name="t.arrow", data=arrow(text=["a"] * 99)[:-300], rule="container-damaged", says="Arrow", rows=0
    ),
    "18-crlf": Case(name="t.jsonl", data=PLAIN.replace(b"\n", b"\r\n"), outcome="read"),
    "18b-old-mac-line-ends": Case(name="t.jsonl", data=PLAIN.replace(b"\n", b"\r"), outcome="read"),
    "19-raw-nul": Case(
        name="t.jsonl",
        data=second(b'{"messages": "a\0b"}'),
        rule="json-control-character",
        says="raw NUL character at column 16. Write it as \\u0000",
        line=2,
    ),
    "19b-escaped-nul": Case(
        name="t.jsonl",
        data=second(chat("a\0b")),
        rule="control-character",
        says="U+0000",
        line=2,
        path="messages[0].content",
        outcome="warning",
        rows=13,
    ),
    "21-array-named-jsonl": Case(name="t.jsonl", data=json.dumps(GOOD).encode(), outcome="read"),
    "21b-fault-in-an-array-on-one-line": Case(
        name="t.json",
        data=json.dumps([*GOOD[:2], {"messages": []}, *GOOD[2:]]).encode(),
        rule="messages-empty",
        says="Remove the row",
        line=3,
        path="messages",
    ),
    "22-pretty-printed": Case(
        name="t.jsonl", data=b"\n".join(json.dumps(row, indent=2).encode() for row in GOOD), outcome="read"
    ),
    "23-two-objects-on-a-line": Case(
        name="t.jsonl",
        data=second(b'{"messages": []}{"messages": []}'),
        rule="json-two-objects",
        says="starts at column 17",
        line=2,
    ),
    "24-trailing-comma": Case(
        name="t.jsonl", data=second(b'{"messages": [],}'), rule="json-trailing-comma", says="at column 16", line=2
    ),
    "25-python-repr": Case(
        name="t.jsonl",
        data=second(b"{'messages': None, 'ok': True}"),
        rule="json-python-repr",
        says="a Python dict, not JSON (column 2). Write the rows with `json.dumps(row)`",
        line=2,
    ),
    "26-nan": Case(
        name="t.jsonl", data=second(b'{"messages": [], "x": NaN}'), rule="json-nan", says="NaN is not JSON", line=2
    ),
    "27-last-line-cut": Case(
        name="t.jsonl",
        data=PLAIN + b'{"messages": [{"role": "user", "content": "hel',
        rule="json-truncated",
        says="cut off at column 47",
        line=13,
    ),
    "28-lone-high-surrogate": Case(
        name="t.jsonl",
        data=second(b'{"messages": "\\ud800"}'),
        rule="lone-surrogate",
        says="\\ud800 is half an emoji",
        line=2,
    ),
    "29-lone-low-surrogate": Case(
        name="t.jsonl", data=second(b'{"messages": "\\udc00"}'), rule="lone-surrogate", says="a lone low", line=2
    ),
    "30-raw-tab": Case(
        name="t.jsonl",
        data=second(b'{"messages": "a\tb"}'),
        rule="json-control-character",
        says="raw tab at column 16. Write it as \\t",
        line=2,
    ),
    "31-bad-escape": Case(
        name="t.jsonl", data=second(b'{"messages": "\\x41"}'), rule="json-escape", says="at column 15", line=2
    ),
    "31b-bad-unicode-escape": Case(
        name="t.jsonl", data=second(b'{"messages": "\\u12g4"}'), rule="json-escape", says="'\\\\u12g4'", line=2
    ),
    "32-integer-beyond-64-bit": Case(name="t.jsonl", data=second(chat(id=2**70)), outcome="read", rows=13),
    "33-number-too-large": Case(
        name="t.jsonl", data=second(b'{"messages": [], "x": 1e400}'), rule="json-number", says="1e400", line=2
    ),
    "34-duplicate-key": Case(
        name="t.jsonl",
        data=second(b'{"messages": [{"role": "user", "content": "a", "content": "b"}]}'),
        rule="duplicate-key",
        says="'content' appears twice",
        line=2,
        path="content",
    ),
    "35-too-deep": Case(
        name="t.jsonl",
        data=second(b'{"messages": ' + b"[" * 70 + b"]" * 70 + b"}"),
        rule="json-depth",
        says="deeper than 64 levels",
        line=2,
    ),
    "36-array-for-a-row": Case(
        name="t.jsonl", data=second(b"[1]"), rule="row-not-object", says="this is a list", line=2
    ),
    "36b-text-for-a-row": Case(name="t.jsonl", data=second(b'"x"'), rule="row-not-object", says="this is text", line=2),
    "36c-null-for-a-row": Case(
        name="t.jsonl", data=second(b"null"), rule="row-not-object", says="this is null", line=2
    ),
    "37-comment": Case(
        name="t.jsonl", data=second(b'{"messages": [] // note }'), rule="json-comment", says="JSON has none", line=2
    ),
    "37b-comment-line": Case(name="t.jsonl", data=second(b"// a note"), rule="json-comment", says="column 1", line=2),
    "38-unicode-line-separators": Case(name="t.jsonl", data=second(chat("a\u2028b\u0085c")), outcome="read", rows=13),
    "39-mark-before-the-header": Case(
        name="t.csv",
        data=b"\xef\xbb\xbfinstruction,output\na,b\n",
        rule="byte-order-mark",
        says="removed",
        outcome="info",
        rows=1,
    ),
    "40-semicolons": Case(name="t.csv", data=b"prompt;completion\na, and more;b\nc;d\n", outcome="read", rows=2),
    "40b-delimiter-in-a-quoted-header": Case(
        name="t.csv", data=b'prompt;completion;"a, b, c"\nq;a;x\n', outcome="read", rows=1
    ),
    "40c-delimiter-nobody-knows": Case(
        name="t.csv",
        data=b"prompt^completion\na^b\n",
        rule="format-unknown",
        says="one column, 'prompt^completion'. Is '^' the delimiter?",
        line=1,
        rows=0,
    ),
    "40d-other-delimiter-in-the-rows": Case(
        name="t.csv",
        data=b"prompt,completion\na;b\n",
        rule="csv-ragged-row",
        says="1 field, the header has 2. Separate the fields like the header's",
        line=2,
        rows=0,
    ),
    "41-ragged-row": Case(
        name="t.csv",
        data=b"prompt,completion\na,b\na,b,c\nd,e\n",
        rule="csv-ragged-row",
        says="3 fields, the header has 2. Quote fields",
        line=3,
        rows=2,
    ),
    "42-unclosed-quote": Case(
        name="t.csv",
        data=b'prompt,completion\na,b\n"c,d\ne,f\n',
        rule="csv-unclosed-quote",
        says="a quote that opens here never closes",
        line=3,
        rows=1,
    ),
    "43-huge-field": Case(name="t.csv", data=b"prompt,completion\n" + b"a" * 200_000 + b",b\n", outcome="read", rows=1),
    "44-duplicate-header": Case(
        name="t.csv",
        data=b"prompt,completion,prompt\na,b,c\n",
        rule="csv-duplicate-header",
        says="'prompt' twice",
        line=1,
        rows=0,
    ),
    "44b-missing-header": Case(
        name="t.csv",
        data=b"What is 2+2?,4\nWhat is 1+1?,2\n",
        rule="format-unknown",
        says="looks like data, not like a header",
        line=1,
        rows=0,
    ),
    "45-junk-after-a-quote": Case(
        name="t.csv",
        data=b'prompt,completion\nq,a\n"a"b,c\n',
        rule="csv-syntax",
        says='write a quote inside as ""',
        line=3,
        rows=1,
    ),
    "46-words-for-nothing": Case(
        name="t.csv",
        data=b"prompt,completion\nq,a\nr,NA\n",
        rule="cell-nothing",
        says="'NA', which is kept as text",
        line=3,
        path="completion",
        outcome="warning",
        rows=2,
    ),
    "47-cell-cut-by-excel": Case(
        name="t.csv",
        data=b"prompt,completion\nq," + b"b" * 32_767 + b"\n",
        rule="cell-cut",
        says="where Excel cuts",
        line=2,
        path="completion",
        outcome="warning",
        rows=1,
    ),
    "47b-line-end-escaped-by-excel": Case(
        name="t.csv",
        data=b"prompt,completion\nq,b_x000D_c\n",
        rule="cell-escape",
        says="'_x000D_'",
        line=2,
        path="completion",
        outcome="warning",
        rows=1,
    ),
    "47c-curly-quotes": Case(name="t.csv", data="prompt,completion\nq,“b”\n".encode(), outcome="read", rows=1),
    "48-unknown-keys": Case(
        name="t.jsonl",
        data=lines({"prompts": "a", "completon": "b"}),
        rule="format-unknown",
        says="'prompts' ~ 'prompt', 'completon' ~ 'completion'",
        line=1,
        rows=0,
    ),
    "49-two-formats-in-a-row": Case(
        name="t.jsonl",
        data=lines({"prompt": "a", "completion": "b", **GOOD[0]}),
        rule="format-ambiguous",
        says="two conversations: `messages`, and `prompt` with `completion`",
        line=1,
        rows=0,
    ),
    "49b-another-format-between": Case(
        name="t.jsonl",
        data=second({"instruction": "a", "output": "b"}),
        rule="format-mixed",
        says="this row is alpaca, the file is chat",
        line=2,
    ),
    "50-no-messages": Case(
        name="t.jsonl", data=second({"id": 3}), rule="field-missing", says="'messages' is missing", line=2
    ),
    "50b-null-messages": Case(
        name="t.jsonl",
        data=second({"messages": None}),
        rule="messages-type",
        says="this is null",
        line=2,
        path="messages",
    ),
    "50c-empty-messages": Case(
        name="t.jsonl",
        data=second({"messages": []}),
        rule="messages-empty",
        says="the list of messages is empty",
        line=2,
        path="messages",
    ),
    "50d-text-for-messages": Case(
        name="t.jsonl",
        data=second({"messages": "hello"}),
        rule="messages-type",
        says="must be a list of messages, this is text",
        line=2,
        path="messages",
    ),
    "50e-messages-as-json-text": Case(
        name="t.jsonl", data=second({"messages": json.dumps(chat("other")["messages"])}), outcome="read", rows=13
    ),
    "51-message-not-an-object": Case(
        name="t.jsonl",
        data=second(said("hi")),
        rule="message-not-object",
        says="this is text",
        line=2,
        path="messages[0]",
    ),
    "51b-no-role": Case(
        name="t.jsonl",
        data=second(said({"content": "hi"})),
        rule="role-missing",
        says="no 'role'; it has 'content'",
        line=2,
        path="messages[0]",
    ),
    "51c-no-content": Case(
        name="t.jsonl",
        data=second(said({"role": "user"})),
        rule="content-missing",
        says="no 'content'",
        line=2,
        path="messages[0]",
    ),
    "52-unknown-role": Case(
        name="t.jsonl",
        data=second(said({"role": "alien", "content": "hi"}, ANSWER)),
        rule="role-unknown",
        says="unknown role 'alien'; known are system",
        line=2,
        path="messages[0].role",
    ),
    "52b-misspelt-role": Case(
        name="t.jsonl",
        data=second(said(USER, {"role": "asistant", "content": "hi"})),
        rule="role-unknown",
        says="did you mean 'assistant'?",
        line=2,
        path="messages[1].role",
    ),
    "52c-role-in-capitals": Case(
        name="t.jsonl",
        data=second(said({"role": "Human", "content": "hi"}, ANSWER)),
        rule="role-renamed",
        says="'Human' is read as 'user'",
        line=2,
        path="messages[0].role",
        outcome="info",
        rows=13,
    ),
    "53-content-is-a-number": Case(
        name="t.jsonl",
        data=second(said({"role": "user", "content": 3}, ANSWER)),
        rule="content-type",
        says="expected text or a list of parts, this is the number 3",
        line=2,
        path="messages[0].content",
    ),
    "53b-user-says-null": Case(
        name="t.jsonl",
        data=second(said({"role": "user", "content": None}, ANSWER)),
        rule="content-type",
        says="null in a turn of the user",
        line=2,
        path="messages[0].content",
    ),
    "54-blank-question": Case(
        name="t.jsonl",
        data=second(chat("  ")),
        rule="empty-turn",
        says="an empty turn of the user",
        line=2,
        path="messages[0].content",
        outcome="warning",
        rows=13,
    ),
    "54b-empty-answer": Case(
        name="t.jsonl",
        data=second(chat("q", "")),
        rule="empty-target",
        says="the answer to learn is empty",
        line=2,
        path="messages[1].content",
        rows=13,
    ),
    "55-no-answer": Case(
        name="t.jsonl",
        data=second(said(USER)),
        rule="no-assistant-turn",
        says="nothing to learn",
        line=2,
        path="messages",
        rows=13,
    ),
    "55b-last-turn-is-the-users": Case(
        name="t.jsonl",
        data=second(said(USER, ANSWER, {"role": "user", "content": "and?"})),
        rule="last-turn-not-assistant",
        says="ends with the user's turn",
        line=2,
        path="messages[2]",
        outcome="warning",
        rows=13,
    ),
    "55c-only-a-system-prompt": Case(
        name="t.jsonl", data=second(said(SYSTEM)), rule="no-assistant-turn", says="Add the answer", line=2, rows=13
    ),
    "56-system-in-the-middle": Case(
        name="t.jsonl",
        data=second(said(USER, SYSTEM, ANSWER)),
        target="vertex",
        rule="system-later",
        says="a system message after the first turn",
        line=2,
        path="messages[1].role",
        rows=13,
    ),
    "56b-two-system-messages": Case(
        name="t.jsonl",
        data=second(said(SYSTEM, SYSTEM, USER, ANSWER)),
        target="together",
        rule="turn-order",
        says="a turn of the system after the system",
        line=2,
        path="messages[1].role",
        rows=13,
    ),
    "57-two-questions-in-a-row": Case(
        name="t.jsonl",
        data=second(said(USER, USER, ANSWER)),
        target="anthropic",
        rule="turn-order",
        says="finetune data fix --with merge-turns",
        line=2,
        path="messages[1].role",
        rows=13,
    ),
    "57b-two-questions-for-azure": Case(
        name="t.jsonl",
        data=second(said(USER, USER, ANSWER)),
        target="azure",
        rule="same-role",
        says="contains invalid schema",
        line=2,
        path="messages[1].role",
        outcome="warning",
        rows=13,
    ),
    "58-the-assistant-begins": Case(
        name="t.jsonl",
        data=second(said(ANSWER, USER, ANSWER)),
        target="bedrock",
        rule="first-turn",
        says="starts with the assistant's turn",
        line=2,
        path="messages[0].role",
        rows=13,
    ),
    "59-weight-as-text": Case(
        name="t.jsonl",
        data=second(said(USER, {**ANSWER, "weight": "1"})),
        rule="weight-type",
        says="a weight is a number, this is text",
        line=2,
        path="messages[1].weight",
    ),
    "59b-weight-true": Case(
        name="t.jsonl",
        data=second(said(USER, {**ANSWER, "weight": True})),
        rule="weight-type",
        says="this is true/false",
        line=2,
        path="messages[1].weight",
    ),
    "59c-weight-a-half": Case(
        name="t.jsonl",
        data=second(said(USER, {**ANSWER, "weight": 0.5})),
        target="openai",
        rule="weights",
        says="a weight of 0.5; accepted are 0 or 1",
        line=2,
        path="messages[1].weight",
        rows=13,
    ),
    "59d-all-weights-zero": Case(
        name="t.jsonl",
        data=second(said(USER, {**ANSWER, "weight": 0})),
        rule="all-weights-zero",
        says="the row trains nothing",
        line=2,
        rows=13,
    ),
    "59e-weight-on-a-question": Case(
        name="t.jsonl",
        data=second(said({**USER, "weight": 1}, ANSWER)),
        target="openai",
        rule="weights",
        says="a weight on a turn of the user",
        line=2,
        path="messages[0].weight",
        rows=13,
    ),
    "60-call-without-an-id": Case(
        name="t.jsonl",
        data=second(used({"type": "function", "function": {"name": "f", "arguments": "{}"}})),
        target="openai",
        rule="tool-call-id",
        says="the result names no call before it. Give calls and results ids",
        line=2,
        path="messages[2].tool_call_id",
        rows=13,
    ),
    "60b-two-calls-with-one-id": Case(
        name="t.jsonl",
        data=second(used(call(), call())),
        rule="tool-call-id-twice",
        says="two calls of one turn have the id 'c1'",
        line=2,
        path="messages[1].tool_calls[0].id",
        rows=13,
    ),
    "60c-id-null-as-text": Case(
        name="t.jsonl",
        data=second(used(call(id="null"), results=({**RESULT, "tool_call_id": "null"},))),
        target="mistral",
        rule="tool-call-id",
        says="the call's id is 'null'",
        line=2,
        path="messages[1].tool_calls[0].id",
        rows=13,
    ),
    "61-result-of-no-call": Case(
        name="t.jsonl",
        data=second(used(call(), results=({**RESULT, "tool_call_id": "c9"},))),
        rule="tool-result-orphan",
        says="answers 'c9', which no call before it asked",
        line=2,
        path="messages[2].tool_call_id",
        outcome="warning",
        rows=13,
    ),
    "61b-call-never-answered": Case(
        name="t.jsonl",
        data=second(used(call(), results=())),
        rule="tool-call-unanswered",
        says="the call 'c1' has no result before the next turn",
        line=2,
        path="messages[1].tool_calls[0]",
        outcome="warning",
        rows=13,
    ),
    "61c-more-results-than-calls": Case(
        name="t.jsonl",
        data=second(used(call(), results=(RESULT, RESULT))),
        rule="tool-result-twice",
        says="answers 'c1' a second time",
        line=2,
        path="messages[3].tool_call_id",
        outcome="warning",
        rows=13,
    ),
    "62-arguments-not-json": Case(
        name="t.jsonl",
        data=second(used(call("{oops"))),
        rule="tool-arguments",
        says="not valid JSON",
        line=2,
        path="messages[1].tool_calls[0].function.arguments",
        rows=13,
    ),
    "62b-arguments-not-an-object": Case(
        name="t.jsonl", data=second(used(call("[1]"))), rule="tool-arguments", says="no JSON object", line=2, rows=13
    ),
    "62c-arguments-encoded-twice": Case(
        name="t.jsonl", data=second(used(call('"{}"'))), rule="tool-arguments-double", says="twice", line=2, rows=13
    ),
    "62d-arguments-as-an-object": Case(
        name="t.jsonl", data=lines(*GOOD, used(call({"a": 1}))), outcome="read", rows=13
    ),
    "62e-function-with-a-bad-name": Case(
        name="t.jsonl",
        data=second(used(call(name="get weather!"))),
        target="openai",
        rule="tool-name",
        says="'get weather!' is not accepted",
        line=2,
        path="messages[1].tool_calls[0].function.name",
        rows=13,
    ),
    "63-call-of-an-unknown-function": Case(
        name="t.jsonl",
        data=second(used(call(name="g"))),
        rule="tool-unknown",
        says="calls 'g', which `tools` does not define",
        line=2,
        path="messages[1].tool_calls[0].function.name",
        outcome="warning",
        rows=13,
    ),
    "63b-tools-not-a-list": Case(
        name="t.jsonl",
        data=second(used(call(), tools={"a": 1})),
        rule="tools-type",
        says="must be a list of tools, this is an object",
        line=2,
        path="tools",
    ),
    "63c-bad-schema-of-a-tool": Case(
        name="t.jsonl",
        data=second(
            used(call(), tools=[{"type": "function", "function": {"name": "f", "parameters": {"type": "dict"}}}])
        ),
        rule="tools-schema",
        says="'dict' is no type of JSON Schema",
        line=2,
        path="tools[0].function.parameters.type",
        outcome="warning",
        rows=13,
    ),
    "64-deprecated-functions": Case(
        name="t.jsonl",
        data=second(
            said(
                USER,
                {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
                {"role": "function", "name": "f", "content": "r"},
                ANSWER,
                functions=[{"name": "f", "parameters": {"type": "object"}}],
            )
        ),
        rule="deprecated-functions",
        says="is read as",
        line=2,
        outcome="info",
        rows=13,
    ),
    "65-image-of-the-assistant": Case(
        name="t.jsonl",
        data=second(shown(PNG, role="assistant")),
        target="openai",
        rule="images-limits",
        says="an image in a turn of the assistant",
        line=2,
        path="messages[2].content[0].image_url.url",
        rows=13,
    ),
    "65b-image-of-the-system": Case(
        name="t.jsonl",
        data=second(shown(PNG, role="system")),
        target="openai",
        rule="images-limits",
        says="an image in a turn of the system",
        line=2,
        rows=13,
    ),
    "65c-eleven-images": Case(
        name="t.jsonl",
        data=second(shown(*[PNG] * 11)),
        target="openai",
        rule="images-limits",
        says="11 images; at most 10 a row",
        line=2,
        rows=13,
    ),
    "65d-sixty-five-images": Case(
        name="t.jsonl",
        data=second(shown(*[PNG] * 65)),
        target="azure",
        rule="images-limits",
        says="at most 64 a row",
        line=2,
        rows=13,
    ),
    "65e-gif": Case(
        name="t.jsonl",
        data=second(shown("data:image/gif;base64,R0lGOD==")),
        target="openai",
        rule="images-limits",
        says="the image is gif. Accepted: jpeg, png, webp",
        line=2,
        rows=13,
    ),
    "65f-broken-base64": Case(
        name="t.jsonl",
        data=second(shown("data:image/png;base64,@@@")),
        target="openai",
        rule="images-limits",
        says="base64 is broken",
        line=2,
        rows=13,
    ),
    "65g-web-address-where-a-bucket-is-needed": Case(
        name="t.jsonl",
        data=second(shown("https://x.org/a.png")),
        target="bedrock",
        rule="images-limits",
        says="at https://",
        line=2,
        rows=13,
    ),
    "65h-image-over-ten-megabytes": Case(
        name="t.jsonl",
        data=second(shown("data:image/png;base64," + "A" * (15 << 20))),
        target="openai",
        rule="images-limits",
        says="larger than 10 MB",
        line=2,
        rows=13,
    ),
    "65i-missing-file": Case(
        name="t.jsonl",
        data=second(shown("missing.png")),
        rule="media-missing",
        says="there is no file 'missing.png' beside the data",
        line=2,
        path="messages[0].content[0].image_url.url",
        outcome="warning",
        rows=13,
    ),
    "65l-media-type-is-no-text": Case(
        name="t.jsonl",
        data=second(said({"role": "user", "content": [TYPED_BY_A_NUMBER]}, ANSWER)),
        rule="field-type",
        says="'mime_type' must be text, this is the number 1",
        line=2,
        path="messages[0].content[0].image_url.mime_type",
    ),
    "65j-marks-without-images": Case(
        name="t.jsonl",
        data=second(said({"role": "user", "content": "<image><image>?"}, ANSWER, images=["a.png"])),
        rule="image-marks",
        says="2 `<image>` marks but 1 image",
        line=2,
        path="images",
        rows=13,
    ),
    "66-audio-for-openai": Case(
        name="t.jsonl",
        data=second(
            said(
                {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "x", "format": "wav"}}]},
                ANSWER,
            )
        ),
        target="openai",
        rule="other-parts",
        says="audio, video, files",
        line=2,
        path="messages[0].content[0]",
        rows=13,
    ),
    "66b-a-refusal-as-a-part-for-openai": Case(
        name="t.jsonl",
        data=second(
            said(
                {"role": "user", "content": "q"},
                {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
            )
        ),
        target="openai",
        rule="refusal-parts",
        says="a refusal as a part",
        line=2,
        path="messages[1].content[0]",
        outcome="warning",
        rows=13,
    ),
    "67-a-side-is-missing": Case(
        name="t.jsonl",
        data=second({"prompt": "x", "chosen": "a"}, PAIRS),
        rule="field-missing",
        says="'rejected' is missing",
        line=2,
        path="rejected",
    ),
    "67b-chosen-equals-rejected": Case(
        name="t.jsonl",
        data=second({"prompt": "x", "chosen": "a", "rejected": "a"}, PAIRS),
        rule="preference-equal",
        says="nothing to prefer",
        line=2,
        path="chosen",
        rows=13,
    ),
    "67c-answer-of-the-user": Case(
        name="t.jsonl",
        data=second({**OPENAI_PAIRS[0], "preferred_output": [USER]}, OPENAI_PAIRS),
        rule="answer-role",
        says="holds no turn of the assistant",
        line=2,
        path="preferred_output",
    ),
    "67d-answer-of-two-turns": Case(
        name="t.jsonl",
        data=second({**OPENAI_PAIRS[0], "preferred_output": [ANSWER, ANSWER]}, OPENAI_PAIRS),
        target="vertex",
        rule="answer-turns",
        says="an answer of several turns",
        line=2,
        rows=13,
    ),
    "67e-empty-prompt": Case(
        name="t.jsonl",
        data=second({"prompt": "", "chosen": "a", "rejected": "b"}, PAIRS),
        rule="empty-turn",
        says="an empty turn of the user",
        line=2,
        path="prompt[0].content",
        outcome="warning",
        rows=13,
    ),
    "67f-no-common-prompt": Case(
        name="t.jsonl",
        data=lines({"chosen": [USER, ANSWER], "rejected": [{**USER, "content": "z"}, OTHER]}),
        rule="prompt-empty",
        says="Add `prompt`",
        line=1,
        path="prompt",
        outcome="warning",
        rows=1,
    ),
    "68-label-is-a-number": Case(
        name="t.jsonl",
        data=second({"prompt": "x", "completion": "a", "label": 1}, MARKED),
        rule="label-type",
        says="must be true or false, this is the number 1",
        line=2,
        path="label",
    ),
    "68b-only-good-answers": Case(
        name="t.jsonl",
        data=lines(*({**row, "label": True} for row in MARKED)),
        rule="one-class",
        says="every answer is marked good",
        outcome="warning",
    ),
    "69-steps-and-labels-differ": Case(
        name="t.jsonl",
        data=second({"prompt": "x", "completions": ["a", "b"], "labels": [True]}, STEPS),
        rule="stepwise-lengths",
        says="2 steps but 1 labels",
        line=2,
        path="labels",
    ),
    "70-two-completions-with-score-one": Case(
        name="t.jsonl",
        data=second(scored(1, 1), SCORED),
        rule="preference-scores",
        says="exactly one completion with score 1 and one with score 0",
        line=2,
        path="completions[1].score",
    ),
    "70b-scores-as-booleans": Case(
        name="t.jsonl", data=second(scored(True, False), SCORED), rule="preference-scores", says="Score one 1", line=2
    ),
    "71-label-missing": Case(
        name="t.jsonl",
        data=second({"text": "x", "label": None}, LABELLED),
        rule="label-missing",
        says="the label is missing",
        line=2,
        path="label",
    ),
    "71b-label-absent": Case(
        name="t.jsonl", data=second({"text": "x"}, LABELLED), rule="label-missing", says="Add the label", line=2
    ),
    "71c-singleton-class": Case(
        name="t.jsonl",
        data=second({"text": "x", "label": "c"}, LABELLED),
        rule="singleton-class",
        says="classes with one row only: 1, such as 'c'",
        outcome="warning",
        rows=13,
    ),
    "71d-label-variants": Case(
        name="t.jsonl",
        data=lines(*LABELLED, {"text": "x", "label": "A "}),
        rule="label-variants",
        says="differ by case or spaces only: 'A ', 'a'",
        outcome="warning",
        rows=13,
    ),
    "71e-label-with-spaces": Case(
        name="t.jsonl",
        data=second({"text": "x", "label": "a "}, LABELLED),
        rule="label-spaces",
        says="a class of its own",
        line=2,
        path="label",
        outcome="warning",
        rows=13,
    ),
    "71f-list-among-labels": Case(
        name="t.jsonl",
        data=second({"text": "x", "label": ["a"]}, LABELLED),
        rule="label-types",
        says="text in 12 rows, a list in 1 rows",
        rows=13,
    ),
    "72-schema-version-misspelt": Case(
        name="t.jsonl",
        data=second(nova("bedrock-conversion-2024"), NOVA),
        rule="schema-version",
        says="'bedrock-conversion-2024' is read as 'bedrock-conversation-2024'",
        line=2,
        path="schemaVersion",
        outcome="info",
        rows=13,
    ),
    "72b-schema-version-unknown": Case(
        name="t.jsonl",
        data=second(nova("v1"), NOVA),
        rule="schema-version",
        says="'v1' is not 'bedrock-conversation-2024'",
        line=2,
        path="schemaVersion",
        outcome="info",
        rows=13,
    ),
    "72c-reserved-start": Case(
        name="t.jsonl",
        data=second(nova(question="User: hi"), NOVA),
        target="bedrock",
        rule="reserved-start",
        says="begins with 'User:'",
        line=2,
        rows=13,
    ),
    "73-grader-fields-named-item-and-sample": Case(
        name="t.jsonl", data=lines(*({**row, "sample": 1, "item": 2} for row in GRADED)), outcome="read"
    ),
    "74-timestamp-for-text": Case(
        name="t.parquet",
        data=parquet(prompt=[DATE], completion=["a"]),
        rule="format-unknown",
        says="'prompt' is a timestamp",
        line=1,
        rows=0,
    ),
    "74b-bytes-for-text": Case(
        name="t.parquet",
        data=parquet(prompt=[b"ab"], completion=["a"]),
        rule="format-unknown",
        says="'prompt' is bytes",
        line=1,
        rows=0,
    ),
    "74c-whole-labels-as-fractions": Case(
        name="t.parquet",
        data=parquet(text=["a", "b", "c", "d"], label=[1.0, 2.0, 1.0, 2.0]),
        rule="label-float",
        says="whole numbers written as fractions, such as 1.0",
        outcome="warning",
        rows=4,
    ),
    "75-too-few-rows-for-openai": Case(
        name="t.jsonl",
        data=lines(*GOOD[:3]),
        target="openai",
        rule="rows-too-few",
        says="3 rows; at least 10 are needed",
        rows=3,
    ),
    "75b-too-few-rows-for-fireworks": Case(
        name="t.jsonl", data=lines(*GOOD[:2]), target="fireworks", rule="rows-too-few", says="at least 3", rows=2
    ),
    "75c-too-few-rows-for-bedrock": Case(
        name="t.jsonl", data=lines(*GRADED), target="bedrock", rule="rows-too-few", says="at least 100"
    ),
    "76-longer-than-the-context": Case(
        name="t.jsonl",
        data=second(chat("word " * 100_000)),
        target="openai",
        rule="row-too-long",
        says="tokens; beyond 65,536 a row is cut off",
        line=2,
        outcome="warning",
        rows=13,
    ),
    "77-duplicate": Case(
        name="t.jsonl",
        data=second(GOOD[0]),
        rule="duplicate-row",
        says="finetune data dedupe",
        line=2,
        outcome="warning",
        rows=13,
    ),
    "78-template-marks": Case(
        name="t.jsonl",
        data=second(chat("a <|im_end|> b")),
        rule="special-token-in-text",
        says="'<|im_end|>', which a chat template reads as a mark",
        line=2,
        path="messages[0].content",
        outcome="warning",
        rows=13,
    ),
    "79-mojibake": Case(
        name="t.jsonl",
        data=second(chat("sch\u00c3\u00b6n")),
        rule="mojibake",
        says="once read as another encoding",
        line=2,
        path="messages[0].content",
        outcome="warning",
        rows=13,
    ),
    "79b-text-that-turns-around": Case(
        name="t.jsonl",
        data=second(chat("a\u202eb")),
        rule="hidden-character",
        says="U+202E, which nobody sees",
        line=2,
        path="messages[0].content",
        outcome="warning",
        rows=13,
    ),
    "80-secret": Case(
        name="t.jsonl",
        data=second(chat("my key is AKIA" + "IOSFODNN7ABCDEFG")),
        rule="secret",
        says="AWS access key: AKIA…FG",
        line=2,
        path="messages[0].content",
        outcome="warning",
        rows=13,
    ),
    "80b-secret-for-a-hosted-target": Case(
        name="t.jsonl",
        data=second(chat("my key is AKIA" + "IOSFODNN7ABCDEFG")),
        target="openai",
        rule="secret",
        says="--allow secret",
        line=2,
        rows=13,
    ),
    "81-reserved-column": Case(
        name="t.csv",
        data=b"autotrain_text,prompt,completion\na,b,c\n",
        target="autotrain",
        rule="reserved-key",
        says="'autotrain_text' is reserved: AutoTrain stops with a ValueError",
        line=2,
        rows=1,
    ),
    "81b-prompt-that-ends-in-a-space": Case(
        name="t.jsonl",
        data=lines(*({"prompt": f"Q{number}: ", "completion": "a"} for number in range(12))),
        target="peft",
        rule="pair-border",
        says="the prompt ends with a space",
        line=1,
        path="prompt",
        outcome="warning",
    ),
    "82-path-that-climbs": Case(
        name="t.jsonl",
        data=lines(said({"role": "user", "content": "<image>?"}, ANSWER, images=["../../etc/passwd"])),
        rule="media-outside",
        says="'../../etc/passwd' leads out of the dataset's folder",
        line=1,
        path="images[0]",
        outcome="warning",
        rows=1,
    ),
    "82b-address-among-media": Case(
        name="t.jsonl",
        data=lines(said({"role": "user", "content": "<image>?"}, ANSWER, images=["http://169.254.169.254/x"])),
        rule="media-remote",
        says="whoever trains would fetch it",
        line=1,
        path="images[0]",
        outcome="warning",
        rows=1,
    ),
    "82c-media-for-a-local-trainer": Case(
        name="t.jsonl",
        data=lines(said({"role": "user", "content": "<image>?"}, ANSWER, images=["../../etc/passwd"])),
        target="peft",
        rule="images",
        says="the worker trains on text only",
        line=1,
        rows=1,
    ),
}
"""Case 20, a line without end, is a test of its own: its file is larger than memory."""
