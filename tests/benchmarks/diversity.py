"""Near-duplicates and farthest points at size: seconds, peak memory and recall, beside brute force, SemHash and indexes of libraries.

    python -m tests.benchmarks.diversity [--rows 10000 100000 1000000] [--vectors /tmp/vectors] [--methods near brute …] [--threshold 0.9]

Every method runs in a fresh process (its VmHWM is the memory, what it takes to load the vectors included) on the rows of
tests.benchmarks.diversity_vectors, which are embedded once and kept in --vectors. Recall: of 10,000 rows drawn, those with an earlier row
among the ones that the method itself kept, at a cosine that reaches the threshold by brute force; how many of them it left out. Other
methods are timed where they are installed (`pip install --target DIR semhash faiss-cpu hnswlib usearch`, PYTHONPATH=DIR), and not above
100,000 rows: FAISS, hnswlib and usearch stand in for the cells, everything else as in prefloom. Figures depend on what else the machine
does: set OMP_NUM_THREADS=2, and compare within a run. Nothing is asserted.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefloom.flows.diversity import grid, near, spread
from tests.benchmarks.diversity_vectors import made, real

Look = Callable[..., near.Places]
SMALL = ("brute", "semhash", "faiss", "hnswlib", "usearch", "plain")  # methods that are not run on more than 100,000 rows
CHOSEN = 1000


def faiss_look() -> Look:
    """`near._look` by a FAISS index of the same cells, searched as it comes."""
    import faiss

    state: dict[str, Any] = {"known": 0}

    def look(rows: grid.Grid, block: grid.Grid, centres: grid.Grid, cells: list[near.Places], best: tuple[near.Places, grid.Floats]) -> Any:
        if "index" not in state:
            exact, near._EXACT = near._EXACT, 0
            centres, near._EXACT = near._centres(rows).astype(np.float32), exact
            state["quantizer"] = faiss.IndexFlatIP(rows.shape[1])
            state["quantizer"].add(centres)
            state["index"] = faiss.IndexIVFFlat(state["quantizer"], rows.shape[1], len(centres), faiss.METRIC_INNER_PRODUCT)
            state["index"].is_trained, state["index"].nprobe = True, near._PROBES
        return _library(
            rows, block, cells, best, state, lambda new, v: state["index"].add_with_ids(v, new), lambda v: state["index"].search(v, 1)
        )

    return look


def hnswlib_look() -> Look:
    """The same by a graph of hnswlib, with its usual settings (M 16, ef 100); built by two threads, so not the same each time."""
    import hnswlib

    state: dict[str, Any] = {"known": 0}

    def look(rows: grid.Grid, block: grid.Grid, centres: grid.Grid, cells: list[near.Places], best: tuple[near.Places, grid.Floats]) -> Any:
        if "index" not in state:
            index = state["index"] = hnswlib.Index("ip", rows.shape[1])
            index.init_index(max_elements=len(rows), M=16, ef_construction=100)
            index.set_ef(100), index.set_num_threads(2)
        index = state["index"]
        return _library(rows, block, cells, best, state, lambda new, v: index.add_items(v, new), lambda v: index.knn_query(v, 1)[::-1])

    return look


def usearch_look() -> Look:
    """The same by a graph of usearch, with its usual settings."""
    from usearch.index import Index

    state: dict[str, Any] = {"known": 0}

    def look(rows: grid.Grid, block: grid.Grid, centres: grid.Grid, cells: list[near.Places], best: tuple[near.Places, grid.Floats]) -> Any:
        index = state.setdefault("index", Index(ndim=rows.shape[1], metric="ip", dtype="f32"))

        def find(vectors: grid.Floats) -> tuple[Any, Any]:
            found = index.search(vectors, 1, threads=2)
            return found.distances.reshape(-1, 1), found.keys.reshape(-1, 1)

        return _library(rows, block, cells, best, state, lambda new, v: index.add(new, v, threads=2), find)

    return look


def _library(
    rows: grid.Grid,
    block: grid.Grid,
    cells: list[near.Places],
    best: tuple[near.Places, grid.Floats],
    state: dict[str, Any],
    add: Callable[[Any, grid.Floats], Any],
    find: Callable[[grid.Floats], tuple[Any, Any]],
) -> near.Places:
    """Put what was kept last into an index, look the block up, and take exact cosines of what it found."""
    new, state["known"] = cells[0][state["known"] :], len(cells[0])
    if len(new):
        add(new, rows[new].astype(np.float32) / grid.SCALE)
    if len(cells[0]):
        names = np.asarray(find(block.astype(np.float32) / grid.SCALE)[1]).reshape(-1).astype(np.int64)
        asked, found = grid.whole(block), grid.whole(rows[np.maximum(names, 0)])
        cosine = np.einsum("ij,ij->i", asked[0], found[0]) * asked[1] * found[1]
        better = (names >= 0) & (cosine > best[1])
        best[0][better], best[1][better] = names[better], cosine[better]
    return np.zeros(len(block), np.int64)


def semhash(rows: grid.Grid, threshold: float) -> near.Near:
    """SemHash on the same vectors, with its usual index. Its records are the places."""
    from semhash import SemHash

    index = SemHash.from_embeddings(rows.astype(np.float32) / grid.SCALE, [str(place) for place in range(len(rows))], model=None)
    kept = np.array([int(place) for place in index.self_deduplicate(threshold=threshold).selected])
    of = np.zeros(len(rows), np.int64)
    of[kept] = -1
    return near.Near(of, np.zeros(len(rows), np.float32))


def plain(rows: grid.Grid) -> list[int]:
    """Farthest-point selection as it is written in books: every row against every chosen one."""
    prepared, nearest, chosen = grid.whole(rows), np.full(len(rows), -2, np.float32), list[int]()
    while len(chosen) < CHOSEN:
        chosen.append(int(nearest.argmin()))
        one = slice(chosen[-1], chosen[-1] + 1)
        np.maximum(nearest, grid.between(prepared, (prepared[0][one], prepared[1][one]))[:, 0], out=nearest)
        nearest[chosen[-1]] = 3
    return chosen


def work(method: str, rows: grid.Grid, threshold: float) -> Any:
    """What a method finds."""
    if method in ("spread", "strata", "plain"):
        codes = (np.arange(len(rows))[:, None] * 7919) % 10
        return {
            "spread": lambda: spread.spread(rows, CHOSEN),
            "strata": lambda: spread.spread(rows, CHOSEN, codes, [[0.1] * 10]),
            "plain": lambda: plain(rows),
        }[method]()
    if method == "semhash":
        return semhash(rows, threshold).of
    if method != "near":
        near._EXACT = len(rows)
    looks: dict[str, Callable[[], Look]] = {"faiss": faiss_look, "hnswlib": hnswlib_look, "usearch": usearch_look}
    if method in looks:
        near._look = looks[method]()
    return near.near_duplicates(rows, threshold).of


def alone(method: str, file: Path, threshold: float) -> None:
    """Run one method in this process; its figures go to standard output, what it found beside the vectors."""
    rows = np.load(file)
    work(method, rows[:100], threshold) if method not in ("plain", "faiss", "hnswlib", "usearch") else None  # threads and libraries are up
    began, ticks = time.perf_counter(), time.process_time()
    found = work(method, rows, threshold)
    seconds, ticks = time.perf_counter() - began, time.process_time() - ticks
    status = Path("/proc/self/status").read_text()
    peak = int(status.split("VmHWM:")[1].split()[0]) / 2**20
    np.save(file.with_name(f"found-{method}-{len(rows)}.npy"), np.asarray(found))
    print(json.dumps({"seconds": seconds, "cpu": ticks, "peak": peak}))


def recall(rows: grid.Grid, of: NDArray[np.int64], threshold: float, queries: int) -> tuple[float, int]:
    """(share of the drawn rows with an earlier kept row at the threshold that were left out, how many such rows were drawn)."""
    asked = np.sort(np.random.default_rng(2).choice(len(rows), min(queries, len(rows)), replace=False))
    kept, true = np.flatnonzero(of < 0), np.zeros(len(asked), bool)
    prepared = grid.whole(rows[asked])
    for start in range(0, len(kept), 8192):
        some = kept[start : start + 8192]
        true |= ((grid.between(prepared, grid.whole(rows[some])) >= threshold) & (some < asked[:, None])).any(axis=1)
    return float((of[asked] >= 0)[true].mean()), int(true.sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--vectors", type=Path, default=Path("/tmp/vectors"))
    parser.add_argument("--methods", nargs="+", default=["near", "spread", "strata", *SMALL])
    parser.add_argument("--threshold", type=float, default=0.9)
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    folder: Path = arguments.vectors
    if arguments.alone:
        alone(arguments.alone, folder / f"rows-{arguments.rows[0]}.npy", arguments.threshold)
        return
    took: dict[str, dict[int, float]] = {}
    print("| method | rows | seconds | CPU seconds | peak GiB | left out | recall (true among drawn) |\n|---|---|---|---|---|---|---|")
    for count in sorted(arguments.rows):
        file = folder / f"rows-{count}.npy"
        if not file.exists():
            np.save(file, made(real(folder), count))
        for method in arguments.methods:
            if method in SMALL and count > 100_000:
                continue
            again = [sys.executable, "-m", "tests.benchmarks.diversity", "--alone", method, "--rows", str(count), "--vectors", str(folder)]
            run = subprocess.run([*again, "--threshold", str(arguments.threshold)], capture_output=True, text=True, env=os.environ)
            if run.returncode:
                print(f"| {method} | {count:,} | {run.stderr.splitlines()[-1]} |", flush=True)
                continue
            figures = json.loads(run.stdout.splitlines()[-1])
            took.setdefault(method, {})[count] = figures["seconds"]
            print(f"| {method} | {count:,} | {figures['seconds']:.1f} | {figures['cpu']:.1f} | {figures['peak']:.2f} |", end="", flush=True)
            if method not in ("spread", "strata", "plain"):
                of = np.load(folder / f"found-{method}-{count}.npy")
                share, true = recall(np.load(file), of, arguments.threshold, arguments.queries)
                print(f" {(of >= 0).mean():.1%} | {share:.4f} ({true}) |", end="")
            print(flush=True)
    print("\nGrowth (seconds as rows to the power of):")
    for method, times in took.items():
        sizes = sorted(times)
        steps = [f"{a:,} to {b:,}: {np.log(times[b] / times[a]) / np.log(b / a):.2f}" for a, b in pairwise(sizes)]
        print(f"{method} {', '.join(steps)}")
    if 100_000 in took.get("brute", {}):
        print(f"\nBrute force on 1,000,000, extrapolated from 100,000 by the square: {took['brute'][100_000] * 100:,.0f} s (not run)")


if __name__ == "__main__":
    main()
