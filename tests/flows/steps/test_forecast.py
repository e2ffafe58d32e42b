"""What is foreseen on an empty root is what a build then does; what is held is not asked again; nothing is written."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from prefloom.flows.dataset import manifest, stages
from prefloom.flows.dataset.run import Run
from prefloom.flows.engines.society import Society
from prefloom.flows.steps import freshness
from prefloom.flows.steps.forecast import Forecast, forecast, report
from prefloom.flows.steps.forecast_text import dollars, duration, size, text
from prefloom.schemas.errors import InputError
from prefloom.schemas.usage import Usage
from tests.helpers import make, resolved, run_stage

TEMPLATE = (Path(__file__).parents[3] / "prompts/judge/pairwise.md").read_text()
MID: dict[str, Any] = {
    "personas": [{"source": "grid", "count": 60}],
    "prompts": [{"source": "seeds", "count": 40}],
    "shards": {"prompts": 4, "personas": 2},
    "comparisons": {"per_prompt": 3, "per_persona_prompt": 2},
}


def foresee(root: Path, **changes: Any) -> Forecast:
    run = Run.create(root, resolved(**changes))
    return forecast(run, freshness.materials(run))


def files(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def near(foreseen: float, real: float, share: float = 0.02) -> bool:
    return abs(foreseen - real) <= share * real


def left(found: Forecast) -> dict[str, int]:
    return {model: used.calls for model, used in found.left().items()}


@pytest.mark.parametrize("changes", [MID, {}], ids=["60 x 40", "20 x 10"])
def test_an_empty_root(tmp_path: Path, changes: dict[str, Any]) -> None:
    found = foresee(tmp_path, **changes)
    assert files(tmp_path) == {}
    run = run_stage(tmp_path, "exports", **changes)
    entries = {stage.name: stages.entry(run.store, stage.name) for stage in stages.of(run.resolved.recipe)}
    total = real_total = 0
    for stage in found.stages:
        entry = entries[stage.name]
        assert entry
        real = sum(file.bytes for file in entry.files)
        total, real_total = total + stage.bytes, real_total + real
        # Where failures are few it is chance in how many files they are; a plan has the mean.
        chance = 6_000 if stage.name == "judgements" else 0
        assert abs(stage.bytes - real) <= (0.08 if changes else 0.1) * real + chance, (stage.name, stage.bytes, real)
        assert stage.usage.keys() == entry.usage.keys()
        for model, used in entry.usage.items():
            assert stage.left == stage.usage
            assert stage.usage[model].calls == used.calls
            assert near(stage.usage[model].prompt_tokens, used.prompt_tokens, 0.002)
            assert stage.usage[model].completion_tokens == used.completion_tokens
        if stage.exact:
            assert stage.rows == sum(file.rows for file in entry.files if not file.path.startswith("rejected/"))
    assert near(total, real_total, 0.02 if changes else 0.05), (total, real_total)  # of few rows footers weigh more, and chance
    grown = sum(path.stat().st_size for path in (tmp_path / "journal").rglob("sealed*"))
    assert near(found.journal[1], grown, 0.1)


def test_the_same_forecast_twice_but_for_the_clock(tmp_path: Path) -> None:
    first, second = (foresee(tmp_path) for _ in range(2))
    assert (first.stages, first.journal) == (second.stages, second.journal)


def test_everything_is_in_the_journal(tmp_path: Path) -> None:
    run = run_stage(tmp_path, "exports")
    found = foresee(tmp_path, name="again")
    assert left(found) == {"terse": 0, "judge": 0}
    assert found.seconds() == 0
    assert found.usage() == {m: u for stage in stages.STAGES if (e := stages.entry(run.store, stage.name)) for m, u in e.usage.items()}


def test_added_personas_ask_only_for_themselves(tmp_path: Path) -> None:
    run_stage(tmp_path, "judgements")
    grown = {"personas": [{"source": "grid", "count": 27}]}
    found = foresee(tmp_path, **grown)
    later = run_stage(tmp_path, "comparisons", **grown)
    report_, _ = make(later, "judgements")
    assert left(found) == {"terse": 0, "judge": report_.asked}
    assert near(found.left()["judge"].prompt_tokens, report_.paid["judge"].prompt_tokens, 0.005)


def test_a_changed_template_asks_only_what_it_changed(tmp_path: Path) -> None:
    run_stage(tmp_path, "judgements")
    (tmp_path / "other.md").write_text(TEMPLATE.replace("Which answer would", "Which of them would"))
    both = {"judgements": {"model": "judge", "templates": ["judge/pairwise", str(tmp_path / "other.md")]}}
    found = foresee(tmp_path, **both)
    used, open_ = found.usage()["judge"], found.left()["judge"]
    assert used.calls == 2 * open_.calls


def test_a_killed_build_leaves_what_it_asked_in_open_segments(tmp_path: Path) -> None:
    run = run_stage(tmp_path, "candidates")
    whole = foresee(tmp_path / "nothing").usage()["judge"].calls
    make(run, "comparisons")
    identity = freshness.materials(run).models["judge"]
    elsewhere = run_stage(tmp_path / "elsewhere", "judgements")
    glance = elsewhere.journal(identity)
    held = dict(list(glance.load(list(glance.glance().scopes())).items()))
    scopes = {
        key: scope for key, scope in _scopes(elsewhere, identity).items() if scope in sorted(set(_scopes(elsewhere, identity).values()))[:4]
    }
    segment = run.journal(identity).segment()
    segment.append((key, scope, held[key]) for key, scope in scopes.items())
    segment.file.write(b'{"key":"torn')
    segment.close()
    before = files(tmp_path)
    found = foresee(tmp_path)
    assert left(found) == {"judge": whole - len(scopes)}
    assert files(tmp_path) == before


def _scopes(run: Run, identity: str) -> dict[str, str]:
    import polars as pl

    sealed = pl.read_parquet(run.journal(identity).folder / "sealed-*.parquet")
    return dict(sealed.select("key", "scope").iter_rows())


def test_finished_stages_and_datasets_are_counted_as_they_are(tmp_path: Path) -> None:
    run = run_stage(tmp_path, "judgements")
    entry = stages.entry(run.store, "judgements")
    assert entry
    stage = next(stage for stage in foresee(tmp_path).stages if stage.name == "judgements")
    assert (stage.usage, stage.left, stage.bytes) == (entry.usage, {}, sum(file.bytes for file in entry.files))
    for name in ("labels", "preferences", "exports"):
        make(run, name)
    uses = freshness.materials(run)
    composed = freshness.composed(run, uses)
    assert composed
    run.store.create(stages.MANIFEST, composed)
    found = report(forecast(run, uses), run.resolved.recipe)
    assert (found["status"], found["total"]["left"]) == ("already built", 0)
    assert found["total"]["dataset_bytes"] == sum(file.bytes for file in manifest.load(run.store).files)
    assert "already built" in text(found)


def test_money_to_the_last_decimal(tmp_path: Path) -> None:
    prices = {"judge": {"prompt": 0.15, "completion": 0.6}, "terse": {"prompt": 1, "completion": 2}}
    found = report(foresee(tmp_path, prices=prices), resolved(prices=prices).recipe)
    judge, terse = (
        Usage(*(found["models"][m][key] for key in ("calls", "prompt_tokens", "completion_tokens"))) for m in ("judge", "terse")
    )
    cents = Decimal("0.15") * judge.prompt_tokens + Decimal("0.6") * judge.completion_tokens
    cents += terse.prompt_tokens + 2 * terse.completion_tokens
    assert Decimal(found["total"]["dollars"]) == Decimal(found["total"]["dollars_left"]) == cents / 1_000_000
    run_stage(tmp_path, "judgements", prices=prices)
    again = report(foresee(tmp_path, name="again", prices=prices), resolved(prices=prices).recipe)
    assert (Decimal(again["total"]["dollars"]), again["total"]["dollars_left"]) == (cents / 1_000_000, "0")


def test_no_price_no_money(tmp_path: Path) -> None:
    recipe = resolved(prices={"judge": {"prompt": 1, "completion": 1}})
    found = report(foresee(tmp_path), resolved().recipe)
    assert (found["total"]["dollars"], found["total"]["dollars_left"]) == (None, None)
    some = foresee(tmp_path, prices={"judge": {"prompt": 1, "completion": 1}})
    assert any("no price for terse" in warning for warning in some.warnings)
    assert report(some, recipe.recipe)["models"]["terse"]["dollars"] is None


def test_a_model_that_costs_is_not_tried_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Society, "free", False)
    monkeypatch.setattr(Society, "answer", lambda *_: pytest.fail("asked"))
    found = foresee(tmp_path)
    assert found.usage()["terse"].completion_tokens == 512 * 30
    assert any("max_tokens" in warning and "upper bound" in warning for warning in found.warnings)
    assert found.seconds() is None
    assert json.loads(json.dumps(report(found, resolved().recipe)))["total"]["seconds_left"] is None
    rates = {"terse": {"answer_tokens": 50, "calls_per_second": 10}, "judge": {"calls_per_second": 100, "characters_per_token": 3}}
    stated = foresee(tmp_path, rates=rates)
    assert stated.usage()["terse"].completion_tokens == 50 * 30
    assert stated.seconds() == 3 + stated.usage()["judge"].calls / 100
    assert not stated.warnings or not any("max_tokens" in warning for warning in stated.warnings)


def test_the_mean_of_what_is_journaled_stands_for_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_stage(tmp_path, "candidates", prompts=[{"source": "seeds", "count": 6}])
    entry = stages.entry(run.store, "candidates")
    assert entry
    monkeypatch.setattr(Society, "free", False)
    found = foresee(tmp_path)
    assert left(found)["terse"] == 12
    mean = entry.usage["terse"].completion_tokens / 18
    assert found.usage()["terse"].completion_tokens == round(entry.usage["terse"].completion_tokens + 12 * mean)
    assert any("mean of 18 journaled" in line for line in found.basis)


def test_warnings(tmp_path: Path) -> None:
    alone = foresee(tmp_path, candidates={"source": "models", "models": ["terse"]})
    assert any(line.startswith("10 of 10 prompts") for line in alone.warnings)
    assert alone.usage()["judge"] == Usage()
    few = foresee(tmp_path, personas=[{"source": "grid", "count": 1}])
    assert any("persona: the splits that need one stay empty" in line for line in few.warnings)


def test_what_a_build_would_refuse_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"personas\.count"):
        foresee(tmp_path, personas=[{"source": "grid", "count": 10**9}])


def test_a_table_of_a_hundred_columns(tmp_path: Path) -> None:
    found = report(foresee(tmp_path), resolved().recipe)
    lines = text(found).splitlines()
    assert max(map(len, lines[1:])) <= 100
    assert [line.split()[0] for line in lines[3:11]] == [stage.name for stage in stages.of(resolved().recipe)]
    assert (size(999), size(3_173_745), duration(None), duration(8.0), duration(7200)) == ("999 bytes", "3.2 MB", "–", "8.0 s", "2.0 h")
    assert (dollars(None), dollars("0"), dollars("1234.5"), dollars("0.0045710")) == ("–", "0", "1,234.50", "0.004571")
