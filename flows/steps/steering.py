"""What answers are steered by: viewpoints that a model lists for each prompt, and people of the training split to write for.

    views, missing = ask_views(recipe, prompts, session)    ->  {"9f0c…": ["a long walk in the hills", …], …}, rows of Rejected
    readers = steered(recipe, personas, prompts)            ->  {"9f0c…": [("5d1c…", "A retired nurse …"), …], …}

Views are distinct lines of at most 200 characters. Where a model lists fewer than `count`, or nothing that can be read, each one that is
missing is a rejected row (`missing_view`, or the failure) under the id of the prompt, and the answers in it are never asked for.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl
from pydantic import BaseModel

from prefloom.flows.engines.asking import Asks
from prefloom.flows.engines.protocol import Request
from prefloom.flows.engines.structured import Unfit, ask_structured
from prefloom.flows.steps.written import LATER
from prefloom.prompts import expect_inputs
from prefloom.schemas.errors import InputError
from prefloom.schemas.ids import draw, keys
from prefloom.schemas.label import Rejected
from prefloom.schemas.models import sampling_of
from prefloom.schemas.recipe import Recipe
from prefloom.schemas.sources import ModelCandidates
from prefloom.schemas.steering import AskedViews
from prefloom.schemas.texts import is_blank, normal

VIEW_INPUTS = frozenset({"prompt", "count"})
_LONGEST = 200  # characters of a view


class Reader(NamedTuple):
    """Who an answer is written for."""

    persona_id: str | None
    description: str


NOBODY = Reader(None, "")  # nobody in particular
Readers = Mapping[str, Sequence[Reader]]  # prompt_id -> those its answers are written for


class Viewpoints(BaseModel):
    """What a model replies that is asked for viewpoints."""

    views: list[str]


def asked_views(recipe: Recipe) -> AskedViews | None:
    """What the recipe says of views that a model lists; None where it lists them itself, or no model answers."""
    source = recipe.candidates
    return source.views if isinstance(source, ModelCandidates) and isinstance(source.views, AskedViews) else None


def view_requests(recipe: Recipe, prompts: pl.DataFrame) -> list[Request]:
    """What the model that lists views is asked, one request per row of Prompt."""
    wanted = asked_views(recipe)
    assert wanted
    template = expect_inputs(wanted.template, VIEW_INPUTS)
    temperature, sampling = sampling_of(recipe.models[wanted.model], wanted.temperature)
    return [
        Request(
            template.render(prompt=text, count=str(wanted.count)),
            wanted.max_tokens,
            temperature,
            recipe.seed,
            sampling=sampling,
            group=prompt_id,
        )
        for prompt_id, text in prompts.select("prompt_id", "text").iter_rows()
    ]


def ask_views(recipe: Recipe, prompts: pl.DataFrame, session: Asks, again: bool = False) -> tuple[dict[str, list[str]], list[Rejected]]:
    """(prompt -> its views, a row for each that is missing), for rows of Prompt."""
    wanted = asked_views(recipe)
    assert wanted
    ids = prompts["prompt_id"].to_list()
    answers = ask_structured(session, view_requests(recipe, prompts), ids, Viewpoints, again)
    found: dict[str, list[str]] = {}
    missing: list[Rejected] = []
    for prompt_id, answer in zip(ids, answers, strict=True):
        later = isinstance(answer, Unfit) and answer.detail == LATER
        listed = [f"view {number}, to be listed" for number in range(wanted.count)] if later else _distinct(answer)
        found[prompt_id] = listed[: wanted.count]
        missing += [_missing(prompt_id, answer, len(listed), wanted.count) for _ in range(wanted.count - len(listed))]
    return found, missing


def _distinct(answer: Viewpoints | Unfit) -> list[str]:
    """Views that a reader can tell apart, in the order in which they were listed."""
    lines = [" ".join(view.split()) for view in (answer.views if isinstance(answer, Viewpoints) else [])]
    fit = {normal(line): line for line in reversed(lines) if not is_blank(line) and len(line) <= _LONGEST}
    return list(reversed(fit.values()))


def _missing(prompt_id: str, answer: Viewpoints | Unfit, had: int, count: int) -> Rejected:
    row = Rejected(stage="candidates", kind="check", reason="missing_view", row_id=prompt_id, detail=f"{had} distinct views of {count}")
    if isinstance(answer, Unfit):
        return row.model_copy(update={"kind": "failure", "reason": answer.reason, "detail": f"views: {answer.detail}"})
    return row


def steered(recipe: Recipe, personas: pl.DataFrame, prompts: pl.DataFrame) -> Readers:
    """Whom the answers to each prompt are written for: the lowest by hash of (persona, prompt), of the training split alone.

    For a specific prompt those come first who would ask it. InputError if there is nobody to write for.
    """
    source = recipe.candidates
    assert isinstance(source, ModelCandidates)
    assert source.steer
    train = personas.filter(pl.col("split") == "train").sort("persona_id")
    people = [Reader(*row) for row in train.select("persona_id", "description").iter_rows()]
    if not people:
        raise InputError("recipe", "candidates.steer", found="no persona in the training split", expected="somebody to write for")
    ids = keys(train["persona_id"])
    have = [{(trait["name"], trait["value"]) for trait in traits} for traits in train["traits"]]
    chosen: dict[str, list[Reader]] = {}
    for prompt_id, trait, value in prompts.select("prompt_id", "trait", "trait_value").iter_rows():
        order = np.argsort(draw(recipe.seed, "steer", ids, keys([prompt_id])), kind="stable").tolist()
        if trait is not None:
            order.sort(key=lambda place: (trait, value) not in have[place])  # the sort is stable
        chosen[prompt_id] = [people[place] for place in order[: source.steer.personas]]
    return chosen
