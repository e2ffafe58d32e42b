"""What an audit looks at: the labels of a dataset as arrays, one row per label, with the readings behind them.

    evidence = load(Store("data/runs/demo-3b9c…"))
    evidence.margin[7], evidence.names.personas[evidence.persona[7]]     ->  1.3, "5d1c…"
    evidence.reads[7]          ->  [[1.9, 0.7]]        one row per template; log-odds for a, shown first and shown second
    differences(evidence, truth)[7]   ->  0.41         u(a) - u(b) for the persona of that label; nan if its tastes were not planted

Labels, not preferences: accuracy is measured on what no check has touched. Ids become numbers as they are read, so that a million labels
take megabytes; the sums over them are NumPy's, in the order of the rows, and so the same on every run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Protocol

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from prefloom.flows.dataset import tables
from prefloom.flows.dataset.store import Store
from prefloom.schemas.candidate import Candidate
from prefloom.schemas.comparison import ORDERS, Comparison, in_order_ab
from prefloom.schemas.errors import InputError, reason
from prefloom.schemas.label import Judgement, Label, Preference, Rejected
from prefloom.schemas.persona import Persona
from prefloom.schemas.prompt import Prompt

BLOCK = 256  # labels of whole prompts that are put to the truth at once, at least: a call for each of many tiny prompts would cost more
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


class Truth(Protocol):
    """Planted tastes, as far as an audit asks."""

    society: str
    persona_ids: list[str]
    clusters: dict[str, int]

    def utilities(self, persona_ids: Sequence[str], texts: Sequence[str]) -> Floats:
        """How much each person likes each text, of shape (people, texts)."""


@dataclass(frozen=True)
class Names:
    """What the numbers in Evidence stand for."""

    personas: list[str]
    descriptions: list[str]
    comparisons: list[str]
    pairs: list[tuple[str, str]]  # the ids of a and b in each comparison
    texts: list[str]
    domains: list[str]
    splits: list[str]
    reasons: list[str]
    readers: list[str]  # templates; with several judges, judge and template


@dataclass(frozen=True)
class Evidence:
    """One row per label in every array. `a` and `b` are the candidates, `reason` is -1 where no check removed the label."""

    persona: Ints
    comparison: Ints
    prompt: Ints
    a: Ints
    b: Ints
    domain: Ints
    split: Ints
    reason: Ints
    kept: Bools  # whether it became a preference
    margin: Floats
    confidence: Floats
    probability: Floats
    calibrated: Floats  # nan without a calibration
    bias: Floats
    generic: Floats  # probability of a for people in general; nan where nobody asked
    longer: Floats  # log length of a - log length of b
    others: Floats  # signs of the other personas' margins on the same comparison, summed
    reads: Floats  # (labels, readers, 2): log-odds for a, shown first and second; nan where there is no reading
    asked: Ints  # (n, 2): persona and comparison of all that was asked, read or not
    names: Names

    def only(self, rows: Bools) -> "Evidence":
        """The labels for which `rows` holds; what was asked stays."""
        arrays = {f.name: getattr(self, f.name)[rows] for f in fields(self) if f.name not in ("asked", "names")}
        return replace(self, **arrays)


def load(store: Store) -> Evidence:
    """Read the tables. InputError if they do not fit together."""
    try:
        return _load(store)
    except (KeyError, OSError, ValueError, pa.ArrowException, pl.exceptions.PolarsError) as error:
        expected = "a whole dataset; `prefloom validate` says what is damaged, and building it again mends it"
        raise InputError(store.url, found=f"tables that do not fit together ({reason(error)})", expected=expected) from None


def _load(store: Store) -> Evidence:
    personas = tables.read(store, "personas/part-*.parquet", Persona, ["persona_id", "description"])
    prompts = tables.read(store, "prompts/part-*.parquet", Prompt, ["prompt_id", "domain"])
    candidates = tables.read(store, "candidates/part-*.parquet", Candidate, ["candidate_id", "text"])
    asked = tables.read(store, "comparisons/part-*.parquet", Comparison, ["comparison_id", "first_id", "second_id", "persona_ids"])
    columns = [
        "persona_id",
        "comparison_id",
        "prompt_id",
        "candidate_a",
        "candidate_b",
        "margin",
        "confidence",
        "probability",
        "calibrated",
        "bias",
        "p_generic",
        "split",
    ]
    labels = tables.read(store, "labels/part-*.parquet", Label, columns)
    preferences = tables.read(store, "preferences/part-*.parquet", Preference, ["persona_id", "comparison_id"])
    rejected = tables.read(store, "rejected/*.parquet", Rejected, ["stage", "kind", "reason", "row_id", "persona_id"])
    rejected = rejected.filter((pl.col("kind") == "check") & pl.col("stage").is_in(["preferences", "labels"])).drop_nulls("persona_id")

    domains, splits = (sorted(values.unique()) for values in (prompts["domain"], labels["split"]))
    reasons, readers = sorted(rejected["reason"].unique()), _readers(store)
    persona, comparison = codes(labels["persona_id"], personas["persona_id"]), codes(labels["comparison_id"], asked["comparison_id"])
    prompt = codes(labels["prompt_id"], prompts["prompt_id"])
    a, b = (codes(labels[f"candidate_{side}"], candidates["candidate_id"]) for side in "ab")
    find = _Finder(persona, comparison, personas.height)

    def place(frame: pl.DataFrame, column: str = "comparison_id") -> Ints:
        return find.rows(codes(frame["persona_id"], personas["persona_id"]), codes(frame[column], asked["comparison_id"]))

    removed, at = np.full(len(persona), -1), place(rejected, "row_id")
    removed[at[at >= 0]] = codes(rejected["reason"], reasons)[at >= 0]
    kept, at = np.zeros(len(persona), dtype=bool), place(preferences)
    kept[at[at >= 0]] = True
    margin, length = labels["margin"].to_numpy(), candidates["text"].str.len_chars().to_numpy()
    sign, log_length = np.sign(margin), np.log(np.maximum(length, 1))
    everyone = np.bincount(comparison, weights=sign, minlength=asked.height)
    whom = asked.explode("persona_ids").drop_nulls("persona_ids")
    return Evidence(
        persona=persona,
        comparison=comparison,
        prompt=prompt,
        a=a,
        b=b,
        domain=codes(prompts["domain"], domains)[prompt],
        split=codes(labels["split"], splits),
        reason=removed,
        kept=kept,
        margin=margin,
        confidence=labels["confidence"].to_numpy(),
        probability=labels["probability"].to_numpy(),
        calibrated=labels["calibrated"].fill_null(np.nan).to_numpy(),
        bias=labels["bias"].to_numpy(),
        generic=labels["p_generic"].cast(pl.Float64).fill_null(float("nan")).to_numpy(),
        longer=log_length[a] - log_length[b],
        others=everyone[comparison] - sign,
        reads=_reads(store, readers, place, len(persona)),
        asked=np.stack([codes(whom["persona_ids"], personas["persona_id"]), codes(whom["comparison_id"], asked["comparison_id"])], axis=1),
        names=Names(
            personas=personas["persona_id"].to_list(),
            descriptions=personas["description"].to_list(),
            comparisons=asked["comparison_id"].to_list(),
            pairs=asked.select("first_id", "second_id").rows(),  # on disk the smaller id stands first
            texts=candidates["text"].to_list(),
            domains=domains,
            splits=splits,
            reasons=reasons,
            readers=[template if len({model for model, _ in readers}) == 1 else f"{model} · {template}" for model, template in readers],
        ),
    )


def codes(values: pl.Series, names: pl.Series | Sequence[str], strict: bool = True) -> Ints:
    """The place of each value in `names`, which are distinct; a value that is not there is -1, or an error if `strict`."""
    places = values.cast(pl.Enum(names), strict=strict).to_physical().cast(pl.Int64).fill_null(-1)
    found: Ints = places.to_numpy()
    return found


class _Finder:
    """From (persona, comparison) to the row of their label."""

    def __init__(self, persona: Ints, comparison: Ints, personas: int) -> None:
        self.personas = personas
        keys = comparison * personas + persona
        self.order = np.argsort(keys, kind="stable")
        self.keys = keys[self.order]

    def rows(self, persona: Ints, comparison: Ints) -> Ints:
        """Row of the label, or -1 where there is none."""
        wanted = comparison * self.personas + persona
        if not len(self.keys):
            return np.full(len(wanted), -1)
        at = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        return np.where(self.keys[at] == wanted, self.order[at], -1)


def _readers(store: Store) -> list[tuple[str, str]]:
    """Every (judge, template) that has read something."""
    found: set[tuple[str, str]] = set()
    for name in store.list("judgements/part-*.parquet"):
        found |= set(tables.read(store, name, Judgement, ["model", "template"]).unique().iter_rows())
    return sorted(found)


def _reads(store: Store, readers: list[tuple[str, str]], place: "Place", labels: int) -> Floats:
    """The readings behind each label, shard by shard."""
    reads = np.full((labels, len(readers), 2), np.nan)
    keys = [f"{model}\n{template}" for model, template in readers]
    columns = ["persona_id", "comparison_id", "model", "template", "order", "repeat", "log_odds"]
    for name in store.list("judgements/part-*.parquet"):
        part = tables.read(store, name, Judgement, columns).filter(pl.col("repeat") == 0)
        part = part.with_columns(in_order_ab().alias("for_a"), pl.concat_str("model", "template", separator="\n").alias("reader"))
        rows = place(part)
        known = rows >= 0
        order, reader = codes(part["order"], ORDERS), codes(part["reader"], keys)
        reads[rows[known], reader[known], order[known]] = part["for_a"].to_numpy()[known]
    return reads


class Place(Protocol):
    """Finds the labels that the rows of a frame belong to."""

    def __call__(self, frame: pl.DataFrame) -> Ints:
        """Row of the label of each row of the frame, or -1."""


def differences(evidence: Evidence, truth: Truth) -> Floats:
    """u(a) - u(b) of every label, each text weighed once for the people who were asked about it; nan for people without planted tastes."""
    names = evidence.names
    known = codes(pl.Series(names.personas, dtype=pl.String), sorted(set(truth.persona_ids)), strict=False) >= 0
    rows = np.flatnonzero(known[evidence.persona])
    rows = rows[np.argsort(evidence.prompt[rows], kind="stable")]
    result = np.full(len(evidence.margin), np.nan)
    for block in _blocks(rows, evidence.prompt[rows]):
        people, person = np.unique(evidence.persona[block], return_inverse=True)
        texts, text = np.unique(np.concatenate([evidence.a[block], evidence.b[block]]), return_inverse=True)
        liked = np.asarray(truth.utilities([names.personas[i] for i in people], [names.texts[i] for i in texts]), dtype=np.float64)
        assert liked.shape == (len(people), len(texts))
        result[block] = liked[person, text[: len(block)]] - liked[person, text[len(block) :]]
    return result


def _blocks(rows: Ints, prompt: Ints) -> list[Ints]:
    """Rows, sorted by prompt, in blocks of whole prompts."""
    starts = [0]
    for end in np.flatnonzero(np.diff(prompt)) + 1:
        if end - starts[-1] >= BLOCK:
            starts.append(int(end))
    return np.split(rows, starts[1:]) if len(rows) else []


def clusters(evidence: Evidence, planted: Mapping[str, int]) -> Ints:
    """The cluster of each label's persona, -1 where it has none."""
    by_persona = np.array([planted.get(name, -1) for name in evidence.names.personas], dtype=np.int64)
    return by_persona[evidence.persona]
