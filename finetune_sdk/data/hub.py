"""Datasets on the Hugging Face Hub: which of their files are meant. Asks the hub's public API; needs no library."""

from __future__ import annotations

import json
import os
import re
import urllib.error
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from finetune_sdk.data.download import ask, shown
from finetune_sdk.data.jsonvalue import as_list, as_object
from finetune_sdk.errors import DataError

_SPLITS: Mapping[str, str] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
"""Words in file names and folders: https://huggingface.co/docs/datasets/repository_structure (read 2026-11-21)."""
_FORM = "hf://datasets/OWNER/NAME[@REVISION][/FILE or /FOLDER or /GLOB][#SPLIT]"
_NEXT = re.compile(r'<([^>]+)>; *rel="next"')
_PAGES = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A dataset, or a part of one."""

    source: str
    name: str
    """OWNER/NAME."""
    revision: str
    path: str
    """A file, a folder, a glob, or "" for all of it."""
    split: str

    @classmethod
    def of(cls, source: str) -> Place:
        """The place an address names. Raises `DataError`."""
        address, _, split = source.partition("#")
        parts = address.removeprefix("hf://").strip("/").split("/")
        if len(parts) < 3 or parts[0] != "datasets" or not all(parts) or ".." in parts:
            raise DataError(f"{source}: name a dataset or a file of one: `{_FORM}`.")
        name, _, revision = parts[2].partition("@")
        revision = {"~parquet": "refs/convert/parquet"}.get(revision, revision) or "main"
        return cls(
            source=source, name=f"{parts[1]}/{name}", revision=revision, path="/".join(parts[3:]), split=split.lower()
        )

    @property
    def one_file(self) -> bool:
        """Whether one file is named, so that nothing has to be asked."""
        last = PurePosixPath(self.path)
        return bool(last.suffix) and not any(sign in self.path for sign in "*?[") and not self.split

    @property
    def key(self) -> str:
        """What names the dataset and its revision on this hub."""
        return f"{_endpoint()}/datasets/{self.name}@{self.revision}"

    def address(self, file: str) -> str:
        """Where a file of the dataset is fetched from."""
        return f"{_endpoint()}/datasets/{self.name}/resolve/{quote(self.revision, safe='')}/{quote(file)}"

    @property
    def listing(self) -> str:
        """Where the dataset's files are listed."""
        return (
            f"{_endpoint()}/api/datasets/{self.name}/tree/{quote(self.revision, safe='')}?recursive=true&expand=false"
        )


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def files_of(
    place: Place, token: str | None, is_data: Callable[[Path], bool], explain: Callable[[int], str]
) -> list[str]:
    """The data files that are meant. Raises `DataError` where that cannot be told, with the choices."""
    names = sorted(name for name in _listed(place, token, explain) if is_data(Path(name)) and _inside(name, place.path))
    if not names:
        what = f" under {place.path!r}" if place.path else ""
        raise DataError(f"{place.source}: the dataset holds no data file{what}.")
    names = _of_split(place, names)
    return names if place.path else _of_subset(place, names)


def _inside(name: str, path: str) -> bool:
    if any(sign in path for sign in "*?["):
        return fnmatchcase(name, path)
    return not path or name == path or name.startswith(f"{path}/")


def _of_split(place: Place, names: list[str]) -> list[str]:
    splits = {name: _split_of(name) for name in names}
    there = sorted({split for split in splits.values() if split})
    if place.split:
        wanted = _SPLITS.get(place.split, place.split)
        chosen = [name for name, split in splits.items() if split == wanted]
        if not chosen:
            raise DataError(f"{place.source}: no split {place.split!r}; there are {', '.join(there) or 'none'}.")
        return chosen
    if len(there) > 1 and not any(sign in place.path for sign in "*?["):
        choices = ", ".join(f"#{split}" for split in there)
        raise DataError(
            f"{place.source}: the dataset is divided into {', '.join(there)}. Say which part is meant: add {choices}."
        )
    return names


def _split_of(name: str) -> str | None:
    """The split a path names; its last word that names one counts."""
    words = re.split(r"[^a-z]+", name.lower())
    return next((_SPLITS[word] for word in reversed(words) if word in _SPLITS), None)


def _of_subset(place: Place, names: list[str]) -> list[str]:
    folders = sorted({_subset(name) for name in names})
    if len(folders) > 1:
        listed = ", ".join(folder or "(top)" for folder in folders[:12])
        example = next(folder for folder in folders if folder)
        base = place.source.partition("#")[0].rstrip("/")
        split = f"#{place.split}" if place.split else ""
        raise DataError(
            f"{place.source}: the dataset has several subsets: {listed}. Name one, such as `{base}/{example}{split}`."
        )
    return names


def _subset(name: str) -> str:
    """The folder of a file, without folders that only name a split or say that data are inside."""
    return "/".join(part for part in name.split("/")[:-1] if part.lower() not in (*_SPLITS, "data"))


def _listed(place: Place, token: str | None, explain: Callable[[int], str]) -> list[str]:
    found: list[str] = []
    url: str | None = place.listing
    for _ in range(_PAGES):
        if url is None:
            return found
        page, url = _page(place, url, token, explain)
        for entry in page:
            about = as_object(entry) or {}
            name = about.get("path")
            if about.get("type") == "file" and isinstance(name, str) and not {"", ".."} & {*name.split("/")}:
                found.append(name)
    raise DataError(f"{place.source}: the dataset has too many files to list; name a file or a folder.")


def _page(place: Place, url: str, token: str | None, explain: Callable[[int], str]) -> tuple[list[object], str | None]:
    try:
        with ask(url, {"Accept": "application/json"}, token) as answer:
            listed: object = json.loads(answer.read())
            after = _NEXT.search(answer.headers.get("Link") or "")
    except urllib.error.HTTPError as error:
        error.close()
        what = "there is no such dataset or revision (status 404)." if error.code == 404 else explain(error.code)
        raise DataError(f"{place.source}: {what}") from None
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise DataError(
            f"{place.source}: cannot be fetched: {reason}. Without a network, give a file on this machine."
        ) from None
    except ValueError:
        raise DataError(f"{place.source}: {shown(url)} did not answer like a hub; is HF_ENDPOINT right?") from None
    return as_list(listed) or [], after.group(1) if after and after.group(1).startswith(_endpoint()) else None
