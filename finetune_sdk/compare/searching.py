"""A search over hyperparameters: pilots on few rows, the best go on to more, under the comparison's one budget."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from finetune_sdk.compare.bench import Candidate, Range, Search
from finetune_sdk.compare.candidates import over
from finetune_sdk.errors import MissingExtra, SpecError


class Trial(msgspec.Struct, kw_only=True):
    """One setting, and what it scored on the validation rows in each round."""

    number: int
    setting: dict[str, Any]
    scores: dict[str, float | None] = {}
    """By share of the training rows; None = it failed, or could not be afforded."""


class Log(msgspec.Struct, kw_only=True):
    """The file of a search: enough to go on after a kill."""

    trials: list[Trial]
    best: int | None = None


Score = Callable[[Sequence[Candidate], float], Sequence[float | None]]
"""Train candidates on a share of the training rows and score each on the validation rows; higher is better."""


def searched(search: Search, candidates: Mapping[str, Candidate], path: Path, score: Score) -> Candidate | None:
    """The best setting as a candidate of its own, named `<candidate>-found`. None when no trial could be scored.

    Raises `SpecError` for a search over a candidate that is not tuned.
    """
    start = candidates.get(search.candidate)
    if start is None or start.tune is None:
        known = ", ".join(name for name, one in candidates.items() if one.tune is not None) or "none"
        raise SpecError(f"search: there is no tuned candidate {search.candidate!r}; there are: {known}")
    log = _log(search, path)
    shares = rounds(search)
    alive = list(log.trials)
    for index, share in enumerate(shares):
        missing = [trial for trial in alive if str(share) not in trial.scores]
        if missing:
            found = score([_candidate(start, trial, share) for trial in missing], share)
            for trial, one in zip(missing, found, strict=True):
                trial.scores[str(share)] = one
            _save(path, log)
        alive = _best(
            alive, str(share), max(1, math.ceil(len(alive) / search.factor)) if index + 1 < len(shares) else 1
        )
    log.best = alive[0].number if alive else None
    _save(path, log)
    return winner(search, candidates, path)


def winner(search: Search, candidates: Mapping[str, Candidate], path: Path) -> Candidate | None:
    """What a search that is over has found. None while it runs."""
    if not path.exists():
        return None
    log = msgspec.json.decode(path.read_bytes(), type=Log)
    if log.best is None:
        return None
    found = _candidate(candidates[search.candidate], log.trials[log.best], 1.0)
    return found.model_copy(update={"name": f"{search.candidate}-found"})


def pilot_of(search: Search, candidates: Mapping[str, Candidate], path: Path) -> Candidate | None:
    """The pilot that trained the winner on all rows. None when no round had all of them, or while it runs."""
    log = msgspec.json.decode(path.read_bytes(), type=Log)
    if log.best is None or rounds(search)[-1] < 1.0:
        return None
    return _candidate(candidates[search.candidate], log.trials[log.best], 1.0)


def rounds(search: Search) -> tuple[float, ...]:
    """The shares of the training rows, round by round; one round of all rows without halving."""
    if not search.halving:
        return (1.0,)
    shares = [search.first_share]
    while shares[-1] < 1.0 and len(shares) < 1 + math.log(search.trials, search.factor):
        shares.append(min(1.0, shares[-1] * search.factor))
    return tuple(round(share, 6) for share in shares)


def _best(trials: list[Trial], share: str, keep: int) -> list[Trial]:
    scored = [one for one in trials if one.scores.get(share) is not None]
    return sorted(scored, key=lambda one: -(one.scores[share] or 0.0))[:keep]


def _candidate(start: Candidate, trial: Trial, share: float) -> Candidate:
    name = f"{start.name}.t{trial.number:02d}.{share:g}"
    return start.model_copy(update={"tune": over(start.tune or {}, trial.setting), "name": name})


def _log(search: Search, path: Path) -> Log:
    """The trials so far. What failed in a search that has found nothing yet is tried again."""
    if not path.exists():
        log = Log(trials=[Trial(number=index, setting=one) for index, one in enumerate(_settings(search))])
        _save(path, log)
        return log
    log = msgspec.json.decode(path.read_bytes(), type=Log)
    if log.best is None:
        for trial in log.trials:
            trial.scores = {share: score for share, score in trial.scores.items() if score is not None}
    return log


def _save(path: Path, log: Log) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_bytes(msgspec.json.format(msgspec.json.encode(log), indent=1))
    part.replace(path)


def _settings(search: Search) -> list[dict[str, Any]]:
    """All settings at once, by optuna's sampler: drawn before anything is trained, so that they can be repeated."""
    try:
        optuna: Any = importlib.import_module("optuna")
    except ImportError as error:
        raise MissingExtra("compare", "optuna") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = (
        optuna.samplers.QMCSampler(seed=search.seed, warn_independent_sampling=False)
        if search.sampler == "quasi-random"
        else optuna.samplers.RandomSampler(seed=search.seed)
    )
    study = optuna.create_study(sampler=sampler)
    return [_drawn(search, study.ask()) for _ in range(search.trials)]


def _drawn(search: Search, trial: Any) -> dict[str, Any]:
    setting: dict[str, Any] = {}
    for key, space in search.over.items():
        if not isinstance(space, Range):
            setting[key] = trial.suggest_categorical(key, list(space))
        elif space.whole:
            setting[key] = trial.suggest_int(key, math.ceil(space.low), math.floor(space.high), log=space.log)
        else:
            setting[key] = trial.suggest_float(key, space.low, space.high, log=space.log)
    return setting
