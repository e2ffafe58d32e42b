"""Secrets in texts are named by place and kind, and never printed."""

from typing import Any

import polars as pl
import pytest

from prefloom.flows.dataset import tables
from prefloom.flows.dataset.secrets import KINDS, MARKS, find, in_values, kind_of
from prefloom.flows.dataset.store import Store
from prefloom.schemas.label import TrlExample
from prefloom.schemas.prompt import Prompt

# Put together here, so that nobody's scanner takes this file for a leak.
SECRETS = {
    "private key": "-----BEGIN RSA PRIVATE " + "KEY-----",
    "AWS key": "AKIA" + "IOSFODNN7ABCDEFG",
    "GitHub token": "ghp_" + "a1B2" * 9,
    "GitLab token": "glpat-" + "a1B2c3D4e5" * 2,
    "Hugging Face token": "hf_" + "aBcD" * 8,
    "Anthropic or OpenAI key": "sk-ant-" + "a1B2" * 10,
    "Google key": "AIza" + "a1B2c" * 7,
    "Slack token": "xoxb-" + "1234567890-" * 2 + "abc",
    "Stripe key": "sk_live_" + "a1B2" * 6,
    "PyPI token": "pypi-AgE" + "a1B2" * 13,
    "npm token": "npm_" + "a1B2" * 9,
    "SendGrid key": "SG." + "a1B2" * 5 + "." + "a1B2" * 10,
    "JSON web token": "eyJ" + "hbGciOiJIUzI1." + "eyJ" + "zdWIiOiIxMjM0." + "SflKxwRJSMeKKF2QT4",
    "password in a URL": "postgres://admin:" + "hunter22@db.internal",
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_found(kind: str) -> None:
    assert kind_of(f"use {SECRETS[kind]} here") == kind
    assert any(mark in SECRETS[kind] for mark in MARKS), "or the quick look misses it"


@pytest.mark.parametrize(
    "text", ["AKIA" + "IOSFODNN7EXAMPLE", "redis://user:password@host", "https://example.org/a:b@c", "sk-short", "hf_hub_download", "ASIA"]
)
def test_what_documentation_prints_is_none(text: str) -> None:
    assert kind_of(text) == ""


def test_the_place_is_named_and_the_secret_is_not(store: Store) -> None:
    blank: dict[str, Any] = {"domain": "d", "source": "file", "source_id": None, "split": "train"}
    rows = [Prompt(prompt_id=f"{i:016x}", text="nothing here" if i < 2 else SECRETS["GitHub token"], **blank) for i in range(3)]
    tables.write(store, "prompts/part-00000.parquet", Prompt, tables.frame(Prompt, rows))
    said = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "as I said: " + SECRETS["AWS key"]}]
    example = {"prompt": said, "chosen": said[:1], "rejected": [], "margin": 1.0, "persona_id": "p", "comparison_id": "c"}
    frame = pl.DataFrame([{**example, "prompt": said[:1]}, example])
    tables.write(
        store, "exports/trl/train/part-00000.parquet", TrlExample, frame.with_columns(pl.col("rejected").cast(frame["prompt"].dtype))
    )
    store.publish("exports/x.csv", lambda file: file.write(b"a,b\n1," + SECRETS["npm token"].encode()))
    found = list(find(store, ["prompts/part-00000.parquet", "exports/trl/train/part-00000.parquet", "exports/x.csv"]))
    assert [str(leak) for leak in found] == [
        "GitHub token in prompts/part-00000.parquet, row 3 (0000000000000002), column text",
        "AWS key in exports/trl/train/part-00000.parquet, row 2 (p), column prompt",
        "npm token in exports/x.csv, row 2, column text",
    ]


def test_recipes_and_manifests_are_read_by_value() -> None:
    token = SECRETS["Anthropic or OpenAI key"]
    said = {"publish": {"description": f"one\n{token}", "authors": ["a", f"\t{token}"]}, "models": {token: {"note": f" {token}"}}}
    found = [str(leak) for leak in in_values("recipe", said)]
    places = ["publish.description", "publish.authors.1", "models.0", "models.0.note"]
    assert found == [f"Anthropic or OpenAI key in recipe, {place}" for place in places]


@pytest.mark.parametrize("text", ["HTTPS://bob:" + "hunter22@db.internal", "redis://:" + "hunter22@cache.internal:6379"])
def test_passwords_in_other_urls(text: str) -> None:
    assert kind_of(text) == "password in a URL"
