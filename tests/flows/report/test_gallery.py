"""The answers that the report shows are those of the dataset, of every kind there is, and its extremes are the extremes."""

import random
import re
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from prefloom.flows.dataset.population import components
from prefloom.flows.dataset.statistics import Dataset, load
from prefloom.flows.dataset.store import Store
from prefloom.flows.engines.scorers import PROPERTIES, SETS, score
from prefloom.flows.report import gallery
from prefloom.flows.report.page import excerpt, render
from tests.flows.report.test_page import read


@pytest.fixture(scope="module")
def data(small: Path) -> Dataset:
    return load(Store(str(small)))


def made(texts: list[str], prompts: int) -> pl.DataFrame:
    """Candidates that an imported file gives: a model, and neither view nor temperature."""
    rows = [(f"c{i:04}", f"p{i % prompts}", f"m{i % 3}", None, None, text) for i, text in enumerate(texts)]
    names = {"candidate_id": pl.String, "prompt_id": pl.String, "model": pl.String, "view": pl.String, "temperature": pl.Float64}
    return pl.DataFrame(rows, names | {"text": pl.String}, orient="row")


def test_four_answers_to_five_prompts_of_every_kind(data: Dataset) -> None:
    shown = gallery.written(data)
    assert len({prompt for prompt, _ in shown}) == 5
    ids = dict(data.prompts.select("text", "prompt_id").iter_rows())
    kinds = data.candidates.select("model", "view").n_unique()
    for prompt, answers in shown:
        assert {answer.text for answer in answers} <= set(data.candidates.filter(pl.col("prompt_id") == ids[prompt])["text"])
        assert len(answers) == 4
        assert len({answer.source for answer in answers}) == min(kinds, 4)
        assert all(answer.source.endswith(" · temperature 0.9") for answer in answers)


def test_the_page_shows_them_whole_with_their_white_space(small: Path, data: Dataset) -> None:
    page = render(Store(str(small)))
    (section,) = re.findall(r'<section id="written">.*?</section>', page, re.DOTALL)
    assert section.count('class="text"') == 20
    text = read(section).text
    answers = [answer.text for _, answers in gallery.written(data) for answer in answers]
    assert all(" ".join(answer[:900].split()) in text for answer in answers)
    assert ".text { white-space: pre-wrap" in page


def test_the_order_of_the_rows_does_not_matter(data: Dataset) -> None:
    rows = list(range(data.candidates.height))
    random.Random(1).shuffle(rows)
    other = replace(data, candidates=data.candidates[rows])
    assert gallery.written(other) == gallery.written(data)
    assert gallery.properties(other) == gallery.properties(data)


def test_prompts_with_few_answers_come_last() -> None:
    answers = made([f"text {i}" for i in range(40)], 8).filter(
        ~pl.col("prompt_id").is_in([f"p{i}" for i in range(4)]) | (pl.col("model") == "m0")
    )
    prompts = gallery.drawn(answers)["prompt_id"].unique(maintain_order=True).to_list()
    assert set(prompts[:4]) == {"p4", "p5", "p6", "p7"}
    first = gallery.drawn(answers).filter(pl.col("prompt_id") == prompts[0]).head(3)
    assert set(first["model"]) == {"m0", "m1", "m2"}, "its models in turn"


def test_the_ends_are_the_ends_and_the_numbers_those_of_the_scorers(data: Dataset) -> None:
    found = gallery.properties(data)
    assert found["of"] == min(400, data.candidates.height)
    assert [row.name for row in found["rows"]] == list(PROPERTIES)
    scores = {name: score(name, data.candidates["text"].to_list()) for name in SETS}
    for column, row in enumerate(found["rows"]):
        assert row.mean == pytest.approx(scores["held_out"][:, column].mean(), abs=0.006)
        assert row.sd == pytest.approx(scores["held_out"][:, column].std(), abs=0.001)
        for name, ends in row.ends:
            values = scores[name][:, column]
            assert (ends[0].score, ends[2].score) == (pytest.approx(values.max()), pytest.approx(values.min()))
            assert ends[0].score >= ends[1].score >= ends[3].score >= ends[2].score
            assert len({end.answer.text for end in ends}) == 4, "no answer at both ends"
            assert all(end.ties == int((values == np.float32(end.score)).sum()) for end in ends)


def test_a_high_answer_is_shown_where_it_is_high(data: Dataset) -> None:
    dull = "The report lists the figures of the second quarter and the names of the offices that sent them in. " * 8
    texts = [dull + str(i) for i in range(8)]
    texts[3] = dull + "Save money: repair it, buy it second-hand, compare prices, and mind the budget for bargains. " + dull
    found = gallery.properties(replace(data, candidates=made(texts, 4)))
    thrift = found["rows"][PROPERTIES.index("thrift")]
    for _, ends in thrift.ends:
        assert ends[0].passage.startswith("… ")
        assert "Save money" in excerpt(ends[0].passage)
        assert excerpt(ends[3].passage) == excerpt(dull), "a low one from its beginning"


def test_variance_has_two_parts() -> None:
    frame = pl.DataFrame({"group": [0, 0, 1, 1, 2], "value": [1.0, 3.0, 5.0, 7.0, 99.0]})
    assert components(frame, "group", "value") == (7.0, 2.0)  # means 2 and 6: a variance of 8, of which the noise in a mean of two is 1
    assert np.isnan(components(frame.head(2), "group", "value")).all()


@pytest.mark.parametrize("texts", [[], ["One answer."], ["Same."] * 6, ["", "\n", "\u202e"]])
def test_few_and_equal_answers(data: Dataset, texts: list[str]) -> None:
    few = replace(data, candidates=made(texts, 2), prompts=pl.DataFrame({"prompt_id": ["p0", "p1"], "text": ["First?", "Second?"]}))
    assert sum(len(answers) for _, answers in gallery.written(few)) == len(texts)
    assert gallery.properties(few)["of"] == len(texts)


def test_overlong_answers_do_not_hold_up_the_page(data: Dataset) -> None:
    long = made(["word. " * 1_000_000, "!? " * 1_000_000, "a" * 3_000_000, *("b" * 300 for _ in range(5))], 4)
    began = time.monotonic()
    gallery.properties(replace(data, candidates=long))
    assert time.monotonic() - began < 20
