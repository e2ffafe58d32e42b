"""How the stand-in server behaves, and what goes wrong with it: every setting, and which request meets which fault.

    Settings(shares={"429": 0.1, "torn": 0.05, "drop": 0.05}, bound=3)

A fault is drawn for a request from its content and how often that content has been asked (`draw: content`: the same whatever the order of
arrival), or by counting requests (`draw: counter`: exact shares). No content meets more than `bound` faults, unless that is null.
"""

import hashlib
import itertools
import time
from collections import Counter
from dataclasses import dataclass, field
from email.utils import formatdate

POISON = "[[poison]]"  # messages that contain this are answered with 400, always
GOLDEN = 0.6180339887498949  # multiples of it fill the unit interval evenly
ABSURD = ("1e9", "-5", "soon", "Fri, 01 Jan 2200 00:00:00 GMT", "", "\u0663")

REFUSALS = ("429", "429-date", "429-none", "429-absurd", "500", "503", "404", "401")  # answered at once, without a reply
BROKEN = ("drop", "drop-body", "torn", "html", "stall")  # the line or the body is at fault
TWISTED = (  # well-formed, and not what was asked for
    *("nan", "null-logprobs", "missing-logprobs", "other-model", "no-choices", "huge"),
    *("null-content", "length", "content-filter", "control"),
)
KINDS = (*REFUSALS, *BROKEN, *TWISTED)
ON_LOGPROBS = ("nan", "null-logprobs", "missing-logprobs")  # mean something only where log-probabilities were asked for


@dataclass
class Settings:
    """What can be set when the server starts and by POST /settings while it runs."""

    models: list[str] = field(default_factory=lambda: ["stand-in"])
    key: str | None = None  # demand this API key
    vllm: bool = True  # /version, /tokenize and /health are there
    reads: str = "ids"  # log-probabilities by logprob_token_ids (and top_logprobs), only by "top" (top_logprobs), or "none"
    refuse: list[str] = field(default_factory=list)  # fields of a request that are answered with 400
    usage: bool = True
    many: bool = True  # `n` is honoured, not ignored
    thinking: bool = False  # the chat template has a switch for thinking, which is on unless it is turned off
    json: str = "valid"  # or "invalid", "once" (invalid until a second round), "ignored"
    mass: float = 0.95  # probability that a judge gives to the two letters, on average
    latency: float = 0.0  # seconds before an answer
    jitter: float = 0.0  # share by which it varies, up and down
    capacity: int | None = None  # with more in flight, 429
    shares: dict[str, float] = field(default_factory=dict)  # kind of fault -> share of the requests
    draw: str = "content"
    seed: int = 0
    bound: int | None = None
    retry_after: float = 0.0  # seconds, for 429 and 429-date
    stall: float = 30.0  # seconds
    huge: int = 32  # megabytes

    def __post_init__(self) -> None:
        if unknown := set(self.shares) - set(KINDS):
            raise ValueError(f"unknown faults {sorted(unknown)}; there are {KINDS}")
        if sum(self.shares.values()) > 1:
            raise ValueError("the shares come to more than 1")
        choices = {"reads": ("ids", "top", "none"), "json": ("valid", "invalid", "once", "ignored"), "draw": ("content", "counter")}
        for name, valid in choices.items():
            if getattr(self, name) not in valid:
                raise ValueError(f"{name} is one of {valid}")


def unit(*parts: object) -> float:
    """A number in [0, 1) that these parts decide."""
    return int.from_bytes(hashlib.blake2b("\0".join(map(str, parts)).encode(), digest_size=7).digest()) / 2**56


class Faults:
    """Draws faults and counts those that were dealt."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.dealt: Counter[str] = Counter()  # by kind
        self._met: Counter[str] = Counter()  # by content
        self._requests, self._absurd = itertools.count(), itertools.cycle(ABSURD)

    def draw(self, content: str, attempt: int, logprobs: bool) -> str | None:
        """The fault that the attempt-th request of this content meets, or None."""
        s = self.settings
        if not s.shares or (s.bound is not None and self._met[content] >= s.bound):
            return None
        place = unit(s.seed, content, attempt) if s.draw == "content" else next(self._requests) * GOLDEN % 1
        for kind, share in s.shares.items():
            place -= share
            if place < 0:
                if kind in ON_LOGPROBS and not logprobs:
                    return None
                self._met[content] += 1
                self.dealt[kind] += 1
                return kind
        return None

    def delay(self, content: str, attempt: int) -> float:
        """Seconds before this answer."""
        s = self.settings
        return s.latency * (1 + s.jitter * (2 * unit("delay", content, attempt) - 1)) if s.jitter else s.latency

    def refusal(self, kind: str, key: str) -> tuple[int, str, dict[str, str]]:
        """(status, message, headers) of a fault that is an HTTP error."""
        status, _, when = kind.partition("-")
        seconds = self.settings.retry_after
        waits = {"": f"{seconds:g}", "date": formatdate(time.time() + seconds, usegmt=True), "absurd": next(self._absurd), "none": None}
        message = {
            "429": "Rate limit reached, slow down",
            "404": "The model does not exist",
            "401": f"Incorrect API key provided: {key}. Find yours in your account.",
        }.get(status, "The server had an error")
        wait = waits[when] if status == "429" else None
        return int(status), message, {} if wait is None else {"Retry-After": wait}
