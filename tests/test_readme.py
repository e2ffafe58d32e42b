"""The README's tables of columns are those of the records."""

from pathlib import Path

import pytest

from prefloom.flows.dataset.resolve import resolve
from prefloom.flows.dataset.validate import RECORDS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("table", RECORDS)
def test_every_column_stands_in_the_readme(table: str) -> None:
    section = README.split(f"**`{table}", 1)[1].split("\n**`", 1)[0]
    for field in RECORDS[table].arrow_schema():
        assert f"| `{field.name}` |" in section
        assert field.metadata[b"description"].decode() in section


def test_the_demo_folder_is_named_as_it_is() -> None:
    assert f"data/runs/demo-{resolve('demo').fingerprint}/" in README
