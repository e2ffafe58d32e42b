"""What must hold between judgements, labels, preferences and exports. Computed again from the rows, without the code that made them.

labels({"judgements": …, "labels": …, "comparisons": …})  ->  Check("labels", "every label follows …", problems=[])
"""

from dataclasses import dataclass, field

import polars as pl

from prefloom.flows.dataset import tables
from prefloom.flows.dataset.described import refined
from prefloom.flows.dataset.embeddings import text_key
from prefloom.flows.dataset.store import Store
from prefloom.schemas.comparison import in_order_ab
from prefloom.schemas.label import TrlExample
from prefloom.schemas.recipe import Recipe
from prefloom.schemas.section import portable
from prefloom.schemas.texts import length_only

READING = ["persona_id", "comparison_id"]
GRID = 1e-4  # log-odds, masses and probabilities stand on it
TOLERANCE = 1.01 * GRID


@dataclass
class Check:
    """One question and its answer: valid if there are no problems."""

    name: str
    detail: str
    problems: list[str] = field(default_factory=list)

    def expect(self, holds: bool, problem: str) -> None:
        """Note the problem unless it holds."""
        if not holds:
            self.problems.append(problem)

    def refuse(self, frame: pl.DataFrame, broken: dict[str, pl.Expr]) -> None:
        """Note how many rows of the frame break each expression; a null breaks it too."""
        for problem, expression in broken.items():
            count = frame.filter(expression.fill_null(value=True)).height
            self.expect(count == 0, f"{count} {problem}")


def judgements(data: dict[str, pl.DataFrame], recipe: Recipe) -> Check:
    """Every judgement is one that was asked."""
    check = Check("judgements", "each was asked for, by the recipe's judge and templates, and read once; masses are probabilities")
    deciding = data["personas"].select("persona_id", "kind")
    frame = data["judgements"].join(deciding, on="persona_id", how="left")
    reads = pl.col("kind") == "judge"
    templates = [portable(name) for name in recipe.judgements.templates]
    broken = {
        "judgements are not by the recipe's judge": pl.col("model")
        != pl.when(reads).then(pl.lit(recipe.judgements.model)).otherwise(pl.lit("rewards")),
        "judgements are from another template": pl.when(reads)
        .then(~pl.col("template").is_in(templates))
        .otherwise(pl.col("template") != pl.col("kind")),
        "judgements have no finite log-odds": ~pl.col("log_odds").is_finite(),
        "judgements have a mass that is no probability": ~pl.col("mass").is_between(0, 1 + TOLERANCE),
    }
    check.refuse(frame, broken)
    check.expect(not frame.select(*READING, "order", "template", "repeat").is_duplicated().any(), "a judgement stands there twice")
    asked = data["comparisons"].select("comparison_id", pl.col("persona_ids").alias("persona_id")).explode("persona_id")
    strays = frame.join(asked, on=READING, how="anti").height
    check.expect(strays == 0, f"{strays} judgements of personas that were not asked")
    return check


def leanings(judgements: pl.DataFrame) -> pl.DataFrame:
    """Sum and number of log-odds by template and order. Those of several pieces may stand below each other."""
    return judgements.group_by("template", "order").agg(pl.col("log_odds").sum().alias("sum"), pl.len().cast(pl.Int64).alias("count"))


def liked(found: pl.DataFrame) -> pl.DataFrame:
    """template -> `liked`: what its judge gives to whichever answer is first, both orders averaged, from the leanings of all judgements."""
    mean = (pl.col("sum").sum() / pl.col("count").sum()).alias("mean")
    orders = found.group_by("template", "order").agg(mean).group_by("template")
    return orders.agg((pl.col("mean").sum() / 2).round(4).alias("liked"), pl.len()).filter(pl.col("len") == 2).drop("len")


def labels(data: dict[str, pl.DataFrame], recipe: Recipe, bias: pl.DataFrame | None = None) -> Check:
    """Every label follows from its judgements. `bias` is what is `liked` in all judgements, where these are but some."""
    check = Check("labels", "every label follows from its judgements: margin, bias, mass, consistency, spread, probability")
    reads = data["judgements"].with_columns(in_order_ab().alias("for_a"))
    bias = liked(leanings(data["judgements"])) if bias is None else bias
    x, y = (pl.col("for_a").filter(pl.col("order") == order).first() for order in ("ab", "ba"))
    whole = (
        reads.group_by(*READING, "template", "repeat")
        .agg(x.alias("x"), y.alias("y"), pl.col("mass").min())
        .drop_nulls(["x", "y"])
        .join(bias, on="template")
        .with_columns(((pl.col("x") - pl.col("liked")) * (pl.col("y") + pl.col("liked"))).alias("agreement"))
        .group_by(READING)
        .agg(
            ((pl.col("x") + pl.col("y")) / 2).mean().alias("for_a"),
            ((pl.col("x") - pl.col("y")) / 2).mean().alias("for_first"),
            pl.col("mass").min().alias("least"),
            ((pl.col("x") + pl.col("y")) / 2).std().alias("apart"),
            pl.len().alias("pairs"),
            # On the very edge the last bit decides, so an agreement of almost nothing may count either way.
            (pl.col("agreement") > 1e-3).mean().alias("surely"),
            (pl.col("agreement") > -1e-3).mean().alias("perhaps"),
        )
    )
    check.expect(whole.height == data["labels"].height, f"{whole.height} comparisons judged in both orders, {data['labels'].height} labels")
    candidates = data["comparisons"].select("comparison_id", "first_id", "second_id")
    joined = data["labels"].join(whole, on=READING, how="left").join(candidates, on="comparison_id", how="left")
    moved = (pl.col("candidate_a") != pl.col("first_id")) | (pl.col("candidate_b") != pl.col("second_id"))
    sigmoid = 1 / (1 + (-pl.col("margin")).exp())
    known = recipe.judgements.calibration is not None
    broken = {
        "labels name other candidates than their comparison": moved,
        "labels have a wrong margin": _differ("margin", pl.col("for_a")),
        "labels have a wrong bias": _differ("bias", pl.col("for_first")),
        "labels have a wrong mass": _differ("mass", pl.col("least")),
        "labels have a wrong number of judgements": pl.col("judgements") != 2 * pl.col("pairs"),
        "labels have a wrong probability": _differ("probability", sigmoid),
        "labels have a wrong spread": pl.when(pl.col("pairs") > 1)
        .then(_differ("spread", pl.col("apart")))
        .otherwise(pl.col("spread").is_not_null()),
        "labels have a calibrated probability that is none": (
            ~pl.col("calibrated").is_between(0, 1) if known else pl.col("calibrated").is_not_null()
        ),
        "labels have a wrong consistency": ~pl.col("consistency").is_between(pl.col("surely") - GRID, pl.col("perhaps") + GRID),
    }
    check.refuse(joined, broken)
    rises(check, data["labels"])
    return check


def rises(check: Check, found: pl.DataFrame) -> None:
    """Calibrated probabilities follow the margins."""
    rising = found.select("margin", "calibrated").drop_nulls().sort("margin")
    away = rising.filter((pl.col("calibrated") - 0.5) * pl.col("margin") < 0).height
    check.expect(
        bool((rising["calibrated"].diff().drop_nulls() >= 0).all()) and not away, "calibrated does not rise with the margin through 0.5"
    )


def preferences(data: dict[str, pl.DataFrame], recipe: Recipe, marked: pl.DataFrame) -> Check:
    """Labels are preferences or rejected, for the reason that holds. `marked` is what invariants_sureness.structure says of all labels."""
    check = Check("preferences", "every label is kept, or rejected for the first reason that holds; chosen is the side of the margin")
    texts = dict(data["candidates"].select("candidate_id", "text").iter_rows())
    pairs = data["comparisons"].select("comparison_id", "first_id", "second_id", "length_only")
    alike = [length_only(texts.get(a, ""), texts.get(b, "")) for a, b in pairs.select("first_id", "second_id").iter_rows()]
    check.expect(pairs["length_only"].to_list() == alike, "comparisons.length_only is not what the two texts say")
    gates, margin = recipe.checks.labels, pl.col("margin_label").abs()
    due = (
        pl.when(pl.col("length_only") & gates.length_only)
        .then(pl.lit("length_only"))
        .when(pl.col("mass") < gates.min_mass)
        .then(pl.lit("low_mass"))
        .when(pl.col("agreement" if gates.orders == "raw" else "consistency") < gates.min_consistency)
        .then(pl.lit("inconsistent"))
        .when((margin < gates.min_margin) | (margin == 0))
        .then(pl.lit("undecided"))
        .when(pl.col("residual") > (1 if gates.max_residual is None else gates.max_residual))
        .then(pl.lit("erratic"))
        .when("circle")
        .then(pl.lit("intransitive"))
        .when(pl.col("confidence_label") < pl.col("floor"))
        .then(pl.lit("unsure"))
        .otherwise(pl.lit("kept"))
    )
    refused = data["rejected"].filter(pl.col("stage") == "preferences")
    verdicts = pl.concat(
        [
            data["preferences"].select(*READING, pl.lit("kept").alias("verdict")),
            refused.select("persona_id", pl.col("row_id").alias("comparison_id"), pl.col("reason").alias("verdict")),
        ]
    )
    judged = (
        marked.rename({name: f"{name}_label" for name in ("margin", "probability", "confidence", "calibrated", "split")})
        .join(pairs, on="comparison_id", how="left")
        .with_columns(due.alias("due"))
    )
    check.expect(verdicts.height == judged.height, f"{judged.height} labels, but {verdicts.height} preferences and rejected labels")
    both = judged.join(verdicts, on=READING, how="left")
    check.refuse(both, {"labels are kept or rejected against their own figures": pl.col("verdict") != pl.col("due")})
    first = pl.col("margin_label") > 0
    sure, believed = (pl.when(first).then(f"{name}_label").otherwise(1 - pl.col(f"{name}_label")) for name in ("probability", "calibrated"))
    broken = {
        "preferences break chosen_id": pl.col("chosen_id") != pl.when(first).then("candidate_a").otherwise("candidate_b"),
        "preferences break rejected_id": pl.col("rejected_id") != pl.when(first).then("candidate_b").otherwise("candidate_a"),
        "preferences break margin": _differ("margin", margin),
        "preferences break probability": _differ("probability", sure),
        "preferences break confidence": _differ("confidence", pl.col("confidence_label")),
        "preferences break calibrated": ~(pl.col("calibrated").is_null() & believed.is_null() | ~_differ("calibrated", believed)),
        "preferences break split": pl.col("split") != pl.col("split_label"),
    }
    check.refuse(data["preferences"].join(judged, on=READING, how="left", suffix="_other"), broken)
    return check


def _strangers(rows: pl.DataFrame) -> list[str]:
    """Personas whose description is not in what opens their conversation.

    In Python: polars makes a pattern of each description, and one of a million characters is too long for it.
    """
    openings = rows.select("persona_id", "description", _said("prompt", "content").list.first().alias("said")).unique().drop_nulls()
    return [persona for persona, told, said in openings.iter_rows() if told not in said]


def exports(store: Store, data: dict[str, pl.DataFrame], recipe: Recipe, part: str = "*") -> Check:
    """The exports show the preferences; `part` says of which shard they are."""
    check = Check("exports", "every preference stands in its split's export once, with the texts, roles and margin it should have")
    texts = data["candidates"].select("candidate_id", "text")
    expected = (
        data["preferences"]
        .join(texts.rename({"text": "good"}), left_on="chosen_id", right_on="candidate_id")
        .join(texts.rename({"text": "bad"}), left_on="rejected_id", right_on="candidate_id")
        .join(data["prompts"].select("prompt_id", "text"), on="prompt_id")
        .join(refined(data["personas"], data["refinements"]), on="persona_id")
    )
    personal = bool(recipe.exports.trl and recipe.exports.trl.persona)
    right = (
        (_said("chosen", "content").list.join("\n") == pl.col("good"))
        & (_said("rejected", "content").list.join("\n") == pl.col("bad"))
        & (_said("prompt", "content").list.last() == pl.col("text"))
        & (_said("prompt", "role").list.join(",") == ("system,user" if personal else "user"))
        & (_said("chosen", "role").list.join(",") == "assistant")
        & (_said("rejected", "role").list.join(",") == "assistant")
        & ~_differ("margin", pl.col("margin_expected"))
    )
    seen = [data["preferences"].select(READING).clear()]
    for name in store.list(f"exports/trl/*/part-{part}.parquet"):
        rows = tables.read(store, name, TrlExample).join(expected, on=READING, how="left", suffix="_expected")
        seen.append(rows.select(READING))
        mine = ~pl.col("persona_id").is_in(_strangers(rows) if personal else [])
        check.refuse(rows, {f"rows of {name} differ from their preference": ~(right & mine & (pl.col("split") == name.split("/")[2]))})
    exported, wanted = pl.concat(seen).sort(READING), data["preferences"].select(READING).sort(READING)
    wanted = wanted if recipe.exports.trl else wanted.clear()
    check.expect(exported.equals(wanted), f"{exported.height} rows exported for {wanted.height} preferences, or not those")
    return check


def vectors(data: dict[str, pl.DataFrame]) -> Check:
    """One vector for every prompt, answer and persona, all of one length, under the hash of its text."""
    rows = data["embeddings"]
    check = Check("embeddings", "every prompt, answer and persona has its vector, all of one length and finite")
    texts = {"prompts": "text", "candidates": "text", "personas": "description"}
    wanted = [data[name].select(pl.lit(name).alias("table"), pl.first().alias("row_id"), pl.col(text)) for name, text in texts.items()]
    named = pl.concat(frame.rename({frame.columns[2]: "text"}) for frame in wanted)
    joined = named.join(rows, on=["table", "row_id"], how="full", coalesce=True)
    sizes = rows["vector"].list.len()
    keys = [text_key(text).hex() if text is not None else None for text in joined["text"]]
    check.expect(joined.height == named.height == rows.height, f"{rows.height} vectors for {named.height} texts, or not theirs")
    check.expect(joined["text_key"].eq_missing(pl.Series(keys, dtype=pl.String)).all(), "vectors stand under another text's hash")
    check.expect(sizes.n_unique() <= 1, "vectors differ in length")
    check.expect(rows["vector"].explode().is_finite().all(), "a vector has a number that is not finite")
    return check


def _differ(column: str, other: pl.Expr) -> pl.Expr:
    return (pl.col(column) - other).abs().fill_nan(1) > TOLERANCE


def _said(column: str, what: str) -> pl.Expr:
    return pl.col(column).list.eval(pl.element().struct.field(what))
