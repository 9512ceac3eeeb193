"""`options.onnx.olive`: which part of a run configuration belongs to which stage, and what it may not say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from finetune_sdk.deploy import olive
from finetune_sdk.errors import SpecError

PLACE = "options.onnx.olive"
TRAIN = "train"
"""The pass that trains, where no other is given."""
NAMES = (TRAIN, "gptq", "builder", "conversion", "optimization", "quantizer")
"""Passes that are written here (`passes`): a configuration may change one without giving its `type`."""
_PASSED_ON = ("systems", "host", "target", "evaluators", "evaluator", "search_strategy", "data_configs")
_ROWS = ("train_data_config", "eval_data_config", "data_config")
_GPU_ONLY = ("QLoRA", "LoftQ")


@dataclass(frozen=True, slots=True)
class Settled:
    """A run configuration, taken apart."""

    train: Mapping[str, Any] | None = None
    """The pass that trains, with its `type`; None = as the adapter of the job description says."""
    chain: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    """Passes that convert, optimise and quantise, with their types; empty = as the options say."""
    changes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    """Parameters of passes that are written here, by their names."""
    run: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What the export's run is told beside its passes."""
    notes: tuple[str, ...] = ()

    @property
    def searches(self) -> bool:
        """Whether Olive is to try several values of one pass."""
        return "search_strategy" in self.run


NOTHING = Settled()


def settle(given: str | Mapping[str, Any] | None, *, model: str) -> Settled:
    """Raises `SpecError` for what Olive does not know, and for what the job itself decides otherwise."""
    if given is None:
        return NOTHING
    document = olive.read(given, place=PLACE)
    engine: Any = document.get("engine") or {}
    document = {**{key: value for key, value in document.items() if key != "engine"}, **engine}
    passes = olive.check(document, place=PLACE)
    _same_model(document.get("input_model"), model)
    training = [one for one in passes if one.kind in olive.TRAINING]
    if len(training) > 1:
        raise SpecError(f"{PLACE}.passes: {' and '.join(one.name for one in training)} both train; a job trains once")
    chain = {one.name: _pass(one) for one in passes if one.kind is not None and one not in training}
    chain = {name: one for name, one in chain.items() if one["type"] != "MergeAdapterWeights"}
    found = Settled(
        train=_pass(training[0]) if training else None,
        chain=chain,
        changes={one.name: _change(one) for one in passes if one.kind is None},
        run={key: document[key] for key in _PASSED_ON if document.get(key) is not None},
        notes=tuple(_notes(document, passes)),
    )
    _searchable(found)
    return found


def _pass(one: olive.Pass) -> dict[str, Any]:
    return {"type": one.kind, **{key: value for key, value in one.settings.items() if key not in _ROWS}}


def _change(one: olive.Pass) -> dict[str, Any]:
    if one.name not in NAMES:
        raise SpecError(
            f"{PLACE}.passes.{one.name}: without a `type` it changes a pass that the job writes, and those are called "
            f"{', '.join(NAMES)}"
        )
    return {key: value for key, value in one.settings.items() if key not in _ROWS}


def _same_model(given: Any, model: str) -> None:
    """The model is the job description's; a configuration may repeat it."""
    config: dict[str, Any] = given or {}
    settings: dict[str, Any] = {**config, **(config.get("config") or {})}
    if str(settings.get("type", "HfModel")).lower() != "hfmodel":
        raise SpecError(f"{PLACE}.input_model.type: Hugging Face models only, not {settings['type']}")
    path = settings.get("model_path")
    if path is not None and str(path) != model:
        raise SpecError(f"{PLACE}.input_model.model_path is {path!r}, but the job's `model` is {model!r}")


def _searchable(found: Settled) -> None:
    """Olive 0.13 searches over one pass; over several it fails at the second point and answers 0 (measured)."""
    wanted = [name for name, one in {**found.chain, **found.changes}.items() if olive.searched(one)]
    if not wanted and not found.searches:
        return
    if not found.searches:
        raise SpecError(f"{PLACE}.passes.{wanted[0]}: a search parameter needs `search_strategy` and an evaluator")
    if len(found.chain) != 1 or wanted != list(found.chain):
        raise SpecError(
            f"{PLACE}.search_strategy: Olive's search works with exactly one pass, which has the search parameters; "
            "for several, or for training, use options.onnx.search or `finetune compare`"
        )
    if "evaluator" not in found.run or "evaluators" not in found.run:
        raise SpecError(f"{PLACE}.search_strategy: Olive needs `evaluators` and the name of one as `evaluator`")


def _notes(document: Mapping[str, Any], passes: tuple[olive.Pass, ...]) -> list[str]:
    ours = sorted(set(document) - {*_PASSED_ON, "passes", "input_model", "engine"})
    lines = [f"onnx: {', '.join(ours)} of Olive's configuration: the job has folders, caches and logs of its own"]
    rows = sorted({key for one in passes for key in one.settings if key in _ROWS})
    merges = any(one.kind == "MergeAdapterWeights" for one in passes)
    return [
        *(lines if ours else []),
        *([f"onnx: {', '.join(rows)} of Olive's passes: the rows are those of `data`"] if rows else []),
        *(["onnx: MergeAdapterWeights: adapters are merged, exactly, before every export"] if merges else []),
    ]


def needs_gpu(kind: str) -> bool:
    """Whether Olive's pass trains on a quantised base, which its libraries do on a GPU."""
    return kind in _GPU_ONLY
