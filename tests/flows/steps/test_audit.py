"""An audit says what is so: where the answer is known beforehand, it is the answer."""

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from prefloom.flows.cli import app
from prefloom.flows.dataset import audits
from prefloom.flows.dataset.run import Run
from prefloom.flows.dataset.store import Store
from prefloom.flows.steps import audit as auditing
from prefloom.flows.steps import audit_errors as errors
from prefloom.flows.steps import audit_measures as measures
from prefloom.flows.steps.audit import against, against_truth
from prefloom.flows.steps.audit_evidence import differences, load
from prefloom.flows.steps.audit_text import text
from prefloom.schemas.errors import InputError
from tests.auditing import DICE, LABELS, MARGIN, Lengths, Planted, evidence
from tests.command import prefloom

NOISE = np.random.default_rng(11)


def test_labels_that_are_the_truth_are_all_right_and_too_unsure() -> None:
    found = against(evidence(), MARGIN * 3, asked=5000)
    assert found["accuracy"]["prompts"] == {"value": 1.0, "low": 1.0, "high": 1.0, "of": LABELS}
    assert found["accuracy"]["personas"]["value"] == 1.0
    assert found["coverage"] == {"asked": 5000, "labels": LABELS, "share": 0.8, "people": 40}
    calibration = found["calibration"]
    sure = 1 / (1 + np.exp(-np.abs(MARGIN)))
    assert calibration["expected_error"] == pytest.approx(1 - sure.mean())
    assert calibration["excess"] == pytest.approx(sure.mean() - 1)
    assert calibration["brier"] == pytest.approx(((1 - sure) ** 2).mean())
    assert np.isnan(calibration["slope"]), "no finite slope is best"
    assert found["risk_coverage"]["area"] == 0


def test_labels_at_random_are_right_half_of_the_time_and_too_sure() -> None:
    found = against(evidence(), NOISE.normal(size=LABELS), asked=LABELS)
    share = found["accuracy"]["prompts"]
    assert share["low"] < 0.5 < share["high"]
    assert share["high"] - share["low"] == pytest.approx(2 * 1.96 * 0.5 / np.sqrt(LABELS), rel=0.3)
    assert found["calibration"]["excess"] > 0.2
    assert abs(found["calibration"]["slope"]) < 0.1
    assert found["risk_coverage"]["area"] == pytest.approx(0.5, abs=0.06)


def test_a_calibrated_judge_has_slope_one_and_a_boaster_one_half() -> None:
    truly = np.where(NOISE.random(LABELS) < 1 / (1 + np.exp(-MARGIN)), 1.0, -1.0)
    assert measures.slope(MARGIN, (1 + truly) / 2) == pytest.approx(1, abs=0.12)
    honest = measures.calibration(MARGIN, 1 / (1 + np.exp(-MARGIN)), truly)
    boast = measures.calibration(2 * MARGIN, 1 / (1 + np.exp(-2 * MARGIN)), truly)
    assert boast["slope"] == pytest.approx(honest["slope"] / 2)
    assert honest["expected_error"] < 0.04 < boast["expected_error"]
    assert abs(honest["excess"]) < 0.02 < boast["excess"]
    assert sum(row["n"] for row in honest["rows"]) == LABELS


def test_the_fit_finds_what_a_fine_search_finds() -> None:
    margin, truly = np.array([0.1, 3.0, -2.0, 40.0, 1.0, 0.5]), np.array([1.0, 1.0, 1.0, 1.0, 0.5, 0.0])
    grid = np.linspace(-3, 3, 60_001)
    loss = (np.logaddexp(0, grid[:, None] * margin) - truly * grid[:, None] * margin).sum(axis=1)
    assert measures.slope(margin, truly) == pytest.approx(grid[loss.argmin()], abs=1e-4)
    assert np.isnan(measures.slope(margin, np.array([1.0, 1.0, 0.0, 1.0, 1.0, 1.0])))
    assert np.isnan(measures.slope(-margin, np.array([1.0, 1.0, 0.0, 1.0, 1.0, 1.0]))), "every label wrong"


def test_ties_count_half_and_equally_sure_labels_in_no_order() -> None:
    assert measures.score(np.array([1.0, -1, 0, 2, 0]), np.array([3.0, 3, 3, 0, 0])).tolist() == [1, 0, 0.5, 0.5, 0.5]
    running = measures.ranked(np.array([1.0, 5, 1, 1]), np.array([0.0, 1, 1, 1]))
    assert running == pytest.approx([1, 5 / 6, 7 / 9, 3 / 4])
    curve = measures.risk_coverage(np.array([4.0, 3, 2, 1, 0.5]), np.array([1.0, 1, 1, 0, 0]))
    assert list(curve["at"].values()) == pytest.approx([1, 1, 1, 0.75, 0.6])
    assert curve["area"] == pytest.approx((0.25 + 0.4) / 5)


def test_intervals_are_wider_where_prompts_hang_together() -> None:
    prompt = np.repeat(np.arange(50), 40)
    together = np.repeat(NOISE.integers(0, 2, 50), 40).astype(float)
    apart = NOISE.permutation(together)
    wide, narrow = (measures.shares({"x": values}, prompt)["x"] for values in (together, apart))
    assert wide["value"] == narrow["value"]
    assert wide["high"] - wide["low"] == pytest.approx(2 * 1.96 * 0.5 / np.sqrt(50), rel=0.2)
    assert narrow["high"] - narrow["low"] < 0.4 * (wide["high"] - wide["low"])


def test_units_by_the_hundred_thousand_are_drawn_in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    unit, values = np.arange(3000), NOISE.integers(0, 2, 3000).astype(float)
    one = measures.shares({"x": values}, unit)["x"]
    monkeypatch.setattr(measures, "MOST_UNITS", 500)
    grouped = measures.shares({"x": values}, unit)["x"]
    assert grouped["value"] == one["value"]
    assert grouped["high"] - grouped["low"] == pytest.approx(one["high"] - one["low"], rel=0.25)


def test_a_check_that_removes_only_wrong_labels_shows_it() -> None:
    target = np.where(np.arange(LABELS) % 10 < 2, -MARGIN, MARGIN)  # one in five is wrong
    reason = np.where(np.arange(LABELS) % 10 == 0, 0, np.where(np.arange(LABELS) % 10 == 5, 1, -1))
    found = against(evidence(reason=reason, kept=reason < 0), target, asked=LABELS)
    good, blind, every = *found["checks"]["rows"], found["checks"]["all"]
    assert (good["check"], good["n"], good["removed"], good["kept"]) == ("inconsistent", 400, 0.0, 3600)
    assert good["left"] == pytest.approx(3200 / 3600)
    assert good["left"] > good["by_margin"] + 0.05, "the margin says nothing here"
    assert (blind["removed"], blind["left"]) == (1.0, pytest.approx(2800 / 3600))
    assert every["left"] == found["preferences"]["value"] == pytest.approx(2800 / 3200)
    assert found["accuracy"]["prompts"]["value"] == 0.8


def test_a_check_is_held_against_dropping_the_least_sure() -> None:
    margin, right = np.array([5.0, 4, 3, 2, 1]), np.array([1.0, 1, 1, 0, 1])
    row = measures.checks(np.array([0, -1, -1, -1, -1]), ["odd"], margin < 5, margin, right)["rows"][0]
    assert (row["n"], row["removed"], row["left"], row["by_margin"]) == (1, 1.0, 0.75, 0.75)
    row = measures.checks(np.array([-1, -1, -1, 0, 0]), ["odd"], margin > 2, margin, right)["rows"][0]
    assert (row["n"], row["removed"], row["left"], row["by_margin"]) == (2, 0.5, 1.0, 1.0)


def test_baselines_and_groups() -> None:
    target = np.where(np.arange(LABELS) % 40 == 39, -np.abs(MARGIN), np.abs(MARGIN))  # a is better, but for one person
    found = against(evidence(np.abs(MARGIN), others=np.full(LABELS, 5.0)), target, asked=LABELS)
    assert found["baselines"]["majority"]["value"] == found["baselines"]["longer_wins"]["value"] == pytest.approx(39 / 40)
    worst = found["personas"]["worst"][0]
    assert (worst["persona_id"], worst["accuracy"], worst["n"]) == ("persona 39", 0.0, 100)
    assert found["personas"]["quantiles"]["0"] == 0
    assert found["personas"]["quantiles"]["0.1"] == 1
    assert [(row["name"], row["n"]) for row in found["splits"]["rows"]] == [("train", 3600), ("test", 400)]
    assert {row["name"]: row["accuracy"] for row in found["splits"]["rows"]} == {"train": pytest.approx(35 / 36), "test": 1.0}
    few = measures.grouped(np.arange(30), {i: f"d{i:02}" for i in range(30)}, np.ones(30), np.arange(30))
    assert (len(few["rows"]), few["more"]) == (20, 10)


def test_standard_errors_are_those_of_prompts() -> None:
    prompt, right = np.repeat(np.arange(100), 40), np.repeat(NOISE.integers(0, 2, 100), 40).astype(float)
    row = measures.grouped(np.zeros(4000, dtype=int), {0: "all"}, right, prompt)["rows"][0]
    assert row["error"] == pytest.approx(right[::40].std(ddof=1) / 10)


def test_averaging_takes_the_bias_away() -> None:
    quality = NOISE.normal(0, 1, LABELS)
    reads = np.stack([quality + 5, quality - 5], axis=1)[:, None, :]
    found = errors.orders(reads, ["judge/pairwise"], quality, quality, np.arange(LABELS) // 40)
    assert found["both_orders"]["value"] == 1.0
    assert found["one_reading"]["value"] == pytest.approx(0.5, abs=0.01)
    (row,) = found["rows"]
    assert row["both"] == 1.0
    assert row["a_first"] == pytest.approx((quality > 0).mean())
    reads[::2, 0, 1] = np.nan
    assert errors.orders(reads, ["judge/pairwise"], quality, quality, np.arange(LABELS) // 40)["one_reading"]["of"] == LABELS // 2


def test_position_bias_and_its_slope() -> None:
    size = np.abs(NOISE.normal(0, 1, LABELS))
    found = errors.position(0.4 - 0.2 * size, np.arange(LABELS) // 40, size, np.arange(LABELS) // 40)
    assert found["slope"]["value"] == pytest.approx(-0.2)
    assert found["mean"] == pytest.approx(0.4 - 0.2 * size.mean())
    assert errors.position(np.full(80, 0.4), np.arange(80) // 40, None, np.arange(80) // 40) == {
        "mean": pytest.approx(0.4),
        "sd": pytest.approx(0),
    }


def test_a_liking_for_length_is_found_and_none_is_invented() -> None:
    prompt = np.arange(LABELS) // 40
    du, longer, noise = (NOISE.normal(0, 1, LABELS) for _ in range(3))
    du, fair = du / np.sqrt((du**2).mean()), errors.length(du + noise, du, longer, prompt)
    assert fair["error"]["low"] < 0 < fair["error"]["high"]
    leaning = errors.length(du + 0.5 * longer, du, longer, prompt)
    assert leaning["given_truth"]["value"] == pytest.approx(0.5 / np.sqrt(1.25), rel=0.05)
    assert leaning["error"]["low"] > 0.3
    liked = (du + longer) / np.sqrt(2)  # people like length; the judge is only unsure
    unsure = errors.length(liked + 2 * noise, liked, longer, prompt)
    assert unsure["error"]["high"] < 0
    assert unsure["given_truth"]["low"] < 0 < unsure["given_truth"]["high"]


@pytest.mark.parametrize(("shared", "wording", "slip"), [(1.0, 0.0, 0.0), (0.0, 0.0, 0.0), (1.0, 0.5, 1.0), (0.3, 1.0, 0.2)])
def test_planted_phi_comes_back(shared: float, wording: float, slip: float) -> None:
    n, dice = 20_000, np.random.default_rng(3)
    du = dice.normal(0, 1, n)
    reads = 1.5 * du[:, None, None] + np.array([0.4, -0.4]) + shared * dice.normal(0, 1, (n, 1, 1))
    reads = reads + wording * dice.normal(0, 1, (n, 3, 1)) + slip * dice.normal(0, 1, (n, 1, 2)) + 0.7 * dice.normal(0, 1, (n, 3, 2))
    found = errors.common(reads, du, np.arange(n) // 20)
    assert found
    variance = shared**2 + wording**2 + slip**2 + 0.7**2
    planted = {"phi": shared**2, "template": wording**2, "order": slip**2, "rest": 0.7**2}
    for name, part in planted.items():
        assert found[name]["value"] == pytest.approx(part / variance, abs=0.02), name
        assert found[name]["low"] <= found[name]["value"] <= found[name]["high"]
    assert found["phi"]["high"] - found["phi"]["low"] < 0.05


def test_phi_needs_two_templates_and_counts_persistent_misreading() -> None:
    du = NOISE.normal(0, 1, LABELS)
    one = np.stack([du, du], axis=1)[:, None, :]
    assert errors.common(one, du, np.arange(LABELS)) is None
    misread = np.repeat(one, 2, axis=1) + NOISE.normal(0, 1, (LABELS, 1, 1))
    found = errors.common(misread, du, np.arange(LABELS))
    assert found
    assert found["phi"]["value"] == pytest.approx(1)


def test_differences_are_those_of_the_planted_tastes_in_their_own_spread() -> None:
    tastes = DICE.normal(0, 1, 40)
    data, truth = evidence(np.tile(-tastes, 100)), Planted(tastes.tolist())  # u(a) - u(b) = -taste: text 2k against 2k + 1
    assert differences(data, truth) == pytest.approx(np.tile(-tastes, 100))
    assert truth.asked < 20, "prompts are put in blocks"
    found = against_truth(data, truth)
    spread = np.sqrt((tastes**2).mean())
    assert found["scale"] == pytest.approx(spread)
    assert found["accuracy"]["prompts"]["value"] == 1
    assert found["regret"] == {"labels": 0, "preferences": 0, "random": pytest.approx(np.abs(tastes).mean() / spread / 2)} | {
        "random_preferences": pytest.approx(np.abs(tastes).mean() / spread / 2)
    }
    assert sum(row["n"] for row in found["by_difference"]) == LABELS
    clearly = np.abs(tastes) / spread >= 0.5
    assert found["clearly_better"] == {"share": pytest.approx(clearly.mean()), "accuracy": 1.0, "n": int(clearly.sum()) * 100}
    assert [row["n"] for row in found["clusters"]["rows"]] == [2000, 2000]
    wrong = against_truth(evidence(np.tile(tastes, 100)), truth)
    assert wrong["regret"]["labels"] == pytest.approx(2 * found["regret"]["random"])


def test_people_without_planted_tastes_are_left_out_and_counted() -> None:
    truth = Planted(persona_ids=[f"persona {i}" for i in range(10)])
    found = against_truth(evidence(np.full(LABELS, -1.0)), truth)
    assert found["coverage"] == {"asked": 1000, "labels": 1000, "share": 1.0, "people": 10}
    with pytest.raises(InputError, match="no label of a person with planted tastes"):
        against_truth(evidence(), Planted(persona_ids=["stranger"]))


def test_the_tables_become_evidence(small: Path) -> None:
    data = load(Store(str(small)))
    labels = pl.read_parquet(small / "labels/*.parquet")
    assert len(data.margin) == labels.height
    assert data.margin == pytest.approx(data.reads.mean(axis=(1, 2)), abs=1e-4), "margins follow from the readings found"
    kept = pl.read_parquet(small / "preferences/*.parquet").height
    assert (int(data.kept.sum()), int((data.reason == -1).sum())) == (kept, kept)
    asked = pl.read_parquet(small / "comparisons/*.parquet")["persona_ids"].list.len().sum()
    assert len(data.asked) == asked
    for row in (0, 17, len(data.margin) - 1):
        mine = labels.filter((pl.col("persona_id") == data.names.personas[data.persona[row]]) & (pl.col("margin") == data.margin[row]))
        assert data.names.pairs[data.comparison[row]] in mine.select("candidate_a", "candidate_b").rows()
        others = labels.filter(pl.col("comparison_id") == data.names.comparisons[data.comparison[row]])["margin"].sign().sum()
        assert data.others[row] == others - np.sign(data.margin[row])


def test_damaged_tables_are_named(copy: Path) -> None:
    for file in (copy / "personas").glob("part-*.parquet"):
        pl.read_parquet(file).head(3).write_parquet(file)
    with pytest.raises(InputError, match="tables that do not fit together"):
        load(Store(str(copy)))


@pytest.fixture
def lengths(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every dataset's people have tastes by length, wherever the command looks for planted ones."""
    monkeypatch.setattr("prefloom.flows.engines.society.truth.Truth", Lengths)


@pytest.mark.usefixtures("lengths")
def test_the_command_measures_writes_and_shows(copy: Path) -> None:
    manifest = (copy / "manifest.json").read_bytes()
    done = CliRunner().invoke(app, ["audit", str(copy), "--json"], catch_exceptions=False)
    found = json.loads(done.stdout)
    assert found == json.loads((copy / "audit.json").read_text()) == audits.read(Store(str(copy)))
    assert found["truth"]["baselines"]["longer_wins"]["value"] > 0.99
    assert found["gold"] is None
    assert 0.3 < found["truth"]["accuracy"]["prompts"]["value"] < 0.8
    first = (copy / "audit.json").read_bytes()
    shown = CliRunner().invoke(app, ["audit", str(copy)], catch_exceptions=False).stdout
    assert (copy / "audit.json").read_bytes() == first, "fixed dice"
    assert max(map(len, shown.splitlines())) <= 80
    assert "AGAINST THE PLANTED TASTES of lengths, 30 people" in shown
    assert "inconsistent" in shown
    assert 'id="truth"' in (copy / "report.html").read_text()
    assert (copy / "manifest.json").read_bytes() == manifest
    prefloom("validate", str(copy))


@pytest.mark.usefixtures("lengths")
def test_figures_against_people_stay_until_the_dataset_is_another(copy: Path, tmp_path: Path) -> None:
    comparison = pl.read_parquet(copy / "labels/*.parquet")["comparison_id"][0]
    (tmp_path / "gold.csv").write_text(f"comparison_id,choice\n{comparison},a\n")
    both = auditing.audit(Run(copy), tmp_path / "gold.csv")
    assert both["truth"]
    assert both["gold"]
    assert auditing.audit(Run(copy)) == both
    (copy / "manifest.json").write_text((copy / "manifest.json").read_text() + "\n")
    assert auditing.audit(Run(copy))["gold"] is None


def test_without_truth_or_dataset_one_line_says_so(copy: Path, tmp_path: Path) -> None:
    apart = tmp_path / "elsewhere" / "runs" / copy.name  # where nothing is planted
    shutil.copytree(copy, apart)
    for folder, said in ((apart, "the planted tastes"), (tmp_path, "no manifest.json"), (tmp_path / "nowhere", "no manifest.json")):
        refused = prefloom("audit", str(folder), check=False)
        assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1)
        assert said in refused.stderr
    assert not (apart / "audit.json").exists()


def test_hostile_names_stay_on_their_line() -> None:
    bad = "\x1b[2J\u202eevil\n" * 50
    data = evidence()
    data.names.domains[0] = data.names.descriptions[3] = data.names.reasons[0] = data.names.readers[0] = bad
    part = against(data, np.where(data.persona == 3, -MARGIN, MARGIN), LABELS) | {"society": bad, "bias": {"mean": 0.0, "sd": 0.0}}
    shown = text({"dataset": "d", "truth": audits.plain(part), "gold": None})
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert len(shown.splitlines()) < 70


@pytest.mark.usefixtures("lengths")
def test_a_dataset_that_has_lost_a_file_is_not_measured(copy: Path) -> None:
    for lost in ("labels/part-00000.parquet", "judgements/part-00000.parquet"):
        content = (copy / lost).read_bytes()
        (copy / lost).unlink()
        with pytest.raises(InputError, match=f"{lost}: found no such file; expected a whole dataset"):
            auditing.audit(Run(copy))
        (copy / lost).write_bytes(content)
