"""The section of the report that says how different the texts are, and what the filters for it did. It needs the table `embeddings`.

    section(store, data, manifest, environment)  ->  '<section id="diversity">…', or nothing without vectors

Where the recipe sets a threshold, the pairs shown are those at its edge; where it sets none, those about which the default would decide.
"""

from importlib.resources import files
from itertools import takewhile
from typing import Any

import jinja2
import numpy as np
import orjson
import polars as pl
from markupsafe import Markup

from prefloom.flows.dataset import choices, coverage, edges, similarity, statistics, tables
from prefloom.flows.dataset.manifest import recipe_of
from prefloom.flows.dataset.similarity import IDS, Placed
from prefloom.flows.dataset.store import Store
from prefloom.flows.diversity.measure import vendi
from prefloom.flows.report import figures_diversity as drawn
from prefloom.schemas.diversity import Diversity
from prefloom.schemas.embedder import DEFAULT
from prefloom.schemas.label import Rejected
from prefloom.schemas.manifest import Manifest
from prefloom.schemas.recipe import Recipe

WORDS = {"personas": "personas", "prompts": "prompts", "candidates": "answers", "pilot": "answers, by the pilot"}
REMOVED = {"duplicate": "repeats", "near_duplicate": "near-duplicates", "less_diverse": "less different", "below_floor": "below the floor"}
MOST_POINTS, MOST_TRAITS = 1_000, 12
SAME = 60  # characters of a common beginning that are shown
_SEARCHED = 20_000
_MOST_EXPLAINED = 200  # traits
_NEVER = 2.0  # a threshold that no cosine reaches
Part = dict[str, Any]


def section(store: Store, data: statistics.Dataset, found: Manifest, environment: jinja2.Environment) -> Markup:
    """The section as HTML."""
    placed = similarity.load(store, data)
    if not placed:
        return Markup()
    recipe, answers = recipe_of(store, found), placed["candidates"]
    left = _left(store)
    pairs = similarity.pairs(answers, left)
    strategies = [*similarity.by_strategy(pairs, bool(answers.rows["view"].count())), similarity.across(answers)]
    traits = _traits(store, data, recipe, placed["personas"])
    template = (files("prefloom.flows.report") / "diversity.html").read_text(encoding="utf-8")
    text = environment.from_string(template).render(
        encoder=found.models.get("embeddings", "an unnamed encoder"),
        sampled=[(WORDS[name], len(part.grid), part.of) for name, part in placed.items() if len(part.grid) < part.of],
        filters=_filters(found, recipe, placed, left),
        strategies=strategies,
        across=similarity.ACROSS,
        views=bool(answers.rows["view"].count()),
        alike=_svg(drawn.alike(strategies)) if pairs.height else "",
        edges=[_edge(store, recipe, data, name, part, pairs) for name, part in placed.items()],
        maps=_maps(placed, traits),
        traits=traits[:MOST_TRAITS],
        target=bool(recipe.diversity and recipe.diversity.personas and recipe.diversity.personas.target),
        more_traits=max(0, len(traits) - MOST_TRAITS),
        chosen=_chosen(store),
    )
    return Markup(text)  # noqa: S704 - rendered with everything in it escaped


def _svg(text: str) -> Markup:
    return Markup(text)  # noqa: S704 - drawn by matplotlib, which escapes every label


def _left(store: Store) -> list[str]:
    """Answers that the pilot left out. Their vectors are in the dataset, for it looks at vectors itself."""
    return tables.read(store, "rejected/pilot-*.parquet", Rejected, ["row_id"])["row_id"].to_list()


def _filters(found: Manifest, recipe: Recipe, placed: dict[str, Placed], left: list[str]) -> Part:
    """What came in, went and stayed by stage, and what that which stayed is worth. Where nobody looked for near-duplicates, no count."""
    rows, answers = choices.filtered(found), placed["candidates"]
    stayed = ~answers.rows["candidate_id"].is_in(left)
    parts = placed | {"pilot": Placed(answers.rows.filter(stayed), answers.grid[stayed.to_numpy()], answers.of)}
    each = {name: similarity.of_one_prompt(parts[name]) for name in ("candidates", "pilot")}
    gone = [name for name in choices.REASONS if name == "near_duplicate" or any(row.reasons[name] for row in rows)]
    looks = {row.stage: bool(recipe.diversity and getattr(recipe.diversity, row.stage, None)) for row in rows}
    return {
        "columns": [REMOVED[name] for name in gone],
        "other": any(row.other for row in rows),
        "idle": not all(looks.values()),
        "each": each[rows[-1].stage],
        "rows": [
            row._asdict()
            | {
                "name": WORDS[row.stage],
                "gone": [row.reasons[name] if looks[row.stage] or name != "near_duplicate" else None for name in gone],
                "vendi": vendi(parts[row.stage].grid),
                "each": each.get(row.stage),
            }
            for row in rows
        ],
    }


def _edge(store: Store, recipe: Recipe, data: statistics.Dataset, name: str, placed: Placed, pairs: pl.DataFrame) -> Part:
    """The pairs of one table at the edge of its threshold: kept ones just below it, and removed ones (or those that would be) above."""
    wanted = recipe.diversity and getattr(recipe.diversity, name)
    usual = getattr(Diversity(), name).near_duplicate if recipe.embeddings and recipe.embeddings.model == DEFAULT else _NEVER
    limit = wanted.near_duplicate if wanted else usual

    def stayed(above: bool) -> list[Part]:
        side = pairs.filter((pl.col("cosine") >= limit) == above) if name == "candidates" else edges.nearest(placed.grid, limit, above)
        near = edges.edge(side, largest=not above)
        rows = [(row["cosine"], *(placed.rows.row(row[key], named=True) for key in ("first", "second"))) for row in near.to_dicts()]
        if not above:  # what a choice left out was nearer to what stays than that is to each other
            known = {row[IDS[name]]: row for row in placed.rows.to_dicts()}
            out = [row for row in edges.left_out(store, name).to_dicts() if row["beside"] in known and row["cosine"] < limit]
            rows += [(row["cosine"], known[row["beside"]], orjson.loads(row["row"])) for row in out]
            rows = sorted(rows, key=lambda row: -row[0])[: edges.SHOWN]
        return [_pair(data, *row) for row in rows]

    over = _removed(store, data, name) if wanted else stayed(above=True)
    return {
        "name": WORDS[name],
        "limit": limit if limit < _NEVER else None,
        "in_force": bool(wanted),
        "below": stayed(above=False),
        "above": over,
    }


def _pair(data: statistics.Dataset, cosine: float, first: Part, second: Part) -> Part:
    """Two rows of one table as they are shown: from shortly before they first differ on."""
    texts = [str(row.get("text") or row.get("description") or "") for row in (first, second)]
    same = sum(1 for _ in takewhile(lambda two: two[0] == two[1], zip(*(text[:_SEARCHED] for text in texts), strict=False)))
    start = texts[0].rfind(" ", 0, same - SAME) + 1 if same > 2 * SAME else 0
    sources = [statistics.SEPARATOR.join(str(row[key]) for key in ("model", "view") if row.get(key)) for row in (first, second)]
    prompt = data.prompts.filter(pl.col("prompt_id") == first["prompt_id"])["text"].to_list() if "model" in first else []
    passages = [("… " if start else "") + text[start:] for text in texts]
    return {"cosine": cosine, "about": prompt[0] if prompt else "", "texts": list(zip(passages, sources, strict=True))}


def _removed(store: Store, data: statistics.Dataset, name: str) -> list[Part]:
    """The near-duplicates that went by least, each with the row that it repeats."""
    found, table = edges.removed(store, name), getattr(data, name)
    known = {row[IDS[name]]: row for row in table.filter(pl.col(IDS[name]).is_in(found["duplicate_of"].to_list())).to_dicts()}
    missing = [row for row in found["duplicate_of"] if row not in known]
    known |= {row_id: orjson.loads(row) for row_id, row in edges.rejected_rows(store, name, missing).iter_rows()}
    rows = [row for row in found.to_dicts() if row["duplicate_of"] in known]
    return [_pair(data, row["cosine"], known[row["duplicate_of"]], orjson.loads(row["row"])) for row in rows]


def _maps(placed: dict[str, Placed], traits: list[Part]) -> list[Part]:
    """Personas by the trait that says most about where they lie (by split if none does), prompts by domain."""
    word, values = "split", placed["personas"].rows["split"]
    if traits and traits[0]["explained"] > 0:
        word, values = traits[0]["trait"], traits[0]["of"]
    coloured = [("personas", word, values), ("prompts", "domain", placed["prompts"].rows["domain"])]
    maps = []
    for name, word, values in coloured:
        step = max(1, -(-len(values) // MOST_POINTS))
        points, shares = similarity.flat(placed[name].grid[::step])
        if sum(shares) > 0:
            figure = _svg(drawn.map_of(points, values.gather_every(step).to_list(), shares))
            says = similarity.explained(placed[name].grid, values)
            maps.append({"name": name, "by": word, "figure": figure, "shown": len(points), "shares": shares, "explained": says})
    return maps


def _traits(store: Store, data: statistics.Dataset, recipe: Recipe, personas: Placed) -> list[Part]:
    """Per trait how its values are covered and what it says about where a description lies; the most telling first."""
    rejected = tables.read(store, "rejected/personas-*.parquet", Rejected, ["stage", "reason", "row"])
    known = personas.rows.select("persona_id", pl.col("traits")).explode("traits").drop_nulls().unnest("traits")
    rows = coverage.divergences(coverage.coverage(data.personas, rejected, recipe)).with_columns(of=None, explained=float("nan")).to_dicts()
    for row in rows[:_MOST_EXPLAINED]:
        mine = known.filter(pl.col("name") == row["trait"]).unique("persona_id", keep="first")
        row["of"] = personas.rows.join(mine, on="persona_id", how="left", maintain_order="left")["value"]
        row["explained"] = similarity.explained(personas.grid, row["of"])
    wanted = recipe.diversity and recipe.diversity.personas
    named = wanted and (wanted.strata or [*(wanted.target or {})])
    for row in rows:
        row["aimed"] = not named or row["trait"] in named
    return sorted(rows, key=lambda row: (-np.nan_to_num(row["explained"], nan=-1.0), row["trait"]))


def _chosen(store: Store) -> Part | None:
    """What the pilot chose, with a figure where anybody read its pairs."""
    found = choices.chosen(store)
    if found is None:
        return None
    figure = drawn.chosen(found.of_all, found.of_chosen, "variance of people's log-odds about a pair") if len(found.of_all) else ""
    means = [float(values.mean()) if len(values) else float("nan") for values in (found.of_all, found.of_chosen)]
    return found._asdict() | {"figure": _svg(figure), "means": means}
