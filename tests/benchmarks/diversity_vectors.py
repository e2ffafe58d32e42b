"""Vectors for tests.benchmarks.diversity: sentences that ship with prefloom, embedded, and as many made from them as are asked for.

    sentences(9000)            ->  distinct sentences of society answers, of its seeds, and of personas
    real(folder)               ->  (9000, 384) float32 unit vectors by all-MiniLM-L6-v2, kept in the folder
    made(real, 1_000_000)      ->  grid rows

A made row stands at a cosine of 0.45 to 0.9 from a real one, in the direction in which two other real ones differ: so rows crowd where sentences
do. One row in ten is a copy of a row before it, at a cosine of 0.80 to 0.995. The same numbers give the same rows.
"""

import random
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from prefloom.flows.diversity.grid import SCALE, Grid, on_grid
from prefloom.flows.engines.embedder import open_embedder
from prefloom.schemas.embedder import LocalEmbedder
from tests.helpers import run_stage, table

ROOT = Path(__file__).parents[2]
WRITERS = ("terse", "friendly", "scholar", "coach", "reporter", "rambler")
COPIES, BLOCK = 0.1, 10_000


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _strings(inner)


def sentences(count: int) -> list[str]:
    """Distinct sentences of five words or more, in no order; fewer if there are fewer."""
    texts = [text for file in sorted((ROOT / "data" / "society").glob("*.yaml")) for text in _strings(yaml.safe_load(file.read_text()))]
    with tempfile.TemporaryDirectory() as root:
        run = run_stage(
            Path(root),
            "candidates",
            models={name: {"engine": "society", "character": name} for name in WRITERS}
            | {"judge": {"engine": "society", "character": "good"}},
            personas=[{"source": "society", "count": 1000}],
            prompts=[{"source": "seeds", "count": 110}],
            candidates={"source": "models", "models": list(WRITERS), "samples": 2},
        )
        for name, column in (("prompts", "text"), ("candidates", "text"), ("personas", "description")):
            texts += table(run, name)[column].to_list()
    parts = {part.strip() for text in texts for part in re.split(r"(?<=[.!?])\s+|\n+", text)}
    distinct = sorted(part for part in parts if part.count(" ") >= 4)
    return random.Random(1).sample(distinct, min(count, len(distinct)))


def real(folder: Path, count: int = 9000) -> NDArray[np.float32]:
    """Their unit vectors, computed once (a minute or two) and kept in `folder`."""
    file = folder / f"sentences-{count}.npy"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        vectors = open_embedder(LocalEmbedder(engine="sentence-transformers")).encode(sentences(count)).astype(np.float32)
        np.save(file, vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    return np.load(file)  # type: ignore[no-any-return]


def _turned(rows: NDArray[np.float32], towards: NDArray[np.float32], cosine: NDArray[np.float32]) -> NDArray[np.float32]:
    """Unit rows at these cosines from unit `rows`, turned in the directions `towards`."""
    towards = towards - (towards * rows).sum(axis=1, keepdims=True) * rows
    towards /= np.maximum(np.linalg.norm(towards, axis=1, keepdims=True), 1e-6)
    return cosine[:, None] * rows + np.sqrt(1 - cosine[:, None] ** 2) * towards


def made(real: NDArray[np.float32], count: int, seed: int = 1) -> Grid:
    """(count, d) grid rows; more rows begin with the same rows."""
    rows = np.empty((count, real.shape[1]), np.int16)
    for start in range(0, count, BLOCK):
        rng = np.random.default_rng([seed, start])
        first, second, third = real[rng.integers(0, len(real), (3, BLOCK))]
        cosine = rng.uniform(0.45, 0.9, BLOCK).astype(np.float32)
        copies = np.flatnonzero(rng.random(BLOCK) < COPIES) if start else np.zeros(0, np.int64)
        first[copies] = rows[rng.integers(0, max(start, 1), len(copies))].astype(np.float32) / SCALE
        cosine[copies] = rng.uniform(0.8, 0.995, len(copies))
        first /= np.linalg.norm(first, axis=1, keepdims=True)
        rows[start : start + BLOCK] = on_grid(_turned(first, second - third, cosine)[: count - start])
    return rows
