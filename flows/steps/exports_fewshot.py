r"""Few-shot examples as text, in two tables of the same examples: `sft` with the chosen answer, `ipo` with both.

exports/fspo/sft/train/part-00000.parquet   {"prompt": "# Example 1\n## Question \n…", "completion": "## Preferred Response \n…", …}
exports/fspo/accounting-00000.json          {"train": {"preferences": 812, "examples": 790, "left_out": {"too_few_prompts": 22}, …}}

In a described mode the chosen answer follows the description of who prefers, and the rejected one that of whom it was written for; an
answer that was written for nobody in particular follows the description of who prefers too, and the two differ in the answer alone.
"""

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from prefloom.flows.dataset.episodes import Episodes, fit
from prefloom.flows.dataset.shards import ShardJob
from prefloom.flows.dataset.stages import entry
from prefloom.flows.steps.exports_rows import Sources
from prefloom.prompts.examples import completion, prompt, shot
from prefloom.schemas.exported import FspoIpo, FspoSft
from prefloom.schemas.exports import FewShot

AT_ONCE = 4096  # examples of a row group: each repeats the texts of its shots
NUMBER = len("# Example 64\n")


def export_examples(job: ShardJob, sources: Sources, preferences: pl.DataFrame, settings: FewShot, part: str) -> dict[str, Any]:
    """Write the examples of one split and say what became of each of its preferences."""
    done = entry(job.run.store, "preferences")
    assert done
    drawn = Episodes(preferences, done.digest).draw(settings.shots)
    texts = sources.joined(preferences).with_columns(pl.coalesce("rejected_description", "description").alias("rejected_description"))
    budget = None if settings.max_tokens is None else int(settings.max_tokens * settings.characters_per_token)
    kept, fits = fit(*_sizes(texts, settings), drawn, budget, settings.drop)
    context, targets = np.where(kept, drawn.context, -1)[fits], drawn.targets[fits, 0]
    for record, folder in ((FspoSft, "sft"), (FspoIpo, "ipo")):
        batches = range(0, len(targets), AT_ONCE)
        frames = _sft if folder == "sft" else _ipo
        rows = (frames(examples(texts, context[i : i + AT_ONCE], targets[i : i + AT_ONCE], settings), settings) for i in batches)
        job.publish(f"exports/fspo/{folder}/{part}", record, rows)
    long = {"question_too_long": int((~fits).sum())} if not fits.all() else {}
    return {
        "preferences": preferences.height,
        "examples": len(targets),
        "left_out": drawn.left_out | long,
        "shots": int(kept[fits].sum()),
        "shots_dropped": int((~kept[fits]).sum()),
    }


def examples(texts: pl.DataFrame, context: NDArray[np.int64], targets: NDArray[np.int64], settings: FewShot) -> pl.DataFrame:
    """prompt, chosen, rejected and ids of some episodes, from `Sources.joined` rows; -1 in `context` is a shot that was dropped."""
    mode, forced = settings.mode, settings.teacher_forced
    told = mode.endswith("described")
    used, places = np.unique(context[context >= 0], return_inverse=True)
    shown = [shot(mode, *row) for row in texts.select("prompt", "chosen", "rejected")[used].iter_rows()]
    ends = np.cumsum((context >= 0).sum(axis=1)).tolist()
    bodies, ids, said = [shown[place] for place in places.tolist()], texts["comparison_id"][used].to_list(), []
    named = [ids[place] for place in places.tolist()]
    columns = ["prompt", "chosen", "rejected", "description", "rejected_description", "persona_id", "comparison_id"]
    for first, last, row in zip([0, *ends], ends, texts.select(columns)[targets].iter_rows(), strict=False):
        question, good, bad, gold, other, persona, comparison = row
        said.append(
            {
                "prompt": prompt(mode, bodies[first:last], question, gold if told and forced else None),
                "chosen": completion(mode, good, gold if told and not forced else None),
                "rejected": completion(mode, bad, other if told and not forced else None),
                "persona_id": persona,
                "comparison_id": comparison,
                "shots": named[first:last],
            }
        )
    return pl.DataFrame(said, schema=_empty())


def _empty() -> dict[str, Any]:
    return {name: pl.List(pl.String) if name == "shots" else pl.String for name in FspoIpo.model_fields}


def _sft(rows: pl.DataFrame, settings: FewShot) -> pl.DataFrame:
    sides = [rows.with_columns(pl.col(side).alias("completion")) for side in ("chosen", "rejected")]
    return pl.concat(sides[: 1 if settings.targets == "chosen" else 2])


def _ipo(rows: pl.DataFrame, _: FewShot) -> pl.DataFrame:
    return rows


def _sizes(texts: pl.DataFrame, settings: FewShot) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Characters of each preference as a shot, and as a question with its longer completion."""
    mode = settings.mode

    def length(name: str) -> pl.Expr:
        return pl.col(name).str.strip_chars().str.len_chars().cast(pl.Int64)

    losers = length("rejected") * (not mode.startswith("preferred"))
    as_shot = len(shot(mode, "", "", "")) + NUMBER + length("prompt") + length("chosen") + losers
    told = mode.endswith("described") * 1
    sides = ("chosen", "description"), ("rejected", "rejected_description")
    ends = pl.max_horizontal(*(length(side) + told * length(who) for side, who in sides))
    asked = len(prompt(mode, [], "")) + len(completion(mode, "", "" if told else None)) + length("prompt") + ends
    sizes = texts.select(as_shot.alias("shot"), asked.alias("asked"))
    return sizes["shot"].to_numpy(), sizes["asked"].to_numpy()
