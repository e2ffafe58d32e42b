"""Drafts: how much people disagree about a prompt's answers, and other answers where they disagree too little or too much.

    agreement: {low: 0.2, readers: 12, pairs: 3, rounds: 2}

Round 0 is what `candidates` would make. Some people of the training split read the first pairs of its answers in both orders,
under the first template. A prompt whose readers disagree within the bounds keeps these answers; another is answered anew by the same
models in the same views, with other seeds, at most `rounds` times. Where no round is inside, the one nearest to the bounds stays, the
earliest of several.

    rejected/   regenerated   disagreement 0.0909 in round 0; round 1 stays        and beside it what else the checks found in such a round

Readers and pairs are the first in the same draws as those of `comparisons`, and the answers that stay are those that `candidates` asks for:
what comes up again there is found in the journal. What one prompt's readers say moves no other prompt. An item of the accounting is an
answer or a reading.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import combinations

import numpy as np
import polars as pl

from prefloom.flows.dataset import tables
from prefloom.flows.dataset.described import read_by_judges
from prefloom.flows.dataset.heterogeneity_pairs import disagreement
from prefloom.flows.dataset.shards import ShardJob, ShardReport
from prefloom.flows.engines import open_engine
from prefloom.flows.engines.asking import NO_REPLY, Meter, Sessions
from prefloom.flows.steps.candidates import Answers, ask_models, sift, tasks
from prefloom.flows.steps.judgements import CHUNK, Read, Reading, asker, failure, read_all, readings_of
from prefloom.flows.steps.pilot import Answer, Said, both_orders, pair_of
from prefloom.flows.steps.selection import encoder_of
from prefloom.schemas.agreement import Agreement, Draft
from prefloom.schemas.candidate import Candidate
from prefloom.schemas.comparison import Comparison
from prefloom.schemas.errors import InputError
from prefloom.schemas.ids import draw, keys
from prefloom.schemas.label import Rejected
from prefloom.schemas.persona import Persona
from prefloom.schemas.prompt import Prompt
from prefloom.schemas.recipe import Recipe
from prefloom.schemas.sources import ModelCandidates


def draft_answers(job: ShardJob) -> ShardReport:
    """The rounds of this shard's prompts, by prompt and round; a job for one model `only` journals what it says and writes nothing."""
    if done := job.done():
        return done
    run, recipe = job.run, job.run.resolved.recipe
    people = tables.read(run.store, "personas/part-*.parquet", Persona, ["persona_id", "description", "split", "kind"])
    people = read_by_judges(people)
    train = people.filter(pl.col("split") == "train")["persona_id"].to_list()
    prompts = tables.read(run.store, job.part("prompts"), Prompt)
    enough(len(train))
    meter = Meter(job, planned=prompts.height * planned(recipe, len(train)))
    with ExitStack() as stack:
        sessions = Sessions(job, meter, prompts["prompt_id"].to_list(), stack)
        drafting = Drafting(job, sessions, meter, people, train)
        size = max(1, CHUNK // (most_rounds(recipe) * planned(recipe, len(train))))  # a session forgets what was long ago
        for start in range(0, prompts.height, size):
            drafting.draft(prompts[start : start + size])
    if job.only:
        return meter.billed(ShardReport(0, 0, {}))
    beside = pl.concat([tables.frame(Rejected, drafting.listed), *drafting.rejected])
    rows = sorted(drafting.rows, key=lambda row: (row.prompt_id, row.round))
    considered = drafting.considered
    report = job.write(Draft, tables.frame(Draft, rows), beside, considered, considered - beside.height, meter.usage())
    return meter.billed(report)


def enough(people: int) -> None:
    """InputError unless two people can read a pair."""
    if people < 2:
        found = f"{people} {'persona' if people == 1 else 'personas'} in the training split"
        raise InputError("recipe", "agreement.readers", found=found, expected="at least two, or nobody can disagree")


def most_rounds(recipe: Recipe) -> int:
    """Rounds of a prompt at most."""
    return 1 + _settings(recipe).rounds


def planned(recipe: Recipe, people: int) -> int:
    """Calls of one round of one prompt, if all its answers stay."""
    assert isinstance(recipe.candidates, ModelCandidates)
    settings = recipe.candidates
    assert isinstance(settings.views, list), "views are listed where answers are made anew"
    answers = len(settings.models) * len(settings.views) * settings.samples
    return answers + 2 * readings(recipe, answers, people)


def readings(recipe: Recipe, answers: int, people: int) -> int:
    """How often a pair of so many answers is read by somebody."""
    settings = _settings(recipe)
    return min(settings.readers, people) * min(settings.pairs, answers * (answers - 1) // 2)


def readers_of(recipe: Recipe, train: Sequence[str], prompt_id: str) -> list[str]:
    """The people of the training split who read the answers of a prompt: those whom `comparisons` asks about it first."""
    order = np.argsort(draw(recipe.seed, "assign", keys(train), keys([prompt_id])), kind="stable")
    return sorted(train[place] for place in order[: _settings(recipe).readers])


def pairs_of(recipe: Recipe, prompt_id: str, candidate_ids: Sequence[str], readers: Sequence[str]) -> list[Comparison]:
    """The pairs of these answers that are read, by id: those that `comparisons` chooses first."""
    pairs = [*combinations(sorted(candidate_ids), 2)]
    order = np.argsort(draw(recipe.seed, "pair", keys(a for a, _ in pairs), keys(b for _, b in pairs)), kind="stable")
    chosen = [[Answer(name, "", None, 0) for name in pairs[place]] for place in order[: _settings(recipe).pairs]]
    return sorted((pair_of(prompt_id, one, other, readers) for one, other in chosen), key=lambda pair: pair.comparison_id)


def _settings(recipe: Recipe) -> Agreement:
    assert recipe.agreement, "a recipe without agreement has no such stage"
    return recipe.agreement


class Drafting:
    """The rounds of one shard's prompts, some prompts at a time."""

    def __init__(self, job: ShardJob, sessions: Sessions, meter: Meter, people: pl.DataFrame, train: list[str]) -> None:
        self._job, self._recipe, self._sessions, self._meter, self._train = job, job.run.resolved.recipe, sessions, meter, train
        self._described = dict(people.select("persona_id", "description").iter_rows())
        self._encoder = encoder_of(job, quiet=True)
        self.rows: list[Draft] = []
        self.rejected: list[pl.DataFrame] = []  # answers, round by round
        self.listed: list[Rejected] = []  # readings that failed, answers of rounds that do not stay
        self.considered = 0

    def draft(self, prompts: pl.DataFrame) -> None:
        """All rounds of some prompts."""
        open_ = prompts["prompt_id"].to_list()
        rounds: dict[str, list[Draft]] = {prompt_id: [] for prompt_id in open_}
        refused: dict[tuple[str, int], pl.DataFrame] = {}
        answered: dict[tuple[str, int], pl.DataFrame] = {}
        settings = _settings(self._recipe)
        for number in range(most_rounds(self._recipe)):
            asked = prompts.filter(pl.col("prompt_id").is_in(open_))
            for row, kept, gone in self._round(asked, number) if open_ else ():
                rounds[row.prompt_id].append(row)
                answered[row.prompt_id, number], refused[row.prompt_id, number] = kept, gone
            # A prompt of which a model that is not served now has yet to speak waits for the next job.
            open_ = [name for name in open_ if (name, number) in answered and rounds[name][-1].action == "regenerated"]
        for mine in rounds.values():
            if mine:
                best = min(mine, key=lambda row: (settings.off(row.disagreement), row.round))
                self._settle(mine, best, answered, refused)
        refusals = sum(map(len, self.rejected)) + len(self.listed)
        self._meter.sorted_out(self.considered - refusals, refusals)

    def _settle(
        self,
        mine: Sequence[Draft],
        best: Draft,
        answered: Mapping[tuple[str, int], pl.DataFrame],
        refused: Mapping[tuple[str, int], pl.DataFrame],
    ) -> None:
        """The round that stays, and the answers of the others as rejected rows. A failure is one in any round, so that it can be mended."""
        for row in mine:
            self.rows.append(row.model_copy(update={"stays": row.round == best.round}))
            gone = refused[row.prompt_id, row.round]
            if row.round == best.round:
                self.rejected.append(gone.filter(pl.col("kind") == "failure"))
                continue
            found = "unknown" if row.disagreement is None else f"{row.disagreement:.4f}"
            detail = f"disagreement {found} in round {row.round}; round {best.round} stays"
            for answer in answered[row.prompt_id, row.round].iter_rows(named=True):
                self.listed.append(_regenerated(Candidate.model_construct(None, **answer), detail))
            self.rejected.append(gone)

    def _round(self, prompts: pl.DataFrame, number: int) -> Iterator[tuple[Draft, pl.DataFrame, pl.DataFrame]]:
        """(what was found, the answers that passed the checks, the others) of one round, for each prompt of which all has been said."""
        recipe = self._recipe
        assert isinstance(recipe.candidates, ModelCandidates)
        plan = tasks(recipe.candidates, prompts, rounds=dict.fromkeys(prompts["prompt_id"], number))
        answers = ask_models(recipe, recipe.candidates.models, plan, self._sessions.of, self._again)
        silent = {answer.prompt_id for answer, reply in answers if reply == NO_REPLY and not self._sessions.asks(answer.model)}
        answers = [(answer, reply) for answer, reply in answers if answer.prompt_id not in silent]
        kept, gone = sift(answers, recipe, self._encoder)
        gone = gone.with_columns(pl.lit("drafts").alias("stage"))
        homes = gone["row"].str.json_path_match("$.prompt_id")
        by_prompt = {str(name): part["candidate_id"].to_list() for (name,), part in kept.group_by("prompt_id")}
        wanted = [name for name in prompts["prompt_id"] if name not in silent]
        pairs = {name: pairs_of(recipe, name, by_prompt.get(name, []), readers_of(recipe, self._train, name)) for name in wanted}
        said, unheard = self._read(prompts, kept, [pair for some in pairs.values() for pair in some])
        for name in wanted:
            if name in unheard:
                continue
            self.considered += _count(answers, name) + 2 * sum(len(pair.persona_ids) for pair in pairs[name])
            row = found(recipe, name, number, _count(answers, name), by_prompt.get(name, []), pairs[name], said)
            yield row, kept.filter(pl.col("prompt_id") == name), gone.filter(homes == name)

    def _read(self, prompts: pl.DataFrame, kept: pl.DataFrame, pairs: Sequence[Comparison]) -> tuple[Said, set[str]]:
        """(what was read in both orders, prompts of which the judge has yet to speak)."""
        recipe, judge = self._recipe, self._recipe.judgements.model
        texts = dict(kept.select("candidate_id", "text").iter_rows())
        tasks_ = dict(prompts.select("prompt_id", "text").iter_rows())
        request = asker(recipe, open_engine(self._job.run, judge).votes, self._described, tasks_, texts)
        session, waits, unheard = self._sessions.of(judge), not self._sessions.asks(judge), set[str]()

        def ask(plan: Sequence[Reading]) -> list[Read]:
            reads: list[Read] = []
            for chunk in read_all(session, iter(plan), request, texts, self._again(judge)):
                reads += [read for _, read, _ in chunk]
                unheard.update(reading[0].prompt_id for reading, _, reply in chunk if waits and reply == NO_REPLY)
                self.listed += [failure("drafts", reading, read, reply) for reading, read, reply in chunk if isinstance(read, str)]
            return reads

        return both_orders([*readings_of(pairs, recipe.judgements.templates[:1])], ask), unheard

    def _again(self, name: str) -> bool:
        """Whether failures of a model are asked again: those of one that is not served now stay what they are."""
        return self._job.retry_failed and self._sessions.asks(name)


def found(
    recipe: Recipe, prompt_id: str, number: int, answers: int, candidate_ids: Sequence[str], pairs: Sequence[Comparison], said: Said
) -> Draft:
    """The row of one round, from (comparison, persona) -> margin and bias."""
    settings = _settings(recipe)
    read = [
        (pair, who, said[pair.comparison_id, who][0]) for pair in pairs for who in pair.persona_ids if (pair.comparison_id, who) in said
    ]
    apart = disagreement_of([(pair.comparison_id, who, margin) for pair, who, margin in read])
    inside = settings.off(apart) == 0
    return Draft(
        prompt_id=prompt_id,
        round=number,
        disagreement=apart,
        strength=round(sum(abs(margin) for *_, margin in read) / len(read), 4) if read else None,
        action="kept" if inside else "regenerated" if number < settings.rounds else "gave_up",
        stays=False,
        answers=answers,
        candidate_ids=[*candidate_ids],
        first_ids=[pair.first_id for pair, *_ in read],
        second_ids=[pair.second_id for pair, *_ in read],
        persona_ids=[who for _, who, _ in read],
        margins=[margin for *_, margin in read],
    )


def disagreement_of(read: Sequence[tuple[str, str, float]]) -> float | None:
    """Mean disagreement of every two readers from (pair, reader, margin), to 4 digits; None if no two have a label of the same pair."""
    if not read:
        return None
    rows, columns = (
        {name: place for place, name in enumerate(dict.fromkeys(names))} for names in ((w for _, w, _ in read), (p for p, *_ in read))
    )
    margins = np.zeros((len(rows), len(columns)))
    for pair, who, margin in read:
        margins[rows[who], columns[pair]] = margin
    value = round(disagreement(margins), 4)
    return value if value == value else None


def _count(answers: Answers, prompt_id: str) -> int:
    return sum(answer.prompt_id == prompt_id for answer, _ in answers)


def _regenerated(answer: Candidate, detail: str) -> Rejected:
    row = answer.model_dump_json()
    return Rejected(stage="drafts", kind="check", reason="regenerated", row_id=answer.candidate_id, detail=detail, row=row)
