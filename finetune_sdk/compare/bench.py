"""What to compare, on which rows, by which metrics, for how much: the YAML file of `finetune compare`, key by key."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    field_validator,
    model_validator,
)

from finetune_sdk import config
from finetune_sdk._document import Document, Problem, is_list, is_mapping
from finetune_sdk._explain import explain
from finetune_sdk.compare.metrics import Chosen, chosen
from finetune_sdk.errors import SpecError

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(gt=0, lt=1)]
Paths = str | tuple[str, ...]
_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Rows(_Part):
    """The rows, and how they are divided once and for all."""

    train: Paths
    """A file, a glob, a folder, or a list of them: to learn from, and to draw examples for prompts from."""
    test: Paths | Share = 0.2
    """Rows every candidate is asked: a path, or a share of `train` that is split off by content."""
    validation: Paths | Share | None = None
    """Rows watched during training, and scored by a search: a path, or a share of `train`."""
    format: str | None = None
    """Overrides the detected format."""
    columns: Mapping[str, str] = Field(default_factory=dict)
    """Column mapping, ours to yours, such as `{prompt: question, completion: answer}`."""
    system: str | None = None
    """Put before every conversation that has no system message: the instruction that all candidates are given."""
    group_by: str | None = None
    """A key of the rows whose equal values stay on one side of the split."""
    stratify_by: str | None = None
    """A key of the rows within whose values shares are kept; None = the label of labelled rows."""
    split_seed: int = 42
    leaks: Literal["remove", "refuse"] = "remove"
    """What becomes of training rows that stand in the test rows too, exactly or nearly."""
    near: Annotated[float, Field(gt=0, le=1)] | None = 0.9
    """Share of equal word sequences from which two rows count as nearly the same (needs the extra `dedupe`); None =
    only exact copies."""
    max_train: Count | None = None
    """Learn from only this many training rows, chosen by content."""
    max_test: Count | None = None
    """Ask only this many test rows, chosen by content."""


class FewShot(_Part):
    """Examples of the training rows before the question."""

    k: Count = 4
    choose: Literal["fixed", "nearest"] = "fixed"
    """`fixed` = the same ones each time, spread over the labels; `nearest` = those most like the question."""


class Prompt(_Part):
    """How a candidate is asked. Empty = the row as it stands (zero-shot)."""

    system: str | None = None
    """Replaces the system message."""
    few_shot: FewShot | None = None
    retrieve: Count | None = None
    """Put this many of the training rows most like the question into the system message, as reference text."""


class Prices(_Part):
    """What a candidate costs, in USD; None = unknown, never 0."""

    input_per_mtok: Annotated[float, Field(ge=0)] | None = None
    """Per million prompt tokens."""
    output_per_mtok: Annotated[float, Field(ge=0)] | None = None
    """Per million answer tokens."""
    hosting_per_hour: Annotated[float, Field(ge=0)] | None = None
    """While the deployment stands, asked or not."""
    compute_per_hour: Annotated[float, Field(ge=0)] | None = None
    """Of the machine a local provider trains and serves on."""


class Endpoint(_Part):
    """A model that answers already, behind OpenAI's chat API."""

    base_url: str
    model: str
    api_key_env: str | None = None
    """The environment variable that holds the key."""

    @field_validator("base_url")
    @classmethod
    def _an_address(cls, value: str) -> str:
        try:
            parts = urlsplit(value)
            sound = value.startswith(("http://", "https://")) and parts.hostname and (parts.port is None or parts.port)
        except ValueError:
            raise ValueError("this is no address; give one such as http://127.0.0.1:8000/v1") from None
        if not sound:
            raise ValueError("this is no http(s) address; give one such as http://127.0.0.1:8000/v1")
        if parts.username is not None or parts.password is not None:
            raise ValueError("an address must not hold a name or a password; put the key into `api_key_env`")
        return value


def _names(value: object) -> object:
    return {} if value is None else value


class Candidate(_Part):
    """One way to answer. With `tune` it is trained first; with `at` it answers already; else it is the base model."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9{][A-Za-z0-9._+{}-]{0,79}$")] | None = None
    """None = made from what distinguishes it; in a grid `{key}` is replaced by its value."""
    provider: str = "peft"
    model: str | None = None
    """The base model; None = `base: model` for the provider."""
    base_of: str | None = None
    """The name of a tuned candidate: this one starts from the same base model, byte for byte, also where that one is
    made while it is tuned (`builtin/tiny`). It is trained after that one."""
    prompt: Prompt = Prompt()
    tune: Annotated[Mapping[str, JsonValue], BeforeValidator(_names)] | None = None
    """Parts of a job description (`adapter: lora`, `method`, `hyperparameters: {...}`) over those of `base`; `{}` or
    nothing after the colon = tuned with them as they stand."""
    at: Endpoint | None = None
    prices: Prices | None = None
    grid: Mapping[str, tuple[JsonValue, ...]] = Field(default_factory=dict)
    """Keys of a candidate (`provider`, `model`) or of its `tune` (`adapter`, `hyperparameters.epochs`), each with the
    values to try: one candidate per combination."""

    @model_validator(mode="after")
    def _one_kind(self) -> Candidate:
        if self.at is not None and (self.tune is not None or self.grid):
            raise ValueError("`at` is a model that answers already; it cannot be tuned: remove `tune` and `grid`")
        if self.base_of is not None and (self.model is not None or self.at is not None):
            raise ValueError("`base_of` names the model; remove `model` and `at`")
        return self


class Range(_Part):
    """Where a search looks for a number."""

    low: float
    high: float
    log: bool = False
    """Orders of magnitude are equally likely, as for learning rates."""
    whole: bool = False
    """Only whole numbers."""

    @model_validator(mode="after")
    def _ordered(self) -> Range:
        if not self.low < self.high or (self.log and self.low <= 0):
            raise ValueError("a range needs low < high, and low > 0 where it is logarithmic")
        if self.whole and math.ceil(self.low) > math.floor(self.high):
            raise ValueError("there is no whole number between low and high")
        return self


class Search(_Part):
    """A search over hyperparameters of one candidate: pilots first, the best go on."""

    candidate: str
    """The name of a tuned candidate; its settings are where the search starts."""
    over: Annotated[Mapping[str, Range | Annotated[tuple[JsonValue, ...], Field(min_length=1)]], Field(min_length=1)]
    """Keys of a job description, each with a range or a list of values."""
    trials: Count = 8
    sampler: Literal["random", "quasi-random"] = "random"
    """All settings are drawn before anything is trained; `quasi-random` spreads them more evenly."""
    halving: bool = True
    """Successive halving: all trials are trained on few rows, the best `1/factor` on `factor` times as many, and on."""
    factor: Annotated[int, Field(ge=2)] = 3
    first_share: Share = 0.2
    """Of the training rows in the first round."""
    seed: int = 0


class Judge(_Part):
    """A model that says which of two answers is better, asked twice with the answers changing places."""

    at: Endpoint
    instructions: str | None = None
    """What makes an answer good; None = agreement with the reference, correctness and completeness."""
    prices: Prices = Prices()
    """What its tokens cost; under `max_cost_usd` a judge without them is not asked."""
    against: str | None = None
    """The candidate every other is judged against; None = the first."""


class Curve(_Part):
    """The learning curve: one tuned candidate on growing shares of the training rows."""

    candidate: str | None = None
    """None = the tuned one that was cheapest to train."""
    shares: Annotated[tuple[Annotated[float, Field(gt=0, le=1)], ...], Field(min_length=2)] = (0.125, 0.25, 0.5, 1.0)
    times: Annotated[float, Field(gt=1)] = 2.0
    """How many times as many rows to foretell the gain for."""


class Harness(_Part):
    """Tasks of EleutherAI's lm-evaluation-harness, asked of every candidate besides the test rows."""

    tasks: Annotated[tuple[str, ...], Field(min_length=1)]
    """Names of tasks or groups, of the harness or in `folder`."""
    folder: str | None = None
    """A folder of task files (YAML) of your own; their data may be local files, so that nothing is downloaded."""
    api: Literal["chat", "completions"] = "chat"
    """`completions` scores given answers by their log-probabilities (multiple choice) and works for models on this
    machine; `chat` is for tasks that generate text, at any provider."""
    limit: Count | None = None
    """Ask only this many items of each task."""
    num_fewshot: Annotated[int, Field(ge=0)] | None = None
    """None = as each task says."""
    environment: str = "auto"
    """Where `lm_eval` is: `auto`, `current` (this interpreter), `managed`, or the path of an interpreter."""


class Tracking(_Part):
    """Where the results are written to besides the report, by each tracker's own library."""

    to: Annotated[tuple[Literal["mlflow", "tensorboard", "trackio", "wandb"], ...], Field(min_length=1)]
    project: str | None = None
    """None = the comparison's name."""
    folder: str | None = None
    """None = `trackers` in the comparison's folder. Trackers whose own variables lead elsewhere (MLFLOW_TRACKING_URI,
    WANDB_MODE=online, TRACKIO_DIR) follow those."""
    environment: str = "auto"
    """Where the libraries are: `auto`, `current` (this interpreter), `managed`, or the path of an interpreter."""


class Limits(_Part):
    """Hard limits of the whole comparison."""

    max_cost_usd: Positive | None = None
    max_hours: Positive | None = None
    jobs: Count = 1
    """Local jobs trained at a time. Models of this machine are asked one after the other."""
    hosted_jobs: Count = 4
    """Jobs trained elsewhere, and models asked elsewhere, at a time."""
    requests: Count = 8
    """Questions in flight at a time, per candidate."""
    request_timeout_s: Positive = 120.0
    attempts: Count = 3
    """Tries per question before its error counts."""


def _metric_shape(value: object) -> object:
    """`regex: {pattern: x}` or `accuracy` to a name and its options."""
    if isinstance(value, str):
        return {"name": value}
    if is_mapping(value) and len(value) == 1 and "name" not in value:
        name, options = next(iter(value.items()))
        return {"name": name, "options": {} if options is None else options}
    return value


class MetricSpec(_Part):
    """A metric by name, with its options."""

    name: str
    options: Mapping[str, JsonValue] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _known(self) -> MetricSpec:
        try:
            chosen(self.name, self.options)
        except SpecError as error:
            raise ValueError(str(error)) from error
        return self

    @property
    def chosen(self) -> Chosen:
        return chosen(self.name, self.options)


class Bench(_Part):
    """A comparison. The YAML file is this, key by key."""

    name: Annotated[str, Field(pattern=_NAME)] = "comparison"
    data: Rows
    metrics: Annotated[tuple[Annotated[MetricSpec, BeforeValidator(_metric_shape)], ...], Field(min_length=1)]
    """The first one decides; `finetune compare --metrics` lists them."""
    base: Mapping[str, JsonValue] = Field(default_factory=dict)
    """Parts of a job description that all candidates share, such as `model`, `hyperparameters`, `seed`, `compute`."""
    candidates: Annotated[tuple[Candidate, ...], Field(min_length=1)]
    reference: str | None = None
    """Compare every candidate with this one only; None = every pair."""
    slices: tuple[str, ...] = ()
    """Keys of the rows; scores are shown for each of their values."""
    max_tokens: Count = 256
    """Of an answer."""
    temperature: Annotated[float, Field(ge=0)] = 0.0
    limits: Limits = Limits()
    prices: Mapping[str, Prices] = Field(default_factory=dict)
    """By provider; `prices` of a candidate come before them."""
    requests_per_month: Count | None = None
    """Your volume: for the total cost, and the volume from which tuning pays."""
    search: tuple[Search, ...] = ()
    judge: Judge | None = None
    curve: Curve | None = None
    lm_eval: Harness | None = None
    tracking: Tracking | None = None
    forgetting: Paths | None = None
    """A neutral sample of texts or conversations; None = a few lines of our own. Loss on it before and after."""
    seed: int = 0
    """Of the resampling and of the choice of examples."""

    @model_validator(mode="after")
    def _distinct(self) -> Bench:
        keys = [metric.chosen.key for metric in self.metrics]
        if twice := sorted({key for key in keys if keys.count(key) > 1}):
            raise ValueError(f"two metrics are called {twice[0]!r}; give one a name of its own with `as:`")
        return self

    @property
    def likelihood(self) -> bool:
        """Whether a metric needs log-probabilities of the references."""
        return any(metric.chosen.metric.likelihood for metric in self.metrics)

    @property
    def sha256(self) -> str:
        """Hash of everything in it; equal benches, equal hash."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()


def load(source: str | os.PathLike[str] | Mapping[str, Any]) -> Bench:
    """The comparison in a YAML or JSON file, or in a mapping. Relative paths start at the file's folder.

    `${NAME}` is replaced from the environment. Raises one `SpecError` that holds every problem found, with its line.
    """
    document = config.read(source)
    if not is_mapping(document.value):
        raise SpecError(f"{document.name}: a comparison is a mapping with `data:`, `metrics:` and `candidates:`")
    tree = document.value
    _resolve(tree, Path.cwd() if isinstance(source, Mapping) else Path(source).absolute().parent)
    config.refuse_secrets(document, tree, ())
    return _validated(document, tree)


def renamed(bench: Bench, name: str) -> Bench:
    """The same comparison under another name: one that begins anew. Raises `SpecError`."""
    if re.match(_NAME, name) is None or name.endswith("\n"):
        raise SpecError(
            f"a comparison cannot be called {name!r}: a name is up to 64 letters, digits, '.', '_' and '-', and begins "
            "with a letter or digit"
        )
    return bench.model_copy(update={"name": name})


def _validated(document: Document, tree: dict[str, Any]) -> Bench:
    problems: list[Problem] = list(document.problems)
    bench = None
    try:
        bench = Bench.model_validate(tree)
    except ValidationError as error:
        told = {problem.path for problem in problems if problem.path}
        problems += [problem for problem in explain(error, tree, document.raw, Bench) if problem.path not in told]
    if problems or bench is None:
        raise config.refusal(document, problems)
    return bench


def _resolve(tree: dict[str, Any], folder: Path) -> None:
    """Paths made absolute, in place; what has the wrong shape is left for validation to refuse."""
    data = tree.get("data")
    if is_mapping(data):
        for key in ("train", "test", "validation"):
            _absolute(data, key, folder)
    _absolute(tree, "forgetting", folder)
    for part in ("lm_eval", "tracking"):
        inner = tree.get(part)
        if is_mapping(inner):
            _absolute(inner, "folder", folder)
    for metric in tree.get("metrics") or () if is_list(tree.get("metrics")) else ():
        for options in metric.values() if is_mapping(metric) else ():
            if is_mapping(options):
                _absolute(options, "file", folder)
                _absolute(options, "schema", folder)


def _absolute(holder: dict[str, Any], key: str, folder: Path) -> None:
    value = holder.get(key)
    if isinstance(value, str):
        holder[key] = config.absolute(value, folder)
    elif is_list(value):
        holder[key] = [config.absolute(one, folder) if isinstance(one, str) else one for one in value]
