"""Personas that a model writes: one sentence for each place of each cell, checked, and asked for again where it is unfit.

    {source: written, model: scholar, traits: {age: ["in their seventies"], gender: [woman]}, per_cell: 30}
    -> "A woman in her seventies from a harbour town who …" with its traits, or a rejected row:
       failure error · check empty, refused, truncated, several_sentences, too_short, too_long, duplicate

Themes are dealt out within a cell in an order of its own, so that thirty sentences about one combination have something to differ in.
Sample n of a cell is the same request however many there are: raising `per_cell` pays for the new ones alone.
"""

import re
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from prefloom.flows.engines.asking import Asks
from prefloom.flows.engines.protocol import Reply, Request
from prefloom.flows.steps.texts import Sieve, is_refusal
from prefloom.flows.steps.written import LATER
from prefloom.prompts import expect_inputs
from prefloom.schemas.ids import content_id, draw
from prefloom.schemas.models import sampling_of
from prefloom.schemas.people import WrittenPersonas
from prefloom.schemas.persona import Persona, Trait
from prefloom.schemas.recipe import Recipe
from prefloom.schemas.texts import is_blank

INPUTS = frozenset({"traits", "theme"})
SCOPE = content_id("scope", "personas")  # in the journal
_END = re.compile(r"[.!?][\"')\u201d]*\s+(?=\S)")
_ABBREVIATED = re.compile(r"\b(?:[A-Z]|Mr|Mrs|Ms|Dr|St|e\.g|i\.e)\.$")


class Sample(NamedTuple):
    """One sentence to be written: the n-th of a cell."""

    cell: int
    number: int
    request: Request


def size(source: WrittenPersonas) -> int:
    """How many personas are wanted."""
    return source.per_cell * len(list(source.cells()))


def write(source: WrittenPersonas, recipe: Recipe, sieve: Sieve, asks: Asks, again: bool = False) -> list[Persona]:
    """The personas of one source, cell by cell; what is unfit or failed is in the sieve. `again` asks once more what failed."""
    cells = [_Cell(traits) for traits in source.cells()]
    for _ in range(source.attempts):
        plan = [sample for place, cell in enumerate(cells) for sample in cell.lacking(place, source, recipe)]
        if not plan:
            break
        requests = [sample.request for sample in plan]
        replies = asks.ask(requests, [SCOPE] * len(plan), (lambda reply: reply.error is not None) if again else None)
        for sample, reply in zip(plan, replies, strict=True):
            cell = cells[sample.cell]
            persona = persona_of((reply.text or "").strip(), "written", cell.traits)
            if reply.error == LATER:
                cell.kept.append(persona_of(f"A persona to be written: {_named(cell.traits)}, {sample.number}", "written", cell.traits))
            elif reply.error is not None:
                sieve.fail(content_id("persona", _named(cell.traits), str(sample.number)), "error", reply.error)
            elif fault := _fault(persona.description, reply, source):
                sieve.reject(persona, persona.persona_id, *fault)
            elif sieve.admit(persona, persona.persona_id, persona.description):
                cell.kept.append(persona)
    return [persona for cell in cells for persona in cell.kept]


def persona_of(description: str, source: str, traits: dict[str, str], source_id: str | None = None) -> Persona:
    """The row that a description makes; its split is not known yet."""
    return Persona(
        persona_id=content_id("persona", description),
        description=description,
        traits=[Trait(name=name, value=value) for name, value in traits.items()],
        source=source,
        source_id=source_id,
        split="",
    )


@dataclass
class _Cell:
    """One combination of traits, and how far it is."""

    traits: dict[str, str]

    def __post_init__(self) -> None:
        self.kept: list[Persona] = []
        self._asked = 0

    def lacking(self, place: int, source: WrittenPersonas, recipe: Recipe) -> list[Sample]:
        """The next samples, as many as are missing."""
        start, self._asked = self._asked, self._asked + source.per_cell - len(self.kept)
        return [self._sample(place, number, source, recipe) for number in range(start, self._asked)]

    def _sample(self, place: int, number: int, source: WrittenPersonas, recipe: Recipe) -> Sample:
        name = _named(self.traits)
        block, rest = divmod(number, len(source.themes))
        order = np.argsort(draw(recipe.seed, f"themes/{name}/{block}", np.arange(len(source.themes), dtype=np.uint64)), kind="stable")
        temperature, sampling = sampling_of(recipe.models[source.model], source.temperature)
        messages = expect_inputs(source.template, INPUTS).render(traits=name, theme=source.themes[int(order[rest])])
        request = Request(messages, source.max_tokens, temperature, recipe.seed + number, sampling=sampling)
        return Sample(place, number, request)


def _named(traits: dict[str, str]) -> str:
    return "\n".join(f"{trait}: {value}" for trait, value in traits.items())


def _fault(text: str, reply: Reply, source: WrittenPersonas) -> tuple[str, str] | None:
    if reply.finish_reason == "length":
        return "truncated", "the model was cut off"
    if is_blank(text):
        return None  # the sieve says that it is empty
    if is_refusal(text):
        return "refused", text[:120]
    if "\n" in text or any(not _ABBREVIATED.search(text[: found.start() + 1]) for found in _END.finditer(text)):
        return "several_sentences", text[:120]
    words = len(text.split())
    if words < source.min_words:
        return "too_short", f"{words} words, at least {source.min_words} are wanted"
    if words > source.max_words:
        return "too_long", f"{words} words, at most {source.max_words} are wanted"
    return None
