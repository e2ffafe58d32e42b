"""A real Prefect server: a schedule fires, builds, publishes to a Hub, and the event of that starts a training; a worker runs a build."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from prefloom.flows.dataset import executions
from prefloom.flows.dataset.store import Store
from tests.hub_double import hub
from tests.hub_state import Hub

PREFECT = [sys.executable, "-m", "prefect", "--no-prompt"]
TINY = ["personas.0.count=8", "prompts.0.count=5", "run.report=false", "run.workers=2", "shards={prompts: 1, personas: 1}"]
YAML = Path(__file__).parents[2] / "flows" / "prefect.yaml"
TRAINER = """
import sys, datasets, numpy
rows = datasets.load_dataset(sys.argv[1], "preferences", revision=sys.argv[2], split="train")
longer = numpy.array([len(row["chosen"][-1]["content"]) > len(row["rejected"][-1]["content"]) for row in rows])
print(f"learnt from {len(rows)} pairs: the longer one wins {longer.mean():.2f}")
"""


@dataclass
class Site:
    """A folder, a Prefect server and a Hub."""

    folder: Path
    url: str
    environment: dict[str, str]
    hub: Hub

    def start(self, *command: str) -> "subprocess.Popen[str]":
        with (self.folder / "log").open("a") as log:
            return subprocess.Popen(command, cwd=self.folder, env=self.environment, stdout=log, stderr=log, text=True)

    def prefect(self, *words: str) -> None:
        done = subprocess.run([*PREFECT, *words], cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def query(self, path: str, **body: Any) -> list[dict[str, Any]]:
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            rows: list[dict[str, Any]] = json.load(answer)
        return rows

    def ended(self, name: str, deployment: str) -> list[dict[str, Any]]:
        """Finished runs of a flow by a deployment, the oldest first."""
        chosen = {"flows": {"name": {"any_": [name]}}, "deployments": {"name": {"any_": [deployment]}}}
        states = {"flow_runs": {"state": {"type": {"any_": ["COMPLETED", "FAILED", "CRASHED"]}}}}
        return self.query("/flow_runs/filter", sort="START_TIME_ASC", **chosen, **states)

    def wait(self, what: Callable[[], Any], seconds: float = 150) -> Any:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if found := what():
                return found
            time.sleep(0.5)
        raise AssertionError((self.folder / "log").read_text()[-4000:])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    (folder / "train.py").write_text(TRAINER)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/api"
    with hub() as double:
        here = {"PWD": str(folder), "PREFECT_API_URL": url, "PREFECT_HOME": str(folder / "prefect"), "PREFECT_RUNNER_POLL_FREQUENCY": "1"}
        here |= {"PREFECT_WORKER_QUERY_SECONDS": "1", "HF_ENDPOINT": double.url, "HF_TOKEN": double.token, "HF_HOME": str(folder / "hf")}
        site = Site(folder, url, os.environ | here, double)
        server = site.start(*PREFECT, "server", "start", "--host", "127.0.0.1", "--port", str(port), "--no-ui")
        try:
            site.wait(lambda: _answers(f"{url}/health"))
            yield site
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(timeout=60)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False


def _children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in found.read_text().split()]


def test_a_schedule_fires_builds_publishes_and_trains(site: Site) -> None:
    sets = [part for value in TINY for part in ("--set", value)]
    train = f"{sys.executable} train.py {{repo_id}} {{revision}}"
    grow = ["--grow", "personas.0.count=+4", "--repo-id", "me/prefs", "--train", train]
    serving = site.start(sys.executable, "-m", "prefloom.flows.cli", "serve", "demo", *sets, *grow, "--every", "12", "--json")
    try:
        trained = site.wait(lambda: site.ended("train", "demo"))
        nights = site.wait(lambda: len(found := site.ended("nightly", "demo")) > 1 and found)
    finally:
        children = _children(serving.pid)
        serving.send_signal(signal.SIGTERM)
        serving.wait(timeout=60)
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]

    # As they were before the stop: Prefect's runner cancels what it stops, even a run that has just completed.
    first, second = [str(run["state"]["message"]) for run in nights[:2]]
    assert "personas.0.count 8" in first
    assert "personas.0.count 12" in second
    history = site.hub.repos["me/prefs"].history("main")
    assert trained[0]["parameters"]["revision"] in [commit.oid for commit in history]
    assert trained[0]["state"]["type"] == "COMPLETED", trained[0]["state"]
    assert "learnt from" in trained[0]["state"]["message"]
    (event, *_) = site.query("/events/filter", filter={"event": {"name": ["prefloom.dataset.published"]}}, limit=9)["events"]  # type: ignore[call-overload]
    assert event["resource"]["prefect.resource.id"] == "prefloom.dataset.me/prefs"

    names = [first.split(",")[0], second.split(",")[0]]
    asked = [[r for e in executions.read(Store(str(site.folder / "data/runs" / n))) for r in e.stages.values()] for n in names]
    counts = [(sum(r.asked for r in reports), sum(r.from_journal for r in reports)) for reports in asked]
    assert counts[0][1] == 0
    assert counts[1][1] == counts[0][0], "the second night asks nothing that the first has asked"
    assert 0 < counts[1][0] < counts[0][0]

    assert json.loads((site.folder / "log").read_text().splitlines()[-1])["stopped"] == ["nightly/demo", "train/demo"]
    assert all(row["paused"] for row in site.query("/deployments/filter"))


def test_a_worker_runs_what_prefect_yaml_deploys(site: Site) -> None:
    site.prefect("work-pool", "create", "prefloom", "--type", "process")
    site.prefect("deploy", "--prefect-file", str(YAML), "--all")
    deployed = {row["name"]: row for row in site.query("/deployments/filter", deployments={"tags": {"all_": ["prefloom"]}})}
    assert {"build", "nightly", "publish", "train"} <= set(deployed)
    assert not [name for name, row in deployed.items() if any(s["active"] for s in row["schedules"]) and not row["paused"]]
    for row in deployed.values():
        described = row["parameter_openapi_schema"]["properties"]
        assert all(parameter.get("description") for parameter in described.values()), row["name"]
    worker = site.start(*PREFECT, "worker", "start", "--pool", "prefloom", "--type", "process")
    try:
        site.prefect("deployment", "run", "nightly/build", "-p", f"overrides={json.dumps([*TINY, 'seed=5'])}")
        (built,) = site.wait(lambda: site.ended("nightly", "build"))
    finally:
        worker.send_signal(signal.SIGINT)
        worker.wait(timeout=60)
    assert built["state"]["type"] == "COMPLETED", built["state"]
    (line, *_) = str(built["state"]["message"]).split(":")
    assert (site.folder / "data" / "runs" / line / "manifest.json").exists(), "the run folder lies where it was deployed from"
