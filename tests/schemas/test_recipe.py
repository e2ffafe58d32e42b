"""The recipe: strict, fingerprinted over what changes the data, and described for editors."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from prefloom.schemas.recipe import EXCLUDED, Recipe, Resolved

ROOT = Path(__file__).parents[2]


def demo(**changes: Any) -> Resolved:
    tree = yaml.safe_load((ROOT / "data/recipes/demo.yaml").read_text())
    return Resolved(recipe=Recipe.model_validate(tree | changes), inputs={})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"personnas": []}, "unknown key 'personnas'; did you mean 'personas'"),
        ({"judgements": {"model": "judge", "template": "x"}}, "did you mean 'templates'"),
        ({"personas": [{"source": "grid", "cout": 3}]}, "did you mean 'count'"),
        ({"judgements": {"model": "jugde"}}, "no model 'jugde' under models; did you mean 'judge'"),
        ({"splits": {"validation": 0.5, "test": 0.5}}, "leave something for train"),
        ({"personas": []}, "at least 1 item"),
        ({"name": "Bad Name"}, "should match pattern"),
        ({"seed": "1"}, "valid integer"),
        ({"seed": True}, "valid integer"),
        ({"comparisons": {"per_prompt": 2, "per_persona_prompt": 3}}, "3 is more than per_prompt 2"),
    ],
)
def test_mistakes_are_named(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        demo(**changes)


def test_the_fingerprint_leaves_out_what_does_not_change_the_data() -> None:
    assert demo(run={"workers": 9}, limits={"failures": 0.5}).fingerprint == demo().fingerprint
    assert set(EXCLUDED) == {"run", "limits", "prices", "publish", "rates", "servers"}


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 2},
        {"personas": [{"source": "grid", "count": 201}]},
        {"shards": {"prompts": 3, "personas": 4}},
        {"checks": {"labels": {"min_margin": 0.3}}},
        {"exports": {"trl": None}},
        {"comparisons": {"per_prompt": 2}},
    ],
)
def test_the_fingerprint_covers_what_changes_the_data(changes: dict[str, Any]) -> None:
    assert demo(**changes).fingerprint != demo().fingerprint


def test_a_path_counts_by_its_content() -> None:
    def with_file(path: str, digest: str) -> str:
        recipe = demo(prompts=[{"source": "file", "path": path}]).recipe
        return Resolved(recipe=recipe, inputs={path: digest}).fingerprint

    assert with_file("/a/x.jsonl", "11") == with_file("/b/y.jsonl", "11")
    assert with_file("/a/x.jsonl", "11") != with_file("/a/x.jsonl", "22")


def test_every_default_is_stored() -> None:
    stored = demo().recipe.model_dump(mode="json")
    assert stored["checks"]["labels"]["min_margin"] == 0.2
    assert Recipe.model_validate(yaml.safe_load(yaml.safe_dump(stored))) == demo().recipe


def test_the_json_schema_is_up_to_date() -> None:
    stored = json.loads((ROOT / "data/recipes/recipe.schema.json").read_text())
    assert stored == Recipe.model_json_schema(), "run `make docs`"


def test_shipped_recipes_are_valid() -> None:
    for path in (ROOT / "data/recipes").glob("*.yaml"):
        Recipe.model_validate(yaml.safe_load(path.read_text()))
