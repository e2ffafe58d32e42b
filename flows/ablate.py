"""Ablation: a recipe is built as it is and with each of its steps switched off, over several seeds, and held against planted truth.

    prefloom ablate my.yaml --seeds 5      ->  data/ablations/my-<fingerprint>.json, and a table for each phi

Every variant is a run of its own under the same root, so that all share one journal: what two variants ask alike is asked once, and an
interrupted ablation goes on where it stopped. A seed is a society of its own: other people, other answers, another draw of everything.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from typing import Any

from prefect import flow
from prefect.client.schemas import State
from prefect.states import Completed

from prefloom.flows.build import build_dataset
from prefloom.flows.dataset import audits
from prefloom.flows.dataset.resolve import resolve
from prefloom.flows.dataset.run import Run
from prefloom.flows.dataset.store import Store
from prefloom.flows.steps import ablation, switches
from prefloom.flows.steps.forecast_text import table
from prefloom.schemas.errors import InputError
from prefloom.schemas.models import SocietyModel
from prefloom.schemas.recipe import Resolved

logger = logging.getLogger("prefloom.ablation")


@dataclass(frozen=True)
class Plan:
    """What is built: every row for every seed and every phi (None leaves the judge as it is)."""

    recipe: str
    out: str
    overrides: tuple[str, ...]
    resolved: Resolved
    rows: list[switches.Row]
    seeds: list[int]
    phis: list[float | None]

    @classmethod
    def of(cls, recipe: str, out: str, overrides: Sequence[str], seeds: int, phis: Sequence[float]) -> "Plan":
        """Check what is asked for. InputError where nothing can be switched off, or where a phi has no judge to err by it."""
        resolved = resolve(recipe, overrides)
        found = switches.rows(resolved.recipe)
        if len(found) == 1:
            raise InputError(recipe, found="no check and no diversity step that could be switched off", expected="at least one")
        judge = resolved.recipe.judgements.model
        if phis and not isinstance(resolved.recipe.models.get(judge), SocietyModel):
            raise InputError(
                "--phi", found=f"judge '{judge}', which is no member of the society", expected="a judge of `engine: society`, or no --phi"
            )
        first = resolved.recipe.seed
        plan = cls(recipe, out, tuple(overrides), resolved, found, [first + i for i in range(seeds)], [*phis] or [None])
        for phi in plan.phis:
            resolve(recipe, plan.variant(found[0], first, phi))  # a phi that no judge is calibrated for is said at once
        return plan

    @property
    def builds(self) -> int:
        """How many datasets are built."""
        return len(self.rows) * len(self.seeds) * len(self.phis)

    def variant(self, row: switches.Row, seed: int, phi: float | None) -> list[str]:
        """The overrides of one build, as `prefloom build --set` takes them."""
        judge = [] if phi is None else [f"models.{self.resolved.recipe.judgements.model}.phi={phi}"]
        return [*self.overrides, f"seed={seed}", *judge, "run.report=false", *row.overrides]


@flow(name="ablate", flow_run_name="ablate {plan.recipe}", persist_result=False, validate_parameters=False)
def ablate(plan: Plan) -> State[dict[str, Any]]:
    """Build all variants and compare them; the figures, which are also kept under `<out>/ablations/`."""
    tables = []
    for phi in plan.phis:
        by_seed = [_one_seed(plan, seed, phi) for seed in plan.seeds]
        tables.append({"phi": phi, "rows": ablation.summary(by_seed, [row.name for row in plan.rows])})
    recipe = plan.resolved.recipe
    value = {
        "recipe": f"{recipe.name}-{plan.resolved.fingerprint}",
        "seeds": plan.seeds,
        "overrides": {row.name: list(row.overrides) for row in plan.rows},
        "tables": tables,
    }
    return Completed(message=f"{len(plan.rows)} variants, {len(plan.seeds)} seeds", data=keep(plan, value))


def _one_seed(plan: Plan, seed: int, phi: float | None) -> list[dict[str, ablation.Figures]]:
    runs = []
    for place, row in enumerate(plan.rows):
        changed = plan.variant(row, seed, phi)
        build_dataset(plan.recipe, plan.out, changed)
        runs.append(Run.create(Path(plan.out), resolve(plan.recipe, changed)))
        what = "" if phi is None else f"phi {phi:g}, "
        logger.info("%sseed %d, %d of %d: %s", what, seed, place + 1, len(plan.rows), row.name)
    test = ablation.untouched(runs[-1])  # the last row is the one with the most switched off
    return ablation.compare([ablation.look(run) for run in runs], test)


def keep(plan: Plan, value: dict[str, Any]) -> dict[str, Any]:
    """Write the figures; gives them as JSON can hold them."""
    content: dict[str, Any] = audits.plain(value)
    text = json.dumps(content, indent=1, allow_nan=False).encode() + b"\n"
    Store(str(Path(plan.out) / "ablations")).publish(f"{content['recipe']}.json", lambda file: file.write(text))
    return content


HOW = {
    "as_is": "as they are",
    "matched_labels": "at a matched number of labels, the surest",
    "matched_calls": "at a matched number of judge calls",
}


def text(found: dict[str, Any]) -> str:
    """The figures for a terminal. A difference is what the full recipe has over a row."""
    titles = ["labels", "calls", "right", "full over it", "learnt", "full over it"]
    lines = [f"ablation of {found['recipe']}, {len(found['seeds'])} seeds; +- is a 95 % interval of the difference over seeds"]
    for part in found["tables"]:
        shown = [row for i, row in enumerate(part["rows"]) if i == 0 or not _is_alike(row, part["rows"][0])]
        for how, title in HOW.items():
            head = title if part["phi"] is None else f"phi {part['phi']:g}, {title}"
            lines += ["", *table([head, *titles], [[row["name"], *_cells(row[how])] for row in shown])]
        if alike := [row["name"].removeprefix("without ") for row in part["rows"] if row not in shown]:
            lines += wrap(f"no label differs without: {', '.join(alike)}", 100)
    lines += ["", "right: labels with the planted sign, %"]
    lines.append("learnt: untouched pairs for which a learner of the labels finds the planted preference, %")
    return "\n".join(lines)


def _is_alike(row: dict[str, Any], full: dict[str, Any]) -> bool:
    return all(row[how] == full[how] for how in HOW)


def _cells(figures: dict[str, Any]) -> list[str]:
    cells = [f"{figures[name]['value']:,.0f}" for name in ("kept", "calls")]
    for name in ("accuracy", "recovery"):
        value, over, half = (figures[name][key] for key in ("value", "over", "half"))
        cells.append("–" if value is None else f"{100 * value:.1f}")
        cells.append("–" if over is None else f"{100 * over:+.1f}" + ("" if half is None else f" +- {100 * half:.1f}"))
    return cells
