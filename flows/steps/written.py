"""Prompts that models write: after a few seeds (source `augmented`), or for people of one kind (source `specific`).

    writer = Writer(recipe, {"scholar": session}, sieve)
    writer.augment(source, seeds, [])              ->  [Prompt("Which mistake do people make about infinity?", parents=["9f0c…", …]), …]
    writer.specify(source, {"age": ["old"]}, [])   ->  [Prompt("How do I write a will …?", scope="specific", trait="age", …), …]

Calls go out in waves: as many as are wanted, then as many as were rejected, until there are enough or `attempts` times as many calls were
made. What a call asks for an augmented prompt follows from its number alone, so a larger `count` keeps the prompts that were there. A text
that is empty, cut off, a refusal, too long, of several lines, or too like a seed (`copies_seed`) or an earlier prompt (`repeats`) is
rejected with its reason.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from pydantic import BaseModel

from prefloom.flows.engines.asking import Asks
from prefloom.flows.engines.protocol import Reply, Request
from prefloom.flows.engines.structured import Unfit, ask_structured
from prefloom.flows.steps.copies import Copies
from prefloom.flows.steps.texts import Sieve, is_refusal
from prefloom.prompts import expect_inputs
from prefloom.schemas.ids import content_id, draw, keys
from prefloom.schemas.models import sampling_of
from prefloom.schemas.prompt import Prompt
from prefloom.schemas.prompt_sources import AugmentedPrompts, SpecificPrompts
from prefloom.schemas.recipe import Recipe

SCOPE = content_id("scope", "prompts")  # in the journal, of calls that are about no prompt yet
AT_ONCE = 10  # questions of one kind of people that one call asks for
LATER = "not known before the call is made"  # what `plan` has for a reply
EXAMPLES, PEOPLE = frozenset({"examples"}), frozenset({"trait", "value", "count"})  # what the templates take
_TOKENS = 4  # per word, so that no prompt of `max_words` is cut off


class Questions(BaseModel):
    """What a model replies that is asked for questions."""

    questions: list[str]


class Call(NamedTuple):
    """One request, and what a prompt that comes of it is known to be."""

    row_id: str
    request: Request
    row: Prompt  # without a text


class Writer:
    """The prompts of one build that models write, and what became of those that are unfit."""

    def __init__(self, recipe: Recipe, asks: Mapping[str, Asks], sieve: Sieve, again: bool = False) -> None:
        self._recipe, self._asks, self._sieve, self._again = recipe, asks, sieve, again

    def augment(self, source: AugmentedPrompts, seeds: Sequence[Prompt], earlier: Iterable[Prompt]) -> list[Prompt]:
        """Prompts after seeds, that repeat none of these, nor an earlier one."""
        shown, known = Copies(source.likeness), Copies(source.likeness)
        for pool, rows in ((shown, seeds), (known, earlier)):
            for row in rows:
                pool.add(row.prompt_id, row.text)
        kept: list[Prompt] = []
        made = 0
        while len(kept) < source.count and made < source.attempts * source.count:
            wave = range(made, min(made + source.count - len(kept), source.attempts * source.count))
            calls = augment_calls(self._recipe, source, seeds, wave)
            made = wave.stop
            for call, reply in zip(calls, self._told(source.model, calls), strict=True):
                if reply.error == LATER:
                    kept.append(_later(call, made, len(kept)))
                elif reply.error is not None:
                    self._sieve.fail(call.row_id, "error", reply.error)
                elif reply.finish_reason == "length":
                    self._sieve.reject(_said(call, reply.text or ""), call.row_id, "truncated", "the model was cut off")
                elif fit := self._fit(source, call, reply.text or "", known, shown):
                    kept.append(fit)
        return kept

    def _told(self, model: str, calls: Sequence[Call]) -> list[Reply]:
        requests = [call.request for call in calls]
        return self._asks[model].ask(requests, [SCOPE] * len(calls), (lambda reply: reply.error is not None) if self._again else None)

    def specify(self, source: SpecificPrompts, traits: Mapping[str, Sequence[str]], earlier: Iterable[Prompt]) -> list[Prompt]:
        """Prompts for each value of each trait, that repeat no earlier one, nor each other."""
        known = Copies(source.likeness)
        for row in earlier:
            known.add(row.prompt_id, row.text)
        kept: dict[tuple[str, str], list[Prompt]] = {(trait, value): [] for trait, values in traits.items() for value in values}
        for wave in range(source.attempts):
            wanted = {kind: source.per_value - len(rows) for kind, rows in kept.items()}
            calls = specify_calls(self._recipe, source, {kind: n for kind, n in wanted.items() if n > 0}, wave)
            if not calls:
                break
            requests = [call.request for call, _ in calls]
            answers = ask_structured(self._asks[source.model], requests, [SCOPE] * len(calls), Questions, self._again)
            for (call, count), answer in zip(calls, answers, strict=True):
                rows = kept[call.row.trait or "", call.row.trait_value or ""]
                if isinstance(answer, Unfit) and answer.detail == LATER:
                    rows += [_later(call, wave, number) for number in range(count)]
                elif isinstance(answer, Unfit):
                    self._sieve.fail(call.row_id, answer.reason, answer.detail)
                else:
                    rows += [fit for text in answer.questions[:count] if (fit := self._fit(source, call, text, known))]
        return [row for rows in kept.values() for row in rows]

    def _fit(
        self, source: AugmentedPrompts | SpecificPrompts, call: Call, text: str, known: Copies, shown: Copies | None = None
    ) -> Prompt | None:
        """The prompt with its text, which from now on is `known`; None if it is unfit."""
        row = _said(call, text)
        if fault := _fault(row.text, source.max_words):
            self._sieve.reject(row, row.prompt_id, *fault)
            return None
        for pool, reason, what in ((shown, "copies_seed", "the seed"), (known, "repeats", "the earlier prompt")):
            if pool and (near := pool.nearest(row.text)):
                detail = f"ROUGE-L {near[1]:.4f} with {what} {near[0]}, threshold {source.likeness:g}"
                self._sieve.reject(row, row.prompt_id, reason, detail, duplicate_of=near[0])
                return None
        if not self._sieve.admit(row, row.prompt_id, row.text):
            return None
        known.add(row.prompt_id, row.text)
        return row


def augment_calls(recipe: Recipe, source: AugmentedPrompts, seeds: Sequence[Prompt], wave: range) -> list[Call]:
    """The calls with these numbers. Each shows seeds of one domain, drawn anew: the first that is drawn says which."""
    template = expect_inputs(source.template, EXAMPLES)
    pool = sorted(seeds, key=lambda row: row.prompt_id)
    ids, calls = keys(row.prompt_id for row in pool), []
    temperature, sampling = sampling_of(recipe.models[source.model], source.temperature)
    for number in wave:
        order = np.argsort(draw(recipe.seed, "shots", np.array([number], np.uint64), ids), kind="stable")
        domain = pool[order[0]].domain
        alike = (pool[place] for place in order if pool[place].domain == domain)
        shots = [row for row, _ in zip(alike, range(source.shots), strict=False)]
        examples = "\n".join(f"{place}. {' '.join(row.text.split())}" for place, row in enumerate(shots, 1))
        messages = template.render(examples=examples)
        request = Request(messages, _TOKENS * source.max_words, temperature, recipe.seed + number, sampling=sampling)
        row = _row(source.source, domain, parents=[shot.prompt_id for shot in shots])
        calls.append(Call(content_id("call", source.source, source.model, number), request, row))
    return calls


def specify_calls(recipe: Recipe, source: SpecificPrompts, wanted: Mapping[tuple[str, str], int], wave: int) -> list[tuple[Call, int]]:
    """(call, questions that it asks for) of a wave, for so many questions about each (trait, value)."""
    template = expect_inputs(source.template, PEOPLE)
    temperature, sampling = sampling_of(recipe.models[source.model], source.temperature)
    calls = []
    for (trait, value), left in wanted.items():
        for part, start in enumerate(range(0, left, AT_ONCE)):
            count = min(AT_ONCE, left - start)
            seed = recipe.seed + 1000 * wave + part
            messages = template.render(trait=trait, value=value, count=str(count))
            request = Request(messages, _TOKENS * source.max_words * count, temperature, seed, sampling=sampling)
            row = _row(source.source, source.domain, scope="specific", trait=trait, trait_value=value)
            calls.append((Call(content_id("call", source.source, source.model, trait, value, wave, part), request, row), count))
    return calls


def planned(source: AugmentedPrompts | SpecificPrompts, traits: Mapping[str, Sequence[str]]) -> int:
    """Calls that would do if nothing were rejected."""
    if isinstance(source, AugmentedPrompts):
        return source.count
    return sum(map(len, traits.values())) * -(-source.per_value // AT_ONCE)


def _row(source: str, domain: str, **known: object) -> Prompt:
    blank = {"prompt_id": "", "text": "", "domain": domain, "source": source, "source_id": None, "split": ""}
    return Prompt.model_validate(blank | known)


def _said(call: Call, text: str) -> Prompt:
    text = text.strip()
    if len(text) > 1 and (text[0], text[-1]) in {('"', '"'), ("\u201c", "\u201d")}:
        text = text[1:-1].strip()
    return call.row.model_copy(update={"prompt_id": content_id("prompt", text), "text": text})


def _later(call: Call, wave: int, number: int) -> Prompt:
    """What stands in a plan for a prompt that is not written yet."""
    return _said(call, f"Prompt {number} of wave {wave}, to be written ({call.row_id})")


def _fault(text: str, most: int) -> tuple[str, str] | None:
    if is_refusal(text):
        return "refused", text[:120]
    if len(text.splitlines()) > 1:
        return "several_lines", f"{len(text.splitlines())} lines"
    if (words := len(text.split())) > most:
        return "too_long", f"{words} words, at most {most}"
    return None
