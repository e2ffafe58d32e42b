"""What each stage is made of. A stage is fresh while the hash of all it depends on is the one it was built with.

    hash = of (STAGE_VERSION, recipe sections, templates, model identities, digests of the parents' files)

`<stage>/_stage.json` (a manifest.StageEntry) is written when every shard is there. A parent that is rebuilt with the same bytes
leaves its children fresh, because they depend on its digest and not on when it ran.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from prefloom.flows.dataset import progress, tables
from prefloom.flows.dataset.run import Run
from prefloom.flows.dataset.shards import ShardReport
from prefloom.flows.dataset.store import Store
from prefloom.schemas.errors import InputError
from prefloom.schemas.ids import content_hash
from prefloom.schemas.manifest import FileEntry, StageEntry
from prefloom.schemas.recipe import Recipe, Resolved
from prefloom.schemas.sources import GridPersonas, ModelCandidates, SocietyPersonas

MANIFEST = "manifest.json"
GENERIC = "judge/generic"  # what a judge is asked about people in general
EMBEDDER, PEOPLE = "embeddings", "people"  # what the embedder and planted people are called among the identities of a run


def _nothing(_: Recipe) -> list[str]:
    return []


def _persona_templates(recipe: Recipe) -> list[str]:
    return sorted({source.template for source in recipe.personas if isinstance(source, GridPersonas)})


def _planted(recipe: Recipe) -> list[str]:
    return [PEOPLE] if any(isinstance(source, SocietyPersonas) for source in recipe.personas) else []


def _candidate_templates(recipe: Recipe) -> list[str]:
    return [recipe.candidates.template] if isinstance(recipe.candidates, ModelCandidates) else []


def _candidate_models(recipe: Recipe) -> list[str]:
    return recipe.candidates.models if isinstance(recipe.candidates, ModelCandidates) else []


def _selected(table: str, recipe: Recipe) -> list[str]:
    return [EMBEDDER] if recipe.diversity and getattr(recipe.diversity, table) else []


def _pilot_models(recipe: Recipe) -> list[str]:
    return [recipe.judgements.model] if recipe.pilot and (recipe.pilot.personas or recipe.pilot.rates) else []


def _pilot_templates(recipe: Recipe) -> list[str]:
    asked = [GENERIC] * recipe.pilot.rates + recipe.judgements.templates[: min(recipe.pilot.personas, 1)] if recipe.pilot else []
    return sorted(asked)


def _control_models(recipe: Recipe) -> list[str]:
    return [recipe.judgements.model] if recipe.controls else []


def _control_templates(recipe: Recipe) -> list[str]:
    controls = recipe.controls
    if controls is None:
        return []
    return [GENERIC] * controls.generic + (recipe.judgements.templates if controls.repeats or controls.shuffled else [])


def _export_templates(recipe: Recipe) -> list[str]:
    return ["export/system"] if recipe.exports.trl and recipe.exports.trl.persona else []


def _by_persona(recipe: Recipe) -> int:
    return recipe.shards.personas


@dataclass(frozen=True)
class Stage:
    """One folder of the run. Raise `version` when the code of the stage gives other rows for the same input."""

    name: str
    version: int
    unit: str
    parents: tuple[str, ...]
    sections: tuple[str, ...]
    templates: Callable[[Recipe], list[str]] = _nothing
    models: Callable[[Recipe], list[str]] = _nothing
    parts: Callable[[Recipe], int] = lambda recipe: recipe.shards.prompts
    files: tuple[str, ...] = ("{name}/part-*.parquet", "rejected/{name}-*.parquet")
    wanted: Callable[[Recipe], bool] = lambda _: True
    beside: Callable[[Recipe], list[str]] = _nothing  # what else its rows depend on, among the identities of a run

    def parents_in(self, recipe: Recipe) -> list[str]:
        """Those of its parents that the recipe has."""
        return [name for name in self.parents if BY_NAME[name].wanted(recipe)]

    @property
    def asks_models(self) -> bool:
        """Whether the stage makes model calls, which may fail and be asked again."""
        return self.models is not _nothing

    def patterns(self) -> list[str]:
        """Glob patterns of all its files."""
        return [pattern.format(name=self.name) for pattern in self.files]


STAGES: tuple[Stage, ...] = (
    Stage(
        "personas",
        2,
        "persona",
        (),
        ("seed", "personas", "splits", "diversity.personas"),
        templates=_persona_templates,
        parts=lambda _: 1,
        beside=lambda recipe: _planted(recipe) + _selected("personas", recipe),
    ),
    Stage(
        "prompts",
        2,
        "prompt",
        (),
        ("seed", "prompts", "splits", "shards.prompts", "diversity.prompts"),
        beside=lambda recipe: _selected("prompts", recipe),
    ),
    Stage(
        "candidates",
        3,
        "answer",
        ("prompts",),
        ("seed", "candidates", "checks.candidates", "diversity.candidates"),
        templates=_candidate_templates,
        models=_candidate_models,
        beside=lambda recipe: _selected("candidates", recipe),
    ),
    Stage(
        "embeddings",
        1,
        "text",
        ("personas", "prompts", "candidates"),
        ("shards.prompts",),
        wanted=lambda recipe: recipe.embeddings is not None,
        beside=lambda _: [EMBEDDER],
    ),
    Stage(
        "pilot",
        1,
        "item",  # an answer that is looked at, or a reading
        ("personas", "prompts", "candidates", "embeddings"),
        ("seed", "pilot"),
        templates=_pilot_templates,
        models=_pilot_models,
        wanted=lambda recipe: recipe.pilot is not None,
    ),
    Stage("comparisons", 2, "prompt", ("personas", "prompts", "candidates", "pilot"), ("seed", "comparisons", "pilot")),
    Stage(
        "judgements",
        2,
        "reading",
        ("personas", "prompts", "candidates", "comparisons"),
        ("judgements",),
        templates=lambda recipe: recipe.judgements.templates,
        models=lambda recipe: [recipe.judgements.model],
    ),
    Stage(
        "controls",
        1,
        "reading",
        ("personas", "prompts", "candidates", "comparisons"),
        ("seed", "judgements.model", "judgements.templates", "controls"),
        templates=_control_templates,
        models=_control_models,
        wanted=lambda recipe: recipe.controls is not None,
    ),
    Stage("labels", 2, "label", ("personas", "prompts", "comparisons", "judgements", "controls"), ("shards.personas",), parts=_by_persona),
    Stage("preferences", 2, "label", ("comparisons", "labels"), ("checks.labels",), parts=_by_persona),
    Stage(
        "exports",
        1,
        "preference",
        ("personas", "prompts", "candidates", "preferences"),
        ("exports",),
        templates=_export_templates,
        parts=_by_persona,
        files=("exports/*/*/*.parquet",),
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
    return FileEntry(path=name, rows=tables.rows(store, name), bytes=size, sha256=store.sha256(name))
