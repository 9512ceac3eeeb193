"""Answering a test set greedily: ours beside EleutherAI's lm-evaluation-harness, same model, prompts and batch limit.

    python benchmarks/evaluate.py [--items 64] [--tokens 32] [--batch 8] [--hidden 256] [--layers 4] [--runs 3]

Ours asks a deployment over HTTP, as a comparison does; the harness generates in its own process (`--model hf`). Each is
measured from its start to its end (loading included) and in the asking alone; memory is the most that its generating
process held. Goals: at least as many items/s, and the same answers. The harness runs in its managed environment, with
this interpreter's torch. Random weights, CPU, one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

from finetune_sdk.compare.asking import Asker
from finetune_sdk.compare.bench import Harness, Limits
from finetune_sdk.compare.besides import serving_memory
from finetune_sdk.compare.harness.running import interpreter
from finetune_sdk.compare.items import Item
from finetune_sdk.deploy import local
from finetune_sdk.deploy.asked import Serving
from finetune_sdk.home import home_folder
from finetune_sdk.types import Artifact

MAKE = """
import sys, torch
from pathlib import Path
from transformers import LlamaConfig, LlamaForCausalLM
from finetune_providers.peft.worker import builtin
folder, hidden, layers = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
rows = folder.with_name("rows.jsonl")
rows.write_text('{"kind":"text","text":"the sun shines on number one and two and three"}\\n' * 20)
base = builtin.make(folder, data=rows, seed=0)
old = LlamaConfig.from_pretrained(base)
config = LlamaConfig(vocab_size=old.vocab_size, hidden_size=hidden, intermediate_size=3 * hidden,
    num_hidden_layers=layers, num_attention_heads=8, num_key_value_heads=8, max_position_embeddings=2048,
    eos_token_id=old.eos_token_id, pad_token_id=old.pad_token_id, bos_token_id=None)
torch.manual_seed(0)
LlamaForCausalLM(config).save_pretrained(base)
"""
TASK = """
task: bench
dataset_path: json
dataset_kwargs: {data_files: {test: items.jsonl}}
test_split: test
doc_to_text: "{{q}}"
doc_to_target: "none"
output_type: generate_until
generation_kwargs: {until: ["<|im_end|>"], max_gen_toks: %d, temperature: 0, do_sample: false}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
"""
THEIRS = """
import json, resource, sys, time
import torch
torch.set_num_threads(1)
from lm_eval.models.huggingface import HFLM
took = []
inner = HFLM.generate_until
def timed(self, *args, **kwargs):
    began = time.perf_counter()
    found = inner(self, *args, **kwargs)
    took.append(time.perf_counter() - began)
    return found
HFLM.generate_until = timed
from lm_eval.__main__ import cli_evaluate
sys.argv[0] = "lm_eval"
cli_evaluate()
print("\\nasking:", json.dumps([sum(took), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024]))
"""
Run = tuple[float, float, int, list[str]]
"""Seconds of all, seconds of asking, bytes, answers."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    for name, default in (("items", 64), ("tokens", 32), ("batch", 8), ("hidden", 256), ("layers", 4), ("runs", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        model = folder / "model"
        subprocess.run([sys.executable, "-c", MAKE, model, str(asked.hidden), str(asked.layers)], check=True)
        questions = [
            f"tell me about number {index} and {'the sun and ' * (index % 9)}three" for index in range(asked.items)
        ]
        (folder / "items.jsonl").write_text("".join(json.dumps({"q": one}) + "\n" for one in questions))
        (folder / "bench.yaml").write_text(TASK % asked.tokens)
        ours = [_ours(folder, model, questions, asked) for _ in range(asked.runs)]
        theirs = [_theirs(folder, model, asked) for _ in range(asked.runs)]
    _told("ours", ours, asked.items)
    _told("lm-eval", theirs, asked.items)
    same = sum(one == two for one, two in zip(ours[0][3], theirs[0][3], strict=True))
    print(f"identical answers: {same} of {asked.items}; load {os.getloadavg()[0]:.1f}")


def _told(name: str, runs: list[Run], items: int) -> None:
    whole, asking = (statistics.median(run[place] for run in runs) for place in (0, 1))
    memory = max(run[2] for run in runs) / 2**20
    print(f"{name:8} {items / asking:8.2f} items/s asking, {items / whole:6.2f} with loading, {memory:6.0f} MiB")


def _ours(folder: Path, model: Path, questions: list[str], asked: argparse.Namespace) -> Run:
    home = folder / "home"
    began = time.perf_counter()
    to = local.deploy(home, Artifact(kind="model", uri=str(model)), name="bench", serving=Serving(max_rows=asked.batch))
    try:
        if to.status == "starting":
            to = local.wait(home, to.id, timeout_s=local.READY_S)
        items = [Item(id=str(n), messages=[{"role": "user", "content": text}]) for n, text in enumerate(questions)]
        begun = time.perf_counter()
        with Asker(to, limits=Limits(requests=2 * asked.batch), max_tokens=asked.tokens, temperature=0.0) as asker:
            found = {one.item: one for one in asker.all(items, lambda item: item.messages, lambda: False)}
        took = time.perf_counter() - begun
        memory = serving_memory(home, to) or 0
    finally:
        local.remove(home, "bench")
    answers = [found[item.id].text or f"error: {found[item.id].error}" for item in items]
    return time.perf_counter() - began, took, memory, answers


def _theirs(folder: Path, model: Path, asked: argparse.Namespace) -> Run:
    python = interpreter(Harness(tasks=("bench",), environment="managed"), home_folder(None))
    command = [str(python), "-c", THEIRS, "--model", "hf", "--tasks", "bench", "--include_path", str(folder)]
    command += ["--model_args", f"pretrained={model},dtype=float32", "--device", "cpu", "--apply_chat_template"]
    command += ["--batch_size", str(asked.batch), "--output_path", str(folder / "out"), "--log_samples"]
    environment = {**os.environ, "PYTHONPATH": sysconfig.get_paths()["purelib"], "HF_HUB_OFFLINE": "1"}
    began = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    whole = time.perf_counter() - began
    if done.returncode != 0:
        raise SystemExit(done.stderr[-2000:])
    asking, memory = json.loads(re.findall(r"^asking: (.*)$", done.stdout, re.MULTILINE)[-1])
    newest = max((folder / "out").rglob("samples_bench_*.jsonl"), key=lambda path: path.stat().st_mtime)
    rows = sorted(map(json.loads, newest.read_text(encoding="utf-8").splitlines()), key=lambda row: row["doc_id"])
    return whole, asking, memory, [row["resps"][0][0] for row in rows]


if __name__ == "__main__":
    main()
