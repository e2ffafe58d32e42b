"""FedBiscuit's files: one per split over all clients, one folder per client with all that is known, and prompts that no client has seen.

exports/fedbiscuit/shp_cmpr_train.jsonl      {"instruction": "…", "output_A": "…", "output_B": "…", "choice": 0, "category": "5d1c…", …}
exports/fedbiscuit/shp_rlhf_train.jsonl      {"instruction": "…", "category": "everyday"}
exports/fedbiscuit/clients/client_id=5d1c…/part-00000.parquet
exports/fedbiscuit/accounting-00000.json     {"preferences": 33663, "shp_cmpr": {"train": 21034, …}, "clients": 27013, "left_out": {…}}

A client is a persona; choice 0 means that output_A is better, and so it is in half of the rows. The split is that of the prompt, so no
client has a prompt in two splits. The clients of the three files are the same ones, for a loader that numbers the categories of each file
by itself: personas of the training split that have a row in each. Folders are there for all personas, the held-out ones marked.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import polars as pl

from prefloom.flows.dataset import tables
from prefloom.flows.dataset.shards import ShardJob
from prefloom.flows.dataset.store import Store
from prefloom.flows.steps.exports_rows import COLUMNS, MAP, Sources, sided, sides, write_json
from prefloom.schemas.exported import ClientPreference
from prefloom.schemas.exports import FedBiscuitExport
from prefloom.schemas.ids import draw, keys, unit
from prefloom.schemas.label import Label, Preference

FOLDER = "exports/fedbiscuit"
AT_ONCE = 16_384  # rows that are joined with their texts together, or those of one client if it has more
JUDGED = ["persona_id", "comparison_id", "candidate_b", "margin", "bias"]


def export_clients(job: ShardJob, sources: Sources, preferences: pl.DataFrame) -> None:
    """The folders of this shard's personas."""
    settings = job.run.resolved.recipe.exports.fedbiscuit
    assert settings
    labels = tables.read(job.run.store, job.part("labels"), Label, JUDGED)
    mine = placed(sources, preferences, settings, job.index).filter(pl.col("reason").is_null())
    judged = mine.join(labels, on=["persona_id", "comparison_id"], suffix="_label", maintain_order="left")
    # Some clients at a time: joined one by one, each would look through all answers.
    place = pl.int_range(pl.len()) // AT_ONCE
    first = place.first().over("persona_id")
    for rows in judged.sort("persona_id", maintain_order=True).with_columns(first.alias("batch")).partition_by("batch"):
        for (persona, *_), mine in sources.joined(rows).partition_by("persona_id", as_dict=True).items():
            job.publish(f"{FOLDER}/clients/client_id={persona}/part-00000.parquet", ClientPreference, [client(mine)])


def export_federation(job: ShardJob, sources: Sources) -> None:
    """The files over all clients, and the account of all preferences."""
    store, settings = job.run.store, job.run.resolved.recipe.exports.fedbiscuit
    assert settings
    names = store.list("preferences/part-*.parquet")
    account = Account(sources, settings, (tables.read(store, name, Preference, COLUMNS) for name in names))
    for split in MAP.values():
        written = _lines(store, f"{FOLDER}/shp_cmpr_{split}.jsonl", account.rows(store, names, split))
        assert written == account.counts[split], f"{written} rows of {split} for {account.counts[split]}"
        prompts = sources.prompts.filter(pl.col("prompt_split").replace_strict(MAP) == split, kept_for_rlhf(sources.prompts, settings))
        _lines(store, f"{FOLDER}/shp_rlhf_{split}.jsonl", [prompts.select(instruction="prompt", category="domain")])
    write_json(store, f"{FOLDER}/accounting-00000.json", account.told())


class Account:
    """What becomes of each preference: a row of one file over all clients, or left out for the first reason that holds."""

    def __init__(self, sources: Sources, settings: FedBiscuitExport, shards: Iterable[pl.DataFrame]) -> None:
        self.sources, self.settings = sources, settings
        columns = ["persona_id", "half", "reason", "held_out"]
        parts = (placed(sources, rows, settings, index).group_by(columns).len() for index, rows in enumerate(shards))
        counted = pl.concat(list(parts))
        there = counted.filter(pl.col("reason").is_null(), ~pl.col("held_out"))
        self.files = [half for half in MAP.values() if half in set(there["half"])]
        whole = there.group_by("persona_id").agg(pl.col("half").n_unique()).filter(pl.col("half") == len(self.files))
        self.clients = whole["persona_id"].sort()
        self.counts: Counter[str] = Counter()
        self.left_out: Counter[str] = Counter()
        self.total = self.held = 0
        for persona, half, reason, held_out, n in counted.with_columns(pl.col("persona_id").is_in(self.clients.implode())).iter_rows():
            self.total += n
            self.held += 0 if reason else n
            if why := reason or ("held_out_persona" if held_out else None if persona else "client_lacks_a_split"):
                self.left_out[why] += n
            else:
                self.counts[half] += n

    def rows(self, store: Store, names: list[str], split: str) -> Iterator[pl.DataFrame]:
        """The lines of one file, shard by shard."""
        for index, name in enumerate(names):
            kept = placed(self.sources, tables.read(store, name, Preference, COLUMNS), self.settings, index).filter(
                pl.col("reason").is_null(), pl.col("half") == split, pl.col("persona_id").is_in(self.clients.implode())
            )
            for rows in self.sources.groups(kept):
                yield rows.select(
                    pl.col("prompt").alias("instruction"),
                    *sided(rows["side"].to_numpy(), "A", "B", {"output_": ""}),
                    pl.col("side").alias("choice"),
                    pl.col("persona_id").alias("category"),
                    "domain",
                    pl.col("comparison_id").alias("pair_id"),
                )

    def told(self) -> dict[str, Any]:
        """The account, closed: preferences = rows of the files + what is left out; those in folders are all but the last two reasons."""
        files = {half: self.counts[half] for half in MAP.values()}
        assert self.total == sum(files.values()) + self.left_out.total()
        return {
            "preferences": self.total,
            "shp_cmpr": files,
            "clients_in_files": len(self.clients),
            "rows_in_folders": self.held,
            "left_out": dict(sorted(self.left_out.items())),
        }


def placed(sources: Sources, preferences: pl.DataFrame, settings: FedBiscuitExport, index: int) -> pl.DataFrame:
    """Rows of Preference with `half` (train, val, test), `held_out`, `side`, and the `reason` why no client may have it, or null."""
    prompts = sources.prompts.select("prompt_id", "prompt_split", pl.col("prompt").str.len_chars().alias("asked"))
    prompts = prompts.with_columns(kept_for_rlhf(sources.prompts, settings).alias("rlhf"))
    lengths = sources.answers.select("candidate_id", pl.col("text").str.len_chars().alias("size"))
    sized = (
        preferences.join(prompts, on="prompt_id", how="left", maintain_order="left")
        .join(sources.people.select("persona_id", "persona_split"), on="persona_id", how="left", maintain_order="left")
        .join(lengths.rename({"size": "good"}), left_on="chosen_id", right_on="candidate_id", how="left", maintain_order="left")
        .join(lengths.rename({"size": "bad"}), left_on="rejected_id", right_on="candidate_id", how="left", maintain_order="left")
    )
    most = settings.max_characters
    long = pl.lit(value=False) if most is None else pl.sum_horizontal("asked", "good", "bad") > most
    reason = pl.when("rlhf").then(pl.lit("prompt_kept_for_rlhf")).when(long).then(pl.lit("too_long"))
    return sized.select(
        *preferences.columns,
        pl.col("prompt_split").replace_strict(MAP).alias("half"),
        (pl.col("persona_split") != "train").alias("held_out"),
        pl.Series("side", sides(preferences, index), pl.Int64),
        reason.alias("reason"),
    )


def kept_for_rlhf(prompts: pl.DataFrame, settings: FedBiscuitExport) -> pl.Series:
    """Which prompts no client may have, by hash: raising the share keeps those that it keeps already."""
    return pl.Series(unit(draw(0, "export/rlhf", keys(prompts["prompt_id"]))) < settings.rlhf)


def client(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows of ClientPreference from those of `Sources.joined` with `side`, `half` and the figures of their labels."""
    first = pl.when(pl.col("side") == 0).then("chosen_id").otherwise("rejected_id")
    swapped = first == pl.col("candidate_b")
    # Log-odds for the answer that is response_a, read with it first (the bias is for it) and second (against it).
    mine = pl.when(swapped).then(-pl.col("margin_label")).otherwise("margin_label")
    shown = {"response": "", "gen_model": "_model", "gen_params": "_params"}
    return rows.select(
        pl.col("persona_id").alias("client_id"),
        "held_out",
        pl.col("half").alias("split"),
        "prompt_id",
        pl.col("comparison_id").alias("pair_id"),
        pl.col("domain").alias("task"),
        "prompt",
        *sided(rows["side"].to_numpy(), "_a", "_b", shown),
        pl.col("side").cast(pl.Int8).alias("choice"),
        swapped.alias("is_swapped"),
        pl.col("kind").alias("label_source"),
        pl.col("confidence").alias("label_confidence"),
        (1 / (1 + (-mine - pl.col("bias")).exp())).round(4).alias("label_prob_ab"),
        (1 / (1 + (-mine + pl.col("bias")).exp())).round(4).alias("label_prob_ba"),
    )


def _lines(store: Store, name: str, groups: Any) -> int:
    """Publish frames as JSON lines; how many there are."""
    written = 0

    def fill(file: Any) -> None:
        nonlocal written
        for rows in groups:
            rows.write_ndjson(file)
            written += rows.height

    store.publish(name, fill)
    return written
