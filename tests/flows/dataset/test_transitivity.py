"""Circles and residuals, worked by hand."""

import polars as pl
import pytest

from prefloom.flows.dataset.transitivity import COLUMNS, circles, residuals, share

CIRCLE = [("p", "c1", "q", "a", "b", 2.0), ("p", "c2", "q", "b", "c", 1.5), ("p", "c3", "q", "a", "c", -0.4)]
LINE = [("p", "d1", "r", "a", "b", 2.0), ("p", "d2", "r", "b", "c", 1.0), ("p", "d3", "r", "a", "c", 3.0)]


def labels(*rows: tuple[str, str, str, str, str, float]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=COLUMNS, orient="row")


def test_the_weakest_label_of_a_circle_is_named() -> None:
    assert circles(labels(*CIRCLE, *LINE)).rows() == [("p", "c3")]
    assert share(labels(*CIRCLE, *LINE)) == (1, 2)
    turned = [(who, c, q, b, a, -margin) for who, c, q, a, b, margin in CIRCLE]
    assert circles(labels(*turned)).rows() == [("p", "c3")], "which answer is called a changes nothing"


def test_labels_of_other_personas_or_prompts_make_no_circle() -> None:
    assert circles(labels(CIRCLE[0], CIRCLE[1], ("other", *CIRCLE[2][1:]))).is_empty()
    assert circles(labels(CIRCLE[0], CIRCLE[1], ("p", "c3", "other", "a", "c", -0.4))).is_empty()
    assert circles(labels(*CIRCLE[:2], ("p", "c3", "q", "a", "c", 0.0))).is_empty(), "an undecided label closes nothing"


def test_the_residual_is_what_no_ranking_explains() -> None:
    assert residuals(labels(*LINE)).rows() == [("p", 0.0)]
    assert residuals(labels(*CIRCLE)).rows() == [("p", 1.0)]
    mixed = 3 * (3.9**2 / 3) / (6.41 + 14) * 2 / 2
    assert residuals(labels(*CIRCLE, *LINE))["residual"][0] == pytest.approx(mixed, abs=1e-4)
    assert residuals(labels(*CIRCLE[:2])).is_empty(), "two labels close no circuit"
