"""Each export, read as the loader of the system it is for reads it. The loaders are made again from the documented contracts of columns.

Rows are counted to the last one: those that a loader emits, and those that its own rules leave unused.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from prefloom.flows.dataset import tables
from prefloom.flows.dataset.invariants_tables import neural_process
from prefloom.flows.dataset.run import Run
from prefloom.flows.steps.exports_personalllm import numbered
from prefloom.schemas.comparison import Comparison
from prefloom.schemas.exported import ClientPreference
from prefloom.schemas.label import Preference
from prefloom.schemas.persona import Persona
from tests.exporting import LEVELS, exported
from tests.helpers import table

SHOTS = 4


@pytest.fixture(name="run")
def _run(every_export: Run) -> Run:
    return every_export


def loaded(folder: Path, split: str, cache: Path) -> pd.DataFrame:
    """As the originals load: unmodified `datasets`, then pandas."""
    from datasets import load_dataset

    frame = load_dataset(str(folder), split=split, cache_dir=str(cache)).to_pandas()
    assert isinstance(frame, pd.DataFrame)
    return frame


def account(run: Run, system: str, part: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run.store.read(f"exports/{system}/accounting-{part:05d}.json"))
    return found


def in_split(run: Run, split: str) -> int:
    splits = table(run, "preferences")["split"]
    return int(splits.str.starts_with(split).sum())


# FSPO -------------------------------------------------------------------------------------------------------------------


def windows(frame: pd.DataFrame, user: str, passes: int) -> list[tuple[Any, list[Any], Any]]:
    """FSPO's walk: rows of a user shuffled, windows of N + 2, of which N are shots, one is the question and one is never used."""
    np.random.seed(0)
    found = []
    for level in frame[user].unique():
        mine = frame[frame[user] == level]
        for _ in range(passes):
            shuffled = mine.sample(frac=1).reset_index(drop=True)
            for start in range(0, len(shuffled) - (SHOTS + 2) + 1, SHOTS + 2):
                rows = [shuffled.iloc[start + i] for i in range(SHOTS + 1)]
                found.append((level, rows[:SHOTS], rows[SHOTS]))
    return found


def expected_windows(frame: pd.DataFrame, user: str, passes: int) -> int:
    return passes * sum(rows // (SHOTS + 2) for rows in Counter(frame[user]).values())


@pytest.mark.parametrize("split", ["train", "test"])
def test_get_roleplay_reads_the_roleplay_layout(run: Run, split: str, tmp_path: Path) -> None:
    frame = loaded(run.folder / "exports/fspo/roleplay", split, tmp_path)
    assert len(frame) == in_split(run, split)
    passes = 2 * (SHOTS + 1) if split == "train" else 1
    found = windows(frame, "level", passes)
    assert len(found) == expected_windows(frame, "level", passes)
    for level, shots, question in found:
        texts = [(row["x"].strip(), row["yw"].strip(), row["yl"].strip()) for row in (*shots, question)]
        assert all(good and bad and good != bad for _, good, bad in texts)
        assert {row["level"] for row in shots} == {level}
        assert set(question["score_persona"]) == {"persona_uuid", "persona_description"}


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_get_review_reads_the_pair_layout(run: Run, split: str, tmp_path: Path) -> None:
    described = {level: f"This user prefers {level} reviews." for level in LEVELS}  # any other level is a KeyError there
    frame = loaded(run.folder / "exports/fspo/pairs", split, tmp_path)
    assert len(frame) == in_split(run, split)
    preferred = {}
    for row in table(run, "preferences").iter_rows(named=True):
        preferred[row["persona_id"], row["comparison_id"]] = row["chosen_id"], row["rejected_id"]
    texts = dict(table(run, "candidates").select("candidate_id", "text").iter_rows())
    for row in frame.to_dict("records"):
        winner, loser = ("x", "y") if row["label"] == 0 else ("y", "x")
        assert row["det_choice"] == row["label"]
        assert described[row["scorer_level"]]
        assert described[row[f"level_{loser}"]]  # what the rejected description of a pair is made of
        chosen, rejected = preferred[row["persona_id"], row["comparison_id"]]
        assert (row[f"response_{winner}"], row[f"response_{loser}"]) == (texts[chosen], texts[rejected])
    assert frame["label"].dtype == frame["scorer_level_id"].dtype == np.int64
    passes = 2 * (SHOTS + 1)
    assert len(windows(frame, "scorer_level", passes)) == expected_windows(frame, "scorer_level", passes)


def test_the_winner_stands_first_in_half_of_the_rows(run: Run) -> None:
    files = run.store.list("exports/fspo/pairs/*/*.parquet")
    for name in files:
        rows = pl.read_parquet(run.store.path(name))
        assert abs(rows["label"].sum() - rows.height / 2) <= 0.5
        each = rows.group_by("persona_id").agg(pl.len(), pl.col("label").sum())
        assert ((each["label"] - each["len"] / 2).abs() <= 0.5).all()
    both = pl.concat(pl.read_parquet(run.store.path(name), columns=["label"]) for name in files)
    assert abs(both["label"].mean() - 0.5) <= 0.02  # type: ignore[operator]


def test_both_tables_of_examples_are_of_the_same_examples(run: Run) -> None:
    sft, ipo = (
        pl.read_parquet(f"{run.folder}/exports/fspo/{name}/*/*.parquet").sort("comparison_id", "persona_id") for name in ("sft", "ipo")
    )
    assert sft.drop("completion").equals(ipo.drop("chosen", "rejected"))
    assert sft["completion"].equals(ipo["chosen"], check_names=False)
    prompts = dict(table(run, "preferences").select("comparison_id", "prompt_id").iter_rows())
    for question, shots in ipo.select("comparison_id", "shots").iter_rows():
        assert len({prompts[name] for name in (question, *shots)}) == SHOTS + 1
    said = [account(run, "fspo", part) for part in range(2)]
    assert sum(split["preferences"] for part in said for split in part.values()) == table(run, "preferences").height
    assert all(split["preferences"] == split["examples"] + sum(split["left_out"].values()) for part in said for split in part.values())
    assert sum(split["examples"] for part in said for split in part.values()) == sft.height


# FedBiscuit -------------------------------------------------------------------------------------------------------------


def selector_dataset(path: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [{key: row[key] for key in ("instruction", "output_A", "output_B", "choice", "category", "domain")} for row in rows]


def clients_of(rows: list[dict[str, Any]], clients: int) -> list[list[dict[str, Any]]]:
    """The meta splitter: categories as pandas numbers them, one client each; with fewer of them than clients it falls back to chance."""
    categories = pd.Categorical([row["category"] for row in rows])
    assert len(categories.categories) == clients, "the loader would split by chance"
    return [[row for row, code in zip(rows, categories.codes, strict=True) if code == client] for client in range(clients)]


def test_the_federated_loader_reads_the_files(run: Run) -> None:
    folder = run.folder / "exports/fedbiscuit"
    files = {half: selector_dataset(folder / f"shp_cmpr_{half}.jsonl") for half in ("train", "val", "test")}
    said = account(run, "fedbiscuit")
    assert {half: len(rows) for half, rows in files.items()} == said["shp_cmpr"]
    everything = table(run, "preferences").height
    assert everything == said["preferences"] == sum(map(len, files.values())) + sum(said["left_out"].values())
    clients = said["clients_in_files"]
    split = {half: clients_of(rows, clients) for half, rows in files.items()}
    for number in range(clients):
        assert len({rows[number][0]["category"] for rows in split.values()}) == 1  # the same persona in each file
        prompts = [{row["instruction"] for row in rows[number]} for rows in split.values()]
        assert len(set.union(*prompts)) == sum(map(len, prompts))
    doubled = [(row["output_A"], row["choice"]) for row in files["train"]]
    doubled += [(row["output_B"], 1 - row["choice"]) for row in files["train"]]  # what the loader adds to train
    assert len(doubled) == 2 * len(files["train"])
    assert {row["choice"] for row in files["train"]} == {0, 1}
    shown = {row["instruction"] for rows in files.values() for row in rows}
    asked = [json.loads(line) for half in files for line in (folder / f"shp_rlhf_{half}.jsonl").read_text().splitlines()]
    assert asked
    assert {row["instruction"] for row in asked}.isdisjoint(shown)
    assert all(set(row) == {"instruction", "category"} for row in asked)


def test_choice_0_means_that_the_first_is_better(run: Run) -> None:
    rows = pl.concat([pl.read_ndjson(path) for path in sorted((run.folder / "exports/fedbiscuit").glob("shp_cmpr_*.jsonl"))])
    texts = table(run, "candidates").select("candidate_id", "text")
    known = table(run, "preferences").join(texts, left_on="chosen_id", right_on="candidate_id")
    told = rows.join(known, left_on=["category", "pair_id"], right_on=["persona_id", "comparison_id"])
    better = told.select(pl.when(pl.col("choice") == 0).then("output_A").otherwise("output_B") == pl.col("text")).to_series()
    assert told.height == rows.height
    assert better.all()


def test_each_client_has_a_folder(run: Run) -> None:
    rows = pl.concat(pl.read_parquet(run.store.path(name)) for name in run.store.list("exports/fedbiscuit/clients/*/*.parquet"))
    assert rows.height == account(run, "fedbiscuit")["rows_in_folders"]
    assert rows.columns == list(ClientPreference.model_fields)
    assert rows["choice"].dtype == pl.Int8
    split = dict(tables.read(run.store, "personas/*.parquet", Persona, ["persona_id", "split"]).iter_rows())
    assert [split[client] != "train" for client in rows["client_id"]] == rows["held_out"].to_list()
    # The two readings are for response_a: on average they say what the label says.
    a = (rows["label_prob_ab"].log() - (1 - rows["label_prob_ab"]).log()) + (
        rows["label_prob_ba"].log() - (1 - rows["label_prob_ba"]).log()
    )
    assert ((a > 0) == (rows["choice"] == 0)).all()


# Neural processes -------------------------------------------------------------------------------------------------------


class PreferenceDataset:
    """As the original: vectors from a folder, choices from a table, joined on idx; a task is a user and some pairs."""

    def __init__(self, folder: Path, csv: Path, split: str) -> None:
        from datasets import load_from_disk

        vectors = load_from_disk(str(folder)).to_pandas().set_index("idx")
        rows = pd.read_csv(csv)
        rows = rows[rows["split"] == split].set_index("idx")
        both = vectors.index.intersection(rows.index)
        self.labels = [column for column in rows.columns if column.startswith("choice_")]
        self.a, self.b = (np.stack(vectors.loc[both, side].to_list()) for side in ("option_a", "option_b"))
        self.rows = rows.loc[both]

    def task(self, label: str, size: int) -> tuple[Any, Any, Any]:
        some = np.random.default_rng(0).choice(len(self.rows), size, replace=False)
        return self.a[some], self.b[some], self.rows[label].to_numpy()[some].astype(np.int64)


@pytest.mark.parametrize("name", ["users", "new_users"])
def test_the_neural_loader_reads_folder_and_table(run: Run, name: str) -> None:
    folder = run.folder / "exports/neural_process"
    said = account(run, "neural_process")
    sets = [
        PreferenceDataset(folder / "embeddings", folder / f"{name}.csv", split)
        for split in ("train", "val", "test")
        if has(folder, name, split)
    ]
    assert sum(len(one.rows) for one in sets) == said["tables"][name]["rows"]
    assert all(len(one.labels) == said["tables"][name]["users"] for one in sets)
    kept = {(row["persona_id"], row["comparison_id"]): row["chosen_id"] for row in table(run, "preferences").iter_rows(named=True)}
    first = dict(tables.read(run.store, "comparisons/*.parquet", Comparison, ["comparison_id", "first_id"]).iter_rows())
    for one in sets:
        assert one.a.dtype == np.float32
        assert one.a.shape == one.b.shape == (len(one.rows), 4)
        a, _, choice = one.task(one.labels[0], min(3, len(one.rows)))
        assert len(a) == len(choice)
        for label in one.labels:
            for comparison, value in zip(one.rows["comparison_id"], one.rows[label], strict=True):
                assert value == int(kept[label.removeprefix("choice_"), comparison] != first[comparison])
    assert said["preferences"] == len(kept) == said["choices"] + sum(said["left_out"].values())


def has(folder: Path, name: str, split: str) -> bool:
    return bool((pd.read_csv(folder / f"{name}.csv")["split"] == split).any())


def test_types_and_rewards_choose_by_scores(tmp_path: Path) -> None:
    people = {"source": "attributes", "count": 12, "types": {"warm": {"warmth": 1}, "both": {"warmth": 1, "brevity": 1}}}
    wanted = {"trl": None, "neural_process": {"users": "types"}}
    run = exported(tmp_path, personas=[people], splits={}, judgements={}, checks={"labels": {"min_margin": 0}}, exports=wanted)
    rows = pd.read_csv(run.folder / "exports/neural_process/users.csv")
    said = account(run, "neural_process")
    assert neural_process(run.store, run.resolved.recipe).problems == []
    assert [column for column in rows.columns if column.startswith("choice_")] == ["choice_both", "choice_warm"]
    assert said["comparisons"] == len(rows) + sum(said["left_out"].values())
    assert ((rows["choice_warm"] != rows["choice_both"]) == rows["is_conflicting"]).all()
    assert ((rows["reward_a_warm"] > rows["reward_b_warm"]) == (rows["choice_warm"] == 0)).all()
    people_of = {row["persona_id"]: row["traits"][0]["value"] for row in table(run, "personas").iter_rows(named=True)}
    column = rows.set_index("comparison_id")
    labels = table(run, "labels").filter(pl.col("margin") != 0)
    said_so = [
        int(margin < 0) == column.loc[about, f"choice_{people_of[who]}"]
        for who, about, margin in labels.select("persona_id", "comparison_id", "margin").iter_rows()
        if about in column.index
    ]
    assert len(said_so) > 100
    assert all(said_so)  # they are free of noise, and each persona is of its type


# PersonalLLM ------------------------------------------------------------------------------------------------------------


def test_personalllm_reads_the_wide_table(run: Run, tmp_path: Path) -> None:
    rewards, said = ["warmth", "brevity"], account(run, "personalllm")
    answers = said["answers"]
    frames = {split: loaded(run.folder / "exports/personalllm", split, tmp_path) for split in ("train", "validation", "test")}
    assert {split: len(frame) for split, frame in frames.items()} == said["rows"]
    assert said["prompts"] == sum(said["rows"].values()) + sum(said["left_out"].values())
    texts = {row["prompt_id"]: row for row in table(run, "prompts").iter_rows(named=True)}
    scores = table(run, "scores").pivot("reward", index="candidate_id", values="score")
    scores = table(run, "candidates").join(scores, on="candidate_id")
    raw = {(row["prompt_id"], row["text"]): (row["warmth"], row["brevity"]) for row in scores.iter_rows(named=True)}
    for split, frame in frames.items():
        assert len(frame.columns) == 3 + answers * (2 + len(rewards))
        assert frame["prompt_id"].dtype == np.int64
        weights = np.array([0.3, 0.7])
        for row in frame.to_dict("records"):
            ours = texts[f"{row['prompt_id'] % 2**64:016x}"]
            assert (row["prompt"], row["subset"], split) == (ours["text"], ours["domain"], ours["split"])
            matrix = np.array([[row[f"response_{i}_{name}"] for name in rewards] for i in range(1, answers + 1)])
            assert not np.isnan(matrix @ weights).any()  # the best of these is what a user there chooses
            for i, (warmth, brevity) in enumerate(matrix.tolist(), 1):
                known = raw[ours["prompt_id"], row[f"response_{i}"]]
                assert (warmth, -brevity) == known  # brevity is a length with its sign turned: more is better
            models = [row[f"response_{i}_model"] for i in range(1, answers + 1)]
            assert models == sorted(models, key=["terse", "friendly", "scholar"].index)


def test_answers_of_which_the_recipe_lists_no_model_and_no_view_stand_by_name() -> None:
    rows = [{"prompt_id": "p", "model": model, "view": None, "sample": 0, "candidate_id": model} for model in ("b", "c", "a")]
    found = numbered(pl.DataFrame(rows, schema_overrides={"view": pl.String}), [], [])
    assert dict(found.select("model", "number").iter_rows()) == {"a": 1, "b": 2, "c": 3}


# All of them ------------------------------------------------------------------------------------------------------------


def test_the_same_recipe_has_the_same_bytes(run: Run, tmp_path: Path) -> None:
    again = exported(tmp_path)
    names = [name for depth in range(1, 5) for name in run.store.list("exports" + "/*" * depth)]
    assert len(names) > 50
    assert [run.store.sha256(name) for name in names] == [again.store.sha256(name) for name in names]
    assert tables.read(again.store, "preferences/*.parquet", Preference).height
