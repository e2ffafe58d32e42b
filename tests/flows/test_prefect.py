"""What a Prefect user finds on the page of a run: its name, what became of it, a table per stage, the log lines, the way to the report."""

import os
import re
import time
from pathlib import Path
from typing import Any

import pytest

from tests.command import SMALL, prefloom


def query(path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    """A POST to the API of the session's server."""
    from prefect import get_client

    with get_client(sync_client=True) as client:
        answer = client.request("POST", path, json=body)
        answer.raise_for_status()
        rows: list[dict[str, Any]] = answer.json()
        return rows


def flow_run(name: str) -> dict[str, Any]:
    """The latest flow run of this name."""
    runs = query("/flow_runs/filter", {"flow_runs": {"name": {"any_": [name]}}, "sort": "START_TIME_DESC"})
    return runs[0]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("prefect-page")
    extra = ["name=page", "run.report=true", "prices.judge={prompt: 1, completion: 1}"]
    prefloom("build", *SMALL, *(part for value in extra for part in ("--set", value)), "--out", str(out))
    (run,) = (out / "runs").iterdir()
    return run


def test_a_run_is_named_after_its_folder_and_says_what_came_of_it(built: Path) -> None:
    run = flow_run(built.name)
    assert run["state"]["type"] == "COMPLETED"
    assert re.fullmatch(rf"[\d,]+ labels, [\d,]+ preferences in {re.escape(str(built))}", run["state"]["message"])
    tasks = query("/task_runs/filter", {"flow_runs": {"id": {"any_": [run["id"]]}}, "limit": 200})
    messages = {task["name"]: task["state"]["message"] for task in tasks}
    assert re.match(r"[\d,]+ readings kept.*asked [\d,]+, 0 from the journal, [\d.]+ [kM] tokens", messages["judgements 00003"])
    assert re.match(r"[\d,]+ labels kept", messages["preferences 00001"])
    assert str(built / "report.html") in messages["report"]


def test_every_stage_has_a_table_and_the_report_a_link(built: Path) -> None:
    run = flow_run(built.name)
    artifacts = {a["key"]: a for a in query("/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run["id"]]}}, "limit": 200})}
    stages = ["personas", "prompts", "candidates", "comparisons", "judgements", "labels", "preferences", "exports"]
    assert set(artifacts) == {*(f"page-{stage}" for stage in stages), "page-report"}
    table = str(artifacts["page-judgements"]["data"])
    for word in ("considered", "failure: off menu", "from the journal", "tokens", "spent", "$"):
        assert word in table
    assert (built / "report.html").as_uri() in str(artifacts["page-report"]["data"])


def test_the_log_of_a_run_is_the_log_of_the_build(built: Path) -> None:
    run = flow_run(built.name)
    deadline = time.monotonic() + 30
    while len(logs := query("/logs/filter", {"logs": {"flow_run_id": {"any_": [run["id"]]}}})) < 8 and time.monotonic() < deadline:
        time.sleep(0.5)
    assert {log["name"] for log in logs} == {"prefloom"}
    assert any(re.match(r"preferences +[\d,]+ labels kept, [\d,]+ rejected \(", log["message"]) for log in logs)


def test_a_build_that_fails_says_why_on_its_page(tmp_path: Path) -> None:
    done = prefloom("build", *SMALL, "--set", "name=ends-badly", "--set", "candidates.max_tokens=2", "--out", str(tmp_path), check=False)
    assert done.returncode == 2
    (run,) = (tmp_path / "runs").iterdir()
    state = flow_run(run.name)["state"]
    assert state["type"] == "FAILED"
    assert "candidates: found nothing left of 80 answers" in state["message"]


def test_nothing_is_sent_anywhere() -> None:
    assert os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert os.environ["DO_NOT_TRACK"] == "1"
