"""What a recipe depends on beside itself, and which of its stages are already done.

materials(run)          ->  Materials(templates={"judge/pairwise": "5be1…"}, models={"judge": "society/good-0.65-stereotype@1f…"})
is_finished(run, …)     ->  True when the manifest stands and every stage is fresh and whole: nothing is left to do
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from prefloom.flows.dataset import calibrations, inputs, manifest, outcomes, signal, stages
from prefloom.flows.dataset.run import Run
from prefloom.flows.dataset.uses import EMBEDDER, GENERIC, PEOPLE, REWARD
from prefloom.flows.engines import open_engine, plants, truth_is_kept
from prefloom.flows.engines.embedder import open_embedder
from prefloom.flows.engines.rewards import identity as identity_of_reward
from prefloom.flows.steps.candidates import answer_template
from prefloom.flows.steps.judgements import INPUTS
from prefloom.flows.steps.portraits import INPUTS as PORTRAIT_INPUTS
from prefloom.flows.steps.prompts import expect_source
from prefloom.flows.steps.sentences import SENTENCE_INPUTS
from prefloom.flows.steps.steering import VIEW_INPUTS, asked_views
from prefloom.prompts import expect_inputs, load
from prefloom.schemas.errors import InputError
from prefloom.schemas.manifest import StageEntry
from prefloom.schemas.people import WrittenPersonas
from prefloom.schemas.recipe import Resolved
from prefloom.schemas.rewards import FileReward
from prefloom.schemas.section import portable
from prefloom.schemas.sources import FileCandidates, FilePersonas, FilePrompts, ModelCandidates


@dataclass(frozen=True)
class Materials:
    """Content hashes of the templates and identities of the models that a recipe uses."""

    templates: Mapping[str, str]
    models: Mapping[str, str]


def materials(run: Run) -> Materials:
    """Load every template and open every model; InputError names what is missing, or what a calibration was not fitted for."""
    recipe = run.resolved.recipe
    if path := recipe.judgements.calibration:
        asked = [(portable(name), load(name).hash) for name in recipe.judgements.templates]
        calibrations.fits(calibrations.load(Path(path)), path, asked, recipe.judgements.adaptive)
    references = {reference for stage in stages.of(recipe) for reference in stage.templates(recipe)}
    templates = {reference: load(reference).hash for reference in sorted(references)}
    embedder = {} if recipe.embeddings is None else {EMBEDDER: open_embedder(recipe.embeddings).identity}
    people = {}
    if plants(recipe):
        from prefloom.flows.engines.society.people import identity

        people = {PEOPLE: identity()}
    rewards = {REWARD + name: found for name, section in (recipe.rewards or {}).items() if (found := identity_of_reward(name, section))}
    return Materials(templates, {name: _identity(run, name) for name in recipe.models} | embedder | people | rewards)


def _identity(run: Run, name: str) -> str:
    try:
        return open_engine(run, name).identity
    except InputError as error:
        if error.field.startswith("servers."):
            raise
        raise InputError("recipe", f"models.{name}.{error.field}", found=error.found, expected=error.expected) from None


def probe_inputs(resolved: Resolved) -> None:
    """Look at every template and at the first row of every input file, so that what is unfit is found before anything is started."""
    recipe = resolved.recipe
    for template in recipe.judgements.templates * recipe.asks:
        expect_inputs(template, INPUTS)
    if recipe.refinement:
        expect_inputs(recipe.refinement.template, INPUTS)
        expect_inputs(recipe.refinement.append.template, SENTENCE_INPUTS)
    if recipe.pilot or recipe.controls:
        expect_inputs(GENERIC, INPUTS - {"persona"})
    if isinstance(recipe.candidates, ModelCandidates):
        answer_template(recipe.candidates)
    if wanted := asked_views(recipe):
        expect_inputs(wanted.template, VIEW_INPUTS)
    for made in recipe.prompts:
        expect_source(made)
    for source in (*recipe.personas, *recipe.prompts, recipe.candidates, *(recipe.rewards or {}).values()):
        if isinstance(source, WrittenPersonas):
            expect_inputs(source.template, PORTRAIT_INPUTS)
        if isinstance(source, FilePersonas | FilePrompts | FileCandidates | FileReward):
            fields = source.fields.model_dump()
            wide = fields.pop("wide", None)
            named = [[value] if isinstance(value, str) else value or [] for value in fields.values()]
            next(inputs.numbered(Path(source.path), [column for columns in named for column in columns], wide))


def current_hash(run: Run, stage: stages.Stage, uses: Materials) -> str | None:
    """The hash that the stage has to have now, or None while a parent is unfinished."""
    wanted = stage.parents_in(run.resolved.recipe)
    parents = [entry for parent in wanted if (entry := stages.entry(run.store, parent))]
    if len(parents) < len(wanted):
        return None
    return stages.stage_hash(stage, run.resolved, uses.templates, uses.models, parents)


def fresh(run: Run, stage: stages.Stage, uses: Materials) -> StageEntry | None:
    """The stage's entry if it is finished, whole and made of what the recipe now asks for."""
    entry = stages.entry(run.store, stage.name)
    if entry is None or entry.hash != current_hash(run, stage, uses) or not stages.is_whole(run.store, entry):
        return None
    return entry


def composed(run: Run, uses: Materials) -> bytes | None:
    """What the manifest has to say now, or None while a stage is unfinished."""
    return manifest.compose(run, {portable(name): digest for name, digest in uses.templates.items()}, uses.models)


def is_finished(run: Run, uses: Materials) -> bool:
    """Whether a build of this run would do nothing."""
    if not run.store.exists("recipe.resolved.yaml") or not manifest.stands(run, composed(run, uses)):
        return False
    return all(fresh(run, stage, uses) for stage in stages.of(run.resolved.recipe)) and truth_is_kept(run)


def check_outcomes(run: Run) -> None:
    """InputError if a finished run is not good enough for the limits that the recipe now has."""
    for stage in stages.of(run.resolved.recipe):
        if entry := stages.entry(run.store, stage.name):
            stages.check_outcome(stage, entry, run.resolved.recipe.limits.failures)
    signal.check(run.store, run.resolved.recipe.limits.signal)
    outcomes.check(outcomes.lacking(outcomes.outcomes(run.store, run.resolved.recipe)), run.resolved.recipe.limits.missing)


def has_failures(run: Run) -> bool:
    """Whether any stage that asks models lost units to failures."""
    return any(
        entry.failures() for stage in stages.of(run.resolved.recipe) if (entry := stages.entry(run.store, stage.name)) and stage.asks_models
    )
