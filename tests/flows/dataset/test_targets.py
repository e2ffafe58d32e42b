"""A population aimed at: read into the recipe, by file or by hand, with every mistake named by its row."""

from pathlib import Path

import pytest

from prefloom.flows.dataset.resolve import resolve
from prefloom.flows.dataset.targets import read_target
from prefloom.schemas.errors import InputError

RECIPE = """
name: mine
models: {j: {engine: society, character: good}}
personas: [{source: file, path: people.csv, fields: {traits: [age, template]}}]
prompts: [{source: seeds, count: 3}]
candidates: {source: models, models: [j]}
judgements: {model: j}
embeddings: {engine: sentence-transformers}
"""
TABLE = "trait,value,share\nage,young,0.25\nage,old,0.75\ntemplate,path,1\n"  # words that mean something elsewhere in a recipe


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "people.csv").write_text("description,age,template\nA baker.,young,path\n")
    (tmp_path / "mine.yaml").write_text(RECIPE)
    (tmp_path / "census.csv").write_text(TABLE)
    return tmp_path / "mine.yaml"


def test_a_file_and_the_same_by_hand_are_one_recipe(recipe: Path, tmp_path: Path) -> None:
    read = resolve(str(recipe), [f"diversity.personas={{count: 1, path: {tmp_path}/census.csv}}"])
    shares = "{age: {young: 0.25, old: 0.75}, template: {path: 1.0}}"
    told = resolve(str(recipe), [f"diversity.personas={{count: 1, target: {shares}}}"])
    assert read.recipe.diversity
    assert read.recipe.diversity.personas
    assert read.recipe.diversity.personas.target == {"age": {"young": 0.25, "old": 0.75}, "template": {"path": 1.0}}
    assert read.recipe == told.recipe
    assert read.fingerprint == told.fingerprint
    other = resolve(str(recipe), ["diversity.personas={count: 1, target: {age: {young: 0.5, old: 0.5}}}"])
    assert other.fingerprint != told.fingerprint
    assert read.data("diversity.personas")["diversity.personas"]["target"]["template"] == {"path": 1.0}


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("trait,value,share\nage,young,0.25\nage,old,0.7\n", r"trait 'age': found shares that sum to 0\.95; expected shares that sum to 1"),
        ("trait,value,share\nage,young,1.25\nage,old,-0.25\n", r"line 2, column 'share': found '1\.25'; expected a number from 0 to 1"),
        ("trait,value,share\nage,young,1\nage,old,-0.25\n", r"line 3, column 'share': found '-0\.25'"),
        ("trait,value,share\nage,young,nan\n", "found 'nan'"),
        ("trait,value,share\nage,young,half\n", "found 'half'"),
        ("trait,value,share\nage,young,\n", "found nothing"),
        ("trait,value,share\nage,young,0.5\nage,young,0.5\n", "line 3: found 'young' of 'age' a second time"),
        ("trait,value,share\n,young,1\n", "line 2: found no trait"),
        ("trait,value\nage,young\n", "no column 'share'"),
        ("trait,value,share\n", "no rows"),
        ("trait,value,share\n" + "".join(f"t{i},a,1\n" for i in range(10_001)), "more than 10,000 rows"),
    ],
)
def test_mistakes_in_the_table_are_named(tmp_path: Path, table: str, words: str) -> None:
    (tmp_path / "census.csv").write_text(table)
    with pytest.raises(InputError, match=words):
        read_target(tmp_path / "census.csv")


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("{count: 1, target: {age: {young: 0.25, old: 0.7}}}", r"the shares of 'age' in `target` sum to 0\.95, not to 1"),
        ("{count: 1, target: {age: {young: -1.0}}}", r"diversity\.personas\.target\.age\.young: found -1\.0"),
        ("{count: 1, target: {age: {young: 1}}, path: census.csv}", "name the population twice"),
        ("{target: {age: {young: 1}}}", "a population without a `count`"),
        ("{count: 1, strata: [work], target: {age: {young: 1}}}", "'age', which is not among the `strata`"),
        ("{count: 1, strata: [work], path: census.csv}", "'age', which is not among the `strata`"),
        ("{count: 1, path: nowhere.csv}", r"nowhere\.csv: no such file"),
    ],
)
def test_mistakes_in_the_recipe_are_named(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, section: str, words: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=words):
        resolve(str(recipe), [f"diversity.personas={section}"])


def test_trait_columns_leave_no_mark_where_none_are_named(recipe: Path) -> None:
    with_columns = resolve(str(recipe))
    without = resolve(str(recipe), ["personas.0.fields={}"])
    assert "traits" not in without.data()["personas"][0]["fields"]
    assert with_columns.data()["personas"][0]["fields"]["traits"] == ["age", "template"]
    assert resolve("demo").fingerprint == "b10794099e1f"
