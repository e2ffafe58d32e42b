"""Reading a verdict of three letters: which of two answers, or that the description cannot tell.

    read_three(Reply(logprobs={"A": -2.1, "B": -1.9, "C": -0.3}))              ->  (-2.1, -1.9, -0.3)
    decide(Verdict(ab=(-2.1, -1.9, -0.3), ba=(-1.2, -2.6, -0.5)), threshold=0.5)  ->  "cannot_tell"

Log-probabilities are averaged over both orders before anything is decided, so that a liking for whatever stands first cancels: it adds
to A as much in one order as it takes from the same answer in the other.
"""

import math
from collections.abc import Mapping
from typing import Literal, NamedTuple

from prefloom.flows.engines.protocol import Reply

THREE = ("A", "B", "C")

Letters = tuple[float, float, float]
Said = Literal["a", "b", "cannot_tell"]


class Verdict(NamedTuple):
    """Log-probabilities of A, B and C in order ab and in order ba."""

    ab: Letters
    ba: Letters

    @property
    def margin(self) -> float:
        """Log-odds for the answer with the smaller id, C aside."""
        return round((self.ab[0] - self.ab[1] + self.ba[1] - self.ba[0]) / 2, 4)

    @property
    def open(self) -> float:
        """Share of C once both orders are averaged."""
        means = [(one + other) / 2 for one, other in zip(self.ab, (self.ba[1], self.ba[0], self.ba[2]), strict=True)]
        top = max(means)
        return math.exp(means[2] - top) / math.fsum(math.exp(mean - top) for mean in means)


def decide(verdict: Verdict, threshold: float) -> Said:
    """What a description says of a comparison. An even one is not told either."""
    if verdict.open >= threshold or verdict.margin == 0:
        return "cannot_tell"
    return "a" if verdict.margin > 0 else "b"


def read_three(reply: Reply) -> Letters | str:
    """Log-probabilities of the letters on a grid of 1e-4, or the reason why the reply cannot be read."""
    if reply.error is not None:
        return "error"
    if reply.votes is not None:
        return _counted(reply.votes)
    logprobs = reply.logprobs or {}
    found = [logprobs.get(letter, math.nan) for letter in THREE]
    if not all(map(math.isfinite, found)):
        return "off_menu" if (reply.text or "").strip() not in THREE else "no_logprobs"
    return round(found[0], 4), round(found[1], 4), round(found[2], 4)


def _counted(votes: Mapping[str, int]) -> Letters | str:
    """The same from sampled answers, with half a vote more for each letter."""
    counts = [votes.get(letter, 0) + 0.5 for letter in THREE]
    if sum(counts) <= 0.5 * len(THREE):
        return "off_menu"
    total = sum(votes.values()) + 0.5 * len(THREE)
    logs = [round(math.log(count / total), 4) for count in counts]
    return logs[0], logs[1], logs[2]
