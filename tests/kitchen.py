"""A small dataset whose judge, and maybe writer, is a stand-in server.

kitchen = Kitchen(tmp_path, server)          run = kitchen.built()          kitchen.recipe["limits"]["spend"] = 0.01
"""

import json
from pathlib import Path
from typing import Any

from tests.breaking import Ended, command, lines
from tests.stand_in import StandIn
from tests.stand_in_faults import POISON

PERSONAS = [{"id": f"u{i}", "text": f"A baker number {i} who likes it brief."} for i in range(5)]
ANSWERS = [{"prompt": f"q{i}", "model": name, "text": f"{name} says: lay it {i} down."} for i in range(4) for name in ("Ann", "Bob", "Eve")]
PROMPTS = [{"id": f"q{i}", "text": f"How do I wrap present {i}?"} for i in range(4)]


class Kitchen:
    """A folder with a recipe whose judge, and maybe writer, is a stand-in."""

    def __init__(self, folder: Path, server: StandIn, writes: bool = False, poisoned: bool = False) -> None:
        self.folder, self.server = folder, server
        people = [*PERSONAS, {"id": "bad", "text": f"A baker who says {POISON}."}] if poisoned else PERSONAS
        for name, rows in (("people", people), ("answers", ANSWERS), ("prompts", PROMPTS)):
            (folder / f"{name}.jsonl").write_bytes(lines(rows))
        served = {"urls": [server.url], "concurrency": 8, "timeout": 0.6, "attempts": 3, "patience": 20}
        models = {name: {"engine": "endpoint", "model": "stand-in", "votes": 5} for name in ("judge", *(["writer"] if writes else []))}
        file = {"source": "file", "path": "answers.jsonl", "fields": {"prompt_id": "prompt", "model": "model", "text": "text"}}
        self.recipe: dict[str, Any] = {
            "name": "mine",
            "models": models,
            "servers": dict.fromkeys(models, served),
            "personas": [{"source": "file", "path": "people.jsonl", "fields": {"description": "text", "id": "id"}}],
            "prompts": [{"source": "file", "path": "prompts.jsonl", "fields": {"text": "text", "id": "id"}}],
            "candidates": {"source": "models", "models": ["writer"], "samples": 3} if writes else file,
            "comparisons": {"per_prompt": 3, "per_persona_prompt": 3},
            "judgements": {"model": "judge"},
            "checks": {"labels": {"min_mass": 0.1, "min_margin": 0.0, "min_consistency": 0.0}},
            "shards": {"prompts": 2, "personas": 2},
            "limits": {"failures": 0.9},
            "run": {"workers": 2, "report": True},
        }

    def build(self, *arguments: str, out: str = "out") -> Ended:
        (self.folder / "recipe.yaml").write_text(json.dumps(self.recipe))
        return command("build", str(self.folder / "recipe.yaml"), "--out", str(self.folder / out), *arguments)

    def built(self, *arguments: str, out: str = "out") -> Path:
        """The run folder of a build that must succeed and be valid."""
        ended = self.build(*arguments, out=out)
        assert ended.code == 0, ended.err
        run = self.run(out)
        checked = command("validate", str(run))
        assert checked.code == 0, checked.out
        return run

    def run(self, out: str = "out") -> Path:
        (run,) = (self.folder / out / "runs").iterdir()
        return run
