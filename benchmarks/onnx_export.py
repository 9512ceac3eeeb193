"""PyTorch eager beside our packages and the builder's own command, on a model of about 100 M parameters made here.

    python benchmarks/onnx_export.py --home /tmp/bench [--python PYTHON_OF_THE_ENVIRONMENT]

One thread; speeds are the best of two. Prints the table of the verdict and the ratios that docs/onnx.md speaks of.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from finetune_sdk import FineTuneJob
from finetune_sdk.deploy.onnx_export import spec_for
from finetune_sdk.registry import load
from finetune_sdk.worker.envs import EnvStore

_MAKE = """
import sys, torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
vocabulary = {token: number for number, token in enumerate(["<|end|>", *alphabet])}
core = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
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


def main() -> None:
    """Make the model, export it, run the builder's command beside it, print."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--home", type=Path, required=True)
    arguments.add_argument("--python", help="an interpreter with what the onnx worker needs; else one is built")
    given = arguments.parse_args()
    provider = load("onnx", home=given.home)
    assert provider.environment is not None
    wanted = given.python or "managed"
    lock, smoke = provider.environment.lock, provider.environment.smoke
    python = EnvStore(given.home).python("onnx", lock, wanted=wanted, smoke=smoke)
    model = given.home / "model"
    if not model.exists():
        subprocess.run([str(python), "-c", _MAKE, str(model)], check=True)
    loose = {"max_perplexity_increase": None, "max_metric_drop": None}
    options: dict[str, Any] = {"tolerance": loose, "eval_rows": 8, "new_tokens": 16, "bench_new": 64}
    spec = spec_for(model, precision=["fp32", "int8", "int4"], options=options, environment=wanted)
    spec = spec.model_copy(update={"compute": spec.compute.model_copy(update={"threads": 1})})
    job = FineTuneJob.submit(spec, home=given.home).wait()
    found = json.loads((given.home / "jobs" / job.id / "artifacts" / "verdict.json").read_text())
    print((given.home / "jobs" / job.id / "artifacts" / "verdict.md").read_text())
    _ratios(found, _builder(python, model, given.home / "alone"))


def _builder(python: Path, model: Path, out: Path) -> float:
    """Seconds that the builder's own command takes for the same int4."""
    command = [str(python), "-m", "onnxruntime_genai.models.builder", "-i", str(model), "-o", str(out), "-p", "int4"]
    command += ["-e", "cpu", "-c", str(out / "cache"), "--extra_options", "algo_config=k_quant", "block_size=32"]
    command += ["accuracy_level=4", "matmul_mixed_precision=last_matmul:int8"]
    began = time.perf_counter()
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ORT_DISABLE_TELEMETRY": "1"}
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - began


def _ratios(found: dict[str, Any], builder_s: float) -> None:
    reference, four = found["reference"], {one["name"]: one for one in found["candidates"]}["int4"]
    rows = {
        "int4 decodes so many times as fast as PyTorch eager": four["tokens_per_s_1"] / reference["tokens_per_s_1"],
        "its memory, as a share of PyTorch's": four["peak_memory_bytes"] / reference["peak_memory_bytes"],
        "its size, as a share of the weights": four["bytes"] / reference["bytes"],
        "our int4 stage, as a share of the builder's command": four["build_s"] / builder_s,
        "peak of the build, in model sizes": four["build_peak_memory_bytes"] / reference["bytes"],
        "KL of the first token": four["kl"],
    }
    for name, value in rows.items():
        sys.stdout.write(f"{value:10.3f}  {name}\n")


if __name__ == "__main__":
    main()
