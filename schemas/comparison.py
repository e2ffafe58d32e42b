"""A comparison: two candidates of one prompt in a stated order. This file is the only place where an order is reversed.

    Comparison(comparison_id="c1", prompt_id="p1", first_id="x", second_id="y", order="ab", …).swap()
    -> first_id="y", second_id="x", order="ba"; the same comparison_id

`order` is "ab" when the candidate with the smaller id is shown first. On disk every comparison stands in order "ab".
"""

from typing import Literal, Self

import polars as pl
from pydantic import Field

from prefloom.schemas.record import Record

Order = Literal["ab", "ba"]
ORDERS: tuple[Order, Order] = ("ab", "ba")


class Comparison(Record):
    """Two candidates of one prompt, and who is asked about them."""

    comparison_id: str = Field(description="Content id of the unordered pair of candidates")
    prompt_id: str = Field(description="The prompt both candidates answer")
    first_id: str = Field(description="Candidate shown first")
    second_id: str = Field(description="Candidate shown second")
    order: Order = Field(description="'ab' if the candidate with the smaller id is shown first, else 'ba'")
    length_only: bool = Field(description="One answer begins with the whole of the other, so only length differs")
    inclusion: float = Field(description="Probability with which it was chosen among its prompt's pairs; 1 / inclusion is its weight")
    dominated: bool | None = Field(
        default=None, description="The judge finds the answers far apart in general quality; null without a pilot that asked"
    )
    disagreement: float | None = Field(default=None, description="Variance of people's log-odds about it, by the pilot; null without one")
    persona_ids: list[str] = Field(description="Personas that are asked about this comparison")

    def swap(self) -> Self:
        """The same comparison with the other candidate shown first."""
        order: Order = "ba" if self.order == "ab" else "ab"
        return self.model_copy(update={"first_id": self.second_id, "second_id": self.first_id, "order": order})


def in_order_ab(log_odds: str = "log_odds", order: str = "order") -> pl.Expr:
    """`Comparison.swap` for a column: log-odds of the candidate shown first -> log-odds of the first candidate in order 'ab'."""
    return pl.when(pl.col(order) == "ab").then(pl.col(log_odds)).otherwise(-pl.col(log_odds))
