"""Servers of our own, with an executable that only looks like vLLM: the real one is in tests/vllm."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from prefloom.flows.engines.vllm import guardian
from prefloom.flows.engines.vllm import server as module
from prefloom.flows.engines.vllm.server import VllmServer
from prefloom.schemas.errors import InputError
from prefloom.schemas.serving import Adapter, Vllm

BUILD = """
import os, sys, time
from pathlib import Path
from prefloom.flows.engines.vllm.server import VllmServer
from prefloom.schemas.serving import Adapter, Vllm
server = VllmServer(Vllm.model_validate_json(sys.argv[1]), "judge", Path(sys.argv[2]))
server.start()
print(server._process.pid, flush=True)
time.sleep(600)
"""


class Bench:
    """A folder with the fake executable, and the processes it has started."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.pids = folder, folder / "pids"
        self.command = folder / "bin" / "vllm"
        self.command.parent.mkdir()
        source = Path(__file__).with_name("fake_vllm.py").read_text()
        self.command.write_text(f"#!{sys.executable} -IS\n{source}")
        self.command.chmod(0o755)
        self.servers: list[VllmServer] = []

    def settings(self, environment: dict[str, str] | None = None, **fields: Any) -> Vllm:
        told = {"FAKE_PIDS": str(self.pids)} | (environment or {})
        return Vllm(**{"command": str(self.command), "start_timeout": 30.0, "environment": told} | fields)

    def server(self, environment: dict[str, str] | None = None, model: str = "judge", **fields: Any) -> VllmServer:
        self.servers.append(VllmServer(self.settings(environment, **fields), model, self.folder / "logs" / f"vllm-{model}.log"))
        return self.servers[-1]

    def build(self, environment: dict[str, str] | None = None) -> "subprocess.Popen[str]":
        """A process that starts a server and does nothing with it."""
        command = [sys.executable, "-c", BUILD, self.settings(environment).model_dump_json(), str(self.folder / "log")]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def started(self, kind: str = "") -> list[int]:
        lines = self.pids.read_text().splitlines() if self.pids.exists() else []
        lines = [line for line in lines if kind or not line.startswith("tidied")]
        return [int(line.split()[1]) for line in lines if line.startswith(kind)]

    def running(self, kind: str = "") -> list[int]:
        return [pid for pid in self.started(kind) if runs(pid)]

    def gone(self, kind: str = "", within: float = 8.0) -> bool:
        deadline = time.monotonic() + within
        while self.running(kind) and time.monotonic() < deadline:
            time.sleep(0.05)
        return not self.running(kind)

    def wait_for(self, count: int) -> None:
        deadline = time.monotonic() + 20
        while len(self.started()) < count and time.monotonic() < deadline:
            time.sleep(0.02)
        assert len(self.started()) == count


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def ask(server: VllmServer, path: str) -> Any:
    with urllib.request.urlopen(server.url.removesuffix("/v1") + path, timeout=10) as reply:
        return json.load(reply)


def die(server: VllmServer, path: str = "/die") -> None:
    with suppress(OSError):
        ask(server, path)
    assert server._process
    server._process.wait(20)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    for server in bench.servers:
        server.stop()
    for pid in bench.running():
        os.kill(pid, signal.SIGKILL)


def test_a_server_is_started_waited_for_and_stopped(bench: Bench) -> None:
    with bench.server({"FAKE_SLOW": "1"}) as server:
        url = server.start()
        assert server.alive
        assert url == server.start() == server.ensure()
        assert url.startswith("http://127.0.0.1:")
        assert url.endswith("/v1")
        assert (server.restarts, len(bench.running())) == (0, 3)
    assert not server.alive
    assert bench.running() == []  # also the one that has left the group, and those that ignore SIGTERM
    server.stop()
    with pytest.raises(RuntimeError, match="has been stopped"):
        server.ensure()
    assert server.start() == url
    log = server.log.read_text()
    assert log.count("=== ") == 2
    assert "start 1: " in log
    assert "loading" in log


def test_what_vllm_is_given(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VLLM_API_KEY", "OPENAI_API_KEY", "MY_OWN_WORD"):
        monkeypatch.setenv(name, "sk-hush")
    monkeypatch.setenv("PYTHONPATH", str(bench.folder))
    monkeypatch.setenv("HF_HOME", "/models")
    (bench.folder / "adapter").mkdir()
    settings = bench.settings(
        data_parallel=2,
        tensor_parallel=4,
        adapters=[Adapter(name="sql", path=str(bench.folder / "adapter")), Adapter(name="judge", path=str(bench.folder / "adapter"))],
        arguments=["--max-model-len", "4096"],
    )
    with VllmServer(settings, "judge", bench.folder / "log", secrets=["MY_OWN_WORD"]) as server:
        port = server.start().split(":")[2].removesuffix("/v1")
        told, environment = ask(server, "/arguments"), ask(server, "/environment")
    assert told == [
        "serve", "judge", "--served-model-name", "judge-base", "--host", "127.0.0.1", "--port", port,
        "--disable-uvicorn-access-log", "--enable-prompt-tokens-details", "--data-parallel-size", "2", "--tensor-parallel-size", "4",
        "--enable-lora", "--lora-modules", f"sql={bench.folder / 'adapter'}", f"judge={bench.folder / 'adapter'}",
        "--max-model-len", "4096",
    ]  # fmt: skip
    assert "sk-hush" not in json.dumps(environment)
    assert "PYTHONPATH" not in environment
    assert (environment["HF_HOME"], environment["VLLM_NO_USAGE_STATS"], environment["DO_NOT_TRACK"]) == ("/models", "1", "1")
    assert environment["PATH"].startswith(str(bench.command.parent))
    assert "sk-hush" not in (bench.folder / "log").read_text()


@pytest.mark.parametrize(
    "argument",
    [
        "--host",
        "--port=1",
        "--por",
        "--served_model_name",
        "--api-key",
        "--api-k=sk",
        "--uds",
        "-tp",
        "--data-parallel-size",
        "--lora-modules",
    ],
)
def test_reserved_arguments(bench: Bench, argument: str) -> None:
    with pytest.raises(ValidationError, match="is not for a recipe"):
        bench.settings(arguments=["--max-model-len", "9", argument, "x"])


def test_arguments_that_only_look_reserved(bench: Bench) -> None:
    arguments = ["--data-parallel-size-local", "1", "--api-server-count", "2", "--max-lora-rank", "64", "-O3", "4096"]
    assert bench.settings(arguments=arguments).arguments == arguments


def test_a_recipe_holds_no_secrets(bench: Bench) -> None:
    with pytest.raises(ValidationError, match="looks like a secret"):
        bench.settings(environment={"HF_TOKEN": "hf_x"})


def test_the_command_of_the_environment(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFLOOM_VLLM", str(bench.command))
    assert bench.server(command=None).start().endswith("/v1")


@pytest.mark.parametrize(
    ("fields", "place", "found"),
    [
        ({"command": "/nowhere/vllm"}, "servers.judge.vllm.command", "no executable"),
        ({"command": "vl\x1b[31mlm"}, "servers.judge.vllm.command", r"\\x1b"),
        ({"path": "./nowhere"}, "servers.judge.vllm.path", "not there"),
        ({"adapters": [Adapter(name="sql", path="/nowhere")]}, "servers.judge.vllm.adapters.sql", "not there"),
    ],
)
def test_what_is_missing(bench: Bench, fields: dict[str, Any], place: str, found: str) -> None:
    with pytest.raises(InputError, match=found) as caught:
        bench.server(**fields).start()
    assert caught.value.field == place
    assert bench.started() == []


def test_an_executable_that_cannot_run(bench: Bench) -> None:
    bench.command.write_text("#!/nowhere/python\n")
    with pytest.raises(InputError, match=r"exit code 127.*No such file"):
        bench.server().start()


def test_a_crash_at_the_start_is_told_with_its_reason(bench: Bench) -> None:
    text = "(EngineCore pid=1) ERROR 11-21 09:12:22 [core.py:1510] ValueError: the model \x1b[31mwants 9 heads\nlast line"
    server = bench.server({"FAKE_CRASH": text})
    with pytest.raises(InputError, match=r"exit code 1 before it answered: ValueError: the model \\x1b\[31mwants 9 heads; ") as caught:
        server.start()
    assert caught.value.field == "servers.judge.vllm"
    assert str(server.log) in str(caught.value)
    assert bench.gone()
    assert not server.alive


def test_a_start_that_takes_too_long(bench: Bench) -> None:
    server = bench.server({"FAKE_SLOW": "60", "FAKE_TAME": "1"}, start_timeout=1.0)
    with pytest.raises(InputError, match=r"no answer within 1 s: .*loading") as caught:
        server.start()
    assert caught.value.field == "servers.judge.vllm.start_timeout"
    assert bench.gone(within=1)


def test_a_dead_server_comes_back_under_its_address(bench: Bench) -> None:
    server = bench.server({"FAKE_TAME": "1"})
    url = server.start()
    die(server)
    assert not server.alive
    assert bench.running() == []  # nothing is left that would hold the GPU
    assert len(bench.started("tidied")) == 2  # and what had to be given back has been
    urls: list[str] = []
    threads = [threading.Thread(target=lambda: urls.append(server.ensure())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert urls == [url] * 8
    assert server.restarts == 1
    assert len(bench.started("main")) == 2
    (bench.folder / "pids.dead").touch()  # the engine behind the port is gone: /health says 503
    with pytest.raises(InputError):
        bench.server(start_timeout=0.5).start()
    threading.Timer(0.5, (bench.folder / "pids.dead").unlink).start()
    assert server.ensure() == url
    assert server.restarts == 2


def test_a_server_that_never_answers_is_given_up(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    server = bench.server({"FAKE_FRAGILE": "1", "FAKE_TAME": "1"})
    server.start()
    for _ in range(module.FRUITLESS):
        die(server, "/ask")
        server.ensure()
    server.answered()
    for _ in range(module.FRUITLESS):
        die(server, "/ask")
        server.ensure()
    die(server, "/ask")
    with pytest.raises(InputError, match="died 4 times without answering"):
        server.ensure()
    assert server.restarts == 2 * module.FRUITLESS


def test_stop_ends_a_start(bench: Bench) -> None:
    server = bench.server({"FAKE_SLOW": "60"})
    failed: list[BaseException] = []

    def start() -> None:
        try:
            server.start()
        except RuntimeError as error:
            failed.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    bench.wait_for(3)
    server.stop()
    thread.join(10)
    assert "was stopped while it started" in str(failed[0])
    assert bench.running() == []


def test_two_servers_at_once(bench: Bench) -> None:
    first, second = bench.server(model="judge"), bench.server(model="writer")
    assert first.start() != second.start()
    die(first)
    assert second.alive
    assert ask(second, "/v1/models") == {"data": [{"id": "writer"}]}
    second.stop()
    assert first.ensure() == first.url
    assert len(bench.running()) == 3


def test_another_program_on_the_port_is_not_our_server(bench: Bench) -> None:
    stranger = bench.server(model="stranger")
    stranger.start()
    server = bench.server()
    server._port = stranger._port
    with pytest.raises(InputError, match="Address already in use"):
        server.start()


@pytest.mark.parametrize("victim", ["build", "guardian", "both"])
def test_nothing_outlives_a_kill(bench: Bench, victim: str) -> None:
    build = bench.build()
    assert build.stdout
    guard = int(build.stdout.readline())
    assert len(bench.running()) == 3
    ours = {guard} | {pid for pid, parent, _ in guardian.processes() if parent == guard}  # the guardian, its shadow, the server
    assert len(ours) == 3
    if victim != "guardian":
        build.kill()
    if victim != "build":
        os.kill(guard, signal.SIGKILL)
    kinds = ("main", "child", "stray") if victim == "build" else ("main", "child")  # nobody is left who would know the stray
    assert all(bench.gone(kind) for kind in kinds)
    build.kill()
    build.communicate()
    deadline = time.monotonic() + 5
    while any(map(runs, ours)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(runs, ours))


def test_nothing_outlives_a_build_killed_while_the_server_starts(bench: Bench) -> None:
    build = bench.build({"FAKE_SLOW": "60"})
    bench.wait_for(3)
    build.kill()
    build.communicate()
    assert bench.gone()


def test_a_guardian_killed_under_a_living_build(bench: Bench) -> None:
    server = bench.server()
    url = server.start()
    assert server._process
    os.kill(server._process.pid, signal.SIGKILL)
    server._process.wait()
    assert server.ensure() == url  # waits until the shadow has cleared the way
    assert len(bench.running("main")) == len(bench.running("child")) == 1


def test_the_guardian_imports_nothing_heavy() -> None:
    folder = Path(guardian.__file__)
    probe = f"import runpy, sys; runpy.run_path({str(folder)!r}); print(len(sys.modules), 'prefloom' in sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", probe], capture_output=True, text=True, check=True)
    count, ours = done.stdout.split()
    assert int(count) < 120
    assert ours == "False"


def test_a_name_on_the_path(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{bench.command.parent}{os.pathsep}{os.environ['PATH']}")
    assert shutil.which("vllm") == str(bench.command)
    bench.server(command="vllm").start()
    assert len(bench.running("main")) == 1
