"""What a build will need, before anything is spent: rows, calls, tokens, bytes, time and money of each stage. Nothing is written.

    forecast(Run.create(Path("data"), resolve("demo")), materials)
    -> Forecast(stages=[…, StageForecast("judgements", rows=78294, usage={"judge": Usage(calls=78596, …)}, left=…, bytes=713000)], …)

Personas, prompts, imported answers, comparisons and who is asked are made in memory by the functions that make them in a build, so their
numbers are exact (of near-duplicates as far as vectors are there or cost nothing: forecast_vectors.py). What rests on an assumption
instead says so in `basis`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl

from prefloom.flows.dataset import stages
from prefloom.flows.dataset.coverage import coverage
from prefloom.flows.dataset.run import Run
from prefloom.flows.dataset.uses import refiner
from prefloom.flows.steps import forecast_time, freshness
from prefloom.flows.steps.comparisons import choose
from prefloom.flows.steps.forecast_answers import Answers, expected_answers
from prefloom.flows.steps.forecast_asked import Foreseen
from prefloom.flows.steps.forecast_bytes import Size, journal_bytes, per_character, rejected_bytes, sized, table_bytes
from prefloom.flows.steps.forecast_controls import expected_controls
from prefloom.flows.steps.forecast_drafts import expected_drafts, rounds_known
from prefloom.flows.steps.forecast_pilot import Ahead, expected_pilot
from prefloom.flows.steps.forecast_readings import Panel, Readings, expected_readings
from prefloom.flows.steps.forecast_refinement import expected_refinement
from prefloom.flows.steps.forecast_rows import Drawn
from prefloom.flows.steps.forecast_scores import expected_scores, readers
from prefloom.flows.steps.forecast_targets import Ceiling, ceiling, known_queues
from prefloom.flows.steps.forecast_vectors import peek
from prefloom.flows.steps.personas import personas_of
from prefloom.flows.steps.prompts import prompts_of
from prefloom.schemas.candidate import Candidate
from prefloom.schemas.comparison import Comparison
from prefloom.schemas.ids import shard_of
from prefloom.schemas.manifest import StageEntry
from prefloom.schemas.models import EndpointModel
from prefloom.schemas.persona import Persona
from prefloom.schemas.pilot import PilotPair
from prefloom.schemas.prompt import Prompt
from prefloom.schemas.recipe import Rate, Recipe
from prefloom.schemas.splits import HALVES
from prefloom.schemas.usage import Usage, Usages, spend, total

_VECTOR = 384 * 2 * 0.95 + 30.0  # bytes of a row with 384 numbers, as the embedded default has them, compressed
_READ = 6.0  # bytes of a margin and a bias, compressed


@dataclass(frozen=True)
class StageForecast:
    """What one stage will hold, and the calls it stands on: all of them, and those that are left to make."""

    name: str
    rows: int
    bytes: int
    usage: Usages = field(default_factory=dict)
    left: Usages = field(default_factory=dict)
    exact: bool = True  # rows are counted, not expected


@dataclass(frozen=True)
class Forecast:
    """The stages of one run, what its calls take, and what all of it rests on."""

    dataset: str
    built: bool
    stages: tuple[StageForecast, ...]
    journal: tuple[int, int]  # bytes that the models' journals have, bytes that the build adds
    rates: dict[str, Rate] = field(default_factory=dict)  # model -> how fast it is, where known
    basis: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    ceiling: Ceiling | None = None  # with a target

    def usage(self) -> Usages:
        """Model -> every call of the dataset."""
        return total(stage.usage for stage in self.stages)

    def left(self) -> Usages:
        """Model -> the calls that are left to make."""
        return total(stage.left for stage in self.stages)

    def seconds(self) -> float | None:
        """Time for the calls that are left, model after model; None while one that has some has no known pace."""
        return forecast_time.together(self.times().values())

    def times(self, further: Usages | None = None) -> dict[str, float | None]:
        """Model -> time for its calls that are left, and for further ones."""
        left = total([self.left(), further or {}])
        return {model: forecast_time.seconds(left.get(model, Usage()), self.rates.get(model)) for model in self.usage()}


def forecast(run: Run, uses: freshness.Materials) -> Forecast:
    """The forecast of a run. InputError as in a build, for what a build would find before its first call."""
    identities = {uses.models[name] for stage in stages.STAGES for name in stage.models(run.resolved.recipe)}
    journal = sum(run.journal(identity).glance().bytes() for identity in identities)
    done = {stage.name: entry for stage in stages.STAGES if (entry := freshness.fresh(run, stage, uses))}
    real = {name: StageForecast(name, _rows(entry), sum(f.bytes for f in entry.files), entry.usage) for name, entry in done.items()}
    if freshness.is_finished(run, uses):
        return Forecast(run.url, True, tuple(real.values()), (journal, 0))
    recipe = run.resolved.recipe
    assumed: dict[str, str] = {}
    authors = {name: Foreseen(run, uses, name) for name in stages.BY_NAME["personas"].models(recipe)}
    personas, unfit = personas_of(run.resolved, peek(run, "personas", assumed), authors)
    writers = {name: Foreseen(run, uses, name) for name in stages.BY_NAME["prompts"].models(recipe)}
    prompts, repeated = prompts_of(run.resolved, peek(run, "prompts", assumed), writers)
    written = any(writer.unknown for writer in writers.values())
    first = expected_answers(run, uses, prompts, repeated, peek(run, "candidates", assumed), personas, rounds_known(run, uses))
    drafted = expected_drafts(run, uses, personas, prompts, first)
    answers = drafted.before(first)
    ahead = expected_pilot(run, uses, personas, prompts, answers)
    queues = known_queues(run, uses, personas, prompts)
    comparisons, few = choose(recipe, personas, prompts, answers.rows, prompts["prompt_id"].to_list(), ahead.rows, queues=queues)
    panel = Panel(personas, prompts, comparisons)
    refining = expected_refinement(run, uses, panel, answers)
    panel = replace(panel, personas=refining.personas)
    readings = expected_readings(readers(panel), run, uses, answers)
    if not refining.known:
        readings = replace(readings, left=readings.usage)
    most = ceiling(recipe, panel, readings.usage)
    scores = expected_scores(recipe, prompts, answers)
    drawn = Drawn(panel, recipe, readings)
    judge = recipe.judgements.model
    pace = {name: writer.pace for name, writer in writers.items() if writer.pace}
    tried = pace | answers.pace | ({judge: readings.pace} if readings.pace else {})
    controls = expected_controls(run, uses, panel, answers)
    shared = ahead.shared(comparisons) if ahead.rows is not None and recipe.refinement is None else 0  # of the same descriptions
    rest = _less(readings, shared) if shared else readings.left
    asked = replace(drawn, readings=replace(readings, left=rest + drafted.judge + ahead.left + refining.left + controls.left))
    sizes = _early(panel, answers, ahead, (unfit, repeated, few), recipe) | scores.sizes | sized(drawn, answers)
    sizes["targets"] = Size(most.groups, 40 * most.groups + 4000) if most else Size(0, 0)
    sizes["drafts"] = Size(drafted.rows or 0, round(drafted.bytes))
    sizes["refinements"], sizes["controls"] = Size(refining.rows, refining.bytes), Size(controls.rows, controls.bytes)
    calls: dict[str, tuple[Usages, Usages]] = {
        "personas": ({name: w.usage for name, w in authors.items()}, {name: w.left for name, w in authors.items()}),
        "prompts": ({name: w.usage for name, w in writers.items()}, {name: w.left for name, w in writers.items()}),
        "drafts": (drafted.usage, drafted.left),
        "candidates": (answers.usage, answers.left),
        "scores": (scores.usage, scores.usage),
    }
    if ahead.usage.calls:
        calls["pilot"] = ({judge: ahead.usage}, {judge: ahead.left})
    if recipe.refinement:
        calls["refinements"] = ({refiner(recipe): refining.usage}, {refiner(recipe): refining.left})
    if recipe.asks:
        calls["judgements"] = ({judge: readings.usage}, {judge: rest})
    if recipe.controls:
        calls["controls"] = ({judge: controls.usage}, {judge: controls.left})
    guessed = {"drafts", "targets", "refinements", "judgements", "controls", "labels", "preferences", "exports", *assumed}
    guessed |= set() if ahead.exact else {"pilot", "comparisons"}
    guessed |= ({"prompts"} if written else set()) | ({"comparisons"} if recipe.conflict else set())
    guessed |= {"personas", "comparisons"} if any(author.unknown for author in authors.values()) else set()
    if answers.unknown or answers.guessed or drafted.rows is not None or {"prompts", "candidates"} & guessed:
        guessed |= {"candidates", "scores", "pilot", "comparisons"}
    if guessed & {"personas", "prompts", "candidates"}:
        guessed.add("embeddings")
    names = [(stage.name, sizes[stage.name]) for stage in stages.of(recipe)]
    expected = [StageForecast(name, size.rows, size.bytes, *calls.get(name, ({}, {})), name not in guessed) for name, size in names]
    return Forecast(
        dataset=run.url,
        built=False,
        stages=tuple(real.get(stage.name, stage) for stage in expected),
        journal=(journal, journal_bytes(asked, drafted.with_rounds(_with(answers, writers)))),
        rates=forecast_time.rates(recipe, tried),
        basis=(
            *_unprobed(run),
            *assumed.values(),
            *(author.basis("personas") for author in authors.values()),
            *(writer.basis("prompts") for writer in writers.values()),
            *answers.basis,
            *drafted.basis,
            *scores.basis,
            *([most.basis()] if most else []),
            *readings.basis,
            *ahead.basis,
            *refining.basis,
            *_assumptions(readings),
            *forecast_time.basis(recipe, tried),
        ),
        warnings=_warnings(panel, answers, few, recipe) + _nobody(coverage(personas, unfit, recipe)),
        ceiling=most,
    )


def _less(readings: Readings, made: int) -> Usage:
    """What is left of the readings when so many of all were made by the pilot."""
    usage, left = readings.usage, readings.left
    share = 1 - made / usage.calls if usage.calls else 1.0
    counts = (left.calls, left.prompt_tokens, left.completion_tokens, left.unmetered, left.cached_tokens)
    return Usage(*(round(share * count) for count in counts))


def _with(answers: Answers, writers: Mapping[str, Foreseen]) -> Answers:
    """The answers with what the writers of prompts add to the journal."""
    replies = {name: [*answers.replies.get(name, []), *writer.fresh] for name, writer in writers.items()}
    return replace(answers, left=total([answers.left, {name: w.left for name, w in writers.items()}]), replies=answers.replies | replies)


def _rows(entry: StageEntry) -> int:
    return sum(file.rows for file in entry.files if not file.path.startswith("rejected/"))


def _early(panel: Panel, answers: Answers, ahead: Ahead, rejected: tuple[pl.DataFrame, ...], recipe: Recipe) -> dict[str, Size]:
    """The stages before the readings; what the checks reject lies beside them."""
    unfit, repeated, few = rejected
    parts = recipe.shards.prompts

    def first(rows: pl.DataFrame) -> float:
        return rejected_bytes(rows, np.zeros(rows.height, dtype=np.int64))

    def by_prompt(rows: pl.DataFrame, column: str = "prompt_id") -> Any:
        return shard_of(rows[column], parts)

    personas = table_bytes(Persona, panel.personas, np.zeros(panel.personas.height, dtype=np.int64), 1) + first(unfit)
    prompts = table_bytes(Prompt, panel.prompts, by_prompt(panel.prompts), parts) + first(repeated)
    comparisons = table_bytes(Comparison, panel.comparisons, by_prompt(panel.comparisons), parts) + rejected_bytes(
        few, by_prompt(few, "row_id")
    )
    known = answers.rows.filter(~pl.col("candidate_id").is_in(list(answers.unknown)))
    written = sum(answers.characters[name] for name in answers.unknown)
    if answers.unknown:
        written *= per_character(known["text"].to_list() or panel.prompts["text"].to_list())
    refused = answers.rejected.select(pl.col("row").str.json_path_match("$.prompt_id").fill_null("").alias("prompt_id"))
    lost = first(answers.rejected) if recipe.candidates.source == "file" else rejected_bytes(answers.rejected, by_prompt(refused))
    candidates = written + table_bytes(Candidate, answers.rows, by_prompt(answers.rows), parts) + lost
    counts = {"personas": panel.personas.height, "prompts": panel.prompts.height, "candidates": answers.rows.height}
    sizes = {"personas": personas, "prompts": prompts, "candidates": candidates}
    if recipe.embeddings:
        counts["embeddings"] = sum(counts.values())
        sizes["embeddings"] = counts["embeddings"] * _VECTOR
    if ahead.rows is not None:
        counts["pilot"] = ahead.rows.height
        sizes["pilot"] = table_bytes(PilotPair, ahead.rows, by_prompt(ahead.rows), parts)
        sizes["pilot"] += _READ * int(ahead.rows["persona_ids"].list.len().sum())
    counts["comparisons"], sizes["comparisons"] = panel.comparisons.height, comparisons
    return {name: Size(counts[name], round(size)) for name, size in sizes.items()}


def _unprobed(run: Run) -> list[str]:
    """The journal goes by what a model's servers show when they are first asked."""
    recipe = run.resolved.recipe
    used = dict.fromkeys(name for stage in stages.STAGES for name in stage.models(recipe))
    names = [name for name in used if isinstance(recipe.models[name], EndpointModel)]
    if names:
        from prefloom.flows.engines.endpoint.opening import open_endpoint

        names = [name for name in names if open_endpoint(run, name).probe is None]
    return [f"{', '.join(names)}: not probed yet: what the journal holds of it is unknown"] if names else []


def _assumptions(readings: Readings) -> list[str]:
    looked = "expected from that sample" if readings.sample else "every reading is taken to pass the checks"
    drawn = "ids and texts real where known, " + (
        "log-odds near those of the sample" if readings.sample else "log-odds from a normal distribution"
    )
    return [
        f"rows of judgements, labels, preferences and exports: {looked}",
        f"bytes: about one part of each table written into memory, {drawn}; of the exports TRL's alone",
    ]


def _warnings(panel: Panel, answers: Answers, few: pl.DataFrame, recipe: Recipe) -> tuple[str, ...]:
    said = []
    for reason, why in (("too_few_candidates", "have fewer than two answers"), ("nobody_matches", "belong to a trait value of nobody")):
        if count := few.filter(pl.col("reason") == reason).height:
            said.append(f"{count:,} of {panel.prompts.height:,} prompts will {why} and are not compared")
    for what, rows in (("persona", panel.personas), ("prompt", panel.prompts)):
        shares = {"train": 1.0, "validation": recipe.splits.validation, "test": recipe.splits.test}
        said += [
            f"no {half} {what}: the splits that need one stay empty" for half in HALVES if shares[half] and half not in set(rows["split"])
        ]
    said += [f"{key} is not stated: max_tokens stands in for it, so tokens, bytes and money are upper bounds" for key in answers.bounds]
    if recipe.prices:
        used = [*stages.BY_NAME["prompts"].models(recipe), *answers.usage, *([recipe.judgements.model] if recipe.asks else [])]
        used += [refiner(recipe)] if recipe.refinement else []
        said += [f"no price for {name}: its calls are in no sum of money" for name in dict.fromkeys(used) if name not in recipe.prices]
    return tuple(said)


def _nobody(covered: pl.DataFrame) -> tuple[str, ...]:
    """What `diversity.personas` aims at and cannot meet."""
    missing = covered.filter((pl.col("pool") == 0) & (pl.col("target") > 0)).select("trait", "value", "target")
    return tuple(
        f"no persona has {trait}: {value}, and the recipe aims at {share:.1%} of them" for trait, value, share in missing.iter_rows()
    )


def report(found: Forecast, recipe: Recipe) -> dict[str, Any]:
    """The forecast as one JSON object. Money is US dollars as decimal text, null where nothing has a price."""
    usage, left = found.usage(), found.left()

    def calls(all_: Usages, rest: Usages) -> dict[str, Any]:
        everything, open_ = (sum(used.values(), Usage()) for used in (all_, rest))
        return {
            "calls": everything.calls,
            "journaled": everything.calls - open_.calls,
            "left": open_.calls,
            "prompt_tokens": everything.prompt_tokens,
            "prompt_tokens_left": open_.prompt_tokens,
            "cached_tokens": everything.cached_tokens,
            "cached_tokens_left": open_.cached_tokens,
            "completion_tokens": everything.completion_tokens,
            "completion_tokens_left": open_.completion_tokens,
            "dollars": _money(spend(all_, recipe.prices)),
            "dollars_left": _money(
                spend({name: used for name, used in rest.items() if used.calls}, recipe.prices) if open_.calls else _nothing(all_, recipe)
            ),
        }

    def takes(times: dict[str, float | None]) -> dict[str, float | None]:
        seconds, hours = forecast_time.together(times.values()), forecast_time.gpu_hours(times, recipe)
        return {"seconds_left": seconds and round(seconds, 1), "gpu_hours_left": hours and round(hours, 4)}

    times = found.times()
    models = {name: calls({name: used}, {name: left.get(name, Usage())}) | takes({name: times[name]}) for name, used in usage.items()}
    beyond = found.ceiling
    return {
        "dataset": found.dataset,
        "status": "already built" if found.built else "to build",
        "stages": {
            stage.name: {"rows": stage.rows, "exact": stage.exact} | calls(stage.usage, stage.left) | {"bytes": stage.bytes}
            for stage in found.stages
        },
        "models": models,
        "total": calls(usage, left)
        | takes(times)
        | {
            "dataset_bytes": sum(stage.bytes for stage in found.stages),
            "journal_bytes": found.journal[0],
            "journal_bytes_added": found.journal[1],
        },
        "at_most": {"labels": beyond.most}
        | calls(total([usage, beyond.further]), total([left, beyond.further]))
        | takes(found.times(beyond.further))
        if beyond
        else None,
        "basis": list(found.basis),
        "warnings": list(found.warnings),
    }


def _nothing(usage: Usages, recipe: Recipe) -> Decimal | None:
    """No money where a price is known, unknown where none is."""
    return None if spend(usage, recipe.prices) is None else Decimal(0)


def _money(amount: Decimal | None) -> str | None:
    return None if amount is None else f"{amount:f}"
