"""Members of the society say when a description cannot tell, and write what they understand; planted people answer for themselves."""

import math
from itertools import product

import numpy as np
import pytest

from prefloom.flows.engines.protocol import Reply, Request
from prefloom.flows.engines.scorers import PROPERTIES, score
from prefloom.flows.engines.society import Society, reader, truth
from prefloom.flows.engines.society.interview import People
from prefloom.flows.engines.society.judge import Asked
from prefloom.flows.engines.society.refining import doubts, sentence, three
from prefloom.flows.engines.society.wording import clause
from prefloom.flows.steps.judgements import LETTERS
from prefloom.flows.steps.sentences import Sentence, read_sentence
from prefloom.flows.steps.verdicts import THREE
from prefloom.prompts import load
from prefloom.schemas.recipe import Recipe
from prefloom.schemas.sources import SocietyPersonas
from tests.helpers import BASE

LISTS = "- Boil the rice.\n- Salt it.\n- Serve it warm.\n- Taste it first."
PROSE = "Rice is, perhaps, a matter of patience, and there are many ways in which people have thought about it over the centuries."
SILENT, TOLD = "A baker from Pune.", "A baker from Pune. This person loves lists and bullet points."


def ask(messages: tuple[tuple[str, str], ...], letters: tuple[str, ...] = (), **settings: float) -> Reply:
    request = Request(messages, 80, letters=letters, **settings)  # type: ignore[arg-type]
    return next(Society("good").answer([request], lambda: False))[0][1]


def verdict(persona: str, letters: tuple[str, ...], **settings: float) -> Reply:
    return ask(load("judge/refine").render(persona=persona, prompt="Rice?", first=LISTS, second=PROSE), letters, **settings)


def test_who_is_offered_a_third_letter_still_leans_as_before() -> None:
    two, third = verdict(TOLD, LETTERS), verdict(TOLD, THREE)
    assert two.logprobs
    assert third.logprobs
    assert third.logprobs["A"] - third.logprobs["B"] == pytest.approx(two.logprobs["A"] - two.logprobs["B"], abs=2e-4)
    assert sum(map(math.exp, third.logprobs.values())) == pytest.approx(sum(map(math.exp, two.logprobs.values())), abs=1e-3)


def test_a_description_that_says_less_leaves_more_open() -> None:
    exact = SILENT + " Weights: " + " ".join(["+0.1"] * 34)
    open_ = doubts([Asked(LISTS, PROSE, persona, "") for persona in (SILENT, TOLD, exact)])
    assert open_[0] > open_[1] > open_[2] == 0
    assert doubts([Asked(LISTS, LISTS, SILENT, "")]) == [0]
    assert three(0.5, 2.0, 3.0)[2] > three(0.5, 0.1, 3.0)[2]
    assert sum(map(math.exp, three(30.0, 1.0, 3.0))) == pytest.approx(1)


def test_letters_are_sampled_as_often_as_they_are_likely() -> None:
    silent = verdict(SILENT, THREE)
    assert silent.logprobs
    said = [verdict(SILENT, THREE, temperature=1.0, seed=seed).text for seed in range(300)]
    for letter in THREE:
        assert said.count(letter) / 300 == pytest.approx(math.exp(silent.logprobs[letter]), abs=0.1)


def test_a_sentence_says_what_tells_the_answers_apart_and_is_understood() -> None:
    told = sentence(LISTS, PROSE, SILENT)
    assert read_sentence(Reply(told, "stop")) == Sentence(told)
    (place,) = np.flatnonzero(reader.read(told).stated)
    apart = score("reading", [LISTS, PROSE])
    assert np.sign(reader.read(told).levels[place]) == np.sign(apart[0, place] - apart[1, place])
    assert sentence(PROSE, LISTS, SILENT) != told
    again = sentence(LISTS, PROSE, f"{SILENT} {told}")
    assert not reader.read(again).stated[place]  # what stands there already is not said again


def test_every_sentence_that_can_be_written_is_taken_and_understood() -> None:
    for taste, level, draw in product(PROPERTIES, (-1, 1), range(12)):
        told = f"As a reader, this person {clause(taste, level, f'append/{draw}')}."
        assert read_sentence(Reply(told, "stop")) == Sentence(told)
    heard = [reader.read(f"This person {clause(taste, 1, 'x')}.").levels[place] for place, taste in enumerate(PROPERTIES)]
    assert np.mean(np.array(heard) > 0) > 0.9


def test_a_member_answers_the_template() -> None:
    messages = load("persona/append").render(persona=SILENT, prompt="Rice?", chosen=LISTS, other=PROSE)
    assert ask(messages).text == sentence(LISTS, PROSE, SILENT)


def test_people_answer_by_their_own_taste_and_nobody_else_does() -> None:
    recipe = Recipe.model_validate(BASE | {"personas": [{"source": "society", "count": 5}]})
    (source,) = recipe.personas
    assert isinstance(source, SocietyPersonas)
    crowd = truth.planted(source, recipe.seed)
    worth = crowd.utilities([LISTS, PROSE])
    template = load("judge/refine")
    requests = [
        Request(template.render(persona=told, prompt="Rice?", first=first, second=second), 1, letters=LETTERS)
        for told in [*crowd.descriptions, "A stranger."]
        for first, second in ((LISTS, PROSE), (PROSE, LISTS))
    ]
    replies = [reply for batch in People(recipe).answer(requests, lambda: False) for _, reply in batch]
    assert [reply.text for reply in replies[:-2]] == [
        text for lists, prose in worth for text in (("A", "B") if lists > prose else ("B", "A"))
    ]
    assert all(reply.error and reply.logprobs is None for reply in replies[-2:])
    assert list(People(recipe).answer(requests, lambda: True)) == []
