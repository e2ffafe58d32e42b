"""Refinements: descriptions are completed until they decide (FSPO's step S5), in rounds.

Each persona has a few comparisons of training prompts that it will not be asked to label, the lowest by hash of (persona, comparison).
So nothing that was settled here by chance is ever counted as one of its labels, and nothing of a test is. For each of them in turn:

1  The model reads it from the description as it is by now, in both orders: A, B, or C for cannot tell (verdicts.py).
2  Cannot tell: `source` chooses a side. `random`: a draw. `stereotype`: the side to which the model leans. `planted`: the person is asked.
3  The model writes one sentence from which a stranger would foresee the choice (sentences.py).
4  It reads this comparison and those of the earlier rounds again, with the sentence. An earlier decision that held before and does not
   hold now is a contradiction: it is recorded, and the sentence is dropped or kept as the recipe says.

Rounds of one persona wait for each other, those of different personas do not: round t of all, then t + 1. What every decision comes to
under the final description follows from readings that were made on the way, and stands in each row (`margin`, `holds`).

A round whose verdict or sentence could not be had leaves the description alone and is a rejected row. What cannot be read in step 4 counts
for nothing there, and is null in `margin` and `holds` if nothing later can be read either.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import polars as pl

from prefloom.flows.dataset import tables
from prefloom.flows.dataset.described import read_by_judges
from prefloom.flows.dataset.shards import ShardJob, ShardReport
from prefloom.flows.dataset.uses import refiner
from prefloom.flows.engines import open_engine, open_people
from prefloom.flows.engines.asking import Meter, Session, asking
from prefloom.flows.engines.protocol import Engine, Reply, Request
from prefloom.flows.steps.judgements import INPUTS, LETTERS
from prefloom.flows.steps.sentences import SENTENCE_INPUTS, Refused, Sentence, read_sentence
from prefloom.flows.steps.verdicts import THREE, Verdict, decide, read_three
from prefloom.prompts import expect_inputs
from prefloom.schemas.candidate import Candidate
from prefloom.schemas.comparison import Comparison
from prefloom.schemas.ids import draw, keys, shard_of
from prefloom.schemas.label import Rejected
from prefloom.schemas.persona import Persona
from prefloom.schemas.prompt import Prompt
from prefloom.schemas.recipe import Recipe
from prefloom.schemas.refined import Refined, Side

BATCH = 8192  # calls about personas that are refined together, or fewer: a session forgets what was long ago


@dataclass
class Decision:
    """One comparison that is decided: how it was read, and what the description now makes of it."""

    comparison: Comparison
    number: int
    read: Verdict
    choice: Side
    source: str
    margin: float | None  # under the description as it is by now; None if it could not be read
    sentence: str | None = None
    contradicts: list[str] = field(default_factory=list)
    appended: bool = False
    description: str = ""

    def agrees(self, margin: float | None) -> bool | None:
        """Whether a margin says what was decided."""
        if margin is None:
            return None
        return (margin > 0) if self.choice == "a" else (margin < 0)


@dataclass
class Life:
    """One persona while it is refined."""

    persona_id: str
    seed: str
    description: str
    comparisons: list[Comparison]
    decisions: list[Decision] = field(default_factory=list)


class Question(NamedTuple):
    """A comparison to be read in both orders for a persona, under a description."""

    life: Life
    comparison: Comparison
    description: str


class Failure(NamedTuple):
    """Why a round came to nothing."""

    reason: str
    said: str


def refine_personas(job: ShardJob) -> ShardReport:
    """Refine this shard's personas; rows sorted by persona and round. The unit is a round."""
    if done := job.done():
        return done
    run, recipe = job.run, job.run.resolved.recipe
    settings = recipe.refinement
    assert settings, "a recipe without refinement has no such stage"
    personas = read_by_judges(tables.read(run.store, "personas/part-*.parquet", Persona, ["persona_id", "description", "kind"]))
    mine = personas.filter(pl.Series(shard_of(personas["persona_id"], recipe.shards.personas)) == job.index)
    prompts = tables.read(run.store, "prompts/part-*.parquet", Prompt, ["prompt_id", "text", "split"])
    comparisons = tables.read(run.store, "comparisons/part-*.parquet", Comparison)
    lives = lives_of(recipe, mine, prompts, comparisons)
    used = {name for life in lives for one in life.comparisons for name in (one.first_id, one.second_id)}
    answers = tables.read(run.store, "candidates/part-*.parquet", Candidate, ["candidate_id", "text"])
    texts = dict(answers.filter(pl.col("candidate_id").is_in(list(used))).iter_rows())
    model = refiner(recipe)
    engine = open_engine(run, model)
    people = open_people(run) if settings.source == "planted" else None
    meter = Meter(job, planned=sum(2 * len(life.comparisons) for life in lives))
    rounds = sum(len(life.comparisons) for life in lives)
    rejected: list[Rejected] = []
    with asking(engine, run, mine["persona_id"].to_list()) as session:
        meter.follow(model, session)
        tasks = dict(prompts.select("prompt_id", "text").iter_rows())
        refiner_ = Refiner(recipe, session, engine.votes, people, tasks, texts, job.retry_failed)
        size = max(1, BATCH // (settings.comparisons * (settings.comparisons + 4)))
        for start in range(0, len(lives), size):
            rejected += refiner_.refine(lives[start : start + size])
            meter.sorted_out(sum(len(life.decisions) for life in lives), len(rejected))
    rows = [row for life in lives for row in _rows(life, model)]
    report = job.write(Refined, tables.frame(Refined, rows), tables.frame(Rejected, rejected), rounds, usage=meter.usage())
    return meter.billed(report)


def lives_of(recipe: Recipe, personas: pl.DataFrame, prompts: pl.DataFrame, comparisons: pl.DataFrame) -> list[Life]:
    """Personas, by id, with what each is refined on: from rows of Persona, Prompt and Comparison."""
    assert recipe.refinement
    train = prompts.filter(pl.col("split") == "train").select("prompt_id")
    pool = comparisons.join(train, on="prompt_id", how="semi").sort("comparison_id")
    rows = [Comparison.model_construct(None, **row) for row in pool.iter_rows(named=True)]
    asked: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        for persona_id in row.persona_ids:
            asked.setdefault(persona_id, []).append(place)
    lives = []
    columns = keys(pool["comparison_id"])
    for persona_id, description in personas.sort("persona_id").select("persona_id", "description").iter_rows():
        order = np.argsort(draw(recipe.seed, "refinement", keys([persona_id]), columns), kind="stable")
        labelled = {*asked.get(persona_id, [])}
        free = (place for place in order.tolist() if place not in labelled)
        chosen = [rows[place] for _, place in zip(range(recipe.refinement.comparisons), free, strict=False)]
        lives.append(Life(persona_id, description, description, chosen))
    return lives


class Refiner:
    """Takes personas through their rounds, in waves."""

    def __init__(
        self,
        recipe: Recipe,
        session: Session,
        votes: int,
        people: Engine | None,
        prompts: Mapping[str, str],
        answers: Mapping[str, str],
        retry_failed: bool = False,
    ) -> None:
        assert recipe.refinement
        self._seed, self._settings, self._session, self._votes, self._people = recipe.seed, recipe.refinement, session, votes, people
        self._prompts, self._answers, self._retry = prompts, answers, retry_failed
        self._verdict = expect_inputs(self._settings.template, INPUTS)
        self._append = expect_inputs(self._settings.append.template, SENTENCE_INPUTS)

    def refine(self, lives: Sequence[Life]) -> list[Rejected]:
        """All rounds of some personas; what failed."""
        rejected: list[Rejected] = []
        for number in range(1, self._settings.comparisons + 1):
            rejected += self._wave([life for life in lives if len(life.comparisons) >= number], number)
        return rejected

    def _wave(self, lives: Sequence[Life], number: int) -> list[Rejected]:
        """Round `number` of these personas."""
        rejected: list[Rejected] = []
        open_: list[tuple[Life, Decision]] = []
        questions = [Question(life, life.comparisons[number - 1], life.description) for life in lives]
        for question, read in zip(questions, self._read(questions), strict=True):
            if isinstance(read, Failure):
                rejected.append(_rejected(question.life, question.comparison, number, read))
                continue
            said = decide(read, self._settings.threshold)
            decision = Decision(question.comparison, number, read, "a" if said == "a" else "b", "description", read.margin)
            if said == "cannot_tell":
                open_.append((question.life, decision))
            else:
                decision.description = question.description
                question.life.decisions.append(decision)
        return rejected + self._settle(self._chosen(open_, rejected))

    def _chosen(self, open_: Sequence[tuple[Life, Decision]], rejected: list[Rejected]) -> list[tuple[Life, Decision]]:
        """The open decisions with the side that their source takes; people who give none are rejected."""
        said: list[str | None] = [None] * len(open_)
        if self._people:
            asked = [replace(self._request(life.seed, one.comparison), letters=LETTERS) for life, one in open_]
            for batch in self._people.answer(asked, lambda: False):
                for place, reply in batch:
                    said[place] = {"A": "a", "B": "b"}.get(reply.text or "")
        chosen = []
        for (life, one), own in zip(open_, said, strict=True):
            if self._people and own is None:
                rejected.append(_rejected(life, one.comparison, one.number, Failure("error", "the person gave no answer")))
                continue
            leaning = one.read.margin if self._settings.source == "stereotype" else 0.0
            side = own or ("a" if leaning > 0 else "b" if leaning < 0 else self._drawn(life, one))
            one.choice, one.source = "a" if side == "a" else "b", self._settings.source
            chosen.append((life, one))
        return chosen

    def _drawn(self, life: Life, one: Decision) -> Side:
        number = draw(self._seed, "refinement/choice", keys([life.persona_id]), keys([one.comparison.comparison_id]))[0]
        return "b" if int(number) >> 32 & 1 else "a"

    def _settle(self, chosen: Sequence[tuple[Life, Decision]]) -> list[Rejected]:
        """Have sentences written, hold each against the earlier decisions, and append those that stand."""
        rejected: list[Rejected] = []
        written: list[tuple[Life, Decision, str]] = []
        requests = [self._ask_for_sentence(life, one) for life, one in chosen]
        replies = self._ask(requests, [life for life, _ in chosen], _unwritten)
        for (life, one), reply in zip(chosen, replies, strict=True):
            found = read_sentence(reply)
            if isinstance(found, Sentence):
                written.append((life, one, found.text))
            else:
                rejected.append(_rejected(life, one.comparison, one.number, Failure(*found)))
        again = [[*life.decisions, one] for life, one, _ in written]
        questions = [
            Question(life, decision.comparison, f"{life.description} {text}")
            for (life, _, text), decisions in zip(written, again, strict=True)
            for decision in decisions
        ]
        reads = iter(self._read(questions))
        for (life, one, text), decisions in zip(written, again, strict=True):
            found_all = [next(reads) for _ in decisions]
            self._conclude(life, one, text, decisions, [None if isinstance(found, Failure) else found.margin for found in found_all])
        return rejected

    def _conclude(self, life: Life, one: Decision, text: str, decisions: Sequence[Decision], margins: Sequence[float | None]) -> None:
        """Append the sentence or drop it, by what it does to the earlier decisions."""
        earlier = list(zip(decisions, margins, strict=True))[:-1]
        broken = [past for past, margin in earlier if past.agrees(past.margin) and past.agrees(margin) is False]
        one.sentence, one.contradicts = text, sorted(past.comparison.comparison_id for past in broken)
        one.appended = not broken or self._settings.contradictions == "keep"
        if one.appended:
            life.description = f"{life.description} {text}"
            for decision, margin in zip(decisions, margins, strict=True):
                decision.margin = margin
        one.description = life.description
        life.decisions.append(one)

    def _read(self, questions: Sequence[Question]) -> list[Verdict | Failure]:
        """Each question in both orders."""
        requests = [
            self._request(question.description, shown)
            for question in questions
            for shown in (question.comparison, question.comparison.swap())
        ]
        replies = self._ask(requests, [question.life for question in questions for _ in range(2)], _unread)
        return [_both(first, second) for first, second in zip(replies[::2], replies[1::2], strict=True)]

    def _ask(self, requests: Sequence[Request], lives: Sequence[Life], failed: Callable[[Reply], bool]) -> list[Reply]:
        return self._session.ask(requests, [life.persona_id for life in lives], failed if self._retry else None) if requests else []

    def _request(self, description: str, shown: Comparison) -> Request:
        messages = self._verdict.render(
            persona=description,
            prompt=self._prompts[shown.prompt_id],
            first=self._answers[shown.first_id],
            second=self._answers[shown.second_id],
        )
        return Request(messages, max_tokens=1, letters=THREE, votes=self._votes, group=f"{shown.comparison_id} {shown.order}")

    def _ask_for_sentence(self, life: Life, one: Decision) -> Request:
        shown = one.comparison if one.choice == "a" else one.comparison.swap()
        messages = self._append.render(
            persona=life.description,
            prompt=self._prompts[shown.prompt_id],
            chosen=self._answers[shown.first_id],
            other=self._answers[shown.second_id],
        )
        return Request(messages, max_tokens=self._settings.append.max_tokens)


def _both(first: Reply, second: Reply) -> Verdict | Failure:
    ab, ba = read_three(first), read_three(second)
    if isinstance(ab, str):
        return Failure(ab, first.error or first.text or "")
    return Failure(ba, second.error or second.text or "") if isinstance(ba, str) else Verdict(ab, ba)


def _unread(reply: Reply) -> bool:
    return isinstance(read_three(reply), str)


def _unwritten(reply: Reply) -> bool:
    return isinstance(read_sentence(reply), Refused)


def _rejected(life: Life, comparison: Comparison, number: int, why: Failure) -> Rejected:
    return Rejected(
        stage="refinements",
        kind="failure",
        reason=why.reason,
        row_id=comparison.comparison_id,
        persona_id=life.persona_id,
        detail=f"round {number}: {why.said}"[:500],
    )


def _rows(life: Life, model: str) -> Iterable[Refined]:
    for one in life.decisions:
        yield Refined.model_validate(
            {
                "persona_id": life.persona_id,
                "round": one.number,
                "comparison_id": one.comparison.comparison_id,
                "prompt_id": one.comparison.prompt_id,
                "model": model,
                "ab": [*one.read.ab],
                "ba": [*one.read.ba],
                "verdict": one.choice if one.source == "description" else "cannot_tell",
                "choice": one.choice,
                "source": one.source,
                "sentence": one.sentence,
                "contradicts": one.contradicts,
                "appended": one.appended,
                "description": one.description,
                "margin": one.margin,
                "holds": one.agrees(one.margin),
            }
        )
