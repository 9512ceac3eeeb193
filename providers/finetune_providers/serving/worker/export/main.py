# pyright: basic
"""One export: merge, convert, compare with the trained model, only then hand over. `python -I start.py export JOB`."""

from __future__ import annotations

import json
import shutil
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..rows import Failed
from . import ollama
from .forms import HFForm, LlamaForm
from .parity import Verdict, compare

TOLERANCE = {"f32": 0.0, "f16": 0.05, "bf16": 0.05, "q8_0": 0.1, "q5_1": 0.3, "q5_0": 0.3, "q4_1": 0.4, "q4_0": 0.4}
"""Share of the first greedy tokens that a GGUF may say differently: rounding weights moves close calls."""


def run(job_file: str) -> None:
    """Read the job, write `result.json` beside it: {"verdicts", "error"}."""
    path = Path(job_file)
    job: dict[str, Any] = json.loads(path.read_text())
    part = Path(job["out"] + ".part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        verdicts = _export(job, part)
        result: dict[str, Any] = {"verdicts": [asdict(verdict) for verdict in verdicts], "error": None}
        part.rename(job["out"])
    except Failed as exc:
        result = {"verdicts": [], "error": str(exc)}
    except Exception as exc:  # noqa: BLE001 - told as the reason; the log has the rest
        traceback.print_exc()
        result = {"verdicts": [], "error": f"{type(exc).__name__}: {' '.join(str(exc).split())[:600]}"}
    finally:
        shutil.rmtree(part, ignore_errors=True)
    (path.parent / "result.json").write_text(json.dumps(result))


def _export(job: dict[str, Any], part: Path) -> list[Verdict]:
    part.mkdir(parents=True)
    source = Path(job["source"])
    if job["to"] == "hub" and job["as_adapter"]:
        _copy_adapter(job, source, part)
        return []
    trained = HFForm("trained", _load(job, source), template=Path(job["template"]))
    merged = part if job["to"] != "gguf" else part / "merged"
    _merge(job, source, merged)
    verdicts = [compare(trained, HFForm("merged", {"model": str(merged)}), job["conversations"], tolerance=0.0)]
    verdicts[0].check()
    if job["to"] == "gguf":
        verdicts += [_gguf(job, trained, merged, part, one) for one in job["quantizations"]]
        shutil.rmtree(merged)
    if job["to"] == "vllm":
        _serve_script(job, part)
    return verdicts


def _load(job: dict[str, Any], source: Path) -> dict[str, Any]:
    return {"model": str(source), "base": job.get("base"), "device": "cpu"}


def _merge(job: dict[str, Any], source: Path, to: Path) -> None:
    """A whole model of safetensors with its tokenizer; one that is whole already is copied."""
    if not (source / "adapter_config.json").is_file():
        shutil.copytree(source, to, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.bin", "*.pt", "*.pth"))
        return
    from peft import PeftConfig, PeftModel  # noqa: PLC0415 - slow to load
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415

    config = PeftConfig.from_pretrained(str(source))
    if config.is_prompt_learning:
        raise Failed("prompt tuning adds tokens, not weights: it cannot be merged; serve the adapter instead")
    base: Any = job.get("base") or config.base_model_name_or_path
    model = AutoModelForCausalLM.from_pretrained(base, dtype="auto", use_safetensors=True)
    merged: Any = PeftModel.from_pretrained(model, source).merge_and_unload(safe_merge=True)
    merged.save_pretrained(to)
    own = (source / "tokenizer_config.json").is_file()
    AutoTokenizer.from_pretrained(source if own else base).save_pretrained(to)
    if (source / "README.md").is_file():
        shutil.copy(source / "README.md", to / "README.md")


def _copy_adapter(job: dict[str, Any], source: Path, to: Path) -> None:
    """Beside what training left (optimizer, checkpoints), and with a base that others can find."""
    if not (source / "adapter_config.json").is_file():
        raise Failed("this is a whole model, not an adapter")
    for file in source.iterdir():
        if file.suffix in (".safetensors", ".json", ".jinja", ".md", ".txt", ".model"):
            shutil.copy(file, to / file.name)
    config = json.loads((to / "adapter_config.json").read_text())
    base = job.get("base") or config["base_model_name_or_path"]
    if Path(base).exists() or Path(base).is_absolute():
        raise Failed(
            f"the adapter's base is a folder of this machine ({base}): others cannot load it. Name the base as on the "
            "Hub (base=, `--base owner/name`), or push the merged model."
        )
    config["base_model_name_or_path"] = base
    (to / "adapter_config.json").write_text(json.dumps(config, indent=2))


def _gguf(job: dict[str, Any], trained: HFForm, merged: Path, part: Path, quantization: str) -> Verdict:
    from . import gguf_file  # noqa: PLC0415 - needs the gguf package

    file = part / f"{job['name']}-{quantization}.gguf"
    gguf_file.write(merged, file, quantization=quantization)
    form = LlamaForm(file, ends=trained.ends)
    verdict = compare(trained, form, job["conversations"], tolerance=TOLERANCE[quantization])
    verdict.check()
    ollama.write(part / f"Modelfile-{quantization}", file, trained.tokenizer, job["conversations"])
    return verdict


def _serve_script(job: dict[str, Any], part: Path) -> None:
    script = part / "serve.sh"
    script.write_text(
        "#!/bin/sh\n# OpenAI's API on port 8000; vLLM: https://docs.vllm.ai\n"
        f'exec vllm serve "$(dirname "$0")" --served-model-name {json.dumps(job["name"])} --host 127.0.0.1 "$@"\n'
    )
    script.chmod(0o755)
