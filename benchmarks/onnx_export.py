"""PyTorch eager beside our fp32 and int4, and beside the builder's and Olive's own commands with the same choices.

    OMP_NUM_THREADS=1 python benchmarks/onnx_export.py --home /tmp/bench [--minutes 12]

A model of about 100 M parameters is made here. Prints the table of the verdict; then each goal of docs/onnx.md, met or
missed; then the machine's load, without which none of it means anything. Decoding is measured in turns, each time in a
new process that does nothing else: 128 tokens in, 64 out, one thread, the best of three turns, the most memory of any.
Nothing runs longer than `--minutes`, the building of environments aside (the first use of a home builds two).
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
_PEAK = """
def told(speed):
    peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM:"))
    print(json.dumps({"tokens_per_s": speed, "peak_memory_bytes": int(peak.split()[1]) * 1024}))
"""
_PACKAGE = (
    """
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
    del generator, params
"""
    + _PEAK
    + "told(63 / best)"
)
_EAGER = (
    """
import json, sys, time, torch
from transformers import LlamaForCausalLM
torch.set_num_threads(1)
model, best = LlamaForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32).eval(), 1e9
ids = torch.randint(0, 16000, (1, 128), generator=torch.Generator().manual_seed(1))
with torch.inference_mode():
    for _ in range(2):
        out = model(input_ids=ids, use_cache=True)
        cache, token = out.past_key_values, out.logits[:, -1:].argmax(-1)
        began = time.perf_counter()
        for _ in range(63):
            out = model(input_ids=token, past_key_values=cache, use_cache=True)
            token = out.logits[:, -1:].argmax(-1)
        best = min(best, time.perf_counter() - began)
        del out, cache
"""
    + _PEAK
    + "told(63 / best)"
)
_TURNS = 3
_BLOCK = 128
"""Our default, given to the other commands, too."""
_CHOICES = {
    "precision": "int4",
    "int4_block_size": _BLOCK,
    "int4_accuracy_level": 4,
    "int4_algo_config": "k_quant_last",
}
_QUIET = {"OMP_NUM_THREADS": "1", "ORT_DISABLE_TELEMETRY": "1", "OLIVE_DISABLE_TELEMETRY": "1", "CI": "1"}
Row = dict[str, float]


def main() -> None:
    """Make the model, export it, run the other commands beside it, print."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--home", type=Path, required=True)
    arguments.add_argument("--minutes", type=float, default=12.0)
    given = arguments.parse_args()
    python, olive = _environments(given.home)
    until_s = time.monotonic() + given.minutes * 60
    model = given.home / "model"
    if not model.exists():
        _timed([str(python), "-c", _MAKE, str(model)], until_s)
    found, package = _export(given.home, model, until_s)
    alone = _builder(python, model, given.home / "alone", until_s)
    theirs = _olive(olive, model, given.home / "olive", until_s)
    decoding = {
        "eager": [str(python), "-c", _EAGER, str(model)],
        "ours": [str(python), "-c", _PACKAGE, str(package)],
        "olive": [str(olive), "-c", _PACKAGE, str(given.home / "olive" / "package")],
    }
    _tell(found, alone, theirs, _in_turns(decoding, until_s))


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


def _export(home: Path, model: Path, until_s: float) -> tuple[dict[str, Any], Path]:
    """Our job's verdict and its int4 package; it is cancelled when the time is over."""
    loose = {"max_perplexity_increase": None, "max_metric_drop": None}
    options: dict[str, Any] = {"tolerance": loose, "eval_rows": 4, "new_tokens": 16, "bench_new": 16}
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
    return found, folder / "onnx"


def _builder(python: Path, model: Path, out: Path, until_s: float) -> dict[str, Row]:
    """The builder's own command for the same two packages."""
    found: dict[str, Row] = {}
    for precision in ("fp32", "int4"):
        place = out / precision
        shutil.rmtree(place, ignore_errors=True)
        command = [str(python), "-m", "onnxruntime_genai.models.builder", "-i", str(model), "-o", str(place)]
        command += ["-p", precision, "-e", "cpu", "-c", str(out / "cache")]
        if precision == "int4":
            command += ["--extra_options", "algo_config=k_quant", f"block_size={_BLOCK}", "accuracy_level=4"]
            command += ["matmul_mixed_precision=last_matmul:int8"]
        found[precision] = _timed(command, until_s)
    return found


def _olive(python: Path, model: Path, out: Path, until_s: float) -> Row:
    """`olive run` with the same choices."""
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
    return row


def _in_turns(commands: dict[str, list[str]], until_s: float) -> dict[str, Row]:
    """Each command once a turn: its best speed, its most memory. What else the machine does meets them all alike."""
    told: dict[str, list[Row]] = {name: [] for name in commands}
    for _ in range(_TURNS):
        for name, command in commands.items():
            told[name].append(json.loads(_run(command, until_s).strip().splitlines()[-1]))
    return {name: {figure: max(row[figure] for row in rows) for figure in rows[0]} for name, rows in told.items()}


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


def _tell(found: dict[str, Any], alone: dict[str, Row], theirs: Row, decoding: dict[str, Row]) -> None:
    reference, built = found["reference"], {one["name"]: one for one in found["candidates"]}
    four, whole = built["int4"], built["fp32"]
    eager, ours, olive = (decoding[name] for name in ("eager", "ours", "olive"))
    stage = four["build_s"] / alone["int4"]["seconds"]
    _goal("int4 decodes so many times as fast as PyTorch eager", ours["tokens_per_s"] / eager["tokens_per_s"], least=5)
    memory = ours["peak_memory_bytes"] / eager["peak_memory_bytes"]
    _goal("its peak memory, as a share of PyTorch's", memory, most=0.25)
    _goal("our int4 stage, as a share of the builder's own command", stage, most=1.05)
    peak = four["build_peak_memory_bytes"] / reference["bytes"]
    _goal("peak memory of the int4 build, in model sizes", peak, most=4)
    rows = {
        "our fp32 stage, as a share of the builder's own command": whole["build_s"] / alone["fp32"]["seconds"],
        "our int4 stage, as a share of `olive run`": four["build_s"] / theirs["seconds"],
        "our int4 decodes so many times as fast as Olive's": ours["tokens_per_s"] / olive["tokens_per_s"],
        "its peak memory, as a share of Olive's": ours["peak_memory_bytes"] / olive["peak_memory_bytes"],
        "its size, as a share of Olive's": four["bytes"] / theirs["bytes"],
        "its size, as a share of the weights": four["bytes"] / reference["bytes"],
    }
    for name, value in rows.items():
        print(f"       {value:10.3f}  {name}")
    for name, row in decoding.items():
        print(f"{name}: {row['tokens_per_s']:.1f} tokens/s, {row['peak_memory_bytes'] / 1e6:.0f} MB at most")
    print(f"KL of the first token: fp32 {whole['kl']:.2g}, int4 {four['kl']:.2g}")
    agree = f"{four['greedy_agreement']:.3f} of its greedy tokens are PyTorch's, perplexity {four['perplexity']:.1f}"
    print(f"int4: {agree} (PyTorch: {reference['perplexity']:.1f}); random weights have no answers to lose")
    seconds = ", ".join(f"{name} {row['seconds']:.1f} s ({row['cpu_s']:.1f} s cpu)" for name, row in alone.items())
    print(f"builder's command: {seconds}; olive run {theirs['seconds']:.1f} s ({theirs['cpu_s']:.1f} s cpu)")
    print("load of the machine: " + ", ".join(f"{value:.1f}" for value in os.getloadavg()))


def _goal(name: str, value: float, *, least: float | None = None, most: float | None = None) -> None:
    met = (least is None or value >= least) and (most is None or value <= most)
    wanted = f"at least {least:g}" if least is not None else f"at most {most:g}"
    print(f"{'met' if met else 'MISSED':6} {value:10.3f}  {name} (goal: {wanted})")


if __name__ == "__main__":
    main()
