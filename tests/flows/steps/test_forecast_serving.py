"""Prefixes that are shared, time and GPU-hours: what `plan` makes of servers and rates, with none of them running."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from prefloom.flows.dataset import probes
from prefloom.flows.dataset.run import Run
from prefloom.flows.steps.comparisons import choose
from prefloom.flows.steps.forecast import Forecast, forecast, report
from prefloom.flows.steps.forecast_answers import expected_answers
from prefloom.flows.steps.forecast_prefix import BLOCK
from prefloom.flows.steps.forecast_text import hours, text
from prefloom.flows.steps.forecast_time import gpu_hours, seconds, together
from prefloom.flows.steps.freshness import materials
from prefloom.flows.steps.judgements import asker
from prefloom.flows.steps.personas import personas_of
from prefloom.flows.steps.prompts import prompts_of
from prefloom.prompts import Messages
from prefloom.schemas.comparison import Comparison
from prefloom.schemas.probe import Probe
from prefloom.schemas.recipe import Rate
from prefloom.schemas.usage import Usage, spend
from tests.helpers import make, resolved, run_stage

SERVED: dict[str, Any] = {
    "models": {"terse": {"engine": "society", "character": "terse"}, "judge": {"engine": "endpoint", "model": "tiny"}},
    "servers": {"judge": {"vllm": {"data_parallel": 2, "tensor_parallel": 2}}},
}
HOSTED = SERVED | {"servers": {"judge": {"urls": ["http://127.0.0.1:9/v1"], "key": "NOT_SET"}}}


def foresee(root: Path, **changes: Any) -> Forecast:
    run = Run.create(root, resolved(**changes))
    return forecast(run, materials(run))


def counted(root: Path, **changes: Any) -> int:
    """Shared tokens, of every reading rendered: what a reader's prompt has in common with that of the one before, in whole blocks."""
    run = Run.create(root, resolved(**changes))
    recipe = run.resolved.recipe
    (personas, _), (prompts, repeated) = personas_of(run.resolved), prompts_of(run.resolved)
    answers = expected_answers(run, materials(run), prompts, repeated).rows
    comparisons, _ = choose(recipe, personas, prompts, answers, prompts["prompt_id"].to_list())
    columns = [personas.select("persona_id", "description"), prompts.select("prompt_id", "text"), answers.select("candidate_id", "text")]
    ask = asker(recipe, 0, *(dict(rows.iter_rows()) for rows in columns))
    total = 0
    for row in comparisons.iter_rows(named=True):
        one = Comparison.model_construct(None, **row)
        for shown in (one, one.swap()):
            for template in recipe.judgements.templates:
                asked = [whole(ask((shown, template, name)).messages) for name in one.persona_ids]
                total += sum(alike(a, b) // 4 // BLOCK * BLOCK for a, b in itertools.pairwise(asked))
    return total


def whole(messages: Messages) -> str:
    return "".join(content for _, content in messages)


def alike(one: str, other: str) -> int:
    return next(i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)


def near(foreseen: float, real: float, share: float) -> bool:
    return abs(foreseen - real) <= share * real


PERSONA_FIRST = """---
inputs: [persona, prompt, first, second]
---
## system
You decide which of two answers this person would prefer, and say so with one letter.
## user
{{ persona | fence("persona") }} {{ prompt }} {{ first }} {{ second }} A or B?
"""
BETWEEN = PERSONA_FIRST.replace('{{ persona | fence("persona") }} {{ prompt }} {{ first }}', "{{ first }} {{ prompt }} {{ persona }}")


@pytest.mark.parametrize("words", [None, PERSONA_FIRST, BETWEEN], ids=["persona last", "persona first", "persona between the answers"])
def test_what_is_shared_is_what_prompts_have_in_common(tmp_path: Path, words: str | None) -> None:
    changes = SERVED
    if words:
        (tmp_path / "own.md").write_text(words)
        changes = SERVED | {"judgements": {"model": "judge", "templates": [str(tmp_path / "own.md")]}}
    used = foresee(tmp_path / "data", **changes).usage()["judge"]
    assert near(used.cached_tokens, counted(tmp_path / "data", **changes), 0.03)
    assert 0 < used.cached_tokens < used.prompt_tokens


def test_who_shares(tmp_path: Path) -> None:
    def cached(**changes: Any) -> int:
        return foresee(tmp_path, **changes).usage()["judge"].cached_tokens

    everything = cached(**SERVED)
    assert everything > 0
    assert cached() == cached(**HOSTED) == 0
    assert cached(**HOSTED, rates={"judge": {"shares_prefixes": True}}) == everything
    assert cached(**SERVED, rates={"judge": {"shares_prefixes": False}}) == 0
    assert cached(**SERVED | {"servers": {"judge": {"vllm": {"arguments": ["--no-enable-prefix-caching"]}}}}) == 0
    votes = SERVED["models"] | {"judge": {"engine": "endpoint", "model": "tiny", "read": "votes"}}
    assert cached(**SERVED | {"models": votes}) == 0
    assert cached(**SERVED, personas=[{"source": "grid", "count": 1}]) == 0


def test_shared_tokens_cost_what_cached_ones_cost(tmp_path: Path) -> None:
    prices = {"judge": {"prompt": 1, "completion": 0, "cached": 0.1}}
    found = foresee(tmp_path, **SERVED, prices=prices)
    used, recipe = found.usage()["judge"], resolved(**SERVED, prices=prices).recipe
    assert spend({"judge": used}, recipe.prices) == spend({"judge": found.left()["judge"]}, recipe.prices)
    money = float(report(found, recipe)["models"]["judge"]["dollars"])
    assert money == pytest.approx((used.prompt_tokens - 0.9 * used.cached_tokens) / 1e6)


def test_what_is_journaled_shares_nothing_with_what_is_left(tmp_path: Path) -> None:
    shared = {"rates": {"judge": {"shares_prefixes": True}}}
    run_stage(tmp_path, "judgements", **shared)
    assert foresee(tmp_path, name="again", **shared).left()["judge"].cached_tokens == 0
    grown = shared | {"personas": [{"source": "grid", "count": 27}]}
    found = foresee(tmp_path, **grown)
    used, left = found.usage()["judge"], found.left()["judge"]
    assert 0 < left.cached_tokens < used.cached_tokens * left.calls / used.calls
    later = run_stage(tmp_path, "comparisons", **grown)
    assert make(later, "judgements")[0].asked == left.calls


def test_time_is_of_tokens_or_of_calls_whichever_takes_longer() -> None:
    used = Usage(1000, 500_000, 2000, cached_tokens=400_000)
    assert seconds(used, Rate(prompt_tokens_per_second=1000)) == 100
    assert seconds(used, Rate(prompt_tokens_per_second=1000, completion_tokens_per_second=100)) == 120
    assert seconds(used, Rate(completion_tokens_per_second=100)) == 20
    assert seconds(used, Rate(prompt_tokens_per_second=1000, calls_per_second=5)) == 200
    assert seconds(used, Rate(prompt_tokens_per_second=1000, calls_per_second=50)) == 100
    assert (seconds(used, Rate(answer_tokens=5)), seconds(used, None), seconds(Usage(), None)) == (None, None, 0)
    assert (together([1, None]), together([]), together([1.5, 2])) == (None, 0, 3.5)


def test_gpu_hours_are_of_servers_that_prefloom_starts(tmp_path: Path) -> None:
    rates = {"judge": {"prompt_tokens_per_second": 100, "calls_per_second": 1e9}}
    recipe = resolved(**SERVED, rates=rates).recipe
    found = report(foresee(tmp_path, **SERVED, rates=rates), recipe)
    judge = found["models"]["judge"]
    assert judge["seconds_left"] == pytest.approx((judge["prompt_tokens"] - judge["cached_tokens"]) / 100, abs=0.1)
    assert judge["gpu_hours_left"] == found["total"]["gpu_hours_left"] == pytest.approx(judge["seconds_left"] * 4 / 3600, rel=1e-3)
    assert found["models"]["terse"]["gpu_hours_left"] is None
    assert any("100 prompt tokens" in line and line.startswith("time of judge") for line in found["basis"])
    assert "GPU-hours" in text(found)
    assert gpu_hours({"judge": None}, recipe) is None
    assert gpu_hours({"terse": 5.0}, recipe) is None
    unknown = report(foresee(tmp_path, **SERVED), resolved(**SERVED).recipe)["total"]
    assert (unknown["seconds_left"], unknown["gpu_hours_left"]) == (None, None)
    assert (hours(None), hours(0), hours(0.001), hours(0.5617), hours(1234.5)) == ("–", "0.00", "<0.01", "0.56", "1,234.50")


@pytest.mark.parametrize("changes", [SERVED, HOSTED], ids=["ours", "urls"])
def test_a_model_that_nobody_has_asked_yet(tmp_path: Path, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOT_SET", raising=False)
    line = "judge: not probed yet: what the journal holds of it is unknown"
    found = report(foresee(tmp_path, **changes), resolved(**changes).recipe)
    assert line in json.loads(json.dumps(found))["basis"]
    assert f"- {line}" in text(found).splitlines()
    assert not list(tmp_path.iterdir())
    probes.keep(Run.create(tmp_path, resolved(**changes)), "judge", Probe(model="tiny", template="ab12"))
    assert line not in foresee(tmp_path, **changes).basis
    assert not any("not probed" in said for said in foresee(tmp_path).basis)


def test_the_columns_that_the_journal_fills(tmp_path: Path) -> None:
    prices = {"judge": {"prompt": 1, "completion": 1}}
    recipe = resolved(prices=prices).recipe
    fresh = text(report(foresee(tmp_path, prices=prices), recipe), 80)
    assert max(map(len, fresh.splitlines()[1:])) <= 80
    assert "journaled" not in fresh
    assert "dollars in all" not in fresh
    run_stage(tmp_path, "candidates")
    again = text(report(foresee(tmp_path, name="again", prices=prices), recipe))
    assert "journaled  to ask" in again
    assert "dollars in all" in again
