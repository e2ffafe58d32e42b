"""What model calls used, and what they cost. Unknown stays unknown: a call without token counts is counted, never guessed.

total = Usage(calls=78596, prompt_tokens=29_400_000, completion_tokens=78_596)
spend({"judge": total}, {"judge": Price(prompt=0.15, completion=0.60)})  ->  Decimal("4.4571576")
"""

from collections.abc import Iterable, Mapping
from dataclasses import astuple
from decimal import Decimal

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from prefloom.schemas.recipe import Price

PER = Decimal(1_000_000)  # prices are per million tokens


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Usage:
    """Calls and tokens of one model."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    unmetered: int = 0  # calls whose reply did not say how many tokens they took; their tokens are in no sum
    cached_tokens: int = 0  # prompt tokens among the above that the server had in its cache, as far as replies say

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Prefill:
    """Prompt tokens of `servers` servers over some time, and how many of them came from a prefix cache."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    preemptions: int = 0
    servers: int = 0

    @property
    def computed_tokens(self) -> int:
        """Prompt tokens that went through the model."""
        return self.prompt_tokens - self.cached_tokens

    @property
    def reused(self) -> float | None:
        """Share of the prompt tokens that came from a prefix cache; None if there were none."""
        return self.cached_tokens / self.prompt_tokens if self.prompt_tokens else None


Usages = dict[str, Usage]  # by model, as named in the recipe


def total(parts: Iterable[Mapping[str, Usage]]) -> Usages:
    """The sum by model, models in alphabetical order."""
    result: Usages = {}
    for part in parts:
        for model, usage in part.items():
            result[model] = result.get(model, Usage()) + usage
    return dict(sorted(result.items()))


def spend(usage: Mapping[str, Usage], prices: Mapping[str, Price]) -> Decimal | None:
    """US dollars for the models that have a price; None if none of those used has one."""
    priced = [(used, prices[model]) for model, used in usage.items() if model in prices]
    if not priced:
        return None
    return sum((_cost(used, price) for used, price in priced), Decimal(0)) / PER


def _cost(used: Usage, price: Price) -> Decimal:
    known = price.prompt if price.cached is None else price.cached
    return (used.prompt_tokens - used.cached_tokens) * price.prompt + used.cached_tokens * known + used.completion_tokens * price.completion


def tokens(usage: Mapping[str, Usage]) -> int:
    """Prompt and completion tokens of all models together."""
    return sum(used.prompt_tokens + used.completion_tokens for used in usage.values())


def money(amount: Decimal) -> str:
    """US dollars for a reader: with cents or, below one dollar, with four decimals."""
    return f"${amount:,.2f}" if amount >= 1 else "less than $0.0001" if 0 < amount < Decimal("0.0001") else f"${amount:.4f}"


def compact(number: int) -> str:
    """35425478 -> '35.4 M'."""
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= size:
            return f"{number / size:.1f} {letter}"
    return str(number)
