"""Reading letters from a server that gives no log-probabilities: answers are sampled, and counted by the letter they choose.

    ballot = Ballot(15);  ballot.cast(replies) …    ballot.reply(("A", "B"))  ->  Reply(votes={"A": 11, "B": 3, "": 1}, …)

Every vote is a call of its own, with its own attempts, unless the server gives several answers to one call. A ballot that has begun is
brought to its end also when the build stops: half of one would be paid for nothing.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from prefloom.flows.engines.endpoint import wire
from prefloom.flows.engines.protocol import Reply


class Ballot:
    """The votes for one reading."""

    def __init__(self, size: int) -> None:
        self.size, self.begun, self.failed = size, False, False
        self._replies: list[Reply] = []

    @property
    def complete(self) -> bool:
        """Whether there is nothing more to wait for."""
        return self.failed or len(self._replies) >= self.size

    def cast(self, replies: Sequence[Reply]) -> None:
        """Add votes; one that failed for good fails them all."""
        self._replies += replies
        self.failed = self.failed or any(reply.error is not None for reply in replies)

    def reply(self, letters: Sequence[str]) -> Reply:
        """What it came to."""
        replies = self._replies
        prompt, completion, cached = (_sum(getattr(r, f"{kind}_tokens") for r in replies) for kind in ("prompt", "completion", "cached"))
        if self.failed:  # the others were paid for all the same
            prompt, completion = (sum(getattr(r, f"{kind}_tokens") or 0 for r in replies) for kind in ("prompt", "completion"))
            error = next(reply.error for reply in replies if reply.error is not None)
            return Reply(error=error, prompt_tokens=prompt or None, completion_tokens=completion if prompt else None)
        counts = Counter(wire.choice_of(reply.text, letters) for reply in replies)
        votes = {letter: counts[letter] for letter in (*letters, "") if counts[letter]}
        known = None not in (prompt, completion)
        return Reply(
            replies[0].text,
            replies[0].finish_reason,
            prompt_tokens=prompt if known else None,
            completion_tokens=completion if known else None,
            cached_tokens=cached if known else None,
            votes=votes,
        )


def _sum(counts: Iterable[int | None]) -> int | None:
    known = list(counts)
    return None if None in known else sum(count for count in known if count is not None)
