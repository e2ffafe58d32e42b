"""The commands that measure: how right labels are, what a margin is worth, what each step of a recipe buys.

prefloom audit data/runs/demo-…        prefloom calibrate data/runs/demo-… --gold gold.csv        prefloom ablate diverse --seeds 5
"""

import logging
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from prefloom.flows.cli_common import AsJson, Dataset, Out, Overrides, RecipeName, folder, say


def audit(
    dataset: Dataset,
    gold: Annotated[Path | None, typer.Option("--gold", metavar="FILE", help="Choices of people: .jsonl, .csv or .parquet.")] = None,
    write_gold: Annotated[Path | None, typer.Option("--write-gold", metavar="FILE", help="Write planted choices, for calibrate.")] = None,
    most: Annotated[int, typer.Option("--most", min=1, help="How many choices are written.")] = 500,
    split: Annotated[str, typer.Option("--split", help="Of which labels: a split, or all.")] = "validation",
    as_json: AsJson = False,
) -> None:
    """Measure how often the labels are right.

    Against the planted tastes of a simulated society, and against choices of people: rows of comparison_id (or candidate_a and
    candidate_b), choice (a or b) or chosen_id, and persona_id if a choice is not everybody's. Accuracy, calibration, what averaging and
    each check are worth, what the errors are like. The figures go into audit.json and into report.html, not into the manifest.
    """
    from prefloom.flows.dataset.run import Run
    from prefloom.flows.report.page import write_report
    from prefloom.flows.steps.audit import audit as measure
    from prefloom.flows.steps.audit import write_gold as write_choices
    from prefloom.flows.steps.audit_text import text

    run = Run(dataset)
    if write_gold:
        count = write_choices(run, write_gold, most, split)
        fewer = f", which has no more than that: {most:,} were asked for" if count < most else ""
        say(as_json, {"file": str(write_gold), "rows": count}, f"{write_gold}: {count:,} planted choices of {split}{fewer}")
        return
    found = measure(run, gold)
    write_report(run.store)
    say(as_json, found, text(found))


def ablate(
    recipe: RecipeName,
    out: Out = "data",
    set_: Overrides = None,
    seeds: Annotated[int, typer.Option(min=2, max=100, help="Societies, each with its own people, answers and draws.")] = 5,
    phi: Annotated[list[float] | None, typer.Option("--phi", help="Build with a society judge of this phi; give it once or more.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say what each check and each diversity step buys.

    Builds the recipe as it is, with each step switched off, and with all of them off, for several seeds, all from one journal; then
    compares labels, and what can be learnt from them, with the planted tastes of the society: as they are, at a matched number of labels,
    and at a matched number of judge calls. The figures go into ablations/ beside runs/.

    \b
      prefloom ablate diverse --seeds 5 --phi 0.25 --phi 0.9
    """
    from prefloom.flows import policies
    from prefloom.flows.local_server import local_server

    folder(out)
    policies.apply_environment()
    from prefloom.flows.ablate import Plan, text
    from prefloom.flows.ablate import ablate as compare

    if not as_json:
        progress = logging.getLogger("prefloom.ablation")
        progress.addHandler(logging.StreamHandler())
        progress.setLevel(logging.INFO)
        progress.propagate = False  # Prefect would print every line once more
    plan = Plan.of(recipe, out, tuple(set_ or ()), seeds, phi or ())
    if not as_json:
        progress.info("%d builds: %d variants, %d seeds, %d phi", plan.builds, len(plan.rows), seeds, len(plan.phis))
    with local_server():
        found = cast("dict[str, Any]", compare(plan))
    say(as_json, found, text(found))


def calibrate(
    dataset: Dataset,
    gold: Annotated[Path, typer.Option("--gold", metavar="FILE", help="Choices of people, as for audit.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where the map goes.")] = Path("calibration.json"),
    most: Annotated[int, typer.Option("--most", min=1, help="Labels that are used at most.")] = 500,
    split: Annotated[str, typer.Option("--split", help="Of which labels: a split, or all.")] = "validation",
    as_json: AsJson = False,
) -> None:
    """Fit what a margin is worth.

    A map from margins to the probability of being right, from at most 500 choices of people about labels of the validation split. The
    file that it writes goes into judgements.calibration.
    """
    from prefloom.flows.dataset.run import Run
    from prefloom.flows.steps.calibrate import calibrate as fit
    from prefloom.flows.steps.calibrate import text

    known = fit(Run(dataset), gold, out, most, split)
    say(as_json, known.model_dump(mode="json"), text(known, out))
