"""How personas cover their traits, by figures that can be checked by hand."""

import math

import polars as pl
import pytest

from prefloom.flows.dataset import tables
from prefloom.flows.dataset.coverage import coverage, divergences
from prefloom.schemas.label import Rejected
from prefloom.schemas.persona import Persona, Trait
from tests.helpers import resolved


def person(number: int, **traits: str) -> Persona:
    named = [Trait(name=name, value=value) for name, value in traits.items()]
    return Persona(persona_id=f"{number:016x}", description="", traits=named, source="file", source_id=None, split="train")


def left_out(row: Persona, reason: str) -> Rejected:
    return Rejected(stage="personas", kind="check", reason=reason, row_id=row.persona_id, detail="", row=row.model_dump_json())


def rows(target: dict[str, dict[str, float]] | None = None) -> pl.DataFrame:
    kept = [person(n, age="young" if n < 3 else "old", **({"work": "baker"} if n == 0 else {})) for n in range(4)]
    gone = [left_out(person(9, age="middle"), "less_diverse"), left_out(person(10, age="old"), "near_duplicate")]
    gone += [left_out(person(11, age="unborn"), "duplicate")]  # was never in the pool
    settings = {"personas": {"count": 4, "target": target}}
    recipe = resolved(embeddings={"engine": "sentence-transformers"}, diversity=settings).recipe
    return coverage(tables.frame(Persona, kept), tables.frame(Rejected, gone), recipe)


def test_without_a_target_shares_are_held_against_equal_ones() -> None:
    found = rows()
    assert found.columns == ["trait", "value", "pool", "kept", "share", "target"]
    assert found.rows() == [
        ("age", "middle", 1, 0, 0.0, 0.3333),
        ("age", "old", 2, 1, 0.25, 0.3333),
        ("age", "young", 3, 3, 0.75, 0.3333),
        ("work", "baker", 1, 1, 1.0, 1.0),
    ]
    age, work = divergences(found).rows(named=True)
    entropy = -(0.25 * math.log2(0.25) + 0.75 * math.log2(0.75))
    assert (age["trait"], age["covered"], age["values"], age["smallest"]) == ("age", 2, 3, 0)
    assert age["evenness"] == round(entropy / math.log2(3), 4)
    assert age["total_variation"] == pytest.approx(0.75 - 1 / 3, abs=2e-4)
    assert (work["evenness"], work["total_variation"], work["jensen_shannon"]) == (None, 0.0, 0.0)


def test_a_target_is_the_measure_of_its_traits() -> None:
    found = rows({"age": {"young": 0.75, "old": 0.25}})
    assert found.filter(pl.col("trait") == "age")["target"].to_list() == [0.0, 0.25, 0.75]
    assert divergences(found).filter(pl.col("trait") == "age").select("total_variation", "jensen_shannon").rows() == [(0.0, 0.0)]
    opposite = divergences(rows({"age": {"unseen": 1.0}})).row(0, named=True)
    assert (opposite["values"], opposite["total_variation"], opposite["jensen_shannon"]) == (4, 1.0, 1.0)


def test_people_without_traits_have_nothing_to_cover() -> None:
    recipe = resolved().recipe
    found = coverage(tables.frame(Persona, [person(1)]), tables.frame(Rejected, []), recipe)
    assert found.is_empty()
    assert divergences(found).is_empty()
    assert coverage(tables.frame(Persona, []), tables.frame(Rejected, []), recipe).is_empty()
