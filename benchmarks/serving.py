"""Batched serving beside plain `generate`, and what the HTTP front adds to a streamed token. Random weights, CPU.

    python benchmarks/serving.py [--requests 64] [--tokens 64] [--hidden 256] [--layers 4]

Goals: 64 concurrent requests at least 3 times as fast as one after another with plain `generate`; under 2 ms per
streamed token added to the engine's own time.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from finetune_sdk.deploy import local
from finetune_sdk.deploy.asked import Serving
from finetune_sdk.deploy.engines import engine_for
from finetune_sdk.types import Artifact

PLAIN = """
import json, sys, time, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
folder, prompts, tokens = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
torch.set_num_threads(1)
model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
tokenizer = AutoTokenizer.from_pretrained(folder)
def ask(text):
    ids = tokenizer(text, return_tensors="pt")
    model.generate(**{k: ids[k] for k in ("input_ids", "attention_mask")}, max_new_tokens=tokens, min_new_tokens=tokens,
                   do_sample=False, pad_token_id=0)
with torch.inference_mode():
    ask(prompts[0])
    began = time.perf_counter()
    for prompt in prompts: ask(prompt)
    print(time.perf_counter() - began)
"""
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
config = LlamaConfig(vocab_size=old.vocab_size, hidden_size=hidden, intermediate_size=3 * hidden, eos_token_id=None,
    num_hidden_layers=layers, num_attention_heads=8, num_key_value_heads=8, max_position_embeddings=2048,
    pad_token_id=0)
torch.manual_seed(0)
LlamaForCausalLM(config).save_pretrained(base)
"""


def main() -> None:
    parser = argparse.ArgumentParser()
    for name, value in (("requests", 64), ("tokens", 64), ("hidden", 256), ("layers", 4)):
        parser.add_argument(f"--{name}", type=int, default=value)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        home, model = Path(scratch), Path(scratch) / "model"
        subprocess.run([sys.executable, "-c", MAKE, str(model), str(args.hidden), str(args.layers)], check=True)
        prompts = [f"the sun shines on number {i}" + " and two" * (i % 6) for i in range(args.requests)]
        artifact = Artifact(kind="model", uri=str(model))
        served = local.deploy(home, artifact, name="bench", serving=Serving(threads=1))
        try:
            _measure(served.base_url, model, prompts, args.tokens)
        finally:
            local.remove(home, "bench")


def _measure(url: str, model: Path, prompts: list[str], tokens: int) -> None:
    alone = prompts[:8]  # one after another, more of them change nothing
    count = len(alone) * tokens
    body = {"model": "bench", "max_tokens": tokens, "temperature": 0}
    with httpx.Client(timeout=600, limits=httpx.Limits(max_connections=len(prompts))) as client:

        def ask(prompt: str) -> int:
            answer = client.post(f"{url}/completions", json=body | {"prompt": prompt}).raise_for_status().json()
            return answer["usage"]["completion_tokens"]

        ask(prompts[0])
        began = time.perf_counter()
        with ThreadPoolExecutor(len(prompts)) as pool:
            made = sum(pool.map(ask, prompts))
        batched_s = time.perf_counter() - began
        streamed_s = _streamed(client, url, body | {"prompt": prompts[0]}, tokens)
    command = [sys.executable, "-c", PLAIN, str(model), json.dumps(alone), str(tokens)]
    plain_s = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])
    own_s = plain_s / count
    engine = engine_for("model").name
    print(f"engine {engine}, {len(prompts)} requests of {tokens} tokens, one thread each")
    print(f"one after another, plain generate: {count / plain_s:8.0f} tokens/s")
    print(f"{len(prompts)} at once, served:           {made / batched_s:8.0f} tokens/s")
    print(f"ratio: {(made / batched_s) / (count / plain_s):.1f} (goal 3)")
    print(f"streamed alone: {1000 * streamed_s:.2f} ms per token; plain generate {1000 * own_s:.2f} ms")
    print(f"added per streamed token: {1000 * (streamed_s - own_s):.2f} ms (goal under 2)")


def _streamed(client: httpx.Client, url: str, body: dict[str, object], tokens: int) -> float:
    began = 0.0
    with client.stream("POST", f"{url}/completions", json=body | {"stream": True}) as answer:
        for line in answer.iter_lines():
            if line.startswith("data: {") and not began:
                began = time.perf_counter()
    return (time.perf_counter() - began) / max(1, tokens - 1)


if __name__ == "__main__":
    main()
