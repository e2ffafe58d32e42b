"""Content ids and counter-based random numbers.

An id is the hash of what a row says, so equal rows have equal ids on every machine. A random number is a function of
(seed, stage, ids) and never of the order in which things happen, so that workers, kills and added rows change nothing else.

    content_id("prompt", "How do I wrap a present neatly?")  ->  '9f0c…' (16 hex digits, 64 bits)
    draw(1, "assign", persona_keys[:, None], prompt_keys[None, :])  ->  uint64 array, personas × prompts
"""

import hashlib
import json
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

UInts = NDArray[np.uint64]
_MASK = 2**64 - 1
_encode = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode


def content_hash(value: object, size: int = 16) -> str:
    """Hex digest (`size` bytes) of a JSON-able value, independent of the order of mapping keys."""
    return hashlib.blake2b(_encode(value).encode(), digest_size=size).hexdigest()


def content_id(kind: str, *parts: str | int | None) -> str:
    """16 hex digits that name a row by its content; `kind` keeps equal texts of different tables apart."""
    return content_hash([kind, *parts], size=8)


def keys(ids: Iterable[str]) -> UInts:
    """The 64-bit numbers behind content ids, shape (n,)."""
    names = list(ids)
    if all(len(name) == 16 for name in names):
        return np.frombuffer(bytes.fromhex("".join(names)), dtype=">u8").astype(np.uint64)
    return np.array([int(name, 16) for name in names], dtype=np.uint64)


def draw(seed: int, stage: str, *counters: UInts) -> UInts:
    """Uniform 64-bit numbers keyed by (seed, stage, counters); counters broadcast as in NumPy.

    The mixing is the finaliser of SplitMix64 (Steele, Lea, Flood 2014), applied once per counter.
    """
    state: UInts = keys([content_hash([seed, stage], size=8)])
    for counter in counters:
        state = _mix(state ^ _mix(counter))
    return state


def draw_one(seed: int, stage: str, counter: int) -> int:
    """The same for a single counter, without an array around it."""
    return _mix_one(int(content_hash([seed, stage], size=8), 16) ^ _mix_one(counter))


def unit(numbers: UInts) -> NDArray[np.float64]:
    """Map 64-bit draws to [0, 1), using the upper 53 bits."""
    return (numbers >> np.uint64(11)).astype(np.float64) * 2.0**-53


def shard_of(ids: Iterable[str], shards: int) -> NDArray[np.int64]:
    """Contiguous ranges of the id space: sorted ids fall into sorted shards, and one shard is one range of a sorted table."""
    upper = keys(ids) >> np.uint64(32)
    return ((upper * np.uint64(shards)) >> np.uint64(32)).astype(np.int64)


def _mix(x: UInts) -> UInts:
    with np.errstate(over="ignore"):
        x = x + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _mix_one(x: int) -> int:
    x = (x + 0x9E3779B97F4A7C15) & _MASK
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & _MASK
    return x ^ (x >> 31)
