"""Selection: near-duplicates out, then the most different rows, balanced over strata. What personas, prompts and candidates have in common.

    sieve = Sieve("personas")
    diverse(sieve, [("5d1c…", "A retired nurse …", row), …], settings, encoder, codes_and_shares)  ->  the rows that stay

    rejected/   near_duplicate  cosine 0.9640 (all-MiniLM-L6-v2), threshold 0.95                  duplicate_of: the earlier row
                less_diverse    cosine 0.7312 (all-MiniLM-L6-v2) with the nearest that was chosen, 5d1c…

The order of the rows is the order of preference: of near-duplicates the first stays, and the first row is chosen first. A source gives
its rows in an order in which more of them come last (the walk of a grid, the draws of a file). So a larger `count` here keeps all that were
chosen, and rows that are added at the end push out no earlier one as a near-duplicate; which are the farthest apart they may change.
A near-duplicate may repeat a row that is itself left out as less diverse.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from prefloom.flows.dataset.embeddings import Half
from prefloom.flows.dataset.shards import ShardJob
from prefloom.flows.diversity.grid import Grid, cosines, on_grid
from prefloom.flows.diversity.near import near_duplicates
from prefloom.flows.diversity.spread import spread
from prefloom.flows.engines.embedder import open_embedder
from prefloom.flows.steps.embeddings import stored
from prefloom.flows.steps.texts import Sieve
from prefloom.schemas.diversity import DiversePersonas, DiversePrompts, Target
from prefloom.schemas.errors import InputError, nearest
from prefloom.schemas.record import Record

_BLOCK = 4096  # rows that are held against all chosen ones at a time
Row = TypeVar("Row", bound=Record)
Labels = Mapping[str, str]


class Encoder(NamedTuple):
    """What turns texts into vectors, and the name by which `rejected/` speaks of it."""

    name: str
    encode: Callable[[list[str]], Half]


class Strata(NamedTuple):
    """What is to be balanced: the value of each trait of each row, -1 for none; per trait the shares of its values."""

    codes: NDArray[np.int64]
    shares: list[list[float]]


def encoder_of(job: ShardJob, quiet: bool = False) -> Encoder | None:
    """The encoder of a recipe that asks for diversity: vectors come from data/embeddings, and what it lacks is embedded and put there."""
    recipe = job.run.resolved.recipe
    if recipe.diversity is None or recipe.embeddings is None:
        return None
    embedder = open_embedder(recipe.embeddings)
    return Encoder(called(embedder.identity), lambda texts: stored(job, embedder, texts, quiet).vectors)


def called(identity: str) -> str:
    """`sentence-transformers/all-MiniLM-L6-v2@3f0c…` -> `all-MiniLM-L6-v2`."""
    return identity.partition("/")[2].rpartition("@")[0]


def diverse(
    sieve: Sieve,
    rows: Sequence[tuple[str, str, Row]],
    settings: DiversePersonas | DiversePrompts,
    encoder: Encoder,
    strata: Callable[[Sequence[Row]], Strata],
) -> list[Row]:
    """Of (id, text, row) triples the rows that stay, in their order. InputError if fewer than `count` are left to choose from."""
    grid = on_grid(encoder.encode([text for _, text, _ in rows]))
    places = apart(sieve, rows, grid, settings.near_duplicate, encoder.name)
    pool, count = [rows[place] for place in places], settings.count
    if count is None:
        return [row for _, _, row in pool]
    if count > len(pool):
        raise InputError(
            "recipe",
            f"diversity.{sieve.stage}.count",
            found=f"{len(pool)} {sieve.stage} left of {len(rows)} by near_duplicate: {settings.near_duplicate:g}",
            expected=f"{count}; let the sources give more, or lower the count",
        )
    mine = grid[places]
    chosen = spread(mine, count, *strata([row for _, _, row in pool]))
    _reject_others(sieve, pool, mine, chosen, encoder.name)
    return [pool[place][2] for place in sorted(chosen)]


def apart(sieve: Sieve, rows: Sequence[tuple[str, str, Row]], grid: Grid, threshold: float, encoder: str) -> list[int]:
    """Places of the rows that repeat no earlier one; the others are rejected."""
    found = near_duplicates(grid, threshold)
    for place in np.flatnonzero(found.of >= 0).tolist():
        row_id, _, row = rows[place]
        detail = f"cosine {found.cosine[place]:.4f} ({encoder}), threshold {threshold:g}"
        sieve.reject(row, row_id, "near_duplicate", detail, duplicate_of=rows[found.of[place]][0])
    return np.flatnonzero(found.of < 0).tolist()


def _reject_others(sieve: Sieve, pool: Sequence[tuple[str, str, Row]], grid: Grid, chosen: Sequence[int], encoder: str) -> None:
    others = np.setdiff1d(np.arange(len(pool)), chosen)
    for start in range(0, len(others), _BLOCK):
        some = others[start : start + _BLOCK]
        likeness = cosines(grid[some], grid[chosen])
        for place, cosine, best in zip(some, likeness.max(axis=1), likeness.argmax(axis=1), strict=True):
            row_id, _, row = pool[place]
            detail = f"cosine {cosine:.4f} ({encoder}) with the nearest that was chosen, {pool[chosen[best]][0]}"
            sieve.reject(row, row_id, "less_diverse", detail)


def stratify(labels: Sequence[Labels], names: Sequence[str] | None, target: Target | None, where: str) -> Strata:
    """Codes and shares from what each row says of its traits: equal shares, or those of the target as far as rows have its values.

    names   traits to balance; None: those of the target, or else all that the rows have
    InputError for a trait that no row has, and for one whose target nobody can meet.
    """
    known = sorted({name for row in labels for name in row})
    traits = [*names] if names is not None else [*target] if target else known
    shares, codes = [], np.full((len(labels), len(traits)), -1, dtype=np.int64)
    for column, trait in enumerate(traits):
        if trait not in known:
            expected = nearest(trait, known) if known else "personas with traits"
            raise InputError("recipe", where, found=f"the trait '{trait}', which none of them has", expected=expected)
        values = {value: code for code, value in enumerate(sorted({row[trait] for row in labels if trait in row}))}
        codes[:, column] = [values[row[trait]] if trait in row else -1 for row in labels]
        wanted = [target[trait].get(value, 0.0) if target and trait in target else 1.0 for value in values]
        if not sum(wanted):
            raise InputError("recipe", f"{where}.target", found=f"no value of '{trait}' that any of them has", expected=nearest("", values))
        shares.append([share / sum(wanted) for share in wanted])
    return Strata(codes, shares)
