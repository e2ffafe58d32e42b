"""What the commands share: the options that many of them take, and how they answer.

say(as_json, {"dataset": "data/runs/demo-…", "valid": True}, "data/runs/demo-… is valid")
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from prefloom.flows.dataset.store import is_remote
from prefloom.schemas.errors import InputError
from prefloom.schemas.texts import visible

RecipeName = Annotated[str, typer.Argument(help="A recipe file, or the name of a recipe that ships with prefloom (demo).")]
Dataset = Annotated[
    str,
    typer.Argument(help="A run folder, or its s3:// URL.", callback=lambda name: name.rstrip("/") if is_remote(name) else str(Path(name))),
]
Out = Annotated[str, typer.Option(help="Folder that holds runs/ and journal/, or s3://bucket/prefix.")]
Overrides = Annotated[list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Override a value, e.g. personas.0.count=250.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]


def folder(out: str) -> Path:
    """A folder of this machine. InputError for a URL."""
    if is_remote(out):
        raise InputError("--out", found=out, expected="a local folder")
    return Path(out)


def say(as_json: bool, value: dict[str, Any], text: str) -> None:
    """Print one JSON object, or text for a reader."""
    try:
        sys.stdout.write((json.dumps(value, ensure_ascii=True) if as_json else visible(text)) + "\n")
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the rest of it has nowhere to go when Python ends
        if isinstance(error, BrokenPipeError):
            raise typer.Exit(128 + signal.SIGPIPE) from None  # whoever read along has had enough
        error.filename = "standard output"
        raise
