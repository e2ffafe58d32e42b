"""The section on diversity shows the pairs that the threshold divides, the filters' accounts and nothing that runs."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from prefloom.flows.dataset import manifest, similarity, tables
from prefloom.flows.dataset.statistics import load
from prefloom.flows.dataset.store import Store
from prefloom.flows.diversity.grid import on_grid
from prefloom.flows.diversity.measure import vendi
from prefloom.flows.report import diversity, figures_diversity
from prefloom.flows.report.page import environment, render
from prefloom.schemas.label import Rejected
from prefloom.schemas.persona import Persona
from prefloom.schemas.prompt import Prompt
from tests.command import SMALL, prefloom
from tests.flows.dataset.test_choices import piloted
from tests.flows.report.test_page import SECTIONS, Reader, read
from tests.vectored import WIDTH, leave_out, vectored

PLACE = SECTIONS.index("samples")
BAD = "<script>document.title='ran'</script>\x1b[2J\u202e{{ 7*7 }} $x^{y}$ " + "x" * 5000
ALL: dict[str, Any] = {"diversity": {"personas": {"near_duplicate": 0.9}, "prompts": {"near_duplicate": 0.8}, "candidates": {}}}


def section(store: Store) -> tuple[str, Reader]:
    """The HTML of the section, and its reader; the page has it in its place and runs nothing."""
    page = render(store)
    assert read(page).sections == [*SECTIONS[:PLACE], "diversity", *SECTIONS[PLACE:]]
    assert read(page).found == []
    assert '<a href="#diversity">' in page
    (html,) = re.findall(r'<section id="diversity">.*?</section>', page, re.DOTALL)
    return html, read(html)


def towards(cosine: float) -> list[float]:
    """A vector at this cosine from [1, 0, 0, …]."""
    return [cosine, (1 - cosine**2) ** 0.5] + [0.0] * (WIDTH - 2)


def test_a_dataset_without_vectors_has_no_such_section(small: Path) -> None:
    page = render(Store(str(small)))
    assert read(page).sections == SECTIONS
    assert "#diversity" not in page


def test_the_figures_are_those_of_the_tables(copy: Path) -> None:
    store = vectored(copy, ALL)
    data, (html, reader) = load(store), section(store)
    rows = pl.read_parquet(copy / "embeddings/*.parquet").filter(pl.col("table") == "personas")
    score = vendi(on_grid(rows["vector"].explode().to_numpy().reshape(-1, WIDTH)))
    assert f"30 personas are as diverse as {score:.1f} texts" in reader.text
    assert "all-MiniLM-L6-v2@0123" in reader.text
    assert "personas: threshold 0.9; 0 just above" in reader.text
    assert "prompts: threshold 0.8; 0 just above" in reader.text
    assert "answers: threshold 0.97; 0 just above, 5 just below" in reader.text
    assert html.count("<svg") == 3
    assert re.search(rf"20 prompts as \d+\.\d , {data.candidates.height} answers as", reader.text)
    assert "nan" not in reader.text.lower().split()
    assert "None" not in reader.text
    assert section(store)[0] == html, "the same dataset, the same section"


def test_a_reader_sees_both_sides_of_the_threshold(copy: Path) -> None:
    ids = pl.read_parquet(copy / "prompts/*.parquet")["prompt_id"].to_list()
    store = vectored(copy, ALL, {ids[0]: towards(1), ids[1]: towards(0.79)})
    texts = dict(load(store).prompts.select("prompt_id", "text").iter_rows())
    gone = [
        ({"prompt_id": f"{i:016x}", "text": f"Removed question {i}?"}, ids[2], f"cosine {cosine:.4f} (m), threshold 0.8")
        for i, cosine in enumerate((0.99, 0.81, 0.8004, 0.95, 0.96, 0.97))
    ]
    leave_out(store, "prompts", "near_duplicate", gone)
    html, reader = section(store)
    assert "prompts: threshold 0.8; 5 just above, 5 just below" in reader.text
    part = reader.text.split("prompts: threshold 0.8;")[1].split("answers: threshold")[0]
    assert "Removed question 0?" not in part, "five are shown, the least alike"
    places = [part.index(f"Removed question {i}?") for i in (2, 1, 3, 4, 5)]
    assert places == sorted(places)
    assert part.count("removed") == 5
    assert re.search(rf"0\.8004 removed {re.escape(texts[ids[2]])} Removed question 2\?", part)
    nearest = next(found for found in re.findall(r"(0\.\d{4}) kept (.*?\?) (.*?[?.])", part))
    assert float(nearest[0]) < 0.8
    assert re.search(r"0\.7[89]\d\d kept", part)
    assert texts[ids[0]] in part
    assert texts[ids[1]] in part
    assert re.search(r"<td>prompts</td><td class=\"num\">26</td>.*?<td class=\"num\">6</td><td class=\"num\">20</td>", html)


def test_a_near_duplicate_of_a_row_that_went_later_has_both_texts(copy: Path) -> None:
    store = vectored(copy, ALL)
    kept = load(store).personas.row(0, named=True)
    first, second = (kept | {"persona_id": f"{i:016x}", "description": f"A person who went {i}."} for i in (1, 2))
    leave_out(store, "personas", "near_duplicate", [(second, first["persona_id"], "cosine 0.9100 (m)")])
    leave_out(store, "personas", "less_diverse", [(first, None, "cosine 0.7000 (m) with the nearest that was chosen, 0")])
    _, reader = section(store)
    assert "0.9100 removed A person who went 1. A person who went 2." in reader.text
    assert "less different" in reader.text


def test_without_a_threshold_the_default_is_tried(copy: Path) -> None:
    ids = pl.read_parquet(copy / "prompts/*.parquet")["prompt_id"].to_list()
    store = vectored(copy, {}, {ids[0]: towards(1), ids[1]: towards(0.9)})
    _, reader = section(store)
    assert "prompts: threshold 0.85, the default: this recipe sets none; 1 just above, 5 just below" in reader.text
    assert re.search(r"0\.9\d\d\d would go|0\.8999 would go", reader.text)
    assert "near-duplicates were not looked for" in reader.text
    other = {"embeddings": {"engine": "endpoint", "model": "e"}}
    assert "prompts: the most alike" in section(vectored(copy, other, {ids[0]: towards(1)}))[1].text, (
        "a default of another encoder says nothing"
    )


def test_long_texts_are_shown_from_where_they_part() -> None:
    class Nothing:
        prompts = pl.DataFrame(schema={"prompt_id": pl.String, "text": pl.String})

    start = "The same words stand in both of them at length. " * 20
    rows = [{"description": start + end} for end in ("Here they end.", "There they go on.")]
    found = diversity._pair(Nothing(), 0.9, *rows)  # type: ignore[arg-type]
    for (passage, source), end in zip(found["texts"], ("Here they end.", "There they go on."), strict=True):
        assert passage.startswith("… ")
        assert passage.endswith(end)
        assert len(passage) < 120
        assert source == ""
    short = diversity._pair(Nothing(), 0.9, {"description": "A nurse."}, {"description": "A nurse"})  # type: ignore[arg-type]
    assert [passage for passage, _ in short["texts"]] == ["A nurse.", "A nurse"]


def test_the_pilot_has_its_part(copy: Path) -> None:
    store = vectored(copy)
    assert "What the pilot chose" not in section(store)[1].text
    piloted(store, [0.25, 1.0], [True, False])
    answer = load(store).candidates.row(0, named=True)
    gone = Rejected(stage="pilot", kind="check", reason="below_floor", row_id=answer["candidate_id"], detail="-2.0")
    tables.write(store, "rejected/pilot-00000.parquet", Rejected, tables.frame(Rejected, [gone]))
    found = json.loads((copy / "manifest.json").read_text())
    entry = found["stages"]["candidates"]
    found["stages"]["pilot"] = entry | {"considered": entry["kept"], "kept": entry["kept"] - 1, "rejected": {"check/below_floor": 1}}
    (copy / "manifest.json").write_text(json.dumps(found))
    html, reader = section(store)
    assert "half of them between 0.250 and 1.000" in reader.text
    assert re.search(r"dominated 30 of 60", reader.text)
    assert "after the pilot" in reader.text
    assert "below the floor" in reader.text
    assert "answers, by the pilot" in reader.text
    assert html.count("<svg") == 4


def test_names_and_texts_from_anywhere_are_text(copy: Path) -> None:
    store = vectored(copy, ALL)
    personas, prompts = tables.read(store, "personas/part-*.parquet", Persona), tables.read(store, "prompts/part-*.parquet", Prompt)
    traits = [[{"name": BAD, "value": f"{i % 3}{BAD}"}, {"name": "dull", "value": BAD}] for i in range(personas.height)]
    hostile = personas.with_columns(pl.lit(BAD).alias("description"), pl.Series("traits", traits, dtype=personas.schema["traits"]))
    tables.write(store, "personas/part-00000.parquet", Persona, hostile)
    for name in store.list("prompts/part-*.parquet"):
        store.remove(name)
    tables.write(store, "prompts/part-00000.parquet", Prompt, prompts.with_columns(pl.lit(BAD).alias("text"), pl.lit(BAD).alias("domain")))
    bad = {"persona_id": "1" * 16, "description": f"{BAD} once", "traits": [], "source": "file", "source_id": None, "split": "train"}
    leave_out(store, "personas", "near_duplicate", [(bad, personas["persona_id"][0], "cosine 0.9500 " + BAD)])
    found = json.loads((copy / "manifest.json").read_text())
    found["models"]["embeddings"] = BAD
    (copy / "manifest.json").write_text(json.dumps(found))
    html, reader = section(store)
    assert "<script>document.title='ran'" in reader.text
    assert "{{ 7*7 }}" in reader.text
    assert "x" * 1000 not in html
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069]", html)


@pytest.mark.parametrize("vector", [[1.0] * WIDTH, [0.0] * WIDTH, [1.0]])
def test_texts_that_are_all_alike(copy: Path, vector: list[float]) -> None:
    data = load(Store(str(copy)))
    ids = [*data.personas["persona_id"], *data.prompts["prompt_id"], *data.candidates["candidate_id"]]
    _, reader = section(vectored(copy, ALL, dict.fromkeys(ids, vector)))
    assert "nan" not in reader.text.lower().split()
    assert "Where they lie" not in reader.text


def test_the_smallest_datasets(tmp_path: Path) -> None:
    few = ["personas.0.count=2", "prompts.0.count=2", "splits.validation=0", "splits.test=0", "name=few", "candidates.models=[terse]"]
    done = prefloom("build", SMALL[0], *(part for value in few for part in ("--set", value)), "--out", str(tmp_path), "--json")
    run = Path(json.loads(done.stdout)["dataset"])
    _, reader = section(vectored(run, ALL))
    assert "nan" not in reader.text.lower().split()


@pytest.mark.parametrize(("personas", "prompts", "candidates"), [(1, 1, 1), (1, 1, 2), (0, 0, 0), (3, 2, 0)])
def test_tables_of_few_rows(copy: Path, personas: int, prompts: int, candidates: int) -> None:
    store = vectored(copy, ALL)
    data = load(store)
    few = replace(
        data, personas=data.personas.head(personas), prompts=data.prompts.head(prompts), candidates=data.candidates.head(candidates)
    )
    text = read(diversity.section(store, few, manifest.load(store), environment())).text
    assert ("How different the texts are" in text) == bool(personas)
    assert "nan" not in text.lower().split()


def test_the_section_does_not_grow_with_the_rows(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = vectored(copy)
    whole, _ = section(store)
    monkeypatch.setattr(similarity, "MOST", 5)
    monkeypatch.setattr(similarity, "MOST_ANSWERS", 12)
    html, reader = section(store)
    assert "Of 30 personas an even sample of 5, of 20 prompts an even sample of 5, of" in reader.text
    assert len(html) < len(whole)
    points = np.random.default_rng(0).normal(size=(diversity.MOST_POINTS, 2))
    assert len(figures_diversity.map_of(points, ["a" * 100, None] * (len(points) // 2), (0.1, 0.1))) < 150_000
