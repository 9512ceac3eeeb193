"""One dataset, four local targets: the same token ids and the same loss through the same chat template.

What `convert` writes for a target is rendered once as the peft worker reads it and once as the target's own code does:
`tokenizer.apply_chat_template` over the raw rows (AutoTrain, Unsloth, Olive), TRL's `apply_chat_template`.
"""

from __future__ import annotations

import importlib
import json
import sys
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from finetune_providers.unsloth.provider import UnslothProvider
from peft_worker import module

from finetune_sdk.data import Dataset, canonical
from finetune_sdk.data.report import Report
from finetune_sdk.data.tools import files
from finetune_sdk.worker import runner

TARGETS = ("peft", "autotrain", "unsloth", "onnx")
LOOKUP: dict[str, Any] = {
    "type": "function",
    "function": {"name": "look_up", "parameters": {"type": "object", "properties": {}}},
}


def _call(arguments: str) -> dict[str, Any]:
    return {
        "role": "assistant",
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "look_up", "arguments": arguments}}],
    }


SYSTEM = {"role": "system", "content": "Be brief — naïve, 日本語, 🙂."}
ASK = {"role": "user", "content": "How old is the tower?"}
ANSWER = {"role": "assistant", "content": "Ninety years.\n"}
MORE = [{"role": "user", "content": "And the bridge?"}, {"role": "assistant", "content": "Older."}]
RESULT = {"role": "tool", "tool_call_id": "c1", "content": '{"years": 90}'}
ROWS: dict[str, dict[str, Any]] = {
    "one-turn": {"messages": [ASK, ANSWER]},
    "system": {"messages": [SYSTEM, ASK, ANSWER]},
    "multi-turn": {"messages": [SYSTEM, ASK, ANSWER, *MORE]},
    "tools": {"messages": [SYSTEM, ASK, _call('{"of":  "tower", "n": 1}'), RESULT, ANSWER], "tools": [LOOKUP]},
    "weights": {"messages": [ASK, {**ANSWER, "weight": 0}, *MORE]},
}
REFUSED = {("tools", "autotrain"), *(("weights", target) for target in ("autotrain", "unsloth", "onnx"))}
"""What a target's own trainer cannot honour: its conversion is refused, or loses it in so many words."""
TAKEN = [(row, target) for row in ROWS for target in TARGETS if (row, target) not in REFUSED]


@cache
def _tokenizer() -> Any:
    return module("builtin")._tokenizer([json.dumps(row, ensure_ascii=False) for row in ROWS.values()])


def _file(folder: Path, row: dict[str, Any]) -> Path:
    path = folder / "source.jsonl"
    path.write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def _written(folder: Path, name: str, target: str, **options: Any) -> Path:
    """The row as `finetune data convert --to TARGET` writes it."""
    out = folder / f"{target}.jsonl"
    outcome = files.convert_for(Dataset.open(_file(folder, ROWS[name])), out, target, **options)
    assert outcome.written, outcome
    return out


def _samples(path: Path) -> list[tuple[list[int], list[float]]]:
    """Ids and loss weights as the worker computes them from canonical rows."""
    encoder = module("rows").Encoder(
        _tokenizer(), train_on="assistant", max_length=512, findings=module("findings").Findings()
    )
    rows: Iterator[dict[str, Any]] = (json.loads(canonical.render(example)) for example in Dataset.open(path))
    return [(list(sample.ids), list(sample.weights)) for row in rows for sample in encoder.encode(row)]


def _raw(path: Path) -> dict[str, Any]:
    row: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return row


def _learned(name: str) -> str:
    [(ids, weights)] = _samples_of_source(name)
    text: str = _tokenizer().decode([token for token, weight in zip(ids, weights, strict=True) if weight])
    return text


@cache
def _samples_of_source(name: str) -> list[tuple[list[int], list[float]]]:
    import tempfile  # noqa: PLC0415 - a cache outlives `tmp_path`

    with tempfile.TemporaryDirectory() as folder:
        return _samples(_file(Path(folder), ROWS[name]))


@pytest.mark.parametrize(("name", "target"), TAKEN)
def test_every_target_learns_the_same_tokens(tmp_path: Path, name: str, target: str) -> None:
    assert _samples(_written(tmp_path, name, target)) == _samples_of_source(name)


@pytest.mark.parametrize(("name", "target"), [pair for pair in TAKEN if pair[1] != "peft"])
def test_the_raw_rows_render_to_the_same_tokens_with_transformers(tmp_path: Path, name: str, target: str) -> None:
    row = _raw(_written(tmp_path, name, target))
    theirs = _tokenizer().apply_chat_template(row["messages"], tools=row.get("tools"), return_dict=True)
    [(ids, _)] = _samples_of_source(name)
    assert theirs["input_ids"] == ids


@pytest.mark.parametrize("name", ["one-turn", "system", "multi-turn", "tools"])
def test_transformers_masks_the_same_tokens(tmp_path: Path, name: str) -> None:
    row = _raw(_written(tmp_path, name, "unsloth"))
    theirs = _tokenizer().apply_chat_template(
        row["messages"], tools=row.get("tools"), return_dict=True, return_assistant_tokens_mask=True
    )
    [(_, weights)] = _samples_of_source(name)
    assert [float(mask) for mask in theirs["assistant_masks"]] == weights


@pytest.mark.parametrize("name", ["one-turn", "system", "multi-turn", "tools"])
def test_trl_renders_the_same_text(tmp_path: Path, name: str) -> None:
    trl: Any = importlib.import_module("trl.data_utils")  # slow to import
    row = _raw(_written(tmp_path, name, "unsloth"))
    rendered = trl.apply_chat_template({"messages": row["messages"]}, _tokenizer(), tools=row.get("tools"))
    [(ids, _)] = _samples_of_source(name)
    assert _tokenizer()(rendered["text"], add_special_tokens=False)["input_ids"] == ids


def _unsloth_columns(folder: Path, path: Path) -> list[dict[str, Any]]:
    """The token columns that the unsloth worker's own code makes of the rows in a file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if "finetune_unsloth" not in sys.modules:
            runner.load(UnslothProvider.worker, "finetune_unsloth")
        encode = importlib.import_module("finetune_unsloth.encode")
        findings = importlib.import_module("finetune_unsloth.local").part("findings").Findings()
    (folder / "data").mkdir()
    lines = [canonical.render(example).decode().rstrip() + "\n" for example in Dataset.open(path)]
    (folder / "data" / "train.jsonl").write_text("".join(lines), encoding="utf-8")
    job = SimpleNamespace(
        ctx=SimpleNamespace(dir=folder, stop=None),
        request={"method": {"kind": "sft", "train_on": "assistant"}},
        tokenizer=_tokenizer(),
        max_length=512,
    )
    return list(encode._plain(job, "train", findings))


@pytest.mark.parametrize("name", [name for name, target in TAKEN if target == "unsloth"])
def test_unsloths_worker_trains_on_the_same_tokens(tmp_path: Path, name: str) -> None:
    [columns] = _unsloth_columns(tmp_path, _written(tmp_path, name, "unsloth"))
    [(ids, weights)] = _samples_of_source(name)
    assert columns["input_ids"] == ids
    assert [float(label != -100) for label in columns["labels"]] == weights


@pytest.mark.parametrize(("name", "target"), sorted(REFUSED))
def test_what_a_target_cannot_honour_is_refused(tmp_path: Path, name: str, target: str) -> None:
    out = tmp_path / "out.jsonl"
    assert not files.convert_for(Dataset.open(_file(tmp_path, ROWS[name])), out, target).written
    assert not out.exists()


@pytest.mark.parametrize("target", ["autotrain", "unsloth", "onnx"])
def test_an_allowed_loss_of_weights_changes_the_mask_and_no_token(tmp_path: Path, target: str) -> None:
    [(ids, weights)] = _samples(_written(tmp_path, "weights", target, allow_loss=["weights"]))
    [(before, weighted)] = _samples_of_source("weights")
    assert ids == before
    assert sum(weights) > sum(weighted)


GOLDEN_IDS = [1, 292, 201, 301, 317, 310, 294, 314, 33, 2, 201, 1, 286, 201, 316, 311, 16, 201, 2, 201]

GOLDEN = {
    "one-turn": "Ninety years.\n<|im_end|>",
    "multi-turn": "Ninety years.\n<|im_end|>Older.<|im_end|>",
    "weights": "Older.<|im_end|>",
    "tools": '<tool_call>{"name": "look_up", "arguments": {"of": "tower", "n": 1}}</tool_call><|im_end|>'
    "Ninety years.\n<|im_end|>",
}


@pytest.mark.parametrize("name", GOLDEN)
def test_the_loss_is_on_what_the_assistant_wrote(name: str) -> None:
    assert _learned(name) == GOLDEN[name]


def test_the_ids_do_not_change_from_release_to_release() -> None:
    [(ids, weights)] = _samples_of_source("one-turn")
    assert (ids, weights) == (GOLDEN_IDS, [0.0] * 14 + [1.0] * 5 + [0.0])


def _templates() -> dict[str, str]:
    import trl  # noqa: PLC0415 - lazy itself, and only its folder is wanted

    folder = Path(str(trl.__file__)).parent / "chat_templates"
    return {name: (folder / f"{name}.jinja").read_text() for name in ("llama3_1", "qwen2_5", "qwen3", "glm4moe")}


@pytest.mark.parametrize("template", ["llama3_1", "qwen2_5", "qwen3", "glm4moe"])
@pytest.mark.parametrize("name", ["system", "tools"])
def test_published_templates_render_what_is_written_for_a_target_as_the_worker_does(
    tmp_path: Path, name: str, template: str
) -> None:
    """Arguments written as text would come out quoted twice, or stop the template."""
    tokenizer = module("builtin")._tokenizer(["a"])
    tokenizer.bos_token, tokenizer.chat_template = "<s>", _templates()[template]
    path = _written(tmp_path, name, "unsloth")
    row = _raw(path)
    [example] = Dataset.open(path).scan(Report())
    ours = json.loads(canonical.render(example))
    extra = {"tools": ours["tools"]} if "tools" in ours else {}
    theirs = tokenizer.apply_chat_template(row["messages"], tools=row.get("tools"), tokenize=False)
    assert module("template").ChatTemplate(tokenizer).render(ours["messages"], **extra) == theirs
