"""Labels: the judgements of one persona and one comparison, aggregated. This is the one shuffle, from prompt shards to persona shards.

Per template, with x = log-odds for a when a is shown first, y = the same when b is shown first (after `in_order_ab`):

    margin = mean of (x + y) / 2        bias = mean of (x - y) / 2        consistency = share of templates with x - m and y + m of one sign
    spread = standard deviation of (x + y) / 2 between templates          calibrated = what the margin is worth, by judgements.calibration

where m is the mean of (x - y) / 2 over all judgements of the template: what the judge gives to whichever answer is first. Log-odds stand on
a grid of 1e-4 and are summed as integers, so no label depends on the order of a sum. A template of which an order is missing is left
out; a label without any whole template is a failure. `agreement` is the same share with m = 0, and `confidence` (dataset/confidence.py)
ranks the labels: it takes a look at those of all personas, once in each process. `p_generic` stands beside them for comparison: what the
judge says of people in general.
"""

import math
import threading
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import polars as pl

from prefloom.flows.dataset import calibrations, shuffle, stages, tables
from prefloom.flows.dataset.confidence import Fitted, fit_pieces, rank
from prefloom.flows.dataset.invariants import GRID, READING
from prefloom.flows.dataset.run import Run
from prefloom.flows.dataset.shards import ShardJob, ShardReport
from prefloom.flows.dataset.store import Store
from prefloom.flows.dataset.votes import generic
from prefloom.flows.engines import open_engine
from prefloom.schemas.candidate import Candidate
from prefloom.schemas.comparison import Comparison, in_order_ab
from prefloom.schemas.controls import Control
from prefloom.schemas.ids import shard_of
from prefloom.schemas.label import Judgement, Label, Rejected
from prefloom.schemas.persona import Persona
from prefloom.schemas.prompt import Prompt
from prefloom.schemas.splits import cells

_ONE_AT_A_TIME = threading.Lock()
_LABEL = ["margin", "probability", "bias", "mass", "consistency", "agreement", "judgements", "spread", "p_generic"]
_TRACES = ["margin", "tilt", "templates", "scatter", "longer", "comparison", "judged"]


def aggregate_labels(job: ShardJob) -> ShardReport:
    """The labels of this shard's personas, sorted by persona and comparison."""
    if done := job.done():
        return done
    names = _shuffled(job)
    with _ONE_AT_A_TIME:  # shards that come at the same time wait for the first
        habits = _habits(job.run.store.url, job.stage_hash, names, job.run.resolved.recipe.shards.personas)
    asked = shuffle.read(job.run.store, names, job.index).sort(READING)
    known = asked.drop_nulls("margin")
    placed = rank(known, habits).with_columns(_calibrated(job.run).alias("calibrated"))
    rejected = asked.filter(pl.col("margin").is_null()).select(
        pl.lit("labels").alias("stage"),
        pl.lit("failure").alias("kind"),
        pl.lit("unread").alias("reason"),
        pl.col("comparison_id").alias("row_id"),
        "persona_id",
        pl.lit(None, pl.String).alias("duplicate_of"),
        pl.lit("no template has judgements in both orders").alias("detail"),
        pl.lit(None, pl.String).alias("row"),
    )
    assert rejected.columns == list(Rejected.model_fields)
    return job.write(Label, placed, rejected, considered=asked.height)


def _shuffled(job: ShardJob) -> tuple[str, ...]:
    """The files of the shuffle, one for each prompt shard. Whoever comes makes those that are missing, each beginning elsewhere."""
    store, prompts = job.run.store, job.run.resolved.recipe.shards.prompts
    names = tuple(stages.SCRATCH.format(stage=job.stage, index=index) for index in range(prompts))
    for index in ((job.index + step) % prompts for step in range(prompts)):
        if not shuffle.is_made_of(store, names[index], job.stage_hash):
            with _ONE_AT_A_TIME:
                bias = _bias(store.url, job.stage_hash)
            rows, shards = _asked(job.at(index), bias), job.run.resolved.recipe.shards.personas
            shuffle.write(store, names[index], rows, pl.Series(shard_of(rows["persona_id"], shards)), shards, job.stage_hash)
    return names


def _asked(job: ShardJob, bias: dict[str, float]) -> pl.DataFrame:
    """What was asked in one prompt shard, with its label; no margin where there is none."""
    store = job.run.store
    columns = ["comparison_id", "prompt_id", "first_id", "second_id", "persona_ids"]
    pairs = (
        tables.read(store, "comparisons/part-*.parquet", Comparison, ["comparison_id"]).sort("comparison_id").with_row_index("comparison")
    )
    mine = tables.read(store, job.part("comparisons"), Comparison, columns).join(pairs, on="comparison_id")
    length = lengths(store, job.part("candidates"))
    longer = [length[a] - length[b] for a, b in mine.select("first_id", "second_id").iter_rows()]
    controls = tables.read(store, job.part("controls"), Control, ["comparison_id", "read_as", "repeat", "order", "log_odds"])
    mine = mine.with_columns(pl.Series("longer", longer, dtype=pl.Float64)).join(generic(controls), on="comparison_id", how="left")
    personas = tables.read(store, "personas/part-*.parquet", Persona, ["persona_id", "split", "kind"])
    prompts = tables.read(store, job.part("prompts"), Prompt, ["prompt_id", "split"])
    found = label(
        tables.read(store, job.part("judgements"), Judgement, [*READING, "order", "template", "repeat", "log_odds", "mass"]), bias
    )
    return (
        mine.explode("persona_ids")
        .rename({"persona_ids": "persona_id", "first_id": "candidate_a", "second_id": "candidate_b"})
        .join(found, on=READING, how="left")
        .join(
            personas.select("persona_id", pl.col("split").alias("persona_split"), (pl.col("kind") == "judge").alias("judged")),
            on="persona_id",
        )
        .join(prompts.select("prompt_id", pl.col("split").alias("prompt_split")), on="prompt_id")
        .join(cells(), on=["persona_split", "prompt_split"])
        .with_columns((pl.col("judgements") // 2).alias("templates"))
        .select(*READING, "prompt_id", "candidate_a", "candidate_b", *dict.fromkeys([*_LABEL, *_TRACES]), "split")
    )


@lru_cache(maxsize=2)
def _habits(url: str, _made_of: str, names: tuple[str, ...], shards: int) -> Fitted:
    """What all labels of the run say of their judge; the hash of the stage says of what they are made."""
    store = Store(url)
    comparisons = sum(tables.rows(store, name) for name in store.list("comparisons/part-*.parquet"))

    def pieces() -> Iterator[pl.DataFrame]:
        for part in range(shards):
            yield shuffle.read(store, names, part, [*READING, *_TRACES]).filter("judged").drop_nulls("margin")

    return fit_pieces(pieces, comparisons)


def label(judgements: pl.DataFrame, bias: dict[str, float]) -> pl.DataFrame:
    """Labels (without ids of candidates and split) from rows of Judgement; `bias` maps a template to its mean bias."""
    one, other = pl.col("x") - pl.col("m"), pl.col("y") + pl.col("m")
    grid = (in_order_ab() / GRID).round().cast(pl.Int64)
    whole = (
        judgements.with_columns(grid.alias("steps"))
        .group_by(*READING, "template", "repeat")
        .agg(
            pl.col("steps").filter(pl.col("order") == "ab").first().alias("x"),
            pl.col("steps").filter(pl.col("order") == "ba").first().alias("y"),
            pl.col("mass").min(),
        )
        .drop_nulls(["x", "y"])
        .with_columns((pl.col("template").replace_strict(bias, return_dtype=pl.Float64) / GRID if bias else pl.lit(0.0)).alias("m"))
        .with_columns(
            # Two orders that both say nothing agree on that: such a label is undecided.
            ((one * other > 0) | ((one == 0) & (other == 0))).alias("agree"),
            ((pl.col("x") * pl.col("y")) > 0).alias("alike"),
        )
    )
    return (
        whole.group_by(READING)
        .agg(
            (pl.col("x") + pl.col("y")).sum().alias("sum"),
            (pl.col("x") - pl.col("y")).sum().alias("difference"),
            pl.col("mass").min(),
            pl.col("agree", "alike").cast(pl.Int64).sum(),
            (pl.col("x") - pl.col("y") - 2 * pl.col("m").round().cast(pl.Int64)).sum().alias("tilt"),
            ((pl.col("x") + pl.col("y")) ** 2).sum().alias("squares"),
            (2 * pl.len()).cast(pl.Int64).alias("judgements"),
        )
        .with_columns(
            (pl.col("sum") / pl.col("judgements") * GRID).round(4).alias("margin"),
            (pl.col("difference") / pl.col("judgements") * GRID).round(4).alias("bias"),
            (2 * pl.col("agree") / pl.col("judgements")).round(4).alias("consistency"),
            (2 * pl.col("alike") / pl.col("judgements")).round(4).alias("agreement"),
            (pl.col("tilt") / pl.col("judgements") * GRID).alias("tilt"),
            ((pl.col("squares") / 4 - pl.col("sum") ** 2 / (2 * pl.col("judgements"))) * GRID**2).alias("scatter"),
        )
        .with_columns((1 / (1 + (-pl.col("margin")).exp())).round(4).alias("probability"), _spread().alias("spread"))
    )


def _spread() -> pl.Expr:
    """Of whole numbers up to the root, so that it depends on no order of a sum."""
    n = pl.col("judgements") // 2
    squares = n * pl.col("squares") - pl.col("sum") ** 2
    return pl.when(n > 1).then(((squares / (n * (n - 1))).sqrt() / 2 * GRID).round(4))


def _calibrated(run: Run) -> pl.Expr:
    """The probability by the recipe's calibration; null without one."""
    path = run.resolved.recipe.judgements.calibration
    if path is None:
        return pl.lit(None, pl.Float64)
    known = calibrations.load(Path(path), run.resolved.inputs[path])
    calibrations.expect_judge(known, path, open_engine(run, run.resolved.recipe.judgements.model).identity)
    return calibrations.expression(known, pl.col("margin"))


def mean_bias(store: Store) -> dict[str, float]:
    """template -> log-odds that its judge gives to whichever answer is shown first, averaged over both orders; no truth is used."""
    sums: dict[tuple[str, str], list[int]] = {}
    steps = (pl.col("log_odds") / GRID).round().cast(pl.Int64).sum()
    for name in store.list("judgements/part-*.parquet"):
        part = tables.read(store, name, Judgement, ["template", "order", "log_odds"])
        for template, order, total, count in part.group_by("template", "order").agg(steps.alias("sum"), pl.len()).iter_rows():
            cell = sums.setdefault((template, order), [0, 0])
            cell[0], cell[1] = cell[0] + total, cell[1] + count
    bias: dict[str, float] = {}
    for template in sorted({template for template, _ in sums}):
        means = [total / count for (name, _), (total, count) in sorted(sums.items()) if name == template]
        bias[template] = round(sum(means) / len(means) * GRID, 4)
    return bias


@lru_cache(maxsize=2)
def _bias(url: str, _made_of: str) -> dict[str, float]:
    """`mean_bias` of a stage with that hash."""
    return mean_bias(Store(url))


def lengths(store: Store, name: str) -> dict[str, float]:
    """candidate_id -> log of its length in characters, on a grid of 1e-4, in one part of the candidates."""
    part = tables.read(store, name, Candidate, ["candidate_id", "text"]).with_columns(pl.col("text").str.len_chars())
    return {candidate: round(math.log(max(length, 1)), 4) for candidate, length in part.iter_rows()}
