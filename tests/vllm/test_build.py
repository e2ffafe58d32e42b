"""Whole builds on real servers: vLLM, started and stopped by the flow, and a server that gives no log-probabilities."""

import json
import os
import socket
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from prefloom.flows.dataset.store import Store
from prefloom.flows.dataset.validate import validate
from tests.command import prefloom
from tests.vllm.conftest import ARGUMENTS, ENVIRONMENT, HOME

# The tiny model babbles: what a check would say of its answers is no matter here.
LENIENT = {
    "candidates": {"truncated": False, "refused": False, "min_latin_share": 0.0},
    "labels": {"min_mass": 0.0, "min_margin": 0.0, "min_consistency": 0.0, "length_only": False},
}


def write(folder: Path, name: str, model: str, server: dict[str, Any], **changes: Any) -> Path:
    """A small recipe whose writer and judge are one model behind one kind of server."""
    recipe = {
        "name": name,
        "models": {"writer": {"engine": "endpoint", "model": model}, "judge": {"engine": "endpoint", "model": model, "votes": 3}},
        "servers": {"writer": server, "judge": server},
        "personas": [{"source": "grid", "count": 4}],
        "prompts": [{"source": "seeds", "count": 4}],
        "candidates": {"source": "models", "models": ["writer"], "views": [None, "a list"], "samples": 2, "max_tokens": 24},
        "judgements": {"model": "judge"},
        "checks": LENIENT,
        "shards": {"prompts": 2, "personas": 1},
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(recipe | changes))
    return path


def processes_of(word: str) -> list[str]:
    return subprocess.run(["pgrep", "-f", word], capture_output=True, text=True, check=False).stdout.split()


def test_a_build_starts_its_own_vllm_and_leaves_nothing_behind(tmp_path: Path) -> None:
    assert HOME
    weights = tmp_path / "weights"
    weights.symlink_to(HOME / "models" / "thinking")
    server = {
        "vllm": {"command": str(HOME / "bin" / "vllm"), "path": "weights", "arguments": ARGUMENTS, "environment": ENVIRONMENT},
        "concurrency": 32,
    }
    done = prefloom("build", str(write(tmp_path, "real", "tiny", server)), "--out", str(tmp_path / "data"))
    (run,) = (tmp_path / "data" / "runs").iterdir()
    assert not processes_of(str(weights))
    assert "letters by logprob_token_ids" in done.stderr
    assert all(not result.problems for result in validate(Store(str(run))))
    manifest = json.loads((run / "manifest.json").read_text())
    judge = manifest["probes"]["judge"]
    assert (judge["server"], judge["version"], judge["read"], judge["switch"]) == (
        "vllm",
        "0.32.0",
        "logprob_token_ids",
        "chat_template_kwargs",
    )
    assert judge["template"] in manifest["models"]["judge"]
    assert judge["revision"] in manifest["models"]["judge"]
    assert judge["constrained"]
    assert manifest["stages"]["candidates"]["considered"] == 16
    readings = pl.read_parquet(run / "judgements" / "*.parquet")
    assert readings.height > 0
    assert readings["log_odds"].n_unique() > readings.height // 4
    (execution,) = json.loads((run / "run.json").read_text())["executions"]
    counted, paid = execution["prefill"]["judgements"]["judge"], execution["stages"]["judgements"]["paid"]["judge"]
    assert counted["prompt_tokens"] == paid["prompt_tokens"]
    assert counted["cached_tokens"] == paid["cached_tokens"] > 0
    assert "Started server process" in (run / "logs" / "vllm-judge.log").read_text()
    again = prefloom("build", str(tmp_path / "real.yaml"), "--out", str(tmp_path / "data"))
    assert "already built" in again.stdout


def test_a_server_without_log_probabilities_is_read_by_votes_and_says_so(tmp_path: Path) -> None:
    assert HOME
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    model = str(HOME / "models" / "plain")
    command = [str(HOME / "bin" / "transformers"), "serve", model, "--device", "cpu", "--host", "127.0.0.1", "--port", str(port)]
    with (tmp_path / "serve.log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | {"HF_HUB_OFFLINE": "1"})
        try:
            wait_for(f"http://127.0.0.1:{port}/health", server)
            # It gives one answer to everything it is asked alike: the answers to compare come from a file.
            answers = [
                {"text": f"Answer {kind} to {n}: {' '.join([word] * (1 + 9 * kind))}.", "id": str(n)}
                for n in range(4)
                for kind, word in enumerate(("yes", "no"))
            ]
            (tmp_path / "answers.jsonl").write_text("".join(json.dumps(answer) + "\n" for answer in answers))
            (tmp_path / "prompts.jsonl").write_text("".join(json.dumps({"id": str(n), "text": f"Question {n}?"}) + "\n" for n in range(4)))
            recipe = write(
                tmp_path,
                "votes",
                model,
                {"urls": [f"http://127.0.0.1:{port}/v1"], "concurrency": 8},
                prompts=[{"source": "file", "path": "prompts.jsonl", "fields": {"id": "id"}}],
                candidates={"source": "file", "path": "answers.jsonl", "fields": {"prompt_id": "id", "model": None}},
                # What a tiny model says it may say to everything, and equal votes decide nothing: one person decides by itself.
                judgements={"model": "judge", "templates": ["judge/pairwise", "judge/choice", "judge/reader"]},
                personas=[{"source": "grid", "count": 12}, {"source": "ensemble", "weights": [{"long": 1.0}]}],
                rewards={"long": {"engine": "scorer", "set": "reading", "property": "length"}},
            )
            done = prefloom("build", str(recipe), "--out", str(tmp_path / "data"))
        finally:
            server.kill()
            server.wait()
    assert "letters by votes, for it gives no log-probabilities" in done.stderr
    (run,) = (tmp_path / "data" / "runs").iterdir()
    assert all(not result.problems for result in validate(Store(str(run))))
    assert json.loads((run / "manifest.json").read_text())["probes"]["judge"]["read"] == "votes"


def wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    raise AssertionError(f"{url} does not answer")
