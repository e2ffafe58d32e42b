"""What the exports of a large dataset cost: seconds and peak memory of one worker, a process for each.

    python -m tests.benchmarks.exports [--rows 250000] [--shards 4] [--only trl fspo]

The tables are synthetic (2,000 personas, 2,000 prompts of 90 characters, 8 answers of 600 characters to each, descriptions of 150): ids and
sizes are as in a dataset of a million labels, and nobody is asked. Shard 0 is written, and with it what is one file for all shards.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

from prefloom.flows.dataset import tables
from prefloom.flows.dataset.episodes import Episodes
from prefloom.flows.dataset.run import Run
from prefloom.flows.dataset.shards import ShardJob
from prefloom.flows.dataset.validate import RECORDS
from prefloom.flows.steps import exports
from prefloom.flows.steps.exports_fedbiscuit import export_clients, export_federation
from prefloom.flows.steps.exports_fspo import export_fspo
from prefloom.flows.steps.exports_rows import COLUMNS, Sources
from prefloom.schemas.label import Preference
from tests.helpers import resolved

PEOPLE, PROMPTS, ANSWERS = 2_000, 2_000, 8
WORDS = np.array(
    [
        "a",
        "long",
        "walk",
        "in",
        "the",
        "hills",
        "with",
        "rice",
        "and",
        "tea",
        "for",
        "everybody",
        "who",
        "likes",
        "it",
        "slowly",
        "done",
        "by",
        "hand",
        "at",
        "home",
        "today",
    ]
)


def texts(rng: np.random.Generator, count: int, words: int) -> list[str]:
    return [" ".join(row) for row in WORDS[rng.integers(len(WORDS), size=(count, words))]]


def ids(kind: int, numbers: np.ndarray) -> list[str]:
    return [f"{kind:02x}{number:014x}" for number in numbers.tolist()]


def lay(folder: Path, rows: int, shards: int) -> Run:
    """A run folder with tables of the right size."""
    rng = np.random.default_rng(0)
    wanted = {"trl": {}, "fspo": {}, "fedbiscuit": {}}
    run = Run.create(folder, resolved(shards={"prompts": 1, "personas": shards}, exports=wanted))
    run.store_recipe()
    halves = np.array(["train"] * 8 + ["validation", "test"])

    def write(table: str, columns: dict[str, object], index: int = 0) -> None:
        record = RECORDS[table]
        frame = pl.DataFrame(columns).with_columns(pl.lit(None).alias(name) for name in record.model_fields if name not in columns)
        empty = tables.frame(record, [])
        tables.write(run.store, f"{table}/part-{index:05d}.parquet", record, frame.select(empty.columns).cast(dict(empty.schema)))

    people, prompts = ids(1, np.arange(PEOPLE)), ids(2, np.arange(PROMPTS))
    told = {"traits": [[]] * PEOPLE, "weights": [[]] * PEOPLE, "kind": "judge", "noise": 0.0, "flips": 0.0, "source": "grid"}
    write("personas", {"persona_id": people, "description": texts(rng, PEOPLE, 30), "split": halves[np.arange(PEOPLE) % 10], **told})
    scope = {"domain": "any", "source": "seeds", "scope": "global", "parents": [[]] * PROMPTS}
    write("prompts", {"prompt_id": prompts, "text": texts(rng, PROMPTS, 20), "split": halves[np.arange(PROMPTS) // 10 % 10], **scope})
    answers = np.arange(PROMPTS * ANSWERS)
    made = {"model": "m", "sample": 0, "source": "models"}
    write(
        "candidates",
        {"candidate_id": ids(3, answers), "prompt_id": ids(2, answers // ANSWERS), "text": texts(rng, len(answers), 140), **made},
    )
    for index in range(shards):
        who = np.sort(rng.integers(PEOPLE // shards, size=rows)) + index * (PEOPLE // shards)
        prompt = rng.integers(PROMPTS, size=rows)
        first = prompt * ANSWERS + rng.integers(ANSWERS // 2, size=rows)
        second = prompt * ANSWERS + ANSWERS // 2 + rng.integers(ANSWERS // 2, size=rows)
        about = ids(4, index * rows + np.arange(rows))
        split = np.where(who % 10 >= 8, "test_new_personas", np.where(prompt // 10 % 10 >= 8, "test_new_prompts", "train"))
        names = {"persona_id": ids(1, who), "comparison_id": about, "prompt_id": ids(2, prompt), "split": split, "confidence": 1.0}
        figures = {"margin": 1.0, "probability": 0.73, "voters": 3, "minority_share": 0.3, "entropy": 0.6}
        write("preferences", names | figures | {"chosen_id": ids(3, first), "rejected_id": ids(3, second)}, index)
        sides = {"candidate_a": ids(3, first), "candidate_b": ids(3, second), "bias": 0.1, "mass": 1.0}
        write("labels", names | {"margin": 1.0, "probability": 0.73, "consistency": 1.0, "agreement": 1.0, "judgements": 2} | sides, index)
    return run


def measure(folder: Path, what: str) -> None:
    """Write one export of shard 0 and print what it took."""
    run = Run(folder)
    job = ShardJob(str(folder), "exports", 0, "benchmark")
    preferences, base = tables.read(run.store, job.part("preferences"), Preference, COLUMNS), peak()
    began = time.perf_counter()
    sources = Sources.of(run.store)
    if what == "episodes":
        drawn = Episodes(preferences, "digest").draw(8)
        assert len(drawn.targets)
    elif what == "federation":
        export_federation(job, sources)
    else:
        {"trl": exports.export_trl, "fspo": export_fspo, "clients": export_clients}[what](job, sources, preferences)
    seconds = time.perf_counter() - began
    sizes = sum(path.stat().st_size for path in (folder / "exports").rglob("*") if path.is_file()) if what != "episodes" else 0
    print(f"{what:<11} {seconds:6.1f} s  peak {peak():5.0f} MiB (before: {base:.0f})  exports/ holds {sizes / 1e6:,.0f} MB", flush=True)


def peak() -> float:
    """MiB at the most so far. Not by getrusage, which begins with what the parent had when it forked."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=250_000)
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--only", nargs="*", default=["trl", "fspo", "clients", "federation", "episodes"])
    parser.add_argument("--measure", nargs=2)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(Path(arguments.measure[0]), arguments.measure[1])
        return
    with tempfile.TemporaryDirectory() as folder:
        run = lay(Path(folder), arguments.rows, arguments.shards)
        print(f"{arguments.shards} shards of {arguments.rows:,} preferences; shard 0 is written, `federation` is over all", flush=True)
        for what in arguments.only:
            command = [sys.executable, "-m", "tests.benchmarks.exports", "--measure", str(run.folder), what]
            subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
