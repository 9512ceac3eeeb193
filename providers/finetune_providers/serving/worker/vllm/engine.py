# pyright: basic, reportMissingImports=false
"""The engine on vLLM, inside this process: whole models, and several adapters over one base.

vLLM batches and samples; prompts are rendered, answers decoded and stop sequences found as for every other engine.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, get_args

os.environ.update(VLLM_ENABLE_V1_MULTIPROCESSING="0", VLLM_NO_USAGE_STATS="1", DO_NOT_TRACK="1")
os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")  # GiB; where there is a GPU it is not looked at

from transformers import AutoConfig, AutoTokenizer, GenerationConfig
from vllm import EngineArgs, LLMEngine, SamplingParams
from vllm.config.lora import MaxLoRARanks
from vllm.lora.request import LoRARequest
from vllm.platforms import current_platform
from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

from ..hf.tongue import HFTongue
from ..rows import Failed, Row

_ADAPTER = "adapter_config.json"


class VLLMTongue(HFTongue):
    """See `rows.Tongue`."""

    def grammar(self, wanted: dict[str, Any]) -> Any:
        """The schema itself, once it is known that it can be followed. Raises `Refused`."""
        super().grammar(wanted)
        return wanted


class VLLMEngine:
    """See `service.Engine`."""

    patience = 0

    def __init__(self, engine: Any, tongues: dict[str, VLLMTongue], adapters: dict[str, Any]) -> None:
        self._engine = engine
        self.tongues: dict[str, Any] = dict(tongues)
        self._adapters = adapters
        self._rows: dict[str, Row] = {}
        self._refused: list[tuple[Row, Exception, None]] = []
        self.facts = {
            "engine": "vllm",
            "device": current_platform.device_name,
            "precision": str(engine.model_config.dtype).removeprefix("torch."),
            "batched": True,
            "abilities": ["logit_bias", "logprobs", "prompt_logprobs", "json_schema"],
            "models": {name: {"context": one.context, "chats": one.chats} for name, one in tongues.items()},
        }

    @property
    def rows(self) -> int:
        """How many are being generated."""
        return len(self._rows)

    def join(self, row: Row) -> None:
        """vLLM takes it with its next step."""
        name = f"{row.id}:{row.index}"
        row.state = name
        try:
            self._engine.add_request(
                name, {"prompt_token_ids": row.prompt}, _asked(row), lora_request=self._adapters.get(row.model)
            )
        except ValueError as exc:
            self._refused.append((row, exc, None))
            return
        self._rows[name] = row

    def leave(self, row: Row) -> None:
        """Its place is free with vLLM's next step."""
        if self._rows.pop(row.state, None) is not None:
            self._engine.abort_request([row.state])

    def step(self) -> list[Any]:
        """What vLLM's own step gave; rows that it did not take."""
        told, self._refused = list[Any](self._refused), []
        for out in self._engine.step() if self._rows else ():
            row = self._rows.get(out.request_id)
            if row is not None:
                _hear(row, out.prompt_logprobs)
                told += _said(row, out)
        return told


def _hear(row: Row, told: Any) -> None:
    if row.listens and not row.heard and told:
        for token, one in zip(row.prompt[1:], told[1:], strict=True):
            row.heard.append(_probable(row, token, one))


def _said(row: Row, out: Any) -> list[Any]:
    answer = out.outputs[0]
    tokens = list(answer.token_ids)
    probable = answer.logprobs or [None] * len(tokens)
    found = [
        (row, token, None if one is None else _probable(row, token, one))
        for token, one in zip(tokens, probable, strict=True)
    ]
    whole = len(row.made) + len(tokens) >= row.limit or (tokens and tokens[-1] in row.ends)
    if out.finished and not whole:  # such as a schema that is fulfilled: what ended it was not named
        found.append((row, min(row.ends), None) if row.ends else (row, RuntimeError("vLLM ended the answer"), None))
    return found


def _probable(row: Row, token: int, told: Any) -> dict[str, Any]:
    """vLLM names the token itself too, whether or not it is one of the likeliest."""
    count = row.taste.logprobs or 0
    best = sorted((one.rank, number, one.logprob) for number, one in told.items() if one.rank is not None)
    return {"logprob": told[token].logprob, "top": [(number, logprob) for _, number, logprob in best[:count]]}


def _asked(row: Row) -> Any:
    taste = row.taste
    return SamplingParams(
        temperature=taste.temperature,
        top_p=taste.top_p,
        presence_penalty=taste.presence_penalty,
        frequency_penalty=taste.frequency_penalty,
        logit_bias=taste.logit_bias or None,
        logprobs=taste.logprobs,
        prompt_logprobs=taste.logprobs if row.listens else None,
        seed=taste.seed,
        max_tokens=max(1, row.limit),
        ignore_eos=True,
        stop_token_ids=sorted(row.ends),
        structured_outputs=None if taste.grammar is None else StructuredOutputsParams(json=taste.grammar),
        detokenize=False,
        output_kind=RequestOutputKind.DELTA,
    )


def load(message: dict[str, Any]) -> VLLMEngine:
    """What the first message says. Raises `Failed`."""
    places: dict[str, str] = message["models"]
    adapters = {name: place for name, place in places.items() if (Path(place) / _ADAPTER).is_file()}
    base = _base(places, adapters, message)
    if message.get("threads"):
        os.environ["OMP_NUM_THREADS"] = str(message["threads"])
    engine = LLMEngine.from_engine_args(EngineArgs(**_arguments(base, adapters, message)))
    requests = {
        name: LoRARequest(name, number, place) for number, (name, place) in enumerate(adapters.items(), start=1)
    }
    for name, request in requests.items():
        try:
            engine.add_lora(request)
        except (ValueError, RuntimeError, OSError) as exc:
            reason = " ".join(str(exc).split())[:500]
            raise Failed(f"vLLM cannot serve the adapter {adapters[name]!r}: {reason}. Merge it first.") from exc
    tongues = {name: _tongue(place, base, engine, message) for name, place in places.items()}
    return VLLMEngine(engine, tongues, requests)


def _base(places: dict[str, str], adapters: dict[str, str], message: dict[str, Any]) -> str:
    wholes = {place for name, place in places.items() if name not in adapters}
    base = message.get("base") or (wholes.pop() if len(wholes) == 1 else None)
    if base is None:
        raise Failed("one server holds one base model: name it, or serve one whole model")
    return base


def _arguments(base: str, adapters: dict[str, str], message: dict[str, Any]) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "model": base,
        "dtype": _precision(base, message),
        "trust_remote_code": message.get("trust_remote_code", False),
        "max_num_seqs": message.get("max_rows", 64),
        "max_logprobs": 20,
        "generation_config": "vllm",  # defaults are OpenAI's here, not the model's
        "enforce_eager": current_platform.is_cpu(),  # compiling there takes a C++ compiler, and minutes
        "disable_log_stats": True,
    }
    if adapters:  # one place more: on a CPU, vLLM 0.32 lets rows without an adapter use what lies in the last one
        arguments |= {"enable_lora": True, "max_loras": len(adapters) + 1, "max_lora_rank": _rank(adapters)}
    return arguments


def _precision(base: str, message: dict[str, Any]) -> str:
    """As saved: left to itself vLLM makes bfloat16 of float32. float16 is slow on a CPU."""
    asked = message.get("precision", "auto")
    config = AutoConfig.from_pretrained(base, trust_remote_code=message.get("trust_remote_code", False))
    saved = str(getattr(config, "dtype", None)).removeprefix("torch.")
    wide = saved == "float32" or (saved == "float16" and current_platform.is_cpu())
    return "float32" if asked == "auto" and wide else asked


def _rank(adapters: dict[str, str]) -> int:
    """The least that vLLM knows and every adapter fits into."""
    wanted = 1
    for place in adapters.values():
        told = json.loads((Path(place) / _ADAPTER).read_text())
        if "r" not in told:
            raise Failed(f"vLLM serves LoRA adapters; {place} is {told.get('peft_type', 'none')}: merge it first")
        wanted = max(wanted, told["r"], *(told.get("rank_pattern") or {}).values())
    known = [rank for rank in get_args(MaxLoRARanks) if rank >= wanted]
    if not known:
        raise Failed(f"vLLM serves adapters up to rank {max(get_args(MaxLoRARanks))}, this one has {wanted}: merge it")
    return min(known)


def _tongue(place: str, base: str, engine: Any, message: dict[str, Any]) -> VLLMTongue:
    own = (Path(place) / "tokenizer_config.json").is_file() or not (Path(place) / _ADAPTER).is_file()
    more = {"trust_remote_code": message.get("trust_remote_code", False)}
    tokenizer: Any = AutoTokenizer.from_pretrained(place if own else base, **more)
    try:
        stop = GenerationConfig.from_pretrained(base).eos_token_id
    except OSError:  # a model need not have one
        stop = engine.model_config.hf_text_config.eos_token_id
    ends = {*(stop if isinstance(stop, list) else [stop]), tokenizer.eos_token_id} - {None}
    config = engine.model_config
    return VLLMTongue(tokenizer, ends=frozenset(ends), context=config.max_model_len, vocabulary=config.get_vocab_size())
