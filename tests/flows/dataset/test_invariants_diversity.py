"""What a dataset claims of its diversity is held against its vectors."""

from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

from prefloom.flows.dataset import invariants_diversity
from prefloom.flows.dataset.invariants_diversity import diversity
from prefloom.schemas.diversity import Diversity
from tests.flows.engines.word_embedder import install
from tests.helpers import run_stage, table

Data = dict[str, pl.DataFrame]
WANTED: dict[str, Any] = {
    "personas": {"near_duplicate": 0.8, "count": 25},
    "prompts": {"near_duplicate": 0.5, "count": 20},
    "candidates": {"near_duplicate": 0.8},
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Data, Diversity]:
    with pytest.MonkeyPatch.context() as patch:
        install(patch)
        run = run_stage(
            tmp_path_factory.mktemp("run"),
            "embeddings",
            personas=[{"source": "grid", "count": 120}],
            prompts=[{"source": "seeds"}],
            candidates={"source": "models", "models": ["terse", "judge"], "samples": 3},
            embeddings={"engine": "sentence-transformers"},
            diversity=WANTED,
        )
    assert run.resolved.recipe.diversity
    return {
        name: table(run, name) for name in ("personas", "prompts", "candidates", "embeddings", "rejected")
    }, run.resolved.recipe.diversity


def same_vectors(name: str) -> Callable[[Data], Data]:
    """Every row of a table gets the vector of its first."""
    mine = pl.col("table") == name
    return lambda data: (
        data
        | {"embeddings": data["embeddings"].with_columns(pl.when(mine).then(pl.col("vector").filter(mine).first()).otherwise("vector"))}
    )


def edit(name: str, change: Callable[[pl.DataFrame], pl.DataFrame]) -> Callable[[Data], Data]:
    return lambda data: data | {name: change(data[name])}


def stranger(stage: str) -> Callable[[pl.DataFrame], pl.DataFrame]:
    mine = (pl.col("stage") == stage) & (pl.col("reason") == "near_duplicate")
    return lambda frame: frame.with_columns(pl.when(mine).then(pl.lit("f" * 16)).otherwise("duplicate_of").alias("duplicate_of"))


def test_a_dataset_as_it_was_built_holds(built: tuple[Data, Diversity]) -> None:
    data, wanted = built
    reasons = set(data["rejected"].select("stage", "reason").rows())
    assert {(stage, "near_duplicate") for stage in ("personas", "prompts", "candidates")} <= reasons, "or this shows nothing"
    assert diversity(data, wanted).problems == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (same_vectors("personas"), "24 personas are as near to another as 0.8"),
        (same_vectors("prompts"), "19 prompts are as near to another as 0.5"),
        (same_vectors("candidates"), " candidates are as near to another as 0.8"),
        (edit("personas", lambda frame: frame.slice(1)), "24 personas, the recipe says 25"),
        (edit("rejected", stranger("personas")), "near-duplicates among rejected personas repeat nothing that is there"),
        (edit("rejected", stranger("candidates")), "near-duplicates among rejected candidates repeat nothing that is there"),
        (edit("rejected", lambda frame: frame.with_columns(duplicate_of=None)), "near-duplicates among rejected prompts repeat nothing"),
        (
            edit("candidates", lambda frame: frame.with_columns(pl.col("prompt_id").reverse())),
            "rejected candidates answer another prompt than what they repeat",
        ),
    ],
)
def test_what_does_not_hold_is_named(built: tuple[Data, Diversity], change: Callable[[Data], Data], problem: str) -> None:
    data, wanted = built
    found = diversity(change(data), wanted).problems
    assert any(problem in line for line in found), found


def test_a_table_that_was_to_stay_as_it_was(built: tuple[Data, Diversity]) -> None:
    data, wanted = built
    found = diversity(data, wanted.model_copy(update={"personas": None})).problems
    assert found == ["personas were left out without being asked to be diverse"]


def test_pairs_across_blocks_and_by_the_index(built: tuple[Data, Diversity], monkeypatch: pytest.MonkeyPatch) -> None:
    data, wanted = built
    repeated = same_vectors("personas")(data)
    for name, value in (("_BLOCK", 7), ("_ALL_PAIRS", 10)):
        monkeypatch.setattr(invariants_diversity, name, value)
        assert diversity(data, wanted).problems == []
        assert "24 personas are as near to another as 0.8" in diversity(repeated, wanted).problems
