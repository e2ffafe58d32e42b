"""Texts per second of the embedder beside plain `SentenceTransformer.encode`, and what a second run costs. Nothing is asserted.

    python -m tests.benchmarks.embedding [FILE.jsonl …] [--texts 600] [--rounds 5]

Without files: prompts that ship with prefloom, answers of the society and personas. Of files, every row's `text` or `description`. Both
sides embed the same texts with the same loaded model in alternating rounds, and who goes first alternates too.
"""

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from prefloom.flows.dataset.embeddings import Batches, Vectors
from prefloom.flows.engines.embedder import Local, open_embedder
from prefloom.schemas.embedder import LocalEmbedder
from tests.helpers import run_stage, table


def texts_of(files: list[str], count: int) -> list[str]:
    """A fixed choice of distinct texts, in no order."""
    texts: list[str] = []
    for file in files:
        for line in Path(file).read_text().splitlines():
            row = json.loads(line)
            texts.append(row.get("text") or row.get("description") or "")
    if not files:
        with tempfile.TemporaryDirectory() as root:
            run = run_stage(Path(root), "candidates", prompts=[{"source": "seeds", "count": 110}])
            for name, column in (("prompts", "text"), ("candidates", "text"), ("personas", "description")):
                texts += table(run, name)[column].to_list()
    distinct = sorted({text for text in texts if text})
    return random.Random(1).sample(distinct, min(count, len(distinct)))


def race(embedder: Local, texts: list[str], rounds: int) -> list[tuple[float, float]]:
    """(seconds of plain encode, seconds of the embedder) per round."""

    def plain() -> None:
        embedder.model.encode(texts, show_progress_bar=False)

    def ours() -> None:
        embedder.encode(texts)

    def seconds(work) -> float:  # type: ignore[no-untyped-def]
        began = time.perf_counter()
        work()
        return time.perf_counter() - began

    plain(), ours()  # warm
    result = []
    for number in range(rounds):
        if number % 2:
            mine = seconds(ours)
            result.append((seconds(plain), mine))
        else:
            result.append((seconds(plain), seconds(ours)))
        print(f"round {number + 1}: {result[-1][0] / result[-1][1]:.3f}", file=sys.stderr, flush=True)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*")
    parser.add_argument("--texts", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    embedder = open_embedder(LocalEmbedder(engine="sentence-transformers"))
    assert isinstance(embedder, Local)
    texts = texts_of(arguments.files, arguments.texts)
    rounds = race(embedder, texts, arguments.rounds)
    plain, ours = (statistics.median(len(texts) / times[side] for times in rounds) for side in (0, 1))
    ratios = sorted(a / b for a, b in rounds)
    print(f"{len(texts)} texts, {sum(map(len, texts)) // len(texts)} characters on average, {embedder.identity}\n")
    print("| embedding | texts/s (median) |\n|---|---|")
    print(f"| `SentenceTransformer.encode` | {plain:.1f} |\n| the embedder | {ours:.1f} |")
    print(f"| ratio: median of {len(ratios)} rounds | {statistics.median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f}) |\n")
    calls = 0

    def counted(missing: list[str]) -> Batches:
        def stream() -> Iterator[tuple[list[int], np.ndarray]]:  # type: ignore[type-arg]
            nonlocal calls
            for indices, vectors in embedder.stream(missing):
                calls += len(indices)
                yield list(indices), vectors

        return stream()

    print("| with the store | texts embedded | seconds |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as root:
        for name in ("first run", "second run"):
            calls, began = 0, time.perf_counter()
            Vectors(Path(root), embedder.identity).fill(texts, counted)
            print(f"| {name} | {calls} | {time.perf_counter() - began:.3f} |")
        size = sum(file.stat().st_size for file in Path(root).rglob("*.parquet"))
    print(f"\nstore: {size / len(texts):.0f} bytes per text")


if __name__ == "__main__":
    main()
