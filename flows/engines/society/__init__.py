"""The simulated society: models that write answers and judges that read them, in process, with no weights and no network.

    Society("scholar").answer([Request(messages=(("user", "…"),), max_tokens=512)])   ->  batches of (index, Reply)

Everything follows from the rendered messages, the sampling settings and the character (data/society/characters.yaml): ids, traits and
planted tastes never reach it. A message with fenced `first`, `second` and `persona` passages is judged, any other is answered. The same
request gets the same reply on every machine.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property

from prefloom.flows.engines.protocol import Reply, Request
from prefloom.flows.engines.society.judge import judge
from prefloom.flows.engines.society.prose import FILES, characters, source
from prefloom.flows.engines.society.respondent import respond
from prefloom.prompts.fence import fenced
from prefloom.schemas.errors import InputError, nearest

SOCIETY_VERSION = 2  # raise it when the code of this folder gives other replies
BATCH = 256


class Society:
    """One member of the society, as an engine."""

    free = True
    votes = 0
    in_flight = BATCH

    def __init__(self, character: str) -> None:
        if character not in characters():
            raise InputError("recipe", "character", found=f"'{character}'", expected=nearest(character, characters()))
        self.character = character

    @cached_property
    def identity(self) -> str:
        """society/<character>@<revision>; the revision is the hash of the society's files and the version of its code."""
        content = "\0".join([str(SOCIETY_VERSION), *(source(name) for name in FILES)])
        return f"society/{self.character}@{hashlib.blake2b(content.encode(), digest_size=6).hexdigest()}"

    def answer(self, requests: Sequence[Request], stop: Callable[[], bool]) -> Iterator[list[tuple[int, Reply]]]:
        """Replies in batches, in order."""
        for start in range(0, len(requests), BATCH):
            if stop():
                return
            yield [(start + i, self._reply(request)) for i, request in enumerate(requests[start : start + BATCH])]

    def _reply(self, request: Request) -> Reply:
        message = request.messages[-1][1]
        passages = fenced(message)
        traits = characters()[self.character]
        logprobs = None
        if {"first", "second", "persona"} <= passages.keys():
            text, logprobs = judge(passages, request.messages[0][1], traits["judges"])
        else:
            text = respond(passages.get("task", message), passages.get("view"), request, self.character, traits["writes"])
        # A token is four characters here, and no reply has more of them than it was allowed.
        prompt, said = sum(len(content) for _, content in request.messages) // 4, text[: 4 * request.max_tokens]
        return Reply(said, "stop" if said == text else "length", logprobs, prompt, -(-len(said) // 4))
