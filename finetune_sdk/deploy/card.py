"""The model card of a pushed model: what it is, what it was made of, how to ask it. No path of this machine."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from finetune_sdk.deploy.fetching import is_hub_name
from finetune_sdk.errors import SpecError
from finetune_sdk.redact import redact

CARD = "README.md"
_TEMPLATE = "[More Information Needed]"
"""peft and transformers leave a card of nothing but this."""
_READ = (".md", ".json", ".jinja", ".txt")
_MOST_BYTES = 64 * 1024 * 1024
_METHODS = {
    "sft": "supervised fine-tuning",
    "dpo": "direct preference optimisation (DPO)",
    "kto": "Kahneman-Tversky optimisation (KTO)",
    "orpo": "odds ratio preference optimisation (ORPO)",
    "rft": "reinforcement fine-tuning with graders",
    "pretraining": "continued pre-training",
    "classification": "classification",
    "reward": "reward modelling",
}


def write(
    folder: Path, source: Path, *, repo: str, base: str | None, adapter: bool, verdicts: Sequence[Mapping[str, Any]]
) -> None:
    """Write the card into `folder`; one that the user wrote stays as it is."""
    card = folder / CARD
    if card.is_file() and _TEMPLATE not in card.read_text(encoding="utf-8"):
        return
    shown = base if base is not None and is_hub_name(base) else None
    card.write_text(f"{_head(shown, adapter)}\n{_body(source, repo, shown, adapter, verdicts)}", encoding="utf-8")


def _head(base: str | None, adapter: bool) -> str:
    lines = ["---", f"library_name: {'peft' if adapter else 'transformers'}", "pipeline_tag: text-generation"]
    if base is not None:
        lines += [f"base_model: {base}", f"base_model_relation: {'adapter' if adapter else 'finetune'}"]
    return "\n".join([*lines, "tags:", "- finetune-sdk", *(["- lora"] if adapter else []), "---", ""])


def _body(source: Path, repo: str, base: str | None, adapter: bool, verdicts: Sequence[Mapping[str, Any]]) -> str:
    method = _METHODS.get(_method(source) or "", "fine-tuning")
    of = f" of [{base}](https://huggingface.co/{base})" if base else ""
    what = "An adapter (PEFT)" if adapter else "A whole model"
    lines = [f"# {repo.partition('/')[2] or repo}", "", f"{what}, made by {method}{of} with finetune-sdk."]
    lines += [f"\n{_parity(verdicts[0])}"] if verdicts else []
    return "\n".join([*lines, "", "## Use", "", "```python", *_usage(repo, base, adapter), "```", ""])


def _usage(repo: str, base: str | None, adapter: bool) -> list[str]:
    if not adapter:
        return [
            "from transformers import pipeline",
            "",
            f'ask = pipeline("text-generation", model="{repo}")',
            'print(ask([{"role": "user", "content": "Hello"}])[0]["generated_text"][-1]["content"])',
        ]
    return [
        "from peft import PeftModel",
        "from transformers import AutoModelForCausalLM",
        "",
        f'model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained("{base}"), "{repo}")',
    ]


def _parity(verdict: Mapping[str, Any]) -> str:
    return (
        f"Compared with the model as it was trained: {verdict['equal_prompts']} of {verdict['conversations']} prompts "
        f"become the same tokens, {verdict['equal_tokens']} of {verdict['tokens']} first greedy tokens are equal."
    )


def _method(source: Path) -> str | None:
    """The method of the job whose `artifacts/` the folder lies in."""
    try:
        request: Any = json.loads((source.parent.parent / "spec.json").read_text(encoding="utf-8"))["request"]
        return str((request.get("train") or request)["method"]["kind"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def refuse_secrets(folder: Path) -> None:
    """Raise `SpecError` for a text file that holds something shaped like a key, or the value of one of ours."""
    for file in sorted(folder.rglob("*")):
        if file.suffix in _READ and file.is_file() and file.stat().st_size < _MOST_BYTES:
            text = file.read_text(encoding="utf-8", errors="replace")
            if redact(text) != text:
                line = next(i for i, one in enumerate(text.splitlines(), 1) if redact(one) != one)
                raise SpecError(f"{file.name}, line {line}, holds a key or token; take it out. Nothing was pushed.")
