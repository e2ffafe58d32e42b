"""The card: a header that the Hub reads, and a page in which nobody's text is markup."""

import shutil
from pathlib import Path

import polars as pl
import pytest
import yaml
from huggingface_hub import DatasetCard

from prefloom.flows.dataset import manifest, tables
from prefloom.flows.dataset.licences import Source, Terms
from prefloom.flows.dataset.run import Run
from prefloom.flows.report.card import card, configs, plain
from prefloom.schemas.persona import Persona

NASTY = "</td>\n---\nlicense: mit\n# owned | `x` ![a](http://e.vil/x.png) <script>alert(1)</script> {{ 7*7 }} \u202e ```\n---\n"
TERMS = Terms("apache-2.0", [Source("prefloom", "prompts", "apache-2.0")], [], [])


def test_the_header_is_what_the_hub_reads(small: Path) -> None:
    run = Run(small)
    page = card(run.store, run.resolved, "me/prefs", TERMS, "v1.0.0", None)
    data = DatasetCard(page).data.to_dict()
    assert (data["license"], data["language"], data["annotations_creators"]) == ("apache-2.0", ["en"], ["machine-generated"])
    assert {"synthetic", "preference", "dpo", "personalization", "trl"} <= set(data["tags"])
    assert data["size_categories"] == ["n<1K"]
    names = [one["config_name"] for one in data["configs"]]
    assert names[0] == "preferences"
    assert data["configs"][0]["default"]
    assert len(names) == len(set(names)) == 9
    kept = manifest.load(run.store).stages["preferences"].kept
    for said in (
        f"{kept} preferences of 30 simulated personas",
        'revision="v1.0.0"',
        "off\\_menu",
        "name: demo",
        "stereotypes included",
        "@misc",
    ):
        assert said in page, said
    listed = {path for one in configs(manifest.load(run.store)) for data in one["data_files"] for path in _files(run, data["path"])}
    empty = {file.path for file in manifest.load(run.store).files if not file.rows}
    assert listed == {file.path for file in manifest.load(run.store).files} - empty, "every row is in a configuration"


def _files(run: Run, path: str | list[str]) -> list[str]:
    return path if isinstance(path, list) else run.store.list(path)


def test_hostile_names_break_nothing(small: Path, tmp_path: Path) -> None:
    shutil.copytree(small, tmp_path / "run")
    run = Run(tmp_path / "run")
    name = "personas/part-00000.parquet"
    rows = tables.read(run.store, name, Persona)
    traits = pl.lit([{"name": NASTY, "value": NASTY}], dtype=rows["traits"].dtype)
    tables.write(run.store, name, Persona, rows.with_columns(traits.alias("traits")))
    said = {"pretty_name": NASTY.strip()[:200], "description": NASTY, "authors": [NASTY], "citation": NASTY}
    publish = run.resolved.recipe.publish.model_copy(update=said)
    recipe = run.resolved.recipe.model_copy(update={"publish": publish})
    resolved = run.resolved.model_copy(update={"recipe": recipe})
    bad = {"trait": NASTY, "value": NASTY, "old": 0.1, "new": 0.2, "share": 0.1, "shared": 100}
    counts = {"shared": 0, "old": 1, "new": 1}
    changed = {"old": NASTY, "population": [bad], "groups": [bad], "diversity": [], "rows": [], "labels": counts}
    difference = changed | {"recipe": [{"key": NASTY, "old": NASTY, "new": NASTY}]}
    page = card(run.store, resolved, "me/prefs", Terms(None, [Source(NASTY, NASTY, None)], [NASTY], []), None, difference)
    header, body = page.split("\n---\n", 1)
    data = yaml.safe_load(header.removeprefix("---\n"))
    assert (data["license"], data["license_name"]) == ("other", "unsettled"), "what is not settled is no permission"
    assert DatasetCard(page).data.to_dict()["pretty_name"].startswith("</td> --- license: mit # owned")
    assert "\u202e" not in page
    fenced, open_fence = [], ""
    for line in body.splitlines():
        if open_fence:
            open_fence = "" if line == open_fence else open_fence
        elif line.startswith("```"):
            open_fence = line.rstrip("abcdefghijklmnopqrstuvwxyz")
        else:
            fenced.append(line)
    outside = "\n".join(fenced)
    assert not open_fence
    assert "<script" not in outside
    assert "![a]" not in outside
    assert "http://" not in outside
    assert "\n# owned" not in outside
    rows = [line for line in fenced if "owned" in line and line.startswith("|")]
    assert rows
    assert all(line.replace("\\|", "").count("|") in (4, 5) for line in rows), "a name is one cell"


@pytest.mark.parametrize(
    "text", ["- a", "+ a", "1. a", "=== a", "# a", "> a", "* a", "a | b", "<b>", "[a](b)", "&lt;", "`a`", "~~a~~", "$x$"]
)
def test_no_text_begins_or_holds_markup(text: str) -> None:
    shown = plain(text)
    assert shown.startswith(("\\", "&gt;", "&lt;", "&amp;")) or text == "a | b"
    assert "|" not in shown.replace("\\|", "")
