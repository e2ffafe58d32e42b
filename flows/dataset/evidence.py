"""The readings of a dataset as arrays: what dataset/signal.py measures.

    found = load(Store("data/runs/demo-3b9c…"))
    found.replicates, found.reads.values.shape   ->  "orders", (38863, 2)        one row per label, one column per replicate

A million labels are not held: judgements are gone through twice, a prompt shard at a time, and of more personas than MOST_PERSONAS those
with the lowest ids, which are hashes, are kept.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from prefloom.flows.dataset import tables
from prefloom.flows.dataset.heterogeneity import Floats
from prefloom.flows.dataset.signal_measures import Reads
from prefloom.flows.dataset.store import Store
from prefloom.schemas.comparison import in_order_ab
from prefloom.schemas.controls import Control
from prefloom.schemas.label import Judgement

CELL = ["persona_id", "comparison_id"]
MOST_PERSONAS, MOST_LABELS = 300, 60_000  # of a larger dataset those with the lowest ids, which are hashes


@dataclass(frozen=True)
class Evidence:
    """The readings of a dataset as arrays; what the recipe's controls did not read has no rows."""

    replicates: str  # templates or orders
    reads: Reads
    leanings: Reads  # the same rows as they are for a or b, where orders are replicates less what the order does on that comparison
    of: int  # labels that there are in all
    orders: Reads  # one row per label and template: log-odds for a in both orders, less the bias
    shuffled: tuple[Reads, Floats]  # own readings, and those under another's description in the same rows
    repeats: tuple[Reads, Floats, Floats]  # where; margins of the first and of the second reading, one row per template
    generic: tuple[Reads, Floats]  # readings of comparisons that were read for nobody, and the log-odds for a of that reading


@dataclass
class _Overview:
    """What has to be known of all judgements before some of them are picked."""

    model: str
    bias: pl.DataFrame  # template, bias
    templates: list[str]  # that were read in both orders, sorted
    first: str  # the one that was read most
    by_template: bool
    of: int  # labels
    people: pl.Series  # the personas that are looked at


_COLUMNS = ["persona_id", "comparison_id", "prompt_id", "template", "order", "repeat", "log_odds"]


def _overview(store: Store) -> _Overview:
    models = pl.concat([_parts(store, name, ["model"]).group_by("model").len() for name in _names(store)] or [_NO_MODELS])
    ranked = models.group_by("model").agg(pl.col("len").sum()).sort("len", "model", descending=[True, False])["model"]
    model = ranked[0] if len(ranked) else ""
    leanings, templates, widths, people = [], [], [], []
    for name in _names(store):
        judged = _judged(store, name, model)
        leanings.append(judged.group_by("template", "order").agg(pl.col("log_odds").sum(), pl.len()))
        both = _both(judged, None, CELL)
        templates.append(both.group_by("template").len())
        widths.append(both.group_by(CELL).len("width").group_by("width").len())
        people.append(both.select("persona_id").unique())
    if not templates:
        return _Overview(
            model, pl.DataFrame(schema={"template": pl.String, "bias": pl.Float64}), [], "", False, 0, pl.Series([], dtype=pl.String)
        )
    means = pl.concat(leanings).group_by("template", "order").agg(mean=pl.col("log_odds").sum() / pl.col("len").sum())
    bias = means.group_by("template").agg(bias=pl.when(pl.len() == 2).then(pl.col("mean").sum() / 2))
    read = pl.concat(templates).group_by("template").agg(pl.col("len").sum()).sort("len", "template", descending=[True, False])
    cells = dict(pl.concat(widths).group_by("width").agg(pl.col("len").sum()).iter_rows())
    of, full = sum(cells.values()), cells.get(read.height, 0)
    some = pl.concat(people)["persona_id"].unique().sort().head(MOST_PERSONAS)
    return _Overview(
        model, bias, sorted(read["template"]), read["template"][0] if read.height else "", read.height > 1 and 2 * full >= of, of, some
    )


_NO_MODELS = pl.DataFrame(schema={"model": pl.String, "len": pl.get_index_type()})


def _names(store: Store) -> list[str]:
    return store.list("judgements/part-*.parquet")


def _parts(store: Store, name: str, columns: list[str]) -> pl.DataFrame:
    return tables.read(store, name, Judgement, ["repeat", *columns] if "repeat" not in columns else columns).filter(pl.col("repeat") == 0)


def _judged(store: Store, name: str, model: str) -> pl.DataFrame:
    return _parts(store, name, ["model", *_COLUMNS]).filter(pl.col("model") == model)


def load(store: Store) -> Evidence:
    """Read the judgements and controls of a dataset, a prompt shard at a time: all that were read for a comparison are in one."""
    seen = _overview(store)
    values = [str(place) for place in range(len(seen.templates) if seen.by_template else 2)]
    parts = [_part(store, name, seen, values) for name in _names(store)]
    if not parts:
        parts = [_part(store, "judgements/none", seen, values)]
    read, orders, paired, again, nobody = (pl.concat(frames) for frames in zip(*parts, strict=True))
    some = _some(read.sort(CELL))
    paired, again, orders = paired.sort(CELL), again.sort(*CELL, "template"), orders.sort(*CELL, "template")
    orders = orders.join(some.select("persona_id").unique(), on="persona_id", how="semi", maintain_order="left").head(4 * MOST_LABELS)
    half = (pl.col("x") + pl.col("y")) / 2, (pl.col("x_first") + pl.col("y_first")) / 2
    general = _leaning(some, values, seen).join(
        nobody.select("comparison_id", general=(pl.col("x") + pl.col("y")) / 2), on="comparison_id", maintain_order="left"
    )
    ids = ["persona_id", "comparison_id", "prompt_id"]
    numbers = _Numbers(pl.concat([frame.select(ids) for frame in (some, paired, again, orders)]))
    return Evidence(
        replicates="templates" if seen.by_template else "orders",
        reads=numbers.reads(some, values),
        leanings=numbers.reads(_leaning(some, values, seen), values),
        of=seen.of,
        orders=numbers.reads(orders, ["x", "y"]),
        shuffled=(numbers.reads(paired, values), paired.select(f"{name}_moved" for name in values).to_numpy().astype(np.float64)),
        repeats=(
            numbers.reads(again, ["x", "y"]),
            again.select(half[1]).to_series().to_numpy(),
            again.select(half[0]).to_series().to_numpy(),
        ),
        generic=(numbers.reads(general, values), general["general"].to_numpy()),
    )


def _part(store: Store, name: str, seen: _Overview, values: list[str]) -> tuple[pl.DataFrame, ...]:
    """Of one prompt shard: readings of the people that are looked at, by replicate and by order; readings as others, again, for nobody."""
    both = _both(_judged(store, name, seen.model), seen.bias, CELL)
    controls = tables.read(store, name.replace("judgements/", "controls/"), Control, ["read_as", *_COLUMNS])
    read = _replicates(both, seen)
    if not seen.by_template:
        read = read.with_columns(tilt=_tilt())
    named = controls.filter(pl.col("persona_id") != "")
    moved = _replicates(_both(named.filter(pl.col("read_as") != pl.col("persona_id")), seen.bias, CELL), seen)
    paired = _leaning(_leaning(read.join(moved, on=CELL, suffix="_moved"), values, seen), [f"{value}_moved" for value in values], seen)
    again = _both(named.filter(pl.col("repeat") == 1), seen.bias, CELL).join(both, on=[*CELL, "template"], suffix="_first")
    nobody = _both(controls.filter(pl.col("persona_id") == ""), seen.bias, ["comparison_id"])
    mine = pl.col("persona_id").is_in(seen.people.implode())
    return read.filter(mine), both.filter(mine), paired, again, nobody


def _replicates(both: pl.DataFrame, seen: _Overview) -> pl.DataFrame:
    """One row per cell with a column for each replicate: 0, 1, …"""
    if seen.by_template:
        return _wide(both.with_columns(value=(pl.col("x") + pl.col("y")) / 2), "template", seen.templates, CELL)
    return both.filter(pl.col("template") == seen.first).select(*CELL, "prompt_id", pl.col("x").alias("0"), pl.col("y").alias("1"))


def _leaning(frame: pl.DataFrame, names: list[str], seen: _Overview) -> pl.DataFrame:
    """Orders less what the order does on that comparison."""
    return frame if seen.by_template else frame.with_columns(pl.col(names[0]) - pl.col("tilt"), pl.col(names[1]) + pl.col("tilt"))


def _tilt() -> pl.Expr:
    """What showing a first is worth to a among the other readers of a comparison; 0 where there are none."""
    apart, n = (pl.col("0") - pl.col("1")) / 2, pl.len().over("comparison_id")
    return pl.when(n > 1).then((apart.sum().over("comparison_id") - apart) / (n - 1)).otherwise(0.0)


def _both(rows: pl.DataFrame, bias: pl.DataFrame | None, cell: list[str]) -> pl.DataFrame:
    """The cell, prompt_id, template, x, y: log-odds for a, shown first and shown second, less the template's bias if it is known."""
    side = rows.with_columns(for_a=in_order_ab()).group_by(*cell, "prompt_id", "template")
    found = side.agg(
        pl.col("for_a").filter(pl.col("order") == "ab").first().alias("x"),
        pl.col("for_a").filter(pl.col("order") == "ba").first().alias("y"),
    )
    if bias is None:
        return found.drop_nulls(["x", "y"])
    shift = pl.col("bias").fill_null(0.0)  # it cancels where both orders are averaged
    known = found.drop_nulls(["x", "y"]).join(bias, on="template", how="left")
    return known.select(*cell, "prompt_id", "template", pl.col("x") - shift, pl.col("y") + shift).sort(*cell, "template")


def _wide(rows: pl.DataFrame, by: str, names: list[str], cell: list[str]) -> pl.DataFrame:
    """One row per cell that has all of the names, with a column for each in their order: 0, 1, …"""
    columns = [pl.col("value").filter(pl.col(by) == name).first().alias(str(i)) for i, name in enumerate(names)]
    found = rows.group_by(*cell, "prompt_id").agg(columns) if names else rows.select(*cell, "prompt_id")
    return found.drop_nulls().sort(cell)


def _some(read: pl.DataFrame) -> pl.DataFrame:
    """Rows of so many personas and prompts that intervals do not take long."""
    people = read["persona_id"].unique().sort().head(MOST_PERSONAS)
    mine = read.filter(pl.col("persona_id").is_in(people.to_list()))
    prompts = mine.group_by("prompt_id").len().sort("prompt_id")
    within = prompts.filter(pl.col("len").cum_sum() <= MOST_LABELS)["prompt_id"].to_list()
    return mine.filter(pl.col("prompt_id").is_in(within or prompts["prompt_id"].head(1).to_list()))


class _Numbers:
    """Ids of a dataset as numbers."""

    def __init__(self, rows: pl.DataFrame) -> None:
        self.names = {column: pl.Enum(rows[column].unique().sort()) for column in ("persona_id", "comparison_id", "prompt_id")}

    def reads(self, rows: pl.DataFrame, values: list[str]) -> Reads:
        """Rows whose personas and prompts are numbered anew from 0, so that resampling draws from those that are there."""
        codes = [rows[column].cast(self.names[column]).to_physical().to_numpy().astype(np.int64) for column in self.names]
        persona, comparison, prompt = (np.unique(code, return_inverse=True)[1].astype(np.int64) for code in codes)
        return Reads(persona, comparison, prompt, rows.select(values).to_numpy().astype(np.float64).reshape(len(persona), len(values)))
