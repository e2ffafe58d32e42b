"""The figures about hostile answers: an attack is one only where delimiters can be copied."""

from pathlib import Path

import numpy as np
import pytest

from prefloom.flows.engines.society import Society
from prefloom.prompts import load
from tests.benchmarks.attacks import ATTACKS
from tests.benchmarks.hostile import cases, figures, fixed, labels
from tests.benchmarks.panel import ask


def test_flips_are_counted_both_ways() -> None:
    before, after = np.array([-1.0, -1.0, 2.0, np.nan, 0.5]), np.array([1.0, -2.0, -1.0, 5.0, 0.7])
    assert figures(before, after) == pytest.approx({"flips to": 0.25, "flips from": 0.25, "shift": (2 - 1 - 3 + 0.2) / 4})


def test_only_fixed_delimiters_can_be_forged(tmp_path: Path) -> None:
    known, engine = cases(1, 3, 2), Society("small")
    assert len(known) == 6
    found = {}
    for template in (load("judge/pairwise"), fixed(tmp_path)):
        plain, forged = labels(known, template, None, lambda asked: ask(engine, asked))
        assert not forged
        for name in ("copied digits", "nested fences", "own hash", "order"):
            after, share = labels(known, template, ATTACKS[name], lambda asked: ask(engine, asked))
            found[template.reference.endswith("fixed.md"), name] = (share, figures(plain, after)["shift"])
    assert {key: share for key, (share, _) in found.items() if share} == {(True, "copied digits"): 1.0, (True, "nested fences"): 1.0}
    assert found[True, "copied digits"][1] > 3 > 1 > found[False, "copied digits"][1]
    assert found[False, "order"][1] > 2, "the judge obeys, delimiters or not: they cannot help that"
