"""Exports that really happen: trained, built in fp32 and int4, loaded, asked; tolerances; what bad input is told."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx_jobs
import openai
import peft_jobs
import peft_models
import pytest
import toy_data
from finetune_providers.onnx.provider import OnnxProvider
from onnx_jobs import Ran

from finetune_sdk.deploy import fetching, local
from finetune_sdk.deploy.asked import Serving
from finetune_sdk.deploy.onnx_export import spec_for
from finetune_sdk.errors import SpecError
from finetune_sdk.registry import load
from finetune_sdk.spec import JobSpec
from finetune_sdk.types import Deployment, JobStatus
from finetune_sdk.worker.envs import EnvStore

Export = Callable[..., Ran]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return onnx_jobs.home(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return peft_jobs.write(tmp_path_factory.mktemp("data") / "train.jsonl", peft_jobs.rows(60))


@pytest.fixture(scope="module")
def trained(home: Path, train: Path) -> Ran:
    """Fine-tuned, and built in two precisions."""
    wanted = onnx_jobs.spec(
        train, {"precision": ["fp32", "int4"], "keep_all": True}, data={"train": str(train), "validation": 0.2}, seed=0
    )
    job = onnx_jobs.run(home, wanted, "trained")
    assert job.state.status is JobStatus.SUCCEEDED, (job.state.error, job.messages[-3:])
    return job


@pytest.fixture
def export(home: Path, train: Path, trained: Ran, request: pytest.FixtureRequest) -> Export:
    """Run an export of the trained adapter."""

    def run(source: Path | None = None, *, wanted: JobSpec | None = None, **options: Any) -> Ran:
        given = {"source": str(source or trained.folder / "artifacts" / "adapter"), **options}
        spec = wanted or onnx_jobs.spec(train, given, model=str(trained.folder / "base"))
        return onnx_jobs.run(home, spec, request.node.name.replace("[", "-").rstrip("]"))

    return run


def test_a_tiny_model_is_trained_and_exported_in_fp32_and_int4(trained: Ran) -> None:
    assert sorted(trained.candidates) == ["fp32", "int4"]
    assert all(one["generated"] > 0 and one["finite"] for one in trained.candidates.values())


def test_fp32_answers_as_pytorch_does(trained: Ran) -> None:
    figures = trained.candidates["fp32"]
    assert figures["logits_max_diff"] < 1e-3
    assert figures["greedy_agreement"] == 1.0


def test_the_smallest_passing_package_is_the_recommended_one(trained: Ran) -> None:
    assert trained.verdict["recommended"] == "int4"
    assert trained.manifest["name"] == "int4"
    assert trained.candidates["int4"]["bytes"] < trained.candidates["fp32"]["bytes"]


def test_the_package_holds_all_that_an_engine_needs(trained: Ran) -> None:
    names = {path.name for path in trained.package.iterdir()}
    assert {"model.onnx", "genai_config.json", "tokenizer.json", "chat_template.jinja", "manifest.json"} <= names


def test_the_other_passing_packages_are_kept_when_asked_for(trained: Ran) -> None:
    assert (trained.folder / "artifacts" / "onnx-fp32" / "model.onnx").is_file()


def test_prompts_that_end_with_the_pad_token_are_answered_as_pytorch_answers_them(home: Path, trained: Ran) -> None:
    """By the package alone, one by one and as rows of different length."""
    from torch import inference_mode, tensor  # noqa: PLC0415 - slow to load

    pad = json.loads((trained.folder / "base" / "config.json").read_text())["pad_token_id"]
    prompts = [[5, 6, 7, pad], [9, pad, pad], [11, 12]]
    package = str(trained.folder / "artifacts" / "onnx-fp32")
    alone, together = _inside(home, "ask", package, json.dumps([prompts[:1], prompts]))
    model = peft_models.merged(onnx_jobs.merged(trained.folder, trained.folder / "plain"))
    for prompt, found in [*zip(prompts[:1], alone, strict=True), *zip(prompts, together, strict=True)]:
        with inference_mode():
            expected = model(input_ids=tensor([prompt])).logits[0, -1]
        assert (expected - tensor(found["logits"])).abs().max() < 1e-3
        assert found["next"] == int(expected.argmax())


def test_quantising_in_pieces_gives_the_numbers_of_quantising_at_once(home: Path) -> None:
    same = _inside(home, "pieces", str(OnnxProvider.worker / "tasks"))
    assert same == [True] * 9


def test_rows_of_any_number_of_blocks_can_be_quantised(home: Path) -> None:
    shares = _inside(home, "blocks", str(OnnxProvider.worker / "tasks"))
    assert max(shares) < 0.15


def test_the_table_of_embeddings_of_an_int4_package_is_int8(trained: Ran) -> None:
    graphs = {name: (trained.folder / "artifacts" / name / "model.onnx").read_bytes() for name in ("onnx", "onnx-fp32")}
    assert {name: b"GatherBlockQuantized" in graph for name, graph in graphs.items()} == {
        "onnx": True,
        "onnx-fp32": False,
    }


@pytest.fixture(scope="module")
def served(home: Path, trained: Ran) -> Iterator[openai.OpenAI]:
    """The package behind OpenAI's API."""
    artifact = fetching.named(str(trained.package))
    deployment: Deployment = local.deploy(home, artifact, name="package", serving=Serving(threads=1))
    yield openai.OpenAI(base_url=deployment.base_url, api_key="none", max_retries=0)
    local.remove(home, "package")


def ask(client: openai.OpenAI, **options: Any) -> Any:
    messages: list[Any] = [{"role": "user", "content": "I smile about number 7"}]
    wanted: dict[str, Any] = {"model": "package", "messages": messages, "max_tokens": 8, **options}
    create: Callable[..., Any] = client.chat.completions.create
    return create(**wanted)


def test_a_served_package_writes_to_the_end_of_its_context_where_nothing_limits_it(served: openai.OpenAI) -> None:
    long = [{"role": "user", "content": "I smile about number 7 " * 280}]
    found = ask(served, messages=long, max_tokens=openai.omit, logit_bias={"2": -100})  # never the end token
    assert found.usage.total_tokens == 2048
    assert found.choices[0].finish_reason == "length"


def test_a_served_packages_answers_keep_to_a_json_schema(served: openai.OpenAI) -> None:
    schema = {"name": "tone", "schema": {"enum": ["joy", "boredom"]}}
    found = ask(
        served, n=3, temperature=1, max_tokens=64, response_format={"type": "json_schema", "json_schema": schema}
    )
    assert {json.loads(choice.message.content) for choice in found.choices} <= {"joy", "boredom"}


def test_a_json_schema_that_cannot_be_followed_is_refused(served: openai.OpenAI) -> None:
    schema = {"name": "tone", "schema": {"type": "nonsense"}}
    with pytest.raises(openai.BadRequestError, match="cannot be followed"):
        ask(served, response_format={"type": "json_schema", "json_schema": schema})


def test_a_seed_makes_a_served_packages_answers_the_same(served: openai.OpenAI) -> None:
    first, again = (ask(served, seed=3, n=2, temperature=1, logprobs=True, top_logprobs=2) for _ in range(2))
    assert first.choices == again.choices


def test_the_receipt_of_the_training_is_extended_by_the_verdict(trained: Ran) -> None:
    receipt = json.loads((trained.folder / "artifacts" / "receipt.json").read_text())
    assert receipt["onnx"]["chosen"] == "int4"
    assert receipt["settings"]["max_steps"] == 30


def test_intermediate_models_are_cleaned_away(trained: Ran) -> None:
    assert not (trained.folder / "scratch").exists()
    assert [path.name for path in (trained.folder / "stages").iterdir() if path.name != "train"] == ["train.json"]


def test_a_finished_adapter_is_exported_without_training(export: Export) -> None:
    job = export(precision="int4")
    assert job.state.status is JobStatus.SUCCEEDED, job.state.error
    assert not job.said("fine-tuning")


def test_an_int4_that_breaks_the_tolerance_falls_back_to_int8(export: Export) -> None:
    job = export(precision="int4", tolerance={"max_kl": 1e-4})
    assert job.manifest["precision"] == "int8", job.candidates


def test_a_tolerance_that_nothing_keeps_fails_the_export_with_the_figures(export: Export) -> None:
    job = export(precision="int4", fallback=False, tolerance={"max_logits_diff": 0})
    assert job.state.status is JobStatus.FAILED
    assert "max_logits_diff is 0, it has 0." in (job.state.error or "")
    assert job.verdict["recommended"] is None


def test_a_metric_of_the_users_file_is_measured_before_and_after(export: Export, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def metrics(rows):\n    return {'letters': sum(len(r['answer']) for r in rows) / len(rows)}\n")
    job = export(precision="fp32", custom=str(file))
    assert job.state.metrics["onnx_letters"] == job.state.metrics["pytorch_letters"] > 0


def test_a_device_whose_execution_provider_is_not_installed_is_named_before_anything_is_done(export: Export) -> None:
    job = export(device="dml")
    assert job.state.status is JobStatus.FAILED
    assert "DmlExecutionProvider is not installed here" in (job.state.error or "")
    assert not job.said("merging")


def test_an_adapter_whose_tensors_do_not_fit_its_base_is_refused(export: Export, trained: Ran, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    shutil.copytree(trained.folder / "artifacts" / "adapter", adapter)
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps({**config, "r": config["r"] * 2}))
    job = export(adapter, precision="fp32")
    assert job.state.status is JobStatus.FAILED
    assert "made for another base model" in (job.state.error or "")


def test_a_killed_conversion_goes_on_without_redoing_finished_stages(home: Path, train: Path, trained: Ran) -> None:
    source = {"source": str(trained.folder / "artifacts" / "adapter"), "precision": "int4"}
    job = onnx_jobs.submit(home, onnx_jobs.spec(train, source, model=str(trained.folder / "base")), "killed")
    job.until_said("int4: building the package")
    job.kill()
    assert job.end().status is JobStatus.FAILED
    job.provider.resume(job.ref)
    assert job.end().status is JobStatus.SUCCEEDED, job.state.error
    assert job.said("merging the adapter into its base model: done before")
    assert job.said("asking the unquantised model in PyTorch: done before")


def test_a_conversion_can_be_cancelled_and_leaves_no_half_package(home: Path, train: Path, trained: Ran) -> None:
    source = {"source": str(trained.folder / "artifacts" / "adapter")}
    job = onnx_jobs.submit(home, onnx_jobs.spec(train, source, model=str(trained.folder / "base")), "cancelled")
    job.until_said("merging the adapter into its base model")
    job.cancel()
    assert job.end().status is JobStatus.CANCELLED
    assert not job.package.exists()
    assert not list((job.folder / "stages").glob("*.part"))


def test_a_classifier_is_trained_exported_and_quantised(home: Path, tmp_path: Path) -> None:
    rows = peft_jobs.write(tmp_path / "rows.jsonl", list(toy_data.labelled(60)))
    wanted = onnx_jobs.spec(
        rows, {"precision": ["fp32", "int8"]}, method="classification", data={"train": str(rows), "validation": 0.2}
    )
    job = onnx_jobs.run(home, wanted, "classifier")
    assert job.state.status is JobStatus.SUCCEEDED, job.state.error
    assert job.candidates["fp32"]["logits_max_diff"] < 1e-3
    assert job.manifest["labels"] == ["anger", "fear", "joy"]


def test_adapters_over_one_base_answer_as_each_merged_alone(home: Path, train: Path, trained: Ran) -> None:
    """The base is the trained model as a whole; the adapters are of different rank and reach."""
    base = onnx_jobs.merged(trained.folder, trained.folder / "whole")
    folders = {name: onnx_jobs.random_lora(base, name, trained.folder / name) for name in ("one", "two")}
    given = {"source": str(base), "merge": False, "adapters": folders, "precision": "fp32"}
    loose = {"tolerance": {"max_perplexity_increase": None, "max_metric_drop": None}}
    job = onnx_jobs.run(home, onnx_jobs.spec(train, {**given, **loose}, model=str(base)), "apart")
    assert job.state.status is JobStatus.SUCCEEDED, job.state.error
    adapters = job.candidates["fp32"]["adapters"]
    assert {name: one["greedy_agreement"] for name, one in adapters.items()} == {"one": 1.0, "two": 1.0}
    assert max(one["logits_max_diff"] for one in adapters.values()) < 1e-3
    assert [one["file"] for one in job.manifest["adapters"]] == [
        "adapters/one.onnx_adapter",
        "adapters/two.onnx_adapter",
    ]


def test_the_description_of_an_export_knows_the_base_and_the_rows_of_its_job(trained: Ran) -> None:
    made = spec_for(trained.folder / "artifacts" / "adapter", precision="int4")
    assert made.model == str(trained.folder / "base")
    assert made.data.train == str(trained.folder / "data" / "validation.jsonl")


def test_a_classifier_is_no_language_model(home: Path, tmp_path: Path, train: Path) -> None:
    _model(tmp_path, "BertForSequenceClassification")
    with pytest.raises(SpecError, match="set method: classification"):
        OnnxProvider(home=home).plan(onnx_jobs.spec(train, {"source": str(tmp_path)}))


def test_an_architecture_that_the_builder_lacks_is_refused_by_the_plan(home: Path, tmp_path: Path, train: Path) -> None:
    _model(tmp_path, "GPT2LMHeadModel")
    with pytest.raises(SpecError, match=r"does not have GPT2LMHeadModel.*Qwen3ForCausalLM"):
        OnnxProvider(home=home).plan(onnx_jobs.spec(train, {"source": str(tmp_path)}))


def test_a_tokenizer_without_chat_template_is_pointed_out(home: Path, tmp_path: Path, train: Path) -> None:
    _model(tmp_path, "LlamaForCausalLM")
    plan = OnnxProvider(home=home).plan(onnx_jobs.spec(train, {"source": str(tmp_path)}))
    assert any(finding.rule == "onnx-no-chat-template" for finding in plan.findings)


def test_training_settings_beside_a_source_are_refused(home: Path, tmp_path: Path, train: Path) -> None:
    wanted = onnx_jobs.spec(train, {"source": str(tmp_path)}, hyperparameters={"epochs": 2})
    with pytest.raises(SpecError, match=r"nothing is trained: remove hyperparameters\.epochs"):
        OnnxProvider(home=home).plan(wanted)


def test_half_precision_on_a_cpu_is_refused(home: Path, tmp_path: Path, train: Path) -> None:
    _model(tmp_path, "LlamaForCausalLM")
    wanted = onnx_jobs.spec(train, {"source": str(tmp_path), "precision": "fp16"})
    with pytest.raises(SpecError, match="fp16 does not run on device cpu"):
        OnnxProvider(home=home).plan(wanted)


def _model(folder: Path, architecture: str) -> None:
    """A model folder as far as a plan looks at it."""
    (folder / "config.json").write_text(json.dumps({"architectures": [architecture], "model_type": "any"}))
    (folder / "tokenizer.json").write_text("{}")
    header = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 4)


def _inside(home: Path, *arguments: str) -> Any:
    """What `onnx_inside.py` answers in the environment that exports."""
    needs = load("onnx", home=home).environment
    assert needs is not None
    python = EnvStore(home).python("onnx", needs.lock, wanted="managed", smoke=needs.smoke)
    script = Path(onnx_jobs.__file__).with_name("onnx_inside.py")
    done = subprocess.run(
        [str(python), str(script), *arguments], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)
