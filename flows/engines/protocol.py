"""What a stage asks and what an engine answers.

Request(messages=(("user", "…"),), max_tokens=1, letters=("A", "B"))
Reply(text="A", finish_reason="stop", logprobs={"A": -0.21, "B": -1.83}, prompt_tokens=412, completion_tokens=1)
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import orjson

from prefloom.prompts import Messages


@dataclass(frozen=True, slots=True)
class Request:
    """One model call. `letters` asks for their log-probabilities at the first token; `repeat` tells equal calls apart."""

    messages: Messages
    max_tokens: int
    temperature: float = 0.0
    seed: int | None = None
    letters: tuple[str, ...] = ()
    repeat: int = 0
    votes: int = 0  # answers to sample for the letters, where log-probabilities cannot be had
    sampling: tuple[tuple[str, float], ...] = ()  # settings of the model, such as ("top_p", 0.95)
    schema: str | None = None  # JSON Schema (as JSON text) that the answer has to follow
    group: str = field(default="", compare=False)  # requests of one group begin alike; where they are sent may follow it, what is said not

    def key(self, identity: str) -> str:
        """The name of this call in the journal: 32 hex digits over the model's identity and all fields but the group."""
        value = [identity, self.messages, self.max_tokens, self.temperature, self.seed, self.letters, self.repeat]
        if self.votes or self.sampling or self.schema:
            value.append([self.votes, self.sampling, self.schema])
        return hashlib.blake2b(orjson.dumps(value), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer, unparsed. `error` says why there is none; unknown token counts stay None; log-probabilities are on a grid of 1e-4."""

    text: str | None = None
    finish_reason: str | None = None
    logprobs: dict[str, float] | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    error: str | None = None
    cached_tokens: int | None = None
    votes: dict[str, int] | None = None  # letter -> how many of the sampled answers chose it; "" for those that chose none


class Engine(Protocol):
    """A model that answers."""

    @property
    def identity(self) -> str:
        """Name and revision: whatever could make the same request get another answer."""

    @property
    def free(self) -> bool:
        """Whether asking costs neither money nor a noticeable wait, so that `plan` may try a few calls."""

    @property
    def in_flight(self) -> int:
        """Calls that it has in flight at once for each of those who ask it now, about."""

    @property
    def votes(self) -> int:
        """Answers to sample for one reading of letters; 0 where log-probabilities are read."""

    def answer(self, requests: Sequence[Request], stop: Callable[[], bool]) -> Iterator[list[tuple[int, Reply]]]:
        """Batches of (index of the request, reply) as they come, in any order; every index exactly once, failures as `Reply.error`.

        Once `stop()` holds nothing more is asked; what is in flight is still given. InputError if no server can answer at all.
        """
