"""The report says what the dataset says, in one file that needs nothing else, for large and small datasets alike."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import polars as pl
import pytest
import yaml

from prefloom.flows.dataset.store import Store
from prefloom.flows.report.figures import strips
from prefloom.flows.report.page import percent, render, shown
from prefloom.schemas.errors import InputError
from tests.command import SMALL, prefloom

SECTIONS = [
    "funnel",
    "margins",
    "orders",
    "people",
    "signal",
    "answers",
    "written",
    "properties",
    "samples",
    "baselines",
    "usage",
    "provenance",
]
INERT = {"script", "iframe", "object", "embed", "link", "form", "input", "base", "audio", "video", "source", "img", "foreignobject"}


class Reader(HTMLParser):
    """Everything in a page that could run or fetch something."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.sections: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag in INERT:
            self.found.append(tag)
        for name, value in attributes:
            if name.startswith("on") or (
                name in {"src", "href", "xlink:href", "action"} and not (value or "").startswith(("#", "data:image/png"))
            ):
                self.found.append(f"{tag} {name}={value}")
        if tag == "section":
            self.sections.append(dict(attributes)["id"] or "")

    def handle_data(self, data: str) -> None:
        self.words += data.split()

    @property
    def text(self) -> str:
        return " ".join(self.words)


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    return reader


@pytest.fixture(scope="module")
def page(small: Path) -> str:
    return render(Store(str(small)))


def test_the_page_has_every_section_and_nothing_that_runs_or_fetches(page: str) -> None:
    reader = read(page)
    assert reader.sections == SECTIONS
    assert reader.found == []
    assert "http://" not in page
    assert "https://" not in page
    assert not re.search(r"url\((?!#)", page)
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert policy
    assert policy[1].startswith("default-src 'none';")
    assert "script-src" not in policy[1]
    assert len(page) < 1_000_000


def test_the_page_speaks_of_this_dataset(page: str, small: Path) -> None:
    text = read(page).text
    manifest = json.loads((small / "manifest.json").read_text())
    labels = manifest["stages"]["labels"]
    for number in (labels["kept"], labels["considered"], manifest["stages"]["judgements"]["usage"]["judge"]["prompt_tokens"]):
        assert f"{number:,}" in text
    assert manifest["fingerprint"] in text
    assert manifest["models"]["judge"] in text
    for reason, count in manifest["stages"]["preferences"]["rejected"].items():
        assert f"{count:,} {reason.split('/')[1].replace('_', ' ')}" in text
    assert "no prices were given" in text
    assert "prefloom build demo --out" in text


def test_the_same_dataset_makes_the_same_page(page: str, small: Path) -> None:
    assert render(Store(str(small))) == page


def test_samples_show_opposite_choices_and_their_readings(page: str, small: Path) -> None:
    text = read(page).text
    assert text.count("Same two answers, opposite choices") == 3
    assert "rejected: inconsistent" in text
    article = text.split("Same two answers, opposite choices")[1]
    assert "prefers a" in article
    assert "prefers b" in article
    reads = pl.read_parquet(small / "judgements/*.parquet")
    shown_reads = re.findall(r"judge/pairwise [ab] ([+-]\d+\.\d\d)", article)
    assert len(shown_reads) == 4
    assert all((reads["log_odds"].round(2) == float(value)).any() for value in shown_reads)


def test_prices_become_a_bill(copy: Path) -> None:
    recipe = yaml.safe_load((copy / "recipe.resolved.yaml").read_text())
    recipe["recipe"]["prices"] = {"judge": {"prompt": "1", "completion": "2"}}
    (copy / "recipe.resolved.yaml").write_text(yaml.safe_dump(recipe))
    used = json.loads((copy / "manifest.json").read_text())["stages"]["judgements"]["usage"]["judge"]
    dollars = (used["prompt_tokens"] + 2 * used["completion_tokens"]) / 1e6
    assert dollars > 1
    assert f"tokens, ${dollars:.2f}." in read(render(Store(str(copy)))).text
    (copy / "recipe.resolved.yaml").write_text("recipe: [")
    with pytest.raises(InputError, match=r"recipe\.resolved\.yaml"):
        render(Store(str(copy)))
    (copy / "recipe.resolved.yaml").unlink()
    (copy / "run.json").unlink()
    assert "no prices were given" in render(Store(str(copy)))


def test_prices_that_come_later_reach_the_report(copy: Path) -> None:
    done = prefloom("build", *SMALL, "--set", "prices.judge={prompt: 1, completion: 2}", "--out", str(copy.parent.parent), "--json")
    assert json.loads(done.stdout)["status"] == "already built"
    assert "Models without a price are not in this sum: friendly, terse." in read(render(Store(str(copy)))).text


def test_a_stored_recipe_builds_the_same_dataset(page: str, small: Path) -> None:
    command = re.search(r"prefloom (build \S+recipe\.resolved\.yaml --out \S+)", read(page).text)
    assert command
    done = json.loads(prefloom(*command[1].split(), "--json").stdout)
    assert (done["status"], done["dataset"]) == ("already built", str(small))


def test_a_name_that_is_a_colour_stays_a_name() -> None:
    rates = pl.DataFrame({"kind": ["#101418", "$x^2$"], "rate": [0.2, 0.4]})
    svg = strips(rates)
    assert ">#101418</text>" in svg
    assert ">$x^2$</text>" in svg
    assert "var(--ink)" in svg


def test_the_smallest_dataset_has_a_page(tmp_path: Path) -> None:
    few = ["personas.0.count=2", "prompts.0.count=2", "splits.validation=0", "splits.test=0", "name=few"]
    done = prefloom("build", SMALL[0], *(part for value in few for part in ("--set", value)), "--out", str(tmp_path), "--json")
    page = (Path(json.loads(done.stdout)["dataset"]) / "report.html").read_text()
    assert read(page).sections == SECTIONS
    assert "nan" not in read(page).text.lower().split()


def test_the_command_writes_the_page_and_needs_a_dataset(copy: Path, tmp_path: Path) -> None:
    done = json.loads(prefloom("report", str(copy), "--json").stdout)
    assert Path(done["report"]).stat().st_size == done["bytes"]
    refused = prefloom("report", str(tmp_path), check=False)
    assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1)
    prefloom("validate", str(copy))


def test_words_for_readers() -> None:
    assert shown("a\x1b[2J\u202e" + "x" * 3000, 10) == "a\\x1b[2J\\u202exxxx … (3,006 characters)"
    assert percent(0.314) == "31\u202f%"
    assert percent(float("nan")) == "–"
