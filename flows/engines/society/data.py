"""The society's files in data/society/, read once.

load("characters.yaml")["scholar"]["judges"]  ->  "good"
revision()                                    ->  hash of every file there
"""

import hashlib
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

import yaml


@cache
def load(name: str) -> Any:
    """A YAML file of the society. Callers must not change what they get."""
    return yaml.load(_bytes(name), getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - the safe loader, in C where it is there


def names(start: str) -> list[str]:
    """The YAML files whose names begin so."""
    return sorted(file.name for file in _folder().iterdir() if file.name.startswith(start))


@cache
def revision() -> str:
    """12 hex digits over all files of the society: texts, constants, word vectors."""
    state = hashlib.blake2b(digest_size=6)
    for file in sorted(_folder().iterdir(), key=lambda file: file.name):
        if file.is_file():
            state.update(f"{file.name}\0".encode() + file.read_bytes() + b"\0")
    return state.hexdigest()


def _folder() -> Traversable:
    return files("prefloom.data") / "society"


def _bytes(name: str) -> bytes:
    return (_folder() / name).read_bytes()
