"""What the documents say of tables, recipes and the demo is what the code says."""

from pathlib import Path

import pytest

from prefloom.flows.dataset import reference
from prefloom.flows.dataset.resolve import resolve

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("page", ["tables", "recipe"])
def test_the_reference_pages_are_those_of_the_code(page: str) -> None:
    assert (ROOT / "docs" / f"{page}.md").read_text() == getattr(reference, page)(), "run `make docs`"


def test_the_demo_folder_is_named_as_it_is() -> None:
    for document in ("README.md", "docs/tutorial.md"):
        assert f"data/runs/demo-{resolve('demo').fingerprint}" in (ROOT / document).read_text()
