"""What must hold of control readings, and of what labels and preferences say of other people. Computed again from the rows.

controls({"controls": …, "judgements": …, …}, recipe)  ->  Check("controls", "each was asked for …", problems=[])
votes({"labels": …, "preferences": …, …}, recipe)      ->  Check("votes", "what preferences say of all voters …", problems=[])
"""

import math

import numpy as np
import polars as pl

from prefloom.flows.dataset.invariants import READING, TOLERANCE, Check
from prefloom.flows.dataset.uses import GENERIC
from prefloom.schemas.comparison import in_order_ab
from prefloom.schemas.recipe import Recipe
from prefloom.schemas.section import portable

_NOBODY = (pl.col("persona_id") == "") & (pl.col("read_as") == "")
_OWN = (pl.col("persona_id") == pl.col("read_as")) & ~_NOBODY


def considered(data: dict[str, pl.DataFrame], recipe: Recipe) -> int:
    """How many control readings the recipe asks for."""
    if (settings := recipe.controls) is None:
        return 0
    judged = data["personas"].filter(pl.col("kind") == "judge")["persona_id"]
    asked = data["comparisons"]["persona_ids"].explode().drop_nulls()
    asked = asked.filter(asked.is_in(judged.implode()))
    shuffled = settings.count(settings.shuffled, len(asked)) if asked.n_unique() > 1 else 0  # else there is nobody to be read as
    pairs = settings.count(settings.repeats, len(asked)) + shuffled
    return 2 * settings.generic * data["comparisons"].height + 2 * len(recipe.judgements.templates) * pairs


def controls(data: dict[str, pl.DataFrame], recipe: Recipe) -> Check:
    """Every control reading is one that was asked, and none is of the persona's own first reading."""
    check = Check("controls", "each was asked for: of nobody, of the same persona once more, or of another; all by the recipe's judge")
    frame = data["controls"]
    templates, people = (
        [portable(name) for name in recipe.judgements.templates],
        data["personas"].filter(pl.col("kind") == "judge")["persona_id"].to_list(),
    )
    fits = pl.when(_NOBODY).then(pl.col("template") == GENERIC).otherwise(pl.col("template").is_in(templates))
    broken = {
        "controls are not by the recipe's judge": pl.col("model") != recipe.judgements.model,
        "controls are from another template": ~fits,
        "controls have no finite log-odds": ~pl.col("log_odds").is_finite(),
        "controls have a mass that is no probability": ~pl.col("mass").is_between(0, 1 + TOLERANCE),
        "controls repeat what is no repetition, or do not": pl.col("repeat") != _OWN.cast(pl.Int64),
        "controls show the description of no persona": ~_NOBODY & ~pl.col("read_as").is_in(people),
    }
    check.refuse(frame, broken)
    check.expect(not frame.select(*READING, "read_as", "order", "template", "repeat").is_duplicated().any(), "a control stands there twice")
    asked = data["comparisons"].select("comparison_id", pl.col("persona_ids").alias("persona_id")).explode("persona_id")
    named = frame.filter(~_NOBODY)
    check.expect(named.join(asked, on=READING, how="anti").is_empty(), "controls of personas that were not asked")
    moved = named.filter(~_OWN)
    several = moved.group_by(READING).agg(pl.col("read_as").n_unique().alias("n")).filter(pl.col("n") > 1).height
    check.expect(several == 0, f"{several} comparisons were read for a persona under several others' descriptions")
    same = moved.join(
        data["judgements"].filter(pl.col("repeat") == 0),
        left_on=["read_as", "comparison_id", "order", "template"],
        right_on=["persona_id", "comparison_id", "order", "template"],
        suffix="_there",
    )
    away = {"controls differ from the same reading in judgements": pl.col("log_odds") != pl.col("log_odds_there")}
    check.refuse(same, away)
    return check


def votes(data: dict[str, pl.DataFrame], recipe: Recipe, said: pl.DataFrame) -> Check:
    """What a label says of people in general, and a preference of all voters; `said` are the `counts` of all labels."""
    check = Check("votes", "p_generic is that of the readings for nobody; voters, minority share and entropy are those of all labels")
    x, y = (pl.col("for_a").filter(pl.col("order") == order).first() for order in ("ab", "ba"))
    general = (
        data["controls"]
        .filter(_NOBODY)
        .with_columns(in_order_ab().alias("for_a"))
        .group_by("comparison_id")
        .agg((1 / (1 + (-(x + y) / 2).exp())).alias("due"))
    )
    labels = data["labels"].join(general, on="comparison_id", how="left")
    unlike = (pl.col("p_generic").is_null() != pl.col("due").is_null()) | (
        (pl.col("p_generic") - pl.col("due")).abs() > TOLERANCE
    ).fill_null(value=False)
    check.refuse(labels, {"labels have a wrong p_generic": unlike})
    check.expect(recipe.controls is not None or data["controls"].is_empty(), "there are control readings that the recipe does not ask for")
    tallied = {name: [for_a, against, ties] for name, for_a, against, ties in said.iter_rows()}
    said_of = data["preferences"].group_by(_SAID).len()  # all preferences of a comparison should say the same
    wrong = sum(count for name, *votes, count in said_of.iter_rows() if not _tallies(tallied.get(name, [0, 0, 0]), *votes))
    check.expect(wrong == 0, f"{wrong} preferences do not tell the votes of their comparison")
    first = pl.col("chosen_id") == pl.col("candidate_a")
    there = data["labels"].select(*READING, "candidate_a", pl.col("p_generic").alias("p_label"))
    due = pl.when(first).then("p_label").otherwise(1 - pl.col("p_label"))
    turned = (pl.col("p_generic").is_null() != due.is_null()) | ((pl.col("p_generic") - due).abs() > TOLERANCE).fill_null(value=False)
    check.refuse(data["preferences"].join(there, on=READING, how="left"), {"preferences break p_generic": turned})
    return check


_SAID = ["comparison_id", "voters", "minority_share", "entropy"]


def counts(labels: pl.DataFrame) -> pl.DataFrame:
    """Per comparison how many labels are for a, against it, and for neither."""
    sides = [
        (pl.col("margin") > 0).sum().alias("for_a"),
        (pl.col("margin") < 0).sum().alias("against"),
        (pl.col("margin") == 0).sum().alias("ties"),
    ]
    return labels.group_by("comparison_id").agg(sides)


def _tallies(counts: list[int], voters: int, minority: float, entropy: float) -> bool:
    """Whether the figures are those of so many votes for a, against it, and for neither."""
    for_a, against, ties = counts
    if not voters or voters != for_a + against + ties:
        return False
    shares = np.array([for_a + ties / 2, against + ties / 2]) / voters
    due = -math.fsum(float(share) * math.log(share) for share in shares if share)
    return bool(abs(shares.min() - minority) <= TOLERANCE and abs(due - entropy) <= TOLERANCE)
