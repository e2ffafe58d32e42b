"""The arithmetic of the similarity tables, on vectors and texts whose answer is known, and that ways of asking differ in what they name."""

import numpy as np
import pytest

from prefloom.flows.diversity.grid import Grid, on_grid
from prefloom.flows.diversity.measure import vendi
from prefloom.prompts.fence import fenced
from tests.benchmarks import similarity as s
from tests.benchmarks import similarity_figures as f

AXES = np.eye(4)


def placed(vectors: object) -> Grid:
    """[prompt, answer, d] on the grid."""
    array = np.asarray(vectors, dtype=np.float64)
    return on_grid(array.reshape(-1, array.shape[2])).reshape(array.shape)


# Two prompts: four answers that have nothing in common, and two pairs of equal ones.
ROWS = placed([AXES, AXES[[0, 0, 1, 1]]])
WAYS = {way.name: way for way in s.WAYS}


def embed(texts: list[str]) -> Grid:
    """How often each letter occurs."""
    return on_grid(np.array([[text.lower().count(letter) for letter in "abcdefghijklmnopqrstuvwxyz"] for text in texts], dtype=np.float64))


def test_cosines_and_vendi_of_known_answers() -> None:
    cosine = f.between(ROWS)
    assert f.alike(cosine) == pytest.approx([0.0, 1 / 3])
    assert f.vendi(cosine) == pytest.approx([4.0, 2.0])
    some = placed(np.random.default_rng(0).normal(size=(5, 8, 16)))
    assert f.vendi(f.between(some)) == pytest.approx([vendi(rows) for rows in some], rel=1e-3), "as the package measures it"


def test_what_is_chosen_by_chance_is_the_mean_of_all_subsets() -> None:
    cosine, worth = f.of_subsets(f.between(ROWS), 2)
    assert cosine.shape == worth.shape == (2, 6)
    assert cosine.mean(axis=1) == pytest.approx([0.0, 1 / 3])
    assert worth.mean(axis=1) == pytest.approx([2.0, (2 * 1 + 4 * 2) / 6])
    assert f.of_subsets(f.between(ROWS), 1)[1] == pytest.approx(np.ones((2, 4)))


def test_near_duplicates_go_and_the_farthest_stay() -> None:
    left = f.not_near(ROWS, 0.97)
    assert left == [[0, 1, 2, 3], [0, 2]]
    assert f.alike(f.between(ROWS), left) == pytest.approx([0.0, 0.0])
    assert f.alike(f.between(ROWS), [[1], [0, 1]]) == pytest.approx([np.nan, 1.0], nan_ok=True)
    rows = placed([[[1, 0], [0.8, 0.6], [0.6, 0.8], [0, 1]]])
    chosen = f.most_different(rows, [[1, 2, 3]], 2)
    assert chosen == [[1, 3]], "places among all answers, not among those that were left"
    assert f.vendi_of(f.between(rows), chosen) == pytest.approx([vendi(rows[0][[1, 3]])], rel=1e-3)


def test_distances_and_gaps_are_per_pair() -> None:
    scores = np.array([[[0.0, 0.0], [3.0, 4.0]]])
    assert f.alike(f.apart(scores)) == pytest.approx([np.sqrt(12.5)])
    utilities = np.array([[[1.0, 3.0, 0.0]], [[0.0, 0.0, 4.0]]])
    assert f.gaps(utilities)[0] == pytest.approx(np.array([[0.0, 1.0, 2.5], [1.0, 0.0, 3.5], [2.5, 3.5, 0.0]]))


def test_distinct_grams() -> None:
    assert f.distinct([["a b c d", "a b c e"], ["a b c d"] * 4, ["x y z", "u v w"], ["", "a"]]) == pytest.approx([0.75, 0.25, 1.0, 0.0])


def test_across_prompts_a_model_is_compared_with_itself_and_with_the_others() -> None:
    rows = placed([[[1, 0], [0, 1]], [[1, 0], [1, 0]], [[1, 0], [0, 1]]])
    own, others = f.across(rows)
    assert own == pytest.approx([1.0, 1 / 3])
    assert others == pytest.approx([1 / 3, 1 / 3])
    assert f.across(placed([[[1, 0], [0, 1]], [[0, 1], [1, 0]]]))[0] == pytest.approx([0.0, 0.0]), "less alike than the others are"


def test_close_prompts_are_looked_at_apart_from_distant_ones() -> None:
    rows = placed([[[1, 0], [0, 1]], [[1, 0], [0, 1]], [[0, 1], [0, 1]]])
    own, others = f.everywhere(rows)
    assert (own[0, 1], others[0, 1]) == pytest.approx((1.0, 0.0))
    assert (own[1, 2], others[1, 2]) == pytest.approx((0.5, 0.5))
    one = s.Answers("two models", [["a", "b"]] * 3, [["x", "y"]] * 3, rows)
    table = s.closeness(one, on_grid(np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]]))).splitlines()[2:]
    assert table[0].startswith("| 0.0 to 0.2 | 2 | .50 | .50 | .00")
    assert table[1].startswith("| 0.6 to 1.0 | 1 | 1.00 | .00 | 1.00")


def test_the_nearest_two_are_not_one_text_twice() -> None:
    rows = on_grid(np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.6, 0.8]]))
    assert s.nearest("texts", rows) == "3 texts: the nearest two at .60, the nearest to the median one at .60."
    assert s.parted(embed).splitlines()[2].endswith(" | ".join(("", *s.PAIRS[0])) + " |")


def test_ways_differ_in_what_they_name_and_in_nothing_else() -> None:
    prompts = [f"What is thing {number}?" for number in range(7)]
    for name, way in WAYS.items():
        plan = s.asked(way, prompts, seed=1)
        assert [len(row) for row in plan] == [s.EACH] * 7
        writers = [{who for who, _ in row} for row in plan]
        assert all(len(some) == (6 if way.ensemble else 1) for some in writers), name
        assert set.union(*writers) == set(s.WRITERS)
        views = [[fenced(request.messages[-1][1]).get("view") for _, request in row] for row in plan]
        assert all(len(set(row)) == (s.EACH if way.steered else 1) for row in views), name
        if way.steered == "personas":
            assert len({view for row in views for view in row}) == 7 * s.EACH, "nobody steers twice"
        assert {request.temperature for row in plan for _, request in row} == {way.temperature}
        assert all(len({request.seed for _, request in row}) == s.EACH for row in plan), name
    single = [[who for who, _ in row] for row in s.asked(WAYS["one writer + views"], prompts, 1)]
    assert single == [[who for who, _ in row] for row in s.asked(WAYS["one writer, T = 0.3"], prompts, 1)], "compared with itself"
    for name, before, after in s.STEPS:
        one, other = s.WAYS[before], s.WAYS[after]
        changed = [one.temperature != other.temperature, one.steered != other.steered, one.ensemble != other.ensemble]
        assert sum(changed) == 1 + name.startswith("both"), name


def test_tables_of_a_society_that_repeats_itself_and_of_one_that_does_not() -> None:
    prompts = ["How do plants make food from light?", "Is Frankenstein still worth reading?", "Why are there time zones?"]
    sets = [s.written(way, prompts, 1, embed) for way in s.WAYS]
    same, best = sets[0], sets[-1]
    who, request = s.asked(s.WAYS[-1], prompts, 1)[1][2]
    assert (best.writers[1][2], best.texts[1][2]) == (who, s.ask(s.Society(who), [request])[0].text), "every answer in its place"
    assert f.alike(same.cosine) == pytest.approx(np.ones(3), abs=1e-3), "at temperature 0 a writer says the same"
    assert same.unrepeated == same.chosen == [[0]] * 3
    assert (f.alike(best.cosine) < 1).all()
    rows = [line.split(" | ") for line in s.levels(sets).splitlines()]
    assert rows[2][0] == "| one writer, T = 0"
    assert rows[2][2:6] == ["1.00 (1.00 to 1.00)", "1.00 (1.00 to 1.00)", "1.00 (1.00 to 1.00)", ".00 (.00 to .00)"]
    assert rows[2][6] == ".12 (.12 to .12)"
    assert rows[-1][1] == ".71 / .73"
    step = s.steps(sets).splitlines()[-1].split(" | ")
    assert step[0] == "| both, to one writer"
    for column, measured in ((1, lambda one: f.alike(one.cosine)), (2, lambda one: f.vendi(one.cosine)), (5, lambda one: f.alike(one.gap))):
        assert step[column].startswith(s.digits(float(np.mean(measured(best) - measured(sets[2]))))), column
    left = s.filters(sets).splitlines()[2].split(" | ")
    assert left[1:5] == ["1.00", "–", "1.00", "–"], "one answer is left, and none to compare it with"
    assert s.thresholds([same]).splitlines()[-1].split(" | ")[1] == ".88", "seven of eight repeat"


def test_a_mean_leaves_out_prompts_without_a_value() -> None:
    assert s.over(np.array([1.0, np.nan, 3.0])).value == 2.0
    assert s.over(np.array([1.0, 2.0, 9.0]), np.median).value == 2.0


def test_real_models_stand_beside_each_other_and_grow_one_by_one() -> None:
    one = s.Answers("two models", [["a b c", "d e f"]] * 3, [["x", "y"]] * 3, ROWS[:1].repeat(3, axis=0)[:, :2])
    assert s.models(one).splitlines()[2] == "| 1 x | – | .00 | .00 | 1.00 | .00 |"
    eight = s.Answers("eight", [["a"] * 8] * 2, [list("abcdefgh")] * 2, placed([np.eye(8)] * 2))
    assert s.growth([eight]).splitlines()[4] == "| 3 | 3.00 (3.00 to 3.00) | .00 (.00 to .00) |"
    first = s.Answers("eight", [["a"] * 8] * 400, [list("abcdefgh")] * 400, placed([np.eye(8)] * 400))
    shares = np.bincount([mine[0] for mine in first.chosen], minlength=8) / 400
    assert shares.max() < 0.25, "no model is always the first to be chosen"
    assert s.favoured(eight).startswith("eight: of the most different 4, in brackets of all: ")
