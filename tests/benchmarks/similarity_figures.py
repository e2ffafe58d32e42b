"""How alike answers to one prompt are, and what is gained by keeping some of them. Arrays are [prompt, answer, …].

    cosine = between(grid)                           ->  [prompt, answer, answer]
    alike(cosine)                                    ->  [prompt], mean of all pairs;  alike(cosine, chosen) of the chosen ones alone
    vendi(cosine), of_subsets(cosine, 4)             ->  [prompt] and [prompt, subset]: how many different answers they are worth
    distinct([["a b c d", "a b c e"]])               ->  [0.75]: of four 3-grams three are different ones

Every table of answers against answers is of the same form, so distances and gaps of utility are averaged as cosines are.
"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from prefloom.flows.dataset.heterogeneity import Floats
from prefloom.flows.diversity.grid import Grid, cosines
from prefloom.flows.diversity.near import near_duplicates
from prefloom.flows.diversity.spread import spread

Choice = Sequence[Sequence[int]]  # [prompt]: places of the answers that stay


def between(rows: Grid) -> Floats:
    """(prompts, answers, d) on the grid -> cosines of the answers to each prompt."""
    return np.array([cosines(mine, mine) for mine in rows], dtype=np.float64)


def apart(scores: Floats) -> Floats:
    """(prompts, answers, properties), in standard deviations -> root mean square difference of any two answers to a prompt."""
    return np.asarray(np.sqrt(((scores[:, :, None] - scores[:, None]) ** 2).mean(axis=-1)))


def gaps(utilities: Floats) -> Floats:
    """(people, prompts, answers) -> mean over people of |Δu|, for any two answers to a prompt."""
    return np.asarray(np.mean([np.abs(one[:, :, None] - one[:, None]) for one in utilities], axis=0))


def alike(table: Floats, chosen: Choice | None = None) -> Floats:
    """Mean over pairs, per prompt; nan where fewer than two are chosen."""
    rows = [list(range(table.shape[1]))] * len(table) if chosen is None else chosen
    means = np.full(len(table), np.nan)
    for place, mine in enumerate(rows):
        if len(mine) > 1:
            some = table[place][np.ix_(mine, mine)]
            means[place] = (some.sum() - np.trace(some)) / (len(mine) * (len(mine) - 1))
    return means


def vendi(cosine: Floats) -> Floats:
    """(…, n, n) cosines -> exp of the entropy of the eigenvalues of K/n, as flows/diversity/measure.py has it, for many small K at once."""
    values = np.maximum(np.linalg.eigvalsh(cosine), 0.0)
    shares = values / values.sum(axis=-1, keepdims=True)
    return np.asarray(np.exp(-(shares * np.log(np.where(shares > 1e-12, shares, 1.0))).sum(axis=-1)))


def vendi_of(cosine: Floats, chosen: Choice) -> Floats:
    """The same of the chosen answers, per prompt."""
    return np.array([vendi(table[np.ix_(mine, mine)]) for table, mine in zip(cosine, chosen, strict=True)])


def subsets(answers: int, count: int) -> list[list[int]]:
    return [list(some) for some in combinations(range(answers), count)]


def of_subsets(cosine: Floats, count: int) -> tuple[Floats, Floats]:
    """(mean cosine, Vendi score) of every `count` of the answers, [prompt, subset]: what choosing by chance gives is their mean."""
    some = [cosine[:, mine][:, :, mine] for mine in subsets(cosine.shape[1], count)]
    means = [(table.sum(axis=(1, 2)) - np.trace(table, axis1=1, axis2=2)) / max(count * (count - 1), 1) for table in some]
    return np.array(means).T, np.array([vendi(table) for table in some]).T


def not_near(rows: Grid, threshold: float) -> Choice:
    """Per prompt the answers that repeat no earlier one."""
    return [[int(place) for place in np.flatnonzero(near_duplicates(mine, threshold).of < 0)] for mine in rows]


def most_different(rows: Grid, chosen: Choice, count: int) -> Choice:
    """Per prompt the `count` of the chosen answers that are farthest apart."""
    return [[mine[place] for place in spread(some[mine], count)] for some, mine in zip(rows, chosen, strict=True)]


def distinct(answers: Sequence[Sequence[str]]) -> Floats:
    """Distinct 3-grams of words of all answers to a prompt, as a share of the sum of each answer's own: 1/n for n equal answers."""
    found = []
    for row in answers:
        own = [set(zip(words, words[1:], words[2:], strict=False)) for words in (text.lower().split() for text in row)]
        found.append(len(set().union(*own)) / max(sum(map(len, own)), 1))
    return np.array(found)


def everywhere(rows: Grid) -> tuple[Floats, Floats]:
    """[prompt, prompt]: mean cosine of an answer to one with the same place's answer to the other, and with the other places' answers.

    Where the places are models: how alike a model's answers to two prompts are to each other, and to those of other models.
    """
    prompts, answers = rows.shape[:2]
    table = cosines(rows.reshape(prompts * answers, -1), rows.reshape(prompts * answers, -1)).astype(np.float64)
    table = table.reshape(prompts, answers, prompts, answers)
    own = np.einsum("paqa->pq", table)
    return own / answers, (table.sum(axis=(1, 3)) - own) / (answers * (answers - 1))


def across(rows: Grid) -> tuple[Floats, Floats]:
    """[answer]: the same means for each place, over all pairs of different prompts."""
    prompts, answers = rows.shape[:2]
    unit = np.sqrt((rows.astype(np.float64) ** 2).sum(axis=-1, keepdims=True))
    directions: NDArray[np.float64] = rows / np.maximum(unit, 1.0)
    sums = directions.sum(axis=0)
    same_prompt = np.einsum("pad,pbd->ab", directions, directions)
    products = (sums @ sums.T - same_prompt) / (prompts * (prompts - 1))
    own = products.diagonal()
    return own, (products.sum(axis=1) - own) / (answers - 1)
