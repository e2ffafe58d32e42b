"""Under which licences the texts of a dataset stand, and whether it may be published so.

sources(resolved)        ->  [Source("writer", "answers", "apache-2.0"), Source("prompts.jsonl", "prompts", None), …]
settle(resolved)         ->  Terms(licence="cc-by-4.0", sources=[…], objections=["the licence of prompts.jsonl is not known"], forbidden=[])

An objection keeps a dataset private, where the card repeats it; what is forbidden is not published at all. Texts that ship with
prefloom are Apache-2.0, as it is; words of the recipe itself (templates of personas, views) are its author's.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from prefloom.flows.dataset.inputs import file_sha256
from prefloom.schemas.errors import InputError, nearest
from prefloom.schemas.models import SocietyModel
from prefloom.schemas.people import WrittenPersonas
from prefloom.schemas.prompt_sources import AugmentedPrompts, SpecificPrompts
from prefloom.schemas.publishing import LICENCES
from prefloom.schemas.recipe import Resolved, askable

OURS = "apache-2.0"
SHIPPED = "prefloom"
_NEEDED = "name it under publish.licences of the recipe, build again (nothing is asked), and publish"


@dataclass(frozen=True)
class Source:
    """Where texts, or judgements, come from. `name` is a model of the recipe or a file without its folder."""

    name: str
    what: str
    licence: str | None


@dataclass(frozen=True)
class Terms:
    """The dataset's licence (None if it cannot be told), its sources, and what stands against publishing."""

    licence: str | None
    sources: list[Source]
    objections: list[str]
    forbidden: list[str]


def sources(resolved: Resolved) -> list[Source]:
    """Every source once, in the order of the stages. InputError if publish.licences names something that is none."""
    _expect_names(resolved)
    named = list(dict.fromkeys(_named(resolved)))
    said = resolved.recipe.publish.licences
    if strange := [name for name in said if name not in {name for name, _, _ in named}]:
        valid = {name for name, _, ours in named if not ours}
        known = nearest(strange[0], valid) if valid else "all texts ship with prefloom"
        raise InputError("recipe", f"publish.licences.{strange[0]}", found="no source of texts", expected=known)
    return [Source(name, what, said.get(name, OURS if ours else None)) for name, what, ours in named]


def _expect_names(resolved: Resolved) -> None:
    """InputError for files of one name: a licence for one would be taken for both, as would a path in the published recipe."""
    seen, shipped = dict[str, str](), shipped_files()
    for path, sha256 in resolved.inputs.items():
        name = Path(path).name
        if sha256 not in shipped and seen.setdefault(name, sha256) != sha256:
            raise InputError("recipe", found=f"two input files called {name}", expected="names that differ, to be published by")


def _named(resolved: Resolved) -> Iterator[tuple[str, str, bool]]:
    """(name, what comes from it, whether it ships with prefloom: by what a file holds, for the run may have come from another machine)."""
    recipe, shipped = resolved.recipe, shipped_files()

    def model(name: str, what: str) -> tuple[str, str, bool]:
        return name, what, isinstance(recipe.models[name], SocietyModel)

    def file(path: str | None, what: str) -> tuple[str, str, bool]:
        ours = path is None or resolved.inputs.get(path) in shipped
        return (SHIPPED if ours else Path(path or "").name), what, ours

    for person in recipe.personas:
        if isinstance(person, WrittenPersonas):
            yield model(person.model, "personas")
        elif hasattr(person, "path") or person.source == "society":
            yield file(getattr(person, "path", None), "personas")
    for prompt in recipe.prompts:
        if isinstance(prompt, AugmentedPrompts | SpecificPrompts):
            yield model(prompt.model, "prompts")
        if not isinstance(prompt, SpecificPrompts):
            yield file(prompt.path, "prompts")
    for name in askable(recipe.candidates):
        yield model(name, "answers")
    if recipe.candidates.source == "file":
        yield file(recipe.candidates.path, "answers")
    if recipe.refinement and recipe.refinement.model:
        yield model(recipe.refinement.model, "refined descriptions")
    if recipe.judgements.model:
        yield model(recipe.judgements.model, "judgements")


def shipped_files() -> dict[str, str]:
    """sha256 -> name of the files of texts that ship with prefloom."""
    seeds = Path(str(files("prefloom.data") / "seeds"))
    return {file_sha256(path): path.name for path in sorted(seeds.iterdir())}


def settle(resolved: Resolved) -> Terms:
    """The licence of the dataset and what stands against it."""
    found, recipe = sources(resolved), resolved.recipe
    known = {source.licence for source in found if source.licence}
    shared = next(iter(known)) if len(known) == 1 and all(source.licence for source in found) else None
    licence = recipe.publish.licence or shared
    objections = [f"the licence of {source.name} ({source.what}) is not known: {_NEEDED}" for source in found if source.licence is None]
    if licence is None and len(known) > 1:
        objections.append(f"its sources have several licences ({', '.join(sorted(known))}) and publish.licence names none for the dataset")
    shares = {source.licence for source in found if LICENCES.get(source.licence or "") in ("alike", "noncommercial-alike")}
    if len(shares) > 1:
        objections.append(f"{' and '.join(sorted(str(name) for name in shares))} each want what is made of them to have the same licence")
    for source in found:
        if source.licence and licence and (clash := _clash(source.licence, licence)):
            objections.append(f"{source.name} ({source.what}) is under {source.licence}, {clash}, and the dataset is under {licence}")
    closed = [f"{source.name} ({source.what}) is proprietary" for source in found if LICENCES.get(source.licence or "") == "closed"]
    return Terms(licence, found, list(dict.fromkeys(objections)), closed)


def _clash(source: str, dataset: str) -> str:
    """Why texts under `source` cannot stand in a dataset under `dataset`; nothing if they can."""
    kind = LICENCES[source]
    if kind == "frozen":
        return "of which nothing may be made"
    if kind in ("alike", "noncommercial-alike") and dataset != source:
        return "which what is made of it must have too"
    if kind == "noncommercial" and not LICENCES[dataset].startswith("noncommercial"):
        return "which allows no commerce"
    if kind == "terms" and dataset not in (source, "other"):
        return "whose own terms come along (publish.licence: other says so)"
    return ""
