"""A small place to break things in: three prompts, six answers, five personas, a finished dataset, and the command line in this process."""

import io
import json
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefloom.flows.cli import main

RECIPE = """
name: mine
models: {judge: {engine: society, character: good}}
personas: [{source: file, path: personas.jsonl, fields: {description: description, id: id}}]
prompts: [{source: file, path: prompts.jsonl, fields: {text: text, id: prompt_id, domain: domain}}]
candidates: {source: file, path: answers.jsonl, fields: {prompt_id: prompt_id, model: model, text: text}}
comparisons: {per_prompt: 4}
judgements: {model: judge}
shards: {prompts: 2, personas: 2}
run: {workers: 2, report: false}
"""
PROMPTS = [{"prompt_id": f"q{i}", "text": f"How do I wrap present {i}?", "domain": "gifts"} for i in range(3)]
ANSWERS = [{"prompt_id": f"q{i}", "model": m, "text": f"{m} says: lay it {i} down and fold."} for i in range(3) for m in ("Ann", "Bob")]
PERSONAS = [{"id": f"u{i}", "description": f"A baker number {i} who likes it brief."} for i in range(5)]


def lines(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def report(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self.out)
        return value


def command(*arguments: str) -> Ended:
    """The console command, as its script runs it."""
    out, err, before, code = io.StringIO(), io.StringIO(), sys.argv, 0
    sys.argv = ["prefloom", *arguments]
    try:
        with redirect_stdout(out), redirect_stderr(err):
            main()
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        sys.argv = before
    return Ended(code, out.getvalue(), err.getvalue())


@dataclass(frozen=True)
class Place:
    """A folder with input files, a recipe and `out`."""

    folder: Path

    def lay(self) -> "Place":
        for name, rows in (("prompts", PROMPTS), ("answers", ANSWERS), ("personas", PERSONAS)):
            (self.folder / f"{name}.jsonl").write_bytes(lines(rows))
        self.recipe.write_text(RECIPE)
        return self

    @property
    def recipe(self) -> Path:
        return self.folder / "mine.yaml"

    @property
    def run(self) -> Path:
        (run,) = (self.folder / "out" / "runs").glob("mine-*")
        return run

    @property
    def journal(self) -> Path:
        (journal,) = (self.folder / "out" / "journal").iterdir()
        return journal

    def put(self, name: str, content: bytes) -> str:
        (self.folder / name).write_bytes(content)
        return str(self.folder / name)

    def arguments(self, *overrides: str) -> list[str]:
        sets = [part for override in overrides for part in ("--set", override)]
        return ["build", str(self.recipe), "--out", str(self.folder / "out"), "--json", *sets]

    def build(self, *overrides: str) -> Ended:
        return command(*self.arguments(*overrides))

    def built(self, *overrides: str) -> dict[str, Any]:
        """The report of a build that must succeed."""
        ended = self.build(*overrides)
        assert (ended.code, ended.err) == (0, "")
        return ended.report

    def files(self) -> dict[str, bytes]:
        """Everything that lies here, byte for byte; not the lock and the notes of progress."""
        paths = (path for path in sorted(self.folder.rglob("*")) if path.is_file() and path.name[0] != ".")
        return {str(path): path.read_bytes() for path in paths}

    def refuses(self, *words: str, by: list[str] | None = None, overrides: tuple[str, ...] = (), loses: tuple[str, ...] = ()) -> str:
        """Run a command that must be refused: exit code 2, one line that says these words, no traceback, nothing lost."""
        before = self.files()
        ended = command(*by) if by else self.build(*overrides)
        return refused(ended, *words, kept=(before, self.files()), loses=loses)


def refused(ended: Ended, *words: str, kept: tuple[dict[str, bytes], dict[str, bytes]] = ({}, {}), loses: tuple[str, ...] = ()) -> str:
    """Hold an ended command to what every refusal promises; gives back its line."""
    before, after = kept
    assert (ended.code, "Traceback" in ended.err) == (2, False), ended.err
    (line,) = ended.err.splitlines()
    assert ended.report.keys() == {"error"}
    for word in words:
        assert word in line
        assert word in " ".join(ended.report["error"].split()) or not word.isprintable() or "\\" in word
    assert line.isprintable()
    assert len(line) < 3000, "long values are cut"
    lost = [name for name, content in before.items() if after.get(name) != content and not name.endswith(loses or ("\0",))]
    assert lost == [], lost
    return line
