"""Where the files of a run lie.

run = Run("data/runs/demo-3b9c0f1a2b3c")               or s3://bucket/prefix/runs/demo-3b9c0f1a2b3c
run.store      the run folder          run.resolved   its recipe, every default filled in
run.journal("society/good-0.65-stereotype@5e1f…")     the calls of one model, shared by all runs under this root
"""

from functools import cached_property
from pathlib import Path

import yaml
from pydantic import ValidationError

from prefloom.flows.dataset.journal import Journal
from prefloom.flows.dataset.journal_objects import ObjectJournal
from prefloom.flows.dataset.plain import load_yaml
from prefloom.flows.dataset.store import Store, folder_of, is_remote
from prefloom.schemas.errors import InputError
from prefloom.schemas.recipe import Resolved

RECIPE = "recipe.resolved.yaml"


class Run:
    """A run folder `<root>/runs/<name>-<fingerprint>`, by its path or URL."""

    def __init__(self, folder: Path | str) -> None:
        self.url = str(folder).rstrip("/") or "/"
        self.store = Store(self.url)

    @classmethod
    def create(cls, root: Path | str, resolved: Resolved) -> "Run":
        """The folder for this recipe under `root`; nothing is written yet."""
        name = f"runs/{resolved.recipe.name}-{resolved.fingerprint}"
        if is_remote(str(root)) and not str(root).partition("://")[2].strip("/"):
            raise InputError(str(root), found="no bucket", expected="s3://bucket/prefix")
        run = cls(f"{str(root).rstrip('/')}/{name}" if is_remote(str(root)) else Path(root) / name)
        run.__dict__["resolved"] = resolved
        return run

    @property
    def folder(self) -> Path:
        """Where a run on this machine lies."""
        assert self.store.local, f"{self.url} is no folder"
        return Path(self.url)

    @property
    def name(self) -> str:
        """Name and fingerprint."""
        return self.url.rpartition("/")[2]

    @property
    def address(self) -> str:
        """Its URL or absolute path: what another process finds it by, wherever that was started."""
        return str(self.folder.absolute()) if self.store.local else self.url

    def beside(self, *names: str) -> str:
        """A folder that all runs under the same root share, such as `journal`."""
        return str(self.folder.parent.parent.joinpath(*names)) if self.store.local else "/".join([self.url.rsplit("/", 2)[0], *names])

    @cached_property
    def resolved(self) -> Resolved:
        """The recipe this run was started with. InputError if the file that holds it is not as `build` wrote it."""
        where = f"{self.store.url}/{RECIPE}"
        try:
            return Resolved.model_validate(load_yaml(self.store.read(RECIPE), where))
        except FileNotFoundError:
            raise InputError(where, found="no such file", expected="the recipe as `build` wrote it") from None
        except ValidationError as error:
            place = ".".join(str(part) for part in error.errors()[0]["loc"])
            raise InputError(where, place, found=error.errors()[0]["msg"], expected="the recipe as `build` wrote it; build again") from None

    def store_recipe(self) -> None:
        """Write `recipe.resolved.yaml`, in full."""
        self.store.publish(RECIPE, lambda file: file.write(self._recipe()))

    def recipe_is_stored(self) -> bool:
        """Whether the file says all that the recipe says now, also what no row depends on, such as prices."""
        return self.store.exists(RECIPE) and self.store.read(RECIPE) == self._recipe()

    def _recipe(self) -> bytes:
        text = yaml.safe_dump(self.resolved.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120)
        return text.encode()

    def journal(self, identity: str) -> Journal:
        """The journal of a model."""
        kind, owner = Journal if self.store.local else ObjectJournal, self.name.rpartition("-")[2]
        return kind(self.beside("journal", folder_of(identity)), owner)
