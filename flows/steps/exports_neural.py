"""For neural processes: a Hugging Face folder of vectors, and tables that say for every row what each user chose.

exports/neural_process/embeddings/     data-00000-of-00001.arrow, dataset_info.json, state.json     for `datasets.load_from_disk`
    {"idx": 0, "option_a": [0.0361, …], "option_b": [-0.5, …]}
exports/neural_process/users.csv       idx,split,choice_5d1c…,choice_77a0…,prompt,response_a,response_b,reward_a_5d1c…,…,is_conflicting
exports/neural_process/accounting-00000.json

The loader takes a column for each user with a choice (0: a, 1: b) in every row. Columns are one of

    personas   a complete block: comparisons on which all of some personas have a preference. Personas of the training split make
               users.csv, those of the test split new_users.csv; what lies outside the blocks is counted.
    types      the types of attribute users; rewards: the rewards. Both choose by scores, on every comparison; ties are left out and
               counted.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from prefloom.flows.dataset import standards, tables
from prefloom.flows.dataset.embeddings import of_run
from prefloom.flows.dataset.shards import ShardJob
from prefloom.flows.dataset.store import Store
from prefloom.flows.steps.exports_rows import MAP, Sources, write_json
from prefloom.flows.steps.utilities import log_odds
from prefloom.schemas.comparison import Comparison
from prefloom.schemas.ids import content_hash
from prefloom.schemas.label import Preference
from prefloom.schemas.persona import Persona

FOLDER = "exports/neural_process"
SIDES = ("first_id", "second_id")
BATCH = 2048  # rows written at a time
Floats = NDArray[np.float64]


class Block(NamedTuple):
    """Users who all chose in all rows: log-odds for the first answer, rows × users."""

    users: list[str]
    comparisons: pl.Series
    odds: Floats


def export_neural(job: ShardJob, sources: Sources) -> None:
    """The folder, the tables and the account."""
    store, settings = job.run.store, job.run.resolved.recipe.exports.neural_process
    assert settings
    rows = tables.read(store, "comparisons/part-*.parquet", Comparison, ["comparison_id", "prompt_id", "first_id", "second_id"])
    rows = rows.sort("comparison_id").join(sources.prompts, on="prompt_id", maintain_order="left")
    if settings.users == "personas":
        blocks, account = _of_personas(store, sources, rows, settings.most)
    else:
        blocks, account = _by_scores(store, rows, settings.users)
    shown = rows.filter(pl.col("comparison_id").is_in(pl.concat([block.comparisons for block in blocks.values()]).implode()))
    shown = shown.with_row_index("idx").cast({"idx": pl.Int64})
    write_folder(store, f"{FOLDER}/embeddings", shown, *of_run(store, "candidates"))
    for name, block in blocks.items():
        _table(store, f"{FOLDER}/{name}.csv", sources, shown, block)
    write_json(store, f"{FOLDER}/accounting-00000.json", {"comparisons": rows.height, **account})


def _of_personas(store: Store, sources: Sources, rows: pl.DataFrame, most: int) -> tuple[dict[str, Block], dict[str, Any]]:
    kept = tables.read(store, "preferences/part-*.parquet", Preference, ["persona_id", "comparison_id", "chosen_id", "margin"])
    first = rows.select("comparison_id", "first_id")
    odds = pl.when(pl.col("chosen_id") == pl.col("first_id")).then("margin").otherwise(-pl.col("margin")).alias("odds")
    kept = (
        kept.join(first, on="comparison_id").join(sources.people.select("persona_id", "persona_split"), on="persona_id").with_columns(odds)
    )
    blocks, shown = {}, 0
    for name, split in (("users", "train"), ("new_users", "test")):
        block = complete_block(kept.filter(pl.col("persona_split") == split), most)
        if len(block.users):
            blocks[name], shown = block, shown + block.odds.size
    idle = kept.filter(pl.col("persona_split") == "validation").height
    left_out = {"persona_of_validation": idle, "outside_the_blocks": kept.height - shown - idle}
    sizes = {name: {"users": len(block.users), "rows": len(block.comparisons)} for name, block in blocks.items()}
    return blocks or {"users": Block([], pl.Series([], dtype=pl.String), np.zeros((0, 0)))}, {
        "preferences": kept.height,
        "choices": shown,
        "tables": sizes,
        "left_out": left_out,
    }


def complete_block(kept: pl.DataFrame, most: int) -> Block:
    """Personas and comparisons such that each of the personas prefers on each of the comparisons, with as many choices as is found.

    Greedy: the persona with most preferences, then always the one that leaves most comparisons to share; of all these blocks of
    two to `most` personas the one with most choices. Finding the largest of all is NP-hard (maximum edge biclique).
    """
    people, about = kept["persona_id"].unique().sort(), kept["comparison_id"].unique().sort()
    place = people.search_sorted(kept["persona_id"]).to_numpy(), about.search_sorted(kept["comparison_id"]).to_numpy()
    there = np.zeros((len(people), len(about)), np.bool_)
    there[place] = True
    bits, shared = np.packbits(there, axis=1), np.packbits(np.ones(len(about), np.bool_))
    chosen: list[int] = []
    best: tuple[int, list[int]] = (0, [])
    free = np.ones(len(people), np.bool_)
    while free.any() and len(chosen) < most:
        common = np.where(free, np.bitwise_count(bits & shared).sum(axis=1, dtype=np.int64), -1)
        chosen.append(int(common.argmax()))
        free[chosen[-1]], shared = False, shared & bits[chosen[-1]]
        area = len(chosen) * int(common.max())
        best = max(best, (area, list(chosen)), key=lambda found: found[0]) if len(chosen) > 1 else best
    users = sorted(best[1])
    columns = np.flatnonzero(there[users].all(axis=0)) if users else np.zeros(0, np.int64)
    wanted = kept.filter(pl.col("persona_id").is_in(people[users].implode()), pl.col("comparison_id").is_in(about[columns].implode()))
    odds = wanted.sort("comparison_id", "persona_id")["odds"].to_numpy().reshape(len(columns), len(users))
    return Block(people[users].to_list(), about[columns], odds)


def _by_scores(store: Store, rows: pl.DataFrame, users: str) -> tuple[dict[str, Block], dict[str, Any]]:
    scores = standards.of_run(store)
    weights = {name: {name: 1.0} for name in scores.rewards} if users == "rewards" else _types(store)
    names = list(weights)
    first, second = scores.places(rows["first_id"]), scores.places(rows["second_id"])
    wanted = scores.weights([weights[name] for name in names])
    used = (wanted != 0).any(axis=0)
    known = (first >= 0) & (second >= 0) & scores.known[first][:, used].all(axis=1) & scores.known[second][:, used].all(axis=1)
    odds = log_odds(wanted, scores.steps, np.maximum(first, 0), np.maximum(second, 0)).T.round(4)
    apart = (odds != 0).all(axis=1)
    block = Block(names, rows["comparison_id"].filter(pl.Series(known & apart)), odds[known & apart])
    left_out = {"missing_score": int((~known).sum()), "tie": int((known & ~apart).sum())}
    return {"users": block}, {"tables": {"users": {"users": len(names), "rows": len(block.comparisons)}}, "left_out": left_out}


def _types(store: Store) -> dict[str, dict[str, float]]:
    """Type -> the weights that all its people have, by name; none for a run whose attribute users have no types."""
    people = tables.read(store, "personas/part-*.parquet", Persona, ["traits", "weights"])
    found = {}
    for traits, weights in people.iter_rows():
        for trait in traits:
            if trait["name"] == "type" and weights:
                found[trait["value"]] = {weight["name"]: weight["value"] for weight in weights}
    return dict(sorted(found.items()))


def _table(store: Store, name: str, sources: Sources, shown: pl.DataFrame, block: Block) -> None:
    """One table, some rows at a time."""
    texts = sources.answers.select("candidate_id", "text")
    rows = shown.join(pl.DataFrame([block.comparisons]).with_row_index("row"), on="comparison_id", maintain_order="left")
    conflict = np.asarray((block.odds > 0).any(axis=1) & (block.odds < 0).any(axis=1))

    def fill(file: Any) -> None:
        for start in range(0, max(rows.height, 1), BATCH):
            some = rows.slice(start, BATCH)
            odds = block.odds[some["row"].to_numpy()]
            first, second = (texts.rename({"text": side}) for side in ("response_a", "response_b"))
            told = some.join(first, left_on="first_id", right_on="candidate_id", how="left", maintain_order="left").join(
                second, left_on="second_id", right_on="candidate_id", how="left", maintain_order="left"
            )
            columns = [pl.Series(f"choice_{user}", (odds[:, i] < 0).astype(np.int64)) for i, user in enumerate(block.users)]
            rewards = [
                pl.Series(f"reward_{side}_{user}", (sign * odds[:, i] / 2).round(4))
                for i, user in enumerate(block.users)
                for side, sign in (("a", 1), ("b", -1))
            ]
            told.select(
                "idx",
                pl.col("prompt_split").replace_strict(MAP, return_dtype=pl.String).alias("split"),
                *columns,
                "prompt",
                "response_a",
                "response_b",
                *rewards,
                pl.Series("is_conflicting", conflict[some["row"].to_numpy()]),
                "comparison_id",
            ).write_csv(file, include_header=start == 0)

    store.publish(name, fill)


def write_folder(store: Store, folder: str, rows: pl.DataFrame, ids: Sequence[str], vectors: NDArray[np.float16]) -> None:
    """What `Dataset.save_to_disk` writes, with the same bytes for the same rows: that takes the fingerprint from a clock."""
    vector = pa.list_(pa.float32())
    # `Sequence` is what every version of `datasets` reads; those before 4 know no `List`.
    numbers = {"feature": {"dtype": "float32", "_type": "Value"}, "_type": "Sequence"}
    kinds = {"idx": {"dtype": "int64", "_type": "Value"}, "option_a": numbers, "option_b": numbers}
    note = {"huggingface": json.dumps({"info": {"features": kinds}})}
    schema = pa.schema([("idx", pa.int64()), ("option_a", vector), ("option_b", vector)], metadata=note)
    place = pl.DataFrame({"candidate_id": ids}, schema={"candidate_id": pl.String}).with_row_index("place")

    def batches() -> Iterator[pa.RecordBatch]:
        for some in rows.iter_slices(BATCH):
            named = (some.select(candidate_id=side).join(place, on="candidate_id", how="left", maintain_order="left") for side in SIDES)
            arrays = [_lists(vectors[side["place"].to_numpy()]) for side in named]
            yield pa.record_batch([some["idx"].to_arrow(), *arrays], schema=schema)

    def fill(file: Any) -> None:
        with pa.ipc.new_stream(file, schema) as writer:
            for batch in batches():
                writer.write_batch(batch)

    name = "data-00000-of-00001.arrow"
    state: dict[str, Any] = {
        "_data_files": [{"filename": name}],
        "_fingerprint": content_hash(rows["comparison_id"].to_list(), size=8),
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": None,
    }
    info = {"citation": "", "description": "", "features": kinds, "homepage": "", "license": ""}
    store.publish(f"{folder}/{name}", fill)
    write_json(store, f"{folder}/dataset_info.json", info)
    write_json(store, f"{folder}/state.json", state)


def _lists(vectors: NDArray[np.float16]) -> pa.Array:
    ends = np.arange(0, vectors.size + 1, vectors.shape[1], dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(ends), pa.array(vectors.astype(np.float32).ravel()))
