"""A calibration is fitted on few choices, refused where it does not belong, and stands beside the raw probability."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from prefloom.flows.dataset import calibrations
from prefloom.flows.dataset.invariants import labels as aggregated
from prefloom.flows.dataset.run import Run
from prefloom.flows.steps.audit_measures import calibration
from prefloom.flows.steps.calibrate import calibrate, fit
from prefloom.flows.steps.freshness import materials
from prefloom.schemas.errors import InputError
from prefloom.schemas.reading import Calibration
from tests.helpers import resolved, run_stage, table

TEMPLATE = "judge/pairwise"
JUDGE: dict[str, Any] = {"personas": [{"source": "grid", "count": 4}], "prompts": [{"source": "seeds", "count": 3}]}


def known(**changes: Any) -> Calibration:
    """A map for the judge of the base recipe."""
    from prefloom.flows.engines.society import Society
    from prefloom.prompts import load

    fitted: dict[str, Any] = {"slope": 0.2, "bend": 0.3, "dataset": "d", "split": "all", "gold": "0", "labels": 500}
    scores = dict.fromkeys(("brier", "expected_error", "raw_brier", "raw_expected_error"), 0.1)
    made = {"judge": Society("good").identity, "templates": [(TEMPLATE, load(TEMPLATE).hash)], "adaptive": None}
    return Calibration.model_validate(fitted | scores | made | changes)


def written(folder: Path, **changes: Any) -> str:
    """Its file."""
    folder.mkdir(exist_ok=True)
    path = folder / "calibration.json"
    path.write_text(known(**changes).model_dump_json())
    return str(path)


def test_the_fit_finds_what_was_planted() -> None:
    """Labels of which exactly what the margins say is right, under a judge twice too sure."""
    dice = np.random.default_rng(1)
    margin = dice.normal(0, 3, 40_000)
    truly = (dice.random(len(margin)) < 1 / (1 + np.exp(-0.5 * margin))).astype(float)
    slope, bend = fit(margin[:500], truly[:500])
    p = 1 / (1 + np.exp(-calibrations.features(margin) @ np.array([slope, bend])))
    target = 2 * truly - 1
    assert (
        calibration(margin, p, target)["expected_error"] < 0.03 < calibration(margin, 1 / (1 + np.exp(-margin)), target)["expected_error"]
    )
    assert fit(-margin[:500], 1 - truly[:500]) == (slope, bend), "which answer is called a is an accident"


def test_a_judge_that_is_always_wrong_is_not_turned_round() -> None:
    """No probability falls with the margin; that of such a judge is one half."""
    margin = np.linspace(-3, 3, 200)
    assert fit(margin, (margin < 0).astype(float)) == (0.0, 0.0)


def test_labels_have_it_beside_the_raw_probability(tmp_path: Path) -> None:
    """Null without a calibration; with one, preferences have it too, for the chosen answer."""
    without = run_stage(tmp_path / "a", "preferences", **JUDGE)
    assert table(without, "labels")["calibrated"].is_null().all()
    path = written(tmp_path / "c")
    run = run_stage(tmp_path / "b", "preferences", **JUDGE, judgements={"model": "judge", "calibration": path})
    assert materials(run).templates
    rows, raw = table(run, "labels"), table(without, "labels")
    assert rows.drop("calibrated").equals(raw.drop("calibrated"))
    odds = 0.2 * rows["margin"] + 0.3 * rows["margin"].sign() * (1 + rows["margin"].abs()).log()
    assert ((1 / (1 + (-odds).exp())).round(4) - rows["calibrated"]).abs().max() == 0  # type: ignore[operator]
    data = {name: table(run, name) for name in ("judgements", "comparisons", "labels")}
    assert not aggregated(data, run.resolved.recipe).problems
    bent = data | {"labels": rows.with_columns((1 - pl.col("calibrated")).alias("calibrated"))}
    assert aggregated(bent, run.resolved.recipe).problems
    kept = table(run, "preferences")
    assert (kept["calibrated"] >= 0.5).all()
    assert run.resolved.fingerprint != without.resolved.fingerprint
    Path(path).rename(moved := tmp_path / "moved.json")
    again = resolved(**JUDGE, judgements={"model": "judge", "calibration": str(moved)})
    assert again.fingerprint == run.resolved.fingerprint, "the content counts, not the place"


def test_a_map_for_others_is_refused(tmp_path: Path) -> None:
    """Other words, another depth of reading, another judge, another file: one line each."""
    cases: list[tuple[dict[str, Any], str]] = [
        ({"templates": [("judge/choice", "0")]}, "judge/choice, not those"),
        ({"templates": [(TEMPLATE, "0")]}, "in other words"),
        ({"adaptive": {}}, "other judgements.adaptive"),
        ({"version": 1, "slope": 0.0}, ""),
    ]
    for changes, said in cases:
        found = resolved(**JUDGE, judgements={"model": "judge", "calibration": written(tmp_path / "x", **changes)})
        if not said:
            materials(Run.create(tmp_path, found))
            continue
        with pytest.raises(InputError, match=said):
            materials(Run.create(tmp_path, found))
    path = written(tmp_path / "y", judge="society/other-0.65-stereotype@0")
    with pytest.raises(InputError, match="society/other"):
        run_stage(tmp_path / "z", "labels", **JUDGE, judgements={"model": "judge", "calibration": path})
    (tmp_path / "bad.json").write_text('{"version": 2}')
    with pytest.raises(InputError, match="prefloom calibrate"):
        calibrations.load(tmp_path / "bad.json")


def test_a_map_takes_the_place_of_nothing_else(tmp_path: Path) -> None:
    run = run_stage(tmp_path, "personas")
    gold = tmp_path / "gold.csv"
    gold.write_text("comparison_id,choice\nc,a\n")
    for out in (gold, run.folder / "manifest.json"):
        with pytest.raises(InputError, match="a file of its own, outside the dataset"):
            calibrate(run, gold, out)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"notes\.txt"):
        calibrate(run, gold, tmp_path / "notes.txt")
    assert (gold.read_text()[:3], (tmp_path / "notes.txt").read_text()) == ("com", "mine")
