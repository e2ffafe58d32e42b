"""Nights: each grows, a killed one is gone on with, one that was built but not published is published, an idle one does nothing."""

from pathlib import Path
from typing import Any

import pytest

from prefloom.flows import nightly as module
from prefloom.flows.dataset import executions
from prefloom.flows.dataset.store import Store
from prefloom.flows.nightly import nightly

BASE = ["personas.0.count=6", "prompts.0.count=4", "run.report=false", "run.workers=2", "shards={prompts: 1, personas: 1}"]


class Hub:
    """Remembers what was published last."""

    def __init__(self) -> None:
        self.last, self.down = "", False

    def publish(self, run: str, repo_id: str, public: bool, tag: str | None, revision: str) -> dict[str, Any]:
        if self.down and self.last != run:
            raise ConnectionError("the Hub is down")
        changed, self.last = self.last != run, run
        return {"changed": changed}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    hub = Hub()
    monkeypatch.setattr(module, "publish_dataset", hub.publish)
    return hub


def asked(run: str) -> tuple[int, int]:
    """(calls asked, calls from the journal) of all executions of a run, as run.json has them."""
    reports = [report for execution in executions.read(Store(run)) for report in execution.stages.values()]
    return sum(report.asked for report in reports), sum(report.from_journal for report in reports)


def test_nights(tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    def night(at_most: int = 10) -> str:
        state = nightly("demo", str(tmp_path), BASE, "personas.0.count=+3", at_most, "me/prefs", return_state=True)
        return str(state.message)

    assert "personas.0.count 6" in night()
    first, calls = hub.last, asked(hub.last)
    assert calls[1] == 0

    hub.down = True  # built, not published
    assert "Hub is down" in night()
    assert hub.last == first
    hub.down = False
    assert "personas.0.count 9" in (message := night())
    assert "asked 0, 0 from the journal, published what was built before" in message
    assert asked(hub.last)[1] == calls[0], "all that was judged for six people comes from the journal"
    assert 0 < asked(hub.last)[0] < calls[0]

    whole = module.build  # killed in the middle: the size stays
    monkeypatch.setattr(module, "build", lambda night: night.run.store_recipe() or 1 / 0)
    assert "division by zero" in night()
    monkeypatch.setattr(module, "build", whole)
    assert "personas.0.count 10" in night()
    assert night() == "nothing to do: all that is wanted is built and published"
    assert len(list((tmp_path / "runs").iterdir())) == 3
