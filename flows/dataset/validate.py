"""Is this dataset what it says? Every check reads the files, not the code that wrote them.

    validate(Store("data/runs/demo-3b9c…"))  ->  [Check("files", "57 files …", []), Check("accounting", …), …]

A check with problems names them; nothing is mended. A dataset without a readable manifest is an InputError.
"""

import re
from collections import Counter

import polars as pl
import pyarrow as pa

from prefloom.flows.dataset import files, manifest, shards, stages, tables
from prefloom.flows.dataset import invariants_controls as controlled
from prefloom.flows.dataset.invariants import Check, vectors
from prefloom.flows.dataset.invariants_agreement import drafts, readers
from prefloom.flows.dataset.invariants_diversity import diversity
from prefloom.flows.dataset.invariants_exports import systems
from prefloom.flows.dataset.invariants_pilot import chosen, pilot
from prefloom.flows.dataset.invariants_refinement import refinements, rounds
from prefloom.flows.dataset.invariants_sources import answers_due, readers_due, sources
from prefloom.flows.dataset.invariants_targets import targets
from prefloom.flows.dataset.invariants_users import scores, users
from prefloom.flows.dataset.outcomes import outcomes
from prefloom.flows.dataset.store import Store
from prefloom.flows.dataset.validate_pieces import pieces
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
from prefloom.schemas.splits import SPLITS, persona_splits, split_of
from prefloom.schemas.target import Quota
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
    "targets": Quota,
    "comparisons": Comparison,
    "refinements": Refined,
    "judgements": Judgement,
    "controls": Control,
    "labels": Label,
    "preferences": Preference,
    "rejected": Rejected,
    "exports": TrlExample,
}
# What is read in pieces, and its checks in the order a reader would ask.
LARGE = ("judgements", "controls", "labels", "preferences", "rejected", "exports")
PIECES = ("judgements", "controls", "adaptive", "labels", "confidence", "votes", "preferences", "exports")
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
    data = {name: tables.read(store, f"{name}/*.parquet", record) for name, record in RECORDS.items() if name not in LARGE}
    data["rejected"] = pl.concat([_rejected(store, stage.name) for stage in stages.STAGES if stage.name != "preferences"])
    data["judgements"] = _reread(store, recipe)
    found_in = pieces(store, data, recipe)
    large = found_in.checks
    placed = [vectors(data)] if recipe.embeddings else []
    sound = placed and not placed[0].problems  # what goes by vectors can be looked at
    return [
        *checks,
        _ids(data),
        _links(data, large["links"]),
        _accounting(store, data, found, recipe, found_in.readings),
        _splits(data, recipe, large["splits"]),
        *([drafts(data, recipe)] if recipe.agreement else []),
        *placed,
        *([scores(data, recipe), users(data, recipe)] if recipe.rewards else []),
        *([pilot(data, recipe)] if recipe.pilot and sound else []),
        chosen(data, recipe),
        *([targets(data, recipe, outcomes(store, recipe))] if recipe.target else []),
        sources(data, recipe),
        *([refinements(data, recipe)] if recipe.refinement else []),
        *(large[name] for name in PIECES if name in large),
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
        check.expect(_is_wanted(file.path, recipe), f"{file.path} is no file of this recipe: another stage, export, split or part")
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


def _is_wanted(path: str, recipe: Recipe) -> bool:
    """Whether the recipe has such a stage or export, and so many parts of it: what no check reads is not to be trained on."""
    folder, *places, name = path.split("/")
    stage = stages.BY_NAME.get(name.split("-")[0] if folder == "rejected" else folder)
    if stage is None or (folder not in ("exports", "rejected") and (places or not name.startswith("part-"))):
        return False
    part = re.search(r"-(\d{5})(-of-\d{5})?\.", name)
    parts = 1 if places[1:2] == ["clients"] or (part and part[2]) else stage.parts(recipe)
    if folder == "exports":
        by_split = {"trl": 1, "fspo": 2}.get(places[0], len(places))
        if places[0] not in recipe.exports.wanted or not set(places[by_split:]) <= {*SPLITS}:
            return False
    return stage.wanted(recipe) and (part is None or int(part[1]) < parts)


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


def _rejected(store: Store, stage: str) -> pl.DataFrame:
    return tables.read(store, f"rejected/{stage}-*.parquet", Rejected)


def _reread(store: Store, recipe: Recipe) -> pl.DataFrame:
    """Judgements, as far as tables that are small by themselves are held to them."""
    columns = ["persona_id", "comparison_id", "template", "repeat", "order", "log_odds"]
    wanted = recipe.rewards or recipe.pilot or recipe.agreement
    return tables.read(store, "judgements/part-*.parquet" if wanted else "judgements/none", Judgement, columns)


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


def _links(data: dict[str, pl.DataFrame], check: Check) -> Check:
    """With the check of the tables that are read in pieces."""
    asked = data["comparisons"].select(pl.col("persona_ids").alias("persona_id")).explode("persona_id").drop_nulls()
    data = data | {"comparisons.persona_ids": asked}
    links = [
        ("candidates", "prompt_id", "prompts", "prompt_id"),
        ("comparisons", "prompt_id", "prompts", "prompt_id"),
        ("comparisons", "first_id", "candidates", "candidate_id"),
        ("comparisons", "second_id", "candidates", "candidate_id"),
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
    away = data["refinements"].join(homes, on="comparison_id").filter(pl.col("home") != pl.col("prompt_id"))
    check.expect(away.is_empty(), f"{away.height} refinements name another prompt than their comparison")
    late = data["rejected"].filter(pl.col("stage").is_in(["refinements", "judgements", "controls", "labels"]))
    ghosts = late.join(homes, left_on="row_id", right_on="comparison_id", how="anti")
    check.expect(ghosts.is_empty(), f"{ghosts.height} rejected rows name no comparison")
    return check


def _accounting(store: Store, data: dict[str, pl.DataFrame], found: Manifest, recipe: Recipe, readings: tuple[int, int]) -> Check:
    check = Check("accounting", "in each stage, considered = kept + rejected, to the row")
    cause = ["stage", "kind", "reason"]
    counted = [tables.read(store, name, Rejected, cause).group_by(cause).len() for name in store.list("rejected/*.parquet")]
    rejected = pl.concat([data["rejected"].select(cause).group_by(cause).len().clear(), *counted]).group_by(cause).agg(pl.col("len").sum())
    height: Counter[str] = Counter()
    for file in found.files:  # as many rows as listed: _schemas has looked
        height[file.path.split("/")[0]] += file.rows
    listed = {(stage, f"{kind}/{reason}"): n for stage, kind, reason, n in rejected.iter_rows()}
    claimed = {(name, reason): n for name, entry in found.stages.items() for reason, n in entry.rejected.items()}
    check.expect(listed == claimed, f"rejected rows {listed} are not those of the manifest {claimed}")
    asked = int(data["comparisons"]["persona_ids"].list.len().sum())
    weighing = data["personas"].filter(pl.col("kind") != "judge")["persona_id"]
    decided = int(data["comparisons"]["persona_ids"].explode().is_in(weighing.implode()).sum())
    considered = {
        "comparisons": data["prompts"].height,
        "judgements": min(max(found.stages["judgements"].considered - 2 * decided, readings[0]), readings[1]) + 2 * decided,
        "controls": controlled.considered(data, recipe),
        "scores": data["candidates"].height * len(recipe.rewards or {}),
        "standards": len(recipe.rewards or {}),
        "labels": asked,
        "preferences": height["labels"],
        "exports": height["preferences"] if recipe.exports.wanted else 0,
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
        kept = otherwise.get(name, height[name] if name in data or name in LARGE[:4] else entry.kept)
        check.expect(entry.kept == kept, f"{name}: {entry.kept} kept by the manifest, {kept} in the files")
        parts = [report for file in entry.files if (report := shards.accounting(tables.metadata(store, file.path)))]
        check.expect(entry.usage == shards.merge(parts).usage, f"{name}: the usage in the manifest is not the sum of that of its parts")
    return check


def _splits(data: dict[str, pl.DataFrame], recipe: Recipe, check: Check) -> Check:
    """With the check of the labels."""
    check.detail = "split by hash of id or as a trait says; no persona and no prompt of a test split is seen in train or validation"
    shares, people, prompts = (recipe.splits.validation, recipe.splits.test), data["personas"], data["prompts"]
    drawn = persona_splits(people["persona_id"].to_list(), people["traits"].to_list(), shares, recipe.splits.by_trait)
    check.expect(people["split"].to_list() == drawn, "personas.split is not the hash of its id, nor what splits.by_trait says")
    expected = split_of(prompts["prompt_id"].to_list(), *shares)
    check.expect(prompts["split"].to_list() == expected, "prompts.split is not the hash of its id")
    return check
