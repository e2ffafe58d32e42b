"""The manifest: the list that makes files a dataset. It is written last; a folder without one is not a dataset.

{"schema_version": 1, "name": "demo", "fingerprint": "3b9c…", "files": [{"path": "labels/part-00000.parquet",
 "rows": 5021, "bytes": 310223, "sha256": "…"}, …], "stages": {"labels": {"considered": 20000, "kept": 19950,
 "rejected": {"failure/unread": 50}, …}}, "templates": {"judge/pairwise": "…"}, "models": {"judge": "…"}, "versions": {…}}

No clock, host or path stands in it: the same recipe gives the same bytes anywhere.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from prefloom.schemas.probe import Probe
from prefloom.schemas.usage import Usages

SCHEMA_VERSION = 1


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid")


class FileEntry(_Entry):
    """One file of the dataset."""

    path: str = Field(description="Path inside the run folder")
    rows: int = Field(description="Number of rows")
    bytes: int = Field(description="Size")
    sha256: str = Field(description="Hash of its bytes")


class Accounting(_Entry):
    """considered = kept + the sum of rejected, always."""

    considered: int = Field(description="Units that entered the stage")
    kept: int = Field(description="Units it kept")
    rejected: dict[str, int] = Field(description="'kind/reason' -> number of rejected rows")

    @property
    def closed(self) -> bool:
        """Whether the sum holds."""
        return self.considered == self.kept + sum(self.rejected.values())

    def failures(self) -> int:
        """Units lost to failures (not to checks)."""
        return sum(n for reason, n in self.rejected.items() if reason.startswith("failure/"))


class StageEntry(Accounting):
    """A finished stage: what it was made from, what it holds. Also the content of `<stage>/_stage.json`."""

    hash: str = Field(description="Hash of recipe sections, templates, models, STAGE_VERSION and the parents' digests")
    digest: str = Field(description="Hash of its files' paths and sha256: what its children depend on")
    files: list[FileEntry] = Field(description="Files it wrote")
    usage: Usages = Field(description="Model -> the calls its rows stand on, whenever they were paid for")


class Manifest(_Entry):
    """Everything a reader needs to check a dataset and to know where it came from."""

    schema_version: int = SCHEMA_VERSION
    name: str
    fingerprint: str
    recipe: dict[str, Any]
    parents: list[str] = Field(description="sha256 of every input file")
    templates: dict[str, str]
    models: dict[str, str]
    probes: dict[str, Probe] = Field(default={}, description="Model -> what its servers showed, for those that were asked over a network")
    versions: dict[str, str]
    stages: dict[str, StageEntry]

    @property
    def files(self) -> list[FileEntry]:
        """All files, in the order of the stages."""
        return [file for stage in self.stages.values() for file in stage.files]
