"""Is this dataset what it says? Every check reads the files, not the code that wrote them.

    validate(Store("data/runs/demo-3b9c…"))  ->  [Check("files", "57 files …", []), Check("accounting", …), …]

A check with problems names them; nothing is mended. A dataset without a readable manifest is an InputError.
"""

from dataclasses import dataclass, field

import polars as pl
import pyarrow as pa

from prefloom.flows.dataset import manifest, tables
from prefloom.flows.dataset.stages import STAGES
from prefloom.flows.dataset.store import Store
from prefloom.schemas.candidate import Candidate
from prefloom.schemas.comparison import Comparison, in_order_ab
from prefloom.schemas.ids import shard_of
from prefloom.schemas.label import Judgement, Label, Preference, Rejected, TrlExample
from prefloom.schemas.manifest import Manifest
from prefloom.schemas.persona import Persona
from prefloom.schemas.prompt import Prompt
from prefloom.schemas.recipe import Recipe
from prefloom.schemas.record import Record
from prefloom.schemas.splits import cells, split_of

RECORDS: dict[str, type[Record]] = {
    "personas": Persona,
    "prompts": Prompt,
    "candidates": Candidate,
    "comparisons": Comparison,
    "judgements": Judgement,
    "labels": Label,
    "preferences": Preference,
    "rejected": Rejected,
    "exports": TrlExample,
}
READING = ["persona_id", "comparison_id"]
TOLERANCE = 1.01e-4  # everything stands on a grid of 1e-4


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


def validate(store: Store) -> list[Check]:
    """All checks, in the order a reader would ask. Where files are damaged the later checks are not reached."""
    found = manifest.load(store)
    recipe = manifest.recipe_of(store, found)
    checks = [_files(store, found)]
    if not checks[0].problems:
        checks.append(_schemas(store, found))
    if any(check.problems for check in checks):
        return checks
    data = {name: tables.read(store, f"{name}/*.parquet", record) for name, record in RECORDS.items() if name != "exports"}
    return [
        *checks,
        _links(data),
        _accounting(data, found, recipe),
        _splits(data, recipe),
        _labels(data),
        _preferences(data, recipe),
        _exports(store, data, recipe),
    ]


def _files(store: Store, found: Manifest) -> Check:
    check = Check("files", f"{len(found.files)} files, {sum(f.bytes for f in found.files):,} bytes, every sha256 as listed")
    missing = [stage.name for stage in STAGES if stage.name not in found.stages]
    check.expect(not missing, f"the manifest lacks the stages {', '.join(missing)}")
    for file in found.files:
        if file.path.split("/")[0] not in RECORDS or ".." in file.path.split("/"):
            check.problems.append(f"{file.path!r} is no path of a dataset")
            continue
        size = store.size(file.path)
        if size is None:
            check.problems.append(f"{file.path} is missing")
        elif size != file.bytes:
            check.problems.append(f"{file.path} has {size} bytes, the manifest says {file.bytes}")
        elif store.sha256(file.path) != file.sha256:
            check.problems.append(f"{file.path} has changed: its sha256 is not the manifest's")
    extra = {name for pattern in ("*/*.parquet", "exports/*/*/*.parquet") for name in store.list(pattern)} - {f.path for f in found.files}
    check.expect(not extra, f"not in the manifest: {', '.join(sorted(extra)[:5])}")
    return check


def _schemas(store: Store, found: Manifest) -> Check:
    check = Check("schemas", "every table has the columns and types of its record, and as many rows as listed")
    for file in found.files:
        expected = RECORDS[file.path.split("/")[0]].arrow_schema()
        try:
            actual, rows = tables.schema(store, file.path), tables.rows(store, file.path)
        except pa.ArrowInvalid as error:
            check.problems.append(f"{file.path} cannot be read: {error}")
            continue
        check.expect(actual.equals(expected, check_metadata=False), f"{file.path} differs from {expected.names}")
        check.expect(rows == file.rows, f"{file.path} has {rows} rows, the manifest says {file.rows}")
    return check


def _links(data: dict[str, pl.DataFrame]) -> Check:
    check = Check("links", "ids are unique; every id that is named exists")
    for table, key in [
        ("personas", "persona_id"),
        ("prompts", "prompt_id"),
        ("candidates", "candidate_id"),
        ("comparisons", "comparison_id"),
    ]:
        check.expect(data[table][key].is_unique().all(), f"{table}.{key} repeats")
    for table in ("labels", "preferences"):
        check.expect(not data[table].select(READING).is_duplicated().any(), f"{table} has two rows for one persona and comparison")
    links = [
        ("candidates", "prompt_id", "prompts", "prompt_id"),
        ("comparisons", "prompt_id", "prompts", "prompt_id"),
        ("comparisons", "first_id", "candidates", "candidate_id"),
        ("comparisons", "second_id", "candidates", "candidate_id"),
        ("judgements", "persona_id", "personas", "persona_id"),
        ("judgements", "comparison_id", "comparisons", "comparison_id"),
        ("labels", "persona_id", "personas", "persona_id"),
        ("labels", "comparison_id", "comparisons", "comparison_id"),
    ]
    for table, column, target, key in links:
        strays = data[table].join(data[target], left_on=column, right_on=key, how="anti").height
        check.expect(strays == 0, f"{strays} rows of {table}.{column} name nothing in {target}")
    prompts = data["candidates"].select("candidate_id", pl.col("prompt_id").alias("home"))
    for column in ("first_id", "second_id"):
        away = data["comparisons"].join(prompts, left_on=column, right_on="candidate_id").filter(pl.col("home") != pl.col("prompt_id"))
        check.expect(away.is_empty(), f"{away.height} comparisons.{column} answer another prompt")
    return check


def _accounting(data: dict[str, pl.DataFrame], found: Manifest, recipe: Recipe) -> Check:
    check = Check("accounting", "in each stage, considered = kept + rejected, to the row")
    rejected = data["rejected"].group_by("stage", "kind", "reason").len()
    listed = {(stage, f"{kind}/{reason}"): n for stage, kind, reason, n in rejected.iter_rows()}
    claimed = {(name, reason): n for name, entry in found.stages.items() for reason, n in entry.rejected.items()}
    check.expect(listed == claimed, f"rejected rows {listed} are not those of the manifest {claimed}")
    asked = int(data["comparisons"]["persona_ids"].list.len().sum())
    templates = len(recipe.judgements.templates)
    considered = {
        "comparisons": data["prompts"].height,
        "judgements": asked * 2 * templates,
        "labels": asked,
        "preferences": data["labels"].height,
        "exports": data["preferences"].height if recipe.exports.trl else 0,
    }
    settings = found.recipe["candidates"]
    if settings["source"] == "models":
        considered["candidates"] = data["prompts"].height * len(settings["models"]) * len(settings["views"]) * settings["samples"]
    for name, entry in found.stages.items():
        check.expect(entry.closed, f"{name}: {entry.considered} considered, {entry.kept} kept, {entry.rejected} rejected")
        expected = considered.get(name, entry.considered)
        check.expect(entry.considered == expected, f"{name}: {entry.considered} considered, {expected} by the tables before it")
        kept = data["comparisons"]["prompt_id"].n_unique() if name == "comparisons" else data[name].height if name in data else entry.kept
        check.expect(entry.kept == kept, f"{name}: {entry.kept} kept by the manifest, {kept} in the files")
    return check


def _splits(data: dict[str, pl.DataFrame], recipe: Recipe) -> Check:
    check = Check("splits", "split by hash of id; no persona and no prompt of a test split is seen in train or validation")
    for table, key in (("personas", "persona_id"), ("prompts", "prompt_id")):
        expected = split_of(data[table][key].to_list(), recipe.splits.validation, recipe.splits.test)
        check.expect(data[table]["split"].to_list() == expected, f"{table}.split is not the hash of its id")
    labels = (
        data["labels"]
        .join(data["personas"].select("persona_id", pl.col("split").alias("persona_split")), on="persona_id")
        .join(data["prompts"].select("prompt_id", pl.col("split").alias("prompt_split")), on="prompt_id")
        .join(cells().rename({"split": "expected"}), on=["persona_split", "prompt_split"], how="left")
    )
    wrong = labels.filter(~pl.col("split").eq_missing(pl.col("expected"))).height
    check.expect(wrong == 0, f"{wrong} labels are in another split than their persona and prompt say")
    for column, new in (("persona_id", ["test_new_personas", "test_new_both"]), ("prompt_id", ["test_new_prompts", "test_new_both"])):
        seen = set(labels.filter(pl.col("split").is_in(["train", "validation"]))[column])
        leak = seen & set(labels.filter(pl.col("split").is_in(new))[column])
        check.expect(not leak, f"{len(leak)} {column}s of {new} are also in train or validation")
    return check


def _labels(data: dict[str, pl.DataFrame]) -> Check:
    check = Check("labels", "every label follows from its judgements: margin, bias, mass, probability")
    whole = (
        data["judgements"]
        .with_columns(in_order_ab().alias("for_a"))
        .group_by(*READING, "template", "repeat")
        .agg(pl.col("for_a").mean(), pl.col("log_odds").mean(), pl.col("mass").min(), pl.col("order").n_unique().alias("orders"))
        .filter(pl.col("orders") == 2)
        .group_by(READING)
        .agg(pl.col("for_a").mean(), pl.col("log_odds").mean(), pl.col("mass").min().alias("least"), pl.len().alias("pairs"))
    )
    joined = data["labels"].join(whole, on=READING, how="left")
    check.expect(joined["pairs"].null_count() == 0, f"{joined['pairs'].null_count()} labels have no judgements in both orders")
    check.expect(whole.height == data["labels"].height, f"{whole.height - data['labels'].height} judged comparisons have no label")
    candidates = data["comparisons"].select("comparison_id", "first_id", "second_id")
    moved = (
        data["labels"]
        .join(candidates, on="comparison_id")
        .filter((pl.col("candidate_a") != pl.col("first_id")) | (pl.col("candidate_b") != pl.col("second_id")))
    )
    check.expect(moved.is_empty(), f"{moved.height} labels name other candidates than their comparison")
    invariants = {
        "margin": (pl.col("margin") - pl.col("for_a")).abs() > TOLERANCE,
        "bias": (pl.col("bias") - pl.col("log_odds")).abs() > TOLERANCE,
        "mass": (pl.col("mass") - pl.col("least")).abs() > TOLERANCE,
        "judgements": pl.col("judgements") != 2 * pl.col("pairs"),
        "probability": (pl.col("probability") - 1 / (1 + (-pl.col("margin")).exp())).abs() > TOLERANCE,
        "consistency": ~pl.col("consistency").is_between(0, 1),
    }
    for name, broken in invariants.items():
        wrong = joined.filter(broken | pl.col(name).is_null() | pl.col(name).cast(pl.Float64).is_nan()).height
        check.expect(wrong == 0, f"{wrong} labels have a wrong {name}")
    return check


def _preferences(data: dict[str, pl.DataFrame], recipe: Recipe) -> Check:
    check = Check("preferences", "labels = preferences + rejected; chosen is the side of the margin; every gate holds")
    gates = recipe.checks.labels
    joined = data["preferences"].join(data["labels"], on=READING, how="left", suffix="_label")
    signed = pl.when(pl.col("margin_label") > 0)
    broken = {
        "chosen_id": pl.col("chosen_id") != signed.then("candidate_a").otherwise("candidate_b"),
        "rejected_id": pl.col("rejected_id") != signed.then("candidate_b").otherwise("candidate_a"),
        "margin": (pl.col("margin") - pl.col("margin_label").abs()).abs() > TOLERANCE,
        "split": pl.col("split") != pl.col("split_label"),
        "min_margin": pl.col("margin") < gates.min_margin,
        "min_mass": pl.col("mass") < gates.min_mass,
        "min_consistency": pl.col("consistency") < gates.min_consistency,
    }
    for name, expression in broken.items():
        wrong = joined.filter(expression.fill_null(value=True)).height
        check.expect(wrong == 0, f"{wrong} preferences break {name}")
    refused = data["rejected"].filter(pl.col("stage") == "preferences").select("persona_id", pl.col("row_id").alias("comparison_id"))
    both = pl.concat([data["preferences"].select(READING), refused.select(READING)]).sort(READING)
    check.expect(both.equals(data["labels"].select(READING).sort(READING)), "preferences and rejected labels together are not the labels")
    return check


def _exports(store: Store, data: dict[str, pl.DataFrame], recipe: Recipe) -> Check:
    check = Check("exports", "every export row shows the texts of its preference, in its split")
    texts = data["candidates"].select("candidate_id", "text")
    expected = (
        data["preferences"]
        .join(texts.rename({"text": "good"}), left_on="chosen_id", right_on="candidate_id")
        .join(texts.rename({"text": "bad"}), left_on="rejected_id", right_on="candidate_id")
        .join(data["prompts"].select("prompt_id", "text"), on="prompt_id")
    )
    last = pl.element().struct.field("content")
    total = 0
    for name in store.list("exports/trl/*/*.parquet"):
        rows = tables.read(store, name, TrlExample).join(expected, on=READING, how="left", suffix="_expected")
        total += rows.height
        wrong = rows.filter(
            (pl.col("split") != name.split("/")[2])
            | (pl.col("chosen").list.eval(last).list.join("\n") != pl.col("good"))
            | (pl.col("rejected").list.eval(last).list.join("\n") != pl.col("bad"))
            | (pl.col("prompt").list.eval(last).list.last() != pl.col("text"))
            | pl.col("good").is_null()
        ).height
        check.expect(wrong == 0, f"{wrong} rows of {name} differ from their preference")
    shards = recipe.shards.personas
    misplaced = sum(
        int((shard_of(tables.read(store, name, Label, ["persona_id"])["persona_id"], shards) != index).sum())
        for index, name in enumerate(store.list("labels/part-*.parquet"))
    )
    check.expect(misplaced == 0, f"{misplaced} labels lie in another shard than the hash of their persona")
    if recipe.exports.trl:
        check.expect(total == data["preferences"].height, f"{total} rows exported of {data['preferences'].height} preferences")
    return check
