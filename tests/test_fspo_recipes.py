"""FSPO's four domains: the demo recipes show what the checklist asks, in miniature, and the paper's sizes are those of the paper."""

from pathlib import Path
from typing import Any

import pytest

from prefloom.flows.dataset import stages
from prefloom.flows.dataset.resolve import resolve
from prefloom.flows.dataset.run import Run
from prefloom.flows.steps.personas import personas_of
from prefloom.schemas.people import TemplatePersonas, WrittenPersonas
from prefloom.schemas.recipe import Recipe
from prefloom.schemas.sources import ModelCandidates
from prefloom.schemas.steering import AskedViews
from tests.benchmarks.fspo_checklist import LEVELS, rows
from tests.helpers import make

DOMAINS = ("reviews", "elix_easy", "elix_hard", "roleplay")
USERS = {"reviews": 8, "elix_easy": 5, "elix_hard": 550, "roleplay": 1500}
LABELS = {"reviews": 162_400, "elix_easy": 261_100, "elix_hard": 534_000, "roleplay": 420_200}  # rows of train, dev and test in the paper
SMALL = {
    "reviews": ["prompts.0.count=4", "comparisons.per_prompt=3", "comparisons.per_persona_prompt=3"],
    "roleplay": [
        "personas.1.count=4",
        "prompts.0.count=2",
        "prompts.1.count=2",
        "prompts.2.per_value=1",
        "comparisons.per_prompt=3",
        "refinement.comparisons=2",
    ],
}
SHOWN = {
    "reviews": {"F1", "F3", "F7", "F10", "F11", "F17", "F18", "F19", "F20", "F21", "F22"},
    "roleplay": {"F1", "F2", "F5", "F6", "F8", "F9", "F11", "F12", "F14", "F15", "F17", "F18", "F19", "F20", "F21"},
}


@pytest.mark.parametrize("name", SMALL)
def test_a_small_dataset_shows_its_rows_of_the_checklist(name: str, tmp_path: Path) -> None:
    run = Run.create(tmp_path, resolve(name, [*SMALL[name], "shards.prompts=1", "shards.personas=1"]))
    run.store_recipe()
    for stage in ("personas", "prompts", "candidates", "comparisons", "refinements", "judgements", "labels", "preferences", "exports"):
        if stages.BY_NAME[stage].wanted(run.resolved.recipe):
            make(run, stage)
    found = list(rows(run))
    assert {row.criterion for row in found if row.holds is False} <= {"F20"}, found
    assert {row.criterion for row in found if row.holds} >= SHOWN[name] - {"F20"}  # of so few comparisons it may be anything


@pytest.mark.parametrize("name", DOMAINS)
def test_the_paper_size_is_the_papers(name: str) -> None:
    demo, paper = resolve(name).recipe, resolve(f"{name}_paper").recipe
    assert how(demo) == how(paper)
    assert set(paper.servers) == set(paper.models)
    assert paper.judgements.model not in candidates(paper).models
    source = paper.personas[0]
    if isinstance(source, TemplatePersonas):
        people = personas_of(resolve(f"{name}_paper"))[0]
        assert people.height == USERS[name]
        halves = people["split"].to_list()
    else:
        assert isinstance(source, WrittenPersonas)
        assert source.per_cell * len(list(source.cells())) == USERS[name]
        halves = []
    assert expected(paper, USERS[name], halves) == pytest.approx(LABELS[name], rel=0.03)


def expected(paper: Recipe, users: int, halves: list[str]) -> float:
    """Labels, if every prompt has its answers: users x prompts x comparisons, less what the table of splits never asks."""
    prompts = paper.comparisons.prompts_per_persona or sum(count(source) for source in paper.prompts)
    tested = halves.count("test") / len(halves) if halves else paper.splits.test
    held = halves.count("validation") / len(halves) if halves else paper.splits.validation
    never = 0.0 if paper.comparisons.prompts_per_persona else tested * paper.splits.validation + held * paper.splits.test
    return users * prompts * paper.comparisons.per_persona_prompt * (1 - never)


def count(source: Any) -> int:
    """Prompts of a source whose numbers are known before it is asked."""
    if own := getattr(source, "count", None):
        return int(own)
    lines = Path(source.path).read_text().splitlines()
    return len(lines) - source.path.endswith(".csv")


def candidates(recipe: Recipe) -> ModelCandidates:
    assert isinstance(recipe.candidates, ModelCandidates)
    return recipe.candidates


def how(recipe: Recipe) -> tuple[object, ...]:
    """The kinds of a domain's users, questions and answers, the same in both sizes."""
    answers = candidates(recipe)
    kinds = [source.source for source in recipe.prompts if source.source != "seeds"]
    levels = [list(s.values) for s in recipe.personas if isinstance(s, TemplatePersonas)]
    cells = [s.traits for s in recipe.personas if isinstance(s, WrittenPersonas)]
    return kinds, levels, cells, bool(answers.steer), isinstance(answers.views, AskedViews), answers.template, recipe.splits.by_trait


def test_the_levels_are_those_of_the_released_tables() -> None:
    found = {}
    for name in ("reviews", "elix_easy"):
        source = resolve(name).recipe.personas[0]
        assert isinstance(source, TemplatePersonas)
        found[name.partition("_")[0]] = source.values["level"]
    assert found == LEVELS
    people = personas_of(resolve("reviews"))[0]["description"].to_list()
    assert "This user prefers negative and verbose reviews." in people
    assert "The user is young adult." in personas_of(resolve("elix_easy"))[0]["description"].to_list()
