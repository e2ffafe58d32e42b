"""The answers before they are all there: known from a file or the journal, tried out where that is free, or expected from a mean.

    expected_answers(run, uses, prompts, repeated)  ->  Answers: rows of Candidate, how long each is, what the calls use and what is left

An answer that nobody knows yet has its id for a text. Nothing is written.
"""

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import polars as pl

from prefloom.flows.dataset import stages, tables
from prefloom.flows.dataset.run import Run
from prefloom.flows.engines import open_engine
from prefloom.flows.engines.asking import read_reply
from prefloom.flows.engines.protocol import Reply, Request
from prefloom.flows.steps import freshness
from prefloom.flows.steps.candidates import Task, candidate, imported, requests_for, sift, tasks
from prefloom.flows.steps.forecast_asked import Foreseen
from prefloom.flows.steps.selection import Encoder
from prefloom.flows.steps.steering import Readers, ask_views, asked_views, steered
from prefloom.schemas.candidate import Candidate
from prefloom.schemas.label import Rejected
from prefloom.schemas.models import sampling_of
from prefloom.schemas.recipe import Rate
from prefloom.schemas.sources import ModelCandidates
from prefloom.schemas.usage import Usage, Usages, total

REHEARSED = 512  # answers of free engines that are tried out at most, all of them for whole prompts


@dataclass(frozen=True)
class Answers:
    """What `candidates` will hold, and what it takes."""

    rows: pl.DataFrame
    rejected: pl.DataFrame
    characters: dict[str, float]  # by candidate_id
    unknown: frozenset[str] = frozenset()  # candidate_ids whose text is not known
    usage: Usages = field(default_factory=dict)
    left: Usages = field(default_factory=dict)
    pace: dict[str, float] = field(default_factory=dict)  # calls per second, where some were tried out
    replies: dict[str, list[tuple[str, Reply]]] = field(default_factory=dict)  # model -> (prompt_id, reply) known but not journaled
    basis: tuple[str, ...] = ()
    bounds: tuple[str, ...] = ()  # upper bounds that stand in for what is not known
    guessed: bool = False  # whether views stand there that no model has listed yet


def expected_answers(
    run: Run,
    uses: freshness.Materials,
    prompts: pl.DataFrame,
    repeated: pl.DataFrame,
    encoder: Encoder | None = None,
    personas: pl.DataFrame | None = None,
    rounds: Mapping[str, int] = MappingProxyType({}),
) -> Answers:
    """From rows of Prompt and of what was Rejected among them; of Persona where answers are steered; `rounds` as for `tasks`.

    InputError as in the stage itself.
    """
    recipe, stage = run.resolved.recipe, stages.BY_NAME["candidates"]
    if entry := freshness.fresh(run, stage, uses):
        rows = tables.read(run.store, "candidates/part-*.parquet", Candidate)
        rejected = tables.read(run.store, "rejected/candidates-*.parquet", Rejected)
        return Answers(rows, rejected, _lengths(rows), usage=entry.usage, basis=("answers: read from the finished stage",))
    if isinstance(recipe.candidates, ModelCandidates):
        readers = steered(recipe, personas, prompts) if recipe.candidates.steer and personas is not None else {}
        return _written(run, uses, recipe.candidates, prompts, encoder, readers, rounds)
    rows, rejected = imported(run.resolved, prompts, repeated, encoder)
    return Answers(rows, rejected, _lengths(rows), basis=("answers: read from the recipe's file",))


def _lengths(rows: pl.DataFrame) -> dict[str, float]:
    return {name: float(len(text)) for name, text in rows.select("candidate_id", "text").iter_rows()}


@dataclass
class _Model:
    """One model's part: its replies by key, and what was found out about it."""

    identity: str
    rate: Rate
    keys: list[str]
    replies: dict[str, Reply]
    journaled: frozenset[str]
    pace: float | None = None

    def characters_per_token(self, requests: dict[str, Request]) -> float:
        """Of its prompts, counted where replies say it, else as the recipe states."""
        metered = [(requests[key], reply.prompt_tokens) for key, reply in self.replies.items() if reply.prompt_tokens]
        counted = sum(tokens for _, tokens in metered)
        return sum(length(request) for request, _ in metered) / counted if counted else self.rate.characters_per_token


def _written(
    run: Run,
    uses: freshness.Materials,
    settings: ModelCandidates,
    prompts: pl.DataFrame,
    encoder: Encoder | None,
    readers: Readers,
    rounds: Mapping[str, int],
) -> Answers:
    recipe = run.resolved.recipe
    lister = Foreseen(run, uses, wanted.model) if (wanted := asked_views(recipe)) else None
    views, missing = ask_views(recipe, prompts, lister) if lister else ({}, [])
    plan = tasks(settings, prompts, views, readers, rounds)
    requests = {name: requests_for(recipe, name, plan) for name in settings.models}
    models: dict[str, _Model] = {}
    asked_as: dict[tuple[str, str], str] = {}  # two names may be one model, which is not asked twice
    same = {name: (uses.models[name], str(sampling_of(recipe.models[name], settings.temperature))) for name in settings.models}
    for name in settings.models:
        first = asked_as.setdefault(same[name], name)
        if first == name:
            keys = [request.key(uses.models[name]) for request in requests[name]]
            raw = run.journal(uses.models[name]).glance().replies(keys)
            held = {key: reply for key, line in raw.items() if (reply := read_reply(line))}
            rate = recipe.rates.get(name) or Rate()
            models[name] = _Model(uses.models[name], rate, keys, held, frozenset(held))
    _rehearse(run, models, plan, requests)
    found = _Found()
    for name in settings.models:
        found.add(name, models[asked_as[same[name]]], asked_as[same[name]] == name, plan, requests[name], settings.max_tokens)
    rows, rejected = sift(found.known, recipe, encoder)
    kept, known = (
        dict(counts.iter_rows()) for counts in (_by_model(rows), _by_model(tables.frame(Candidate, [a for a, _ in found.known])))
    )
    guessed = [row for name, group in found.guessed.items() for row in _thinned(group, kept.get(name, 0), known.get(name, 0))]
    rows = pl.concat([rows, tables.frame(Candidate, guessed)]).sort("prompt_id", "candidate_id")
    characters = {name: found.lengths.get(name, float(size)) for name, size in _lengths(rows).items()}
    unknown = frozenset(row.candidate_id for row in guessed)
    pace = {name: model.pace for name, model in models.items() if model.pace}
    if lister:
        rejected = pl.concat([rejected, tables.frame(Rejected, missing)])
        found.usage, found.left = total([found.usage, {lister.name: lister.usage}]), total([found.left, {lister.name: lister.left}])
        found.replies[lister.name] += lister.fresh
        found.basis.insert(0, lister.basis("views"))
        pace |= {lister.name: lister.pace} if lister.pace and lister.name not in pace else {}
    return Answers(
        rows,
        rejected,
        characters,
        unknown,
        found.usage,
        found.left,
        pace,
        dict(found.replies),
        tuple(found.basis),
        tuple(found.bounds),
        guessed=bool(lister and lister.unknown),
    )


def length(request: Request) -> int:
    """Characters of a request's messages."""
    return sum(len(content) for _, content in request.messages)


def _rehearse(run: Run, models: dict[str, _Model], plan: Sequence[Task], requests: Mapping[str, Sequence[Request]]) -> None:
    """Ask free engines for the answers that are missing, for whole prompts chosen evenly."""
    free = {name: model for name, model in models.items() if open_engine(run, name).free}
    lacking = {task.prompt_id: i for model in free.values() for i, task in enumerate(plan) if model.keys[i] not in model.replies}
    prompts = [*dict.fromkeys(task.prompt_id for task in plan if task.prompt_id in lacking)]
    if not prompts:
        return
    per_prompt = len(plan) * len(models) // len({task.prompt_id for task in plan})
    chosen = {prompts[i] for i in evenly(len(prompts), max(2, REHEARSED // max(per_prompt, 1)))}
    for name, model in free.items():
        wanted = {key: i for i, key in enumerate(model.keys) if plan[i].prompt_id in chosen and key not in model.replies}
        if not wanted:
            continue
        began = time.perf_counter()
        places = list(wanted.items())
        for batch in open_engine(run, name).answer([requests[name][i] for _, i in places], lambda: False):
            model.replies |= {places[position][0]: reply for position, reply in batch}
        model.pace = len(places) / max(time.perf_counter() - began, 1e-6)


def evenly(total: int, wanted: int) -> list[int]:
    """`wanted` indices spread over range(total), or all of them."""
    return [i * total // wanted for i in range(wanted)] if wanted < total else list(range(total))


class _Found:
    """What is gathered over the models."""

    def __init__(self) -> None:
        self.known: list[tuple[Candidate, Reply | None]] = []
        self.guessed: dict[str, list[Candidate]] = defaultdict(list)
        self.lengths: dict[str, float] = {}  # of the guessed ones
        self.usage: Usages = {}
        self.left: Usages = {}
        self.replies: dict[str, list[tuple[str, Reply]]] = defaultdict(list)
        self.basis: list[str] = []
        self.bounds: list[str] = []

    def add(self, name: str, model: _Model, pays: bool, plan: Sequence[Task], requests: Sequence[Request], max_tokens: int) -> None:
        """The rows of one name, and its calls if no other name has made them."""
        by_key = dict(zip(model.keys, requests, strict=True))
        per_token = model.characters_per_token(by_key)
        said = [(len(reply.text or ""), _completion(reply, per_token)) for reply in model.replies.values() if not reply.error]
        tokens, characters = self._mean(name, model, said, per_token, max_tokens)
        for task, request, key in zip(plan, requests, model.keys, strict=True):
            if reply := model.replies.get(key):
                self.known.append((candidate(name, task, request, reply), reply))
            else:
                row = candidate(name, task, request, Reply())
                self.guessed[name].append(row.model_copy(update={"text": row.candidate_id}))
                self.lengths[row.candidate_id] = characters
        if not pays:
            return
        missing = [key for key in by_key if key not in model.journaled]
        for target, keys in ((self.usage, list(by_key)), (self.left, missing)):
            replies = [(key, model.replies.get(key)) for key in keys]
            asked = sum((r and r.prompt_tokens) or length(by_key[key]) / per_token for key, r in replies)
            target[name] = Usage(len(keys), round(asked), round(sum(_completion(r, per_token) if r else tokens for _, r in replies)))
        scopes = dict(zip(model.keys, (task.prompt_id for task in plan), strict=True))
        self.replies[name] += [(scopes[key], model.replies[key]) for key in missing if key in model.replies]

    def _mean(self, name: str, model: _Model, said: list[tuple[int, float]], per_token: float, max_tokens: int) -> tuple[float, float]:
        """(tokens, characters) of an answer that is not known, with a note of where they come from."""
        journaled, total = len(model.journaled), len(set(model.keys))
        tried = len(model.replies) - journaled
        where = how_many({"journaled": journaled, "tried out (free)": tried})
        if len(model.replies) == total:
            self.basis.append(f"answers of {name}: all {total:,} known, {where}")
        elif said:
            tokens = sum(t for _, t in said) / len(said)
            self.basis.append(f"answers of {name}: {tokens:,.0f} tokens each, mean of {where}")
            return tokens, sum(size for size, _ in said) / len(said)
        elif model.rate.answer_tokens:
            self.basis.append(f"answers of {name}: {model.rate.answer_tokens:g} tokens each, as rates.{name}.answer_tokens states")
            return model.rate.answer_tokens, model.rate.answer_tokens * per_token
        else:
            self.basis.append(f"answers of {name}: {max_tokens:,} tokens each, max_tokens, an upper bound")
            self.bounds.append(f"rates.{name}.answer_tokens")
        return float(max_tokens), max_tokens * per_token


def _completion(reply: Reply, per_token: float) -> float:
    return reply.completion_tokens if reply.completion_tokens is not None else len(reply.text or "") / per_token


def how_many(counts: dict[str, int]) -> str:
    """`57 journaled and 12 tried out (free)`; nothing for what is zero."""
    return " and ".join(f"{n:,} {how}" for how, n in counts.items() if n)


def _by_model(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.group_by("model").len()


def _thinned(rows: list[Candidate], kept: int, known: int) -> list[Candidate]:
    """Of the unknown answers the share that the checks leave of the known ones."""
    share = kept / known if known else 1.0
    return [row for i, row in enumerate(rows) if int((i + 1) * share) > int(i * share)]
