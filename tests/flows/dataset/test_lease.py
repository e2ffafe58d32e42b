"""One build per run on an object store: a living holder is refused by name, a dead one is followed, a paused one stops."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from prefloom.flows.dataset import lease as module
from prefloom.flows.dataset.lease import is_held, lease
from prefloom.flows.dataset.lock import run_lock
from prefloom.flows.dataset.store import Store
from prefloom.schemas.errors import InputError


@pytest.fixture
def far(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """An empty run on an object store, where time runs faster."""
    for name, seconds in (("BEAT", 0.5), ("LOST", 4.0), ("STALE", 6.0)):
        monkeypatch.setattr(module, name, seconds)
    return Store(f"{bucket}/{tmp_path.name}")


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can be known of a holder's process, as on another machine."""
    monkeypatch.setattr(module, "_process", list)


def test_a_living_holder_is_named_and_the_lease_is_given_back(far: Store) -> None:
    with run_lock(far.url) as check:
        assert is_held(far)
        with pytest.raises(InputError, match=r"another build of it \(pid \d+ on .*, since 20"), run_lock(far.url):
            pass
        check()
    assert not is_held(far)
    assert far.list(".lock/*") == []
    with run_lock(far.url):
        pass


def test_who_dies_elsewhere_is_followed_once_the_lease_is_stale(far: Store, elsewhere: None) -> None:
    module._Held(far, lambda: None)  # never renewed, never given back
    started = time.monotonic()
    with lease(far) as check:
        assert 6.0 <= time.monotonic() - started < 60
        assert far.list(".lock/*") == [".lock/000002.json"]
        check()


def test_who_died_on_this_machine_is_followed_at_once(far: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    here = module._process()
    monkeypatch.setattr(module, "_process", lambda: [*here[:2], "1"])  # the same process id, begun at another time
    module._Held(far, lambda: None)
    monkeypatch.undo()
    started = time.monotonic()
    with lease(far):
        assert time.monotonic() - started < 6.0


def test_a_holder_that_was_paused_for_too_long_stops_and_writes_over_nothing(far: Store, elsewhere: None) -> None:
    lost = threading.Event()
    paused = module._Held(far, lost.set)  # no thread renews it
    with lease(far):
        with pytest.raises(InputError, match=r"not renewed for 4 s"):
            paused.check()
        before = far.list(".lock/*")
        thread = threading.Thread(target=paused.renew)
        thread.start()
        thread.join()
        assert lost.is_set()
        paused.give_back()
        assert far.list(".lock/*") == before == [".lock/000002.json"]


def test_of_many_at_once_one_gets_it(far: Store) -> None:
    outcomes: list[str] = []

    def attempt() -> None:
        try:
            with lease(far):
                time.sleep(5)
                outcomes.append("built")
        except InputError:
            outcomes.append("refused")

    threads = [threading.Thread(target=attempt) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["built", "refused", "refused", "refused"]


def test_a_server_that_ignores_conditions_is_refused(far: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = far.fs.pipe_file

    def ignores(path: str, data: bytes, **options: Any) -> Any:
        return pipe(path, data)

    monkeypatch.setattr(far.fs, "pipe_file", ignores)
    with pytest.raises(InputError, match="conditional writes"), lease(far):
        pass
