"""The selector that was told the truth: what it can learn, and from whom."""

import numpy as np
import pytest

from prefloom.flows.steps.audit_selector import features, raw_orders, reference, selection, surest

DICE = np.random.default_rng(3)
LABELS = 3000
PERSONA, PROMPT = np.arange(LABELS) % 30, np.arange(LABELS) // 30
TARGET = DICE.normal(0, 1, LABELS)
LONGER = DICE.normal(0, 1, LABELS)
READS = (TARGET + 1.5 * LONGER + DICE.normal(0, 0.5, LABELS))[:, None, None] + np.array([[[0.7, -0.7]]])
RIGHT = (np.sign(READS.mean(axis=(1, 2))) == np.sign(TARGET)).astype(float)


def test_it_learns_what_no_reading_says() -> None:
    traits = features(READS, LONGER, PROMPT, PERSONA)
    sure = reference(traits, RIGHT, PERSONA)
    margin = READS.mean(axis=(1, 2))
    assert sure is not None
    found = selection(np.abs(margin), margin, sure, RIGHT, PROMPT)
    at = {row["rule"]: row["at"]["0.6"] for row in found["rows"]}
    assert at["reference"] > at["margin"] + 0.05
    assert at["confidence"] == at["margin"] > found["random"]["value"]
    assert found["closed"] == pytest.approx((at["confidence"] - RIGHT.mean()) / (at["reference"] - RIGHT.mean()))
    assert found["rows"][0]["kept"]["of"] == LABELS * 0.6


def test_a_persona_is_never_ranked_by_its_own_truth() -> None:
    traits = features(READS, LONGER, PROMPT, PERSONA)
    turned = np.where(PERSONA == 7, 1 - RIGHT, RIGHT)
    one, other = reference(traits, RIGHT, PERSONA), reference(traits, turned, PERSONA)
    assert one is not None
    assert other is not None
    mine = PERSONA % 5 == 7 % 5  # the fifth of the personas that is ranked together
    assert np.allclose(one[mine], other[mine])
    assert not np.allclose(one[~mine], other[~mine])


def test_with_few_labels_or_personas_there_is_none() -> None:
    traits = features(READS, LONGER, PROMPT, PERSONA)
    assert reference(traits[:100], RIGHT[:100], PERSONA[:100]) is None
    assert reference(traits, RIGHT, PERSONA % 4) is None
    found = selection(READS[:, 0, 0], READS[:, 0, 0], None, RIGHT, PROMPT)
    assert (found["closed"], len(found["rows"])) == (None, 2)


def test_which_answer_is_called_a_changes_no_feature() -> None:
    turned = -READS[:, :, ::-1]
    ours, theirs = features(READS, LONGER, PROMPT, PERSONA), features(turned, -LONGER, PROMPT, PERSONA)
    assert np.allclose(ours, theirs)


def test_the_raw_gate_keeps_what_both_orders_name() -> None:
    reads = np.array([[[2.0, 1.0]], [[2.0, -1.0]], [[-1.0, -1.0]], [[np.nan, 1.0]]])
    found = raw_orders(reads, np.array([1.0, 1.0, 0.0, 1.0]))
    assert found["kept"] == pytest.approx(0.75), "a label without a whole template does not exist; its readings say nothing against it"
    assert found["accuracy"] == pytest.approx(2 / 3)


def test_as_many_are_kept_as_were_asked_for() -> None:
    assert surest(np.array([1.0, 3.0, 3.0, 2.0]), 0.5).tolist() == [False, True, True, False]
