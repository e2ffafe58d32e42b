"""The readings before they are asked: how many, how long, which of them the journal holds, and what a few of them say.

    expected_readings(Panel(…), run, uses, answers)  ->  Readings: usage, what is left, a sample of log-odds

Their number is exact. All of them would take too long to render, but whether one is held hangs on its persona, its template and its
prompt, so a few per persona and template tell the rest. Nothing is written.
"""

import math
import time
from dataclasses import dataclass
from functools import cache, cached_property
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from prefloom.flows.dataset import stages
from prefloom.flows.dataset.run import Run
from prefloom.flows.dataset.shards import ShardJob
from prefloom.flows.engines import open_engine
from prefloom.flows.engines.asking import read_reply
from prefloom.flows.engines.protocol import Reply, Request
from prefloom.flows.steps import freshness
from prefloom.flows.steps.forecast_adaptive import shares as shares_asked
from prefloom.flows.steps.forecast_answers import Answers, evenly, how_many, length
from prefloom.flows.steps.forecast_prefix import BLOCK, common, shares
from prefloom.flows.steps.judgements import asker, read_letters
from prefloom.prompts import load
from prefloom.schemas.comparison import Comparison
from prefloom.schemas.ids import shard_of
from prefloom.schemas.recipe import Rate
from prefloom.schemas.usage import Usage

PROBED = 1024  # pairs of readings rendered at most to see what the journal holds
CLUSTERS, LOOKED_AT = 128, 1024  # comparisons whose readings are looked at, and how many pairs of readings that are in all

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Panel:
    """Who is asked about what: rows of Persona, Prompt and Comparison, and every (comparison, persona) by their places in them."""

    personas: pl.DataFrame
    prompts: pl.DataFrame
    comparisons: pl.DataFrame

    @cached_property
    def pairs(self) -> tuple[Ints, Ints]:
        """(place of the comparison, place of the persona) of every pair that is asked, comparison by comparison."""
        rows = self.comparisons.select("persona_ids").with_row_index("comparison").explode("persona_ids", empty_as_null=False)
        return rows["comparison"].to_numpy().astype(np.int64), _places(rows["persona_ids"], self.personas["persona_id"])

    @cached_property
    def prompt(self) -> Ints:
        """The place of each comparison's prompt."""
        return _places(self.comparisons["prompt_id"], self.prompts["prompt_id"])


def _places(values: pl.Series, among: pl.Series) -> Ints:
    """Where each value stands in a sorted column of distinct ones."""
    return among.search_sorted(values).to_numpy().astype(np.int64)


@dataclass(frozen=True)
class Sample:
    """What some readings say, per template, comparison and persona: log-odds of the answer shown first, in order ab and in order ba."""

    first: Floats  # templates × comparisons × personas
    second: Floats
    mass: Floats  # of all that were read, sorted
    failed: float  # share of readings that could not be read
    said: str = ""  # what one of those said


@dataclass(frozen=True)
class Readings:
    """What `judgements` will ask."""

    usage: Usage
    left: Usage
    pace: float | None
    sample: Sample | None  # None: nothing is known about any reading
    prompt_tokens: Floats  # of each pair's readings, on average
    basis: tuple[str, ...]


def expected_readings(panel: Panel, run: Run, uses: freshness.Materials, answers: Answers) -> Readings:
    """All readings of the panel, over all templates in both orders."""
    if not len(panel.pairs[0]):
        return Readings(Usage(), Usage(), None, None, np.zeros(0), ())
    return _Survey(panel, run, uses, answers).result()


class _Look(NamedTuple):
    """One reading that is rendered: what it asks, under which key."""

    request: Request
    key: str


class _Survey:
    def __init__(self, panel: Panel, run: Run, uses: freshness.Materials, answers: Answers) -> None:
        self.panel, self.run, self.uses = panel, run, uses
        recipe = self.recipe = run.resolved.recipe
        self.model = recipe.judgements.model
        self.engine, self.glance = open_engine(run, self.model), run.journal(uses.models[self.model]).glance()
        # Two templates with the same words are asked once.
        self.templates = [*{load(name).hash: name for name in recipe.judgements.templates}.values()]
        texts = dict(answers.rows.select("candidate_id", "text").iter_rows())
        descriptions, tasks = (dict(rows.iter_rows()) for rows in (_texts(panel.personas, "description"), _texts(panel.prompts, "text")))
        self.descriptions, self.ask = descriptions, asker(recipe, self.engine.votes, descriptions, tasks, texts)
        first, second = panel.comparisons["first_id"].to_list(), panel.comparisons["second_id"].to_list()
        both = list(zip(first, second, strict=True))
        self.known = np.array([not answers.unknown & {a, b} for a, b in both], dtype=bool)  # comparisons whose two answers are known
        around = np.array([len(text) for text in tasks.values()], dtype=float)[panel.prompt]
        self.described = np.array([len(text) for text in descriptions.values()], dtype=float)
        # Characters of prompt, first and second answer.
        self.pieces = np.array([around, *([answers.characters[name] for name in side] for side in (first, second))])
        self.shown = self.pieces.sum(axis=0)
        self.rendered = around + np.array([len(texts[a]) + len(texts[b]) for a, b in both])  # the same with ids for what is not known
        self.looks: dict[tuple[int, int], tuple[_Look, _Look]] = {}  # (template, place of the pair) -> order ab, order ba
        self.replies: dict[str, Reply] = {}
        self.journaled: frozenset[str] = frozenset()

    def result(self) -> Readings:
        calls = self.glance.scopes()
        self.calls = np.array([calls.get(name, 0) for name in self.panel.prompts["prompt_id"]], dtype=float)
        probes, clusters = self._probes(), self._clusters()
        for template in range(len(self.templates)):
            for place in {*probes, *clusters.ravel().tolist()}:
                self._render(template, place)
        if self.calls.any():
            held = self.glance.replies([look.key for both in self.looks.values() for look in both])
            self.replies = {key: reply for key, raw in held.items() if (reply := read_reply(raw))}
            self.journaled = frozenset(self.replies)
        pace = self._rehearse(clusters) if self.engine.free else None
        held_share, sample = self._held(), self._sample(clusters)
        basis = [self._where(clusters) if sample else "readings: none is known yet"]
        if self.calls.any():
            basis.append(f"what the journal holds of them: by {2 * len(self.looks):,} looked up, a few for each persona and template")
        usage, left, tokens = self._usage(held_share, basis, self._asked(sample, basis))
        return Readings(usage, left, pace, sample, tokens, tuple(basis))

    def _probes(self) -> list[int]:
        """One pair of each persona (of some of them if they are very many), about prompts that are in the journal."""
        comparison, persona = self.panel.pairs
        prompt = self.panel.prompt[comparison]
        share = self.calls / np.maximum(np.bincount(prompt, minlength=len(self.calls)), 1)
        full = (self.calls > 0) & (share >= 0.5 * share.max())  # a killed build may leave some hardly begun
        eligible = np.random.default_rng(0).permutation(np.flatnonzero(full[prompt] & self.known[comparison]))
        _, first = np.unique(persona[eligible], return_index=True)
        return [int(eligible[first[i]]) for i in evenly(len(first), PROBED // len(self.templates))]

    def _clusters(self) -> Ints:
        """comparisons × personas: places of pairs. What several personas say of one comparison is alike, which matters for a file."""
        comparison, _ = self.panel.pairs
        counts = np.bincount(comparison, minlength=len(self.known))
        starts = np.cumsum(counts) - counts
        useful = (counts > 0) & self.known & ((self.calls > 0)[self.panel.prompt] | self.engine.free)
        chosen = np.flatnonzero(useful if useful.any() else counts > 0)
        chosen = chosen[evenly(len(chosen), max(8, CLUSTERS // len(self.templates)))]
        readers = LOOKED_AT // (len(chosen) * len(self.templates)) or 1
        rows = [[starts[c] + (k + j * counts[c] // readers) % counts[c] for j in range(readers)] for k, c in enumerate(chosen)]
        return np.array(rows, dtype=np.int64)

    def _render(self, template: int, place: int) -> None:
        comparison, persona = (int(side[place]) for side in self.panel.pairs)
        shown = self._comparison(comparison)
        name, reader, identity = self.templates[template], self.panel.personas["persona_id"][persona], self.uses.models[self.model]
        asked = [self.ask((one, name, reader)) for one in (shown, shown.swap())]
        self.looks[template, place] = (_Look(asked[0], asked[0].key(identity)), _Look(asked[1], asked[1].key(identity)))

    @cache  # noqa: B019 - the survey lives for one forecast
    def _comparison(self, place: int) -> Comparison:
        return Comparison.model_construct(None, **self.panel.comparisons.row(place, named=True))

    def _rehearse(self, clusters: Ints) -> float | None:
        """Ask for the looked-at readings that are missing; calls per second."""
        comparison, _ = self.panel.pairs
        places = [place for place in clusters.ravel().tolist() if self.known[comparison[place]]]
        looks = (look for template in range(len(self.templates)) for place in places for look in self.looks[template, place])
        wanted = list({look.key: look for look in looks if look.key not in self.replies}.values())
        if not wanted:
            return None
        began = time.perf_counter()
        for batch in self.engine.answer([look.request for look in wanted], lambda: False):
            self.replies |= {wanted[position].key: reply for position, reply in batch}
        return len(wanted) / max(time.perf_counter() - began, 1e-6)

    def _held(self) -> Floats:
        """pairs × templates: the share of the two readings that needs no call."""
        comparison, persona = self.panel.pairs
        prompt, possible = self.panel.prompt[comparison], (self.calls > 0)[self.panel.prompt] & self.known
        seen = np.zeros((2, len(self.described), len(self.templates)))
        for (template, place), both in self.looks.items():
            if possible[comparison[place]]:
                seen[:, persona[place], template] += [sum(look.key in self.journaled for look in both), 2]
        share = np.where(seen[1] > 0, seen[0], seen[0].sum()) / np.maximum(np.where(seen[1] > 0, seen[1], seen[1].sum()), 1)
        held: Floats = share[persona] * possible[comparison][:, None]
        # No prompt holds more calls than its journal has.
        expected = 2 * np.bincount(prompt, weights=held.sum(axis=1), minlength=len(self.calls))
        held *= np.minimum(1, self.calls / np.maximum(expected, 1e-9))[prompt][:, None]
        held[self._finished()[prompt]] = 1.0
        return held

    def _finished(self) -> NDArray[np.bool_]:
        """Prompts whose part is on disk, made of what it has to be made of: nothing about them is asked, whatever the journal holds."""
        stage, parts = stages.BY_NAME["judgements"], self.recipe.shards.prompts
        digest = freshness.current_hash(self.run, stage, self.uses)
        done = [i for i in range(parts) if digest and ShardJob(str(self.run.folder), stage.name, i, digest).done()]
        return np.isin(shard_of(self.panel.prompts["prompt_id"], parts), done)

    def _sample(self, clusters: Ints) -> Sample | None:
        """What is known of the clusters; gaps are filled from the same comparison, comparisons of which nothing is known left out."""
        values = np.full((len(self.templates), *clusters.shape, 2), np.nan)
        masses, failures, said = [], 0, ""
        for template, row, column in np.ndindex(values.shape[:3]):
            for order, look in enumerate(self.looks[template, int(clusters[row, column])]):
                if (reply := self.replies.get(look.key)) is None:
                    continue
                read = read_letters(reply)
                if isinstance(read, str):
                    failures, said = failures + 1, reply.error or reply.text or ""
                else:
                    values[template, row, column, order] = read[0]
                    masses.append(read[1])
        whole = ~np.logical_or.reduce(np.isnan(values), axis=3)
        complete = np.flatnonzero(np.logical_and.reduce(np.logical_or.reduce(whole, axis=2), axis=0))
        if not len(complete):
            return None
        for template, row in np.ndindex(whole.shape[:2]):
            good = np.flatnonzero(whole[template, row])
            if len(good):
                values[template, row] = values[template, row][good[np.arange(clusters.shape[1]) % len(good)]]
        values = values[:, complete]
        return Sample(values[..., 0], values[..., 1], np.sort(masses), failures / (failures + len(masses)), said)

    def _where(self, clusters: Ints) -> str:
        places = set(clusters.ravel().tolist())
        keys = {look.key for (_, place), both in self.looks.items() if place in places for look in both} & self.replies.keys()
        told = how_many({"journaled": len(keys & self.journaled), "tried out (free)": len(keys - self.journaled)})
        return f"what readings say: by a sample of {len(keys):,}, {told}"

    def _asked(self, sample: Sample | None, basis: list[str]) -> Floats:
        """The share of all pairs that each template is asked of."""
        judgements = self.recipe.judgements
        found = shares_asked(np.stack([sample.first, sample.second]) if sample else None, len(self.templates), judgements)
        if judgements.adaptive:
            most = 2 * len(self.templates) * len(self.panel.pairs[0])
            how = f"{found.mean():.0%} of them expected, by that sample" if sample else "all of them reckoned, an upper bound"
            basis.append(f"adaptive reading: at most {most:,} readings; {how}")
        return found

    def _usage(self, held: Floats, basis: list[str], asked: Floats) -> tuple[Usage, Usage, Floats]:
        """(all, left, prompt tokens of each pair), with characters as the looked-at ones have them beside the texts that they show."""
        comparison, persona = self.panel.pairs
        texts = self.described[persona] + self.shown[comparison]
        rendered = self.described[persona] + self.rendered[comparison]
        left = missing = 0.0
        total, cached = np.zeros(len(texts)), np.zeros(2)
        per_token, how = self._per_token()
        for template in range(len(self.templates)):
            added = [length(both[0].request) - rendered[place] for (t, place), both in self.looks.items() if t == template]
            share = float(asked[template])
            characters, wanted = 2 * (texts + math.fsum(added) / max(len(added), 1)), np.maximum(share - held[:, template], 0)
            total, left, missing = total + share * characters, left + (characters * wanted).sum(), missing + 2 * wanted.sum()
            if shares(self.recipe, self.engine.votes):
                cached += self._reused(template, wanted, per_token, share)
        basis.append(f"prompt tokens of {self.model}: {per_token:.2f} characters each, {how}; one completion token for each reading")
        calls, some = round(2 * len(texts) * float(asked.sum())), round(missing)
        everything, rest = (
            Usage(n, round(characters / per_token), n, cached_tokens=round(reused))
            for n, characters, reused in ((calls, total.sum(), cached[0]), (some, left, cached[1]))
        )
        if everything.cached_tokens:
            basis.append(
                f"prefixes taken as shared: {everything.cached_tokens:,} of {everything.prompt_tokens:,} prompt tokens of {self.model}"
            )
        return everything, rest, total / (2 * float(asked.sum())) / per_token

    def _reused(self, template: int, wanted: Floats, per_token: float, share: float) -> Floats:
        """(of all, of those left) prompt tokens that another persona's reading of the same comparison in the same order begins with."""
        comparison, _ = self.panel.pairs
        readers = np.stack([np.bincount(comparison, weights=w, minlength=len(self.known)) for w in (np.full(len(wanted), share), wanted)])
        begin = common(self.recipe, self.templates[template], self.descriptions)
        tokens = sum(BLOCK * np.floor(begin(pieces) / per_token / BLOCK) for pieces in (self.pieces, self.pieces[[0, 2, 1]]))
        found: Floats = (np.maximum(readers - 1, 0) * tokens).sum(axis=1)
        return found

    def _per_token(self) -> tuple[float, str]:
        looks = {look.key: look for both in self.looks.values() for look in both}
        sizes = [(length(looks[key].request), reply.prompt_tokens) for key, reply in self.replies.items() if reply.prompt_tokens]
        if sizes:
            return sum(size for size, _ in sizes) / sum(tokens or 0 for _, tokens in sizes), f"as {len(sizes):,} replies counted"
        rate = self.recipe.rates.get(self.model)
        return (rate or Rate()).characters_per_token, f"as rates.{self.model} states" if rate else "an assumption; rates may state it"


def _texts(rows: pl.DataFrame, column: str) -> pl.DataFrame:
    return rows.select(rows.columns[0], column)
