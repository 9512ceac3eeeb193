"""Other hosted trainers: Together, Fireworks, Mistral, Bedrock, Vertex, Anthropic, Cohere."""

from __future__ import annotations

from finetune_sdk.data.example import Role
from finetune_sdk.data.targets.base import Doc, Profile, Rule
from finetune_sdk.data.targets.hosted_rules import TEXT_ROLES, CallIdShape, OtherParts
from finetune_sdk.data.targets.rules import (
    FirstTurn,
    Images,
    LastTurn,
    MaxBytes,
    MaxRows,
    MaxTokens,
    MinRows,
    Order,
    Refuses,
    ReservedKeys,
    ReservedStarts,
    Roles,
    ToolIds,
    ToolNames,
    ToolResults,
    Weights,
    refuses,
)

TOGETHER = Doc("https://docs.together.ai/docs/fine-tuning/data-preparation; together 3.1.1", "2026-11-20")
FIREWORKS = Doc("https://docs.fireworks.ai/fine-tuning/fine-tuning-models; fireworks-ai 1.2.30", "2026-11-20")
MISTRAL = Doc("mistral-common 1.13.1, protocol/instruct/validator.py (finetuning mode)", "2026-11-20")
NOVA_2 = Doc("https://docs.aws.amazon.com/bedrock/latest/userguide/nova-2-sft-data-prep.html", "2026-11-21")
NOVA = Doc("https://docs.aws.amazon.com/nova/latest/userguide/fine-tune-prepare-data-understanding.html", "2026-11-20")
BEDROCK = Doc("https://docs.aws.amazon.com/bedrock/latest/userguide/distillation-data-prep-option-1.html", "2026-11-20")
BEDROCK_RFT = Doc("Amazon Bedrock user guide, reinforcement fine-tuning (OpenAI chat rows)", "2026-11-20")
CLAUDE = Doc(
    "https://aws.amazon.com/blogs/machine-learning/fine-tune-anthropics-claude-3-haiku-in-amazon-bedrock-to-boost-model-accuracy-and-quality",
    "2026-11-20",
)
VERTEX = Doc(
    "https://docs.cloud.google.com/gemini-enterprise-agent-platform/models/gemini-supervised-tuning-prepare",
    "2026-11-21",
)
VERTEX_IMAGES = Doc(
    "https://docs.cloud.google.com/vertex-ai/generative-ai/docs/models/tune_gemini/image_tune", "2026-11-21"
)
VERTEX_PREFERENCE = Doc("Vertex AI, preference tuning for Gemini", "2026-11-20")
COHERE = Doc("https://docs.cohere.com/v2/docs/chat-preparing-the-data; cohere 7.3.1", "2026-11-20")

_TALK = frozenset[Role](("system", "user", "assistant"))
_ALTERNATE: dict[str, tuple[Role, ...]] = {
    "": ("system", "user"),
    "system": ("user",),
    "user": ("assistant",),
    "assistant": ("user",),
}
_OPENAI_IMAGES = "images are written as OpenAI's are: `url`, and `detail` at most"
_PLAIN_ANSWERS: tuple[str, ...] = ("weights", "weights-elsewhere", "spans", "name", "refusal", "template-kwargs")


def _last_answer(doc: Doc) -> LastTurn:
    return LastTurn(doc=doc, roles=frozenset(("assistant",)))


def _strict_turns(doc: Doc) -> Order:
    return Order(doc=doc, after=_ALTERNATE, why="an optional system message, then user and assistant strictly in turn")


_TOGETHER_COMMON: tuple[Rule, ...] = (
    ReservedKeys(
        doc=TOGETHER,
        keys=frozenset(("prompt", "completion", "text", "messages", "input_ids")),
        why="a row that fits two formats is refused",
    ),
    MinRows(doc=TOGETHER, rows=1),
    MaxBytes(doc=TOGETHER, bytes=100_000_000_000),
)

HOSTED = (
    Profile(
        target="together",
        methods=("sft",),
        kinds=("chat",),
        format="chat",
        hosted=True,
        doc=TOGETHER,
        rules=(
            Order(
                doc=TOGETHER,
                after={
                    **_ALTERNATE,
                    "assistant": ("user", "tool"),
                    "tool": ("assistant", "tool"),
                },
            ),
            Weights(doc=TOGETHER, roles=TEXT_ROLES),
            Images(doc=TOGETHER, per_example=10),
            Refuses(doc=TOGETHER, of="image-type", why=_OPENAI_IMAGES),
            *refuses(TOGETHER, "other-parts", "spans"),
            *_TOGETHER_COMMON,
        ),
    ),
    Profile(
        target="together",
        methods=("dpo",),
        kinds=("preference",),
        format="openai-preference",
        hosted=True,
        doc=TOGETHER,
        rules=(
            *refuses(TOGETHER, "other-parts", "answer-turns", "margin"),
            Refuses(doc=TOGETHER, of="image-type", why=_OPENAI_IMAGES),
            Images(doc=TOGETHER, per_example=10),
            *_TOGETHER_COMMON,
        ),
    ),
    Profile(
        target="together",
        methods=("pretraining",),
        kinds=("text",),
        format="text",
        hosted=True,
        doc=TOGETHER,
        rules=_TOGETHER_COMMON,
    ),
    Profile(
        target="fireworks",
        methods=("sft",),
        kinds=("chat",),
        format="chat",
        hosted=True,
        doc=FIREWORKS,
        rules=(
            Roles(doc=FIREWORKS, allowed=TEXT_ROLES),
            Refuses(doc=FIREWORKS, of="system-later", why="the system message comes first"),
            Weights(doc=FIREWORKS),
            *refuses(FIREWORKS, "other-parts", "spans"),
            Refuses(doc=FIREWORKS, of="image-type", why=_OPENAI_IMAGES),
            Refuses(doc=FIREWORKS, of="reasoning", severity="warning", why="the key of thinking traces is not known"),
            Images(doc=FIREWORKS, formats=None, max_bytes=None),
            MinRows(doc=FIREWORKS, rows=3),
            MaxRows(doc=FIREWORKS, rows=3_000_000),
        ),
    ),
    Profile(
        target="mistral",
        methods=("sft",),
        kinds=("chat",),
        format="chat",
        hosted=True,
        doc=MISTRAL,
        rules=(
            Roles(doc=MISTRAL, allowed=TEXT_ROLES),
            Order(
                doc=MISTRAL,
                after={
                    "": ("system", "user"),
                    "system": ("user", "assistant", "system"),
                    "user": ("assistant", "system", "user"),
                    "assistant": ("assistant", "user", "tool"),
                    "tool": ("assistant", "tool", "user"),
                },
            ),
            _last_answer(MISTRAL),
            Weights(doc=MISTRAL),
            ToolNames(doc=MISTRAL),
            ToolIds(doc=MISTRAL, forbidden=frozenset(("null",))),
            CallIdShape(doc=MISTRAL, pattern=r"[a-zA-Z0-9]{9}", who="tokenizers before v13"),
            ToolResults(doc=MISTRAL),
            Refuses(
                doc=MISTRAL,
                of="text-beside-calls",
                severity="warning",
                why="older tokenizers take text or calls, not both",
            ),
            Images(doc=MISTRAL, formats=None, max_bytes=None),
            *(
                Refuses(doc=MISTRAL, of=of, why="its messages forbid keys that they do not know")
                for of in ("reasoning", "name", "message-keys", "image-type")
            ),
            *refuses(MISTRAL, "other-parts", "spans", "refusal"),
        ),
        notes=("mistralai 3.7.0 cannot create fine-tuning jobs any more.",),
    ),
    Profile(
        target="bedrock",
        methods=("sft",),
        models=("*nova*",),
        family="Nova",
        kinds=("chat",),
        format="bedrock-converse",
        hosted=True,
        doc=NOVA,
        rules=(
            Roles(doc=NOVA, allowed=_TALK),
            _strict_turns(NOVA),
            FirstTurn(doc=NOVA),
            _last_answer(NOVA),
            Refuses(doc=NOVA_2, of="tools", why="tool definitions may fail the job"),
            Refuses(doc=NOVA_2, of="tool-calls", why="tool use may fail the job"),
            *refuses(NOVA, *_PLAIN_ANSWERS),
            ReservedStarts(
                doc=NOVA,
                marks=("User:", "Bot:", "Assistant:", "System:", "<image>", "<video>", "[EOS]"),
            ),
            Images(doc=NOVA_2, schemes=frozenset(("s3",)), formats=frozenset(("jpeg", "png", "gif")), max_bytes=None),
        ),
        notes=("Images or videos per dataset, not both; one video a row; all media in one S3 bucket.",),
    ),
    Profile(
        target="bedrock",
        methods=("sft",),
        models=("*titan*", "*llama*", "*command*"),
        family="prompt and completion: Titan, Llama",
        kinds=("chat",),
        format="prompt-completion",
        hosted=True,
        doc=BEDROCK,
        rules=refuses(
            BEDROCK,
            *(
                "system",
                "system-later",
                "developer",
                "multi-turn",
                "same-role",
                "first-assistant",
                "last-not-assistant",
            ),
            *("tools", "tool-calls", "images", "other-parts", "reasoning", *_PLAIN_ANSWERS),
        ),
    ),
    Profile(
        target="bedrock",
        methods=("rft",),
        kinds=("prompt",),
        format="openai-rft",
        hosted=True,
        doc=BEDROCK_RFT,
        rules=(
            MinRows(doc=BEDROCK_RFT, rows=100),
            MaxRows(doc=BEDROCK_RFT, rows=20_000),
            *refuses(BEDROCK_RFT, "other-parts", "spans"),
            Refuses(doc=BEDROCK_RFT, of="image-type", why=_OPENAI_IMAGES),
            Images(doc=BEDROCK_RFT, formats=None, max_bytes=None),
        ),
        notes=("The expected answer is under `reference_answer`.",),
    ),
    Profile(
        target="vertex",
        methods=("sft",),
        models=("*gemini*",),
        family="Gemini",
        kinds=("chat",),
        format="gemini",
        hosted=True,
        doc=VERTEX,
        rules=(
            *refuses(VERTEX, "system-later", "arguments-not-object", *_PLAIN_ANSWERS),
            OtherParts(
                doc=VERTEX, allowed=("text", "image_url", "file", "input_audio"), but="audio, video and documents"
            ),
            FirstTurn(doc=VERTEX),
            _last_answer(VERTEX),
            Images(
                doc=VERTEX_IMAGES,
                per_example=30,
                schemes=frozenset(("gs", "http", "https", "data")),
                formats=None,
                max_bytes=20 * 1024 * 1024,
            ),
            MaxTokens(doc=VERTEX_PREFERENCE, tokens=131_072, severity="warning"),
        ),
    ),
    Profile(
        target="vertex",
        methods=("dpo",),
        models=("*gemini*",),
        family="Gemini",
        kinds=("preference",),
        format="vertex-preference",
        hosted=True,
        doc=VERTEX_PREFERENCE,
        rules=(
            *refuses(
                VERTEX_PREFERENCE,
                *("system-later", "images", "other-parts", "answer-turns", "margin", "tools", "tool-calls"),
                *_PLAIN_ANSWERS,
            ),
            LastTurn(doc=VERTEX_PREFERENCE, roles=frozenset(("user",))),
            MaxTokens(doc=VERTEX_PREFERENCE, tokens=131_072, effect="refused"),
            MaxRows(doc=VERTEX_PREFERENCE, rows=1_000_000),
            MaxBytes(doc=VERTEX_PREFERENCE, bytes=10_000_000_000),
        ),
    ),
    Profile(
        target="anthropic",
        methods=("sft",),
        models=("*claude-3-haiku*",),
        family="Claude 3 Haiku on Bedrock",
        kinds=("chat",),
        format="anthropic",
        hosted=True,
        doc=CLAUDE,
        rules=(
            Roles(doc=CLAUDE, allowed=_TALK),
            _strict_turns(CLAUDE),
            FirstTurn(doc=CLAUDE),
            _last_answer(CLAUDE),
            *refuses(CLAUDE, "tools", "tool-calls", "images", "other-parts", "reasoning", *_PLAIN_ANSWERS),
        ),
        notes=("Anthropic's own API has no fine-tuning; Bedrock's Claude 3 Haiku is the only model.",),
    ),
    Profile(
        target="cohere",
        methods=("sft",),
        models=("command*", "*"),
        kinds=("chat",),
        format="cohere",
        hosted=True,
        doc=COHERE,
        rules=(
            Roles(doc=COHERE, allowed=_TALK),
            Refuses(doc=COHERE, of="system-later", severity="warning", why="after the preamble it counts as a speaker"),
            MaxTokens(doc=COHERE, tokens=16_384, severity="warning", effect="dropped"),
            Refuses(doc=COHERE, of="no-user", why="at least one turn of the user"),
            *refuses(COHERE, "tools", "tool-calls", "images", "other-parts", "reasoning", *_PLAIN_ANSWERS),
        ),
    ),
)
PROFILES = HOSTED
