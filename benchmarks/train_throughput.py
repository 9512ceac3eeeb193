"""Tokens per second and peak memory of SFT: TRL's defaults, a TRL script tuned by hand, and the peft provider's worker.

    python benchmarks/train_throughput.py [--rows 64] [--repeat 2] [--format json]

The same random Llama (about 35 M parameters, vocabulary 32,000), rows (30 to 400 tokens), LoRA (r=16, all linear
layers) and batch (8) for all; each variant in a process of its own, in turn, so that a busy machine slows all alike.
Tokens are counted without padding, over the training loop only. Wall time counts; CPU time is printed beside it.
"""

# ruff: noqa: PLC0415 - heavy imports belong to the variant that needs them

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RUNNER = ROOT / "finetune_sdk" / "worker" / "runner.py"
WORKER = ROOT / "providers" / "finetune_providers" / "peft" / "worker"
VOCABULARY, BATCH, RANK = 32_000, 8, 16
TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|> ' + m['role'] + ' ' }}{% if m['role'] == 'assistant' %}{% generation %}"
    "{{ m['content'] + ' <|im_end|>' }}{% endgeneration %}{% else %}{{ m['content'] + ' <|im_end|>' }}{% endif %}"
    "{{ ' ' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|> assistant ' }}{% endif %}"
)
NATIVE_BF16 = {"avx512_bf16", "amx_bf16"} & set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())


def make_model(folder: Path) -> None:
    """The random model, and a tokenizer with one token per word."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = ["<|pad|>", "<|im_start|>", "<|im_end|>", "<|unk|>", "user", "assistant"]
    words += [f"w{i}" for i in range(VOCABULARY - len(words))]
    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<|unk|>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<|pad|>",
        eos_token="<|im_end|>",
        unk_token="<|unk|>",
        additional_special_tokens=["<|im_start|>"],
        chat_template=TEMPLATE,
    )
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=384,
        intermediate_size=1024,
        num_hidden_layers=6,
        num_attention_heads=6,
        num_key_value_heads=6,
        max_position_embeddings=1024,
        pad_token_id=0,
        eos_token_id=2,
        bos_token_id=None,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def make_rows(count: int) -> list[dict[str, Any]]:
    """Chats of 30 to 400 tokens, about 137 on average, of which the assistant says some 40 %."""
    draw = random.Random(0)
    rows: list[dict[str, Any]] = []
    for _ in range(count):
        length = min(400, max(30, round(draw.lognormvariate(4.75, 0.6))))
        said = max(8, round(length * draw.uniform(0.2, 0.6)))
        rows.append({"messages": [_message(draw, "user", length - said - 8), _message(draw, "assistant", said)]})
    return rows


def _message(draw: random.Random, role: str, words: int) -> dict[str, str]:
    return {"role": role, "content": " ".join(f"w{draw.randrange(VOCABULARY - 6)}" for _ in range(max(4, words)))}


def run_trl(folder: Path, **settings: Any) -> float:
    """Seconds of `SFTTrainer.train` for one pass."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    half = settings.pop("half_weights", False)
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.bfloat16 if half else torch.float32),
        args=SFTConfig(
            output_dir=str(folder / "out"),
            num_train_epochs=1,
            per_device_train_batch_size=BATCH,
            use_cpu=True,
            assistant_only_loss=True,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
            **settings,
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(folder / "model"),
        peft_config=LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    began = time.perf_counter()
    trainer.train()
    return time.perf_counter() - began


def run_tuned(folder: Path) -> float:
    """What somebody who knows TRL would set by hand on this machine."""
    native = bool(NATIVE_BF16)
    return run_trl(
        folder,
        gradient_checkpointing=False,
        train_sampling_strategy="group_by_length",
        bf16=native,
        half_weights=native,
    )


def run_ours(folder: Path) -> float:
    """The worker as the provider starts it, every choice left to it."""
    job = folder / "job"
    (job / "data").mkdir(parents=True, exist_ok=True)
    (job / "data" / "train.jsonl").write_text(
        "".join(
            json.dumps({"kind": "chat", **json.loads(line)}) + "\n"
            for line in (folder / "rows.jsonl").read_text(encoding="utf-8").splitlines()
        ),
        encoding="utf-8",
    )
    spec = {"protocol": 1, "job_id": "bench", "attempt": 1, "worker": str(WORKER), "request": our_request(folder)}
    (job / "spec.json").write_text(json.dumps(spec), encoding="utf-8")
    subprocess.run([sys.executable, "-I", str(RUNNER), str(job)], check=False, stdout=sys.stderr)
    result = json.loads((job / "result.json").read_text(encoding="utf-8"))
    if result["status"] != "succeeded":
        raise RuntimeError(result["error"])
    return float(result["usage"]["train_s"])


def our_request(folder: Path) -> dict[str, Any]:
    """As `finetune plan` makes it for a spec that says epochs: 1 and nothing else."""
    from finetune_providers.peft.provider import PeftProvider

    from finetune_sdk.spec import JobSpec

    spec = JobSpec.model_validate(
        {
            "provider": "peft",
            "model": str(folder / "model"),
            "data": {"train": str(folder / "rows.jsonl")},
            "hyperparameters": {"epochs": 1, "batch_size": BATCH, "save_steps": 1000},
            "options": {"peft": {"merge": False}},
            "seed": 0,
        }
    )
    return dict(PeftProvider(home=folder / "home").plan(spec).request)


VARIANTS: dict[str, Callable[[Path], float]] = {
    "TRL defaults": run_trl,
    "TRL defaults, fp32": lambda folder: run_trl(folder, bf16=False),
    "TRL tuned by hand": run_tuned,
    "peft provider": run_ours,
}


def measure(folder: Path, name: str) -> dict[str, float]:
    """One variant in this process; the worker is a child of it, so children count."""
    seconds = VARIANTS[name](folder)
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return {
        "seconds": seconds,
        "cpu_s": sum(usage.ru_utime + usage.ru_stime for usage in usages),
        "peak_mib": max(usage.ru_maxrss for usage in usages) / 1024,
    }


def main() -> None:
    """Run every variant in turn, `--repeat` times, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--format", choices=["table", "json"], default="table")
    parser.add_argument("--variant", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.variant:
        print("\nRESULT " + json.dumps(measure(wanted.folder, wanted.variant)))
        return
    with tempfile.TemporaryDirectory() as name:
        print_results(compare(Path(name), wanted.rows, wanted.repeat), wanted.format)


def compare(folder: Path, count: int, repeat: int) -> dict[str, dict[str, float]]:
    """Best of the repetitions by variant: the least disturbed one."""
    make_model(folder / "model")
    rows = make_rows(count)
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    tokens = sum(len(message["content"].split()) + 3 for row in rows for message in row["messages"])
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in VARIANTS}
    for _ in range(repeat):
        for name, found in runs.items():
            found.append(_in_process(folder, name))
            print(f"{name}: {tokens / found[-1]['seconds']:.0f} tokens/s", file=sys.stderr)
    baseline = min(run["seconds"] for run in runs["TRL defaults"])
    return {
        name: {
            "tokens_per_s": tokens / min(run["seconds"] for run in found),
            "times_trl_defaults": baseline / min(run["seconds"] for run in found),
            "cpu_s": statistics.median(run["cpu_s"] for run in found),
            "peak_mib": min(run["peak_mib"] for run in found),
        }
        for name, found in runs.items()
    }


def _in_process(folder: Path, name: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--variant", name, "--folder", str(folder)]
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    subprocess.run(["rm", "-rf", str(folder / "job"), str(folder / "out")], check=True)
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    for line in done.stdout.splitlines():
        if line.startswith("RESULT "):
            return dict(json.loads(line.removeprefix("RESULT ")))
    raise RuntimeError(f"{name} failed:\n{done.stderr[-3000:]}")


def print_results(results: dict[str, dict[str, float]], form: str) -> None:
    """JSON, or one line per variant."""
    if form == "json":
        print(json.dumps(results, indent=1))
        return
    print(f"{'variant':<22}{'tokens/s':>10}{'x TRL':>8}{'CPU s':>8}{'peak MiB':>10}")
    for name, row in results.items():
        print(
            f"{name:<22}{row['tokens_per_s']:>10.0f}{row['times_trl_defaults']:>8.2f}"
            f"{row['cpu_s']:>8.0f}{row['peak_mib']:>10.0f}"
        )


if __name__ == "__main__":
    main()
