"""PyTorch eager beside our fp32 and int4, and beside the builder's and Olive's own commands with the same choices.

    python benchmarks/onnx_export.py --home /tmp/bench [--minutes 10]

A model of about 100 M parameters is made here. One thread; speeds are the best of two. Prints the table of the verdict,
the ratios that docs/onnx.md speaks of, and the machine's load, without which none of them means anything. Nothing runs
longer than `--minutes`, the building of environments aside (the first use of a home builds two).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from finetune_providers.onnx.provider import OLIVE, OLIVE_ENVIRONMENT

from finetune_sdk import FineTuneJob
from finetune_sdk.deploy.onnx_export import spec_for
from finetune_sdk.errors import WaitTimeout
from finetune_sdk.registry import load
from finetune_sdk.worker.envs import EnvStore

_MAKE = """
import sys, torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
words = ["<|end|>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
words += [f"unused{number}" for number in range(16000 - len(words))]  # as many as the model's vocabulary
core = Tokenizer(models.BPE(vocab={word: number for number, word in enumerate(words)}, merges=[]))
core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
core.decoder = decoders.ByteLevel()
template = "{% for m in messages %}{{ m.content }}<|end|>{% endfor %}"
PreTrainedTokenizerFast(
    tokenizer_object=core, eos_token="<|end|>", pad_token="<|end|>", chat_template=template
).save_pretrained(sys.argv[1])
torch.manual_seed(0)
LlamaForCausalLM(LlamaConfig(
    vocab_size=16000, hidden_size=768, intermediate_size=2048, num_hidden_layers=12, num_attention_heads=12,
    max_position_embeddings=2048, bos_token_id=None, eos_token_id=0, pad_token_id=0,
)).save_pretrained(sys.argv[1])
"""
_SPEED = """
import json, sys, time, numpy as np, onnxruntime_genai as og
config = og.Config(sys.argv[1])
config.overlay(json.dumps({"model": {"decoder": {"session_options": {"intra_op_num_threads": 1}}}}))
model, best = og.Model(config), 1e9
for _ in range(2):
    params = og.GeneratorParams(model)
    params.set_search_options(max_length=192, min_length=192, do_sample=False)
    generator = og.Generator(model, params)
    generator.append_tokens(np.random.default_rng(1).integers(0, 16000, 128).astype(np.int32))
    generator.generate_next_token()
    began = time.perf_counter()
    for _ in range(63):
        generator.generate_next_token()
    best = min(best, time.perf_counter() - began)
print(63 / best)
"""
_CHOICES = {"precision": "int4", "int4_block_size": 32, "int4_accuracy_level": 4, "int4_algo_config": "k_quant_last"}
_QUIET = {"OMP_NUM_THREADS": "1", "ORT_DISABLE_TELEMETRY": "1", "OLIVE_DISABLE_TELEMETRY": "1", "CI": "1"}
Row = dict[str, float]


def main() -> None:
    """Make the model, export it, run the other commands beside it, print."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--home", type=Path, required=True)
    arguments.add_argument("--minutes", type=float, default=10.0)
    given = arguments.parse_args()
    python, olive = _environments(given.home)
    until_s = time.monotonic() + given.minutes * 60
    model = given.home / "model"
    if not model.exists():
        _timed([str(python), "-c", _MAKE, str(model)], until_s)
    found = _export(given.home, model, until_s)
    alone = _builder(python, model, given.home / "alone", until_s)
    theirs = _olive(olive, model, given.home / "olive", until_s)
    _ratios(found, alone, theirs)


def _environments(home: Path) -> tuple[Path, Path]:
    needs = load("onnx", home=home).environment
    assert needs is not None, "the provider has an environment"
    store = EnvStore(home, on_progress=lambda line: print(line, file=sys.stderr))
    return (
        store.python("onnx", needs.lock, wanted="managed", smoke=needs.smoke),
        store.python(OLIVE, OLIVE_ENVIRONMENT.lock, wanted="managed", smoke=OLIVE_ENVIRONMENT.smoke),
    )


def _left(until_s: float) -> float:
    left = until_s - time.monotonic()
    if left <= 0:
        raise SystemExit("out of time; nothing is printed of a run that was cut short. Raise --minutes.")
    return left


def _export(home: Path, model: Path, until_s: float) -> dict[str, Any]:
    """Our job; it is cancelled when the time is over."""
    loose = {"max_perplexity_increase": None, "max_metric_drop": None}
    options: dict[str, Any] = {"tolerance": loose, "eval_rows": 6, "new_tokens": 16, "bench_new": 64}
    spec = spec_for(model, precision=["fp32", "int4"], options=options, environment="managed")
    spec = spec.model_copy(update={"compute": spec.compute.model_copy(update={"threads": 1})})
    job = FineTuneJob.submit(spec, home=home)
    try:
        job.wait(timeout_s=_left(until_s))
    except WaitTimeout:
        job.cancel()
        _left(0.0)
    folder = home / "jobs" / job.id / "artifacts"
    print((folder / "verdict.md").read_text(encoding="utf-8"))
    found: dict[str, Any] = json.loads((folder / "verdict.json").read_text(encoding="utf-8"))
    return found


def _builder(python: Path, model: Path, out: Path, until_s: float) -> dict[str, Row]:
    """The builder's own command for the same two packages."""
    found: dict[str, Row] = {}
    for precision in ("fp32", "int4"):
        place = out / precision
        shutil.rmtree(place, ignore_errors=True)
        command = [str(python), "-m", "onnxruntime_genai.models.builder", "-i", str(model), "-o", str(place)]
        command += ["-p", precision, "-e", "cpu", "-c", str(out / "cache")]
        if precision == "int4":
            command += ["--extra_options", "algo_config=k_quant", "block_size=32", "accuracy_level=4"]
            command += ["matmul_mixed_precision=last_matmul:int8"]
        found[precision] = _timed(command, until_s)
    return found


def _olive(python: Path, model: Path, out: Path, until_s: float) -> Row:
    """`olive run` with the same choices, and how fast what it made decodes."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    config = {
        "input_model": {"type": "HfModel", "model_path": str(model)},
        "passes": {"build": {"type": "ModelBuilder", **_CHOICES}},
        "output_dir": str(out / "package"),
        "cache_dir": str(out / "cache"),
    }
    (out / "run.json").write_text(json.dumps(config), encoding="utf-8")
    row = _timed([str(python), "-m", "olive", "run", "--config", str(out / "run.json")], until_s)
    row["bytes"] = float(sum(file.stat().st_size for file in (out / "package").glob("model.onnx*")))
    done = _run([str(python), "-c", _SPEED, str(out / "package")], until_s)
    return {**row, "tokens_per_s": float(done.strip().splitlines()[-1])}


def _run(command: list[str], until_s: float) -> str:
    environment = {**os.environ, **_QUIET}
    limit_s = _left(until_s)
    try:
        done = subprocess.run(command, check=True, env=environment, capture_output=True, text=True, timeout=limit_s)
    except subprocess.TimeoutExpired:
        raise SystemExit(f"out of time while {Path(command[0]).name} ran; raise --minutes") from None
    return done.stdout


def _timed(command: list[str], until_s: float) -> Row:
    """Wall and processor seconds of a command."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    _run(command, until_s)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": time.perf_counter() - began, "cpu_s": cpu_s}


def _ratios(found: dict[str, Any], alone: dict[str, Row], theirs: Row) -> None:
    reference, ours = found["reference"], {one["name"]: one for one in found["candidates"]}
    four, whole = ours["int4"], ours["fp32"]
    rows = {
        "int4 decodes so many times as fast as PyTorch eager (goal: 5)": four["tokens_per_s_1"]
        / reference["tokens_per_s_1"],
        "its memory, as a share of PyTorch's (goal: 0.25)": four["peak_memory_bytes"] / reference["peak_memory_bytes"],
        "its size, as a share of the weights": four["bytes"] / reference["bytes"],
        "our int4 stage, as a share of the builder's command (goal: 1.05)": four["build_s"] / alone["int4"]["seconds"],
        "our fp32 stage, as a share of the builder's command": whole["build_s"] / alone["fp32"]["seconds"],
        "our int4 stage, as a share of `olive run`": four["build_s"] / theirs["seconds"],
        "our int4 decodes so many times as fast as Olive's": four["tokens_per_s_1"] / theirs["tokens_per_s"],
        "its size, as a share of Olive's": four["bytes"] / theirs["bytes"],
        "peak of the int4 build, in model sizes (goal: 4)": four["build_peak_memory_bytes"] / reference["bytes"],
    }
    for name, value in rows.items():
        print(f"{value:10.3f}  {name}")
    print(f"{whole['kl']:10.2g}  KL of the first token, fp32\n{four['kl']:10.2g}  KL of the first token, int4")
    agree = f"{four['greedy_agreement']:.3f} of its greedy tokens are PyTorch's, perplexity {four['perplexity']:.1f}"
    print(f"int4: {agree} (PyTorch: {reference['perplexity']:.1f}); random weights have no answers to lose")
    seconds = ", ".join(f"{name} {row['seconds']:.1f} s ({row['cpu_s']:.1f} s cpu)" for name, row in alone.items())
    print(f"builder's command: {seconds}; olive run {theirs['seconds']:.1f} s ({theirs['cpu_s']:.1f} s cpu)")
    print("load of the machine: " + ", ".join(f"{value:.1f}" for value in os.getloadavg()))


if __name__ == "__main__":
    main()
