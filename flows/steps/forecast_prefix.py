"""What a server computes once for all who read a comparison: the common beginning of their prompts.

    shares(recipe, votes=0)                                   ->  True for a judge on a vLLM server that prefloom starts
    common(recipe, "judge/pairwise", descriptions)(pieces)    ->  [3214.0, …] characters before the persona, for each comparison

vLLM keeps it in blocks of 16 tokens; the first reader's are computed, the others' are not. `rates` says where it is otherwise.
"""

from collections.abc import Callable, Mapping
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

from prefloom.flows.steps.judgements import asker
from prefloom.schemas.comparison import Comparison
from prefloom.schemas.recipe import Recipe

BLOCK = 16  # tokens
_GROWN = 1000  # characters by which a text is made longer to see whether it stands before the persona

Floats = NDArray[np.float64]


def shares(recipe: Recipe, votes: int) -> bool:
    """Whether the judge's servers are taken to keep common beginnings: as `rates` states, else one-token reads on a vLLM of ours do."""
    name = recipe.judgements.model
    rate, server = recipe.rates.get(name), recipe.servers.get(name)
    if rate and rate.shares_prefixes is not None:
        return rate.shares_prefixes
    return not votes and bool(server and server.vllm and "--no-enable-prefix-caching" not in server.vllm.arguments)


def common(recipe: Recipe, template: str, descriptions: Mapping[str, str]) -> Callable[[Floats], Floats]:
    """Lengths of (task, first answer, second answer), a column for each comparison -> characters that its readers' prompts begin with."""
    people = [*{text: name for name, text in descriptions.items()}.values()][:2]

    def rendered(*sizes: int) -> int:
        texts = {str(i): "x" * size for i, size in enumerate(sizes)}
        shown = Comparison.model_construct(None, comparison_id="", prompt_id="0", first_id="1", second_id="2", order="ab")
        ask = asker(recipe, 0, descriptions, texts, texts)
        one, other = (ask((shown, template, name)).messages for name in (people[0], people[-1]))
        characters = 0
        for (role, text), (other_role, other_text) in zip(one, other, strict=True):
            characters += sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(text, other_text, strict=False)))
            if (role, text) != (other_role, other_text):
                break
        return characters

    bare = rendered(1, 1, 1)
    grows = [(rendered(*(1 + _GROWN * (i == piece) for i in range(3))) - bare) / _GROWN for piece in range(3)]
    return lambda pieces: bare + np.array(grows) @ (pieces - 1)
