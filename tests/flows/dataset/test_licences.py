"""Licences: every source has one, and what does not go together is not published."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from prefloom.flows.dataset.licences import Terms, settle, sources
from prefloom.flows.dataset.portable import folders, portable
from prefloom.schemas.errors import InputError
from prefloom.schemas.manifest import Manifest
from prefloom.schemas.publishing import Publish
from prefloom.schemas.recipe import Resolved
from tests.helpers import BASE, resolved


@pytest.fixture
def mixed(tmp_path: Path) -> dict[str, Any]:
    """A recipe whose prompts and answers come from files."""
    (tmp_path / "prompts.jsonl").write_text('{"text": "a"}\n')
    (tmp_path / "answers.jsonl").write_text('{"text": "a", "prompt": "a"}\n')
    answers = {"source": "file", "path": str(tmp_path / "answers.jsonl"), "fields": {"prompt": "prompt"}}
    return {"prompts": [{"source": "file", "path": str(tmp_path / "prompts.jsonl")}], "candidates": answers}


def terms(mixed: dict[str, Any], prompts: str | None, answers: str | None, dataset: str | None = None) -> Terms:
    said = {name: licence for name, licence in (("prompts.jsonl", prompts), ("answers.jsonl", answers)) if licence}
    return settle(resolved(**mixed, publish={"licence": dataset, "licences": said}))


def test_what_ships_is_ours() -> None:
    found = settle(resolved())
    assert (found.licence, found.objections, found.forbidden) == ("apache-2.0", [], [])
    assert {(source.name, source.what) for source in found.sources} == {
        ("prefloom", "personas"),
        ("prefloom", "prompts"),
        ("terse", "answers"),
        ("judge", "judgements"),
    }


@pytest.mark.parametrize(
    ("prompts", "answers", "dataset", "objection"),
    [
        ("mit", None, "mit", "the licence of answers.jsonl (answers) is not known"),
        ("mit", "cc-by-4.0", None, "its sources have several licences (apache-2.0, cc-by-4.0, mit)"),
        ("cc-by-nc-4.0", "mit", "cc-by-4.0", "prompts.jsonl (prompts) is under cc-by-nc-4.0, which allows no commerce"),
        ("cc-by-sa-4.0", "mit", "mit", "which what is made of it must have too"),
        ("cc-by-sa-4.0", "cc-by-nc-sa-4.0", "cc-by-nc-sa-4.0", "each want what is made of them to have the same licence"),
        ("cc-by-nc-nd-4.0", "mit", "cc-by-nc-4.0", "of which nothing may be made"),
        ("llama3.1", "mit", "apache-2.0", "whose own terms come along"),
    ],
)
def test_what_stands_against_it(mixed: dict[str, Any], prompts: str, answers: str | None, dataset: str | None, objection: str) -> None:
    assert any(objection in said for said in terms(mixed, prompts, answers, dataset).objections)


@pytest.mark.parametrize(
    ("prompts", "answers", "dataset"),
    [
        ("mit", "apache-2.0", "cc-by-4.0"),
        ("cc-by-nc-4.0", "mit", "cc-by-nc-4.0"),
        ("cc-by-sa-4.0", "mit", "cc-by-sa-4.0"),
        ("gemma", "other", "other"),
    ],
)
def test_what_goes_together(mixed: dict[str, Any], prompts: str, answers: str, dataset: str) -> None:
    assert terms(mixed, prompts, answers, dataset).objections == []


def test_proprietary_is_never_published(mixed: dict[str, Any]) -> None:
    assert terms(mixed, "proprietary", "mit", "other").forbidden == ["prompts.jsonl (prompts) is proprietary"]


def test_mistakes_are_named(mixed: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"licence 'apache'; did you mean 'apache-2.0'"):
        Publish(licence="apache")
    with pytest.raises(InputError, match=r"publish.licences.promts.jsonl: found no source of texts; did you mean 'prompts.jsonl'"):
        sources(resolved(**mixed, publish={"licences": {"promts.jsonl": "mit"}}))


def test_publishing_is_no_part_of_the_fingerprint(mixed: dict[str, Any]) -> None:
    assert resolved(publish={"licence": "mit"}).fingerprint == resolved().fingerprint
    assert "publish" not in resolved().model_dump()["recipe"]


def test_a_recipe_leaves_without_its_folders(mixed: dict[str, Any], tmp_path: Path) -> None:
    template = tmp_path / "mine.md"
    servers = {"judge": {"urls": ["http://10.0.0.7:8000/v1"], "key": "MY_KEY"}}
    models = BASE["models"] | {"judge": {"engine": "endpoint", "model": "/home/ada/weights/qwen"}}
    mine: Resolved = resolved(**mixed, models=models, servers=servers, judgements={"model": "judge", "templates": [str(template)]})
    found = portable(mine)
    assert str(tmp_path) not in str(found)
    assert "10.0.0.7" not in str(found)
    assert "MY_KEY" not in str(found)
    assert found["inputs"].keys() == {"prompts.jsonl", "answers.jsonl"}
    assert found["recipe"]["judgements"]["templates"] == ["mine.md"]
    manifest = Manifest.model_construct(recipe=mine.data(), models={"judge": "/home/ada/weights/qwen@1", "terse": "society/terse@a/b"})
    assert folders(manifest) == ["/home/ada/weights/qwen", "/home/ada/weights/qwen@1"], "said before it is published"


def test_files_of_one_name_are_not_taken_for_each_other(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "prompts.jsonl").write_text(f'{{"text": "What is {folder}?"}}\n')
    prompts = [{"source": "file", "path": str(tmp_path / folder / "prompts.jsonl")} for folder in ("a", "b")]
    with pytest.raises(InputError, match=r"two input files called prompts\.jsonl"):
        sources(resolved(prompts=prompts))
