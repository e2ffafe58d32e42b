"""The personas before they are written: out of the journal, tried out where that is free, or a stand-in of twenty-five words.

    seen = WritersSeen(run, uses);  personas_of(run.resolved, encoder, seen.ask)
    seen.usage, seen.left  ->  {"scholar": Usage(calls=1500, …)}, the part of it that is not journaled
    seen.basis             ->  lines for a reader

A stand-in passes every check, so where some are not known yet the number of personas is what the recipe asks for. Nothing is written.
"""

from collections.abc import Sequence

from prefloom.flows.dataset.run import Run
from prefloom.flows.engines import open_engine
from prefloom.flows.engines.asking import read_reply
from prefloom.flows.engines.protocol import Reply, Request
from prefloom.flows.steps import freshness
from prefloom.schemas.recipe import Rate
from prefloom.schemas.usage import Usage, Usages

_TRIED = 4096  # sentences of free engines that are tried out at most
_TOKENS = 40.0  # of a sentence of 20 to 30 words, about


class WritersSeen:
    """What is known of the calls that write personas."""

    def __init__(self, run: Run, uses: freshness.Materials) -> None:
        self._run, self._uses = run, uses
        self._seen: dict[tuple[str, str], Reply] = {}
        self.usage: Usages = {}
        self.left: Usages = {}
        self._counts: dict[str, list[int]] = {}  # model -> journaled, tried out, assumed

    def ask(self, model: str, requests: Sequence[Request], _: Sequence[str]) -> list[Reply]:
        """A reply to each request, known or made up; the calls are counted once."""
        identity, engine = self._uses.models[model], open_engine(self._run, model)
        keys = [request.key(identity) for request in requests]
        journal = self._run.journal(identity).glance().replies(keys)
        held = {key: reply for key, line in journal.items() if (reply := read_reply(line))}
        missing = {key: request for key, request in zip(keys, requests, strict=True) if key not in held}
        tried: dict[str, Reply] = {}
        if engine.free and len(missing) <= _TRIED:
            names = list(missing)
            for batch in engine.answer(list(missing.values()), lambda: False):
                tried |= {names[place]: reply for place, reply in batch}
        rate = self._run.resolved.recipe.rates.get(model) or Rate()
        replies = []
        for key, request in zip(keys, requests, strict=True):
            reply = held.get(key) or tried.get(key) or _stand_in(key)
            replies.append(reply)
            if (identity, key) in self._seen:
                continue
            self._seen[identity, key] = reply
            self._count(model, key in held, key in tried, _usage(request, reply, rate))
        return replies

    def _count(self, model: str, journaled: bool, tried: bool, used: Usage) -> None:
        self._counts.setdefault(model, [0, 0, 0])[0 if journaled else 1 if tried else 2] += 1
        self.usage[model] = self.usage.get(model, Usage()) + used
        self.left[model] = self.left.get(model, Usage()) + (Usage() if journaled else used)

    @property
    def exact(self) -> bool:
        """Whether every reply is known."""
        return not any(assumed for _, _, assumed in self._counts.values())

    @property
    def basis(self) -> tuple[str, ...]:
        """Where the personas of each model come from."""
        ways = ("journaled", "tried out (free)", f"taken to be fit, {_TOKENS:g} tokens each")
        lines = []
        for model, counts in self._counts.items():
            said = [f"{n:,} {way}" for n, way in zip(counts, ways, strict=True) if n]
            lines.append(f"personas written by {model}: {' and '.join(said)}")
        return tuple(lines)


def _stand_in(key: str) -> Reply:
    """Twenty-five words that no other call has."""
    return Reply(" ".join([*["word"] * 24, key]), "stop")


def _usage(request: Request, reply: Reply, rate: Rate) -> Usage:
    asked = reply.prompt_tokens or sum(len(content) for _, content in request.messages) / rate.characters_per_token
    said = min(rate.answer_tokens or _TOKENS, _TOKENS) if reply.completion_tokens is None else reply.completion_tokens
    return Usage(1, round(asked), round(said))
