"""From YAML to a resolved recipe: overrides, paths, and mistakes that are named with their place."""

from pathlib import Path

import pytest

from prefloom.flows.dataset.resolve import resolve
from prefloom.schemas.errors import InputError

RECIPE = """
name: mine
models: {j: {engine: society, character: judge}}
personas: [{source: file, path: people.csv}]
prompts: [{source: seeds, count: 3}]
candidates: {source: models, models: [j]}
judgements: {model: j}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "people.csv").write_text("description\nA baker.\n")
    (tmp_path / "mine.yaml").write_text(RECIPE)
    return tmp_path / "mine.yaml"


def test_paths_are_relative_to_the_recipe(recipe: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert list(resolve(str(recipe)).inputs) == [str(tmp_path / "people.csv")]
    (elsewhere / "other.csv").write_text("description\nA judge.\n")
    overridden = resolve(str(recipe), ["personas.0.path=other.csv"])
    assert list(overridden.inputs) == [str(elsewhere / "other.csv")]


def test_content_moves_the_fingerprint_and_place_does_not(recipe: Path) -> None:
    before = resolve(str(recipe)).fingerprint
    people = recipe.parent / "people.csv"
    people.rename(recipe.parent / "renamed.csv")
    assert resolve(str(recipe), [f"personas.0.path={recipe.parent}/renamed.csv"]).fingerprint == before
    people.write_text("description\nA cook.\n")
    assert resolve(str(recipe)).fingerprint != before


def test_overrides_reach_lists_sections_and_values(recipe: Path) -> None:
    resolved = resolve(str(recipe), ["prompts.0.count=5", "run.workers=8", "checks.labels.min_margin=0.5", "candidates.views=[a, b]"])
    assert resolved.recipe.prompts[0].count == 5
    assert resolved.recipe.run.workers == 8
    assert resolved.recipe.checks.labels.min_margin == 0.5
    assert resolved.recipe.candidates.views == ["a", "b"]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("prompts.0.count", "path=value"),
        ("prompts.3.count=5", "a list of 1 where '3' is looked up"),
        ("prompts.0.cuont=5", "did you mean 'count'"),
        ("prompts.0.count=-1", "prompts.0.count: found -1"),
        ("prompts.0.count=many", "prompts.0.count: found 'many'"),
        ("name.x=5", "the value 'mine'"),
        ("personas.0.path=none.csv", "none.csv: no such file"),
        ("personas.0.path=/", "the folder /"),
        ("judgements.model=k", "no model 'k' under models"),
        ("run.workers=[", "a YAML value"),
        ("candidates.source=modles", "candidates"),
    ],
)
def test_mistakes_in_overrides_are_named(recipe: Path, override: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        resolve(str(recipe), [override])
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: [", "line 1"),
        ("- a\n- b", "a YAML list"),
        ("name: a\nname: b", "line 2, column 1: found the key 'name' twice"),
        ("\x00", "valid YAML"),
        ("", "a YAML NoneType"),
        (RECIPE.replace("judgements", "judgments"), "unknown key 'judgments'; did you mean 'judgements'"),
        (RECIPE.replace("name: mine\n", ""), "name: found nothing"),
    ],
)
def test_broken_recipes_are_named(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(InputError) as caught:
        resolve(str(tmp_path / "r.yaml"))
    assert words in str(caught.value)


def test_shipped_recipes_go_by_name() -> None:
    assert resolve("demo").recipe.name == "demo"
    with pytest.raises(InputError, match="did you mean 'demo'"):
        resolve("dmeo")
    with pytest.raises(InputError, match="a folder"):
        resolve("/tmp")
