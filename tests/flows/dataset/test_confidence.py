"""Confidence, where it is known beforehand what it should see."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from prefloom.flows.dataset.confidence import Fitted, Floats, Traces, confidence, fit, fit_pieces

LABELS, COMPARISONS = 6000, 100


def judged(pull: float = 0.0, calms: bool = True, seed: int = 1) -> tuple[Traces, Floats]:
    """(traces, true differences) of a judge that likes length by `pull`, and whose tilts shrink as differences grow if it `calms`."""
    dice = np.random.default_rng(seed)
    comparison, truth = dice.integers(0, COMPARISONS, LABELS), dice.normal(0, 2, LABELS)
    longer = dice.normal(0, 1, COMPARISONS)[comparison]
    swing = dice.normal(0, 4, COMPARISONS)[comparison]
    tilt = swing / (1 + np.abs(truth)) if calms else swing * dice.uniform(0, 1, LABELS)
    margin = truth + pull * longer + dice.normal(0, 1, LABELS)
    return Traces(margin, tilt, np.ones(LABELS, np.int64), np.zeros(LABELS), longer, comparison), truth


def kept(traces: Traces, truth: Floats, sure: Floats) -> float:
    """How many of the surest 60 % are right."""
    some = np.argsort(-sure)[: round(0.6 * len(sure))]
    return float(((traces.margin > 0) == (truth > 0))[some].mean())


def test_the_worked_example() -> None:
    one = Traces(*(np.array([value]) for value in (2.0, 1.0)), np.array([1]), np.zeros(1), np.array([0.5]), np.array([0]))
    fitted = Fitted(length=0.8, calm=2.0, signal=0.0, scatter=0.0, swing=np.array([2.0]))
    assert confidence(one, fitted)[0] == 0.5886
    turned = replace(one, margin=-one.margin, longer=-one.longer, tilt=-one.tilt)
    assert confidence(turned, fitted)[0] == 0.5886, "which answer is called a changes nothing"
    assert confidence(replace(one, longer=np.array([3.0])), fitted)[0] < 0, "longer by more than the margin says"
    assert confidence(replace(one, margin=np.zeros(1), longer=np.zeros(1)), fitted)[0] == 0


def test_a_liking_for_length_is_told_from_what_the_judge_reads_for_the_person() -> None:
    traces, truth = judged(pull=2.0)
    fitted = fit(traces)
    assert fitted.length == pytest.approx(2.0, abs=0.3)
    assert fitted.calm == 2.0
    sure = confidence(traces, fitted)
    assert kept(traces, truth, sure) > kept(traces, truth, np.abs(traces.margin)) + 0.03
    assert abs(fit(judged(pull=0.0)[0]).length) < 0.25


def test_people_who_truly_like_length_are_left_in_peace() -> None:
    traces, truth = judged(pull=0.0)
    liked = truth + 2 * traces.longer
    swing = 4 * np.random.default_rng(2).normal(size=COMPARISONS)[traces.comparison]
    own = replace(traces, margin=traces.margin + 2 * traces.longer, tilt=swing / (1 + np.abs(liked)))
    assert abs(fit(own).length) < 0.3


def test_a_judge_without_the_habit_is_ranked_by_its_margins() -> None:
    traces, _ = judged(pull=2.0, calms=False)
    assert (fit(traces).length, fit(traces).calm) == (0.0, 0.0)
    still = replace(traces, tilt=np.zeros(LABELS))
    assert (fit(still).length, fit(still).calm) == (0.0, 0.0)
    assert np.array_equal(confidence(still, fit(still)), np.abs(still.margin).round(4))


def test_labels_of_fewer_readings_are_less_sure() -> None:
    traces, _ = judged(calms=False)
    half = np.arange(LABELS) < LABELS // 2
    mixed = replace(traces, tilt=np.zeros(LABELS), templates=np.where(half, 1, 4), scatter=np.where(half, 0.0, 6.0))
    fitted = fit(mixed)
    assert fitted.scatter == 2.0
    sure, size = confidence(mixed, fitted), np.abs(mixed.margin)
    big = size > 1
    assert (sure / size)[half & big].max() < (sure / size)[~half & big].min()


def test_no_labels_no_fit() -> None:
    nothing = Traces(*(np.zeros(0) for _ in range(2)), np.zeros(0, np.int64), np.zeros(0), np.zeros(0), np.zeros(0, np.int64))
    assert fit(nothing).calm == 0
    assert len(confidence(nothing, fit(nothing))) == 0


@pytest.mark.parametrize("pieces", [1, 4, 97])
def test_a_fit_in_pieces_is_that_of_the_whole(pieces: int, monkeypatch: pytest.MonkeyPatch) -> None:
    traces, _ = judged(pull=2.0)
    monkeypatch.setattr("prefloom.flows.dataset.confidence.MOST", LABELS // 3)
    rows = pl.DataFrame({name: getattr(traces, name) for name in Traces.__dataclass_fields__}).with_row_index("row")
    persona, comparison = pl.format("p{}", pl.col("row") // 60 + 1000), pl.format("c{}", pl.col("row") % 60 + 1000)
    rows = rows.with_columns(persona_id=persona, comparison_id=comparison)
    cut = [rows.filter(pl.col("row") // 60 % pieces == place).reverse() for place in range(pieces)]
    one, other = fit(traces), fit_pieces(lambda: cut, COMPARISONS)
    assert np.array_equal(one.swing, other.swing)
    assert (one.length, one.calm, one.signal, one.scatter) == (other.length, other.calm, other.signal, other.scatter)
    assert one.length
