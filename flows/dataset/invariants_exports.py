"""What must hold of the exports beside TRL's: they show the preferences, and every preference is in them or counted as left out.

systems(store, recipe)  ->  [Check("fspo", …), Check("fedbiscuit", …)], those that the recipe wants

Computed again from the tables, without the code that wrote the exports, a row group or some thousand lines at a time.
"""

import io
import json
from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import islice
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from prefloom.flows.dataset import tables
from prefloom.flows.dataset.invariants import Check
from prefloom.flows.dataset.invariants_tables import neural_process, personalllm
from prefloom.flows.dataset.store import Store
from prefloom.schemas.candidate import Candidate
from prefloom.schemas.exported import RECORDS
from prefloom.schemas.label import Preference
from prefloom.schemas.persona import Persona
from prefloom.schemas.prompt import Prompt
from prefloom.schemas.recipe import Recipe
from prefloom.schemas.texts import short

AT_ONCE = 16_384  # rows looked at together
IDS = ["persona_id", "comparison_id", "prompt_id", "chosen_id", "rejected_id", "split"]


def systems(store: Store, recipe: Recipe) -> list[Check]:
    """A check for each system that is exported for, TRL's aside."""
    made = {"fspo": fspo, "fedbiscuit": fedbiscuit, "neural_process": neural_process, "personalllm": personalllm}
    return [_sound(name, made[name], store, recipe) for name in recipe.exports.wanted if name in made]


def _sound(name: str, made: Callable[[Store, Recipe], Check], store: Store, recipe: Recipe) -> Check:
    """The check, or one that says that a file cannot be read as what it should be."""
    try:
        return made(store, recipe)
    except (pl.exceptions.PolarsError, pa.ArrowException, ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        return Check(name, "the files of the export can be read", [f"cannot be read: {short(str(error).splitlines()[0])}"])


class Known:
    """The preferences of a run, a shard at a time, with the texts that their ids name."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.names = store.list("preferences/part-*.parquet")

    @cached_property
    def answers(self) -> pl.DataFrame:
        """candidate_id, text."""
        return tables.read(self.store, "candidates/part-*.parquet", Candidate, ["candidate_id", "text"])

    @cached_property
    def prompts(self) -> pl.DataFrame:
        """prompt_id, asked, prompt_split."""
        rows = tables.read(self.store, "prompts/part-*.parquet", Prompt, ["prompt_id", "text", "split"])
        return rows.rename({"text": "asked", "split": "prompt_split"})

    def shard(self, name: str) -> pl.DataFrame:
        """One part of the preferences, by ids."""
        return tables.read(self.store, name, Preference, IDS)

    def told(self, rows: pl.DataFrame, preferences: pl.DataFrame) -> pl.DataFrame:
        """Rows with persona_id and comparison_id, and beside them `asked`, `good`, `bad` and `split_of` of their preference, or nulls."""
        mine = preferences.rename({"split": "split_of"}).join(self.prompts, on="prompt_id")
        for side, text in (("chosen_id", "good"), ("rejected_id", "bad")):
            mine = mine.join(self.answers.rename({"text": text}), left_on=side, right_on="candidate_id")
        return rows.join(mine, on=["persona_id", "comparison_id"], how="left", suffix="_of")


def fspo(store: Store, recipe: Recipe) -> Check:
    """Both layouts, and the few-shot examples."""
    check = Check("fspo", "every preference stands once in both layouts, its winner first in half of the rows; shots are of other prompts")
    known, few_shot = Known(store), recipe.exports.fspo and recipe.exports.fspo.few_shot
    for place, name in enumerate(known.names):
        preferences = known.shard(name)
        account = _json(store, f"exports/fspo/accounting-{place:05d}.json") if few_shot else {}
        for (split, *_), mine in preferences.partition_by("split", as_dict=True).items():
            part = f"{split}/part-{place:05d}.parquet"
            for layout, persona in (("roleplay", pl.col("score_persona").struct.field("persona_uuid")), ("pairs", pl.col("persona_id"))):
                _layout(check, known, f"exports/fspo/{layout}/{part}", layout, persona, mine)
            if few_shot:
                _few_shot(check, known, part, mine, account.get(str(split), {}), few_shot.shots)
    return check


def _layout(check: Check, known: Known, name: str, layout: str, persona: pl.Expr, mine: pl.DataFrame) -> None:
    good, bad = pl.col("yw" if layout == "roleplay" else "x"), pl.col("yl" if layout == "roleplay" else "x")
    prompt = "x" if layout == "roleplay" else "prompt"
    if layout == "pairs":
        first = pl.col("label") == 0
        good = pl.when(first).then("response_x").otherwise("response_y")
        bad = pl.when(first).then("response_y").otherwise("response_x")
    right = (pl.col(prompt) == pl.col("asked")) & (good == pl.col("good")) & (bad == pl.col("bad"))
    seen, ones = [], 0
    for rows in _rows(known.store, name):
        told = known.told(rows.with_columns(persona.alias("persona_id")), mine)
        check.refuse(told, {f"rows of {name} differ from their preference": ~right})
        seen.append(told.select("persona_id", "comparison_id"))
        if layout == "pairs":
            ones += int(rows["label"].sum())
            check.refuse(rows, {f"rows of {name} have another det_choice": pl.col("det_choice") != pl.col("label")})
    _complete(check, name, seen, mine)
    balanced = layout == "roleplay" or abs(2 * ones - mine.height) <= 1
    check.expect(balanced, f"{name} has the winner second in {ones} of {mine.height} rows")


def _few_shot(check: Check, known: Known, part: str, mine: pl.DataFrame, account: dict[str, Any], shots: int) -> None:
    left = sum(account.get("left_out", {"none": 0}).values())
    closed = account.get("preferences") == mine.height == account.get("examples", 0) + left
    check.expect(closed, f"the account of {part} is not closed: {account} for {mine.height} preferences")
    name, prompts = f"exports/fspo/ipo/{part}", mine.select("persona_id", "comparison_id", "prompt_id")
    examples = shown = 0
    for rows in _rows(known.store, name):
        told = known.told(rows, mine)
        holds = [pl.col("prompt").str.contains(pl.col("asked").str.strip_chars(), literal=True), pl.col("shots").list.len() <= shots]
        for text, side in (("good", "chosen"), ("bad", "rejected")):
            holds.append(pl.col(side).str.contains(pl.col(text).str.strip_chars(), literal=True))
        check.refuse(told, {f"rows of {name} differ from their preference": ~pl.all_horizontal(holds)})
        pairs = rows.select("persona_id", "comparison_id", "shots").explode("shots").drop_nulls("shots")
        with_prompts = pairs.join(prompts, on=["persona_id", "comparison_id"], how="left").join(
            prompts.rename({"comparison_id": "shots", "prompt_id": "shot_prompt"}), on=["persona_id", "shots"], how="left"
        )
        check.refuse(
            with_prompts, {f"shots of {name} are of the question's prompt, or of nobody": pl.col("shot_prompt") == pl.col("prompt_id")}
        )
        twice = with_prompts.select("persona_id", "comparison_id", "shot_prompt").is_duplicated().any()
        check.expect(not twice, f"{name} has two shots of one prompt")
        examples, shown = examples + rows.height, shown + pairs.height
    counted = (account.get("examples"), account.get("shots"))
    check.expect(counted == (examples, shown), f"{name} has {examples} examples with {shown} shots, its account says {counted}")


def fedbiscuit(store: Store, _: Recipe) -> Check:
    """The files over all clients, and the folders."""
    check = Check(
        "fedbiscuit", "every preference is a client's or counted as left out; no prompt is in two splits, or kept for RLHF and shown"
    )
    known, account, folder = Known(store), _json(store, "exports/fedbiscuit/accounting-00000.json"), "exports/fedbiscuit"
    preferences = pl.concat([known.shard(name) for name in known.names])
    people = tables.read(store, "personas/part-*.parquet", Persona, ["persona_id", "split"]).rename({"split": "persona_split"})
    halves = {"train": "train", "val": "validation", "test": "test"}
    clients: dict[str, set[str]] = {}
    rows_in, ones = 0, 0
    kept = set().union(*(_column(store, f"{folder}/shp_rlhf_{half}.jsonl", "instruction") for half in halves))
    for half, split in halves.items():
        own = set(known.prompts.filter(pl.col("prompt_split") == split)["asked"])
        strange = _column(store, f"{folder}/shp_rlhf_{half}.jsonl", "instruction") - own
        check.expect(not strange, f"{folder}/shp_rlhf_{half}.jsonl has {len(strange)} prompts that are not of its split")
        name, seen = f"{folder}/shp_cmpr_{half}.jsonl", []
        first = pl.col("choice") == 0
        for rows in _lines(store, name):
            named = rows.rename({"category": "persona_id", "pair_id": "comparison_id"})
            told = known.told(named, preferences).join(people, on="persona_id")
            right = (
                (pl.col("instruction") == pl.col("asked"))
                & (pl.when(first).then("output_A").otherwise("output_B") == pl.col("good"))
                & (pl.when(first).then("output_B").otherwise("output_A") == pl.col("bad"))
                & (pl.col("prompt_split") == split)
                & (pl.col("persona_split") == "train")
            )
            shown = pl.col("instruction").is_in(list(kept))
            check.refuse(
                told, {f"rows of {name} differ from their preference": ~right, f"rows of {name} show a prompt kept for RLHF": shown}
            )
            check.expect(told.height == rows.height, f"{name} has clients that are no personas")
            seen.append(told.select("persona_id", "comparison_id"))
            ones += int(rows["choice"].sum())
        found = pl.concat(seen) if seen else preferences.select("persona_id", "comparison_id").clear()
        check.expect(not found.is_duplicated().any(), f"{name} has a preference twice")
        listed = account.get("shp_cmpr", {}).get(half)
        check.expect(listed == found.height, f"{name} has {found.height} rows, its account says {listed}")
        rows_in += found.height
        if found.height:
            clients[half] = set(found["persona_id"])
    check.expect(len(set(map(frozenset, clients.values()))) <= 1, "the files are not of the same clients")
    left = sum(account.get("left_out", {}).values())
    check.expect(preferences.height == rows_in + left, f"{preferences.height} preferences, {rows_in} in the files, {left} left out")
    # Half of each file of a persona's shard, to a row; all of them are thinned out by what is left out.
    check.expect(abs(ones - rows_in / 2) <= max(2, 4 * (rows_in / 4) ** 0.5), f"the second answer is better in {ones} of {rows_in} rows")
    held = 0
    for name in store.list(f"{folder}/clients/*/*.parquet"):
        for rows in _rows(store, name):
            told = known.told(rows.rename({"client_id": "persona_id", "pair_id": "comparison_id"}), preferences)
            first = pl.col("choice") == 0
            right = (
                (pl.col("prompt") == pl.col("asked"))
                & (pl.when(first).then("response_a").otherwise("response_b") == pl.col("good"))
                & (pl.when(first).then("response_b").otherwise("response_a") == pl.col("bad"))
                & (pl.col("split").replace_strict(halves) == pl.col("prompt_split"))
                & (pl.lit(name.split("/")[3]) == "client_id=" + pl.col("persona_id"))
            )
            shown = pl.col("prompt").is_in(list(kept))
            check.refuse(
                told, {f"rows of {name} differ from their preference": ~right, f"rows of {name} show a prompt kept for RLHF": shown}
            )
            held += rows.height
    check.expect(held == account.get("rows_in_folders"), f"{held} rows in the folders, the account says {account.get('rows_in_folders')}")
    return check


def _complete(check: Check, name: str, seen: list[pl.DataFrame], mine: pl.DataFrame) -> None:
    """Whether the rows seen are the preferences, each once."""
    ids = ["persona_id", "comparison_id"]
    found = pl.concat([mine.select(ids).clear(), *seen]).sort(ids)
    check.expect(found.equals(mine.select(ids).sort(ids)), f"{name} has {found.height} rows for {mine.height} preferences, or not those")


def _rows(store: Store, name: str) -> Iterator[pl.DataFrame]:
    """A Parquet file, some rows at a time; none for a file that is not there."""
    if not store.exists(name):
        return
    record = next(record for place, record in RECORDS.items() if name.startswith(f"{place}/"))
    with store.open(name) as file, pq.ParquetFile(file) as opened:
        for batch in opened.iter_batches(AT_ONCE, columns=list(record.model_fields)):
            rows = pl.from_arrow(batch)
            assert isinstance(rows, pl.DataFrame)
            yield rows


def _lines(store: Store, name: str) -> Iterator[pl.DataFrame]:
    """A file of JSON lines, some at a time."""
    with store.open(name) as file:
        while block := b"".join(islice(file, AT_ONCE)):
            yield pl.read_ndjson(io.BytesIO(block))


def _column(store: Store, name: str, column: str) -> set[str]:
    return {text for rows in _lines(store, name) for text in rows[column]}


def _json(store: Store, name: str) -> dict[str, Any]:
    """A small JSON file that should be there; nothing for one that is not."""
    found = json.loads(store.read(name)) if store.exists(name) else {}
    return found if isinstance(found, dict) else {}
