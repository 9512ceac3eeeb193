"""Counting tokens: exactly where the vocabulary is at hand, from a sample with an error bound, or as a rough estimate.

Nothing is downloaded: a vocabulary is used when its file is on this machine.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import math
import os
import random
import re
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from finetune_sdk.data.example import Example, conversation
from finetune_sdk.data.tools.texts import texts
from finetune_sdk.errors import DataError


@dataclass(frozen=True, slots=True, kw_only=True)
class Counter:
    """Counts the tokens of a text."""

    name: str
    exact: bool
    """False: `count` is a rule of thumb."""
    count: Callable[[str], float]
    per_message: int = 0
    """What a message costs beside its text, where that is documented."""

    def row(self, example: Example) -> float:
        """Tokens of an example's texts and tool definitions, and what its messages cost beside them."""
        return sum(map(self.count, _counted(example))) + self.per_message * len(conversation(example))


def _counted(example: Example) -> Iterator[str]:
    """The texts whose tokens count: what is said, and the tools."""
    yield from (text for _, text in texts(example))
    tools = getattr(example, "tools", None)
    if tools:
        yield msgspec.json.encode(tools).decode()


def _four_bytes(text: str) -> float:
    size = (len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))) / 4
    return max(size, 1.0) if text else 0.0


_OPENAI_PER_MESSAGE = 3  # openai-cookbook, Chat_finetuning_data_prep

ROUGH = Counter(name="4 bytes a token", exact=False, count=_four_bytes, per_message=_OPENAI_PER_MESSAGE)
"""Measured 10 % low on English documentation and code with o200k_base; other texts may be further off."""
_HIGH_MESSAGE = 5  # of texts alone: a message may cost nothing

_RUN = re.compile(r"(.)\1{3,}", re.DOTALL)
_JOINED = re.compile(" (?=[A-Za-z])")
"""A blank that every byte-level vocabulary has as one with the letter behind it."""
_FOREIGN = r"\xa1-\u200f\u2028-\u2fff\u3040-\U0010ffff"
_PIECE_OF_WORD = re.compile(rf"[A-Za-z0-9][A-Za-z0-9'{_FOREIGN}]{{0,47}}|[{_FOREIGN}][A-Za-z0-9'{_FOREIGN}]{{0,19}}")
"""What holds the end of a token at least: none goes beyond a word, and none of o200k_base and cl100k_base is longer
than 48 letters (20 where some are no ASCII) in which no character stands more than three times in a row."""


def bounds(text: str) -> tuple[float, float]:
    """The fewest and the most tokens that byte-level vocabularies make of a text."""
    size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    return len(_PIECE_OF_WORD.findall(_RUN.sub(r"\1", text))), size - len(_JOINED.findall(text))


_ENCODINGS: tuple[tuple[str, str], ...] = (
    ("gpt-4o", "o200k_base"),
    ("gpt-4.1", "o200k_base"),
    ("gpt-5", "o200k_base"),
    ("o1", "o200k_base"),
    ("o3", "o200k_base"),
    ("o4", "o200k_base"),
    ("gpt-4", "cl100k_base"),
    ("gpt-3.5", "cl100k_base"),
)
"""Beginnings of model ids and their vocabulary, as in tiktoken 0.14's model.py; the first match counts."""
_VOCABULARIES = {
    name: f"https://openaipublic.blob.core.windows.net/encodings/{name}.tiktoken"
    for name in ("o200k_base", "cl100k_base")
}


def counter(name: str) -> Counter:
    """The exact counter for a `tokenizer.json` (or its folder), an encoding, or an OpenAI model.

    Raises `DataError` with the reason when the library or the vocabulary is not on this machine.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        path = path / "tokenizer.json"
    if path.is_file():
        return _tokenizer_file(path)
    encoding = next((encoding for start, encoding in _ENCODINGS if name.startswith(start)), name)
    if encoding in _VOCABULARIES:
        return _vocabulary(encoding)
    raise DataError(
        f"{name}: neither a tokenizer.json, nor a folder with one, nor a known vocabulary "
        f"({', '.join(_VOCABULARIES)}), nor a model of OpenAI's."
    )


def for_model(model: str | None) -> Counter:
    """The exact counter of a model (OpenAI's, or a folder with a tokenizer.json) where it is at hand, else `ROUGH`."""
    if model is None:
        return ROUGH
    try:
        return counter(model)
    except DataError:  # no vocabulary of its own, or none on this machine
        return ROUGH


def _library(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise DataError(
            f"Counting with this tokenizer needs {module!r}: `pip install 'finetune-sdk[tokens]'`."
        ) from error


def _tokenizer_file(path: Path) -> Counter:
    library = _library("tokenizers")
    try:
        tokenizer = library.Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing more special
        raise DataError(f"{path}: no tokenizer.json that can be read: {error}.") from error

    def count(text: str) -> float:
        return len(tokenizer.encode(text, add_special_tokens=False).ids)

    return Counter(name=str(path), exact=True, count=count)


def _vocabulary(encoding: str) -> Counter:
    """From the package that carries its vocabularies, else from tiktoken's cache."""
    vocabulary = _bundled(encoding) or _tiktoken(encoding)

    def count(text: str) -> float:
        pieces = range(0, max(len(text), 1), _PIECE)
        return sum(len(vocabulary.encode_ordinary(text[start : start + _PIECE])) for start in pieces)

    return Counter(name=encoding, exact=True, count=count, per_message=_OPENAI_PER_MESSAGE)


_PIECE = 500_000  # characters; bpe-openai refuses longer texts, and a cut costs one token at most


def _bundled(encoding: str) -> Any:
    try:
        with warnings.catch_warnings():  # bpe-openai 0.1.4 reads its data through a deprecated function
            warnings.simplefilter("ignore", DeprecationWarning)
            return importlib.import_module("bpe_openai").get_encoding(encoding)
    except ImportError:
        return None


def _tiktoken(encoding: str) -> Any:
    folder = _cache_with(encoding)
    if folder is None:
        raise DataError(
            f"the vocabulary {encoding} is not on this machine: `pip install 'finetune-sdk[tokens]'`, "
            f"or set TIKTOKEN_CACHE_DIR to tiktoken's cache."
        )
    tiktoken = _library("tiktoken")
    before = os.environ.get("TIKTOKEN_CACHE_DIR")
    os.environ["TIKTOKEN_CACHE_DIR"] = str(folder)
    try:
        return tiktoken.get_encoding(encoding)
    finally:
        if before is None:
            del os.environ["TIKTOKEN_CACHE_DIR"]
        else:
            os.environ["TIKTOKEN_CACHE_DIR"] = before


def _cache_with(encoding: str) -> Path | None:
    name = hashlib.sha1(_VOCABULARIES[encoding].encode(), usedforsecurity=False).hexdigest()
    for folder in _caches():
        if (folder / name).is_file():
            return folder
    return None


def _caches() -> list[Path]:
    given = [os.environ[key] for key in ("TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR") if os.environ.get(key)]
    found = [*map(Path, given), Path(tempfile.gettempdir()) / "data-gym-cache"]
    spec = importlib.util.find_spec("litellm")  # its wheel ships the vocabularies
    places = (spec.submodule_search_locations or ()) if spec else ()
    return [*found, *(Path(place) / "litellm_core_utils" / "tokenizers" for place in places)]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenCount:
    """How many tokens a dataset has. `low` and `high` bound the truth; equal to `total` when it is exact."""

    total: int
    low: int
    high: int
    exact: bool
    rows: int
    basis: str
    """How it was counted, for a person."""


def count_tokens(
    examples: Iterable[Example], with_counter: Counter = ROUGH, *, sample: int | None = None, seed: int = 0
) -> TokenCount:
    """Tokens of all rows, in one pass. With `sample`, only that many rows are tokenised, drawn at random.

    The bound of a sample is its 95 % interval (ratio of tokens to bytes, known for all rows); that of the rule of
    thumb is assumed.
    """
    if sample is not None and with_counter.exact:
        return _from_sample(examples, with_counter, sample, seed)
    if not with_counter.exact:
        return _by_rule_of_thumb(examples, with_counter)
    total, rows = 0.0, 0
    for example in examples:
        total += with_counter.row(example)
        rows += 1
    return TokenCount(total=int(total), low=int(total), high=int(total), exact=True, rows=rows, basis=with_counter.name)


def _by_rule_of_thumb(examples: Iterable[Example], rule: Counter) -> TokenCount:
    total, low, high, rows = 0.0, 0.0, 0.0, 0
    for example in examples:
        total += rule.row(example)
        high += _HIGH_MESSAGE * len(conversation(example))
        for text in _counted(example):
            least, most = bounds(text)
            low, high = low + least, high + most
        rows += 1
    return TokenCount(
        total=round(total),
        low=int(low),
        high=math.ceil(high),
        exact=False,
        rows=rows,
        basis=f"{rule.name}, {rule.per_message} a message; bounds of byte-level vocabularies, none was used",
    )


def _from_sample(examples: Iterable[Example], with_counter: Counter, size: int, seed: int) -> TokenCount:
    draw = random.Random(seed)  # noqa: S311 - a sample, not a secret
    drawn: list[tuple[float, Example]] = []
    rows, size_of_all = 0, 0.0
    for example in examples:
        weight = ROUGH.row(example)
        size_of_all += weight
        rows += 1
        if len(drawn) < size:
            drawn.append((weight, example))
        elif (place := draw.randrange(rows)) < size:
            drawn[place] = (weight, example)
    pairs = [(weight, with_counter.row(example)) for weight, example in drawn]
    if rows <= size:
        counted = int(sum(tokens for _, tokens in pairs))
        return TokenCount(total=counted, low=counted, high=counted, exact=True, rows=rows, basis=with_counter.name)
    total, error = _ratio_estimate(pairs, size_of_all, rows)
    basis = f"{with_counter.name} on {len(pairs):,} of {rows:,} rows; 95 % interval"
    low, high = math.floor(total - error), math.ceil(total + error)
    return TokenCount(total=round(total), low=low, high=high, exact=False, rows=rows, basis=basis)


def _ratio_estimate(pairs: list[tuple[float, float]], size_of_all: float, rows: int) -> tuple[float, float]:
    """The ratio estimator and 1.96 standard errors (Cochran, Sampling Techniques, 6.4)."""
    count = len(pairs)
    size = sum(weight for weight, _ in pairs)
    if not size or count < 2:
        return 0.0, 0.0
    ratio = sum(tokens for _, tokens in pairs) / size
    spread = sum((tokens - ratio * weight) ** 2 for weight, tokens in pairs) / (count - 1)
    error = 1.96 * rows * math.sqrt((1 - count / rows) * spread / count)
    return ratio * size_of_all, error
