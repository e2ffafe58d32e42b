"""The report says what was measured of this very dataset, and nothing else."""

import json
from pathlib import Path

import pytest

from prefloom.flows.dataset import audits
from prefloom.flows.dataset.run import Run
from prefloom.flows.dataset.store import Store
from prefloom.flows.report import figures
from prefloom.flows.report.page import render
from prefloom.flows.steps.audit import against_gold, against_truth
from prefloom.flows.steps.audit_evidence import load
from prefloom.flows.steps.audit_gold import read as read_gold
from tests.auditing import Lengths
from tests.flows.report.test_page import SECTIONS, read

BAD = "<script>document.title='ran'</script>\x1b[2J\u202e{{ 7*7 }}" + "x" * 5000


@pytest.fixture
def blank_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the figures of other sections out, where a test renders the page to see that there is one."""
    monkeypatch.setattr(figures, "draw", lambda height, paint: "<svg></svg>")


@pytest.fixture
def audited(copy: Path) -> Path:
    """A dataset with an audit.json against tastes by length and against a gold file."""
    store, data = Store(str(copy)), load(Store(str(copy)))
    gold = copy.parent / "gold.csv"
    gold.write_text("comparison_id,choice\n" + "".join(f"{name},a\n" for name in data.names.comparisons[:20]))
    truth = against_truth(data, Lengths.of(Run(copy)))
    audits.write(store, audits.digest(store), {"dataset": copy.name, "truth": truth, "gold": against_gold(data, read_gold(gold), gold)})
    return copy


def test_the_section_shows_both_truths_and_nothing_that_runs(audited: Path) -> None:
    page = read(render(Store(str(audited))))
    place = SECTIONS.index("usage")
    assert page.sections == [*SECTIONS[:place], "truth", *SECTIONS[place:]]
    assert page.found == []
    assert "The planted tastes of lengths" in page.text
    assert "Choices of people, from gold.csv" in page.text
    assert "are held to be the choice of every persona" in page.text
    found = json.loads((audited / "audit.json").read_text())
    for part in (found["truth"], found["gold"]):
        assert f"{100 * part['accuracy']['prompts']['value']:.1f} %" in page.text
    assert "nan" not in page.text.lower().split()
    assert "None %" not in page.text  # answers may say "None"


@pytest.mark.usefixtures("blank_figures")
def test_figures_of_another_state_are_not_shown(audited: Path) -> None:
    found = json.loads((audited / "audit.json").read_text())
    for change in ({"manifest": "0" * 64}, {"version": 0}):
        (audited / "audit.json").write_text(json.dumps(found | change))
        assert read(render(Store(str(audited)))).sections == SECTIONS


@pytest.mark.usefixtures("blank_figures")
@pytest.mark.parametrize("content", ["", "{", "[]", "null", "[" * 100_000])
def test_a_damaged_file_costs_no_report(audited: Path, content: str) -> None:
    (audited / "audit.json").write_text(content)
    assert read(render(Store(str(audited)))).sections == SECTIONS


@pytest.mark.usefixtures("blank_figures")
@pytest.mark.parametrize("change", [{}, {"accuracy": None}, {"checks": {"rows": 3}}, {"orders": "x"}, {"coverage": {"labels": 0}}])
def test_a_file_changed_by_hand_costs_no_report(audited: Path, change: dict[str, object]) -> None:
    found = json.loads((audited / "audit.json").read_text())
    (audited / "audit.json").write_text(json.dumps(found | {"truth": found["truth"] | change if change else 7, "gold": None}))
    assert read(render(Store(str(audited)))).sections == SECTIONS


def test_names_from_anywhere_are_text(audited: Path) -> None:
    found = json.loads((audited / "audit.json").read_text())
    found["truth"]["society"] = found["gold"]["file"] = BAD
    for part in (found["truth"], found["gold"]):
        part["domains"]["rows"][0]["name"] = part["personas"]["worst"][0]["description"] = part["orders"]["rows"][0]["template"] = BAD
        part["checks"]["rows"][0]["check"] = BAD
    (audited / "audit.json").write_text(json.dumps(found))
    html = render(Store(str(audited)))
    page = read(html)
    assert "truth" in page.sections
    assert page.found == []
    assert "<script>document.title='ran'" in page.text
    assert "x" * 1000 not in html
    assert "\x1b" not in html
    assert "\u202e" not in html
