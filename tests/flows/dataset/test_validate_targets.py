"""`validate` finds rounds that do not close, and people who were asked what no round asks them."""

import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from prefloom.flows.dataset import stages
from prefloom.flows.dataset.store import Store
from prefloom.flows.report.page import render
from prefloom.flows.steps import freshness
from tests.flows.dataset.test_validate import edit, first_row, problems
from tests.flows.steps.test_targets import CHANGES
from tests.helpers import make, run_rounds


@pytest.fixture(scope="module")
def finished_rounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folder of a dataset with a target that not every group could meet. Do not write into it."""
    target = {"preferences": 60, "group": "age", "budget": 100, "splits": ["train", "validation"]}
    run = run_rounds(tmp_path_factory.mktemp("rounds"), **CHANGES, target=target)
    make(run, "exports")
    run.store.create(stages.MANIFEST, freshness.composed(run, freshness.materials(run)) or b"")
    return run.folder


@pytest.fixture
def copied(finished_rounds: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished_rounds, tmp_path / "run"))


def test_a_dataset_with_a_target_is_valid_and_says_what_came_of_it(finished_rounds: Path) -> None:
    assert problems(finished_rounds) == {}
    page = render(Store(str(finished_rounds)))
    assert '<section id="targets">' in page
    assert "groups lack some of their 60 preferences" in page
    assert "the budget of 100 is spent (raise target.budget)" in page


@pytest.mark.parametrize(
    ("part", "table", "change", "words"),
    [
        ("part-00000", "targets", first_row("kept", pl.lit(3)), "know of rounds before it"),
        ("part-00000", "targets", lambda f: f.with_columns(group=pl.lit("x") + pl.col("group")), "other groups"),
        ("part-00000", "targets", lambda f: f.with_columns(round=pl.lit(3)), "rounds [2, 3] of 6"),
        ("part-00001", "targets", first_row("kept", pl.col("kept") + 1), "do not close"),
        ("part-00001", "targets", first_row("quota", pl.lit(5000)), "beyond the budget"),
        ("part-00001", "targets", first_row("quota", pl.col("quota") - 1), "another number of labels"),
        ("part-00001", "targets", first_row("quota", pl.lit(0)), "take something back"),
        ("part-00001", "targets", first_row("turns", pl.col("turns") + 1), "not asked about a comparison that the last round asks"),
        ("part-00001", "targets", first_row("more", pl.col("more") - 1), "beyond their place"),
        ("part-0000", "comparisons", lambda f: f.with_columns(pl.col("persona_ids").list.tail(-1)), "not asked about a comparison"),
    ],
)
def test_rounds_that_were_tampered_with(
    copied: Path, part: str, table: str, change: Callable[[pl.DataFrame], pl.DataFrame], words: str
) -> None:
    edit(copied, table, change, part)
    assert words in " ".join(problems(copied).get("targets", []))
