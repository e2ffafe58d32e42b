"""Is this dataset what it says? Every check reads the files, not the code that wrote them.

    validate(Store("data/runs/demo-3b9c…"))  ->  [Check("files", "57 files …", []), Check("accounting", …), …]

A check with problems names them; nothing is mended. A dataset without a readable manifest is an InputError.
"""

import re

import polars as pl
import pyarrow as pa

from prefloom.flows.dataset import files, manifest, shards, stages, tables
from prefloom.flows.dataset import invariants_controls as controlled
from prefloom.flows.dataset.invariants import READING, Check, exports, judgements, labels, preferences, vectors
from prefloom.flows.dataset.invariants_agreement import drafts, readers
from prefloom.flows.dataset.invariants_diversity import diversity
from prefloom.flows.dataset.invariants_exports import systems
from prefloom.flows.dataset.invariants_pilot import chosen, pilot
from prefloom.flows.dataset.invariants_reading import adaptive, readings
from prefloom.flows.dataset.invariants_refinement import refinements, rounds
from prefloom.flows.dataset.invariants_sources import answers_due, readers_due, sources
from prefloom.flows.dataset.invariants_sureness import structure, sureness
from prefloom.flows.dataset.invariants_users import scores, users
from prefloom.flows.dataset.store import Store
from prefloom.schemas.agreement import Draft
from prefloom.schemas.candidate import Candidate
from prefloom.schemas.comparison import Comparison
from prefloom.schemas.controls import Control
from prefloom.schemas.embedding import Embedding
from prefloom.schemas.exported import record_of
from prefloom.schemas.ids import content_hash, content_id
from prefloom.schemas.label import Judgement, Label, Preference, Rejected, TrlExample
from prefloom.schemas.manifest import Manifest
from prefloom.schemas.persona import Persona
from prefloom.schemas.pilot import PilotPair
from prefloom.schemas.prompt import Prompt
from prefloom.schemas.recipe import Recipe, fingerprint
from prefloom.schemas.record import Record
from prefloom.schemas.refined import Refined
from prefloom.schemas.score import Score, Standard
from prefloom.schemas.sources import ModelCandidates
from prefloom.schemas.splits import cells, persona_splits, split_of
from prefloom.schemas.texts import short

RECORDS: dict[str, type[Record]] = {
    "personas": Persona,
    "prompts": Prompt,
    "drafts": Draft,
    "candidates": Candidate,
    "embeddings": Embedding,
    "scores": Score,
    "standards": Standard,
    "pilot": PilotPair,
    "comparisons": Comparison,
    "refinements": Refined,
    "judgements": Judgement,
    "controls": Control,
    "labels": Label,
    "preferences": Preference,
    "rejected": Rejected,
    "exports": TrlExample,
}
_PATH = re.compile(r"([a-z_]+/)+[a-z-]+-\d{5}\.parquet")
_LISTED = ("*/*.parquet", "exports/*/*", "exports/*/*/*", "exports/*/*/*/*")
_EXPORTS = re.compile(
    r"exports/(trl|fspo|fedbiscuit|neural_process|personalllm)(/[a-z_]+)*"
    r"(/client_id=[0-9a-f]{16})?/[a-z_]+(-\d{5})?(-of-\d{5})?\.(parquet|arrow|json|jsonl|csv)"
)


def validate(store: Store) -> list[Check]:
    """All checks, in the order a reader would ask. Where files are damaged the later checks are not reached."""
    found = manifest.load(store)
    recipe = manifest.recipe_of(store, found)
    checks = [_files(store, found, recipe)]
    if not checks[0].problems:
        checks.append(_schemas(store, found))
    if any(check.problems for check in checks):
        return checks
    data = {name: tables.read(store, f"{name}/*.parquet", record) for name, record in RECORDS.items() if name != "exports"}
    placed = [vectors(data)] if recipe.embeddings else []
    sound = placed and not placed[0].problems  # what goes by vectors can be looked at
    return [
        *checks,
        _ids(data),
        _links(data),
        _accounting(store, data, found, recipe),
        _splits(data, recipe),
        *([drafts(data, recipe)] if recipe.agreement else []),
        *placed,
        *([scores(data, recipe), users(data, recipe)] if recipe.rewards else []),
        *([pilot(data, recipe)] if recipe.pilot and sound else []),
        chosen(data, recipe),
        sources(data, recipe),
        *([refinements(data, recipe)] if recipe.refinement else []),
        judgements(data, recipe),
        *([controlled.controls(data, recipe)] if recipe.controls else []),
        *([adaptive(data, recipe)] if recipe.judgements.adaptive else []),
        labels(data, recipe),
        sureness(data),
        controlled.votes(data, recipe),
        preferences(data, recipe, structure(data["labels"], recipe.checks.labels)),
        exports(store, data, recipe),
        *systems(store, recipe),
        *([diversity(data, recipe.diversity)] if recipe.diversity and sound else []),
    ]


def _files(store: Store, found: Manifest, recipe: Recipe) -> Check:
    check = Check("files", f"{len(found.files)} files, {sum(f.bytes for f in found.files):,} bytes, every sha256 as listed")
    missing = [stage.name for stage in stages.of(recipe) if stage.name not in found.stages]
    check.expect(not missing, f"the manifest lacks the stages {', '.join(missing)}")
    for file in found.files:
        if file.path.split("/")[0] not in RECORDS or not (_PATH.fullmatch(file.path) or _EXPORTS.fullmatch(file.path)):
            check.problems.append(f"{short(file.path)!r} is no path of a dataset")
            continue
        size = store.size(file.path)
        if size is None:
            check.problems.append(f"{file.path} is missing")
        elif size != file.bytes:
            check.problems.append(f"{file.path} has {size} bytes, the manifest says {file.bytes}")
        elif store.sha256(file.path) != file.sha256:
            check.problems.append(f"{file.path} has changed: its sha256 is not the manifest's")
    for name, entry in found.stages.items():
        digest = content_hash([(file.path, file.sha256) for file in entry.files])
        check.expect(digest == entry.digest, f"{name}: its digest is not that of its files")
    check.expect(found.fingerprint == fingerprint(found.recipe), "the fingerprint is not that of the recipe in the manifest")
    extra = {name for pattern in _LISTED for name in store.list(pattern)} - {f.path for f in found.files}
    check.expect(not extra, f"not in the manifest: {', '.join(sorted(extra)[:5])}")
    return check


def _schemas(store: Store, found: Manifest) -> Check:
    check = Check("schemas", "every table has the columns and types of its record, and as many rows as listed")
    for file in found.files:
        record = record_of(file.path) if file.path.startswith("exports/") else RECORDS[file.path.split("/")[0]]
        try:
            rows = files.rows(store, file.path)
            actual = tables.schema(store, file.path) if record else None
        except (pa.ArrowException, OSError) as error:
            check.problems.append(f"{file.path} cannot be read: {error}")
            continue
        if record and actual:
            expected = record.arrow_schema()
            check.expect(actual.equals(expected, check_metadata=False), f"{file.path} differs from {expected.names}")
        check.expect(rows == file.rows, f"{file.path} has {rows} rows, the manifest says {file.rows}")
    return check


def _ids(data: dict[str, pl.DataFrame]) -> Check:
    check = Check("ids", "every id is unique, and the hash of what its row says")
    kinds: dict[str, tuple[str, tuple[str, ...]]] = {
        "personas": ("persona", ("description",)),
        "prompts": ("prompt", ("text",)),
        "candidates": ("candidate", ("prompt_id", "model", "view", "sample", "text")),
        "comparisons": ("comparison", ("first_id", "second_id")),
    }
    for table, (kind, parts) in kinds.items():
        ids = data[table][f"{kind}_id"]
        check.expect(ids.is_unique().all(), f"{table}.{kind}_id repeats")
        if table == "candidates":  # who an answer was written for counts where there is somebody
            steered = data[table]["steered_by"]
            rows = [row if who is None else (*row, who) for row, who in zip(data[table].select(parts).iter_rows(), steered, strict=True)]
        else:
            rows = list(data[table].select(parts).iter_rows())
        wrong = sum(i != content_id(kind, *row) for i, row in zip(ids, rows, strict=True))
        check.expect(wrong == 0, f"{wrong} rows of {table} do not say what their id says")
    return check


def _links(data: dict[str, pl.DataFrame]) -> Check:
    check = Check("links", "every id that is named exists, and belongs to the prompt it is said to belong to")
    for table in ("labels", "preferences"):
        check.expect(not data[table].select(READING).is_duplicated().any(), f"{table} has two rows for one persona and comparison")
    asked = data["comparisons"].select(pl.col("persona_ids").alias("persona_id")).explode("persona_id").drop_nulls()
    data = data | {"comparisons.persona_ids": asked}
    links = [
        ("candidates", "prompt_id", "prompts", "prompt_id"),
        ("comparisons", "prompt_id", "prompts", "prompt_id"),
        ("comparisons", "first_id", "candidates", "candidate_id"),
        ("comparisons", "second_id", "candidates", "candidate_id"),
        ("judgements", "persona_id", "personas", "persona_id"),
        ("judgements", "comparison_id", "comparisons", "comparison_id"),
        ("controls", "comparison_id", "comparisons", "comparison_id"),
        ("labels", "persona_id", "personas", "persona_id"),
        ("labels", "comparison_id", "comparisons", "comparison_id"),
        ("refinements", "persona_id", "personas", "persona_id"),
        ("refinements", "comparison_id", "comparisons", "comparison_id"),
        ("comparisons.persona_ids", "persona_id", "personas", "persona_id"),
    ]
    for table, column, target, key in links:
        strays = data[table].join(data[target], left_on=column, right_on=key, how="anti").height
        check.expect(strays == 0, f"{strays} rows of {table}.{column} name nothing in {target}")
    prompts = data["candidates"].select("candidate_id", pl.col("prompt_id").alias("home"))
    for column in ("first_id", "second_id"):
        away = data["comparisons"].join(prompts, left_on=column, right_on="candidate_id").filter(pl.col("home") != pl.col("prompt_id"))
        check.expect(away.is_empty(), f"{away.height} comparisons.{column} answer another prompt")
    homes = data["comparisons"].select("comparison_id", pl.col("prompt_id").alias("home"))
    for table in ("refinements", "judgements", "controls", "labels", "preferences"):
        away = data[table].join(homes, on="comparison_id").filter(pl.col("home") != pl.col("prompt_id"))
        check.expect(away.is_empty(), f"{away.height} {table} name another prompt than their comparison")
    late = data["rejected"].filter(pl.col("stage").is_in(["refinements", "judgements", "controls", "labels", "preferences"]))
    ghosts = late.join(homes, left_on="row_id", right_on="comparison_id", how="anti")
    check.expect(ghosts.is_empty(), f"{ghosts.height} rejected rows name no comparison")
    return check


def _accounting(store: Store, data: dict[str, pl.DataFrame], found: Manifest, recipe: Recipe) -> Check:
    check = Check("accounting", "in each stage, considered = kept + rejected, to the row")
    rejected = data["rejected"].group_by("stage", "kind", "reason").len()
    listed = {(stage, f"{kind}/{reason}"): n for stage, kind, reason, n in rejected.iter_rows()}
    claimed = {(name, reason): n for name, entry in found.stages.items() for reason, n in entry.rejected.items()}
    check.expect(listed == claimed, f"rejected rows {listed} are not those of the manifest {claimed}")
    asked = int(data["comparisons"]["persona_ids"].list.len().sum())
    weighing = data["personas"].filter(pl.col("kind") != "judge")["persona_id"]
    decided = int(data["comparisons"]["persona_ids"].explode().is_in(weighing.implode()).sum())
    considered = {
        "comparisons": data["prompts"].height,
        "judgements": readings(data, recipe, found.stages["judgements"].considered - 2 * decided) + 2 * decided,
        "controls": controlled.considered(data, recipe),
        "scores": data["candidates"].height * len(recipe.rewards or {}),
        "standards": len(recipe.rewards or {}),
        "labels": asked,
        "preferences": data["labels"].height,
        "exports": data["preferences"].height if recipe.exports.wanted else 0,
    }
    if recipe.pilot:
        answers = data["candidates"].group_by("prompt_id").len()["len"].cast(pl.Int64)
        meetings = sum(min(n * (n - 1) // 2, 2 * n) for n in answers) if recipe.pilot.rates else 0
        considered["pilot"] = data["candidates"].height + 2 * meetings + 2 * readers_due(data, recipe.pilot.personas)
    if recipe.refinement:
        considered["refinements"] = rounds(data, recipe.refinement)
    if recipe.agreement:
        people = min(recipe.agreement.readers, len(readers(data)))
        sizes = data["drafts"]["candidate_ids"].list.len().to_list()
        read = sum(min(recipe.agreement.pairs, n * (n - 1) // 2) for n in sizes)
        considered["drafts"] = int(data["drafts"]["answers"].sum()) + 2 * people * read
    if isinstance(source := recipe.candidates, ModelCandidates):
        considered["candidates"] = answers_due(data, source)
    for name, entry in found.stages.items():
        check.expect(entry.closed, f"{name}: {entry.considered} considered, {entry.kept} kept, {entry.rejected} rejected")
        expected = considered.get(name, entry.considered)
        check.expect(entry.considered == expected, f"{name}: {entry.considered} considered, {expected} by the tables before it")
        refused = data["rejected"].filter(pl.col("stage") == name).height
        otherwise = {
            "comparisons": data["comparisons"]["prompt_id"].n_unique(),
            "pilot": entry.considered - refused,
            "drafts": entry.considered - refused,
        }
        kept = otherwise.get(name, data[name].height if name in data else entry.kept)
        check.expect(entry.kept == kept, f"{name}: {entry.kept} kept by the manifest, {kept} in the files")
        parts = [report for file in entry.files if (report := shards.accounting(tables.metadata(store, file.path)))]
        check.expect(entry.usage == shards.merge(parts).usage, f"{name}: the usage in the manifest is not the sum of that of its parts")
    return check


def _splits(data: dict[str, pl.DataFrame], recipe: Recipe) -> Check:
    check = Check(
        "splits", "split by hash of id or as a trait says; no persona and no prompt of a test split is seen in train or validation"
    )
    shares, people, prompts = (recipe.splits.validation, recipe.splits.test), data["personas"], data["prompts"]
    drawn = persona_splits(people["persona_id"].to_list(), people["traits"].to_list(), shares, recipe.splits.by_trait)
    check.expect(people["split"].to_list() == drawn, "personas.split is not the hash of its id, nor what splits.by_trait says")
    expected = split_of(prompts["prompt_id"].to_list(), *shares)
    check.expect(prompts["split"].to_list() == expected, "prompts.split is not the hash of its id")
    placed = (
        data["labels"]
        .join(data["personas"].select("persona_id", pl.col("split").alias("persona_split")), on="persona_id")
        .join(data["prompts"].select("prompt_id", pl.col("split").alias("prompt_split")), on="prompt_id")
        .join(cells().rename({"split": "expected"}), on=["persona_split", "prompt_split"], how="left")
    )
    wrong = placed.filter(~pl.col("split").eq_missing(pl.col("expected"))).height
    check.expect(wrong == 0, f"{wrong} labels are in another split than their persona and prompt say")
    for column, new in (("persona_id", ["test_new_personas", "test_new_both"]), ("prompt_id", ["test_new_prompts", "test_new_both"])):
        seen = set(placed.filter(pl.col("split").is_in(["train", "validation"]))[column])
        leak = seen & set(placed.filter(pl.col("split").is_in(new))[column])
        check.expect(not leak, f"{len(leak)} {column}s of {new} are also in train or validation")
    return check
