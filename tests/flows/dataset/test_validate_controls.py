"""`validate` finds what is wrong with controls and with what rows say of other people; the report says whether it is personal."""

import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from prefloom.flows.dataset import stages
from prefloom.flows.dataset.store import Store
from prefloom.flows.dataset.validate import validate
from prefloom.flows.report.page import render
from prefloom.flows.steps import freshness
from tests.flows.dataset.test_validate import edit, first_row, problems
from tests.flows.report.test_page import SECTIONS, read
from tests.helpers import run_stage


@pytest.fixture(scope="module")
def controlled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folder of a finished dataset with controls. Do not write into it."""
    run = run_stage(
        tmp_path_factory.mktemp("controlled"),
        "exports",
        prompts=[{"source": "seeds", "count": 6}],
        controls={"least": 20},
        shards={"prompts": 1, "personas": 1},
    )
    run.store.create(stages.MANIFEST, freshness.composed(run, freshness.materials(run)) or b"")
    return run.folder


def test_a_dataset_with_controls_is_valid(controlled: Path) -> None:
    assert problems(controlled) == {}
    assert [check.name for check in validate(Store(str(controlled)))][7:13] == [
        "sources",
        "judgements",
        "controls",
        "labels",
        "confidence",
        "votes",
    ]


Change = Callable[[pl.DataFrame], pl.DataFrame]


def of(kind: pl.Expr, column: str, value: pl.Expr) -> Change:
    return lambda frame: frame.with_columns(pl.when(kind).then(value).otherwise(pl.col(column)).alias(column))


NOBODY = pl.col("read_as") == ""
OTHER = pl.col("read_as") != pl.col("persona_id")


@pytest.mark.parametrize(
    ("table", "change", "check", "words"),
    [
        ("controls", lambda f: f.slice(1), "accounting", "controls"),
        ("controls", of(NOBODY, "log_odds", -pl.col("log_odds") - 1), "votes", "wrong p_generic"),
        ("controls", of(OTHER, "log_odds", pl.col("log_odds") + 1), "controls", "differ from the same reading in judgements"),
        ("controls", of(OTHER, "read_as", pl.lit("f" * 16)), "controls", "description of no persona"),
        ("controls", of(OTHER, "repeat", pl.lit(1)), "controls", "repeat what is no repetition"),
        ("controls", of(NOBODY, "template", pl.lit("judge/pairwise")), "controls", "another template"),
        ("controls", first_row("model", pl.lit("terse")), "controls", "not by the recipe's judge"),
        ("controls", first_row("log_odds", pl.lit(float("nan"))), "controls", "no finite log-odds"),
        ("controls", first_row("comparison_id", pl.lit("f" * 16)), "links", "name nothing in comparisons"),
        ("controls", lambda f: pl.concat([f, f.tail(1)]), "controls", "stands there twice"),
        ("labels", first_row("p_generic", pl.lit(None)), "votes", "wrong p_generic"),
        ("preferences", first_row("p_generic", 1 - pl.col("p_generic")), "votes", "break p_generic"),
        ("preferences", first_row("voters", pl.col("voters") + 1), "votes", "do not tell the votes"),
        ("preferences", first_row("minority_share", pl.lit(0.77)), "votes", "do not tell the votes"),
        ("preferences", first_row("entropy", pl.col("entropy") + 0.1), "votes", "do not tell the votes"),
    ],
)  # fmt: skip
def test_damage_is_found(controlled: Path, tmp_path: Path, table: str, change: Change, check: str, words: str) -> None:
    copied = Path(shutil.copytree(controlled, tmp_path / "run"))
    edit(copied, table, change)
    found = problems(copied)
    assert any(words in problem for problem in found.get(check, [])), found


def test_the_report_asks_whether_it_is_personal(controlled: Path) -> None:
    page = read(render(Store(str(controlled))))
    assert page.sections == SECTIONS
    assert page.found == []
    assert "Is it personal?" in page.text
    assert "from order to order" in page.text
    assert "20 read as if they were somebody else's" in page.text
    assert "sensitivity" in page.text
    assert "nan" not in page.text.lower().split()
