"""How long calls take by what is stated of a model or was tried out, and how many hours of GPUs that is.

seconds(Usage(117716, 108_721_418, 117716, cached_tokens=95_000_000), Rate(prompt_tokens_per_second=5500))  ->  2494.8
gpu_hours({"judge": 2494.8}, recipe)                                                                        ->  0.693
"""

from collections.abc import Iterable, Mapping

from prefloom.schemas.recipe import Rate, Recipe
from prefloom.schemas.usage import Usage

_TERMS = {"calls_per_second": "calls", "prompt_tokens_per_second": "prompt tokens", "completion_tokens_per_second": "completion tokens"}


def seconds(used: Usage, rate: Rate | None) -> float | None:
    """Time of these calls: of their tokens or of them as such, whichever takes longer. None if nothing is known of either."""
    if not used.calls:
        return 0.0
    if rate is None or not _stated(rate):
        return None
    computed = used.prompt_tokens - used.cached_tokens
    tokens = ((computed, rate.prompt_tokens_per_second), (used.completion_tokens, rate.completion_tokens_per_second))
    return max(sum(n / pace for n, pace in tokens if pace), used.calls / rate.calls_per_second if rate.calls_per_second else 0.0)


def together(times: Iterable[float | None]) -> float | None:
    """One after the other; None if one is not known."""
    listed = list(times)
    known = [time for time in listed if time is not None]
    return sum(known) if len(known) == len(listed) else None


def gpu_hours(times: Mapping[str, float | None], recipe: Recipe) -> float | None:
    """Hours of GPUs for the seconds of each model, of those that prefloom serves itself; None if there are none or one is not known."""
    served = {name: server.vllm for name, server in recipe.servers.items() if name in times and server.vllm}
    hours = ((time := times[name]) and time * vllm.data_parallel * vllm.tensor_parallel / 3600 for name, vllm in served.items())
    return together(hours) if served else None


def rates(recipe: Recipe, tried: Mapping[str, float]) -> dict[str, Rate]:
    """What the recipe states of each model; calls per second as tried out where it states no pace."""
    stated = {name: rate for name, rate in recipe.rates.items() if _stated(rate)}
    return {name: Rate(calls_per_second=pace) for name, pace in tried.items()} | stated


def basis(recipe: Recipe, tried: Mapping[str, float]) -> list[str]:
    """What the times rest on."""
    stated = {name: terms for name, rate in sorted(recipe.rates.items()) if (terms := _stated(rate))}
    said = [f"time of {name}: {' and '.join(terms)} a second, as rates.{name} states" for name, terms in stated.items()]
    said += [
        f"time of {name}: {pace:,.0f} calls a second, measured just now, model calls alone"
        for name, pace in tried.items()
        if name not in stated
    ]
    if any(server.vllm for server in recipe.servers.values()):
        said.append("GPU-hours: the time on all GPUs of the servers that prefloom starts; their starts are not counted")
    return said


def _stated(rate: Rate) -> list[str]:
    return [f"{pace:,.10g} {what}" for term, what in _TERMS.items() if (pace := getattr(rate, term))]
