"""A build with a target, through Prefect: killed while it plans a round it ends as if nothing had been, and says what is missing."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import yaml

from prefloom.flows.dataset.store import Store
from prefloom.flows.dataset.validate import validate
from tests.command import prefloom
from tests.flows.steps.test_targets import CHANGES
from tests.helpers import BASE, run_rounds

DRIVER = Path(__file__).parents[1] / "kill" / "driver.py"
TARGET = {"preferences": 100, "group": "age", "budget": 150}


def digests(run: Path) -> dict[str, str]:
    return {str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest() for path in run.rglob("*.parquet")}


def test_a_build_killed_in_its_second_round_goes_on_and_says_what_is_missing(tmp_path: Path) -> None:
    recipe, out = tmp_path / "recipe.yaml", tmp_path / "out"
    recipe.write_text(yaml.safe_dump(BASE | CHANGES | {"target": TARGET, "run": {"report": False}}))
    command = [sys.executable, str(DRIVER), str(tmp_path / "log"), "write targets/part-*", "2", "build", str(recipe), "--out", str(out)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == -9
    said = json.loads(prefloom("build", str(recipe), "--out", str(out), "--json").stdout)
    assert {name: (row["asked"], row["target"]) for name, row in said["targets"].items()} == dict.fromkeys(said["targets"], (150, 100))
    assert all(row["missing"] == 100 - row["kept"] and "target.budget" in row["why"] for row in said["targets"].values())
    run = Path(said["dataset"])
    assert [check.name for check in validate(Store(str(run))) if check.problems] == []
    plain = digests(run_rounds(tmp_path / "plain", **CHANGES, target=TARGET).folder)
    assert {name: digest for name, digest in digests(run).items() if "exports" not in name} == plain
    asked = [line for line in (tmp_path / "log").read_text().splitlines() if line.startswith("asked")]
    assert len(asked) == len(set(asked))
    refused = prefloom("build", str(recipe), "--out", str(out), "--set", "limits.missing=0", check=False)
    assert refused.returncode == 2
    assert "limits.missing: found" in refused.stderr
    assert "the budget of 150 is spent (raise target.budget)" in refused.stderr
