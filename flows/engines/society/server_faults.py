"""What goes wrong with the simulated server on demand: how it is set, and which request meets which fault.

    faults = Faults(seed=3, rate_429=0.2, drop=0.05);  [faults.draw(number) for number in range(5)]  ->  [None, "429", None, None, "drop"]

A fault is drawn from the seed and the number of the arrival, so a client that asks in the same order meets the same faults again.
"""

import hashlib
import math
from dataclasses import dataclass

from prefloom.schemas.errors import InputError

RETRY_AFTER = 1  # seconds that a client is told to wait after 429


@dataclass(frozen=True)
class Faults:
    """Shares of the requests, and seconds."""

    seed: int = 0
    rate_429: float = 0.0  # too many requests, with Retry-After
    rate_500: float = 0.0
    drop: float = 0.0  # the connection closes without an answer
    torn: float = 0.0  # half of the answer, as if it were all
    latency: float = 0.0  # before every answer
    drip: float = 0.0  # between the pieces of every answer

    def __post_init__(self) -> None:
        shares = {"--rate-429": self.rate_429, "--rate-500": self.rate_500, "--drop": self.drop, "--torn": self.torn}
        for name, share in shares.items():
            if not 0 <= share <= 1:
                raise InputError(name, found=f"{share:g}", expected="a share from 0 to 1")
        if sum(shares.values()) > 1 + 1e-9:
            raise InputError(", ".join(shares), found=f"{sum(shares.values()):g} in all", expected="shares that come to 1 at most")
        for name, seconds in {"--latency": self.latency, "--drip": self.drip}.items():
            if not (math.isfinite(seconds) and seconds >= 0):
                raise InputError(name, found=f"{seconds:g}", expected="seconds, 0 or more")

    def draw(self, number: int) -> str | None:
        """The fault of the number-th request: "429", "500", "drop", "torn", or None."""
        shares = {"429": self.rate_429, "500": self.rate_500, "drop": self.drop, "torn": self.torn}
        if not any(shares.values()):
            return None
        digest = hashlib.blake2b(f"{self.seed} {number}".encode(), digest_size=8).digest()
        place = int.from_bytes(digest) / 2**64
        for kind, share in shares.items():
            place -= share
            if place < 0:
                return kind
        return None
