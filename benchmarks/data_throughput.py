"""How fast data flows: a generated ShareGPT file to OpenAI chat JSONL with full validation, beside what others need.

    make bench                                              # a modest size
    python benchmarks/data_throughput.py --size 1000        # the documented one, in MB

Each case runs in a process of its own, in turn, `--repeat` times; its best run counts. MB of input per CPU-second (user
and system, helpers included) says what the work costs, whatever else the machine does; MB/s is wall time. Neither
imports are counted nor looking for garbage among what they made. Files live in memory (`/dev/shm`) where there is room,
so that the disk is not what is measured. Cases whose library or compiler is missing are left out, and said so.
"""

# pyright: basic
# ruff: noqa: PLC0415, SIM905 - each case imports what it measures, in its own process; words are read as text

from __future__ import annotations

import argparse
import gc
import gzip
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from rare_rows import write_rare

WORDS = """
the of and to in is you that it for was on are as with his they at be this have from or one had by word but
not what all were we when your can said there use an each which she do how their if will up other about out
many then them these so some her would make like him into time has look two more write go see number no way
could people my than first water been call who oil its now find long down day did get come made may part
example however function should answer question model training "quoted" it's (see below), result: value; first.
""".split()
ACCENTED = (
    "über naïve façade élève señor garçon größer été où mañana perché così świat zażółć привет мир как дела".split()
)
CJK = """
数据 学习 模型 微调 我们 可以 使用 这个 问题 回答。 こんにちは 世界 ありがとう、 です。 안녕하세요 데이터 모델
""".split()
EMOJI = "😀 🚀 ✨ 🎉 👍".split()
CODE = (
    "def total(items: list[int]) -> int:",
    "    return sum(item for item in items if item > 0)",
    'print(f"{name!r}: {value:.2f}\\n")',
    "for (let i = 0; i < n; i++) { out[i] = a[i] * 2; }",
    "SELECT id, name FROM users WHERE age >= 21;",
    "path = C:\\temp\\file.txt",
    "",
)
KINDS = {"prose": 70, "code": 7, "emoji": 5, "accented": 8, "cjk": 10}
"""Texts per hundred."""

ROLES = {
    "human": "user",
    "gpt": "assistant",
    "system": "system",
    "function_call": "assistant",
    "observation": "tool",
}


def _text(chance: random.Random) -> str:
    """One turn: a language or kind of its own, about 670 bytes (half of them under 370), six line breaks per KB."""
    size = max(3, int(chance.lognormvariate(5.9, 1.1)))
    kind = chance.choices(list(KINDS), list(KINDS.values()))[0]
    words, apart, each = {"accented": (WORDS + 6 * ACCENTED, " ", 6), "cjk": (CJK, "", 9)}.get(kind, (WORDS, " ", 5.1))
    said = chance.choices(words, k=max(3, int(size / each)))
    for at in range(chance.randrange(20, 40), len(said), 33):
        said[at] += "\n"
    if kind == "emoji":
        said[chance.randrange(len(said))] += " " + chance.choice(EMOJI)
    text = apart.join(said).rstrip()
    if kind == "code":
        lines = chance.choices(CODE, k=max(1, size // 80))
        text = "\n".join([text[: size // 2], "```", *lines, "```"])
    return text


def generate(path: Path, megabytes: float, seed: int = 0) -> None:
    """Rows of about 3.5 KB and 5 turns, one question in 25 with a tool call; the same seed, the same rows.

    Lengths, turns and languages follow what real conversations have: most texts are ASCII with line breaks and quotes,
    a tenth is Chinese, Japanese or Korean, some have accents, code or emoji.
    """
    chance = random.Random(seed)
    pool = [_text(chance) for _ in range(12_000)]
    left = int(megabytes * 1e6)
    with path.open("w", encoding="utf-8", newline="\n") as out:
        while left > 0:
            turns: list[dict[str, str]] = []
            if chance.random() < 0.3:
                turns.append({"from": "system", "value": chance.choice(pool)})
            for _ in range(max(1, round(chance.gauss(2.4, 1)))):
                turns.append({"from": "human", "value": chance.choice(pool)})
                if chance.random() < 0.04:
                    call = {"name": "search", "arguments": {"query": chance.choice(pool)[:40]}}
                    turns.append({"from": "function_call", "value": json.dumps(call, ensure_ascii=False)})
                    turns.append({"from": "observation", "value": chance.choice(pool)})
                turns.append({"from": "gpt", "value": chance.choice(pool)})
            line = json.dumps({"conversations": turns}, ensure_ascii=False) + "\n"
            left -= len(line.encode())
            out.write(line)


def ours(source: Path, out: Path, workers: int) -> None:
    from finetune_sdk.data import Dataset
    from finetune_sdk.data.convert import convert

    outcome = convert(Dataset.open(source), out, to="chat", workers=workers)
    if not outcome.written or outcome.findings:
        raise SystemExit(f"the generated data is not clean: {outcome.findings}")


def at_once(source: Path, out: Path) -> None:
    """Two conversions by one process each at the same time: what a second core of this machine is worth at most."""
    child = os.fork()
    ours(source, out.with_name(f"{child}.jsonl"), 1)
    if not child:
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        raise SystemExit("the other conversion failed")


def general(source: Path, out: Path) -> None:
    """Plain rows the way that rows with rare features go: the table of the way for plain rows (`TO_CHAT`) is empty."""
    from finetune_sdk.data import dataset

    dataset.TO_CHAT = {}  # type: ignore[attr-defined]
    ours(source, out, 1)


def by_examples(source: Path, out: Path) -> None:
    """Every row as an example, as for a target that no way leads straight to: `TO_CHAT` and `COPIED` are empty."""
    from finetune_sdk.data import dataset

    dataset.TO_CHAT = dataset.COPIED = {}  # type: ignore[attr-defined,assignment]
    ours(source, out, 1)


def rare(name: str) -> Callable[[Path, Path], None]:
    """Rows that all have a rare feature, by one process, with every check. Their format is named: the file is smaller
    than that of the plain rows, and looking for it would cost as much.
    """

    def convert_rare(source: Path, out: Path) -> None:
        from finetune_sdk.data import Dataset
        from finetune_sdk.data.convert import convert

        dataset = Dataset.open(source.with_name(f"rare-{name}.jsonl"), format=name)
        outcome = convert(dataset, out, to="chat", workers=1)
        if not outcome.written or outcome.findings:
            raise SystemExit(f"the generated data is not clean: {outcome.findings}")

    return convert_rare


def prepare(source: Path, out: Path) -> None:
    """What `finetune run` does with the file: check, hash, and write canonical rows."""
    from finetune_sdk.data import prepare
    from finetune_sdk.spec import DataSpec

    prepared = prepare(DataSpec(train=str(source)), method="sft")
    prepared.write(out.with_suffix(".prepared"))


def write_tables(source: Path) -> None:
    """The single questions and answers of the rows as CSV and Parquet, and all rows as gzip, beside the source."""
    from csv import writer

    import pyarrow
    from pyarrow import csv, parquet

    pairs: list[dict[str, str]] = []
    with source.open(encoding="utf-8") as read:
        for line in read:
            turns = json.loads(line)["conversations"]
            said = [(asked["value"], answer["value"]) for asked, answer in pairwise(turns) if answer["from"] == "gpt"]
            pairs += [{"prompt": asked, "completion": answer} for asked, answer in said]
            if len(pairs) > 60_000:
                break
    table = pyarrow.Table.from_pylist(pairs)
    csv.write_csv(table, source.with_name("pairs.csv"))
    with source.with_name("few-quotes.csv").open("w", encoding="utf-8", newline="") as out:
        rows = writer(out, lineterminator="\n")
        rows.writerows([("prompt", "completion"), *map(dict.values, pairs)])
    parquet.write_table(table, source.with_name("pairs.parquet"), row_group_size=10_000)
    with gzip.open(source.with_name("rows.jsonl.gz"), "wb", compresslevel=6) as out, source.open("rb") as whole:
        out.write(whole.read(50_000_000))


def table_rows(name: str) -> Callable[[Path, Path], None]:
    """A table to Python objects, as our readers give them."""

    def read(source: Path, _out: Path) -> None:
        from finetune_sdk.data.containers import open_file
        from finetune_sdk.data.readers import read_rows

        with open_file(source.with_name(name)) as opened:
            for _ in read_rows(opened, lambda line, fault: sys.exit(f"{line}: {fault}")):
                pass

    return read


def arrow_csv(name: str) -> Callable[[Path, Path], None]:
    """A table to Python objects, as pyarrow gives them."""

    def read(source: Path, _out: Path) -> None:
        from pyarrow import csv

        options = csv.ParseOptions(newlines_in_values=True)
        reading = csv.ReadOptions(use_threads=False)
        for batch in csv.open_csv(source.with_name(name), parse_options=options, read_options=reading):
            batch.to_pylist()

    return read


def arrow_parquet(source: Path, _out: Path) -> None:
    """A table to Python objects, as pyarrow gives them."""
    from pyarrow import parquet

    for batch in parquet.ParquetFile(source.with_name("pairs.parquet")).iter_batches():
        batch.to_pylist()


def gunzip(source: Path, _out: Path) -> None:
    """Unpacked only."""
    from finetune_sdk.data.containers import open_file

    with open_file(source.with_name("rows.jsonl.gz")) as opened:
        while opened.stream.read(1 << 18):
            pass


def zlib_gunzip(source: Path, _out: Path) -> None:
    """Unpacked only, by the standard library."""
    with gzip.open(source.with_name("rows.jsonl.gz"), "rb") as read:
        while read.read(1 << 18):
            pass


def copy(source: Path, out: Path) -> None:
    with source.open("rb") as read, out.open("wb") as write:
        while block := read.read(1 << 18):
            write.write(block)


def msgspec_alone(source: Path, out: Path) -> None:
    """The floor of what we build on: each row decoded and encoded in C, texts not looked at, nothing checked."""
    import msgspec

    turn = msgspec.defstruct("Turn", [("from", str), ("value", msgspec.Raw)], gc=False)
    row = msgspec.defstruct("Row", [("conversations", list[turn])], gc=False)  # type: ignore[valid-type]
    decode, encode = msgspec.json.Decoder(row).decode_lines, msgspec.json.Encoder().encode_lines
    left = b""
    with source.open("rb") as read, out.open("wb") as write:
        while block := read.read(1 << 18):
            lines, _, rest = block.rpartition(b"\n")
            write.write(encode(decode(left + lines)))
            left = rest


def stdlib_json(source: Path, out: Path) -> None:
    """What a script does that checks nothing."""
    with source.open(encoding="utf-8") as read, out.open("w", encoding="utf-8") as write:
        for line in read:
            turns = json.loads(line)["conversations"]
            said = [{"role": ROLES[turn["from"]], "content": turn["value"]} for turn in turns]
            write.write(json.dumps({"messages": said}, ensure_ascii=False) + "\n")


def _loaded(source: Path, out: Path) -> object:
    import datasets

    cache = tempfile.mkdtemp(dir=out.parent)  # a fresh one, or the second run would only read the first one's
    return datasets.load_dataset("json", data_files=str(source), split="train", cache_dir=cache)


def datasets_map(source: Path, out: Path) -> None:
    """`datasets`: load, a batched map that only renames, `to_json`."""

    def rename(batch: dict[str, list[list[dict[str, str]]]]) -> dict[str, list[list[dict[str, str]]]]:
        return {
            "messages": [
                [{"role": ROLES[turn["from"]], "content": turn["value"]} for turn in turns]
                for turns in batch["conversations"]
            ]
        }

    rows = _loaded(source, out)
    rows.map(rename, batched=True, remove_columns=["conversations"]).to_json(str(out))  # type: ignore[attr-defined]


def trl_chatml(source: Path, out: Path) -> None:
    """TRL's own conversion, as its trainers apply it, and `to_json`."""
    from trl.data_utils import maybe_convert_to_chatml

    rows = _loaded(source, out)
    rows.map(maybe_convert_to_chatml, remove_columns=["conversations"]).to_json(str(out))  # type: ignore[attr-defined]


def unsloth(source: Path, out: Path) -> None:
    """Unsloth's own conversion, and `to_json`. It knows three roles, and stops at others unless told what they are."""
    from unsloth_zoo.dataset_utils import standardize_data_formats

    roles = {"aliases_for_user": ["human", "observation"], "aliases_for_assistant": ["gpt", "function_call"]}
    standardize_data_formats(_loaded(source, out), num_proc=1, **roles).to_json(str(out))


def llama_factory(source: Path, out: Path) -> None:
    """LLaMA-Factory's own conversion, and `to_json`."""
    from types import SimpleNamespace

    from llamafactory.data.converter import SharegptDatasetConverter
    from llamafactory.data.parser import DatasetAttr

    attributes = DatasetAttr("file", dataset_name="rows", formatting="sharegpt", messages="conversations")
    convert = SharegptDatasetConverter(attributes, SimpleNamespace(media_dir=None))
    rows = _loaded(source, out)
    rows.map(convert, remove_columns=["conversations"]).to_json(str(out))  # type: ignore[attr-defined]


def simdjson(source: Path, out: Path) -> None:
    """One thread of C++ that checks nothing."""
    subprocess.run([str(source.with_name("simdjson")), str(source), str(out)], check=True)


AT_ONCE = "ours, twice at once"
CASES: dict[str, Callable[[Path, Path], None]] = {
    "ours, 1 process": lambda source, out: ours(source, out, 1),
    "ours, 2 processes": lambda source, out: ours(source, out, 2),
    AT_ONCE: at_once,
    "ours, general way": general,
    "ours, by examples": by_examples,
    "ours, rare sharegpt": rare("sharegpt"),
    "ours, rare chat": rare("chat"),
    "ours, prepare+write": prepare,
    "copy": copy,
    "simdjson C++": simdjson,
    "msgspec alone": msgspec_alone,
    "json script": stdlib_json,
    "datasets.map": datasets_map,
    "TRL chatml": trl_chatml,
    "Unsloth": unsloth,
    "LLaMA-Factory": llama_factory,
    "ours, CSV rows": table_rows("pairs.csv"),
    "pyarrow, CSV rows": arrow_csv("pairs.csv"),
    "ours, CSV with few quotes": table_rows("few-quotes.csv"),
    "pyarrow, CSV with few quotes": arrow_csv("few-quotes.csv"),
    "ours, Parquet rows": table_rows("pairs.parquet"),
    "pyarrow, Parquet rows": arrow_parquet,
    "ours, gunzip": gunzip,
    "zlib, gunzip": zlib_gunzip,
}
RARE = {"ours, rare sharegpt": "rare-sharegpt.jsonl", "ours, rare chat": "rare-chat.jsonl"}
"""Cases on rows that all have a rare feature, by their files."""
TABLES = ("CSV rows", "CSV with few quotes", "Parquet rows", "gunzip")
"""Cases on files of their own: only their ratios are told."""
IMPORTS = {
    "datasets.map": ("datasets",),
    "TRL chatml": ("datasets", "trl.data_utils"),
    "Unsloth": ("datasets", "unsloth_zoo.dataset_utils"),
    "LLaMA-Factory": ("datasets", "llamafactory.data.converter"),
    "pyarrow, CSV rows": ("pyarrow.csv",),
    "pyarrow, CSV with few quotes": ("pyarrow.csv",),
    "pyarrow, Parquet rows": ("pyarrow.parquet",),
    "ours, CSV rows": ("finetune_sdk.data.readers", "finetune_sdk.data.containers", "numpy"),
    "ours, CSV with few quotes": ("finetune_sdk.data.readers", "finetune_sdk.data.containers", "numpy"),
    "ours, Parquet rows": ("finetune_sdk.data.readers", "pyarrow.parquet"),
}


def run_case(name: str, source: Path, out: Path) -> None:
    """In the child: run and report CPU seconds, wall seconds and peak memory as JSON."""
    for module in IMPORTS.get(name, ("finetune_sdk.data.convert", "pyarrow") if name.startswith("ours") else ()):
        __import__(module)
    gc.collect()
    before, start = _cpu(), time.monotonic()
    CASES[name](source, out)
    wall, cpu = time.monotonic() - start, _cpu() - before
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1024
    print(json.dumps({"cpu_s": cpu, "wall_s": wall, "peak_mb": peak}))


def _cpu() -> float:
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(part.ru_utime + part.ru_stime for part in usage)


def compile_simdjson(folder: Path) -> str:
    """Build the C++ case; why not, where that fails."""
    compiler = shutil.which("g++")
    if compiler is None:
        return "no g++"
    source = Path(__file__).with_name("sharegpt_simdjson.cpp")
    command = [compiler, "-O3", "-std=c++17", str(source), "-o", str(folder / "simdjson"), "-lsimdjson"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "libsimdjson-dev is not installed" if done.returncode else ""


def measure(name: str, source: Path, folder: Path) -> dict[str, float] | str:
    """One run in a process of its own; why not, where it failed."""
    out = Path(tempfile.mkdtemp(dir=folder))
    command = [sys.executable, __file__, "--case", name, str(source), str(out / "out.jsonl")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    shutil.rmtree(out)
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["no output"])[-1][:90]
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def best_runs(names: list[str], source: Path, folder: Path, repeat: int) -> dict[str, dict[str, float]]:
    """Interleaved, so that a busy minute does not fall on one case only."""
    best: dict[str, dict[str, float]] = {}
    for turn in range(repeat):
        for name in names:
            found = measure(name, source, folder)
            if isinstance(found, str):
                if turn == 0:
                    print(f"{name}: left out: {found}")
                continue
            kept = best.setdefault(name, found)
            best[name] = {key: min(kept[key], found[key]) for key in ("cpu_s", "wall_s")}
            best[name]["peak_mb"] = max(kept["peak_mb"], found["peak_mb"])
    return best


def show(best: dict[str, dict[str, float]], size: float, rare_sizes: dict[str, float]) -> None:
    """The table, and the ratios that matter. Sizes are in MB."""
    print(f"{'case':<22}{'MB/CPU-s':>10}{'MB/s':>8}{'peak MB':>9}")
    for name, found in best.items():
        if name.endswith(TABLES) or name == AT_ONCE:
            continue
        read = rare_sizes.get(name, size)
        print(f"{name:<22}{read / found['cpu_s']:>10.0f}{read / found['wall_s']:>8.0f}{found['peak_mb']:>9.0f}")
    for what, peer in zip(TABLES, ("pyarrow", "pyarrow", "pyarrow", "zlib"), strict=True):
        if f"ours, {what}" in best and f"{peer}, {what}" in best:
            times = best[f"{peer}, {what}"]["cpu_s"] / best[f"ours, {what}"]["cpu_s"]
            print(f"{what}: {times:.2f} times as fast as {peer}, per CPU-second")
    one, two = best.get("ours, 1 process"), best.get("ours, 2 processes")
    if one is None:
        return
    for name in ("datasets.map", "TRL chatml", "Unsloth", "LLaMA-Factory", "json script"):
        if name in best:
            print(f"per CPU-second, {name} does 1 and we do {best[name]['cpu_s'] / one['cpu_s']:.1f}")
    if "simdjson C++" in best:
        print(f"of simdjson's wall throughput: {best['simdjson C++']['wall_s'] / one['wall_s']:.2f} (1 process)")
    if two is not None:
        print(f"2 processes: {one['wall_s'] / two['wall_s']:.2f} times as fast as 1")
    if AT_ONCE in best:
        times = 2 * one["wall_s"] / best[AT_ONCE]["wall_s"]
        print(f"two conversions at once, by 1 process each, together: {times:.2f} times as fast as one alone")
    show_ways({name: found["cpu_s"] / rare_sizes.get(name, size) for name, found in best.items()}, one["cpu_s"] / size)
    if "msgspec alone" in best:
        print(f"of the CPU that msgspec alone needs: {one['cpu_s'] / best['msgspec alone']['cpu_s']:.1f} times")


def show_ways(cost: dict[str, float], plain: float) -> None:
    """What the other ways cost beside the one for plain rows, in CPU seconds per MB."""
    for name, what in {
        "ours, general way": "the general way needs",
        "ours, by examples": "the way by examples needs",
        **{name: f"{name.removeprefix('ours, ')} rows, all of them, need" for name in RARE},
    }.items():
        if name in cost:
            print(f"{what} {cost[name] / plain:.1f} times the CPU")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", "--mb", type=float, default=200.0, help="MB of input (default 200)")
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--only", nargs="*", choices=list(CASES))
    parser.add_argument("--folder", help="where to put the files (default: memory, else the temporary folder)")
    parser.add_argument("--case", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case and arguments.case[0] == "tables":  # in a process of its own: its memory would count as ours
        write_tables(Path(arguments.case[1]))
        return
    if arguments.case and arguments.case[0] == "rare":
        write_rare(Path(arguments.case[1]))
        return
    if arguments.case:
        run_case(arguments.case[0], Path(arguments.case[1]), Path(arguments.case[2]))
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder or _roomy(arguments.size)) as name:
        folder = Path(name)
        source = folder / "sharegpt.jsonl"
        generate(source, arguments.size)
        if any(name.endswith(TABLES) for name in arguments.only or CASES):
            subprocess.run([sys.executable, __file__, "--case", "tables", str(source), ""], check=True)
        rare_files = {name: source.with_name(file) for name, file in RARE.items() if name in (arguments.only or CASES)}
        if rare_files:
            subprocess.run([sys.executable, __file__, "--case", "rare", str(source), ""], check=True)
        rare_sizes = {name: path.stat().st_size / 1e6 for name, path in rare_files.items()}
        size = source.stat().st_size / 1e6
        print(f"{size:.0f} MB of ShareGPT; {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}; {time.strftime('%F')}")
        names = list(arguments.only or CASES)
        missing = compile_simdjson(folder) if "simdjson C++" in names else ""
        if missing:
            print(f"simdjson C++: left out: {missing}")
            names.remove("simdjson C++")
        show(best_runs(names, source, folder, arguments.repeat), size, rare_sizes)


def _roomy(megabytes: float) -> str | None:
    """Memory, where it has room for the input and a few outputs and caches."""
    memory = Path("/dev/shm")
    return str(memory) if memory.is_dir() and shutil.disk_usage(memory).free > 6e6 * megabytes else None


if __name__ == "__main__":
    main()
