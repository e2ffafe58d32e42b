"""One Prefect server for all tests, one small dataset for each worker. Nothing here reaches the network."""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from prefloom.flows import policies
from prefloom.flows.dataset.run import Run
from prefloom.flows.dataset.store import Store
from tests.breaking import Place
from tests.buckets import object_store
from tests.command import SMALL, prefloom, shared_prefect
from tests.exporting import exported
from tests.stand_in import StandIn, stand_in

policies.apply_environment()

# Of the files that take minutes, the longest first: begun last, they would leave the other workers of `pytest -n` with nothing to do.
LONGEST = (
    "tests/kill/test_kill",
    "tests/flows/test_build",
    "tests/flows/test_publish",
    "tests/flows/test_schedules",
    "tests/kill",
    "tests/flows/test_ray",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: next((i for i, name in enumerate(LONGEST) if item.nodeid.startswith(name)), len(LONGEST)))


_UNTIL_THE_END = ExitStack()


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Start a Prefect server on an empty home. The workers of `pytest -n`, and builds in processes of their own, inherit its address."""
    if hasattr(session.config, "workerinput") or session.config.option.collectonly:
        return
    os.environ["PREFECT_HOME"] = _UNTIL_THE_END.enter_context(TemporaryDirectory(prefix="prefloom-prefect-"))
    os.environ.pop("PREFECT_API_URL", None)
    _UNTIL_THE_END.enter_context(shared_prefect())


def pytest_sessionfinish() -> None:
    _UNTIL_THE_END.close()


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folder of a small finished dataset. Do not write into it."""
    out = tmp_path_factory.mktemp("small")
    prefloom("build", *SMALL, "--out", str(out))
    (run,) = (out / "runs").iterdir()
    return run


@pytest.fixture
def copy(small: Path, tmp_path: Path) -> Path:
    """A copy of the small dataset, with its journal, to do with as you like."""
    shutil.copytree(small.parent.parent, tmp_path / "out")
    return tmp_path / "out" / "runs" / small.name


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store on disk."""
    return Store(str(tmp_path / "store"))


@pytest.fixture(scope="session")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """s3://… on an S3 server for the whole session: moto's, in a process of its own, or the one that PREFLOOM_TEST_S3 names."""
    with object_store(os.environ.get("PREFLOOM_TEST_S3"), tmp_path_factory.mktemp("s3")) as url:
        yield url


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished tiny dataset and what it was made of. Do not write into it."""
    place = Place(tmp_path_factory.mktemp("finished")).lay()
    place.built()
    return place.folder


@pytest.fixture
def place(finished: Path, tmp_path: Path) -> Place:
    """A place with an earlier dataset and its journal, which no mistake may cost."""
    shutil.copytree(finished, tmp_path / "place")
    return Place(tmp_path / "place")


@pytest.fixture(scope="session")
def every_export(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A small finished dataset with every export. Do not write into it."""
    return exported(tmp_path_factory.mktemp("exports"))


@pytest.fixture(scope="session")
def one_stand_in() -> Iterator[StandIn]:
    """A stand-in chat server for the whole session."""
    with stand_in() as server:
        yield server


@pytest.fixture
def stand_in_server(one_stand_in: StandIn) -> StandIn:
    """The stand-in with default settings and nothing counted; `set` changes it."""
    one_stand_in.set()
    return one_stand_in


@pytest.fixture(autouse=True)
def not_stopping() -> None:
    """A build that failed in this process leaves word to stop; the next test is another build."""
    from prefloom.flows.engines.asking import STOPPING

    STOPPING.clear()
