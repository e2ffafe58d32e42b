"""What must not happen with other people's money and keys: a limit that does not hold, a call paid twice, a key that is written down."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from prefloom.flows.engines.endpoint import pool, wire
from prefloom.schemas.recipe import Price
from prefloom.schemas.usage import Usage, spend, total
from tests.breaking import Ended
from tests.kitchen import Kitchen
from tests.stand_in import StandIn

PRICE = {"prompt": 100, "completion": 100}  # of a million tokens: a reading costs two cents
KEY = "sk-0123456789abcdefghij"


@pytest.fixture
def own(stand_in_server: StandIn) -> Iterator[StandIn]:
    yield stand_in_server
    stand_in_server.set()


def priced(tmp_path: Path, server: StandIn, limit: float) -> Kitchen:
    kitchen = Kitchen(tmp_path, server, writes=True)
    kitchen.recipe["prices"] = dict.fromkeys(kitchen.recipe["models"], PRICE)
    kitchen.recipe["limits"]["spend"] = limit
    kitchen.recipe["run"] |= {"report": False, "workers": 1}
    return kitchen


def paid(run: Path) -> tuple[Decimal, int]:
    """(dollars, calls) that the run has paid for."""
    rows = [{model: Usage(**used) for model, used in json.loads(row).items()} for row in (run / "paid.jsonl").read_bytes().splitlines()]
    sums = total(rows)
    return spend(sums, dict.fromkeys(sums, Price.model_validate(PRICE))) or Decimal(0), sum(used.calls for used in sums.values())


def stopped(ended: Ended, kitchen: Kitchen, limit: float) -> tuple[Decimal, int]:
    """Hold a build to what a spent budget promises; (dollars, calls) paid."""
    assert ended.code == 2, ended.err
    assert re.fullmatch(r"prefloom: recipe: limits\.spend: found \$[\d.]+ of \$[\d.]+ spent; expected a higher limit .+\n", ended.err)
    assert "Traceback" not in ended.out + ended.err
    run = kitchen.run()
    assert not (run / "manifest.json").exists()
    dollars, calls = paid(run)
    most = 24 * Decimal("0.025")  # the eight that reached it, those in flight then, and those that took off before anybody knew
    assert Decimal(str(limit)) <= dollars <= Decimal(str(limit)) + most
    return dollars, calls


def test_a_budget_stops_the_build_and_nothing_is_paid_for_twice(own: StandIn, tmp_path: Path) -> None:
    own.set(latency=0.05)
    kitchen = priced(tmp_path, own, 0.4)
    _, calls = stopped(kitchen.build("--json"), kitchen, 0.4)
    assert own.stats()["requests"] <= calls + 2 * 12, "and the probes"
    before = own.stats()["requests"]
    _, again = stopped(kitchen.build("--json"), kitchen, 0.4)
    assert again == calls
    assert own.stats()["requests"] <= before + 12, "a spent budget asks nothing but who is there"
    kitchen.recipe["limits"]["spend"] = 1.4
    _, more = stopped(kitchen.build("--json"), kitchen, 1.4)
    assert more > calls
    kitchen.recipe["limits"]["spend"] = 1000
    run = kitchen.built()
    counted = own.stats()
    assert counted["calls"]["repeated"] <= 12 * 4, "the probes alone"
    whole = priced(tmp_path, own, 1000).built(out="whole")
    assert paid(run)[1] == paid(whole)[1], "no call was paid for twice"
    assert (run / "manifest.json").read_bytes() == (whole / "manifest.json").read_bytes()


def test_a_limit_holds_after_a_kill(own: StandIn, tmp_path: Path) -> None:
    own.set(latency=0.05)
    kitchen = priced(tmp_path, own, 1.0)
    (tmp_path / "recipe.yaml").write_text(json.dumps(kitchen.recipe))
    command = [sys.executable, "-m", "prefloom.flows.cli", "build", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "out")]
    killed = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while time.monotonic() < until and not list(tmp_path.glob("out/runs/*/paid.jsonl")):
        time.sleep(0.01)
    time.sleep(0.1)
    killed.kill()
    killed.wait()
    before, _ = paid(kitchen.run())
    assert 0 < before < 1
    stopped(kitchen.build("--json"), kitchen, 1.0)
    assert own.stats()["calls"]["repeated"] <= 8 + 2 * 12, "what was in flight, and the probes"


def test_replies_that_hide_their_cost_end_a_build_with_a_budget(own: StandIn, tmp_path: Path) -> None:
    own.set(usage=False)
    kitchen = priced(tmp_path, own, 1.0)
    ended = kitchen.build("--json")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "limits.spend: found replies of writer that do not say how many tokens they took" in ended.err
    assert own.stats()["requests"] <= 12 + 2 * 8 + 16


@pytest.fixture
def secret(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("PREFLOOM_TEST_KEY", KEY)
    monkeypatch.setattr(pool, "_FIRST", 0.02)
    return "PREFLOOM_TEST_KEY"


def nowhere(ended: Ended, *folders: Path) -> None:
    """The key, or a good part of it, stands in no output and in no file."""
    part = KEY[:12]
    assert part not in ended.out + ended.err
    for folder in folders:
        found = [str(path) for path in folder.rglob("*") if path.is_file() and part.encode() in path.read_bytes()]
        assert found == []


def test_a_key_is_written_down_nowhere(own: StandIn, tmp_path: Path, secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kitchen, prefect = Kitchen(tmp_path, own), Path(os.environ["PREFECT_HOME"])
    kitchen.recipe["servers"]["judge"] |= {"key": secret, "attempts": 1}
    own.set(key=KEY, shares={"401": 0.2, "500": 0.1})  # a 401 quotes the key
    ended = kitchen.build()
    assert ended.code == 0, ended.err
    run = kitchen.run()
    rejected = b"".join(path.read_bytes() for path in run.glob("rejected/judgements-*.parquet"))
    assert b"[key]" in rejected, "there was something to hide"
    nowhere(ended, tmp_path, prefect)

    read, count = wire.read, 0

    def breaks(*arguments: object) -> object:
        nonlocal count
        count += 1
        if count == 40:  # of the probe five
            raise ZeroDivisionError("a fault of ours")
        return read(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(wire, "read", breaks)
    own.set(key=KEY, shares={"401": 0.1})
    ended = kitchen.build(out="broken")
    assert ended.code == 1
    assert "ZeroDivisionError: a fault of ours" in ended.err
    nowhere(ended, tmp_path, prefect)

    monkeypatch.setattr(wire, "read", read)
    own.set(key="another")
    ended = kitchen.build(out="denied")
    assert ended.code == 2
    assert "HTTP 401" in ended.err
    nowhere(ended, tmp_path, prefect)


def test_a_key_that_expires_meanwhile_ends_the_build_in_one_line(own: StandIn, tmp_path: Path, secret: str) -> None:
    kitchen = Kitchen(tmp_path, own)
    kitchen.recipe["servers"]["judge"]["key"] = secret
    own.set(key=KEY)
    assert kitchen.build("--set", "personas.0.count=2").code == 0
    own.set(key=KEY, shares={"401": 1})
    ended = kitchen.build("--json", out="out")
    assert ended.code == 2
    assert ended.err.count("\n") == 1
    assert "Traceback" not in ended.err
    nowhere(ended, tmp_path)
