"""Every error: in the tree, picklable, and honest about what was sent."""

from __future__ import annotations

import inspect
import pickle

import pytest

from finetune_sdk import errors
from finetune_sdk.errors import Ambiguous, FineTuneError, JobFailed, ProviderError, Throttled, Unsupported, WaitTimeout

CLASSES = [one for _, one in inspect.getmembers(errors, inspect.isclass) if issubclass(one, FineTuneError)]
EXAMPLES: list[FineTuneError] = [
    Unsupported("fake", "dpo", "Use sft."),
    Throttled("slow down", retry_after_s=3.0),
    Ambiguous("sent, no answer"),
    ProviderError("no", sent=None, charged=None),
    JobFailed("ft-1", "failed: out of memory"),
    WaitTimeout("ft-1", 3.0),
]


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_an_error_survives_pickling(error: FineTuneError) -> None:
    copy: FineTuneError = pickle.loads(pickle.dumps(error))

    assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: str(cls.__name__))
def test_every_error_is_drawn_in_the_tree_and_explained(cls: type[FineTuneError]) -> None:
    assert cls.__name__ in (errors.__doc__ or "")
    assert len(cls.__doc__ or "") > 20


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: str(cls.__name__))
def test_the_drawn_depth_is_the_real_depth(cls: type[FineTuneError]) -> None:
    line = next(line for line in (errors.__doc__ or "").splitlines() if f"{cls.__name__}" in line.split("(")[0].split())
    drawn = (len(line) - len(line.lstrip(" │├└─"))) // 4

    assert drawn == cls.__mro__.index(FineTuneError) + 1


def test_an_unknown_outcome_was_sent_and_may_have_cost_money() -> None:
    assert (Ambiguous("x").sent, Ambiguous("x").charged) == (True, None)


def test_a_wrong_spec_cost_nothing() -> None:
    assert (EXAMPLES[0].sent, EXAMPLES[0].charged, EXAMPLES[0].exit_code) == (False, False, 2)
