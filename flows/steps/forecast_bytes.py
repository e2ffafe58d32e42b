"""How large a dataset will be: about one part's worth of plausible rows is written into memory as the real ones would be.

    sized(drawn, answers)                 ->  {"judgements": Size(rows=78294, bytes=712000), …} for the tables that follow from readings
    table_bytes(Prompt, rows, shards, 8)  ->  30259

Where no reading is known every label is taken to pass the checks.
"""

import io
import math
from dataclasses import dataclass

import numpy as np
import orjson
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from prefloom.flows.dataset import tables
from prefloom.flows.dataset.journal import write_sealed
from prefloom.flows.dataset.votes import votes
from prefloom.flows.engines.protocol import Reply
from prefloom.flows.steps.exports import conversations, opening, turn
from prefloom.flows.steps.forecast_answers import Answers
from prefloom.flows.steps.forecast_rows import Drawn
from prefloom.flows.steps.preferences import threshold, verdicts
from prefloom.schemas.candidate import Candidate
from prefloom.schemas.checks import LabelChecks
from prefloom.schemas.ids import shard_of
from prefloom.schemas.label import Judgement, Label, Preference, Rejected, TrlExample
from prefloom.schemas.record import Record

MOST_PARTS = 4  # parts that are written to judge a table by,
ENOUGH = 8_000  # until they have so many rows (or tens of characters); also replies
MOST_ROWS = 65_536  # of one part
PAGE = 650_000  # characters of a column that make a page, where pages are cut by content
BLOB = 1 << 19  # characters that are compressed to judge a text column by

_FOOTER = {"prefloom.stage_hash": "0" * 32, "prefloom.file": "labels/part-00000.parquet"}
_ACCOUNTING = "0" * 55


@dataclass(frozen=True)
class Size:
    """Rows of a table and bytes of a stage's files, its rejected rows with it."""

    rows: int
    bytes: int


def table_bytes(record: type[Record], rows: pl.DataFrame, place: NDArray[np.int64], parts: int, times: float = 1.0) -> float:
    """Bytes of a table in `parts` files, row i in file place[i], if there were `times` as many rows as are given."""
    if not rows.height:
        return parts * _size(record, rows)
    counts = np.bincount(place, minlength=parts)
    # A row counts by its text where it has one.
    weights = rows["text"].str.len_chars().to_numpy() / 10 + 5.0 if "text" in rows.columns else np.ones(rows.height)
    weight = took = 0.0
    one = float(weights.mean())
    least = _size(record, rows[[int(np.argmin(np.abs(weights - one)))]])  # what a file has beside its rows; an empty one has less
    for part in [part for part in np.argsort(np.abs(counts - counts.mean()), kind="stable") if counts[part]][:MOST_PARTS]:
        some = np.flatnonzero(place == part)[:MOST_ROWS]
        weight, took = weight + weights[some].sum() - one, took + _size(record, rows[some]) - least
        if weight >= ENOUGH:
            break
    used = int(np.count_nonzero(counts)) if times == 1 else parts
    empty = (parts - used) * _size(record, rows.clear()) if used < parts else 0
    return used * least + empty + took * max(one * (rows.height * times - used), 0) / max(weight, one)


def _size(record: type[Record], rows: pl.DataFrame) -> int:
    usage = "0" * (100 if record in (Judgement, Candidate) else 0)
    return tables.size(
        record, rows, _FOOTER if record in (Rejected, TrlExample) else _FOOTER | {"prefloom.accounting": _ACCOUNTING + usage}
    )


def rejected_bytes(rows: pl.DataFrame, place: NDArray[np.int64], times: float = 1.0) -> float:
    """The same for rejected rows, which make a file only where there are some."""
    used = np.unique(place)
    return table_bytes(Rejected, rows, np.searchsorted(used, place).astype(np.int64), len(used), times) if len(used) else 0.0


def per_character(texts: list[str]) -> float:
    """Bytes that a character takes in a compressed column of these texts; of the first of them if they are many."""
    ends = np.cumsum([len(text) for text in texts])
    some = texts[: int(np.searchsorted(ends, BLOB)) + 1]
    encoded = [text.encode("utf-8", "replace") for text in some]
    blob = b"".join(part for data in encoded for part in (len(data).to_bytes(4, "little"), data))
    return len(pa.Codec("zstd", compression_level=3).compress(blob, asbytes=True)) / max(sum(map(len, some)), 1)


def sized(drawn: Drawn, answers: Answers) -> dict[str, Size]:
    """Rows and bytes of judgements, labels, preferences and exports."""
    recipe, panel = drawn.recipe, drawn.panel
    shards, times = recipe.shards.personas, drawn.pairs[2]
    labels, unread = drawn.labels()
    flags, checks = panel.comparisons.select("comparison_id", "length_only"), recipe.checks.labels
    flags = flags.join(votes(labels), on="comparison_id", how="left")
    if not drawn.readings.sample:
        checks = LabelChecks(min_mass=0.0, min_margin=0.0, min_consistency=0.0, length_only=checks.length_only)
    least = None if checks.coverage is None else threshold(labels.group_by("confidence").len(), checks.coverage)
    kept, refused = verdicts(labels, flags, checks, least)

    ids = panel.personas["persona_id"]
    shard = dict(zip(ids, shard_of(ids, shards).tolist(), strict=True))

    def size(record: type[Record], rows: pl.DataFrame, rejected: pl.DataFrame) -> Size:
        place = [frame["persona_id"].replace_strict(shard, return_dtype=pl.Int64).to_numpy() for frame in (rows, rejected)]
        total = table_bytes(record, rows, place[0], shards, times) + rejected_bytes(rejected, place[1], times)
        return Size(round(rows.height * times), round(total))

    return {
        "judgements": _judgements(drawn),
        "labels": size(Label, labels.sort("persona_id", "comparison_id"), unread),
        "preferences": size(Preference, kept, refused),
        "exports": _exports(drawn, answers, kept),
    }


def _judgements(drawn: Drawn) -> Size:
    comparison, _, times = drawn.pairs
    fine, shards = drawn.values[2], drawn.recipe.shards.prompts
    shard = shard_of(drawn.panel.prompts["prompt_id"], shards)[drawn.panel.prompt[comparison]]
    counts = np.bincount(shard, minlength=shards)
    some = np.flatnonzero(shard == int(np.argmin(np.abs(counts - counts.mean()))))[: max(1, MOST_ROWS // (2 * fine.shape[1]))]
    rows, lost = drawn.judgements(some)
    least = _size(Judgement, rows.head(1))
    total = shards * least + (_size(Judgement, rows) - least) * max(fine.sum() * times - shards, 0) / max(rows.height - 1, 1)
    if failed := (drawn.readings.sample.failed if drawn.readings.sample else 0.0) * drawn.readings_asked * times:
        bare = _size(Rejected, lost.head(1))
        files = shards * -math.expm1(-failed / shards)  # that are to be expected, for failures are few and fall anywhere
        total += files * bare + (_size(Rejected, lost) - bare) * max(failed - files, 0) / max(lost.height - 1, 1)
    return Size(round(drawn.readings_asked * times - failed), round(total))


def _exports(drawn: Drawn, answers: Answers, kept: pl.DataFrame) -> Size:
    """Files with ids in place of texts, and the texts as the dictionaries that Parquet makes of a column's distinct ones."""
    recipe, panel, times = drawn.recipe, drawn.panel, drawn.pairs[2]
    if recipe.exports.trl is None or not kept.height:
        return Size(0, 0)
    system = opening(panel.personas.select("persona_id", "description"), recipe.exports.trl.persona)
    answer = dict(answers.rows.select("candidate_id", "text").iter_rows())
    texts: dict[str, dict[str, str]] = {
        "persona_id": {name: said[0]["content"] if said else "" for name, said in system.iter_rows()},
        "prompt_id": dict(panel.prompts.select("prompt_id", "text").iter_rows()),
        "chosen_id": answer,
        "rejected_id": answer,
    }
    bare = system.with_columns(turn("system", "persona_id").list.head(pl.col("system").list.len()).alias("system"))
    sides = [rows.select(name, pl.col(name).alias("text")) for rows, name in ((answers.rows, "candidate_id"), (panel.prompts, "prompt_id"))]
    place = shard_of(kept["persona_id"], recipe.shards.personas)
    counts = np.bincount(place)
    typical = int(np.argmin(np.abs(counts - counts.mean())))
    total, least = 0.0, 0
    for group in kept.with_columns(pl.Series("file", place)).partition_by("split"):
        mine = group.filter(pl.col("file") == typical)
        mine = (mine if mine.height else group).head(MOST_ROWS)
        skeleton = conversations(mine, sides[0], sides[1], bare)
        least, files = least or _size(TrlExample, skeleton.head(1)), group["file"].n_unique()
        total += files * least + (_size(TrlExample, skeleton) - least) * (group.height * times - files) / max(mine.height - 1, 1)
        rates: dict[int, float] = {}  # chosen and rejected answers are the same texts
        for column, known in texts.items():
            measured = [known[name] for name in mine[column].unique(maintain_order=True) if name not in answers.unknown]
            rate = rates.setdefault(id(known), rates.get(id(known)) or per_character(measured or list(texts["prompt_id"].values())))
            distinct = group.group_by("file", column, maintain_order=True).len()
            characters = sum(answers.characters.get(name, 0.0) or len(known[name]) for name in distinct[column])
            # The skeleton has an id, 16 random digits in 8 bytes or so, where the dictionary has a text.
            total += rate * characters - 8 * distinct.height
            if known is answer:
                mean = characters / distinct.height
                for rows in distinct.partition_by("file"):
                    # The first and the last text in alphabetical order stand in the footer, and again for every page.
                    said = [known[name] for name in rows[column] if name not in answers.unknown]
                    ends = len(min(said)) + len(max(said)) if said else 2 * mean
                    total += ends * (1 + max(1.0, int(rows["len"].sum()) * times * mean / PAGE))
    return Size(round(kept.height * times), round(total))


def journal_bytes(drawn: Drawn, answers: Answers) -> int:
    """What the calls that are left add to the journal, once it is sealed."""
    rng, total = np.random.default_rng(1), 0.0
    for model, left in answers.left.items():
        if replies := answers.replies.get(model):
            total += _sealed(rng, [scope for scope, _ in replies], [reply for _, reply in replies]) * left.calls / len(replies)
        else:  # 40 bytes are a key, numbers and names
            total += left.calls * 40 + 4 * per_character(drawn.panel.prompts["text"].to_list()) * left.completion_tokens
    calls = drawn.readings.left.calls
    if some := min(calls, ENOUGH):
        odds, mass, _ = drawn.values
        pair = np.sort(rng.integers(odds.shape[2], size=some))
        first, second = (np.log(np.maximum(mass[0, 0, pair], 1e-4)) - np.logaddexp(0, sign * odds[0, 0, pair]) for sign in (-1, 1))
        tokens = drawn.readings.prompt_tokens[rng.integers(len(drawn.readings.prompt_tokens), size=some)]
        replies_ = [
            Reply("A" if a > b else "B", "stop", {"A": round(a, 4), "B": round(b, 4)}, round(n), 1)
            for a, b, n in zip(first.tolist(), second.tolist(), tokens.tolist(), strict=True)
        ]
        scopes = drawn.panel.comparisons["prompt_id"].gather(drawn.pairs[0][pair]).to_list()
        total += _sealed(rng, scopes, replies_) * calls / some
    return round(total)


def _sealed(rng: np.random.Generator, scopes: list[str], replies: list[Reply]) -> int:
    file, digits = io.BytesIO(), rng.bytes(16 * len(scopes)).hex()
    keys = (digits[i : i + 32] for i in range(0, len(digits), 32))
    write_sealed([(key, scope, orjson.dumps(reply).decode()) for key, scope, reply in zip(keys, scopes, replies, strict=True)], file)
    return file.tell()
