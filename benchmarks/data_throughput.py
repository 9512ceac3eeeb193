"""How fast data flows: a generated ShareGPT file to OpenAI chat JSONL with full validation, beside what others need.

    python benchmarks/data_throughput.py --mb 50            # seconds; --mb 1000 is the documented size
    python benchmarks/data_throughput.py --mb 50 --peers    # also `datasets.map` + `to_json`, if installed

The figure is MB of input per CPU-second (user + system), so that other load on the machine matters less. Every case
runs in a process of its own, which reports its peak memory.
"""

# ruff: noqa: PLC0415 - each case imports what it measures, in its own process

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

WORDS = [
    "the",
    "of",
    "and",
    "to",
    "in",
    "is",
    "you",
    "that",
    "it",
    "for",
    "was",
    "on",
    "are",
    "as",
    "with",
    "his",
    "they",
    "at",
    "be",
    "this",
    "have",
    "from",
    "or",
    "one",
    "had",
    "by",
    "word",
    "but",
    "not",
    "what",
    "all",
    "were",
    "we",
    "when",
    "your",
    "can",
    "said",
    "there",
    "use",
    "an",
    "each",
    "which",
    "she",
    "do",
    "how",
    "their",
    "if",
    "will",
    "up",
    "other",
    "about",
    "out",
    "many",
    "then",
    "them",
    "these",
    "so",
    "some",
    "her",
    "would",
    "make",
    "like",
    "him",
    "into",
    "time",
    "has",
    "look",
    "two",
    "more",
    "write",
    "go",
    "see",
    "number",
    "no",
    "way",
    "could",
    "people",
    "my",
    "than",
    "first",
    "water",
    "been",
    "call",
    "who",
    "oil",
    "its",
    "now",
    "find",
    "long",
    "down",
    "day",
    "did",
    "get",
    "come",
    "made",
    "may",
    "part",
    "über",
    "naïve",
    "façade",
    "数据",
    "学习",
    "模型",
    "微调",
    "こんにちは",
    "😀",
    "🚀",
    "def",
    "return",
    "import",
    "class",
    "None",
    "True",
    "{x}",
    '"quoted"',
    "path\\to\\file",
]

ROLES = {
    "human": "user",
    "gpt": "assistant",
    "system": "system",
    "function_call": "assistant",
    "observation": "tool",
}


def generate(path: Path, megabytes: float, seed: int = 0) -> None:
    """Rows of about 3.5 KB and 5 turns with log-normal lengths, some tool calls, some CJK and emoji."""
    chance = random.Random(seed)
    pool = [" ".join(chance.choices(WORDS, k=max(3, int(chance.lognormvariate(4.3, 0.9))))) for _ in range(6000)]
    left = int(megabytes * 1e6)
    with path.open("w", encoding="utf-8", newline="\n") as out:
        while left > 0:
            turns: list[dict[str, str]] = []
            if chance.random() < 0.3:
                turns.append({"from": "system", "value": chance.choice(pool)})
            for _ in range(max(1, int(chance.gauss(2.6, 1)))):
                turns.append({"from": "human", "value": chance.choice(pool)})
                if chance.random() < 0.04:
                    call = {"name": "search", "arguments": {"query": chance.choice(pool)[:40]}}
                    turns.append({"from": "function_call", "value": json.dumps(call, ensure_ascii=False)})
                    turns.append({"from": "observation", "value": chance.choice(pool)})
                turns.append({"from": "gpt", "value": chance.choice(pool)})
            line = json.dumps({"conversations": turns}, ensure_ascii=False) + "\n"
            left -= len(line.encode())
            out.write(line)


def ours_convert(source: Path, out: Path) -> None:
    from finetune_sdk.data import Dataset
    from finetune_sdk.data.convert import convert

    outcome = convert(Dataset.open(source), out, to="chat")
    assert outcome.written, outcome.findings


def ours_prepare(source: Path, out: Path) -> None:
    from finetune_sdk.data import prepare
    from finetune_sdk.spec import DataSpec

    prepared = prepare(DataSpec(train=str(source)), method="sft")
    assert not prepared.errors, prepared.errors
    prepared.write(out.with_suffix(""))


def ours_iterate(source: Path, _out: Path) -> None:
    from finetune_sdk.data import Dataset

    for _ in Dataset.open(source):
        pass


def copy(source: Path, out: Path) -> None:
    with source.open("rb") as read, out.open("wb") as write:
        while block := read.read(1 << 18):
            write.write(block)


def stdlib_json(source: Path, out: Path) -> None:
    """What a script does that checks nothing."""
    with source.open(encoding="utf-8") as read, out.open("w", encoding="utf-8") as write:
        for line in read:
            turns = json.loads(line)["conversations"]
            said = [{"role": ROLES[turn["from"]], "content": turn["value"]} for turn in turns]
            write.write(json.dumps({"messages": said}, ensure_ascii=False) + "\n")


def datasets_map(source: Path, out: Path) -> None:
    """`datasets`: load, batched map that only renames, `to_json`."""
    import datasets

    def rename(batch: dict[str, list[list[dict[str, str]]]]) -> dict[str, list[list[dict[str, str]]]]:
        return {
            "messages": [
                [{"role": ROLES[turn["from"]], "content": turn["value"]} for turn in turns]
                for turns in batch["conversations"]
            ]
        }

    cache = str(out.with_suffix(".cache"))
    rows = datasets.load_dataset("json", data_files=str(source), split="train", cache_dir=cache)
    rows.map(rename, batched=True, remove_columns=["conversations"]).to_json(str(out))


CASES: dict[str, Callable[[Path, Path], None]] = {
    "copy": copy,
    "stdlib-json": stdlib_json,
    "iterate": ours_iterate,
    "convert": ours_convert,
    "prepare+write": ours_prepare,
    "datasets-map": datasets_map,
}
PEERS = ("datasets-map",)


def run_case(name: str, source: Path, out: Path) -> None:
    """In the child: run and report CPU seconds, wall seconds and peak memory as JSON."""
    modules = {"datasets-map": "datasets"}
    if name in modules:
        __import__(modules[name])  # imports are not what is measured
    elif name not in ("copy", "stdlib-json"):
        import finetune_sdk.data.convert  # noqa: F401
    before, start = _cpu(), time.monotonic()
    CASES[name](source, out)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"cpu_s": _cpu() - before, "wall_s": time.monotonic() - start, "peak_mb": peak}))


def _cpu() -> float:
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(part.ru_utime + part.ru_stime for part in usage)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mb", type=float, default=20.0)
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--only", nargs="*", choices=list(CASES))
    parser.add_argument("--case", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        run_case(arguments.case[0], Path(arguments.case[1]), Path(arguments.case[2]))
        return
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "sharegpt.jsonl"
        generate(source, arguments.mb)
        size = source.stat().st_size / 1e6
        print(f"{size:.0f} MB of ShareGPT; {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}")
        names = arguments.only or [name for name in CASES if arguments.peers or name not in PEERS]
        print(f"{'case':<16}{'MB/CPU-s':>10}{'MB/s':>8}{'peak MB':>9}")
        for name in names:
            best: dict[str, float] | None = None
            for _ in range(arguments.repeat):
                command = [sys.executable, __file__, "--case", name, str(source), str(Path(folder) / "out.jsonl")]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if done.returncode:
                    print(f"{name:<16}failed: {done.stderr.strip().splitlines()[-1][:90]}")
                    break
                found = json.loads(done.stdout.splitlines()[-1])
                best = found if best is None or found["cpu_s"] < best["cpu_s"] else best
            if best is not None:
                line = (size / best["cpu_s"], size / best["wall_s"], best["peak_mb"])
                print(f"{name:<16}{line[0]:>10.0f}{line[1]:>8.0f}{line[2]:>9.0f}")


if __name__ == "__main__":
    main()
