"""`validate` finds what is wrong with a refinement, and holds later tables to it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from prefloom.flows.dataset import stages
from prefloom.flows.dataset.store import Store
from prefloom.flows.dataset.validate import validate
from prefloom.flows.steps import freshness
from tests.flows.dataset.test_validate import edit, first_row, problems
from tests.helpers import run_stage


@pytest.fixture(scope="module")
def refined(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folder of a finished dataset with refinement. Do not write into it."""
    run = run_stage(
        tmp_path_factory.mktemp("refined"),
        "exports",
        personas=[{"source": "grid", "count": 6}],
        prompts=[{"source": "seeds", "count": 8}],
        refinement={"comparisons": 3},
        shards={"prompts": 1, "personas": 1},
    )
    run.store.create(stages.MANIFEST, freshness.composed(run, freshness.materials(run)) or b"")
    return run.folder


@pytest.fixture
def copied(refined: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(refined, tmp_path / "run"))


def test_an_untouched_dataset_with_refinement_is_valid(refined: Path) -> None:
    assert problems(refined) == {}
    assert "refinements" in [check.name for check in validate(Store(str(refined)))]


def _other(name: str) -> pl.Expr:
    return pl.when(pl.col(name) == "a").then(pl.lit("b")).otherwise(pl.lit("a"))


def _open(column: str, value: pl.Expr) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """Change the first row of a round that the description could not decide."""
    first = (pl.col("verdict") == "cannot_tell") & ((pl.col("verdict") == "cannot_tell").cum_sum() == 1)
    return lambda frame: frame.with_columns(pl.when(first).then(value).otherwise(pl.col(column)).alias(column))


@pytest.mark.parametrize(
    ("change", "check", "words"),
    [
        (first_row("description", pl.lit("Somebody else.")), "refinements", "another description than their history"),
        (_open("sentence", pl.lit("This person likes it.")), "refinements", "another description than their history"),
        (_open("choice", _other("choice")), "refinements", "not the one that was drawn"),
        (_open("source", pl.lit("planted")), "refinements", "another source"),
        (_open("appended", ~pl.col("appended")), "refinements", "word on contradictions"),
        (_open("verdict", pl.col("choice")), "refinements", "do not say what their readings say"),
        (first_row("holds", ~pl.col("holds")), "refinements", "against their margin"),
        (first_row("round", pl.lit(9)), "refinements", "a round that the recipe has not"),
        (first_row("model", pl.lit("terse")), "refinements", "not by the recipe's model"),
        (first_row("comparison_id", pl.lit("0" * 16)), "links", "name nothing in comparisons"),
        (lambda frame: frame.slice(1), "accounting", "refinements"),
        (lambda frame: frame.with_columns(pl.col("round").reverse().over("persona_id")), "refinements", "order of their hashes"),
    ],
)
def test_every_wrong_row_is_found(copied: Path, change: Callable[[pl.DataFrame], pl.DataFrame], check: str, words: str) -> None:
    edit(copied, "refinements", change)
    assert words in " ".join(problems(copied)[check])


def test_exports_are_held_to_the_refined_description(copied: Path) -> None:
    edit(copied, "refinements", lambda frame: frame.with_columns((pl.col("description") + " And more.").alias("description")))
    assert "exports" in problems(copied)
