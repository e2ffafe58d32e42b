"""What must hold of the exports that are tables over the whole dataset: those for neural processes, and PersonalLLM's.

neural_process(store, recipe)  ->  Check("neural_process", "every user chose in every row …", problems=[])
"""

import json
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv

from prefloom.flows.dataset import standards, tables
from prefloom.flows.dataset.embeddings import of_run
from prefloom.flows.dataset.invariants import Check
from prefloom.flows.dataset.store import Store
from prefloom.schemas.candidate import Candidate
from prefloom.schemas.comparison import Comparison
from prefloom.schemas.ensembles import GRID
from prefloom.schemas.ids import keys
from prefloom.schemas.label import Preference
from prefloom.schemas.persona import Persona
from prefloom.schemas.prompt import Prompt
from prefloom.schemas.recipe import Recipe
from prefloom.schemas.score import Score, Standard

BLOCK = 64 << 20  # bytes of a table's text looked at together
HALVES = {"train": "train", "validation": "val", "test": "test"}


def neural_process(store: Store, recipe: Recipe) -> Check:
    """The folder of vectors and the tables of choices."""
    check = Check("neural_process", "every user chose in every row, as its preferences or the scores say; vectors are the embeddings'")
    folder = "exports/neural_process"
    account: dict[str, Any] = json.loads(store.read(f"{folder}/accounting-00000.json"))
    pairs = tables.read(store, "comparisons/part-*.parquet", Comparison, ["comparison_id", "prompt_id", "first_id", "second_id"])
    prompts = tables.read(store, "prompts/part-*.parquet", Prompt, ["prompt_id", "text", "split"])
    prompts = prompts.rename({"text": "asked", "split": "prompt_split"})
    answers = tables.read(store, "candidates/part-*.parquet", Candidate, ["candidate_id", "text"])
    pairs = pairs.join(prompts.with_columns(pl.col("prompt_split").replace_strict(HALVES)), on="prompt_id")
    kept = tables.read(store, "preferences/part-*.parquet", Preference, ["persona_id", "comparison_id", "chosen_id", "margin"])
    kept = kept.join(pairs.select("comparison_id", "first_id"), on="comparison_id")
    odds = pl.when(pl.col("chosen_id") == pl.col("first_id")).then("margin").otherwise(-pl.col("margin"))
    kept = kept.select(pl.col("persona_id").alias("user"), "comparison_id", odds.alias("odds"))
    settings = recipe.exports.neural_process
    users = settings.users if settings else "personas"
    shown: dict[str, int] = {}
    cells = 0
    for name in ("users", "new_users"):
        if not store.exists(f"{folder}/{name}.csv"):
            continue
        with store.open(f"{folder}/{name}.csv") as file:
            header = pl.read_csv(file, n_rows=0).columns
        chosen = [column for column in header if column.startswith("choice_")]
        told = [column for column in header if column.startswith("reward_")]
        words: dict[str, Any] = {"split": pl.String, "comparison_id": pl.String, "is_conflicting": pl.Boolean}
        numbers: dict[str, Any] = dict.fromkeys(("idx", *chosen), pl.Int64) | dict.fromkeys(told, pl.Float64)
        with store.open(f"{folder}/{name}.csv") as file:
            # What is no number is read as nothing, which is no choice.
            rows = pl.read_csv(file, columns=[*words, *numbers], schema_overrides=words | numbers, ignore_errors=True)
        check.expect(not rows["comparison_id"].is_duplicated().any(), f"{name}.csv has a comparison twice")
        known = rows.join(pairs, on="comparison_id", how="left")
        check.refuse(known, {f"rows of {name}.csv are in another split than their prompt": pl.col("split") != pl.col("prompt_split")})
        named = [column.removeprefix("choice_") for column in chosen]
        check.expect(
            sorted(told) == sorted(f"reward_{side}_{user}" for user in named for side in "ab"), f"{name}.csv has rewards of others"
        )
        due = (
            kept
            if users == "personas"
            else _weighed(store, pairs.filter(pl.col("comparison_id").is_in(rows["comparison_id"].implode())), users)
        )
        check.expect(users == "personas" or sorted(named) == sorted(due["user"].unique()), f"{name}.csv is not of the recipe's {users}")
        for user in named:
            mine = rows.join(due.filter(pl.col("user") == user), on="comparison_id", how="left")
            choice, half = pl.col(f"choice_{user}"), pl.col("odds") / 2
            off = [(pl.col(f"reward_{side}_{user}") - value).abs() > standards.STEP for side, value in (("a", half), ("b", -half))]
            broken = {
                "are neither 0 nor 1": ~choice.is_in([0, 1]),
                "are not their persona's preference" if users == "personas" else "are not what the scores say": (
                    (choice != (pl.col("odds") < 0).cast(pl.Int64)) | (pl.col("odds") == 0)
                ),
            }
            check.refuse(mine, {f"choices of {name}.csv {problem}": rule for problem, rule in broken.items()})
            check.refuse(mine, {f"rewards of {name}.csv are not those of their choice": off[0] | off[1]})
        conflict = pl.max_horizontal(chosen) != pl.min_horizontal(chosen) if chosen else pl.lit(value=False)
        check.refuse(rows, {f"rows of {name}.csv have another is_conflicting": pl.col("is_conflicting") != conflict})
        _texts(check, store, f"{folder}/{name}.csv", pairs, answers)
        cells += rows.height * len(chosen) if users == "personas" else 0
        shown |= dict(rows.select("comparison_id", "idx").iter_rows())
    left = sum(account["left_out"].values())
    if "choices" in account:
        check.expect(account["choices"] == cells, f"{cells} choices in the tables, the account says {account['choices']}")
        check.expect(kept.height == cells + left, f"{kept.height} preferences, {cells} in the tables, {left} left out")
    else:
        check.expect(pairs.height == len(shown) + left, f"{pairs.height} comparisons, {len(shown)} in the table, {left} left out")
    _vectors(check, store, f"{folder}/embeddings/data-00000-of-00001.arrow", pairs, shown)
    return check


def _weighed(store: Store, pairs: pl.DataFrame, users: str) -> pl.DataFrame:
    """user, comparison_id, odds: what the standardised scores of both answers come to, for each reward or type of attribute users."""
    scores = standards.of_run(store)
    weights = {reward: {reward: 1.0} for reward in scores.rewards}
    if users == "types":
        people = tables.read(store, "personas/part-*.parquet", Persona, ["traits", "weights"]).filter(pl.col("weights").list.len() > 0)
        weights = {
            trait["value"]: {weight["name"]: weight["value"] for weight in given}
            for traits, given in people.unique().iter_rows()
            for trait in traits
            if trait["name"] == "type"
        }
    first, second = scores.places(pairs["first_id"]), scores.places(pairs["second_id"])
    found = [pl.DataFrame(schema={"user": pl.String, "comparison_id": pl.String, "odds": pl.Float64})]
    for user, given in weights.items():
        row = scores.weights([given])[0]
        there = (first >= 0) & (second >= 0) & (scores.known[first] & scores.known[second])[:, row != 0].all(axis=1)
        whole = (scores.steps[first] - scores.steps[second]) @ np.rint(row / GRID)  # exact, so that what ties here tied there
        odds = (whole * (GRID * standards.STEP)).round(4)
        mine = pairs.select(pl.lit(user).alias("user"), "comparison_id", pl.Series("odds", odds))
        found.append(mine.filter(pl.Series(there)))
    return pl.concat(found)


def _texts(check: Check, store: Store, name: str, pairs: pl.DataFrame, answers: pl.DataFrame) -> None:
    """The columns of text, a block of the file at a time."""
    wanted = ["comparison_id", "prompt", "response_a", "response_b"]
    how = csv.ReadOptions(block_size=BLOCK), csv.ParseOptions(newlines_in_values=True)
    sides = {side: answers.rename({"text": text}) for side, text in (("first_id", "a"), ("second_id", "b"))}
    wrong = (pl.col("prompt") != pl.col("asked")) | (pl.col("response_a") != pl.col("a")) | (pl.col("response_b") != pl.col("b"))
    strings = csv.ConvertOptions(column_types=dict.fromkeys(wanted, pa.string()), include_columns=wanted)
    with store.open(name) as file, csv.open_csv(file, *how, strings) as opened:
        for batch in opened:
            rows = pl.from_arrow(batch)
            assert isinstance(rows, pl.DataFrame)
            told = rows.join(pairs, on="comparison_id", how="left")
            for side, texts in sides.items():
                told = told.join(texts, left_on=side, right_on="candidate_id", how="left")
            check.refuse(told, {f"rows of {name} have other texts than their comparison": wrong})


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
    prompts = tables.read(store, "prompts/part-*.parquet", Prompt, ["prompt_id", "text", "domain", "split"])
    prompts = prompts.with_columns(pl.Series("number", keys(prompts["prompt_id"]).astype("int64")))
    answers = tables.read(store, "candidates/part-*.parquet", Candidate, ["candidate_id", "prompt_id", "text", "model"])
    there = answers.group_by("prompt_id", pl.struct("text", "model").hash().alias("answer")).agg(pl.len().alias("answers"))
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
        check.expect(not rows["number"].is_duplicated().any(), f"{name} has a prompt twice")
        check.refuse(rows, {f"rows of {name} have another subset than their prompt's domain": pl.col("subset") != pl.col("domain")})
        seen = []
        check.refuse(
            rows, {f"rows of {name} are of another prompt or split": (pl.col("prompt") != pl.col("text")) | (pl.col("split") != half)}
        )
        for i in range(1, int(account["answers"]) + 1):
            columns = {f"response_{i}": "text", f"response_{i}_model": "model"} | {f"response_{i}_{name}": f"is {name}" for name in signs}
            told = rows.select("prompt_id", *(pl.col(theirs).alias(ours) for theirs, ours in columns.items()))
            seen.append(told.select("prompt_id", pl.struct("text", "model").hash().alias("answer")))
            told = told.unpivot(index=["prompt_id", "text", "model"], variable_name="reward", value_name="is")
            named = told.with_columns(pl.col("reward").str.strip_prefix("is "))
            held = named.join(scores, on=["prompt_id", "text", "model", "reward"], how="left")
            near = held.group_by("prompt_id", "reward").agg((pl.col("is") - pl.col("score")).abs().min().alias("off"))
            check.refuse(near, {f"scores of response_{i} in {name} are not those of the answer": pl.col("off") > standards.STEP / 2})
        repeated = pl.concat(seen).group_by("prompt_id", "answer").len().join(there, on=["prompt_id", "answer"], how="left")
        check.refuse(repeated, {f"answers of {name} stand in a row more often than they were given": pl.col("len") > pl.col("answers")})
        rows_in += found.height
    left = sum(account["left_out"].values())
    check.expect(prompts.height == rows_in + left, f"{prompts.height} prompts, {rows_in} rows, {left} left out")
    return check
