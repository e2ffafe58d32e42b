"""Comparisons: which two candidates are worth asking about, and whom to ask.

    per_prompt: 3                pairs of candidates: the lowest by hash of the pair; with a pilot, drawn by what it found (below)
    prompts_per_persona: null    prompts a persona is asked about, the lowest by hash of (persona, prompt); null for all
    per_persona_prompt: 1        of a prompt's comparisons, how many each of its personas is asked

A prompt that belongs to a value of a trait is shown to personas with that value alone; where there is none it is rejected.
Whether a persona is asked does not depend on which other personas there are, so adding personas repeats no question.
With a target for groups, targets.py says how much further everybody is asked (queues.py).

With a pilot, of the answers that it kept those pairs come first that are worth most: `pilot.first` (the disagreement of people, or the
strength of what they feel) times distance, or distance where nobody was asked; `pilot.uniform` of the choice is equal for all. The draw
is systematic, by one random number for each prompt along the pairs in the order of their hashes, so that each pair's chance is known:
`inclusion`.
With attribute users who are to disagree on a share of the comparisons, conflicts.py chooses the pairs.
Figures about a population from pairs chosen so are biased; weights 1 / inclusion mend that (Horvitz and Thompson 1952).
"""

import itertools
from collections.abc import Mapping
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from prefloom.flows.dataset import outcomes, standards, tables
from prefloom.flows.dataset.shards import ShardJob, ShardReport
from prefloom.flows.dataset.store import Store
from prefloom.flows.diversity.informative import chances, systematic
from prefloom.flows.steps.conflicts import chosen_pairs, kinds
from prefloom.flows.steps.queues import Groups, Queues, ranks, start
from prefloom.schemas.candidate import Candidate
from prefloom.schemas.comparison import Comparison
from prefloom.schemas.ids import content_id, draw, keys, unit
from prefloom.schemas.label import Rejected
from prefloom.schemas.persona import Persona
from prefloom.schemas.pilot import PilotPair
from prefloom.schemas.prompt import Prompt
from prefloom.schemas.recipe import Recipe
from prefloom.schemas.splits import CELLS, HALVES
from prefloom.schemas.texts import length_only


def choose_comparisons(job: ShardJob) -> ShardReport:
    """The comparisons of this shard's prompts, sorted by prompt and comparison. The unit is the prompt."""
    if done := job.done():
        return done
    store, recipe = job.run.store, job.run.resolved.recipe
    personas = tables.read(store, "personas/part-*.parquet", Persona, ["persona_id", "split", "kind", "traits"])
    prompts = tables.read(store, "prompts/part-*.parquet", Prompt, ["prompt_id", "split", "trait", "trait_value"])
    mine = tables.read(store, job.part("prompts"), Prompt, ["prompt_id"])["prompt_id"].to_list()
    candidates = tables.read(store, job.part("candidates"), Candidate, ["prompt_id", "candidate_id", "text"])
    pilot = tables.read(store, job.part("pilot"), PilotPair) if recipe.pilot else None
    queues = queued(recipe, personas, prompts, outcomes.quotas(store)) if recipe.target else None
    rows, rejected = choose(recipe, personas, prompts, candidates, mine, pilot, _by_conflict(store, recipe), queues)
    compared = len(mine) - rejected.height
    return job.write(Comparison, rows, rejected, considered=len(mine), kept=compared)


def choose(
    recipe: Recipe,
    personas: pl.DataFrame,
    prompts: pl.DataFrame,
    candidates: pl.DataFrame,
    mine: list[str],
    pilot: pl.DataFrame | None = None,
    allotted: Mapping[str, Mapping[tuple[str, str], float]] | None = None,
    queues: Queues | None = None,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(rows of Comparison, rows of Rejected) for the prompts `mine`, from all rows of Persona and Prompt and at least their Candidates.

    With rows of PilotPair about the same prompts, only those pairs are chosen from. `allotted` pairs are all taken, with their chance.
    Without `queues` everybody is asked what `comparisons` says.
    """
    answers: dict[str, list[tuple[str, str]]] = {}
    for prompt_id, candidate_id, text in candidates.select("prompt_id", "candidate_id", "text").iter_rows():
        answers.setdefault(prompt_id, []).append((candidate_id, text))
    settings, ids = recipe.comparisons, personas["persona_id"].to_list()
    persona_keys = keys(ids)
    draws, allowed = _assigned(recipe, personas, prompts)
    nobody = _without_readers(prompts, allowed)
    asked = _lowest(draws, allowed, settings.prompts_per_persona)
    looked: dict[str, list[PilotPair]] = {}
    for row in pilot.iter_rows(named=True) if pilot is not None else ():
        looked.setdefault(row["prompt_id"], []).append(PilotPair.model_construct(None, **row))
    column = {prompt_id: index for index, prompt_id in enumerate(prompts["prompt_id"])}

    rows: list[Comparison] = []
    rejected: list[Rejected] = []
    for prompt_id in mine:
        if prompt_id in nobody:
            rejected.append(_refused(prompt_id, "nobody_matches", "no persona that it may be shown to has the trait value it belongs to"))
            continue
        texts = dict(sorted(answers.get(prompt_id, [])))
        known = {(row.first_id, row.second_id): row for row in looked.get(prompt_id, ())}
        pairs = list(itertools.combinations(texts, 2)) if pilot is None else list(known)
        if allotted is not None:
            pairs = list(allotted[prompt_id])
        if not pairs:
            rejected.append(_refused(prompt_id, *_too_few(len(texts), allotted is not None)))
            continue
        order = np.argsort(draw(recipe.seed, "pair", keys(a for a, _ in pairs), keys(b for _, b in pairs)), kind="stable")
        if allotted is not None:
            drawn = [(place, allotted[prompt_id][pairs[order[place]]]) for place in range(len(pairs))]
        elif known:
            drawn = _worth_asking(recipe, prompt_id, [known[pairs[i]] for i in order])
        else:
            drawn = [(place, settings.per_prompt / len(pairs)) for place in range(min(settings.per_prompt, len(pairs)))]
        chosen = sorted((content_id("comparison", *pairs[order[place]]), pairs[order[place]], chance) for place, chance in drawn)
        which = draw(recipe.seed, "which", persona_keys[:, None], keys(c for c, *_ in chosen)[None, :])
        shown = np.repeat(asked[:, [column[prompt_id]]], len(chosen), axis=1)
        picked = queues.picked(column[prompt_id], which) if queues else _lowest(which, shown, settings.per_persona_prompt)
        for place, (comparison_id, (first, second), chance) in enumerate(chosen):
            found = known.get((first, second))
            rows.append(
                Comparison(
                    comparison_id=comparison_id,
                    prompt_id=prompt_id,
                    first_id=first,
                    second_id=second,
                    order="ab",
                    length_only=length_only(texts[first], texts[second]),
                    inclusion=float(f"{min(chance, 1.0):.6g}"),
                    dominated=_is_dominated(recipe, found),
                    disagreement=found.disagreement if found else None,
                    persona_ids=[ids[i] for i in np.flatnonzero(picked[:, place])],
                )
            )
    return tables.frame(Comparison, rows), tables.frame(Rejected, rejected)


def _assigned(recipe: Recipe, personas: pl.DataFrame, prompts: pl.DataFrame) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """personas × prompts: draws, of which the lowest are asked first, and whether the persona may be shown the prompt at all."""
    allowed = _allowed(personas["split"].to_list(), prompts["split"].to_list()) & matching(personas, prompts)
    return draw(recipe.seed, "assign", keys(personas["persona_id"])[:, None], keys(prompts["prompt_id"])[None, :]), allowed


def queued(recipe: Recipe, personas: pl.DataFrame, prompts: pl.DataFrame, quotas: pl.DataFrame | None = None) -> Queues:
    """The queues of all personas, asked as far as the last round of some rows of Quota says, or else as `comparisons` does."""
    base, halves = start(recipe.comparisons, prompts.height), np.array([HALVES.index(split) for split in prompts["split"]], dtype=np.int64)
    limits = np.full((personas.height, len(HALVES)), base, dtype=np.int64)
    if quotas is not None and recipe.target:
        groups = Groups.of(outcomes.members(recipe.target, personas), personas["persona_id"].to_list(), recipe.seed)
        last = quotas.filter(pl.col("round") == pl.col("round").max()).select("group", "turns", "more")
        limits = groups.limits({group: (turns, more) for group, turns, more in last.iter_rows()}, base)
    draws, allowed = _assigned(recipe, personas, prompts)
    return Queues(ranks(draws, allowed), allowed, halves, limits, recipe.comparisons)


def _worth_asking(recipe: Recipe, prompt_id: str, pairs: list[PilotPair]) -> list[tuple[int, float]]:
    """(place, chance with which it was drawn) of the pairs to ask about."""
    assert recipe.pilot
    found = chances(worth(pairs, recipe.pilot.first), recipe.comparisons.per_prompt, recipe.pilot.uniform)
    point = float(unit(draw(recipe.seed, "worth", keys([prompt_id])))[0])
    return [(place, float(found[place])) for place in systematic(found, point)]


def worth(pairs: list[PilotPair], first: Literal["disagreement", "strength"]) -> NDArray[np.float64]:
    """How much is to be learnt from each pair of a prompt; a pair that nobody could read is worth what the others are in the mean."""
    distances, read = np.array([pair.distance for pair in pairs]), [getattr(pair, first) for pair in pairs]
    known = [value for value in read if value is not None]
    mean = sum(known) / len(known) if known else 1.0
    found: NDArray[np.float64] = np.maximum(distances, 0.0) * np.array([mean if value is None else value for value in read])
    return np.round(found, 9)  # `validate` reckons it again


def _is_dominated(recipe: Recipe, pair: PilotPair | None) -> bool | None:
    if not recipe.pilot or recipe.pilot.dominated is None or pair is None or pair.gap is None:
        return None
    return abs(pair.gap) >= recipe.pilot.dominated


def _allowed(personas: list[str], prompts: list[str]) -> NDArray[np.bool_]:
    """personas × prompts: whether the cell of the split table is ever asked."""
    asked = np.array([[(persona, prompt) in CELLS for prompt in HALVES] for persona in HALVES])
    rows, columns = ([HALVES.index(split) for split in splits] for splits in (personas, prompts))
    allowed: NDArray[np.bool_] = asked[np.ix_(rows, columns)]
    return allowed


def matching(personas: pl.DataFrame, prompts: pl.DataFrame) -> NDArray[np.bool_]:
    """personas × prompts: whether the prompt is for everybody, or the persona has the trait value that it belongs to."""
    fits = np.ones((personas.height, prompts.height), dtype=np.bool_)
    if "trait" not in prompts.columns or prompts["trait"].is_null().all():
        return fits
    wanted = list(prompts.select("trait", "trait_value").iter_rows())
    have = [{(trait["name"], trait["value"]) for trait in traits} for traits in personas["traits"]]
    asked = {kind: np.array([kind in own for own in have], dtype=np.bool_) for kind in dict.fromkeys(wanted) if kind[0] is not None}
    for place, kind in enumerate(wanted):
        if kind in asked:
            fits[:, place] = asked[kind]
    return fits


def _without_readers(prompts: pl.DataFrame, allowed: NDArray[np.bool_]) -> set[str]:
    """The prompts for people of one kind that may be shown to nobody."""
    if "trait" not in prompts.columns:
        return set()
    kinds = prompts["trait"].is_not_null().to_numpy()
    return set(prompts["prompt_id"].filter(pl.Series(kinds & ~allowed.any(axis=0))))


def _lowest(draws: NDArray[np.uint64], allowed: NDArray[np.bool_], count: int | None) -> NDArray[np.bool_]:
    """In each row, the `count` allowed places with the lowest draws (all of them for None)."""
    if count is None or count >= draws.shape[1]:
        return allowed
    ranked = np.where(allowed, draws, np.uint64(2**64 - 1))
    places = np.argpartition(ranked, count - 1, axis=1)[:, :count]
    mask = np.zeros_like(allowed)
    np.put_along_axis(mask, places, True, axis=1)
    return mask & allowed


def _refused(prompt_id: str, reason: str, detail: str) -> Rejected:
    return Rejected(stage="comparisons", kind="check", reason=reason, row_id=prompt_id, detail=detail)


def _by_conflict(store: Store, recipe: Recipe) -> dict[str, dict[tuple[str, str], float]] | None:
    """The pairs of every prompt where the recipe says on how many of them types disagree: that share is one of the whole dataset."""
    if (source := recipe.conflict) is None:
        return None
    answers = tables.read(store, "candidates/part-*.parquet", Candidate, ["prompt_id", "candidate_id"])
    ids: dict[str, list[str]] = {name: [] for name in tables.read(store, "prompts/part-*.parquet", Prompt, ["prompt_id"])["prompt_id"]}
    for prompt_id, candidate_id in answers.sort("prompt_id", "candidate_id").iter_rows():
        ids[prompt_id].append(candidate_id)
    return chosen_pairs(kinds(ids, source, standards.of_run(store)), source, recipe.comparisons.per_prompt, recipe.seed)


def _too_few(count: int, allotted: bool) -> tuple[str, str]:
    """Why a prompt is not compared: reason and detail."""
    if allotted and count > 1:
        return "no_pair_wanted", f"{count} candidates left, no pair of its answers is wanted for the share of conflicts"
    return "too_few_candidates", f"{count} candidates left, two are needed"
