"""What it buys to answer prompts anew whose readers disagree too little, or too much. Prints Markdown.

    python -m tests.benchmarks.agreement                                      both presets, 5 seeds: ten minutes
    python -m tests.benchmarks.agreement --seeds 1 --people 30 --prompts 8    a small one

One society per seed. Everybody is asked about every comparison, once without the section and once with it, for each pair of bounds.

readers       share of prompts outside the bounds by the people who chose the round: after the choice it is too good by selection
others        the same prompts by as many people of the training split whom the choice never heard
disagreement  of others, mean over prompts      accuracy  share of labels that agree with the planted taste, before any check
one for all   the same, had everybody the label of the planted majority: what is above it is personal
contested     comparisons with at least 30 % of everybody on the smaller side, mean       calls  judge and writer together

± is half a 95 % interval of the mean over seeds (Student); `change` is paired by seed.
"""

import argparse
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from prefloom.flows.dataset import population, stages
from prefloom.flows.dataset.run import Run
from prefloom.flows.dataset.statistics import load
from prefloom.flows.engines.society.people import plant
from prefloom.flows.steps.drafts import disagreement_of
from prefloom.schemas.ids import draw, keys
from tests.helpers import run_stage, table

PRESETS = ("fspo-like", "personalllm-like")
BOUNDS: dict[str, dict[str, float]] = {"0.2 to 1": {"low": 0.2}, "0.35 to 1": {"low": 0.35}, "0.2 to 0.5": {"low": 0.2, "high": 0.5}}
STUDENT = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}  # 97.5 % quantile by seeds
READERS, PAIRS, ROUNDS = 12, 3, 2
FIGURES = ("readers", "others", "disagreement", "accuracy", "one for all", "contested", "calls")


def recipe(preset: str, seed: int, people: int, prompts: int) -> dict[str, Any]:
    """A dataset in which every comparison goes to everybody."""
    writers = ("terse", "friendly")
    return {
        "seed": seed,
        "models": {name: {"engine": "society", "character": name} for name in (*writers, "good")},
        "personas": [{"source": "society", "count": people, "preset": preset}],
        "prompts": [{"source": "seeds", "count": prompts}],
        "candidates": {"source": "models", "models": [*writers], "samples": 2},
        "comparisons": {"per_prompt": PAIRS, "per_persona_prompt": PAIRS},
        "judgements": {"model": "good"},
        "agreement": {"readers": READERS, "pairs": PAIRS, "rounds": ROUNDS},
    }


def figures(run: Run, people: int, bounds: dict[str, float]) -> dict[str, float]:
    """The columns of one run, by the bounds of which it is judged."""
    labels, personas, drafts = (table(run, name) for name in ("labels", "personas", "drafts"))
    stays = drafts.filter("stays")
    heard = dict(stays.select("prompt_id", "persona_ids").iter_rows())
    train = personas.filter(pl.col("split") == "train")["persona_id"].to_list()
    found = []
    for (prompt_id,), part in labels.filter(pl.col("persona_id").is_in(train)).sort("comparison_id").group_by("prompt_id"):
        deaf = [name for name in train if name not in heard[str(prompt_id)]]
        order = np.argsort(draw(0, "others", keys(deaf), keys([str(prompt_id)])), kind="stable")
        some = {deaf[place] for place in order[:READERS]}
        read = part.filter(pl.col("persona_id").is_in(some)).select("comparison_id", "persona_id", "margin").rows()
        found.append(disagreement_of(read))
    data = load(run.store)
    right, shared = accuracy(run, labels, personas, people)
    usage = [entry.usage for name in ("drafts", "judgements") if (entry := stages.entry(run.store, name))]
    return {
        "readers": outside(stays["disagreement"].to_list(), bounds),
        "others": outside(found, bounds),
        "disagreement": float(np.mean([value for value in found if value is not None])),
        "accuracy": right,
        "one for all": shared,
        "contested": population.contested(population.votes(data), 0.3).value,
        # What was read of the answers that stay is asked of the same people again, and found in the journal.
        "calls": float(sum(used.calls for part in usage for used in part.values()) - 2 * stays["margins"].list.len().sum()),
    }


def outside(found: Sequence[float | None], bounds: dict[str, float]) -> float:
    """Share of disagreements outside the bounds; what could not be measured is."""
    low, high = bounds["low"], bounds.get("high", 1.0)
    return float(np.mean([value is None or not low <= value <= high for value in found]))


def accuracy(run: Run, labels: pl.DataFrame, personas: pl.DataFrame, people: int) -> tuple[float, float]:
    """Share of labels that agree with what the person was planted to like, and of those of a majority; 0 is half right."""
    made = run.resolved.recipe
    (source,) = made.personas
    society = plant(getattr(source, "preset", ""), people, made.seed, stated=getattr(source, "stated", 0.7))
    answers = table(run, "candidates")
    values = society.utilities(answers["text"].to_list())
    row = {description: place for place, description in enumerate(society.descriptions)}
    person = {name: row[text] for name, text in personas.select("persona_id", "description").iter_rows()}
    column = {name: place for place, name in enumerate(answers["candidate_id"])}
    rows = labels.select("persona_id", "candidate_a", "candidate_b", "margin").rows()
    liked = np.array([np.sign(values[person[who], column[a]] - values[person[who], column[b]]) for who, a, b, _ in rows])
    most = np.sign([np.sign(values[:, column[a]] - values[:, column[b]]).sum() for _, a, b, _ in rows])
    said = np.sign([margin for *_, margin in rows])
    return float((said * liked).mean() + 1) / 2, float((most * liked).mean() + 1) / 2


def mean(values: Sequence[float], digits: int = 3) -> str:
    """`0.451 ± 0.012`."""
    spread = STUDENT.get(len(values), 1.96) * float(np.std(values, ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return f"{np.mean(values):,.{digits}f} ± {spread:,.{digits}f}"


def compare(preset: str, seeds: Sequence[int], people: int, prompts: int, folder: Path) -> list[str]:
    """Rows of the table: for each pair of bounds what was, what is, and the change."""
    rows = []
    given = {seed: recipe(preset, seed, people, prompts) for seed in seeds}
    measured = {seed: run_stage(folder / preset / str(seed), "labels", **_with(given[seed], rounds=0)) for seed in seeds}
    for said, bounds in BOUNDS.items():
        before, after, again = [], [], []
        for seed in seeds:
            run = run_stage(folder / preset / str(seed), "labels", **_with(given[seed], **bounds))
            before.append(figures(measured[seed], people, bounds))
            after.append(figures(run, people, bounds))
            again.append(float((table(run, "drafts")["action"] == "regenerated").sum()))
        for name, values in (("before", before), ("after", after)):
            cells = [mean([one[figure] for one in values], 0 if figure == "calls" else 3) for figure in FIGURES]
            rows.append(f"| {preset} | {said} | {name} | " + " | ".join(cells) + " |")
        cells = [
            mean([b[figure] - a[figure] for a, b in zip(before, after, strict=True)], 0 if figure == "calls" else 3) for figure in FIGURES
        ]
        rows.append(f"| {preset} | {said} | change ({mean(again, 1)} rounds more) | " + " | ".join(cells) + " |")
    return rows


def _with(given: dict[str, Any], **changed: float) -> dict[str, Any]:
    return given | {"agreement": given["agreement"] | changed}


def main() -> None:
    """Both presets."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--people", type=int, default=48)
    parser.add_argument("--prompts", type=int, default=30)
    given = parser.parse_args()
    print("| society | bounds | | " + " | ".join(FIGURES) + " |\n" + "|---" * (3 + len(FIGURES)) + "|")
    with tempfile.TemporaryDirectory() as folder:
        for preset in PRESETS:
            print("\n".join(compare(preset, range(1, given.seeds + 1), given.people, given.prompts, Path(folder))), flush=True)


if __name__ == "__main__":
    main()
