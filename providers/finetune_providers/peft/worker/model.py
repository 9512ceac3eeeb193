# pyright: basic
"""Loading: where the base model lies, its tokenizer, its configuration, its weights. Errors become one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from . import builtin, wholeness
from .choices import Choices
from .context import Context


def locate(ctx: Context) -> str:
    """The base model as `from_pretrained` takes it. `builtin/tiny` is made by rank 0; the others wait for it."""
    name = ctx.request["model"]
    if name != builtin.NAME:
        return name
    folder = ctx.dir / "base"
    if ctx.rank == 0:
        fresh = not folder.exists()
        builtin.make(folder, data=ctx.dir / "data" / "train.jsonl", seed=ctx.request["seed"])
        if fresh:
            ctx.event(f"{name}: made from the training data and seed {ctx.request['seed']}")
    return str(folder)


def common(ctx: Context) -> dict[str, Any]:
    """Arguments that every `from_pretrained` of this job gets."""
    options = ctx.request["options"]
    return {
        "trust_remote_code": options["trust_remote_code"],
        "revision": options["revision"] or "main",
        "local_files_only": options["local_files_only"],
    }


def tokenizer(ctx: Context, source: str) -> Any:
    """The tokenizer, with a pad token and the chat template the options name."""
    with _translated(ctx, source, "tokenizer"):
        loaded = AutoTokenizer.from_pretrained(source, **common(ctx))
    if template := ctx.request["options"]["chat_template"]:
        loaded.chat_template = _template_text(template)
    if loaded.pad_token is None:
        loaded.pad_token = loaded.eos_token or loaded.unk_token
    if loaded.pad_token is None:
        raise ctx.Failed(f"the tokenizer of {source} has neither a pad token nor an end token; add one to it")
    loaded.padding_side = "right"
    return loaded


def config(ctx: Context, source: str) -> Any:
    """The model's configuration, without its weights."""
    with _translated(ctx, source, "configuration"):
        return AutoConfig.from_pretrained(source, **common(ctx))


def weights(ctx: Context, source: str, choices: Choices, *, kind: Any = AutoModelForCausalLM, **more: Any) -> Any:
    """The model in the chosen precision, on the CPU or the process's GPU."""
    arguments = {**common(ctx), "dtype": choices.weights, "use_safetensors": True, **more}
    if (attention := ctx.request["options"]["attn_implementation"]) != "auto":
        arguments["attn_implementation"] = attention
    with _translated(ctx, source, "weights"):
        return kind.from_pretrained(source, **arguments)


@contextmanager
def _translated(ctx: Context, source: str, what: str) -> Iterator[None]:
    """transformers answers a missing file, a missing network and a wrong name with pages; ours is one sentence."""
    try:
        yield
    except Exception as exc:
        if not isinstance(exc, _LOADING) and type(exc) is not Exception:  # tokenizers raises nothing more particular
            raise
        reason = " ".join(str(exc).split())[:400]
        if (damaged := _damaged(ctx, source)) is not None:
            reason = damaged
        elif isinstance(exc, ValueError) and "trust_remote_code" in reason:
            reason = "it contains its own Python code; read that code, then set options.peft.trust_remote_code: true"
        elif not Path(source).is_dir():
            reason = f"it is neither a folder here nor reachable on the Hugging Face hub ({reason})"
        raise ctx.Failed(f"cannot load the {what} of {source!r}: {reason}") from exc


_LOADING = (OSError, ValueError, ImportError, KeyError, SafetensorError)


def _damaged(ctx: Context, source: str) -> str | None:
    """The damaged file of a local model, or of a hub model's copy in the cache."""
    folder = Path(source)
    if not folder.is_dir():
        cached = None
        with suppress(ValueError):  # no name the hub could have
            cached = try_to_load_from_cache(source, "config.json", revision=common(ctx)["revision"])
        if not isinstance(cached, str):
            return None
        folder = Path(cached).parent
    return wholeness.fault(folder)


def _template_text(template: str) -> str:
    """The option is a template's text, or the path of a file that holds it."""
    if "{" not in template and Path(template).is_file():
        return Path(template).read_text(encoding="utf-8")
    return template
