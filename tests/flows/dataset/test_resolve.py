"""From YAML to a resolved recipe: overrides, paths, and mistakes that are named with their place."""

from pathlib import Path

import pytest

from prefloom.flows.dataset.resolve import resolve
from prefloom.schemas.errors import InputError

RECIPE = """
name: mine
models: {j: {engine: society, character: good}}
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
    assert resolve(str(recipe)).recipe.personas[0].path == str(tmp_path / "people.csv")
    (elsewhere / "other.csv").write_text("description\nA judge.\n")
    overridden = resolve(str(recipe), ["personas.0.path=other.csv"])
    assert overridden.recipe.personas[0].path == str(elsewhere / "other.csv")
    assert len(overridden.inputs) == 2, "the shipped seeds are an input too"


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
        ("candidates.source=modles", "candidates.source: found 'modles'"),
        ("0=1", "unknown key '0'"),
        ("name=2020-02-30", "a YAML value"),
        ("name=2020-02-03", "text, numbers, lists and mappings"),
        ("name=!!int abc", "a YAML value"),
        ("name={? [a, b] : 1}", "YAML"),
        ("name=" + "[" * 3000, "a YAML value"),
        ('candidates.views=["\\ud800"]', "text, numbers, lists and mappings"),
        ('personas.0.path="a\\0b"', "personas.0.path"),
        ("seed=18446744073709551616", "seed"),
        ("candidates.temperature=.inf", "candidates.temperature"),
        ("judgements.templates=[judge/pairwise, judge/pairwise]", "stands there twice"),
        ("judgements.templates=[a/x.md, b/x.md]", "'x.md' stands there twice"),
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


def test_the_users_own_words_may_be_called_path_or_end_in_md(recipe: Path) -> None:
    overrides = ["models.path={engine: society}", "candidates.models=[j, path]", "candidates.views=[as in a/style.md]"]
    resolved = resolve(str(recipe), overrides)
    assert resolved.recipe.candidates.views == ["as in a/style.md"]  # type: ignore[union-attr]
    other = resolve(str(recipe), [*overrides[:2], "candidates.views=[as in b/style.md]"])
    assert other.fingerprint != resolved.fingerprint


def test_too_long_a_name_is_no_recipe() -> None:
    with pytest.raises(InputError, match="recipe"):
        resolve("x" * 5000)


def test_where_a_template_lies_changes_nothing(recipe: Path, tmp_path: Path) -> None:
    prints = set()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine.md").write_text("---\ninputs: []\n---\n## user\nx\n")
        prints.add(resolve(str(recipe), [f"judgements.templates=[{tmp_path}/{name}/mine.md]"]).fingerprint)
    assert len(prints) == 1
