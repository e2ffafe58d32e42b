"""What a simulated model has seen before, and what it has counted: a prefix cache of blocks, and counters under vLLM's names.

    cache = PrefixCache(blocks=65_536)
    cache.take("…2,500 characters…", tokens=625)  ->  0        cache.take("…the same…", tokens=625)  ->  624

As in vLLM a prompt is cut into blocks of 16 tokens, a block is found by all that stands before it, the last token is always computed, and
what was used longest ago goes first, the ends of prompts before their beginnings.
"""

from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate

from prefloom.flows.engines.society.server_tokens import PIECE

BLOCK = 16  # tokens
_SPAN = BLOCK * PIECE  # characters


class PrefixCache:
    """The blocks that one model holds."""

    def __init__(self, blocks: int) -> None:
        self._most = blocks
        self._held: OrderedDict[int, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._held)

    def take(self, text: str, tokens: int) -> int:
        """How many of a prompt's tokens are held already; from now on all of its full blocks are."""
        held = self._held
        blocks = [text[start : start + _SPAN] for start in range(0, len(text) - _SPAN + 1, _SPAN)]
        keys = list(accumulate(blocks, lambda before, block: hash((before, block)), initial=0))[1:]
        hits = next((place for place, key in enumerate(keys) if key not in held), len(keys))
        # Ends first, so that a beginning is always younger than what follows on it.
        held.update(dict.fromkeys(reversed(keys[hits:])))
        for key in reversed(keys[:hits]):
            held.move_to_end(key)
        while len(held) > self._most:
            held.popitem(last=False)
        return min(hits, max(0, tokens - 1) // BLOCK) * BLOCK


@dataclass(slots=True)
class Counts:
    """What one model has done since the server started."""

    prompt: int = 0
    cached: int = 0
    generation: int = 0
    finished: Counter[str] = field(default_factory=Counter)


def prometheus(counts: Mapping[str, Counts], created: float, running: int) -> str:
    """The counters of all models, as vLLM names them."""
    prompt, cached = [count.prompt for count in counts.values()], [count.cached for count in counts.values()]
    columns = {
        "vllm:prompt_tokens": ("Prompt tokens, computed and reused.", prompt),
        "vllm:prompt_tokens_cached": ("Prompt tokens that the prefix cache held.", cached),
        "vllm:prefix_cache_queries": ("Prompt tokens looked up in the prefix cache.", prompt),
        "vllm:prefix_cache_hits": ("Prompt tokens found in the prefix cache.", cached),
        "vllm:generation_tokens": ("Tokens said.", [count.generation for count in counts.values()]),
        "vllm:num_preemptions": ("Requests put off; there are none here.", [0] * len(counts)),
    }
    lines = []
    for name, (meaning, values) in columns.items():
        lines += [f"# HELP {name}_total {meaning}", f"# TYPE {name}_total counter"]
        lines += [f"{name}_total{{{_labels(model)}}} {value}" for model, value in zip(counts, values, strict=True)]
        lines += [f"# TYPE {name}_created gauge"]
        lines += [f"{name}_created{{{_labels(model)}}} {created!r}" for model in counts]
    lines += ["# HELP vllm:request_success_total Answers given.", "# TYPE vllm:request_success_total counter"]
    for model, count in counts.items():
        lines += [f'vllm:request_success_total{{{_labels(model)},finished_reason="{why}"}} {n}' for why, n in count.finished.items()]
    lines += ["# HELP vllm:num_requests_running Requests being answered.", "# TYPE vllm:num_requests_running gauge"]
    return "\n".join([*lines, f'vllm:num_requests_running{{engine="0"}} {running}', ""])


def _labels(model: str) -> str:
    quoted = model.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'engine="0",model_name="{quoted}"'
