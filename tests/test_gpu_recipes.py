"""The recipes for GPUs and for an API hold, and docs/gpus.md says of them what `plan` says. No server is needed for that."""

from pathlib import Path
from typing import Any

import pytest

from prefloom.flows.dataset.resolve import resolve
from prefloom.flows.dataset.run import Run
from prefloom.flows.steps.forecast import forecast, report
from prefloom.flows.steps.forecast_text import text
from prefloom.flows.steps.freshness import materials
from prefloom.schemas.sources import ModelCandidates

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
    found = plan(name, tmp_path)
    whole = found["total"]
    hours = f"{whole['gpu_hours_left']:.2f} on an {'RTX 4090' if name == 'gpu_24gb' else 'H100'}" if name != "api_ensemble" else "–"
    tokens = [f"{whole[kind] / 1e6:.{digits}f} M" for kind, digits in (("prompt_tokens", 1), ("completion_tokens", 2))]
    money = f"{float(whole['dollars']):.2f}" if whole["dollars"] else "–"
    cells = [f"`{name}`", f"{whole['calls']:,}", *tokens, f"{found['stages']['labels']['rows']:,}", hours, money]
    assert f"| {' | '.join(cells)} |" in PAGE
    assert not found["warnings"]
    names = ", ".join(dict.fromkeys([*resolve(name).recipe.models]))
    assert found["basis"][0] == f"{names}: not probed yet: what the journal holds of it is unknown"
    assert not list(tmp_path.iterdir())
    for width in (80, 120):
        lines = text(found, width).splitlines()
        assert max(map(len, lines[1:])) <= width
        assert ("GPU-hours" in text(found, width)) == (whole["gpu_hours_left"] is not None) == (name != "api_ensemble")


def test_the_page_says_what_sharing_saves(tmp_path: Path) -> None:
    alone = [plan(name, tmp_path, "rates.judge.shares_prefixes=false")["total"] for name in RECIPES[:2]]
    assert "would take {:.1f} and {:.1f} hours".format(*(whole["gpu_hours_left"] for whole in alone)) in PAGE
    for name in RECIPES[:2]:
        judge = plan(name, tmp_path)["models"]["judge"]
        tokens, computed = judge["prompt_tokens"] / judge["calls"], (judge["prompt_tokens"] - judge["cached_tokens"]) / judge["calls"]
        assert (round(tokens, -1), round(computed, -1)) == (920, 80)
    assert "of 920 prompt tokens about 80" in PAGE


def plan(name: str, root: Path, *changes: str) -> dict[str, Any]:
    run = Run.create(root, resolve(name, changes))
    return report(forecast(run, materials(run)), run.resolved.recipe)
