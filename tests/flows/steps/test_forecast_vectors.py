"""A plan counts near-duplicates where that costs nothing, assumes there are none where it would, and says so."""

from pathlib import Path
from typing import Any

import pytest

from prefloom.flows.dataset.run import Run
from prefloom.flows.steps import forecast_vectors, freshness
from prefloom.flows.steps.forecast import Forecast, forecast
from prefloom.schemas.errors import InputError
from tests.flows.engines.word_embedder import Words, install
from tests.helpers import resolved, run_stage, table

DIVERSE: dict[str, Any] = {
    "personas": [{"source": "grid", "count": 120}],
    "prompts": [{"source": "seeds"}],
    "candidates": {"source": "models", "models": ["terse", "judge"], "samples": 2},
    "embeddings": {"engine": "sentence-transformers"},
    "diversity": {
        "personas": {"near_duplicate": 0.8, "count": 25},
        "prompts": {"near_duplicate": 0.5},
        "candidates": {"near_duplicate": 0.8},
    },
}
ENDPOINT = {"engine": "endpoint", "model": "words", "url": "http://127.0.0.1:1/v1", "key": None}


@pytest.fixture(autouse=True)
def words(monkeypatch: pytest.MonkeyPatch) -> Words:
    return install(monkeypatch)


def foresee(root: Path, **changes: Any) -> Forecast:
    run = Run.create(root, resolved(**DIVERSE | changes))
    return forecast(run, freshness.materials(run))


def rows(found: Forecast) -> dict[str, tuple[int, bool]]:
    return {stage.name: (stage.rows, stage.exact) for stage in found.stages if stage.name in ("personas", "prompts", "candidates")}


def test_counts_are_those_of_the_build_and_nothing_is_written(tmp_path: Path, words: Words) -> None:
    found = foresee(tmp_path)
    assert list(tmp_path.iterdir()) == []
    run = run_stage(tmp_path, "candidates", **DIVERSE)
    real = {name: table(run, name).height for name in ("personas", "prompts", "candidates")}
    assert rows(found) == {name: (count, True) for name, count in real.items()}
    assert real["personas"] == 25
    assert real["prompts"] < 120
    assert not any("vector" in line for line in found.basis)
    embedded = len(words.texts)
    foresee(tmp_path, name="again")
    assert len(words.texts) == embedded, "what any run has stored is not embedded again"


def test_a_server_is_not_asked(tmp_path: Path) -> None:
    found = foresee(tmp_path, embeddings=ENDPOINT)
    whole, _ = rows(foresee(tmp_path, embeddings=None, diversity=None))["candidates"]  # some repeat another exactly
    assert rows(found) == {"personas": (25, False), "prompts": (120, False), "candidates": (whole, False)}
    assert "near-duplicates among personas: 120 of 120 texts have no vector yet and are taken to differ" in found.basis
    assert any(line.startswith("near-duplicates among candidates") for line in found.basis)
    with pytest.raises(InputError, match="found 120 personas left of 120"):
        foresee(tmp_path, embeddings=ENDPOINT, diversity={"personas": {"count": 121}})


def test_what_nobody_has_is_warned_of(tmp_path: Path) -> None:
    aimed = {"count": 20, "near_duplicate": 1.0, "target": {"length": {"short": 0.5, "long": 0.25, "endless": 0.25}}}
    found = foresee(tmp_path, diversity={"personas": aimed})
    assert found.warnings == ("no persona has length: endless, and the recipe aims at 25.0% of them",)


def test_too_many_texts_are_not_embedded_for_a_plan(tmp_path: Path, words: Words, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forecast_vectors, "TRIED", 119)
    found = foresee(tmp_path)
    assert rows(found)["prompts"] == (120, False)
    assert words.texts == []
    assert any(line.startswith("near-duplicates among prompts: 120 of 120") for line in found.basis)
