"""The main path: one recipe becomes an audited dataset of who prefers what.

    prefloom build data/recipes/demo.yaml        ->  data/runs/demo-<fingerprint>/manifest.json

A stage whose folder is fresh is left alone. Every other stage is cut into shards, one Prefect task each; a task gets a ShardJob (paths
and numbers) and gives back a ShardReport (counts). Killed at any moment, the next build goes on from the shards that are on disk.
"""

import logging
import shlex
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.artifacts import create_link_artifact, create_table_artifact
from prefect.client.schemas import State
from prefect.futures import wait
from prefect.states import Completed

from prefloom.flows import policies
from prefloom.flows.dataset import executions, manifest, outcomes, progress, signal, stages
from prefloom.flows.dataset.lock import run_lock
from prefloom.flows.dataset.resolve import resolve
from prefloom.flows.dataset.run import Run
from prefloom.flows.dataset.shards import ShardJob, ShardReport, in_rounds, merge, with_calls_ahead
from prefloom.flows.dataset.uses import refiner
from prefloom.flows.display import describe, tabulate
from prefloom.flows.engines import asking, close_engines, count_prefill, introduce, keep_truth
from prefloom.flows.report.page import NAME, write_report
from prefloom.flows.steps import freshness
from prefloom.flows.steps.candidates import generate_candidates, import_candidates
from prefloom.flows.steps.comparisons import choose_comparisons
from prefloom.flows.steps.controls import read_controls
from prefloom.flows.steps.drafts import draft_answers
from prefloom.flows.steps.embeddings import embed_texts
from prefloom.flows.steps.exports import export_preferences
from prefloom.flows.steps.judgements import LETTERS, judge_comparisons
from prefloom.flows.steps.labels import aggregate_labels
from prefloom.flows.steps.personas import sample_personas
from prefloom.flows.steps.pilot import look_ahead
from prefloom.flows.steps.preferences import check_labels
from prefloom.flows.steps.prompts import collect_prompts
from prefloom.flows.steps.refinements import refine_personas
from prefloom.flows.steps.scores import fit_standards, score_candidates
from prefloom.flows.steps.targets import announce, first_round, further, next_round
from prefloom.flows.steps.verdicts import THREE
from prefloom.schemas.manifest import StageEntry
from prefloom.schemas.models import EndpointModel
from prefloom.schemas.usage import Prefill

logger = logging.getLogger("prefloom")

Step = Callable[[ShardJob], ShardReport]
Summary = dict[str, ShardReport]


@flow(name="build", flow_run_name="build {recipe}", persist_result=False, validate_parameters=False)
def build_dataset(recipe: str, out: str = "data", overrides: Sequence[str] = (), retry_failed: bool = False) -> State[Summary]:
    """Build the dataset of a recipe under `out`, or go on where an earlier build stopped. InputError if another build has the run folder.

    Gives what was done: stage -> report; a stage that was up to date is not in it.
    """
    run = Run.create(out, resolve(recipe, overrides))
    with run_lock(run.url, lost=asking.STOPPING.set) as still_ours:
        run.store.sweep()
        run.store_recipe()
        for stage in stages.of(run.resolved.recipe):
            progress.clear(run.store, stage.name)  # of a build that was killed
        executions.begin(run, _command(recipe, out, overrides, retry_failed))
        build = Build(run, retry_failed, still_ours)
        asking.STOPPING.clear()
        try:
            _stages(build)
        except BaseException as error:
            asking.STOPPING.set()  # shards in other threads end with the calls that are in flight
            with suppress(OSError):  # what went wrong is the news, not that the log has no room for it
                executions.end(run, "interrupted" if isinstance(error, KeyboardInterrupt) else "failed")
            raise
        finally:
            close_engines()
        executions.end(run, "built")
        if run.resolved.recipe.run.report:
            link_report(run)
    return Completed(message=f"{outcome(run)} in {run.url}", data=build.done)


def _command(recipe: str, out: str, overrides: Sequence[str], retry_failed: bool) -> str:
    """What to type to start this build, from where it was started."""
    options = [part for override in overrides for part in ("--set", override)]
    return shlex.join(["prefloom", "build", recipe, "--out", out, *options, *(["--retry-failed"] if retry_failed else [])])


def _stages(build: "Build") -> None:
    keep_truth(build.run)
    build.stage("personas", sample_personas)
    build.stage("prompts", collect_prompts, whole=True)
    if build.run.resolved.recipe.agreement:
        build.stage("drafts", draft_answers)
    if build.run.resolved.recipe.candidates.source == "file":
        build.stage("candidates", import_candidates, whole=True)
    else:
        build.stage("candidates", generate_candidates)
    if build.run.resolved.recipe.embeddings:
        build.stage("embeddings", embed_texts)
    if build.run.resolved.recipe.rewards:
        build.stage("scores", score_candidates)
        build.stage("standards", fit_standards)
    if build.run.resolved.recipe.pilot:
        build.stage("pilot", look_ahead)
    if build.run.resolved.recipe.target:
        build.stage("targets", first_round, whole=True)
    _ask(build)
    while planned := further(build.run):
        logger.info("%-12s %s", "targets", announce(planned))
        build.stage("targets", next_round, whole=True, again=True)
        _ask(build)
    lacking = outcomes.lacking(outcomes.outcomes(build.run.store, build.run.resolved.recipe))
    for line in outcomes.in_words(lacking):
        logger.warning("%-12s %s", "targets", line)
    outcomes.check(lacking, build.run.resolved.recipe.limits.missing)
    build.stage("exports", export_preferences)
    build.finish()


def _ask(build: "Build") -> None:
    """Whom to ask about what, what they say, and what of it is kept: once, or in every round of a target."""
    build.stage("comparisons", choose_comparisons)
    if build.run.resolved.recipe.refinement:
        build.stage("refinements", refine_personas)
    build.stage("judgements", judge_comparisons)
    if build.run.resolved.recipe.controls:
        build.stage("controls", read_controls)
    build.stage("labels", aggregate_labels)
    signal.check(build.run.store, build.run.resolved.recipe.limits.signal)
    build.stage("preferences", check_labels)


@dataclass
class Build:
    """One execution: which run, what has been done so far."""

    run: Run
    retry_failed: bool
    still_ours: Callable[[], None]  # InputError once another build has the run

    def __post_init__(self) -> None:
        self.uses = freshness.materials(self.run)
        self.introduced: set[str] = set()
        self.prefill: dict[str, Prefill] = {}  # of the stage that runs
        self.done: Summary = {}

    def stage(self, name: str, step: Step, whole: bool = False, again: bool = False) -> None:
        """Make the stage unless it is fresh, by one task per part or one for the `whole`; write `_stage.json`; hold it to the limits.

        `again`: it is fresh, and has to go on from what it holds.
        """
        stage, recipe = stages.BY_NAME[name], self.run.resolved.recipe
        limit = recipe.limits.failures
        # What was lost is asked once more, not in every round of a target; its rounds ask nobody, and one goes on from the other.
        retry = self.retry_failed and stage.asks_models and name != "targets" and name not in self.done

        def is_fresh() -> StageEntry | None:
            fresh = freshness.fresh(self.run, stage, self.uses)
            return None if again or (fresh and retry and fresh.failures()) else fresh

        ahead: list[ShardReport] = []
        self.prefill = {}
        if not (fresh := is_fresh()) and stage.asks_models:
            ahead = self._meet(stage, step, retry)
            fresh = is_fresh()
        if fresh:
            logger.info("%-12s unchanged: %s %ss", name, f"{fresh.kept:,}", stage.unit)
            stages.check_outcome(stage, fresh, limit)
            return
        stage_hash = freshness.current_hash(self.run, stage, self.uses)
        assert stage_hash is not None, f"{name} runs before its parents are done"
        stages.begin(self.run, stage, stage_hash, discard=retry)
        report = with_calls_ahead(ahead, self._shards(stage, step, stage_hash, retry and not ahead, whole=whole))
        finished = stages.finish(self.run, stage, stage_hash, report)
        self.done[name] = in_rounds(self.done.get(name), report)
        executions.note_stage(self.run, name, self.done[name], self.prefill)
        prices = recipe.prices
        logger.info("%-12s %s", name, describe(report, stage.unit, prices))
        create_table_artifact(key=f"{recipe.name}-{name}", table=tabulate(report, prices), description=f"{name} of {self.run.url}")
        stages.check_outcome(stage, finished, limit)

    def _shards(
        self, stage: stages.Stage, step: Step, stage_hash: str, retry: bool, whole: bool = False, only: str | None = None
    ) -> ShardReport:
        """Run the step for every shard, one Prefect task each."""
        self._seal(stage)
        counted = count_prefill(self.run, [only] if only else stage.models(self.run.resolved.recipe))
        place = self.run.address if policies.is_remote(self.run.resolved.recipe.run) else self.run.url
        parts = 1 if whole else stage.parts(self.run.resolved.recipe)
        jobs = [ShardJob(place, stage.name, index, stage_hash, retry, only) for index in range(parts)]
        of = f" of {only}" if only else ""
        run_shard = task(name=stage.name + of, task_run_name=stage.name + of + " {job.index:05d}", **policies.task_options())(run_step)
        with policies.placement(self.run.resolved.recipe.run):
            futures = [run_shard.submit(step, job) for job in jobs]
        wait(futures)
        self.still_ours()
        report = merge([future.result() for future in futures])
        self._seal(stage)
        self.prefill |= counted()
        return report

    def _meet(self, stage: stages.Stage, step: Step, retry: bool) -> list[ShardReport]:
        """Get to know the stage's models. Of several that share a GPU each is asked for all it has to say before the next is served."""
        recipe, reports = self.run.resolved.recipe, []
        models = stage.models(recipe)
        in_turn = len(models) > 1 and any((server := recipe.servers.get(name)) and server.vllm for name in models)
        for name in models * (stage.passes(recipe) if in_turn else 1):
            if isinstance(recipe.models[name], EndpointModel) and name not in self.introduced:
                self._introduce(name)
            if in_turn:
                logger.info("%-12s asking %s", stage.name, name)
                reports.append(self._shards(stage, step, "", retry, only=name))
        for name in stage.in_turn(recipe):
            logger.info("%-12s by %s", stage.name, name)
            reports.append(self._shards(stage, step, "", retry, only=name))
        return reports

    def _introduce(self, name: str) -> None:
        recipe = self.run.resolved.recipe
        refines = recipe.refinement is not None and name == refiner(recipe)
        probe = introduce(self.run, name, THREE if refines else LETTERS if name == recipe.judgements.model else ())
        self.introduced.add(name)
        self.uses = freshness.materials(self.run)
        settings = self.run.resolved.recipe.models[name]
        why = ", for it gives no log-probabilities" if probe.read == "votes" and getattr(settings, "read", "") == "auto" else ""
        logger.info("%-12s %s%s", name, probe.describe(), why)

    def _seal(self, stage: stages.Stage) -> None:
        """Before a stage, fold in what killed builds journaled; after it, what this one did."""
        recipe = self.run.resolved.recipe
        for model in (*stage.models(recipe), *stage.journals(recipe)):
            self.run.journal(self.uses.models[model]).seal()

    def finish(self) -> None:
        """Write the manifest, unless it stands as it should."""
        wanted = freshness.composed(self.run, self.uses)
        assert wanted is not None, "every stage has run"
        if not manifest.stands(self.run, wanted):
            self.still_ours()
            self.run.store.remove(stages.MANIFEST)
            self.run.store.create(stages.MANIFEST, wanted)


def run_step(step: Step, job: ShardJob) -> Any:
    """One shard as a Prefect task: the step's report with the clock around it, and a state that says what came of it."""
    started = time.time()
    report = replace(step(job), started=started, ended=time.time())
    return Completed(message=describe(report, stages.BY_NAME[job.stage].unit), data=report)


@task(name="report", task_run_name="report", **policies.task_options())
def link_report(run: Run) -> State[None]:
    """Write the report and let Prefect point at it."""
    path = f"{run.address}/{NAME}"
    size = write_report(run.store)
    key = f"{run.resolved.recipe.name}-report"
    create_link_artifact(
        key=key, link=Path(path).as_uri() if run.store.local else path, link_text=NAME, description=f"{outcome(run)}: `{path}`"
    )
    return Completed(message=f"{path}, {size / 1e6:.1f} MB")


def outcome(run: Run) -> str:
    """`38,995 labels, 33,663 preferences`."""
    kept = {name: entry.kept for name in ("labels", "preferences") if (entry := stages.entry(run.store, name))}
    return ", ".join(f"{count:,} {name}" for name, count in kept.items())
