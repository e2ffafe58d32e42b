"""prefloom's side of the endpoint benchmark: rows are rendered, asked, journaled, parsed and written, as a build does it.

    python -m tests.benchmarks.endpoint_client --variant judge --n 20000 --base-url http://127.0.0.1:8399/v1 --out /tmp/x

Four threads take shards of at most 12,500 rows; `judge` reads one letter of each row, `answer` asks for 128 tokens. Row 123 carries the
tag `[[id=000123]]` in its persona or task. At the end the journal is sealed, and client.json says what came of it.
"""

import json
import resource
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl

from prefloom.flows.dataset.run import Run
from prefloom.flows.engines import close_engines, open_engine
from prefloom.flows.engines.asking import asking
from prefloom.flows.engines.endpoint.opening import introduce
from prefloom.flows.engines.protocol import Engine, Reply, Request
from prefloom.flows.steps.judgements import CHUNK, LETTERS, read_letters
from prefloom.prompts import load
from prefloom.schemas.recipe import Recipe, Resolved
from tests.benchmarks.raw_clients import FILLER, arguments

THREADS = 4
SHARD = 12_500  # rows: what is held in memory is a shard's, however many there are
PERSONAS = 100  # rows that share a pair


def open_target(url: str, model: str, concurrency: int, root: Path) -> Run:
    """A run whose model `target` is served at the address, and has been met there."""
    recipe = {
        "name": "bench",
        "models": {"target": {"engine": "endpoint", "model": model}},
        "servers": {"target": {"urls": [url], "concurrency": concurrency}},
        "personas": [{"source": "grid", "count": 1}],
        "prompts": [{"source": "seeds", "count": 1}],
        "candidates": {"source": "models", "models": ["target"]},
        "judgements": {"model": "target"},
    }
    run = Run.create(root, Resolved(recipe=Recipe.model_validate(recipe), inputs={}))
    run.folder.mkdir(parents=True)
    run.store_recipe()
    introduce(run, "target", LETTERS)
    return run


def requests(variant: str, rows: range, engine: Engine) -> Iterator[Request]:
    """What is asked about these rows."""
    judge, answer = load("judge/pairwise"), load("candidate/answer")
    for i in rows:
        pair, persona = divmod(i, PERSONAS)
        if variant == "answer":
            yield Request(answer.render(prompt=f"[[id={i:06d}]] {FILLER}", view=None), max_tokens=128, temperature=1.0, seed=i)
            continue
        first, second = (f"Plan {pair} of kind {side}: soup on Monday, rice on Tuesday, beans after that." for side in "xy")
        who = f"[[id={i:06d}]] Person {persona}. {FILLER[:140]}"
        messages = judge.render(persona=who, prompt=FILLER[140:], first=first, second=second)
        yield Request(messages, max_tokens=1, letters=LETTERS, votes=engine.votes, group=f"{pair}")


def parsed(variant: str, i: int, reply: Reply) -> tuple[int, str | None, float | None, float | None]:
    """A row of the result."""
    read = (reply.error if reply.error else (0.0, 1.0)) if variant == "answer" else read_letters(reply)
    return (i, read, None, None) if isinstance(read, str) else (i, None, *read)


def shard(run: Run, variant: str, rows: range) -> tuple[int, int]:
    """Make one shard; (rows, those without an answer)."""
    engine, kept = open_engine(run, "target"), []
    with asking(engine, run, [f"{pair:08d}" for pair in range(rows.start // PERSONAS, rows.stop // PERSONAS + 1)]) as session:
        session.model = "target"
        for start in range(rows.start, rows.stop, CHUNK):
            chunk = range(start, min(start + CHUNK, rows.stop))
            replies = session.ask(list(requests(variant, chunk, engine)), [f"{i // PERSONAS:08d}" for i in chunk])
            kept += [parsed(variant, i, reply) for i, reply in zip(chunk, replies, strict=True)]
    frame = pl.DataFrame(kept, schema={"row": pl.Int64, "failure": pl.String, "log_odds": pl.Float64, "mass": pl.Float64}, orient="row")
    frame.write_parquet(run.folder / f"part-{rows.start:08d}.parquet")
    return frame.height, frame["failure"].count()


def main() -> None:
    options = arguments(__doc__, ["judge", "answer"])
    run = open_target(options.base_url, options.model, options.conc, options.out / "data")
    size = max(1, min(SHARD, -(-options.n // THREADS)))
    shards = [range(start, min(start + size, options.n)) for start in range(0, options.n, size)]
    with ThreadPoolExecutor(THREADS) as threads:
        done = list(threads.map(lambda rows: shard(run, options.variant, rows), shards))
    unsealed = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    run.journal(open_engine(run, "target").identity).seal()
    close_engines()
    said = {"rows": sum(rows for rows, _ in done), "failed": sum(failed for _, failed in done), "peak_before_sealing": unsealed}
    (options.out / "client.json").write_text(json.dumps(said))


if __name__ == "__main__":
    main()
