"""Shards in a Ray cluster of two nodes: the bytes of threads, also when a node dies in the middle; what a shard refuses is one line."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from prefloom.flows import policies
from prefloom.flows.dataset.resolve import resolve
from prefloom.schemas.errors import InputError
from tests.command import SMALL, prefloom

NODE: dict[str, Any] = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 80 << 20}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes on this machine, and RAY_ADDRESS set."""
    pytest.importorskip("prefect_ray")
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        made = Cluster(initialize_head=True, head_node_args=NODE)
        made.victim = made.add_node(**NODE)
        patch.setenv("RAY_ADDRESS", made.address)
        yield made
        made.shutdown()


def test_what_a_shard_refuses_is_one_line(cluster: Any, tmp_path: Path) -> None:
    (tmp_path / "prompts.jsonl").write_text('{"text": "How do I wrap a present?"}\n{"words": "none"}\n')
    source = f"prompts=[{{source: file, path: {tmp_path}/prompts.jsonl, fields: {{text: text}}}}]"
    refused = prefloom("build", *SMALL, "--set", "run.runner=ray", "--set", source, "--out", str(tmp_path), check=False)
    assert refused.returncode == 2, refused.stderr
    assert f"prefloom: {tmp_path}/prompts.jsonl" in refused.stderr.splitlines()[-1]
    assert "Traceback" not in refused.stderr


def test_a_node_dies_in_the_middle(cluster: Any, small: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "prefloom.flows.cli", "build", *SMALL, "--set", "run.runner=ray", "--out", str(tmp_path)]
    build = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    run, writers = tmp_path / "runs" / small.name, set[str]()
    while build.poll() is None and not list(run.glob("judgements/part-*")):
        writers |= {path.name.split("-")[3] for path in tmp_path.glob("journal/*/open-*")}
        time.sleep(0.02)
    cluster.remove_node(cluster.victim, allow_graceful=False)
    assert not (run / "judgements" / "_stage.json").exists()
    said = build.communicate()[1]
    assert build.returncode == 0, said
    assert len(writers) > 1, "both nodes have asked"
    assert str(os.getpid()) not in writers
    assert (run / "manifest.json").read_bytes() == (small / "manifest.json").read_bytes()


def test_servers_that_a_build_starts_are_refused() -> None:
    judge = "models.judge={engine: endpoint, model: m}"
    with pytest.raises(InputError, match=r"run.runner ray asks from many machines, and servers.judge.vllm is started on one"):
        resolve("demo", [judge, "servers={judge: {vllm: {}}}", "run.runner=ray"])


def test_ray_is_no_part_of_the_fingerprint_and_not_imported_unless_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve("demo", ["run.runner=ray"]).fingerprint == resolve("demo").fingerprint
    assert "runner" not in resolve("demo").recipe.model_dump()["run"]
    monkeypatch.setitem(sys.modules, "prefect_ray", None)
    assert type(policies.task_runner(resolve("demo").recipe.run)).__name__ == "ThreadPoolTaskRunner"
    with pytest.raises(InputError, match=r"pip install 'prefloom\[ray\]'"):
        policies.task_runner(resolve("demo", ["run.runner=ray"]).recipe.run)


def test_machines_that_cannot_reach_prefect_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "NodeManagerAddress": f"10.0.0.{i}"} for i in range(2)])
    with pytest.raises(InputError, match=r"PREFECT_API_URL: .* that all 2 machines of the Ray cluster reach"):
        policies.placement(resolve("demo", ["run.runner=ray"]).recipe.run)
