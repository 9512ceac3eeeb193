"""Files given by mistake, files that change or never end, and outputs that cannot be written."""

from __future__ import annotations

import gzip
import importlib
import json
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from pathlib import Path

import pytest

from finetune_sdk.data import Dataset, prepare
from finetune_sdk.data.convert import convert
from finetune_sdk.errors import DataError
from finetune_sdk.spec import DataSpec


def chat(question: str) -> str:
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": "yes"}]
    return json.dumps({"messages": turns}, ensure_ascii=False) + "\n"


ROWS = "".join(chat(f"question {number}") for number in range(12))

MISTAKES: dict[str, tuple[str, bytes, str]] = {
    "xml-error": ("t.jsonl", b'<?xml version="1.0"?><Error>AccessDenied</Error>', "a server's error, not data"),
    "error-answer": ("t.jsonl", b'{"error": {"message": "Unauthorized"}}\n', "a server's error answer"),
    "png": ("t.jsonl", b"\x89PNG\r\n\x1a\n\0\0\0\0", "a PNG image"),
    "pdf": ("t.txt", b"%PDF-1.7\n%\xe2\xe3", "a PDF document"),
    "pickle": ("t.bin", b"\x80\x04\x95\0\0", "a Python pickle"),
    "tokenised": ("t.jsonl", b'{"input_ids": [1], "labels": [1]}\n', "tokenised already"),
    "token-labels": ("t.jsonl", b'{"tokens": "a", "ner_tags": "0"}\n', "label single tokens, but not as lists"),
    "no-header": ("t.csv", b"What is 2+2?,4\nWhat is 1+1?,2\n", "looks like data, not like a header"),
    "two-conversations": (
        "t.jsonl",
        b'{"prompt": "a", "completion": "b", "messages": [{"role": "user", "content": "a"}]}\n',
        "two conversations: `messages`, and `prompt` with `completion`",
    ),
    "wrapped": ("t.json", b'{"v": 1, "data": [{"prompt": "a", "completion": "b"}]}', "one level down: 1 in 'data'"),
    "columns": ("t.json", b'{"prompt": {"0": "a"}, "completion": {"0": "b"}}', "the file holds columns, not rows"),
    "column-lists": ("t.json", b'{"prompt": ["a", "b"], "completion": ["c", "d"]}', "the file holds columns, not rows"),
    "split-table": ("t.json", b'{"columns": ["prompt"], "index": [0], "data": [["a"]]}', "columns, not rows"),
    "excel": ("t.xlsx", b"PK\x03\x04 and nothing else", "not a readable Excel file"),
}


@pytest.mark.parametrize(("name", "content", "words"), MISTAKES.values(), ids=MISTAKES.keys())
def test_what_is_no_training_data_is_called_by_its_name(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=words):
        list(Dataset.open(path))


def test_a_tar_archive_is_called_so_even_when_compressed(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(ROWS)
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "a.jsonl", "a.jsonl")
    with pytest.raises(DataError, match="a tar archive"):
        list(Dataset.open(tmp_path / "a.tar.gz"))


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("schÃ¶n", "mojibake"),
        ("itâ€™s", "mojibake"),
        ("a\u202eb", "hidden-character"),
        ("a\u200bb", "hidden-character"),
    ],
)
def test_garbled_and_hidden_letters_are_warned_of(tmp_path: Path, text: str, rule: str) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(chat(text) + ROWS, encoding="utf-8")
    found = [
        (one.severity, one.line)
        for one in prepare(DataSpec(train=str(path)), method="sft").findings
        if one.rule == rule
    ]
    assert found == [("warning", 1)]


@pytest.mark.parametrize("text", ["schön, NÃO, Âge, «é»", "می‌خواهم", "👩‍👩‍👧 naïve — “quoted”"])
def test_letters_that_only_look_odd_are_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(chat(text) + ROWS, encoding="utf-8")
    assert prepare(DataSpec(train=str(path)), method="sft").findings == ()


def test_a_pipe_is_read_once_and_used_as_often_as_needed(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=(ROWS,))
    writer.start()
    dataset = Dataset.open(pipe)
    first, second = list(dataset), list(dataset)
    writer.join()
    assert (len(first), first) == (12, second)


def test_a_folder_of_mixed_formats_names_what_each_file_is(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(ROWS)
    (tmp_path / "b.csv").write_text("text,label\na,x\nb,y\n")
    (tmp_path / "README.md").write_text("# About these data\n")
    prepared = prepare(DataSpec(train=str(tmp_path)), method="sft")
    assert [Path(one.file).name for one in prepared.detection] == ["a.jsonl", "b.csv"]
    [error] = prepared.errors
    assert (error.rule, Path(str(error.file)).name) == ("method-data-mismatch", "b.csv")


def test_nested_list_columns_of_parquet_are_said_to_be_lists(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    arrow, parquet = (importlib.import_module(name) for name in ("pyarrow", "pyarrow.parquet"))
    parquet.write_table(arrow.table({"text": [["a", "b"], ["c"]], "label": [[[1]], [[2]]]}), path)
    with pytest.raises(DataError, match="'text' is a list"):
        list(Dataset.open(path))


def test_a_zip_bomb_is_refused_by_what_it_says_of_itself(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("t.jsonl", "w") as member:
        for _ in range(90):
            member.write(b"\n" * (1 << 20))
    with pytest.raises(DataError, match=r"says that it expands to 94,371,840 bytes, more than 200 times its size"):
        list(Dataset.open(path))


ENDLESS_LINE = """
import resource, sys
from finetune_sdk.data import Dataset
from finetune_sdk.errors import DataError
import finetune_sdk.data.readers as readers
before = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (before + (400 << 20), before + (400 << 20)))
try:
    list(Dataset.open(sys.argv[1]))
except DataError as error:
    print(error)
"""


def test_a_line_of_five_gigabytes_is_refused_within_400_mib(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    with path.open("wb") as file:
        file.write(b'{"text": "' + b"a" * 100_000)
        file.truncate(5 << 30)  # sparse: takes no room on the disk
    done = subprocess.run([sys.executable, "-c", ENDLESS_LINE, path], capture_output=True, text=True, check=True)
    assert "longer than 64 MiB" in done.stdout


def test_a_file_that_shrinks_while_it_is_read_is_not_taken_for_whole(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(ROWS)
    prepared = prepare(DataSpec(train=str(path)), method="sft")
    os.truncate(path, len(ROWS) // 2)
    with pytest.raises(DataError, match=r"changed since|cut off"):
        prepared.write(tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_output_onto_its_own_input_by_another_name_is_refused(tmp_path: Path) -> None:
    path, other = tmp_path / "t.jsonl", tmp_path / "other.jsonl"
    path.write_text(ROWS)
    other.symlink_to(path)
    with pytest.raises(DataError, match="its own input"):
        convert(Dataset.open(path), other, to="chat")
    assert path.read_text() == ROWS


FULL = """
import resource, signal, sys
from pathlib import Path
from finetune_sdk.data import Dataset
from finetune_sdk.data.convert import convert
from finetune_sdk.errors import DataError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    convert(Dataset.open(sys.argv[1]), Path(sys.argv[2]), to="sharegpt")
except (DataError, OSError) as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz", "out.csv", "out.parquet"])
def test_a_disk_that_fills_up_leaves_no_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text("".join(chat(os.urandom(300).hex()) for _ in range(2000)))
    args = [sys.executable, "-c", FULL, path, tmp_path / "o" / name]
    done = subprocess.run(args, check=False, capture_output=True, text=True)
    assert ("File too large" in done.stdout, list((tmp_path / "o").iterdir())) == (True, []), done.stderr


def test_ctrl_c_in_the_middle_leaves_no_file(tmp_path: Path) -> None:
    out = tmp_path / "o" / "out.csv"
    command = Path(sys.executable).with_name("finetune")
    args = [command, "data", "convert", "-", "--to", "prompt-completion", "--out", out]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(args, text=True, **pipes) as process:  # type: ignore[call-overload]
        assert process.stdin is not None
        for number in range(20_000):
            process.stdin.write(chat(f"{number} " + "word " * 200))
        process.stdin.flush()  # and stays open: there is more to come
        while process.poll() is None and not (out.parent.exists() and any(out.parent.iterdir())):
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=300)
    assert (process.returncode, list(out.parent.iterdir()), "Traceback" in error) == (130, [], False)


def test_compressed_data_inside_of_compressed_data_is_called_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "twice.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("t.jsonl.gz", gzip.compress(b'{"text": "a"}\n'))
    with pytest.raises(DataError, match="inside of the zip there is gzip again"):
        list(Dataset.open(path))


def test_a_mark_between_files_that_were_put_together_is_called_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "both.jsonl"
    path.write_bytes(b'{"text": "a"}\n\xef\xbb\xbf{"text": "b"}\n')
    with pytest.raises(DataError, match="a byte order mark at the start of the line"):
        list(Dataset.open(path))


def test_a_pattern_passes_by_hidden_files_as_a_shell_does(tmp_path: Path) -> None:
    for name in ("a.jsonl", ".b.jsonl"):
        (tmp_path / name).write_text('{"text": "a"}\n')
    assert [file.name for file in Dataset.open(str(tmp_path / "*.jsonl")).files] == ["a.jsonl"]
    assert [file.name for file in Dataset.open(str(tmp_path / ".*.jsonl")).files] == [".b.jsonl"]
