"""What each stage is made of. A stage is fresh while the hash of all it depends on is the one it was built with.

    hash = of (STAGE_VERSION, recipe sections, templates, model identities, digests of the parents' files)

`<stage>/_stage.json` (a manifest.StageEntry) is written when every shard is there. A parent that is rebuilt with the same bytes
leaves its children fresh, because they depend on its digest and not on when it ran.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from prefloom.flows.dataset import files, progress, tables, uses
from prefloom.flows.dataset.run import Run
from prefloom.flows.dataset.shards import ShardReport
from prefloom.flows.dataset.store import Store
from prefloom.schemas.errors import InputError
from prefloom.schemas.ids import content_hash
from prefloom.schemas.manifest import FileEntry, StageEntry
from prefloom.schemas.recipe import Recipe, Resolved, askable

MANIFEST = "manifest.json"
SCRATCH = "{stage}/shuffle-{index:05d}.arrow"  # what a stage makes on its way; gone once it is finished


@dataclass(frozen=True)
class Stage:
    """One folder of the run. Raise `version` when the code of the stage gives other rows for the same input."""

    name: str
    version: int
    unit: str
    parents: tuple[str, ...]
    sections: tuple[str, ...]
    templates: Callable[[Recipe], list[str]] = uses.nothing
    models: Callable[[Recipe], list[str]] = uses.nothing
    parts: Callable[[Recipe], int] = lambda recipe: recipe.shards.prompts
    files: tuple[str, ...] = ("{name}/part-*.parquet", "rejected/{name}-*.parquet")
    wanted: Callable[[Recipe], bool] = lambda _: True
    also: Callable[[Recipe], list[str]] = uses.nothing  # parents that it has for some recipes
    beside: Callable[[Recipe], list[str]] = uses.nothing  # what else its rows depend on, among the identities of a run
    in_turn: Callable[[Recipe], list[str]] = uses.nothing  # what answers from this process's memory, and is asked one after the other
    journals: Callable[[Recipe], list[str]] = uses.nothing  # those of them whose answers it journals

    passes: Callable[[Recipe], int] = lambda _: 1  # times that each of several models which share a GPU is asked: once in every round

    def parents_in(self, recipe: Recipe) -> list[str]:
        """Those of its parents that the recipe has."""
        return [name for name in (*self.parents, *self.also(recipe)) if BY_NAME[name].wanted(recipe)]

    @property
    def asks_models(self) -> bool:
        """Whether the stage makes model calls, which may fail and be asked again."""
        return self.models is not uses.nothing or self.journals is not uses.nothing

    def patterns(self) -> list[str]:
        """Glob patterns of all its files."""
        return [pattern.format(name=self.name) for pattern in self.files]


STAGES: tuple[Stage, ...] = (
    Stage(
        "personas",
        3,
        "persona",
        (),
        ("seed", "personas", "splits", "diversity.personas"),
        templates=uses.persona_templates,
        models=uses.persona_models,
        parts=lambda _: 1,
        beside=lambda recipe: uses.planted(recipe) + uses.selected("personas", recipe),
    ),
    Stage(
        "prompts",
        3,
        "prompt",
        (),
        ("seed", "prompts", "splits", "shards.prompts", "diversity.prompts"),
        templates=uses.prompt_templates,
        models=uses.prompt_models,
        beside=lambda recipe: uses.selected("prompts", recipe),
    ),
    Stage(
        "drafts",
        1,
        "item",  # an answer of some round, or a reading
        ("personas", "prompts"),
        ("seed", "candidates", "checks.candidates", "diversity.candidates", "agreement"),
        templates=uses.draft_templates,
        models=uses.draft_models,
        wanted=lambda recipe: recipe.agreement is not None,
        beside=lambda recipe: uses.selected("candidates", recipe),
        passes=lambda recipe: 1 + recipe.agreement.rounds if recipe.agreement else 1,
    ),
    Stage(
        "candidates",
        4,
        "answer",
        ("prompts", "drafts"),
        ("seed", "candidates", "checks.candidates", "diversity.candidates"),
        templates=uses.candidate_templates,
        models=lambda recipe: askable(recipe.candidates),
        also=uses.steering,
        beside=lambda recipe: uses.selected("candidates", recipe),
    ),
    Stage(
        "embeddings",
        1,
        "text",
        ("personas", "prompts", "candidates"),
        ("shards.prompts",),
        wanted=lambda recipe: recipe.embeddings is not None,
        beside=lambda _: [uses.EMBEDDER],
    ),
    Stage(
        "scores",
        1,
        "score",
        ("prompts", "candidates"),
        ("rewards",),
        wanted=lambda recipe: recipe.rewards is not None,
        beside=uses.rewards,
        journals=uses.journaled_rewards,
        in_turn=uses.local_rewards,
    ),
    Stage(
        "standards",
        1,
        "reward",
        ("prompts", "scores"),
        ("rewards",),
        parts=lambda _: 1,
        wanted=lambda recipe: recipe.rewards is not None,
    ),
    Stage(
        "pilot",
        1,
        "item",  # an answer that is looked at, or a reading
        ("personas", "prompts", "candidates", "embeddings"),
        ("seed", "pilot"),
        templates=uses.pilot_templates,
        models=uses.pilot_models,
        wanted=lambda recipe: recipe.pilot is not None,
    ),
    Stage(
        "targets",  # what its rounds hang on is all that labels and preferences hang on
        1,
        "quota",
        ("personas", "prompts", "candidates", "pilot", "scores", "standards"),
        ("seed", "personas", "pilot", "comparisons", "target", "judgements", "checks.labels"),
        templates=lambda recipe: recipe.judgements.templates * recipe.asks,
        models=uses.target_models,
        parts=lambda recipe: recipe.target.rounds if recipe.target else 0,
        wanted=lambda recipe: recipe.target is not None,
    ),
    Stage(
        "comparisons",
        2,
        "prompt",
        ("personas", "prompts", "candidates", "pilot", "scores", "standards", "targets"),
        ("seed", "personas", "comparisons", "pilot", "target"),
    ),
    Stage(
        "refinements",
        1,
        "round",
        ("personas", "prompts", "candidates", "comparisons"),
        ("seed", "refinement", "shards.personas"),
        templates=uses.refinement_templates,
        models=uses.refinement_models,
        parts=uses.by_persona,
        wanted=lambda recipe: recipe.refinement is not None,
        beside=lambda recipe: uses.planted(recipe) if recipe.refinement and recipe.refinement.source == "planted" else [],
    ),
    Stage(
        "judgements",
        2,
        "reading",
        ("personas", "prompts", "candidates", "scores", "standards", "comparisons", "refinements"),
        ("seed", "judgements.model", "judgements.templates", "judgements.adaptive"),
        templates=lambda recipe: recipe.judgements.templates * recipe.asks,
        models=uses.judges,
    ),
    Stage(
        "controls",
        1,
        "reading",
        ("personas", "prompts", "candidates", "comparisons", "refinements"),
        ("seed", "judgements.model", "judgements.templates", "controls"),
        templates=uses.control_templates,
        models=uses.control_models,
        wanted=lambda recipe: recipe.controls is not None,
    ),
    Stage(
        "labels",
        2,
        "label",
        ("personas", "prompts", "candidates", "comparisons", "judgements", "controls"),
        ("shards.personas", "judgements.calibration"),
        parts=uses.by_persona,
    ),
    Stage("preferences", 2, "label", ("comparisons", "labels"), ("checks.labels",), parts=uses.by_persona),
    Stage(
        "exports",
        1,
        "preference",
        ("personas", "prompts", "candidates", "refinements", "preferences"),
        ("exports",),
        templates=uses.export_templates,
        parts=uses.by_persona,
        files=("exports/*/*", "exports/*/*/*", "exports/*/*/*/*"),
        also=uses.exported,
    ),
)
BY_NAME = {stage.name: stage for stage in STAGES}


def of(recipe: Recipe) -> list[Stage]:
    """The stages that a recipe has."""
    return [stage for stage in STAGES if stage.wanted(recipe)]


def stage_hash(
    stage: Stage, resolved: Resolved, templates: Mapping[str, str], models: Mapping[str, str], parents: Sequence[StageEntry]
) -> str:
    """What `stage` is made of, as one hash. `templates` and `models` map every reference and name to its content or identity."""
    return content_hash(
        {
            "version": stage.version,
            "sections": resolved.data(*stage.sections),
            "templates": [templates[reference] for reference in stage.templates(resolved.recipe)],
            "models": [models[name] for name in (*stage.models(resolved.recipe), *stage.beside(resolved.recipe))],
            "parents": [parent.digest for parent in parents],
        }
    )


def entry(store: Store, stage: str) -> StageEntry | None:
    """The stage's `_stage.json`, or None if the stage is not finished (or the file is damaged, and the stage has to be made again)."""
    name = f"{stage}/_stage.json"
    try:
        return StageEntry.model_validate_json(store.read(name))
    except (FileNotFoundError, ValidationError):
        return None


def is_whole(store: Store, done: StageEntry) -> bool:
    """Whether all files of a finished stage are there, by size."""
    return all(store.size(file.path) == file.bytes for file in done.files)


def begin(run: Run, stage: Stage, stage_hash: str, discard: bool = False) -> None:
    """Open a stage: the folder stops being a dataset, files made of something else go; finished shards stay unless `discard`."""
    earlier = entry(run.store, stage.name)
    recorded = {file.path: file.sha256 for file in earlier.files} if earlier else {}
    run.store.remove(MANIFEST)
    run.store.remove(f"{stage.name}/_stage.json")
    progress.clear(run.store, stage.name)
    for pattern in stage.patterns():
        for name in run.store.list(pattern):
            if discard or not _belongs(run, stage, stage_hash, name, recorded.get(name)):
                run.store.remove(name)


def _belongs(run: Run, stage: Stage, stage_hash: str, name: str, recorded: str | None) -> bool:
    """Whether a file was made of what the stage is made of now, for the place where it lies, and is as it was when last recorded."""
    if not name.startswith("exports/trl/") and name.startswith("exports/"):
        return False  # of some the footer cannot tell, and none of them is gone on with: each is written anew
    footer, index = tables.metadata(run.store, name), name.removesuffix(".parquet")[-5:]
    made_for = (footer.get("prefloom.stage_hash"), footer.get("prefloom.file"))
    if made_for != (stage_hash, name) or not index.isdigit() or int(index) >= stage.parts(run.resolved.recipe):
        return False
    return recorded is None or run.store.sha256(name) == recorded


def finish(run: Run, stage: Stage, stage_hash: str, report: ShardReport) -> StageEntry:
    """Write `_stage.json` over the files that are there. RuntimeError if a row is unaccounted for."""
    files = [_file(run.store, name) for pattern in stage.patterns() for name in run.store.list(pattern)]
    done = StageEntry(
        hash=stage_hash,
        digest=content_hash([(file.path, file.sha256) for file in files]),
        files=files,
        considered=report.considered,
        kept=report.kept,
        rejected=report.rejected,
        usage=report.usage,
    )
    if not done.closed:
        raise RuntimeError(f"{stage.name}: {done.considered} {stage.unit}s considered, {done.kept} kept, rejected {done.rejected}")
    for name in run.store.list(f"{stage.name}/shuffle-*.arrow"):
        run.store.remove(name)
    text = done.model_dump_json(indent=1).encode() + b"\n"
    run.store.publish(f"{stage.name}/_stage.json", lambda file: file.write(text))
    progress.clear(run.store, stage.name)
    return done


def check_outcome(stage: Stage, done: StageEntry, limit: float) -> None:
    """InputError if nothing is left, or if more than the recipe's share was lost to failures. The stage stays on disk either way."""
    causes = ", ".join(f"{n} {reason}" for reason, n in sorted(done.rejected.items(), key=lambda item: -item[1]))
    if not done.kept and stage.name != "exports":
        what = f"nothing left of {done.considered} {stage.unit}s" + (f" ({causes})" if causes else "")
        raise InputError(stage.name, found=what, expected="at least one")
    if (failures := done.failures()) > limit * done.considered:
        raise InputError(
            stage.name,
            "limits.failures",
            found=f"{failures} of {done.considered} {stage.unit}s lost ({causes})",
            expected=f"at most {limit:.0%}; see rejected/, then build again with --retry-failed, or raise the limit",
        )


def _file(store: Store, name: str) -> FileEntry:
    size = store.size(name)
    assert size is not None
    return FileEntry(path=name, rows=files.rows(store, name), bytes=size, sha256=store.sha256(name))
