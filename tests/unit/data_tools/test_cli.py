"""`finetune data` as a person or a program uses it."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from finetune_sdk.cli._app import cli
from finetune_sdk.cli._out import wrapped
from finetune_sdk.cli.data import group
from finetune_sdk.errors import DataError


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(cli, ["data", *map(str, args)])


def chat(question: str, answer: str = "hello") -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(chat(f"question {number}")) + "\n" for number in range(12)))
    return path


def test_a_check_shows_counts_and_the_matrix(rows: Path) -> None:
    found = run("check", rows)

    assert found.exit_code == 0
    assert "12 conversations" in found.stdout
    assert any(line.split()[:3] == ["openai", "sft", "yes"] for line in found.stdout.splitlines())


def test_a_check_speaks_json(rows: Path) -> None:
    found = json.loads(run("check", rows, "--for", "openai,peft", "--format", "json").stdout)

    assert (found["rows"], found["ok"], [one["target"] for one in found["targets"]]) == (12, True, ["openai", "peft"])


def test_bad_rows_are_exit_code_3(rows: Path) -> None:
    rows.write_text(rows.read_text() + '{"messages": []}\n')

    assert run("check", rows).exit_code == 3


def test_a_refusal_is_exit_code_3_only_of_a_target_that_was_named(tmp_path: Path) -> None:
    few = tmp_path / "few.jsonl"
    few.write_text(json.dumps(chat("q")) + "\n")

    assert (run("check", few).exit_code, run("check", few, "--for", "openai").exit_code) == (0, 3)


def test_the_html_report_needs_nothing_from_elsewhere(rows: Path, tmp_path: Path) -> None:
    run("check", rows, "--html", tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()

    assert page.startswith("<!doctype html>")
    assert "src=" not in page
    assert "<link" not in page


def test_html_of_hostile_rows_runs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("text,label\na,<script>alert(1)</script>\nb,c\n")
    run("check", path, "--html", tmp_path / "report.html")

    assert "<script>" not in (tmp_path / "report.html").read_text()


def test_a_conversion_for_a_target_is_written_and_told(rows: Path, tmp_path: Path) -> None:
    found = run("convert", rows, "--to", "vertex", "--out", tmp_path / "out.jsonl")

    assert found.exit_code == 0
    assert json.loads((tmp_path / "out.jsonl").read_text().splitlines()[0]).keys() == {"contents"}


def test_a_refused_conversion_is_exit_code_3_and_says_how_to_allow_it(rows: Path, tmp_path: Path) -> None:
    row = chat("q")
    row["messages"][1]["weight"] = 0
    rows.write_text(json.dumps(row) + "\n" + json.dumps(chat("r")) + "\n")
    found = run("convert", rows, "--to", "alpaca", "--out", tmp_path / "out.jsonl")

    assert found.exit_code == 3
    assert "--allow-loss weights" in found.stdout
    assert not (tmp_path / "out.jsonl").exists()


def test_a_split_without_a_size_for_train_leaves_it_the_rest(rows: Path, tmp_path: Path) -> None:
    found = json.loads(run("split", rows, "--validation", "0.25", "--out", tmp_path, "--format", "json").stdout)

    assert [Path(name).name for name in found["written"]] == ["train.jsonl", "validation.jsonl"]
    assert list(found["written"].values()) == [9, 3]


def test_leaks_are_exit_code_3(rows: Path) -> None:
    found = run("leaks", rows, rows)

    assert found.exit_code == 3
    assert found.stdout.count("exact") == 12


def test_a_scan_names_the_place_and_not_the_secret(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    secret = "hf_" + "aB" * 17
    path.write_text(json.dumps(chat(secret)) + "\n" + json.dumps(chat("fine")) + "\n")
    found = run("scan", path)

    assert found.exit_code == 3
    assert "rows.jsonl:1" in found.stdout
    assert secret not in found.output


def test_the_rules_of_a_target_come_with_their_sources() -> None:
    found = json.loads(run("targets", "openai", "--format", "json").stdout)

    assert all(rule["source"] and rule["read_on"] for profile in found for rule in profile["rules"])


@pytest.mark.parametrize("command", sorted(group.commands))
def test_every_command_explains_itself(command: str) -> None:
    found = run(command, "--help")

    assert found.exit_code == 0
    assert "--format" in found.stdout


@pytest.mark.parametrize("part", ["validation", "=0.1", "validation=x", "a b=0.1", "test=²"])
def test_a_part_that_is_no_part_is_a_usage_error(rows: Path, tmp_path: Path, part: str) -> None:
    assert run("split", rows, "--part", part, "--out", tmp_path).exit_code == 2


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        (["--part", "test=0.1", "--test", "0.2"], "'test' is given twice"),
        (["--part", "train=0.5", "--test", "0.1"], "add up to 0.6, not to 1"),
        (["--part", "a=0.5", "--part", "b=0.6"], "leave nothing for train"),
    ],
)
def test_sizes_that_contradict_each_other_are_usage_errors(
    rows: Path, tmp_path: Path, sizes: list[str], words: str
) -> None:
    found = run("split", rows, *sizes, "--out", tmp_path / "o")

    assert found.exit_code == 2
    assert words in " ".join(found.stderr.split())


@pytest.mark.parametrize(("option", "words"), [("--for", "no target is named"), ("--method", "no data rules for")])
def test_a_judge_that_is_nobody_is_refused(rows: Path, option: str, words: str) -> None:
    found = run("check", rows, option, ",")

    assert found.exit_code != 0
    assert words in found.stderr + str(found.exception)


@pytest.mark.parametrize("command", ["convert", "merge"])
def test_a_loss_that_no_format_has_is_refused(rows: Path, tmp_path: Path, command: str) -> None:
    found = run(command, rows, "--to", "chat", "--allow-loss", "wieghts", "--out", tmp_path / "o.jsonl")

    assert "--allow-loss wieghts: no such rule. Did you mean 'weights'?" in str(found.exception)


def test_rows_are_shown_with_all_that_they_hold(tmp_path: Path) -> None:
    picture = {"type": "image_url", "image_url": {"url": "https://host/i.png"}}
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    turns = [
        {"role": "user", "name": "joe", "content": [{"type": "text", "text": "look"}, picture]},
        {"role": "assistant", "content": None, "reasoning_content": "hm", "tool_calls": [call], "weight": 0},
        {"role": "tool", "content": "red \x1b[31m\u202e", "tool_call_id": "c"},
        {"role": "assistant", "content": "done"},
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"messages": turns, "tools": [{"function": {"name": "f"}}], "answer": {"n": 7}}) + "\n")

    assert run("show", path).stdout.splitlines()[1:] == [
        "  tools: f",
        "  user joe: look [image_url https://host/i.png]",
        "  assistant (weight 0): ",
        "    thinks: hm",
        "    calls f({})",
        "  tool: red \\u001b[31m\\u202e",
        "  assistant: done",
        '  answer: {"n": 7}',
    ]


def test_rows_around_a_faulty_one_are_shown_and_it_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join([json.dumps(chat("first")), "{oops", json.dumps(chat("third"))]) + "\n")
    found = run("show", path)

    assert found.exit_code == 3
    assert "first" in found.stdout
    assert "third" in found.stdout
    assert "rows.jsonl:2" in found.stderr


def test_skipping_all_rows_says_so(rows: Path) -> None:
    found = run("show", rows, "--skip", "500")

    assert (found.exit_code, found.stdout) == (0, "")
    assert "no row is left after the first 500" in found.stderr


def test_what_cannot_be_read_goes_before_the_sizes_of_a_split(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(random.Random(0).randbytes(500).hex().encode())[:100])
    found = run("split", path, "--validation", "0.1", "--out", tmp_path / "o")

    assert (found.exit_code, "container-truncated" in found.stdout) == (3, True)


@pytest.mark.parametrize("command", ["stats", "show", "check"])
def test_looking_at_bad_data_is_exit_code_3(rows: Path, command: str) -> None:
    rows.write_text(json.dumps(chat("q")) + "\n{oops\n")

    assert run(command, rows).exit_code == 3


def test_a_report_goes_into_a_folder_that_is_made_for_it(rows: Path, tmp_path: Path) -> None:
    assert run("check", rows, "--html", tmp_path / "new" / "report.html").exit_code == 0
    assert (tmp_path / "new" / "report.html").stat().st_size


def test_a_file_that_is_no_tokenizer_is_called_that(rows: Path, tmp_path: Path) -> None:
    pytest.importorskip("tokenizers", reason="the extra `tokens` is not installed")
    (tmp_path / "tokenizer.json").write_text("{}")
    found = run("tokens", rows, "--tokenizer", tmp_path)

    assert "no tokenizer.json that can be read" in str(found.exception)


def test_a_sample_of_tokens_needs_a_tokenizer(rows: Path) -> None:
    assert run("tokens", rows, "--sample", "5").exit_code == 2


def test_labels_that_are_not_drawn_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("text,label\n" + "".join(f"row {number},label {number % 25}\n" for number in range(50)))

    assert run("stats", path).stdout.splitlines()[-1] == "  ... and 5 more"


def test_merging_for_a_target_refuses_what_converting_does(rows: Path, tmp_path: Path) -> None:
    more = tmp_path / "more.jsonl"
    more.write_text(json.dumps(chat("hf_" + "aB" * 17)) + "\n")
    refused = run("merge", rows, more, "--to", "openai", "--out", tmp_path / "o.jsonl")
    allowed = run("merge", rows, more, "--to", "openai", "--out", tmp_path / "o.jsonl", "--allow", "secret")

    assert (refused.exit_code, "would be sent away" in refused.stdout, allowed.exit_code) == (3, True, 0)


def test_an_unknown_target_is_an_error_with_the_nearest_name(rows: Path) -> None:
    found = run("check", rows, "--for", "opnai")

    assert isinstance(found.exception, DataError)
    assert "did you mean 'openai'" in str(found.exception)


def test_bars_are_as_long_as_their_share(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("text,label\n" + "".join(f"row {number},{'ab'[number % 3 == 0]}\n" for number in range(60)))
    lines = click.unstyle(run("stats", path).stdout).splitlines()
    bars = lines[lines.index("rows per label") + 1 :]

    assert [(line.split()[0], line.count("█")) for line in bars] == [("a", 36), ("b", 18)]


def test_a_command_in_a_message_is_never_broken_and_colours_take_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    shown = wrapped(f"{click.style('error', fg='red')} x: run it twice, then `finetune data scan` lists all")
    assert [click.unstyle(line) for line in shown.splitlines()] == [
        "  error x: run it twice, then",
        "  `finetune data scan` lists all",
    ]


def test_rows_with_errors_are_said_once_not_for_each_target(rows: Path) -> None:
    rows.write_text(json.dumps(chat("q")) + "\n" + json.dumps({"messages": []}) + "\n")
    shown = run("check", rows).stdout
    assert shown.count("the rows have errors of their own") == 1


def test_a_label_with_a_blank_at_its_end_can_be_told_from_the_one_without(tmp_path: Path) -> None:
    path = tmp_path / "l.csv"
    path.write_text("text,label\na,other\nb,other \n")
    assert "'other '" in run("stats", path).stdout


def test_a_template_in_the_shell_fills_columns_and_breaks_lines(tmp_path: Path) -> None:
    source, out = tmp_path / "phrases.jsonl", tmp_path / "texts.jsonl"
    source.write_text('{"phrase": "Why {me}?", "tone": "joy"}\n')

    run("convert", source, "--column", r"text=### {phrase}\n### {tone}", "--to", "text", "--out", out)

    assert json.loads(out.read_text())["text"] == "### Why {me}?\n### joy"


def test_one_column_cannot_be_two(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"a": "q", "b": "r"}\n')
    shown = run("check", tmp_path / "t.jsonl", "--column", "prompt=a", "--column", "prompt=b")
    assert shown.exit_code == 2
    assert "'prompt' is mapped to 'a' and to 'b'" in shown.stderr


def test_long_lines_of_a_check_are_broken_where_the_terminal_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for number in range(9):
        (tmp_path / f"{number}.jsonl").write_text('{"messages": [{"role": "Human", "content": "a"}]}\n' * 3)
    monkeypatch.chdir(tmp_path)
    lines = run("check", ".", "--for", "openai,azure").stdout.splitlines()

    assert max(map(len, lines)) <= 80
    assert any("... and 4 more like them, up to 8.jsonl" in line for line in lines)


def test_a_split_by_a_number_of_rows_leaves_the_rest_for_training(rows: Path, tmp_path: Path) -> None:
    found = json.loads(run("split", rows, "--validation", "2", "--out", tmp_path / "o", "--format", "json").stdout)

    assert [count for _, count in sorted(found["written"].items())] == [10, 2]


def test_a_stable_split_knows_shares_only(rows: Path, tmp_path: Path) -> None:
    found = run("split", rows, "--validation", "2", "--stable", "--out", tmp_path / "o")

    assert "takes shares below 1" in str(found.exception)
