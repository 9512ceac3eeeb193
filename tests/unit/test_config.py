"""Reading and writing job descriptions."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from finetune_sdk import config
from finetune_sdk.errors import SpecError
from finetune_sdk.spec import DPO, RFT, SFT, DataSpec, JobSpec, LoRA

BASE = "provider: peft\nmodel: some/model\ndata: {train: rows.jsonl}\n"
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def _write(text: str, name: str = "job.yaml") -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return _write


def refusal(path: Path, **options: object) -> list[str]:
    """The problems of a spec, each without the folder of the file."""
    with pytest.raises(SpecError) as caught:
        config.load(path, **options)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    lines = caught.value.problems or (str(caught.value),)
    return [line.replace(f"{path.parent}/", "") for line in lines]


# --- what a file may say --------------------------------------------------------------------------------------------


def test_the_screen_of_the_readme_loads(write: Write) -> None:
    spec = config.load(
        write(
            "provider: peft\n"
            "model: {peft: Qwen/Qwen3-0.6B, openai: gpt-4.1-mini-2025-04-14}\n"
            "data: {train: support.jsonl, validation: 0.1}\n"
            "method: {kind: sft}\n"
            "adapter: {kind: lora, r: 16, alpha: 32}\n"
            "hyperparameters: {epochs: 3, learning_rate: 2.0e-4}\n"
            "budget: {max_cost_usd: 20}\n"
        )
    )
    assert (spec.model_id, spec.hyperparameters.learning_rate, spec.data.validation) == ("Qwen/Qwen3-0.6B", 2e-4, 0.1)


@pytest.mark.parametrize("text", ["1e-4", "1E-4", "1.0e-4", ".0001", '"1e-4"', "0.0001"])
def test_a_learning_rate_may_be_written_as_people_write_it(write: Write, text: str) -> None:
    spec = config.load(write(BASE + f"hyperparameters: {{learning_rate: {text}}}\n"))
    assert spec.hyperparameters.learning_rate == 1e-4


@pytest.mark.parametrize(("text", "packing"), [("no", False), ("off", False), ("yes", True), ("true", True)])
def test_yes_and_no_are_answers_where_an_answer_is_asked(write: Write, text: str, packing: bool) -> None:
    assert config.load(write(BASE + f"hyperparameters: {{packing: {text}}}\n")).hyperparameters.packing is packing


def test_no_stays_a_word_where_a_word_is_asked(write: Write) -> None:
    spec = config.load(write(BASE + "suffix: no\nmetadata: {country: no, clock: 1:30, day: 2024-01-01}\n"))
    assert (spec.suffix, dict(spec.metadata)) == ("no", {"country": "no", "clock": "1:30", "day": "2024-01-01"})


def test_a_method_and_an_adapter_may_be_one_word(write: Write) -> None:
    spec = config.load(write(BASE + "method: dpo\nadapter: qlora\n"))
    assert spec.method == DPO()
    assert spec.adapter == LoRA(quantize="4bit")


def test_anchors_and_merge_keys_work(write: Write) -> None:
    text = BASE + "options: {peft: {a: &a {x: 1, y: 2}, b: {<<: *a, y: 3}}}\n"
    assert config.load(write(text)).options["peft"]["b"] == {"x": 1, "y": 3}


def test_json_is_read_too_also_with_tabs(write: Write) -> None:
    text = '{\n\t"provider": "peft",\n\t"model": "m",\n\t"data": {"train": "https://x/rows.jsonl"}\n}'
    assert config.load(write(text, "job.json")).data.train == "https://x/rows.jsonl"


def test_a_mapping_loads_like_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    spec = config.load({"provider": "peft", "model": "m", "data": {"train": ("a.jsonl", "b.jsonl")}})
    assert spec.data.train == (str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl"))


def test_a_byte_order_mark_is_no_problem(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + BASE.encode())
    assert config.load(path).provider == "peft"


# --- paths ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("rows.jsonl", "{folder}/rows.jsonl"),
        ("../rows.jsonl", "{parent}/rows.jsonl"),
        ("parts/*.jsonl", "{folder}/parts/*.jsonl"),
        ("/data/rows.jsonl", "/data/rows.jsonl"),
        ("https://example.org/rows.jsonl", "https://example.org/rows.jsonl"),
    ],
)
def test_data_paths_start_at_the_folder_of_the_spec(write: Write, tmp_path: Path, written: str, meant: str) -> None:
    spec = config.load(write(BASE.replace("rows.jsonl", f'"{written}"')))
    assert spec.data.train == meant.format(folder=tmp_path, parent=tmp_path.parent)


def test_a_glob_beside_a_spec_in_a_folder_with_brackets_still_matches(tmp_path: Path) -> None:
    folder = tmp_path / "run [1]"
    folder.mkdir()
    (folder / "job.yaml").write_text(BASE.replace("rows.jsonl", '"*.jsonl"'))
    assert config.load(folder / "job.yaml").data.train == str(tmp_path / "run [[]1]" / "*.jsonl")


def test_grader_files_start_at_the_folder_of_the_spec(write: Write, tmp_path: Path) -> None:
    text = BASE + (
        "method:\n  kind: rft\n  grader:\n    type: multi\n    calculate_output: a\n"
        "    graders: {a: {type: python, file: grade.py}}\n"
    )
    method = config.load(write(text)).method
    assert isinstance(method, RFT)
    assert f'"file":"{tmp_path}/grade.py"' in method.grader.model_dump_json()


@pytest.mark.parametrize(("written", "local"), [("./tiny", True), ("Qwen/Qwen3-0.6B", False), ("builtin/tiny", False)])
def test_a_model_is_a_path_only_when_it_looks_like_one(write: Write, tmp_path: Path, written: str, local: bool) -> None:
    spec = config.load(write(BASE.replace("some/model", written)))
    assert spec.model == (str(tmp_path / "tiny") if local else written)


# --- variables and secrets ------------------------------------------------------------------------------------------


def test_variables_are_filled_in_and_keep_their_type(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEED", "42")
    monkeypatch.delenv("MODEL", raising=False)
    text = 'seed: ${SEED}\nsuffix: "${SEED}"\nmodel: ${MODEL:-org/default}\n'
    spec = config.load(write(text + "provider: peft\ndata: {train: a.jsonl}\n"))
    assert (spec.seed, spec.suffix, spec.model) == (42, "42", "org/default")


def test_a_doubled_dollar_is_a_literal_one(write: Write) -> None:
    assert config.load(write(BASE + "suffix: $${X} $5\n")).suffix == "${X} $5"


def test_a_missing_variable_is_named_with_its_line(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOPE", raising=False)
    assert refusal(write(BASE + "suffix: ${NOPE}\n")) == [
        "job.yaml:4:1: suffix: the environment variable NOPE is not set; set it, or write ${NOPE:-default}"
    ]


@pytest.mark.parametrize("text", ["${1X}", "${X", "${}", "${A B}"])
def test_a_malformed_variable_is_refused(write: Write, text: str) -> None:
    assert "is not `${NAME}`" in refusal(write(BASE + f"suffix: '{text}'\n"))[0]


def test_a_variable_inside_flow_brackets_is_told_to_be_quoted(write: Write) -> None:
    assert "a variable needs quotes" in refusal(write(BASE + "report_to: [${X}]\n"))[0]


def test_a_variable_that_names_a_secret_is_refused(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "not-even-shaped-like-one")
    (line,) = refusal(write(BASE + "options: {peft: {x: '${OPENAI_API_KEY}'}}\n"))
    assert line.startswith("job.yaml:4:18: options.peft.x: `${OPENAI_API_KEY}` would copy a secret")
    assert "not-even" not in line


@pytest.mark.parametrize(
    "text",
    [
        "{peft: {x: sk-abcdefghijklmnopqrstuvwx}}",
        "{peft: {x: [hf_abcdefghijklmnopqrstuvwx]}}",
        "{peft: {api_key: abc}}",
    ],
)
def test_a_secret_in_plain_sight_is_refused_and_not_repeated(write: Write, text: str) -> None:
    (line,) = refusal(write(BASE + f"options: {text}\n"))
    assert "this is a secret" in line
    assert "abc" not in line


# --- mistakes -------------------------------------------------------------------------------------------------------

MISTAKES = {
    "unknown key": ("epohcs: 3", "epohcs: unknown key"),
    "nearest key": ("hyperparameters: {epohcs: 3}", "hyperparameters.epohcs: unknown key; did you mean `epochs`?"),
    "key of another tool": (
        "hyperparameters: {lr: 3}",
        "hyperparameters.lr: unknown key; here it is called `learning_rate`",
    ),
    "key in the wrong place": ("epochs: 3", "epochs: unknown key here; it belongs to `hyperparameters.epochs`"),
    "key of a union member": ("method: {kind: dpo, beat: 1}", "method.beat: unknown key; did you mean `beta`?"),
    "key of another member": ("adapter: {kind: full, r: 8}", "adapter.r: unknown key for full; lora has it"),
    "unknown method": ("method: dpp", "method: unknown kind 'dpp'; did you mean 'dpo'? (known: sft, pretraining, dpo"),
    "unknown adapter": ("adapter: {kind: lorra}", "adapter.kind: unknown kind 'lorra'; did you mean 'lora'?"),
    "far off": ("adapter: {kind: xyz}", "adapter.kind: unknown kind 'xyz'; known: lora, ia3, prompt_tuning, full"),
    "kind left out": ("adapter: {r: 8}", "adapter: needs `kind`, one of: lora, ia3, prompt_tuning, full"),
    "grader type": (
        "method: {kind: rft, grader: {type: sting_check}}",
        "method.grader.type: unknown type 'sting_check'; did you mean 'string_check'?",
    ),
    "deep inside": (
        (
            "method: {kind: rft, grader: {type: multi, calculate_output: a, "
            "graders: {a: {type: string_check, refrence: x}}}}"
        ),
        "method.grader.graders.a.refrence: unknown key; did you mean `reference`?",
    ),
    "not a number": (
        "hyperparameters: {epochs: many}",
        "hyperparameters.epochs: must be a number or 'auto', not \"many\"",
    ),
    "out of range": (
        "hyperparameters: {batch_size: 0}",
        "hyperparameters.batch_size: must be at least 1 or 'auto', not 0",
    ),
    "a truth for a number": ("hyperparameters: {epochs: true}", "hyperparameters.epochs: must be a number, not true"),
    "empty": ("hyperparameters: {epochs: }", "hyperparameters.epochs: must be a number or 'auto'; it is empty"),
    "word list": ("hyperparameters: {scheduler: liner}", "did you mean 'linear'?"),
    "number for text": (
        "metadata: {version: 1.10}",
        'metadata.version: must be text, not 1.1; put it in quotes: "1.10"',
    ),
    "text for a list": ("report_to: wandb", 'report_to: must be a list, not "wandb"; write [wandb]'),
    "share": ("data: {train: a, validation: 2}", "data.validation: a share must lie between 0 and 1"),
    "both rates": (
        "hyperparameters: {learning_rate: 1, learning_rate_multiplier: 2}",
        "hyperparameters: set learning_rate (absolute) or learning_rate_multiplier (relative), not both",
    ),
    "template": (
        "method: {kind: rft, grader: {type: string_check, reference: {{item.answer}}}}",
        "a template such as {{item.answer}} needs quotes around it",
    ),
    "custom tag": ("suffix: !env HOME", "suffix: the tag '!env' has no meaning in a job description"),
    "python tag": ("suffix: !!python/name:os.system", "has no meaning in a job description"),
}


@pytest.mark.parametrize(("line", "told"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_told_with_its_line_and_key(write: Write, line: str, told: str) -> None:
    text = "provider: peft\nmodel: m\n" + ("" if line.startswith("data:") else "data: {train: a.jsonl}\n") + "\n" + line
    problems = refusal(write(text))
    assert any(told in problem for problem in problems), problems
    assert all(re.match(r"job\.yaml:\d+:\d+: ", problem) for problem in problems), problems


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file(write: Write) -> None:
    problems = refusal(write("provider: peft\nmodle: m\nmethod: dpp\nhyperparameters:\n  epochs: -1\nseed: ${NOPE}\n"))
    assert [re.match(r"job\.yaml:(\d+)", line)[1] for line in problems] == ["1", "1", "2", "3", "5", "6"]  # type: ignore[index]  # pyright: ignore[reportOptionalSubscript]


def test_the_text_of_several_mistakes_says_how_many_and_that_nothing_was_sent(write: Write) -> None:
    with pytest.raises(SpecError, match=r"^2 problems in .*job\.yaml; nothing was sent\n  .*\n  .*"):
        config.load(write(BASE + "a: 1\nb: 2\n"))


def test_no_pydantic_address_reaches_the_user(write: Write) -> None:
    assert "pydantic" not in "".join(refusal(write(BASE + "method: 3\nadapter: [1]\nseed: {}\n")))


def test_a_key_written_twice_names_both_lines(write: Write) -> None:
    assert refusal(write(BASE + "model: other\n")) == [
        "job.yaml:4:1: model: written twice; the first is in line 2. Keep one of them."
    ]


SYNTAX = {
    "tab": ("data:\n\ttrain: a\n", "job.yaml:2:1: not valid YAML: there is a tab"),
    "glob": ("data: {train: *.jsonl}\n", "job.yaml:1:16: not valid YAML: text that starts with `*`"),
    "colon": ("suffix: a: b\n", "job.yaml:1:10: not valid YAML: text that holds `: ` needs quotes"),
    "open bracket": ("report_to: [a\n", "job.yaml:2:1: not valid YAML"),
    "two documents": ("a: 1\n---\nb: 2\n", "job.yaml:2:1: not valid YAML: one file holds one job"),
    "list": ("- a\n", "job.yaml:1:1: a job description is a mapping of keys"),
    "only text": ("hello\n", "job.yaml:1:1: a job description is a mapping of keys"),
    "empty": ("", "job.yaml: empty; a job description starts with"),
    "only comments": ("# nothing\n", "job.yaml: empty; a job description starts with"),
    "deep": ("[" * 1200, "job.yaml: nested too deeply"),
    "alias of itself": ("a: &a [*a]\n", "an alias that contains itself"),
}


@pytest.mark.parametrize(("text", "told"), SYNTAX.values(), ids=SYNTAX.keys())
def test_text_that_is_no_mapping_is_refused_with_its_place(write: Write, text: str, told: str) -> None:
    assert any(told in problem for problem in refusal(write(text)))


def test_an_alias_bomb_is_refused_at_once(write: Write) -> None:
    layers = "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))
    assert any("more than 50000 values" in line for line in refusal(write("a: &a [x]\n" + layers)))


def test_broken_json_is_told_with_its_place(write: Write) -> None:
    assert refusal(write('{"provider": "peft",\n "model" "m"}', "job.json")) == [
        "job.json:2:10: not valid JSON: Expecting ':' delimiter"
    ]


def test_a_file_that_is_not_utf8_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_bytes(b"provider: peft\nmodel: \xff\n")
    assert refusal(tmp_path / "job.yaml") == ["job.yaml:2: not UTF-8 text (byte 0xff); save the file as UTF-8"]


def test_a_missing_file_names_its_nearest_neighbour(write: Write, tmp_path: Path) -> None:
    write(BASE, "finetune.yaml")
    assert refusal(tmp_path / "finetunes.yaml") == ["no such file: 'finetunes.yaml'; did you mean 'finetune.yaml'?"]


def test_data_given_as_the_spec_is_recognised(write: Write) -> None:
    assert "looks like data" in refusal(write('{"messages": []}\n', "train.jsonl"))[0]


# --- overrides ------------------------------------------------------------------------------------------------------


def test_overrides_win_over_the_file(write: Write) -> None:
    path = write(BASE + "hyperparameters: {epochs: 1, packing: true}\n")
    spec = config.load(path, provider="other", overrides=["hyperparameters.epochs=3", "report_to=[wandb]"])
    assert (spec.provider, spec.hyperparameters.epochs, spec.hyperparameters.packing) == ("other", 3, True)
    assert spec.report_to == ("wandb",)


def test_an_override_may_go_into_a_one_word_method(write: Write) -> None:
    assert config.load(write(BASE + "method: dpo\n"), overrides=["method.beta=2e-1"]).method == DPO(beta=0.2)


def test_an_override_may_take_something_back(write: Write) -> None:
    assert config.load(write(BASE + "adapter: lora\n"), overrides=["adapter=null"]).adapter is None


def test_an_overridden_path_starts_at_the_working_directory(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    spec = config.load(write(BASE), overrides=["data.train=mine.jsonl"])
    assert spec.data.train == str(tmp_path / "elsewhere" / "mine.jsonl")


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("epochs", "--set epochs: is not `key=value`"),
        ("hyperparameters.epohcs=3", "--set hyperparameters.epohcs=3: hyperparameters.epohcs: unknown key"),
        ("hyperparameters.epochs=x", "--set hyperparameters.epochs=x: hyperparameters.epochs: must be a number"),
        ("report_to=[", "--set report_to=[: report_to: not valid YAML"),
    ],
)
def test_a_wrong_override_is_told_as_it_was_typed(write: Write, override: str, told: str) -> None:
    assert refusal(write(BASE), overrides=[override])[0].startswith(told)


# --- providers ------------------------------------------------------------------------------------------------------


def test_an_unknown_provider_is_told_with_its_line_and_the_nearest(write: Write) -> None:
    (line,) = refusal(write(BASE.replace("peft", "pefft")), providers=["peft", "openai"])
    assert line == "job.yaml:1:1: provider: unknown provider 'pefft'; did you mean 'peft'? Installed: openai, peft"


def test_a_typing_error_in_the_options_is_not_ignored(write: Write) -> None:
    (line,) = refusal(write(BASE + "options: {pfet: {x: 1}}\n"), providers=["peft", "openai"])
    assert line == "job.yaml:4:11: options.pfet: unknown provider 'pfet'; did you mean 'peft'?"


def test_options_for_a_provider_that_is_not_installed_here_are_kept(write: Write) -> None:
    assert "somewhere" in config.load(write(BASE + "options: {somewhere: {x: 1}}\n"), providers=["peft"]).options


# --- writing --------------------------------------------------------------------------------------------------------


def test_what_is_written_holds_only_what_was_said() -> None:
    spec = JobSpec(provider="peft", model="m", data=DataSpec(train="/a.jsonl"), adapter=LoRA(r=8))
    assert yaml.safe_load(config.dump(spec)) == {
        "provider": "peft",
        "model": "m",
        "data": {"train": "/a.jsonl"},
        "method": {"kind": "sft"},
        "adapter": {"kind": "lora", "r": 8},
    }


@given(st.text(min_size=1, max_size=64).filter(str.isprintable), st.floats(1e-9, 10), st.booleans() | st.just("auto"))
def test_what_is_written_reads_back_equal(text: str, rate: float, packing: bool | str) -> None:
    spec = JobSpec.model_validate(
        {
            "provider": "peft",
            "model": {"peft": "m", "x": "y"},
            "data": {"train": "/a.jsonl"},
            "suffix": text,
            "hyperparameters": {"learning_rate": rate, "packing": packing},
        }
    )
    assert reread(spec) == spec


@pytest.mark.parametrize("text", ["no", "1e-4", "1.10", "0o7", "null", "~", "2024-01-01", "1:30", "${X}", "a: b", "*x"])
def test_words_that_yaml_could_misread_are_written_so_that_they_survive(text: str) -> None:
    spec = JobSpec(provider="p", model="m", data=DataSpec(train="/a"), method=SFT(), metadata={"x": text, "on": text})
    assert reread(spec) == spec


def reread(spec: JobSpec) -> JobSpec:
    """Through a file of its own: hypothesis refuses fixtures that live as long as a test."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "job.yaml"
        path.write_text(config.dump(spec), encoding="utf-8")
        return config.load(path)


# --- the schema -----------------------------------------------------------------------------------------------------


def test_the_schema_documents_every_key_of_a_job() -> None:
    properties = json.loads(json.dumps(config.schema()))["properties"]
    assert set(properties) == set(JobSpec.model_fields)


def test_the_schema_allows_one_word_methods_and_adapters() -> None:
    properties = json.loads(json.dumps(config.schema()))["properties"]
    words = {name: properties[name]["anyOf"][1]["enum"] for name in ("method", "adapter")}
    assert {"sft", "dpo", "rft"} <= set(words["method"])
    assert {"lora", "full"} <= set(words["adapter"])


def test_the_schema_states_bounds_in_words_that_editors_know() -> None:
    text = json.dumps(config.schema())
    assert '"exclusiveMinimum": 0' in text
    assert not [word for word in ('"gt":', '"ge":', '"lt":', '"le":') if word in text]
