"""Of many labels those of some personas are held against the truth."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from prefloom.flows.steps import audit


@pytest.mark.parametrize(("most", "expected"), [(100, [True] * 4), (5, [False, True, False, True]), (0, [False, False, False, True])])
def test_personas_with_the_lowest_ids_are_looked_at(most: int, expected: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "MOST_LABELS", most)
    evidence: Any = SimpleNamespace(names=SimpleNamespace(personas=["d", "b", "c", "a"]), persona=np.array([0, 1, 1, 2, 2, 3, 3, 3]))
    assert audit.some_people(evidence).tolist() == expected
