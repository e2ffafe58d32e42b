"""What must hold of the exports that are tables over the whole dataset: those for neural processes, and PersonalLLM's.

neural_process(store, recipe)  ->  Check("neural_process", "every user chose in every row …", problems=[])
"""

import json
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from prefloom.flows.dataset import standards, tables
from prefloom.flows.dataset.embeddings import of_run
from prefloom.flows.dataset.invariants import Check
from prefloom.flows.dataset.store import Store
from prefloom.schemas.candidate import Candidate
from prefloom.schemas.comparison import Comparison
from prefloom.schemas.ids import keys
from prefloom.schemas.label import Preference
from prefloom.schemas.prompt import Prompt
from prefloom.schemas.recipe import Recipe
from prefloom.schemas.score import Score, Standard

HALVES = {"train": "train", "validation": "val", "test": "test"}


def neural_process(store: Store, recipe: Recipe) -> Check:
    """The folder of vectors and the tables of choices."""
    check = Check("neural_process", "every user chose in every row, as its preferences or the scores say; vectors are the embeddings'")
    folder = "exports/neural_process"
    account: dict[str, Any] = json.loads(store.read(f"{folder}/accounting-00000.json"))
    pairs = tables.read(store, "comparisons/part-*.parquet", Comparison, ["comparison_id", "prompt_id", "first_id", "second_id"])
    prompts = tables.read(store, "prompts/part-*.parquet", Prompt, ["prompt_id", "split"]).rename({"split": "prompt_split"})
    pairs = pairs.join(prompts.with_columns(pl.col("prompt_split").replace_strict(HALVES)), on="prompt_id")
    kept = tables.read(store, "preferences/part-*.parquet", Preference, ["persona_id", "comparison_id", "chosen_id"])
    kept = kept.join(pairs.select("comparison_id", "first_id"), on="comparison_id")
    kept = kept.select("persona_id", "comparison_id", due=(pl.col("chosen_id") != pl.col("first_id")).cast(pl.Int64))
    shown: dict[str, int] = {}
    cells = 0
    for name in ("users", "new_users"):
        if not store.exists(f"{folder}/{name}.csv"):
            continue
        with store.open(f"{folder}/{name}.csv") as file:
            header = pl.read_csv(file, n_rows=0).columns
        chosen = [column for column in header if column.startswith("choice_")]
        with store.open(f"{folder}/{name}.csv") as file:
            wanted = ["idx", "split", "comparison_id", *chosen]
            # What is no number is read as nothing, which is no choice.
            rows = pl.read_csv(file, columns=wanted, schema_overrides=dict.fromkeys(("idx", *chosen), pl.Int64), ignore_errors=True)
        check.expect(not rows["comparison_id"].is_duplicated().any(), f"{name}.csv has a comparison twice")
        known = rows.join(pairs, on="comparison_id", how="left")
        check.refuse(known, {f"rows of {name}.csv are in another split than their prompt": pl.col("split") != pl.col("prompt_split")})
        choices = rows.unpivot(chosen, index="comparison_id", variable_name="persona_id", value_name="choice")
        check.refuse(choices, {f"choices of {name}.csv are neither 0 nor 1": ~pl.col("choice").is_in([0, 1])})
        if recipe.exports.neural_process and recipe.exports.neural_process.users == "personas":
            named = choices.with_columns(pl.col("persona_id").str.strip_prefix("choice_"))
            mine = named.join(kept, on=["persona_id", "comparison_id"], how="left")
            check.refuse(mine, {f"choices of {name}.csv are not their persona's preference": pl.col("choice") != pl.col("due")})
            cells += choices.height
        shown |= dict(rows.select("comparison_id", "idx").iter_rows())
    left = sum(account["left_out"].values())
    if "choices" in account:
        check.expect(account["choices"] == cells, f"{cells} choices in the tables, the account says {account['choices']}")
        check.expect(kept.height == cells + left, f"{kept.height} preferences, {cells} in the tables, {left} left out")
    else:
        check.expect(pairs.height == len(shown) + left, f"{pairs.height} comparisons, {len(shown)} in the table, {left} left out")
    _vectors(check, store, f"{folder}/embeddings/data-00000-of-00001.arrow", pairs, shown)
    return check


def _vectors(check: Check, store: Store, name: str, pairs: pl.DataFrame, shown: dict[str, int]) -> None:
    ids, vectors = of_run(store, "candidates")
    place = {candidate: row for row, candidate in enumerate(ids)}
    named = {idx: comparison for comparison, idx in shown.items()}
    sides = {row[0]: row[1:] for row in pairs.select("comparison_id", "first_id", "second_id").iter_rows()}
    seen: list[int] = []
    wrong = 0
    with store.open(name) as file:
        for batch in pa.ipc.open_stream(file):
            mine = batch["idx"].to_pylist()
            about = [sides.get(named.get(idx, ""), ("", "")) for idx in mine]
            for option, side in (("option_a", 0), ("option_b", 1)):
                rows = [place.get(pair[side], 0) for pair in about]
                found = batch[option].flatten().to_numpy(zero_copy_only=False).reshape(len(mine), -1)
                wrong += int((found != vectors[rows].astype(np.float32)).any(axis=1).sum())
            seen += mine
    check.expect(sorted(seen) == sorted(shown.values()), f"{name} has {len(seen)} rows for {len(shown)} comparisons, or not those")
    check.expect(wrong == 0, f"{wrong} vectors of {name} are not those of their answer")


def personalllm(store: Store, _: Recipe) -> Check:
    """The wide table."""
    check = Check("personalllm", "every prompt has a row with its answers and their scores, or is counted as left out")
    account: dict[str, Any] = json.loads(store.read("exports/personalllm/accounting-00000.json"))
    prompts = tables.read(store, "prompts/part-*.parquet", Prompt, ["prompt_id", "text", "split"])
    prompts = prompts.with_columns(pl.Series("number", keys(prompts["prompt_id"]).astype("int64")))
    answers = tables.read(store, "candidates/part-*.parquet", Candidate, ["candidate_id", "prompt_id", "text", "model"])
    signs = dict(tables.read(store, "standards/part-*.parquet", Standard, ["reward", "sign"]).iter_rows())
    scores = tables.read(store, "scores/part-*.parquet", Score, ["candidate_id", "reward", "score"]).join(answers, on="candidate_id")
    scores = scores.with_columns(pl.col("score") * pl.col("reward").replace_strict(signs, return_dtype=pl.Int64))
    scores = scores.select("prompt_id", "text", "model", "reward", "score").unique()
    rows_in = 0
    for name in store.list("exports/personalllm/*.parquet"):
        with store.open(name) as file:
            found = pl.from_arrow(pq.read_table(file))
        assert isinstance(found, pl.DataFrame)
        rows = found.rename({"prompt_id": "number"}).join(prompts, on="number", how="left")
        half = name.split("/")[-1].split("-")[0]
        check.refuse(
            rows, {f"rows of {name} are of another prompt or split": (pl.col("prompt") != pl.col("text")) | (pl.col("split") != half)}
        )
        for i in range(1, int(account["answers"]) + 1):
            columns = {f"response_{i}": "text", f"response_{i}_model": "model"} | {f"response_{i}_{name}": f"is {name}" for name in signs}
            told = rows.select("prompt_id", *(pl.col(theirs).alias(ours) for theirs, ours in columns.items()))
            told = told.unpivot(index=["prompt_id", "text", "model"], variable_name="reward", value_name="is")
            named = told.with_columns(pl.col("reward").str.strip_prefix("is "))
            held = named.join(scores, on=["prompt_id", "text", "model", "reward"], how="left")
            near = held.group_by("prompt_id", "reward").agg((pl.col("is") - pl.col("score")).abs().min().alias("off"))
            check.refuse(near, {f"scores of response_{i} in {name} are not those of the answer": pl.col("off") > standards.STEP / 2})
        rows_in += found.height
    left = sum(account["left_out"].values())
    check.expect(prompts.height == rows_in + left, f"{prompts.height} prompts, {rows_in} rows, {left} left out")
    return check
