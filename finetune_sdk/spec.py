"""The job description: one `JobSpec` holds everything a fine-tuning job is, for any provider.

Field names are the YAML keys. Nothing here does I/O; `config` reads files. `"auto"` means "the provider decides, and
says what it decided in the plan"; it is the only way to leave a choice open. Unknown keys are refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Literal, cast

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    ValidationInfo,
    field_validator,
    model_validator,
)

from finetune_sdk.errors import SpecError
from finetune_sdk.graders import Grader

Auto = Literal["auto"]


def _no_truth(value: object) -> object:
    """Python counts True as 1; `epochs: true` is a mistake, not one epoch."""
    if isinstance(value, bool):
        raise ValueError(f"must be a number, not {str(value).lower()}")  # noqa: TRY004  # pydantic wants a ValueError
    return value


Count = Annotated[int, Field(ge=1), BeforeValidator(_no_truth)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False), BeforeValidator(_no_truth)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False), BeforeValidator(_no_truth)]
Share = Annotated[float, Field(gt=0, lt=1), BeforeValidator(_no_truth)]


class Model(BaseModel):
    """Frozen, strict about keys, documented by attribute docstrings (they reach the JSON Schema)."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


# --- methods: what is learned from the data -------------------------------------------------------------------------


class SFT(Model):
    """Supervised fine-tuning on conversations or prompt/completion pairs."""

    kind: Literal["sft"] = "sft"
    train_on: Literal["assistant", "last_assistant", "all"] = "assistant"
    """Which tokens carry loss: every assistant turn, only the last one, or all. Message weights apply on top."""


class Pretraining(Model):
    """Continued pre-training on plain text: loss on every token."""

    kind: Literal["pretraining"] = "pretraining"


class DPO(Model):
    """Direct preference optimisation on preference pairs."""

    kind: Literal["dpo"] = "dpo"
    beta: Positive | Auto = "auto"
    """Strength of the pull towards the reference model."""
    loss: Literal["sigmoid", "hinge", "ipo", "robust", "apo_zero", "apo_down"] = "sigmoid"
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.0


class KTO(Model):
    """Kahneman-Tversky optimisation on answers labelled good or bad."""

    kind: Literal["kto"] = "kto"
    beta: Positive | Auto = "auto"
    desirable_weight: Positive = 1.0
    undesirable_weight: Positive = 1.0


class ORPO(Model):
    """Odds-ratio preference optimisation: SFT and preference in one loss, no reference model."""

    kind: Literal["orpo"] = "orpo"
    beta: Positive | Auto = "auto"
    """Weight of the odds-ratio term (lambda in the paper)."""


class RewardModel(Model):
    """A reward model (one score per conversation) from preference pairs."""

    kind: Literal["reward"] = "reward"
    center_rewards: NonNegative | None = None
    """Coefficient that keeps the mean reward near zero; None = off."""


class Classification(Model):
    """A classification head on labelled texts."""

    kind: Literal["classification"] = "classification"
    labels: tuple[str, ...] | Auto = "auto"
    """The label names in order; "auto" = all labels of the training rows, sorted."""


class RFT(Model):
    """Reinforcement fine-tuning: the model samples answers, a grader scores them (GRPO in local providers)."""

    kind: Literal["rft"] = "rft"
    grader: Grader
    samples_per_prompt: Annotated[int, Field(ge=2)] | Auto = "auto"
    max_completion_tokens: Count | Auto = "auto"
    temperature: Positive = 1.0
    beta: NonNegative | Auto = "auto"
    """Weight of the KL term towards the reference model."""
    reasoning_effort: Literal["low", "medium", "high"] | Auto = "auto"
    compute_multiplier: Positive | Auto = "auto"
    eval_interval: Count | Auto = "auto"
    eval_samples: Count | Auto = "auto"


_METHOD_ALIASES = {
    "supervised": "sft",
    "cpt": "pretraining",
    "pretrain": "pretraining",
    "continued_pretraining": "pretraining",
    "reinforcement": "rft",
    "grpo": "rft",
    "reward_modelling": "reward",
    "reward_modeling": "reward",
    "text_classification": "classification",
    "sequence_classification": "classification",
}


def _spell_out(value: object, aliases: Mapping[str, str]) -> object:
    """`"dpo"` -> `{"kind": "dpo"}`, and the field's other names to ours; anything else is left to validation."""
    if isinstance(value, str):
        value = {"kind": value}
    if not isinstance(value, dict):
        return value
    part = cast("dict[str, object]", value)
    kind = str(part.get("kind", "")).lower().replace("-", "_")
    return {**part, "kind": aliases.get(kind, kind)} if kind else part


Method = Annotated[
    SFT | Pretraining | DPO | KTO | ORPO | RewardModel | Classification | RFT,
    Field(discriminator="kind"),
    BeforeValidator(lambda value: _spell_out(value, _METHOD_ALIASES)),
]


# --- adapters: which weights change ---------------------------------------------------------------------------------


class LoRA(Model):
    """Low-rank adapters beside frozen weights; with `quantize` the frozen weights are held in 4 or 8 bits (QLoRA)."""

    kind: Literal["lora"] = "lora"
    r: Count | Auto = "auto"
    """Rank; "auto" is 16 in local providers."""
    alpha: Positive | Auto = "auto"
    """Scale; "auto" is 2 * r."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    target_modules: tuple[str, ...] | Literal["auto", "all-linear"] = "auto"
    """Names of the layers that get an adapter; "auto" is all linear layers."""
    modules_to_save: tuple[str, ...] = ()
    """Layers trained in full beside the adapter, such as `embed_tokens`, `lm_head`."""
    dora: bool = False
    rslora: bool = False
    init: Literal["default", "gaussian", "pissa", "olora"] = "default"
    quantize: Literal["none", "4bit", "8bit"] = "none"


class IA3(Model):
    """Learned scales on keys, values and feed-forward activations: fewer weights than LoRA."""

    kind: Literal["ia3"] = "ia3"
    target_modules: tuple[str, ...] | Auto = "auto"
    feedforward_modules: tuple[str, ...] | Auto = "auto"


class PromptTuning(Model):
    """Learned virtual tokens before the prompt; no weight of the model changes."""

    kind: Literal["prompt_tuning"] = "prompt_tuning"
    virtual_tokens: Count = 20
    init_text: str | None = None
    """Text whose embeddings start the virtual tokens; None = random."""


class Full(Model):
    """All weights are trained."""

    kind: Literal["full"] = "full"


_LORA_ALIASES: Mapping[str, Mapping[str, object]] = {"qlora": {"quantize": "4bit"}, "dora": {"dora": True}}


def _spell_out_adapter(value: object) -> object:
    value = _spell_out(value, {"prompt": "prompt_tuning", "none": "full"})
    if not isinstance(value, dict):
        return value
    part = cast("dict[str, object]", value)
    extra = _LORA_ALIASES.get(str(part.get("kind")))
    return part if extra is None else {**extra, **part, "kind": "lora"}


Adapter = Annotated[LoRA | IA3 | PromptTuning | Full, Field(discriminator="kind"), BeforeValidator(_spell_out_adapter)]


# --- the rest of a job ----------------------------------------------------------------------------------------------


class EarlyStopping(Model):
    """Stop when the validation loss no longer falls."""

    patience: Count = 3
    """Evaluations without improvement before stopping."""
    min_delta: NonNegative = 0.0


class Hyperparameters(Model):
    """Everything about how long and how fast to learn. "auto" = the provider decides."""

    epochs: Positive | Auto = "auto"
    max_steps: Count | None = None
    """Optimizer steps; wins over `epochs` where both are set."""
    batch_size: Count | Auto = "auto"
    """Examples per optimizer step and process, before accumulation."""
    gradient_accumulation: Count | Auto = "auto"
    learning_rate: Positive | Auto = "auto"
    """Absolute, per optimizer step. Not the same as a multiplier."""
    learning_rate_multiplier: Positive | Auto = "auto"
    """Times the provider's own default rate: what OpenAI and Azure take instead of a rate."""
    scheduler: Literal["auto", "linear", "cosine", "constant", "constant_with_warmup"] = "auto"
    warmup_ratio: Annotated[float, Field(ge=0, lt=1)] | Auto = "auto"
    weight_decay: NonNegative | Auto = "auto"
    max_grad_norm: Positive | Auto = "auto"
    optimizer: str = "auto"
    max_seq_length: Count | Auto = "auto"
    """Tokens; longer rows are truncated, and reported as findings before training."""
    packing: bool | Auto = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    gradient_checkpointing: bool | Auto = "auto"
    eval_steps: Count | Literal["auto", "epoch"] = "auto"
    """Optimizer steps between evaluations on the validation rows."""
    save_steps: Count | Literal["auto", "epoch"] = "auto"
    """Optimizer steps between checkpoints."""
    log_steps: Count | Auto = "auto"
    early_stopping: EarlyStopping | None = None

    @model_validator(mode="after")
    def _one_learning_rate(self) -> Hyperparameters:
        if self.learning_rate != "auto" and self.learning_rate_multiplier != "auto":
            raise ValueError("set learning_rate (absolute) or learning_rate_multiplier (relative), not both")
        return self


class DataSpec(Model):
    """Which rows are trained on, which are held out. Paths are relative to the spec file."""

    train: str | tuple[str, ...]
    """A file, a glob, a folder, or a list of them."""
    validation: str | tuple[str, ...] | Share | None = None
    """Rows watched during training: a path, or a share of the training rows that is split off (frozen by content)."""
    test: str | tuple[str, ...] | Share | None = None
    """Rows for `evaluation`, never shown to training: a path, or a share of the training rows."""
    format: str | None = None
    """Overrides the detected format; `finetune data formats` lists the names."""
    columns: Mapping[str, str] = Field(default_factory=dict)
    """Column mapping, ours to yours: `{prompt: question, completion: answer}` or `{text: body, label: class}`."""
    split_seed: int = 0
    max_rows: Count | None = None
    """Use only the first rows of the training data; None = all."""
    allow: tuple[Literal["secret", "personal-data"], ...] = ()
    """What may leave this machine with the rows: hosted providers refuse rows that hold secrets or personal data."""

    @field_validator("validation", "test", mode="before")
    @classmethod
    def _share_in_range(cls, value: object) -> object:
        if isinstance(value, int | float) and not 0 < value < 1:
            raise ValueError(f"a share must lie between 0 and 1 (both excluded), not {value}; 0.1 holds out a tenth")
        return value


class Compute(Model):
    """Where and with what a local provider runs. Hosted providers refuse what they cannot honour."""

    kind: Literal["local", "hf-space", "hf-jobs"] = "local"
    """"local" = this machine; "hf-space" and "hf-jobs" = rented from Hugging Face, by the hour."""
    flavor: str | None = None
    """The rented machine, as its owner names it, such as `a10g-small`."""
    namespace: str | None = None
    """The account or organisation that rents it; None = the one the token belongs to."""
    environment: str = "auto"
    """"auto", "current" (this interpreter), "managed" (built from the provider's lock), or a path to a python."""
    processes: Count = 1
    """Data-parallel processes."""
    threads: Count | Auto = "auto"
    """CPU threads per process."""
    device: Literal["auto", "cpu", "cuda"] = "auto"

    @model_validator(mode="after")
    def _flavor_of_what(self) -> Compute:
        if (self.flavor is None) != (self.kind == "local"):
            raise ValueError("flavor names a rented machine: set it with kind hf-space or hf-jobs, and only then")
        if self.namespace is not None and self.kind == "local":
            raise ValueError("namespace says who rents a machine: set it with kind hf-space or hf-jobs, and only then")
        return self


class Budget(Model):
    """Hard limits, checked before anything is sent."""

    max_cost_usd: Positive | None = None
    max_hours: Positive | None = None
    """Wall-clock training time; the job is stopped (its checkpoints stay) when it is reached."""


MetricName = Literal["exact_match", "accuracy", "macro_f1", "perplexity"]


class Evaluation(Model):
    """Base and tuned model on the held-out rows (`data.test`, else `data.validation`)."""

    metrics: tuple[MetricName, ...] = ("exact_match",)
    baseline: bool = True
    """Also evaluate the model before training."""
    max_rows: Count | None = None
    max_new_tokens: Count = 64
    batch_size: Count | Auto = "auto"
    prompts: tuple[str, ...] = ()
    """Prompts answered by the base and the tuned model, shown in the report."""


def _no_model(provider: str, names: Mapping[str, str]) -> str:
    known = ", ".join(sorted(names)) or "nothing"
    return f"names no model for provider {provider!r}; add `{provider}: <model id>` to it (it has: {known})"


class JobSpec(Model):
    """A fine-tuning job. The YAML file is this, key by key."""

    provider: str
    """Where the job runs, one word: `peft`, `openai`, ..."""
    model: str | Mapping[str, str]
    """The base model: one id, or a map from provider to id."""
    data: DataSpec
    """The rows to learn from, at least `train:`."""
    method: Method = SFT()
    adapter: Adapter | None = None
    """None = the provider's own choice (LoRA in local providers)."""
    hyperparameters: Hyperparameters = Hyperparameters()
    compute: Compute = Compute()
    budget: Budget = Budget()
    evaluation: Evaluation | None = None
    report_to: tuple[Literal["tensorboard", "wandb", "mlflow", "trackio"], ...] = ()
    """Experiment trackers. Their keys come from the environment, never from the spec."""
    seed: Annotated[int, Field(ge=0, le=2**31 - 1), BeforeValidator(_no_truth)] | None = None
    """None = drawn by the provider and recorded in the receipt."""
    suffix: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    """Part of the tuned model's name."""
    metadata: Mapping[str, str] = Field(default_factory=dict)
    options: Mapping[str, Mapping[str, JsonValue]] = Field(default_factory=dict)
    """Provider-only settings by provider name; each provider validates its own and refuses unknown keys."""

    @field_validator("model")
    @classmethod
    def _named_for_provider(cls, value: str | Mapping[str, str], info: ValidationInfo) -> str | Mapping[str, str]:
        provider = info.data.get("provider")
        if isinstance(value, Mapping) and provider is not None and provider not in value:
            raise ValueError(_no_model(provider, value))
        return value

    def for_provider(self, provider: str) -> JobSpec:
        """The same job at another provider: the one-word swap."""
        return self.model_copy(update={"provider": provider})

    @property
    def model_id(self) -> str:
        """The base model's id at `provider`. Raises `SpecError` when `model` is a map without it."""
        if isinstance(self.model, str):
            return self.model
        if self.provider not in self.model:
            raise SpecError("`model` " + _no_model(self.provider, self.model))
        return self.model[self.provider]

    @property
    def sha256(self) -> str:
        """Hash of the whole description, independent of key order: equal specs, equal hash."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()
