"""The share of comparisons on which types disagree comes out as it was asked for, whatever the answers are like."""

import numpy as np
import pytest

from prefloom.flows.dataset.standards import STEP, Standardised
from prefloom.flows.steps.conflicts import allot, chosen_pairs, kinds
from prefloom.schemas.ensembles import AttributePersonas
from prefloom.schemas.ids import content_id


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.75, 0.9, 1.0])
@pytest.mark.parametrize("kind", ["plenty", "few", "many", "none"])
def test_the_share_is_met_to_within_one_comparison(share: float, kind: str) -> None:
    draw = np.random.default_rng(4)
    conflicting = {"plenty": 3 + draw.integers(0, 4, 97), "few": draw.integers(0, 2, 97), "many": 4 + draw.integers(0, 3, 97)}.get(kind)
    conflicting = np.zeros(97, dtype=np.int64) if conflicting is None else conflicting
    agreeing = draw.integers(0, 2, 97) if kind == "many" else 3 + draw.integers(0, 3, 97)
    mine, others = allot(conflicting, agreeing, 3, share, draw.permutation(97))
    assert (mine >= 0).all()
    assert (mine <= conflicting).all()
    assert (others >= 0).all()
    assert (others <= agreeing).all()
    assert (mine + others <= 3).all()
    total = int((mine + others).sum())
    assert abs(mine.sum() - share * total) <= 1
    if kind == "plenty":
        assert total == 3 * 97  # nothing is given up where nothing has to be
        assert set(mine.tolist()) <= {int(np.floor(3 * share)), int(np.ceil(3 * share))}  # and it is spread evenly
    if kind == "none":
        assert total == (0 if share == 1 else 0 if share > 0 else 3 * 97)


def test_pairs_of_the_right_kind_are_chosen_and_ties_are_not() -> None:
    draw = np.random.default_rng(3)
    answers = {content_id("prompt", str(p)): sorted(content_id("answer", str(p), a) for a in range(5)) for p in range(60)}
    ids = sorted(name for some in answers.values() for name in some)
    steps = draw.integers(-2, 3, (len(ids), 2)) / STEP  # whole numbers, as ratings are: many ties
    scores = Standardised(["honest", "useful"], ids, np.rint(steps), np.ones((len(ids), 2), dtype=np.bool_))
    source = AttributePersonas.model_validate(
        {"source": "attributes", "count": 2, "types": {"h": {"honest": 1.0}, "u": {"useful": 1.0}}, "conflict": 0.6}
    )
    chosen = chosen_pairs(kinds(answers, source, scores), source, 3, seed=1)
    place = {name: row for row, name in enumerate(ids)}
    gaps = np.array([scores.steps[place[a]] - scores.steps[place[b]] for pairs in chosen.values() for a, b in pairs])
    assert (gaps != 0).all()
    assert len(gaps) > 100
    clash = (np.sign(gaps[:, 0]) != np.sign(gaps[:, 1])).mean()
    assert clash == pytest.approx(0.6, abs=0.005)
    assert all(0 < chance <= 1 for pairs in chosen.values() for chance in pairs.values())
    assert chosen == chosen_pairs(kinds(answers, source, scores), source, 3, seed=1)
    assert chosen != chosen_pairs(kinds(answers, source, scores), source, 3, seed=2)
