"""Planted people who are asked themselves, as an engine: "which of these two answers do you prefer?"

    People(recipe).answer([Request(messages=…, max_tokens=1, letters=("A", "B"))], stop)  ->  batches of (index, Reply(text="A"))

A person is found by the description that stands in the message, as a judge would find what it has to go by; no id reaches it. The
answer is the one that the person's own utility prefers: A, B, and nothing of how much or why. Whoever builds a dataset thus learns a
choice, as from a questionnaire, and not a taste; the file of the truth is not opened. Somebody who was not planted gives no answer.
"""

from collections.abc import Callable, Iterator, Sequence

from prefloom.flows.engines.protocol import Reply, Request
from prefloom.flows.engines.society import told, utility
from prefloom.flows.engines.society.chance import Floats
from prefloom.flows.engines.society.people import identity
from prefloom.flows.engines.society.truth import planted
from prefloom.schemas.recipe import Recipe
from prefloom.schemas.sources import SocietyPersonas

_BATCH = 256


class People:
    """The planted people of a recipe."""

    free = True
    votes = 0
    in_flight = _BATCH

    def __init__(self, recipe: Recipe) -> None:
        self.identity = identity()
        self._weights: dict[str, Floats] = {}
        for source in recipe.personas:
            if isinstance(source, SocietyPersonas):
                found = planted(source, recipe.seed)
                for description, weights in zip(found.descriptions, found.weights, strict=True):
                    self._weights.setdefault(description, weights)

    def answer(self, requests: Sequence[Request], stop: Callable[[], bool]) -> Iterator[list[tuple[int, Reply]]]:
        """Replies in batches, in order."""
        for start in range(0, len(requests), _BATCH):
            if stop():
                return
            yield [(start + place, self._reply(request)) for place, request in enumerate(requests[start : start + _BATCH])]

    def _reply(self, request: Request) -> Reply:
        passages, _ = told(request)
        weights = self._weights.get(passages.get("persona", ""))
        if weights is None or not {"first", "second"} <= passages.keys():
            return Reply(error="nobody is described so")
        # The sum of products one by one: a matrix product may differ in its last digits between machines.
        apart = (weights * (utility.features([passages["first"]])[0] - utility.features([passages["second"]])[0])).sum()
        return Reply("A" if apart >= 0 else "B", "stop")
