"""What must hold of the exports beside TRL's: they show the preferences, and every preference is in them or counted as left out.

systems(store, recipe)  ->  [Check("fspo", …), Check("fedbiscuit", …)], those that the recipe wants

Computed again from the tables, without the code that wrote the exports, a row group or some thousand lines at a time.
"""

from collections.abc import Callable, Iterator
from itertools import groupby
from operator import itemgetter

import polars as pl
import pyarrow as pa

from prefloom.flows.dataset import tables
from prefloom.flows.dataset.invariants import TOLERANCE, Check
from prefloom.flows.dataset.invariants_fspo import fspo
from prefloom.flows.dataset.invariants_known import AT_ONCE, PAIR, Known, lines, said, stream
from prefloom.flows.dataset.invariants_tables import neural_process, personalllm
from prefloom.flows.dataset.store import Store
from prefloom.schemas.ids import shard_of
from prefloom.schemas.label import Label
from prefloom.schemas.recipe import Recipe
from prefloom.schemas.texts import short

FOLDER = "exports/fedbiscuit"
HALVES = {"train": "train", "val": "validation", "test": "test"}
TOLD = ["instruction", "category"]  # of a prompt for RLHF


def systems(store: Store, recipe: Recipe) -> list[Check]:
    """A check for each system that is exported for, TRL's aside."""
    return [_sound(name, SYSTEMS[name], store, recipe) for name in recipe.exports.wanted if name in SYSTEMS]


def _sound(name: str, made: Callable[[Store, Recipe], Check], store: Store, recipe: Recipe) -> Check:
    """The check, or one that says that a file cannot be read as what it should be."""
    try:
        return made(store, recipe)
    except (pl.exceptions.PolarsError, pa.ArrowException, ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        return Check(name, "the files of the export can be read", [f"cannot be read: {short(str(error).splitlines()[0])}"])


def fedbiscuit(store: Store, recipe: Recipe) -> Check:
    """The files over all clients, and the folders."""
    check = Check(
        "fedbiscuit", "every preference is a client's or counted as left out; no prompt is in two splits, or kept for RLHF and shown"
    )
    known, account, folder = Known(store), said(store, f"{FOLDER}/accounting-00000.json"), FOLDER
    preferences = pl.concat([known.shard(name) for name in known.names])
    clients: dict[str, set[str]] = {}
    rows_in, ones = 0, 0
    asked = {
        half: {row for rows in lines(store, f"{folder}/shp_rlhf_{half}.jsonl") for row in rows.select(TOLD).iter_rows()} for half in HALVES
    }
    kept = {text for rows in asked.values() for text, _ in rows}
    for half, split in HALVES.items():
        strange = asked[half] - set(known.prompts.filter(pl.col("prompt_split") == split).select("asked", "domain_of").iter_rows())
        check.expect(
            not strange, f"{folder}/shp_rlhf_{half}.jsonl has {len(strange)} prompts that are not of its split, or under another category"
        )
        name, seen = f"{folder}/shp_cmpr_{half}.jsonl", []
        first = pl.col("choice") == 0
        for rows in lines(store, name):
            named = rows.rename({"category": "persona_id", "pair_id": "comparison_id"})
            told = known.told(named, preferences)
            right = (
                (pl.col("instruction") == pl.col("asked"))
                & (pl.when(first).then("output_A").otherwise("output_B") == pl.col("good"))
                & (pl.when(first).then("output_B").otherwise("output_A") == pl.col("bad"))
                & (pl.col("prompt_split") == split)
                & (pl.col("persona_split") == "train")
                & (pl.col("domain") == pl.col("domain_of"))
            )
            shown = pl.col("instruction").is_in(list(kept))
            check.refuse(
                told, {f"rows of {name} differ from their preference": ~right, f"rows of {name} show a prompt kept for RLHF": shown}
            )
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
    held = _folders(check, known, preferences, kept, recipe.shards.personas)
    check.expect(held == account.get("rows_in_folders"), f"{held} rows in the folders, the account says {account.get('rows_in_folders')}")
    return check


def _folders(check: Check, known: Known, preferences: pl.DataFrame, kept: set[str], shards: int) -> int:
    """The rows in the clients' folders, some clients at a time, beside the labels of their shard; how many there are."""
    first, shown, held = pl.col("choice") == 0, pl.col("prompt").is_in(list(kept)), 0
    a, b = (pl.when(first).then(side).otherwise(other) for side, other in (("chosen_id", "rejected_id"), ("rejected_id", "chosen_id")))
    model_a, model_b = (pl.when(first).then(x).otherwise(y) for x, y in (("good_model", "bad_model"), ("bad_model", "good_model")))
    right = (
        (pl.col("prompt") == pl.col("asked"))
        & (pl.col("prompt_id") == pl.col("prompt_id_of"))
        & (pl.when(first).then("response_a").otherwise("response_b") == pl.col("good"))
        & (pl.when(first).then("response_b").otherwise("response_a") == pl.col("bad"))
        & (pl.col("split").replace_strict(HALVES) == pl.col("prompt_split"))
        & (pl.col("folder") == "client_id=" + pl.col("persona_id"))
    )
    mine = pl.when(a > b).then(-pl.col("margin")).otherwise("margin")  # for response_a; the label's is for the smaller id
    near = [
        (pl.col(f"label_prob_{order}") - 1 / (1 + (-mine - bias).exp())).abs() <= TOLERANCE
        for order, bias in (("ab", pl.col("bias")), ("ba", -pl.col("bias")))
    ]
    broken = {
        "differ from their preference": ~right,
        "show a prompt kept for RLHF": shown,
        "have another is_swapped": pl.col("is_swapped") != (a > b),
        "have another held_out": pl.col("held_out") != (pl.col("persona_split") != "train"),
        "have another task": pl.col("task") != pl.col("domain_of"),
        "name another model": (pl.col("gen_model_a") != model_a) | (pl.col("gen_model_b") != model_b),
        "have another label_source": pl.col("label_source") != pl.col("persona_kind"),
        "have another label_confidence": (pl.col("label_confidence") - pl.col("confidence")).abs() > TOLERANCE,
        "have probabilities that are not their label's": ~(near[0] & near[1]),
    }
    labelled = ["persona_id", "comparison_id", "margin", "bias", "confidence"]
    for shard, rows in _clients(known.store, shards):
        labels = tables.read(known.store, f"labels/part-{shard:05d}.parquet", Label, labelled)
        named = rows.rename({"client_id": "persona_id", "pair_id": "comparison_id"})
        told = known.told(named, preferences).join(labels, on=PAIR, how="left")
        where = f"{FOLDER}/clients of shard {shard}"
        check.refuse(told, {f"rows of {where} {problem}": rule for problem, rule in broken.items()})
        check.expect(not told.select(PAIR).is_duplicated().any(), f"{where} have a preference twice")
        held += rows.height
    return held


def _clients(store: Store, shards: int) -> Iterator[tuple[int, pl.DataFrame]]:
    """(shard of the personas, rows of some of their folders): joined one by one, each folder would look through all labels."""
    names = store.list(f"{FOLDER}/clients/*/*.parquet")
    places = shard_of([name.split("/")[3].removeprefix("client_id=") for name in names], shards).tolist()
    for shard, group in groupby(zip(places, names, strict=True), key=itemgetter(0)):
        waiting: list[pl.DataFrame] = []
        for _, name in group:
            waiting += [rows.with_columns(pl.lit(name.split("/")[3]).alias("folder")) for rows in stream(store, name)]
            if sum(rows.height for rows in waiting) >= AT_ONCE:
                yield shard, pl.concat(waiting)
                waiting = []
        if waiting:
            yield shard, pl.concat(waiting)


SYSTEMS = {"fspo": fspo, "fedbiscuit": fedbiscuit, "neural_process": neural_process, "personalllm": personalllm}
