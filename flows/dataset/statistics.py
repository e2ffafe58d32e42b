"""What the labels of a dataset say, in numbers: how sure they are, what order and length do to them, which answers win for whom.

    data = load(Store("data/runs/demo-3b9c…"))
    longer_wins(data)          ->  Share(value=0.53, low=0.52, high=0.55, of=38901)
    templates(data)            ->  one row per template: readings, first_wins, mean_bias, consistency, mass
    win_rates(data, answers)   ->  one row per persona and kind of answer: wins, games

All of it is about labels, which no check has touched; where only kept labels are meant it says "preferences". Intervals are 95 %, from 400
resamples of whole prompts, because two labels on one prompt are not two independent observations. Of a dataset with more labels than
MOST_LABELS it is about all labels of some personas: those with the lowest ids, which are hashes.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from prefloom.flows.dataset import tables
from prefloom.flows.dataset.described import appended
from prefloom.flows.dataset.store import Store
from prefloom.schemas.candidate import Candidate
from prefloom.schemas.comparison import Comparison, in_order_ab
from prefloom.schemas.label import Judgement, Label, Rejected
from prefloom.schemas.persona import Persona
from prefloom.schemas.pilot import PilotPair
from prefloom.schemas.prompt import Prompt

RESAMPLES = 400
MOST_LABELS = 100_000  # that are held at a time, with their judgements
SEPARATOR = " · "  # between the model and the view in the name of a kind of answer
_READING = ["persona_id", "comparison_id", "prompt_id", "order", "template", "repeat", "log_odds", "mass"]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Dataset:
    """The tables of a dataset that its statistics need."""

    personas: pl.DataFrame
    prompts: pl.DataFrame
    candidates: pl.DataFrame
    judgements: pl.DataFrame
    labels: pl.DataFrame
    appended: pl.DataFrame  # persona_id and what refinement added to its description
    of: int = 0  # labels that there are in all


def load(store: Store) -> Dataset:
    """Read the tables. `labels` gets three columns: `reason` (null if kept), `winner` (null if the margin is 0) and `weight`."""
    counts = _label_counts(store)
    mine = pl.col("persona_id").is_in(_some(counts).implode())
    labels = tables.read_where(store, "labels/part-*.parquet", Label, list(Label.model_fields), mine)
    columns = ["reason", "row_id", "persona_id"]
    rejected = tables.read_where(store, "rejected/preferences-*.parquet", Rejected, columns, mine)
    reasons = rejected.select("persona_id", pl.col("row_id").alias("comparison_id"), "reason")
    margin = pl.col("margin")
    winner = pl.when(margin > 0).then("candidate_a").when(margin < 0).then("candidate_b")
    return Dataset(
        personas=tables.read(store, "personas/part-*.parquet", Persona),
        prompts=tables.read(store, "prompts/part-*.parquet", Prompt),
        candidates=tables.read(store, "candidates/part-*.parquet", Candidate),
        judgements=tables.read_where(store, "judgements/part-*.parquet", Judgement, _READING, mine),
        labels=labels.join(reasons, on=["persona_id", "comparison_id"], how="left")
        .join(weights(store), on="comparison_id", how="left")
        .with_columns(winner.alias("winner")),
        appended=appended(store),
        of=int(counts["len"].sum()),
    )


def _label_counts(store: Store) -> pl.DataFrame:
    """persona_id -> `len`, its number of labels, by id."""
    parts = [tables.read(store, name, Label, ["persona_id"]) for name in store.list("labels/part-*.parquet")]
    each = [part.group_by("persona_id").len() for part in parts or [tables.read(store, "labels/part-*.parquet", Label, ["persona_id"])]]
    return pl.concat(each).group_by("persona_id").agg(pl.col("len").sum()).sort("persona_id")


def _some(counts: pl.DataFrame) -> pl.Series:
    """Ids of as many personas as may be held; of one at least."""
    within = counts.filter(pl.col("len").cum_sum() <= MOST_LABELS)
    return (within if within.height else counts.head(1))["persona_id"]


def weights(store: Store) -> pl.DataFrame:
    """comparison_id -> `weight`: for how many pairs of its prompt it stands, beside what it would be if pairs were chosen by chance.

    1 without a pilot. With one, informative pairs are chosen more often than others; weights bring figures about the population back to
    what they would be over all pairs of the answers that the pilot kept (Horvitz and Thompson 1952).
    """
    rows = tables.read(store, "comparisons/part-*.parquet", Comparison, ["comparison_id", "prompt_id", "inclusion"])
    pairs = tables.read(store, "pilot/part-*.parquet", PilotPair, ["prompt_id"]).group_by("prompt_id").len("pairs")
    if not pairs.height:
        return rows.select("comparison_id", pl.lit(1.0).alias("weight"))
    mean = pl.len().over("prompt_id") / pl.col("pairs")
    return rows.join(pairs, on="prompt_id").select("comparison_id", (mean / pl.col("inclusion")).alias("weight"))


@dataclass(frozen=True)
class Share:
    """A share with its 95 % interval; nan where there is nothing to count."""

    value: float
    low: float
    high: float
    of: int


def share(frame: pl.DataFrame, hit: pl.Expr, by: str = "prompt_id") -> Share:
    """Share of the rows of `frame` for which `hit` (a bool, or a number between 0 and 1) holds, resampled over `by`."""
    sums = frame.group_by(by).agg(hit.cast(pl.Float64).sum().alias("hits"), pl.len().alias("of")).sort(by)
    hits, of = sums["hits"].to_numpy(), sums["of"].to_numpy()
    return ratio(hits, of)


def ratio(hits: Floats, of: Floats) -> Share:
    """sum(hits) / sum(of) over units, each of shape (units,), with an interval from resampling units."""
    if not of.sum():
        return Share(float("nan"), float("nan"), float("nan"), 0)
    picks = np.random.default_rng(0).integers(0, len(of), (RESAMPLES, len(of)))
    values = hits[picks].sum(axis=1) / np.maximum(of[picks].sum(axis=1), 1e-12)
    low, high = np.quantile(values, [0.025, 0.975])
    return Share(float(hits.sum() / of.sum()), float(low), float(high), round(float(of.sum())))


def longer_wins(data: Dataset) -> Share:
    """How often the longer answer (in characters) is preferred, where lengths differ and the margin is not 0."""
    length = data.candidates.select("candidate_id", pl.col("text").str.len_chars().alias("length"))
    frame = data.labels.drop_nulls("winner").select("prompt_id", "candidate_a", "candidate_b", "winner")
    for side in ("a", "b"):
        frame = frame.join(length.rename({"candidate_id": f"candidate_{side}", "length": side}), on=f"candidate_{side}")
    frame = frame.filter(pl.col("a") != pl.col("b"))
    return share(frame, (pl.col("winner") == pl.col("candidate_a")) == (pl.col("a") > pl.col("b")))


def first_wins(data: Dataset) -> Share:
    """How often a single reading favours the answer that was shown first."""
    return share(data.judgements.select("prompt_id", "log_odds").filter(pl.col("log_odds") != 0), pl.col("log_odds") > 0)


def both_orders(data: Dataset) -> pl.DataFrame:
    """One row per persona, comparison and template that was read in both orders: `x` and `y` are log-odds for a, shown first and second."""
    key = ["persona_id", "comparison_id", "template", "repeat"]
    reads = data.judgements.select(*key, "order", "mass", in_order_ab().alias("for_a"))
    x, y = (reads.filter(pl.col("order") == order).drop("order").rename({"for_a": name}) for order, name in (("ab", "x"), ("ba", "y")))
    return x.join(y.drop("mass"), on=key)


def templates(data: Dataset) -> pl.DataFrame:
    """Per template: readings, share won by the answer shown first, mean bias in log-odds, consistency, share that agrees raw, mean mass."""
    pairs = both_orders(data)
    bias = pairs.group_by("template").agg(((pl.col("x") - pl.col("y")) / 2).mean().alias("mean_bias"))
    shifted = (pl.col("x") - pl.col("mean_bias")) * (pl.col("y") + pl.col("mean_bias"))
    agreement = (
        pairs.join(bias, on="template")
        .group_by("template", "mean_bias")
        .agg((shifted > 0).mean().alias("consistency"), ((pl.col("x") * pl.col("y")) > 0).mean().alias("raw"))
    )
    # Readings without a leaning count for nobody, as in `first_wins`.
    leaning = pl.col("log_odds").filter(pl.col("log_odds") != 0) > 0
    reads = data.judgements.group_by("template").agg(
        pl.len().alias("readings"), leaning.mean().fill_null(float("nan")).alias("first_wins"), pl.col("mass").mean()
    )
    return reads.join(agreement, on="template").sort("template")


def kinds_of_answer(data: Dataset, most: int = 8) -> pl.DataFrame:
    """candidate_id -> `kind`: its model and view, or its model alone where that would be more than `most` kinds."""
    views = data.candidates["view"].n_unique()
    named = data.candidates.select("candidate_id", "model", "view")
    detailed = views > 1 and named.select("model", "view").n_unique() <= most
    kind = pl.concat_str("model", pl.col("view").fill_null("no view"), separator=SEPARATOR) if detailed else pl.col("model")
    return named.select("candidate_id", kind.alias("kind"))


def win_rates(data: Dataset, answers: pl.DataFrame) -> pl.DataFrame:
    """Per persona and kind of answer: `wins` of `games`, over labels whose two answers are of different kinds."""
    kinds = dict(answers.iter_rows())
    a, b = (pl.col(f"candidate_{side}").replace_strict(kinds, return_dtype=pl.String) for side in ("a", "b"))
    games = data.labels.drop_nulls("winner").select("persona_id", a.alias("a"), b.alias("b"), (pl.col("margin") > 0).alias("a_wins"))
    games = games.filter(pl.col("a") != pl.col("b"))
    sides = [
        games.select("persona_id", pl.col("a").alias("kind"), pl.col("a_wins").alias("won")),
        games.select("persona_id", pl.col("b").alias("kind"), (~pl.col("a_wins")).alias("won")),
    ]
    return (
        pl.concat(sides)
        .group_by("persona_id", "kind")
        .agg(pl.col("won").sum().alias("wins"), pl.len().alias("games"))
        .sort("kind", "persona_id")
    )
