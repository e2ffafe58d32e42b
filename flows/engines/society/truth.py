"""Planted tastes on disk, outside every run: data/truth/<society>/people.parquet. Builds write it, audits read it, nothing else does.

keep(run)                                       when a build begins
truth = Truth.of(run)                           InputError if the dataset's people were not planted
truth.utilities([persona_id, …], texts)         ->  array people × texts
"""

from collections.abc import Sequence

import numpy as np
import polars as pl
import pyarrow as pa

from prefloom.flows.dataset import tables
from prefloom.flows.dataset.run import Run
from prefloom.flows.dataset.store import Store
from prefloom.flows.engines.society import people, utility
from prefloom.flows.engines.society.chance import Floats
from prefloom.prompts import inline
from prefloom.schemas.errors import InputError
from prefloom.schemas.ids import content_hash, content_id
from prefloom.schemas.people import Planted, TemplatePersonas, planted_among
from prefloom.schemas.truth import PlantedPerson

TABLE = "people.parquet"


def society_of(source: Planted, seed: int) -> str:
    """Name of a society: its preset, and the hash of what else decides its people."""
    preset = source.source if isinstance(source, TemplatePersonas) else source.preset
    return f"{preset}-{content_hash([source.model_dump(), seed, people.identity()], size=6)}"


def planted(source: Planted, seed: int) -> people.People:
    """The people of a source."""
    if isinstance(source, TemplatePersonas):
        traits = list(source.combinations())
        return people.with_tastes([inline(source.text, one) for one in traits], traits, source.tastes)
    changed = source.model_dump(include={"common", "between", "clusters", "bends", "hidden"})
    return people.plant(source.preset, source.count, seed, source.stated, source.wording, **changed)


def keep(run: Run) -> None:
    """Write the truth about the planted people of a run, by the ids that their descriptions have, where it is not written yet."""
    for source in _sources(run):
        if not _store(run, source).exists(TABLE):
            tables.write(_store(run, source), TABLE, PlantedPerson, _frame(run, source))


def is_kept(run: Run) -> bool:
    """Whether all of it is there."""
    return all(_store(run, source).exists(TABLE) for source in _sources(run))


def _sources(run: Run) -> list[Planted]:
    return planted_among(run.resolved.recipe.personas)


def _frame(run: Run, source: Planted) -> pl.DataFrame:
    found = planted(source, run.resolved.recipe.seed)
    rows = [
        PlantedPerson(persona_id=content_id("persona", description), cluster=int(cluster), weights=[round(float(w), 6) for w in weights])
        for description, cluster, weights in zip(found.descriptions, found.clusters, found.weights, strict=True)
    ]
    return tables.frame(PlantedPerson, rows).unique("persona_id", keep="first").sort("persona_id")


def _read(run: Run, source: Planted) -> pl.DataFrame:
    """What is kept, if it is what this recipe plants: everything measured rests on it. InputError otherwise."""
    store = _store(run, source)
    again = "the planted tastes; `prefloom build` writes them again"
    if not store.exists(TABLE):
        raise InputError(f"{store.url}/{TABLE}", found="no such file", expected=again)
    try:
        frame = tables.read(store, TABLE, PlantedPerson)
    except (pa.ArrowException, pl.exceptions.PolarsError, OSError, ValueError):
        frame = pl.DataFrame()
    if not frame.equals(_frame(run, source)):
        raise InputError(
            f"{store.url}/{TABLE}", found="other tastes than this recipe plants, or a damaged file", expected=f"{again} once it is deleted"
        )
    return frame


class Truth:
    """The planted people of a dataset."""

    def __init__(self, society: str, frame: pl.DataFrame) -> None:
        self.society = society
        self.persona_ids: list[str] = frame["persona_id"].to_list()
        self.clusters: dict[str, int] = dict(frame.select("persona_id", "cluster").iter_rows())
        self._rows = {persona_id: row for row, persona_id in enumerate(self.persona_ids)}
        self._weights = np.array(frame["weights"].to_list(), dtype=np.float64).reshape(frame.height, utility.WEIGHTS)

    @classmethod
    def of(cls, run: Run) -> "Truth":
        """The truth about the people of a run. InputError where there is none, or where its file is gone."""
        sources = _sources(run)
        if not sources:
            raise InputError(
                run.store.url,
                "personas",
                found="people without planted tastes",
                expected="`source: society`, or a template with `tastes`, in the recipe",
            )
        parts = [_read(run, source) for source in sources]
        names = "+".join(society_of(source, run.resolved.recipe.seed) for source in sources)
        return cls(names, pl.concat(parts).unique("persona_id", keep="first").sort("persona_id"))

    def utilities(self, persona_ids: Sequence[str], texts: Sequence[str]) -> Floats:
        """What each text is worth to each person, shape (people, texts). KeyError for somebody who was not planted."""
        rows = [self._rows[persona_id] for persona_id in persona_ids]
        return self._weights[rows] @ utility.features(texts).T


def _store(run: Run, source: Planted) -> Store:
    return Store(run.beside("truth", society_of(source, run.resolved.recipe.seed)))
