"""What two datasets have in common, counted by hand."""

import shutil
from pathlib import Path

import polars as pl
import pytest

from prefloom.flows.dataset import diff as module
from prefloom.flows.dataset import tables
from prefloom.flows.dataset.diff import changes, diff
from prefloom.flows.dataset.diff_text import text
from prefloom.flows.dataset.store import Store
from prefloom.schemas.label import Label


def test_the_same_dataset_differs_in_nothing(small: Path) -> None:
    found = diff(Store(str(small)), Store(str(small)))
    assert found["labels"]["turned"] == found["labels"]["moved"] == 0
    assert found["labels"]["shared"] == found["labels"]["old"]
    assert found["recipe"] == found["population"] == found["groups"] == found["diversity"] == []


@pytest.mark.parametrize("part", [100, 10**6])
def test_turned_labels_are_counted(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: int) -> None:
    monkeypatch.setattr(module, "PART", part)  # however many parts the labels are read in
    shutil.copytree(small, tmp_path / "new")
    new, name = Store(str(tmp_path / "new")), "labels/part-00000.parquet"
    rows = tables.read(new, name, Label)
    assert rows["margin"][:7].abs().min()
    place = pl.int_range(pl.len())
    margin = pl.when(place < 5).then(-pl.col("margin")).when(place < 7).then(2 * pl.col("margin")).otherwise("margin")
    tables.write(new, name, Label, rows.with_columns(margin).head(rows.height - 3))
    found = diff(Store(str(small)), new)
    labels = found["labels"]
    assert (labels["turned"], labels["moved"], labels["old"] - labels["shared"], labels["new"] - labels["shared"]) == (5, 7, 3, 0)
    far = (2 * rows["margin"][:5].abs().sum() + rows["margin"][5:7].abs().sum()) / labels["shared"]
    assert labels["distance"] == pytest.approx(far, abs=1e-9)
    assert sum(group["turned"] for group in found["groups"] if group["trait"] == "age") == 5
    assert f"{labels['shared']:,} labels in both: 5 turned" in text(found)


def test_changed_keys() -> None:
    assert changes({"a": {"b": 1, "c": [1, 2]}, "d": 1}, {"a": {"b": 2, "c": [1, 3]}, "e": None}) == [
        {"key": "a.b", "old": 1, "new": 2},
        {"key": "a.c.1", "old": 2, "new": 3},
        {"key": "d", "old": 1, "new": None},
    ]
