"""What answers are steered by, and how they may be written: FSPO F8 to F12, and what `validate` says when it is not so."""

import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from prefloom.flows.dataset import stages
from prefloom.flows.engines.protocol import Reply
from prefloom.flows.steps import freshness
from prefloom.flows.steps.steering import ask_views, steered
from prefloom.flows.steps.texts import markdown_in
from tests.flows.dataset.test_validate import edit, first_row, problems
from tests.flows.steps.test_written import Says, seed
from tests.helpers import resolved, run_stage, table

ASKED = {"source": "models", "models": ["terse", "judge"], "views": {"model": "judge", "count": 2}}
PEOPLE = [
    {"source": "template", "text": "An {{ age }} reader from {{ place }}.", "values": {"age": ["old", "odd"], "place": ["Pune", "Oslo"]}}
]
MODELS = {
    "terse": {"engine": "society", "character": "terse", "sampling": {"temperature": 0.2}},
    "judge": {"engine": "society", "character": "good"},
}
NONE = {"validation": 0, "test": 0}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folder of a finished dataset with every source of this part. Do not write into it."""
    run = run_stage(
        tmp_path_factory.mktemp("made"),
        "exports",
        models=MODELS,
        personas=PEOPLE,
        prompts=[
            {"source": "augmented", "model": "judge", "count": 2},
            {"source": "specific", "model": "judge", "traits": {"age": ["old", "tiny"]}, "per_value": 1},
        ],
        candidates=ASKED | {"steer": {"personas": 2}},
        checks={"candidates": {"markdown": False, "max_words": 200}},
        splits=NONE,
        shards={"prompts": 1, "personas": 1},
    )
    run.store.create(stages.MANIFEST, freshness.composed(run, freshness.materials(run)) or b"")
    return run.folder


def test_every_model_answers_in_every_view_for_everybody_once(tmp_path: Path) -> None:
    run = run_stage(
        tmp_path, "candidates", models=MODELS, personas=PEOPLE, candidates=ASKED | {"steer": {"personas": 2}}, splits=NONE,
        prompts=[{"source": "seeds", "count": 3}],
    )  # fmt: skip
    rows, people = table(run, "candidates"), table(run, "personas")
    assert rows.height + table(run, "rejected").height == 3 * 2 * 2 * 2
    assert rows.select("prompt_id", "model", "view", "steered_by").is_unique().all()
    per_prompt = rows.group_by("prompt_id").agg(pl.col("view").n_unique().alias("views"), pl.col("steered_by").n_unique().alias("people"))
    assert {*per_prompt["views"], *per_prompt["people"]} == {2}
    assert rows["steered_by"].is_in(people["persona_id"].implode()).all()
    assert dict(rows.select("model", "temperature").unique().iter_rows()) == {"terse": 0.2, "judge": 0.9}


def test_nobody_of_the_test_split_is_written_for() -> None:
    recipe = resolved(candidates={"source": "models", "models": ["terse"], "steer": {"personas": 3}}).recipe
    rows = [
        (f"{n:016x}", f"Person {n}", [{"name": "age", "value": "old" if n < 2 else "odd"}], "train" if n < 6 else "test") for n in range(12)
    ]
    people = pl.DataFrame(rows, schema=["persona_id", "description", "traits", "split"], orient="row")
    old = {"scope": "specific", "trait": "age", "trait_value": "old"}
    prompts = [seed(f"What is thing {n}?").model_copy(update=old if n == 0 else {}) for n in range(30)]
    chosen = steered(recipe, people, pl.DataFrame(prompts))
    assert all(len({*readers}) == 3 and all(int(who.persona_id or "", 16) < 6 for who in readers) for readers in chosen.values())
    assert {int(who.persona_id or "", 16) for who in chosen[prompts[0].prompt_id][:2]} == {0, 1}  # those who would ask it come first
    assert len({tuple(readers) for readers in chosen.values()}) > 10
    fewer = steered(recipe, people.filter(pl.col("persona_id") != rows[5][0]), pl.DataFrame(prompts))
    assert all(chosen[name] == fewer[name] for name in chosen if rows[5][0] not in {who.persona_id for who in chosen[name]})


def test_views_that_are_missing_are_rows() -> None:
    recipe = resolved(candidates=ASKED | {"views": {"model": "judge", "count": 3}}).recipe
    replies = [
        Reply('{"views": ["One way", " one  WAY ", "", "Another", "A third", "A fourth"]}', "stop"),
        Reply('{"views": ["Alone"]}', "stop"),
        Reply(error="HTTP 500"),
    ]
    prompts = [seed(f"What is thing {n}?") for n in range(3)]
    views, missing = ask_views(recipe, pl.DataFrame(prompts), Says(*replies))
    ids = [row.prompt_id for row in prompts]
    assert [views[name] for name in ids] == [["One way", "Another", "A third"], ["Alone"], []]
    assert [(row.row_id, row.kind, row.reason) for row in missing] == [(ids[1], "check", "missing_view")] * 2 + [
        (ids[2], "failure", "error")
    ] * 3


def test_the_society_lists_views_that_change_what_is_said(tmp_path: Path) -> None:
    run = run_stage(tmp_path, "candidates", models=MODELS, candidates=ASKED, prompts=[{"source": "seeds", "count": 8}])
    rows = table(run, "candidates")
    assert rows.group_by("prompt_id", "model").agg(pl.col("text").n_unique() == pl.len())["text"].all()
    assert rows["view"].n_unique() > 8


def test_a_dataset_of_made_prompts_and_steered_answers_is_valid(made: Path) -> None:
    assert problems(made) == {}


@pytest.mark.parametrize(
    ("table_name", "change", "words"),
    [
        ("prompts", first_row("scope", pl.lit("both")), "neither global nor specific"),
        ("prompts", lambda f: f.with_columns(trait=pl.lit(None, pl.String)), "a trait without"),
        ("prompts", lambda f: f.with_columns(parents=pl.lit([], pl.List(pl.String))), "parents without being augmented"),
        ("prompts", lambda f: f.with_columns(source=pl.lit("entities")), "which the recipe does not have"),
        ("personas", lambda f: f.with_columns(traits=f["traits"].list.tail(1)), "without its trait value"),
        ("candidates", first_row("view", pl.lit("a third view")), "more than 2 views"),
        ("candidates", first_row("view", pl.lit(None, pl.String)), "no view"),
        ("candidates", first_row("steered_by", pl.lit("ffffffffffffffff")), "outside the training split"),
        ("candidates", first_row("text", pl.lit("# Title")), "although Markdown is refused"),
        ("candidates", first_row("text", pl.lit("word " * 201)), "over 200 words"),
    ],
)
def test_what_is_not_so_is_found(
    made: Path, tmp_path: Path, table_name: str, change: Callable[[pl.DataFrame], pl.DataFrame], words: str
) -> None:
    run = Path(shutil.copytree(made, tmp_path / "run"))
    edit(run, table_name, change, part="part-")
    assert any(words in problem for problem in problems(run)["sources"]), problems(run)


@pytest.mark.parametrize(
    ("text", "mark"),
    [
        ("Boil water. Add salt - a little - and wait: 3 * 4 * 5 minutes, #tag, snake_case.", None),
        ("1984. A year of war.\n\nIt was -5 degrees.", None),
        ("First:\n- boil water", "- boil water"),
        ("Steps\n2) wait", "2) wait"),
        ("## Title", "## Title"),
        ("A **bold** word", "**bold**"),
        ("An *italic* word", "*italic*"),
        ("Run `ls`", "`ls`"),
        ("See [this](http://a.b)", "[this](http://a.b)"),
        ("|a|b|", "|a|b|"),
    ],
)
def test_markdown(text: str, mark: str | None) -> None:
    assert markdown_in(text) == mark


def test_the_style_guard_rejects_with_reasons(tmp_path: Path) -> None:
    run = run_stage(tmp_path, "candidates", checks={"candidates": {"markdown": False, "min_words": 30, "max_words": 60}},
                    candidates={"source": "models", "models": ["terse", "judge"], "views": [None, "a numbered list of steps"]})  # fmt: skip
    reasons = {*table(run, "rejected")["reason"]}
    assert {"markdown", "too_short"} <= reasons <= {"markdown", "too_short", "too_long", "duplicate"}
    words = [len(text.split()) for text in table(run, "candidates")["text"]]
    assert words
    assert all(30 <= count <= 60 for count in words)
