"""Publish a finished dataset on the Hugging Face Hub: one commit, private unless asked.

    prefloom publish data/runs/demo-3b9c… --repo-id me/prefs --tag v1.0.0      ->  https://huggingface.co/datasets/me/prefs

Checked first: the whole of `prefloom validate`, licences, secrets. What goes up is what the manifest lists, where the run has it, and
three files: the manifest, the recipe without folders and servers, and the card. Truth, journal, logs and run.json stay. The same run again
is recognised and changes nothing; another run becomes the next version, which says in its card what changed.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypedDict

import polars as pl
import pyarrow as pa
from prefect import flow
from prefect.client.schemas import State
from prefect.events import emit_event
from prefect.states import Completed

from prefloom.flows.dataset import hub, manifest, portable, secrets
from prefloom.flows.dataset.diff import diff
from prefloom.flows.dataset.licences import Terms, settle
from prefloom.flows.dataset.run import RECIPE, Run
from prefloom.flows.dataset.stages import MANIFEST, STAGES
from prefloom.flows.dataset.store import Store
from prefloom.flows.dataset.validate import validate
from prefloom.flows.report.card import card
from prefloom.schemas.errors import InputError
from prefloom.schemas.manifest import Manifest

logger = logging.getLogger("prefloom")

CARD = "README.md"
EVENT = "prefloom.dataset.published"
_LEAKS = 5  # that are named
_TAG = re.compile(r"(?!.*(?:\.\.|//|\.lock$|[./]$))[A-Za-z0-9][\w.+/-]{0,99}", re.ASCII)  # what git takes, and no shell, page or option
FOLDERS = {stage.name for stage in STAGES} | {"rejected"}


class Release(TypedDict):
    """Where the dataset is, and whether this call put it there."""

    repo_id: str
    url: str
    commit: str
    tag: str | None
    changed: bool
    dataset: str
    rows: int


@dataclass(frozen=True)
class Ready:
    """A dataset that may be published, as far as can be told without the Hub."""

    run: Run
    found: Manifest
    terms: Terms
    recipe: bytes

    @property
    def name(self) -> str:
        """Name and fingerprint."""
        return f"{self.found.name}-{self.found.fingerprint}"

    @property
    def hashes(self) -> dict[str, str]:
        """Path -> sha256 of every file of the dataset."""
        return {file.path: file.sha256 for file in self.found.files}

    def files(self) -> dict[str, hub.Content]:
        """All that goes up but the card."""
        tables: dict[str, hub.Content] = {path: self.run.folder / path for path in self.hashes}
        return tables | {MANIFEST: self.run.store.read(MANIFEST), RECIPE: self.recipe}


@flow(name="publish", flow_run_name="publish to {repo_id}", persist_result=False, validate_parameters=False)
def publish_dataset(run: str, repo_id: str, public: bool = False, tag: str | None = None, revision: str = "main") -> State[Release]:
    """Put the dataset in the run folder `run` on the branch `revision` of `repo_id`, and name the commit `tag`.

    InputError where it may not be published, and where the Hub refuses. Emits EVENT once a new version stands.

    Args:
        run: A run folder, such as data/runs/demo-b10794099e1f.
        repo_id: Dataset repository on the Hugging Face Hub, such as me/demo.
        public: Let everybody see the repository; only what a licence allows.
        tag: Name of this version, such as v1.0.0.
        revision: Branch that is published to.
    """
    expect_tag(tag)
    ready = prepare(run, public)
    place = hub.Place(repo_id, public)
    head = place.head(revision)
    _expect_free(place, tag, ready)
    files = ready.files()
    changed = not place.holds(head, files, ready.hashes)
    if changed:
        there = place.files(head)
        before = _before(place, head, there)
        difference = _difference(place, head, ready) if before else None
        page = card(ready.run.store, ready.run.resolved, repo_id, ready.terms, tag, difference).encode()
        ours = {path for path in there if path.split("/")[0] in FOLDERS}  # a stray part would be read as rows of a table
        gone = sorted(((before & there.keys()) | ours) - files.keys() if before else ())
        logger.info("sending %d files to %s", len(files) + 1, place.where)
        head = place.send(head, revision, files | {CARD: page}, gone, f"Publish {ready.name}", ready.hashes)
    if tag and place.tagged(tag) is None:
        place.name_it(tag, head)
        changed = True
    release = Release(
        repo_id=repo_id,
        url=place.where,
        commit=head,
        tag=tag,
        changed=changed,
        dataset=ready.name,
        rows=ready.found.stages["preferences"].kept,
    )
    if changed:
        payload = {key: release[key] for key in ("repo_id", "tag", "dataset", "rows")} | {"revision": head}
        emit_event(EVENT, resource={"prefect.resource.id": f"prefloom.dataset.{repo_id}"}, payload=payload)
    return Completed(message=f"{ready.name} is {'now' if changed else 'already'} at {place.where}", data=release)


def prepare(run: str, public: bool) -> Ready:
    """Check all that can be checked here. InputError names the first thing that stands against publishing."""
    if "://" in run:
        raise InputError("RUN", found=run, expected="a run folder on this machine")
    store = Store(run)
    manifest.load(store)
    return _prepared(run, public, store.sha256(MANIFEST), store.sha256(RECIPE))


@lru_cache(maxsize=1)  # the command line asks before it starts Prefect, and the flow again
def _prepared(run: str, public: bool, *_: str) -> Ready:
    here = Run(Path(run))
    found = manifest.load(here.store)
    if failed := [check for check in validate(here.store) if check.problems]:
        raise InputError(run, failed[0].name, found=failed[0].problems[0], expected="a valid dataset; see `prefloom validate`")
    terms = settle(here.resolved)
    named = [f"the manifest names a folder of this machine: {name}" for name in portable.folders(found)]
    terms = Terms(terms.licence, terms.sources, [*terms.objections, *named], terms.forbidden)
    if against := terms.forbidden or (terms.objections if public else []):
        raise InputError(run, "licences" if against is terms.forbidden else "--public", found="; ".join(against), expected=_wish(terms))
    ready = Ready(here, found, terms, portable.text(here.resolved).encode())
    _expect_no_secrets(ready)
    return ready


def _wish(terms: Terms) -> str:
    return "sources that may be passed on" if terms.forbidden else "all of that settled, or a private repository"


def _expect_no_secrets(ready: Ready) -> None:
    small = {RECIPE: portable.portable(ready.run.resolved), MANIFEST: ready.found.model_dump(mode="json")}
    leaks = [leak for name, said in small.items() for leak in secrets.in_values(name, said)]
    known = set(ready.run.resolved.recipe.publish.not_secret)
    leaks += [leak for leak in secrets.find(ready.run.store, sorted(ready.hashes)) if leak.row_id not in known]
    if leaks:
        more = f", and {len(leaks) - _LEAKS} more" if len(leaks) > _LEAKS else ""
        wish = "texts without keys and passwords (or its id under publish.not_secret, if it is none)"
        raise InputError(str(ready.run.folder), found="; ".join(map(str, leaks[:_LEAKS])) + more, expected=wish)


def expect_tag(tag: str | None) -> None:
    """InputError for a name that the Hub would refuse, once the commit stands."""
    if tag and not _TAG.fullmatch(tag):
        raise InputError("--tag", found=repr(tag), expected="letters, digits and . _ - + / between them, such as v1.0.0")


def _expect_free(place: hub.Place, tag: str | None, ready: Ready) -> None:
    """A tag never moves: it may be there only if it names this very dataset."""
    named = place.tagged(tag) if tag else None
    if named and not place.holds(named, ready.files(), ready.hashes):
        raise InputError("--tag", found=f"{tag}, which names another version ({named[:8]})", expected="a tag that is not taken")


def _before(place: hub.Place, head: str, there: Mapping[str, Any]) -> set[str]:
    """What the version before put there; nothing in a new repository. InputError in one that holds something else."""
    if MANIFEST not in there:
        if foreign := sorted(there.keys() - hub.OTHERS):
            raise InputError(place.where, found=f"{foreign[0]}, which is no dataset of prefloom's", expected="an empty repository")
        return set()
    with place.refusals():
        return {file.path for file in manifest.load(Store(place.url(head))).files}


def _difference(place: hub.Place, head: str, ready: Ready) -> dict[str, Any] | None:
    """What changed since the version before; nothing if that was made by a prefloom whose tables were others."""
    try:
        with place.refusals():
            return diff(Store(place.url(head)), ready.run.store)
    except (InputError, KeyError, pa.ArrowException, pl.exceptions.PolarsError) as error:
        logger.warning("the version before cannot be compared: %s", error)
        return None


def plan(ready: Ready, public: bool) -> dict[str, Any]:
    """What publishing would do, as far as is known here."""
    sizes = [file.bytes for file in ready.found.files]
    return {
        "dataset": ready.name,
        "public": public,
        "licence": ready.terms.licence,
        "objections": ready.terms.objections,
        "sources": [vars(source) for source in ready.terms.sources],
        "files": sorted([*ready.hashes, MANIFEST, RECIPE, CARD]),
        "bytes": sum(sizes),
        "rows": ready.found.stages["preferences"].kept,
    }


def text(said: Mapping[str, Any], files: Sequence[str]) -> str:
    """A plan as lines for a terminal."""
    lines = [f"{said['dataset']}: {len(files)} files, {said['bytes'] / 1e6:.1f} MB, {said['rows']:,} preferences; nothing was sent"]
    lines += [f"  {source['name']:<24} {source['what']:<22} {source['licence'] or 'unknown'}" for source in said["sources"]]
    lines.append(f"licence of the dataset: {said['licence'] or 'not settled'}")
    lines += [f"  private only: {line}" for line in said["objections"]]
    return "\n".join(lines)
