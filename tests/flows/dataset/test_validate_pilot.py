"""`validate` finds what is wrong with a pilot, and with comparisons that were not chosen by it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from prefloom.flows.dataset import manifest, stages
from prefloom.flows.dataset.choices import filtered
from prefloom.flows.dataset.statistics import load, weights
from prefloom.flows.dataset.store import Store
from prefloom.flows.dataset.validate import validate
from prefloom.flows.steps import freshness
from tests.flows.dataset.test_validate import edit, first_row, problems
from tests.flows.engines import small_embedder
from tests.helpers import run_stage


@pytest.fixture(scope="module")
def piloted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folder of a finished dataset with a pilot. Do not write into it."""
    model = small_embedder.make(tmp_path_factory.mktemp("small"))
    run = run_stage(
        tmp_path_factory.mktemp("piloted"),
        "exports",
        candidates={"source": "models", "models": ["terse"], "views": ["a list of steps", "flowing prose", None], "samples": 2},
        embeddings={"engine": "sentence-transformers", "model": str(model)},
        pilot={"keep": 4, "floor": -1.0, "personas": 4},
        comparisons={"per_prompt": 2},
    )
    run.store.create(stages.MANIFEST, freshness.composed(run, freshness.materials(run)) or b"")
    return run.folder


@pytest.fixture
def copied(piloted: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(piloted, tmp_path / "run"))


def test_a_dataset_with_a_pilot_is_valid(piloted: Path) -> None:
    assert problems(piloted) == {}
    names = [check.name for check in validate(Store(str(piloted)))]
    assert names[4:9] == ["accounting", "splits", "embeddings", "pilot", "chosen"]
    assert "pilot" in manifest.load(Store(str(piloted))).stages


@pytest.mark.parametrize(
    ("table", "change", "check", "words"),
    [
        ("comparisons", first_row("inclusion", pl.lit(0.5)), "chosen", "another inclusion than the pilot"),
        ("comparisons", first_row("inclusion", pl.lit(0.0)), "chosen", "no chance"),
        ("comparisons", first_row("inclusion", pl.lit(1.5)), "chosen", "no chance"),
        ("comparisons", first_row("disagreement", pl.lit(0.123)), "chosen", "differ from the pilot"),
        ("comparisons", first_row("disagreement", pl.lit(None)), "chosen", "differ from the pilot"),
        ("comparisons", lambda f: f.with_columns(dominated=~pl.col("dominated")), "chosen", "against their gap"),
        ("comparisons", lambda f: f.slice(1), "chosen", "more or fewer comparisons"),
        ("pilot", lambda f: f.slice(1), "pilot", "of the answers that were kept"),
        ("pilot", first_row("distance", pl.col("distance") + 0.01), "pilot", "not that of the vectors"),
        ("pilot", first_row("disagreement", pl.lit(99.0)), "pilot", "a disagreement that does not follow"),
        ("pilot", first_row("strength", pl.lit(99.0)), "pilot", "a strength that does not follow"),
        ("pilot", first_row("strength", pl.lit(None)), "pilot", "a strength is there"),
        ("pilot", first_row("gap", pl.lit(None)), "pilot", "gaps are there"),
        ("pilot", first_row("margins", pl.lit([1.0])), "pilot", "another number of margins"),
        ("pilot", first_row("persona_ids", pl.lit(["ffffffffffffffff"] * 4)), "pilot", "not of the training split"),
        ("pilot", first_row("persona_ids", pl.col("persona_ids").list.gather([0, 1, 2, 0])), "pilot", "twice"),
        ("embeddings", first_row("vector", pl.col("vector").list.head(3)), "embeddings", "differ in length"),
        ("pilot", lambda f: f.with_columns(margins=pl.col("margins").list.eval(-pl.element())), "pilot", "differ from the same ones"),
        ("pilot", lambda f: f.with_columns(biases=pl.col("biases").list.eval(pl.element() * 9)), "pilot", "that does not follow"),
        ("pilot", first_row("persona_ids", pl.concat_list("persona_ids", "persona_ids")), "pilot", "more than 4 readers"),
    ],
)  # fmt: skip
def test_damage_is_found(copied: Path, table: str, change: Callable[[pl.DataFrame], pl.DataFrame], check: str, words: str) -> None:
    edit(copied, table, change)
    found = problems(copied)
    assert any(words in problem for problem in found.get(check, [])), found


def test_a_missing_pilot_is_missed(copied: Path) -> None:
    found = manifest.load(Store(str(copied)))
    del found.stages["pilot"]
    (copied / "manifest.json").write_text(found.model_dump_json())
    assert "the manifest lacks the stages pilot" in problems(copied)["files"]


def test_weights_bring_each_prompt_to_all_its_pairs(piloted: Path) -> None:
    store = Store(str(piloted))
    frame = weights(store)
    assert frame["weight"].n_unique() > 1
    assert load(store).labels["weight"].is_not_null().all()


def test_without_a_pilot_every_weight_is_one(small: Path) -> None:
    assert set(weights(Store(str(small)))["weight"]) == {1.0}
    assert set(load(Store(str(small))).labels["weight"]) == {1.0}


def test_the_pilot_is_counted_in_answers_where_filters_are_shown(piloted: Path) -> None:
    store = Store(str(piloted))
    row = filtered(manifest.load(store))[-1]
    assert (row.stage, row.other) == ("pilot", 0)
    assert row.considered == manifest.load(store).stages["candidates"].kept
    assert row.kept == row.considered - row.reasons["less_diverse"] - row.reasons["below_floor"] < row.considered
