"""What must hold of the rounds of answers and what people made of them. Computed again from the rows, without the code that made them.

drafts({"drafts": …, "candidates": …, "rejected": …}, recipe)  ->  Check("drafts", "every disagreement follows …", problems=[])
"""

from collections import defaultdict
from itertools import combinations

import polars as pl

from prefloom.flows.dataset.described import read_by_judges
from prefloom.flows.dataset.invariants import TOLERANCE, Check
from prefloom.flows.dataset.invariants_pilot import reread
from prefloom.schemas.agreement import Agreement
from prefloom.schemas.ids import content_id
from prefloom.schemas.recipe import Recipe
from prefloom.schemas.section import portable

_COLUMNS = ["first_ids", "second_ids", "persona_ids", "margins"]


def readers(data: dict[str, pl.DataFrame]) -> pl.Series:
    """Ids of those who may read drafts: people of the training split for whom a judge decides."""
    return read_by_judges(data["personas"]).filter(pl.col("split") == "train")["persona_id"]


def drafts(data: dict[str, pl.DataFrame], recipe: Recipe) -> Check:
    """Rounds follow from what was read, the best one stays, and the answers of the others are among the rejected rows."""
    check = Check("drafts", "disagreements follow from the readings of training people, rounds from the bounds, and the best round stays")
    assert recipe.agreement
    rows, bounds = data["drafts"].sort("prompt_id", "round"), recipe.agreement
    prompts = data["prompts"]["prompt_id"]
    check.expect(rows["prompt_id"].is_in(prompts.implode()).all(), "a round is of no prompt of the dataset")
    check.expect(rows.filter("stays")["prompt_id"].sort().equals(prompts.sort()), "a prompt has no round that stays, or several")
    even = all((rows[name].list.len() == rows["margins"].list.len()).all() for name in _COLUMNS)
    check.expect(even, "a round has another number of readers, pairs or margins than of readings")
    train = readers(data)
    check.expect(rows["persona_ids"].explode().drop_nulls().is_in(train.implode()).all(), "a reader is not of the training split")
    most = rows["persona_ids"].list.n_unique().max()
    check.expect(not isinstance(most, int) or most <= bounds.readers, f"a round has more than {bounds.readers} readers")
    if not check.problems:
        _follow(check, rows, bounds)
        _kept(check, rows, data)
        pairs = rows.filter("stays").explode(_COLUMNS).drop_nulls("margins")
        ids = [content_id("comparison", *pair) for pair in pairs.select("first_ids", "second_ids").iter_rows()]
        read = pairs.select("margins", persona_id="persona_ids", comparison_id=pl.Series(ids, dtype=pl.String))
        if recipe.refinement is None:  # with it, judgements read other descriptions
            reread(check, read, data["judgements"], portable(recipe.judgements.templates[0]), "drafts")
    return check


def _follow(check: Check, rows: pl.DataFrame, bounds: Agreement) -> None:
    """Each round by itself, and each prompt's rounds one after another."""
    found: dict[str, list[tuple[float, int, bool, str]]] = defaultdict(list)
    for row in rows.iter_rows(named=True):
        apart, strength = _measure(row)
        for name, value in (("disagreement", apart), ("strength", strength)):
            same = row[name] is None if value is None else row[name] is not None and abs(row[name] - value) <= TOLERANCE
            check.expect(same, f"round {row['round']} of prompt {row['prompt_id']} has a {name} that does not follow")
        value = row["disagreement"]
        off = 2.0 if value is None else max(bounds.low - value, value - bounds.high, 0.0)
        found[row["prompt_id"]].append((round(off, 4), row["round"], row["stays"], row["action"]))
    for prompt_id, mine in found.items():
        numbers = [number for _, number, _, _ in mine]
        check.expect(numbers == list(range(len(mine))) and len(mine) <= 1 + bounds.rounds, f"prompt {prompt_id} has the rounds {numbers}")
        last = "kept" if mine[-1][0] == 0 else "gave_up"
        actions = [action for *_, action in mine]
        check.expect(actions == ["regenerated"] * (len(mine) - 1) + [last], f"prompt {prompt_id} has the actions {actions}")
        given_up = last == "gave_up" and len(mine) <= bounds.rounds
        check.expect(not given_up and all(off > 0 for off, *_ in mine[:-1]), f"prompt {prompt_id} went on or stopped against the bounds")
        check.expect(min(mine)[2], f"prompt {prompt_id} does not have the round that is nearest to the bounds")


def _measure(row: dict[str, list[object]]) -> tuple[float | None, float | None]:
    """(disagreement, strength) of one round: of every two readers the share of shared pairs on which they differ, then the mean."""
    labels: dict[object, dict[object, bool]] = defaultdict(dict)
    margins = [float(str(margin)) for margin in row["margins"]]
    for first, second, who, margin in zip(row["first_ids"], row["second_ids"], row["persona_ids"], margins, strict=True):
        if margin:
            labels[who][first, second] = margin > 0
    shares = []
    for one, other in combinations(labels.values(), 2):
        if shared := one.keys() & other.keys():
            shares.append(sum(one[pair] != other[pair] for pair in shared) / len(shared))
    strength = sum(map(abs, margins)) / len(margins) if margins else None
    return (sum(shares) / len(shares) if shares else None), strength


def _kept(check: Check, rows: pl.DataFrame, data: dict[str, pl.DataFrame]) -> None:
    """The dataset has the answers of the rounds that stay; those of the others are rejected rows."""
    stay = rows.filter("stays").select("prompt_id", candidate_id="candidate_ids").explode("candidate_id").drop_nulls()
    own = data["candidates"].select("prompt_id", "candidate_id")
    check.expect(stay.sort("candidate_id").equals(own.sort("candidate_id")), "the answers are not those of the rounds that stay")
    gone = data["rejected"].filter((pl.col("stage") == "drafts") & pl.col("row").is_not_null())
    left = rows.filter(~pl.col("stays"))
    wanted = int(left["answers"].sum())
    listed = gone.filter((pl.col("kind") == "check") | (pl.col("reason") == "error")).height
    failed = data["rejected"].filter((pl.col("stage") == "candidates") & (pl.col("kind") == "failure")).height
    check.expect(listed - failed == wanted, f"{listed - failed} rejected rows for {wanted} answers of rounds that do not stay")
    named = gone.filter(pl.col("reason") == "regenerated")["row_id"].sort()
    check.expect(named.equals(left["candidate_ids"].explode().drop_nulls().sort()), "answers of a round that does not stay are not listed")
