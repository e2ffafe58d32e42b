"""An order is reversed in one file, and there the record and the column agree."""

import polars as pl

from prefloom.schemas.comparison import ORDERS, Comparison, in_order_ab

SHOWN = Comparison(
    comparison_id="c", prompt_id="p", first_id="x", second_id="y", order="ab", length_only=True, inclusion=0.5, persona_ids=["q"]
)


def test_swap_exchanges_the_candidates_and_nothing_else() -> None:
    swapped = SHOWN.swap()
    assert (swapped.first_id, swapped.second_id, swapped.order) == ("y", "x", "ba")
    assert swapped.swap() == SHOWN
    same = {"comparison_id", "prompt_id", "length_only", "inclusion", "persona_ids"}
    assert swapped.model_dump(include=same) == SHOWN.model_dump(include=same)


def test_the_expression_does_to_a_column_what_swap_does_to_a_row() -> None:
    utility = {"x": 0.75, "y": -0.5}
    rows = [(shown.order, utility[shown.first_id] - utility[shown.second_id]) for shown in (SHOWN, SHOWN.swap())]
    frame = pl.DataFrame(rows, schema=["order", "log_odds"], orient="row")
    assert frame.select(in_order_ab())["log_odds"].to_list() == [1.25, 1.25]
    assert ORDERS == ("ab", "ba")
