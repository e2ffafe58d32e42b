"""The recipes for GPUs and for an API hold, and docs/gpus.md says of them what `plan` says. No server is needed for that."""

from pathlib import Path

import pytest

from prefloom.flows.dataset.resolve import resolve
from prefloom.flows.dataset.run import Run
from prefloom.flows.steps.forecast import forecast, report
from prefloom.flows.steps.freshness import materials
from prefloom.schemas.recipe import ModelCandidates

PAGE = (Path(__file__).parents[1] / "docs/gpus.md").read_text()
RECIPES = ("gpu_24gb", "gpu_80gb", "api_ensemble")


@pytest.mark.parametrize("name", RECIPES)
def test_every_model_is_served_and_another_family_judges(name: str) -> None:
    recipe = resolve(name).recipe
    assert set(recipe.servers) == set(recipe.models)
    assert isinstance(recipe.candidates, ModelCandidates)
    families = [model.model.partition("/")[0] for model in recipe.models.values() if model.engine == "endpoint"]
    assert len(set(families)) == len(families) == len(recipe.candidates.models) + 1
    assert recipe.judgements.model not in recipe.candidates.models


@pytest.mark.parametrize("name", RECIPES)
def test_the_page_says_what_plan_says(name: str, tmp_path: Path) -> None:
    run = Run.create(tmp_path, resolve(name))
    found = report(forecast(run, materials(run)), run.resolved.recipe)
    whole = found["total"]
    hours = f"{whole['seconds_left'] / 3600:.2f} on an {'RTX 4090' if name == 'gpu_24gb' else 'H100'}" if whole["seconds_left"] else "–"
    tokens = [f"{whole[kind] / 1e6:.{digits}f} M" for kind, digits in (("prompt_tokens", 1), ("completion_tokens", 2))]
    money = f"{float(whole['dollars']):.2f}" if whole["dollars"] else "–"
    cells = [f"`{name}`", f"{whole['calls']:,}", *tokens, f"{found['stages']['labels']['rows']:,}", hours, money]
    assert f"| {' | '.join(cells)} |" in PAGE
    assert not found["warnings"]
    assert not list(tmp_path.iterdir())
