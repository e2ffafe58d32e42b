"""The figures of the realism page, on numbers and sentences whose answer is known."""

import numpy as np
import pytest

from prefloom.flows.dataset.heterogeneity import Estimate
from tests.benchmarks import realism
from tests.benchmarks import realism_figures as f
from tests.benchmarks import realism_page as page
from tests.benchmarks.realism_page import Row

DRAW = np.random.default_rng(0)


def test_variance_is_split_into_prompts_and_answers() -> None:
    between, within = DRAW.normal(size=(3000, 1, 2)), DRAW.normal(size=(3000, 8, 2))
    scores = np.array([2.0, 1.0]) * between + within
    assert f.within_share(scores) == pytest.approx([0.2, 0.5], abs=0.03)
    assert f.within_sd(scores) == pytest.approx([1.0, 1.0], abs=0.03)
    assert f.within_share(within - within.mean(axis=1, keepdims=True)) == pytest.approx([1.0, 1.0]), "never above 1"


def test_correlation_is_within_prompts() -> None:
    prompt, shared, own = DRAW.normal(size=(2000, 1, 1)), DRAW.normal(size=(2000, 4, 1)), DRAW.normal(size=(2000, 4, 1))
    assert f.correlation(9 * prompt + shared, -9 * prompt + shared + own) == pytest.approx([np.sqrt(0.5)], abs=0.03)


def test_participation_counts_directions() -> None:
    scores = DRAW.normal(size=(4000, 4, 5)) + 9 * DRAW.normal(size=(4000, 1, 5))
    covariance = f.covariances(scores).mean(axis=0)
    assert f.participation(covariance) == pytest.approx(5, abs=0.05)
    assert f.participation(np.diag([1.0, 1.0, 0.0])) == 2
    assert f.participation(np.eye(3), np.array([[2.0, 0.0, 0.0], [-1.0, 0.0, 0.0]])) == 1, "people who care for one thing"


def test_gaps_are_of_all_pairs_and_ties_are_half_right() -> None:
    utilities = np.array([[[3.0, 1.0, 0.0]]])
    assert f.gaps(utilities).tolist() == [[[2.0, 3.0, 1.0]]]
    assert f.decided_alike(utilities, np.array([[[3.0, 0.0, 1.0]]])) == pytest.approx(np.array([[2 / 3]]))
    assert f.decided_alike(utilities, np.zeros((1, 1, 3))) == pytest.approx(np.array([[0.5]]))
    assert f.decided_alike(np.array([[[1.0, 1.0, 0.0]]]), np.array([[[2.0, 1.0, 0.0]]])) == pytest.approx(np.array([[1.0]]))


def test_a_regression_finds_what_vectors_tell_and_no_more() -> None:
    vectors = DRAW.normal(size=(300, 8, 12))
    told = vectors @ DRAW.normal(size=(12, 1))
    noise = DRAW.normal(size=(300, 8, 1))
    targets = np.concatenate([told, told + noise * told.std(), noise], axis=2) + 7 * DRAW.normal(size=(300, 1, 3))
    errors, squares = f.explained(targets, f.predict(vectors, targets))
    assert 1 - errors.sum(axis=0) / squares.sum(axis=0) == pytest.approx([1.0, 0.5, 0.0], abs=0.04)


def test_a_regression_never_sees_what_it_is_tried_on() -> None:
    """As many numbers as training answers, all of them noise: seen, they would explain everything."""
    targets = DRAW.normal(size=(20, 4, 2))
    errors, squares = f.explained(targets, f.predict(DRAW.normal(size=(20, 4, 64)), targets))
    assert (1 - errors.sum(axis=0) / squares.sum(axis=0) < 0.1).all()


def test_cosines_are_within_and_across_prompts() -> None:
    vectors = np.array([[[2.0, 0.0], [3.0, 0.0]], [[0.0, 1.0], [1.0, 0.0]]])
    own, others = f.cosines(vectors)
    assert own == pytest.approx([1.0, 0.0])
    assert others == pytest.approx([0.5, 0.5])


def test_repeated_sentences_are_found_below_their_marks() -> None:
    one = "- **Rinse** the rice until it is clear.\n- Short one."
    two = "Now, listen to me for once. Rinse the rice until it is clear."
    assert f.sentences(one) == ["rinse the rice until it is clear."]
    here, elsewhere = f.repeated([[one, two], ["Now, listen to me for once.", "Nothing of the kind is here."]])
    assert here == pytest.approx([2 / 3, 0.0])
    assert elsewhere == pytest.approx([1 / 3, 0.5])


def test_openings_that_refuse_and_equal_texts() -> None:
    said = (
        "I’m sorry, but I can't help with that.",
        "As an AI, I have no taste.",
        "Ice melts at 0 °C.",
        "Rain! " * 40 + "Sorry.",
    )
    assert [f.refuses(text) for text in said] == [True, True, False, False]
    assert f.equal([["a", "b", "a", "c"], ["a", "b", "c", "d"]]).tolist() == [0.5, 0.0]


def around(value: float) -> Estimate:
    return Estimate(value, value - 0.02 * abs(value), value + 0.02 * abs(value))


def test_what_is_far_off_is_said_in_words() -> None:
    easy = Row("reading", [around(0.8), around(0.65), around(0.6)], "points", ("easier", "harder"))
    short = Row("words", [around(40.0), around(90.0), around(100.0)], "ratio", ("longer", "shorter"))
    assert [easy.off(0), easy.off(1)] == [".80 (easier by 20 points)", ""]
    assert [short.off(0), short.off(1)] == ["40 (shorter, 0.4 ×)", ""]
    unsure = Row("reading", [Estimate(0.8, 0.5, 1.0), around(0.6)], "points")
    assert unsure.off(0) == "", "intervals overlap"
    assert Row("quantiles", ["1 / 2", "3 / 4"]).off(0) == ""
    said = page.verdict({"Exact weights": [easy], "Lengths": [short]}, ["- a note"]).splitlines()
    assert said[0].startswith("The society's answers are easier")
    assert said[2] == "- **Exact weights**, reading: real .60; society, shipped prompts .80 (easier by 20 points)."
    assert said[4].startswith("0 of 2 figures are near")
    assert said[6:] == ["- a note", "- **Lengths**, words: real 100; society, shipped prompts 40 (shorter, 0.4 ×)."]
    assert page.verdict({"Exact weights": [unsure]}, []).startswith("By no reader")
    assert "| reading | **.80 (.78 to .82)** | .65 (.64 to .66) | .60 (.59 to .61) |" in page.table([easy])


def test_an_order_that_does_not_hold_is_said_to() -> None:
    first, fall = ("seeds", around(0.8), None), around(0.1)
    assert "**" not in page.orders([first, ("views", around(0.7), fall)])
    unsure = [first, ("views", around(0.8), Estimate(0.0, -0.1, 0.1))]
    assert "**The order does not hold**" in page.orders(unsure)
    assert page.failing(unsure) == ["views (.00 (-.10 to .10) less)"]


def test_real_answers_stand_in_the_order_of_their_models() -> None:
    rows = [{"prompt_id": p, "model": m, "text": f"{p} by {m}"} for p in "ab" for m in ("two", "one")]
    asked, answers = realism.real(
        [*rows, {"prompt_id": "c", "model": "one", "text": "alone"}], [{"prompt_id": p, "text": p} for p in "abc"], 1
    )
    assert sorted(asked) == ["a", "b"]
    assert answers == [[f"{p} by one", f"{p} by two"] for p in asked]


def test_an_opening_keeps_its_lines() -> None:
    text = "# Title\n\n- one  two\n" * 100
    assert realism.opening(text).split() == text.split()[: realism.READ]
    assert text.startswith(realism.opening(text))
    assert realism.opening(" short ") == "short"
