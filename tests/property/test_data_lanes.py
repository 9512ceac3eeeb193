"""The fast way and the general way read the same rows, and find the same faults on the same lines."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from finetune_sdk.data import Dataset, canonical, prepare
from finetune_sdk.data.convert import convert
from finetune_sdk.data.formats import format_named
from finetune_sdk.data.renderer import Renderer
from finetune_sdk.data.report import Report
from finetune_sdk.spec import DataSpec

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
CALL = '{"name": "search", "arguments": {"q": 1}}'
SHAREGPT_TURN = st.one_of(
    st.tuples(st.sampled_from(("human", "gpt", "system", "observation", "alien")), TEXT).map(
        lambda turn: {"from": turn[0], "value": turn[1]}
    ),
    st.just({"from": "function_call", "value": CALL}),
    st.just({"from": "gpt", "value": "x", "weight": 0}),
    st.just({"from": "gpt", "value": 3}),
)
ODD_TURNS: list[dict[str, Any]] = [
    {"role": "assistant", "content": "a", "weight": 0},
    {"role": "assistant", "content": None, "tool_calls": []},
]
CHAT_TURN: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.tuples(st.sampled_from(("user", "assistant", "system", "User", "alien")), TEXT).map(
        lambda turn: {"role": turn[0], "content": turn[1]}
    ),
    st.sampled_from(ODD_TURNS),
)
ODD_LINES = st.sampled_from(
    (
        b"",
        b"  ",
        b"oops",
        b"[1]",
        b'{"conversations": [{"from": "human", "from": "gpt", "value": "a"}]}',
        b'{"messages": [{"role": "user", "content": "a", "content": "b"}]}',
        b'{"messages": [{"role": "user", "content": "\xff"}]}',
        b'{"messages" : [{"role": "user", "content": "a", "content": "b"}]}',
        b'{"conversations"\t: [{"from": "human", "from": "gpt", "value": "a"}]}',
        b'{"a" : 1}{"b": 2}',
        b'{"messages": NaN}',
    )
)


def lines(key: str, turn: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[list[bytes]]:
    row = st.lists(turn, max_size=3).map(lambda turns: json.dumps({key: turns}, ensure_ascii=False).encode())
    extra = st.lists(turn, max_size=2).map(lambda turns: json.dumps({"id": '":', key: turns}).encode())
    return st.lists(st.one_of(row, row, row, extra, ODD_LINES), min_size=1, max_size=8)


def read(path: Path, name: str, *, fast: bool) -> tuple[list[bytes], list[str]]:
    report = Report()
    rows = [canonical.render(example) for example in Dataset.open(path, format=name).scan(report, fast=fast)]
    return rows, [str(finding) for finding in report.findings()]


LAX = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=(HealthCheck.too_slow,))


@given(found=st.one_of(
    lines("conversations", SHAREGPT_TURN).map(lambda rows: ("sharegpt", rows)),
    lines("messages", CHAT_TURN).map(lambda rows: ("chat", rows)),
))  # fmt: skip
@LAX
def test_the_fast_way_reads_what_the_general_way_reads(found: tuple[str, list[bytes]]) -> None:
    name, rows = found
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train.jsonl"
        path.write_bytes(b"\n".join(rows))
        assert read(path, name, fast=True) == read(path, name, fast=False)


@given(rows=st.lists(st.lists(SHAREGPT_TURN, min_size=1, max_size=3), min_size=1, max_size=6))
@LAX
def test_converting_straight_to_chat_writes_what_the_general_way_writes(rows: list[list[dict[str, Any]]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path, out, other = (Path(folder) / name for name in ("train.jsonl", "out.jsonl", "array.jsonl"))
        path.write_text("\n".join(json.dumps({"conversations": turns}) for turns in rows))
        pretty = Path(folder) / "train.json"  # no lane for arrays
        pretty.write_text(json.dumps([{"conversations": turns} for turns in rows], indent=1))
        done = convert(Dataset.open(path, format="sharegpt"), out, to="chat")
        slow = convert(Dataset.open(pretty, format="sharegpt"), other, to="chat")
        assert bool(done.written) == bool(slow.written)
        if done.written:
            assert out.read_bytes() == other.read_bytes()


PLAIN_TEXT = TEXT.filter(lambda text: bool(text.strip())) | st.just('},{"role":"assistant","content":"')
CALLED = [{"from": "function_call", "value": CALL}, {"from": "observation", "value": "7"}]
ANSWERED = st.tuples(PLAIN_TEXT, PLAIN_TEXT, st.sampled_from(([], CALLED, CALLED[:1]))).map(
    lambda said: [{"from": "human", "value": said[0]}, *said[2], {"from": "gpt", "value": said[1]}]
)
CONVERSATION = st.tuples(st.lists(ANSWERED, min_size=1, max_size=3), st.booleans()).map(
    lambda drawn: [turn for turns in drawn[0] for turn in turns][drawn[1] :]
)


def prepared(path: Path, out: Path, *, by_examples: bool) -> tuple[list[str], list[bytes]]:
    """What is planned and written; by examples where somebody wants to see each of them."""
    data = DataSpec(train=str(path), format="sharegpt", validation=0.3, split_seed=7)
    found = prepare(data, method="sft", judge=(lambda _example: ()) if by_examples else None)
    planned = [str(one) for one in (*found.files, *found.findings, found.rows)]
    return planned, [] if found.errors else [path.read_bytes() for path in found.write(out).values()]


@given(rows=st.lists(CONVERSATION | st.lists(SHAREGPT_TURN, max_size=2), min_size=1, max_size=8), tight=st.booleans())
@LAX
def test_plain_rows_prepared_without_examples_are_what_examples_give(
    rows: list[list[dict[str, Any]]], tight: bool
) -> None:
    separators = (",", ":") if tight else None
    lines = [json.dumps({"conversations": turns}, ensure_ascii=False, separators=separators) for turns in rows]
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder) / "train.jsonl", Path(folder) / "out"
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        assert prepared(path, out, by_examples=False) == prepared(path, out, by_examples=True)


SAME_SPEAKERS = [
    [{"from": "human", "value": "a"}, asked, CALLED[1], {"from": "gpt", "value": "b"}]
    for asked in ({"from": "gpt", "value": "look"}, CALLED[0])
]


@example(rows=SAME_SPEAKERS, to="sharegpt")
@given(rows=st.lists(CONVERSATION, min_size=1, max_size=5), to=st.sampled_from(("chat", "sharegpt", "anthropic")))
@LAX
def test_plain_rows_read_many_at_a_time_are_written_as_those_read_one_by_one(
    rows: list[list[dict[str, Any]]], to: str
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path, pretty = Path(folder) / "train.jsonl", Path(folder) / "train.json"
        path.write_text(
            "".join(json.dumps({"conversations": turns}, ensure_ascii=False) + "\n" for turns in rows), "utf-8"
        )
        pretty.write_text(json.dumps([{"conversations": turns} for turns in rows], indent=1))
        reports = Report(), Report()
        written = [
            [row for one in Dataset.open(source, format="sharegpt").scan(report) for row in ways.rows(one)]
            for source, report in zip((path, pretty), reports, strict=True)
            for ways in [Renderer(format_named(to), ("all",), report, as_json=False)]
        ]
        assert written[0] == written[1]
        told = [[(one.rule, one.count, one.path) for one in report.findings()] for report in reports]
        assert told[0] == told[1]


@given(data=st.binary(max_size=200), name=st.sampled_from(("t.jsonl", "t.json", "t.csv", "t.txt", "t.parquet", "t.gz")))
@LAX
def test_no_bytes_make_a_reader_crash(data: bytes, name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(data)
        report = Report()
        rows = sum(1 for _ in Dataset.open(path).scan(report))
        assert rows or report.findings()


@given(rows=st.permutations(range(12)))
@settings(max_examples=20, deadline=None, derandomize=True)
def test_detection_does_not_depend_on_the_order_of_rows_or_keys(rows: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train.jsonl"
        written = [{"instruction": f"a{row}", "input": "", "output": "b", "text": "c"} for row in rows]
        path.write_text(
            "\n".join(
                json.dumps(dict(sorted(row.items(), reverse=bool(index % 2)))) for index, row in enumerate(written)
            )
        )
        assert Dataset.open(path).detection[0].format == format_named("alpaca").name
